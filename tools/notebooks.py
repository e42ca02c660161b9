"""The notebooks as committed: executed, cleaned, fit to be read. Needs no Quarto.

    python tools/notebooks.py             # execute those whose code has changed
    python tools/notebooks.py nbs/data/01_scene.ipynb     # execute these
    python tools/notebooks.py --all       # execute every one
    python tools/notebooks.py --check     # execute none; list what is wrong

The exit status is 1 where anything is wrong. Executing writes the outputs, cleans the
notebook with nbdev, and stores a hash of its code cells and of the measurements in
benchmarks/results/ that they name. So outputs that belong to other code or to former
measurements are found out."""

import multiprocessing
import os
import re
import sys
import time
from pathlib import Path

from cells import (
    NBS,
    ROOT,
    code_hash,
    is_code,
    is_stale,
    notebooks,
    read,
    shown,
    source,
)
from links import link_problems
from pages import sidebar_problems
from rules import problems


def is_skipped(cell):
    return is_code(cell) and bool(
        re.search(r"^#\|\s*eval:\s*false", source(cell), re.M)
    )


def execute(path):
    "Run a notebook in its folder, in this process; write outputs and hash"
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell

    os.chdir(path.parent)
    nb = read_nb(path)
    for cell in nb.cells:
        if is_code(cell) and not is_skipped(cell):
            cell.outputs = []  # execnb keeps old ones where a cell prints nothing
    shell = CaptureShell(path, mpl_format="png")
    try:
        shell.run_all(nb, exc_stop=True, preproc=is_skipped)
    except Exception:
        sys.exit(shell.prettytb(fname=path.name))
    nb.metadata["code_hash"] = code_hash(nb)
    write_nb(nb, path)


def refresh(path):
    "Execute in a fresh process and clean; is everything well with the result?"
    from nbdev.clean import nbdev_clean

    start = time.time()
    cpu_start = os.times().children_user
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=execute, args=(path,))
    process.start()
    process.join()
    if process.exitcode:
        return False
    nbdev_clean.__wrapped__(str(path))
    seconds = time.time() - start
    cpu = os.times().children_user - cpu_start
    wrong = problems(path)
    summary = f"{shown(path)}: {seconds:.0f} s, {cpu:.0f} s of CPU"
    print(summary, *wrong, sep="\n  ", flush=True)
    return not wrong


def find(name):
    "The notebook of that path, or the only one of that file name"
    path = Path(name).resolve()
    found = [p for p in notebooks() if p == path]
    found = found or [p for p in notebooks() if p.name == name]
    if len(found) != 1:
        number = "no such notebook" if not found else "several of that name"
        sys.exit(f"{name}: {number}: give its path, as nbs/data/01_scene.ipynb")
    return found[0]


def all_problems():
    "What is wrong with the sidebar, the notebooks and the links, with the files' names"
    texts = [ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING", "CHANGELOG")]
    texts += sorted(NBS.glob("*.qmd"))
    found = sidebar_problems()
    for path in notebooks():
        found += [f"{shown(path)}: {wrong}" for wrong in problems(path)]
    for path in texts:
        found += [f"{shown(path)}: {wrong}" for wrong in link_problems(path)]
    return found


def main(args):
    if "--check" in args:
        wrong = all_problems()
        print("\n".join(wrong) or "all notebooks are executed, clean and linked")
        return bool(wrong)
    if "--all" in args:
        todo = notebooks()
    elif args:
        todo = [find(name) for name in args]
    else:
        todo = [path for path in notebooks() if is_stale(read(path))]
    results = [refresh(path) for path in todo]
    return not all(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
