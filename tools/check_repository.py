"""Is what is committed what the notebooks say? Needs no test runner and no Quarto.

    python tools/check_repository.py            # say what differs; exit with 1
    python tools/check_repository.py --write    # first write what is made of them

Made from notebooks are README.md with its pictures, nbs/llms.txt, and the map of the
rooms in CONTRIBUTING.md."""

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cells import NBS, ROOT, shown
from notebooks import all_problems
from pages import written_pages
from rooms import PAGE, contributing

BIN = Path(sys.executable).parent
LEFT_OUT = (".venv", ".git", "__pycache__", "_docs", "_proc", "demo", "*.egg-info")


def main(args):
    if "--write" in args:
        for path, content in generated().items():
            path.write_bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        ignore = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(ROOT, copy, symlinks=True, ignore=ignore)
        wrong = export_problems(copy) + site_problems(copy)
    wrong += [
        f"{shown(path)}: not what the notebooks say: "
        "run python tools/check_repository.py --write"
        for path, content in generated().items()
        if not path.exists() or path.read_bytes() != content
    ]
    wrong += all_problems()
    print("\n".join(wrong) or "the repository is what its notebooks say")
    return 1 if wrong else 0


def generated():
    "Path → bytes of what is made from the notebooks"
    return written_pages() | {PAGE: contributing().encode()}


def run(copy, *command, **options):
    "Run a command of this environment in the copy"
    path = os.pathsep.join([str(copy / "bin"), str(BIN), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    command = [BIN / command[0], *command[1:]]
    return subprocess.run(command, cwd=copy, env=environment, **options)


def export_problems(copy):
    "Export and clean the copy, and compare"
    run(copy, "nbdev_export", check=True)
    run(copy, "nbdev_clean", check=True)
    found = []
    for folder in ("diffclip", "nbs"):
        here = files(ROOT / folder)
        there = files(copy / folder)
        for name in sorted(here ^ there):
            place = "the repository" if name in here else "the export"
            found.append(f"{folder}/{name}: only in {place}")
        for name in sorted(here & there):
            paths = (ROOT / folder / name, copy / folder / name)
            if not filecmp.cmp(*paths, shallow=False):
                found.append(
                    f"{folder}/{name}: differs after nbdev_export and nbdev_clean"
                )
    return found


def files(folder):
    "Files below a folder, relative to it"
    paths = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder) for p in paths if "__pycache__" not in p.parts}


def site_problems(copy):
    """Does nbdev prepare the notebooks for Quarto?

    nbdev only asks Quarto for its version, so a script stands in for it."""
    quarto = copy / "bin" / "quarto"
    quarto.parent.mkdir()
    quarto.write_text("#!/bin/sh\necho 1.7.0\n")
    quarto.chmod(0o755)
    done = run(
        copy, "nbdev_proc_nbs", "--n_workers", "0", capture_output=True, text=True
    )
    if done.returncode:
        errors = re.findall(r"^\w*(?:Error|Exception): .*", done.stderr, re.M)
        last = (errors or done.stderr.strip().splitlines())[-1]
        return [f"nbdev_proc_nbs failed: {last}"]
    pages = [p for p in files(NBS) if not p.name.startswith(".")]
    absent = [page for page in pages if not (copy / "_proc" / page).exists()]
    return [f"{page}: not in the site" for page in sorted(absent)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
