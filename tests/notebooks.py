"""Moved: use tools/notebooks.py. This file goes when everybody does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
sys.modules.pop("notebooks", None)
import notebooks  # noqa: E402

if __name__ == "__main__":
    sys.exit(notebooks.main(sys.argv[1:]))
