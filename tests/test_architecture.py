"What the library's modules may import, and that importing them changes nothing else"

import ast
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import cells
import pytest
import rooms

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "diffclip"

# Reading order is import order: a module may import what the reader has met before it.
ORDER = list(rooms.rooms())

# distributions whose import name is another
IMPORT_NAMES = {
    "open_clip_torch": "open_clip",
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
}
# named in an extra although no module imports them yet
NOT_YET_IMPORTED = {"accelerate", "dask", "xarray", "rioxarray"}


def module_name(path):
    "'data.scene' of diffclip/data/scene.py; 'data' of diffclip/data/__init__.py"
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = sorted(p for p in LIBRARY.rglob("*.py") if p.name != "_modidx.py")
TREES = {module_name(p): ast.parse(p.read_text(encoding="utf-8")) for p in PATHS}
PACKAGES = {module_name(p): p for p in PATHS if p.name == "__init__.py"}
MODULES = [module for module in TREES if module not in PACKAGES]


def absolute(module, node):
    "'diffclip.core' of `from ..core import …`"
    if not node.level:
        return node.module
    parts = ["diffclip", *module.split(".")] if module else ["diffclip"]
    up = node.level - (module in PACKAGES)
    return ".".join(parts[: len(parts) - up] + ([node.module] if node.module else []))


def imports(module, nodes=None):
    "(imported module, name or None) of each import, wherever it stands"
    for node in nodes or ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(module, node)
            yield from ((origin, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            if isinstance(node.args[0], ast.Constant):
                yield node.args[0].value, None


def uses(module, nodes=None):
    "Our own modules that a module imports, as 'data.scene'"
    for origin, name in imports(module, nodes):
        if origin.partition(".")[0] != "diffclip" or name == "__version__":
            continue
        here = origin.removeprefix("diffclip").lstrip(".")
        inner = f"{here}.{name}".lstrip(".")
        yield inner if inner in TREES else here


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def public_names(module):
    "A module's `__all__`"
    for node in TREES[module].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


# --------------------------------------------------------------------- imports


@pytest.mark.parametrize("module", TREES)
def test_imports_are_named_and_public(module):
    names = [name for _, name in imports(module)]
    assert "*" not in names
    ours = [n for o, n in imports(module) if n and o.startswith("diffclip")]
    assert [n for n in ours if is_private(n)] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_private_name_of_another_module_is_accessed(module):
    tree = TREES[module]
    others = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    imported = {alias.asname or alias.name for n in others for alias in n.names}
    accessed = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and isinstance(node.value, ast.Name)
        and node.value.id in imported
    ]
    assert accessed == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    used = set(uses(module))
    packages = used & set(PACKAGES)
    assert packages == set(), "import from the module, not from its package"
    before = ORDER[: ORDER.index(module)] if module in ORDER else []
    later = sorted(used - set(before))
    assert later == [], f"nbs/sidebar.yml: {module} stands before what it imports"


def test_metrics_know_nothing_but_data():
    used = {m.partition(".")[0] for m in uses("evaluation.metrics")}
    assert used <= {"core", "data"}


def test_no_circle():
    "Whoever imports a module executes the `__init__` of its package first"
    needs = {}
    for module in TREES:
        if module:
            own = {module, *parents(module)}
            found = set(uses(module, TREES[module].body)) - {""}
            needs[module] = {p for m in found for p in (m, *parents(m))} - own
    done = set()
    while ready := [m for m in needs if m not in done and needs[m] <= done]:
        done |= set(ready)
    assert sorted(set(needs) - done) == []


def parents(module):
    "The packages that hold a module"
    parts = module.split(".")[:-1]
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


# ------------------------------------------------------------------ the rooms


def test_one_notebook_for_each_module():
    pages = [cells.module_of(cells.read(p)) for p in cells.notebooks()]
    modules = [m for m in pages if m]
    assert sorted(modules) == sorted(MODULES)
    assert sorted(rooms.rooms()) == sorted(MODULES), "not in the sidebar"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_comes_from_one_notebook(module):
    text = (LIBRARY / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    assert len(set(re.findall(r"^# %% (\S+\.ipynb) #", text, re.M))) == 1
    assert len(text.splitlines()) <= 600


@pytest.mark.parametrize("module", MODULES)
def test_lines_fit_a_page(module):
    "nbdev writes the module's docstring, `__all__` and the names of the cells itself"
    path = LIBRARY / (module.replace(".", "/") + ".py")
    lines = path.read_text(encoding="utf-8").splitlines()
    written = [
        n for n in TREES[module].body[:2] if isinstance(n, (ast.Expr, ast.Assign))
    ]
    own = {i for n in written for i in range(n.lineno, n.end_lineno + 1)}
    long = [
        line
        for i, line in enumerate(lines, 1)
        if len(line) > 88 and i not in own and not line.startswith(("# %%", "# AUTO"))
    ]
    assert long == []


@pytest.mark.parametrize("package", [p for p in PACKAGES if p])
def test_a_package_offers_what_its_modules_offer(package):
    inside = [m for m in MODULES if m.startswith(package + ".")]
    names = [name for m in inside for name in public_names(m)]
    assert sorted(public_names(package)) == sorted(set(names))
    assert len(names) == len(set(names)), "two modules offer the same name"
    assert "logger" not in names, "_logger is nobody else's"


# ---------------------------------------------------------------- dependencies


def requirements(key):
    "Names of the distributions in an entry of settings.ini"
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    entries = settings["DEFAULT"][key].split()
    return {re.match(r"[\w.-]+", entry)[0] for entry in entries}


def import_name(distribution):
    return IMPORT_NAMES.get(distribution, distribution.replace("-", "_"))


EXTRAS = ("datasets_requirements", "scale_requirements")
IMPORTED = {o.partition(".")[0] for m in TREES for o, _ in imports(m)}


@pytest.mark.parametrize("key", ["requirements", *EXTRAS])
def test_what_is_required_is_imported(key):
    needed = set(map(import_name, requirements(key)))
    assert needed - IMPORTED - NOT_YET_IMPORTED == set()


def test_what_is_imported_is_required():
    keys = ("requirements", *EXTRAS)
    named = {import_name(d) for key in keys for d in requirements(key)}
    others = IMPORTED - set(sys.stdlib_module_names) - {"diffclip"}
    assert others - named == set()


# ----------------------------------------------------------------------- import

STATE = """
import importlib, random, sys, warnings
for name in sys.argv[1].split():
    try:
        importlib.import_module(name)
    except ImportError:
        pass
import matplotlib, numpy, torch

def state():
    settings = dict.items(matplotlib.rcParams)
    return {
        "warnings filters": list(warnings.filters),
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": list(map(str, numpy.random.get_state())),
        "python's random state": random.getstate(),
        "matplotlib's settings": {key: str(value) for key, value in settings},
        "torch's default type": torch.get_default_dtype(),
        "torch's threads": torch.get_num_threads(),
    }

before = state()
import diffclip.cli
after = state()
print([name for name in before if before[name] != after[name]])
"""


def test_importing_changes_nothing_of_the_caller():
    "Nothing of ours; what the libraries do when they are imported is theirs"
    ours = set(sys.stdlib_module_names) | {"diffclip"}
    origins = {origin for module in TREES for origin, _ in imports(module)}
    others = sorted(o for o in origins if o.partition(".")[0] not in ours)
    command = [sys.executable, "-c", STATE, " ".join(others)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_importing_leaves_the_warnings_filters_alone():
    "Not even a library that diffclip imports changes them"
    code = (
        "import warnings; before = list(warnings.filters); import diffclip; "
        "assert warnings.filters == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
