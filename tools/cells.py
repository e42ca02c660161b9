"""The notebooks as files: which there are, what is in a cell, are its outputs fresh?"""

import hashlib
import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
RESULTS = ROOT / "benchmarks" / "results"


def notebooks(nbs=NBS):
    "Every notebook below `nbs`, sorted; none in hidden folders or in those with _"

    def is_page(path):
        parts = path.relative_to(nbs).parts
        return not any(part.startswith((".", "_")) for part in parts)

    return sorted(filter(is_page, nbs.rglob("*.ipynb")))


def shown(path):
    "A path as people write it: relative to the repository"
    path = Path(path).resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def joined(value):
    "nbformat writes a text as one string or as a list of lines"
    return "".join(value) if isinstance(value, list) else str(value)


def source(cell):
    return joined(cell["source"])


def is_code(cell):
    return cell["cell_type"] == "code"


def prose(nb):
    "The Markdown cells' texts"
    return [source(c) for c in nb["cells"] if c["cell_type"] == "markdown"]


def code_lines(cell):
    "Lines of a code cell, without those that only say how a page shows it"
    lines = source(cell).strip().splitlines()
    return [line for line in lines if not line.startswith("#|")]


def options(cell):
    "The `#|` lines of a cell as Quarto reads them. Raises yaml.YAMLError"
    lines = re.findall(r"^#\|\s*([\w-]+:.*)$", source(cell), re.M)
    return {k: v for line in lines for k, v in yaml.safe_load(line).items()}


def is_exported(cell):
    return is_code(cell) and bool(re.search(r"^#\|\s*exports?\b", source(cell), re.M))


def module_of(nb):
    "Name of the module that a notebook exports, as 'data.scene'; None if it is a page"
    code = "\n".join(source(c) for c in nb["cells"] if is_code(c))
    found = re.search(r"^#\|\s*default_exp\s+([\w.]+)", code, re.M)
    return found[1] if found else None


def title_and_description(nb):
    "Of the first cell: '# title', an empty line, '> description'"
    title, _, description = source(nb["cells"][0]).partition("\n\n> ")
    return title.removeprefix("# "), description


def outputs(cell):
    return cell.get("outputs", [])


def texts(output):
    "What a reader sees of an output, except pictures"
    shown_data = [
        joined(value)
        for kind, value in output.get("data", {}).items()
        if kind.startswith("text/") or "svg" in kind
    ]
    return [joined(output.get("text", "")), *shown_data]


def has_figure(cell):
    kinds = [kind for o in outputs(cell) for kind in o.get("data", {})]
    return any(kind.startswith("image/") for kind in kinds)


# --------------------------------------------------------------- fresh outputs


def is_measurement(path):
    "A score or a time; not a model, picture or quick trial that lies beside it"
    parts = path.relative_to(RESULTS).parts
    made_on_the_way = any(p.startswith(("stage1", "speed_quick")) for p in parts)
    return path.suffix in (".csv", ".json") and not made_on_the_way


def measurements(code):
    "Files below benchmarks/results that the code names, or whose folder it names"
    found = set()
    for name in re.findall(r"\bbenchmarks/results\b([\w./-]*)", code):
        path = RESULTS / name.strip("/.")
        found |= {path} if path.is_file() else set(path.rglob("*"))
    return sorted(filter(is_measurement, found))


def code_hash(nb):
    """Of all code cells in order and of the measurements they name, 16 digits.

    Lines that only say how a page shows a cell (alternative text, folding) do not
    count: they may change without a new run."""

    def bare(cell):
        return re.sub(r"^#\|(?!\s*eval).*\n?", "", source(cell), flags=re.M).strip()

    code = "\0".join(bare(c) for c in nb["cells"] if is_code(c))
    digest = hashlib.sha256(code.encode())
    for path in measurements(code):
        digest.update(path.relative_to(RESULTS).as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def is_stale(nb):
    "Do the outputs belong to other code or measurements, or is it not known?"
    return nb["metadata"].get("code_hash") != code_hash(nb)
