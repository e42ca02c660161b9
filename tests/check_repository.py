"Checks that need no test runner: what is committed is what the notebooks say. Exits with 1 and says what differs."
import filecmp, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def files(folder):
    keep = {p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    return {p.relative_to(folder) for p in keep}


def run(*cmd, cwd):
    subprocess.run([str(c) for c in cmd], cwd=cwd, check=True, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})


def main():
    "Export and clean a copy, and compare"
    wrong = []
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "copy"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".git", "__pycache__", "_docs", "_proc", "demo", "*.egg-info"))
        run(BIN / "nbdev_export", cwd=copy)
        run(BIN / "nbdev_clean", cwd=copy)
        for folder in ("diffclip", "nbs"):
            here, there = files(ROOT / folder), files(copy / folder)
            wrong += [f"{folder}/{p}: only in {'the repository' if p in here else 'the export'}" for p in here ^ there]
            wrong += [f"{folder}/{p}: differs after nbdev_export and nbdev_clean" for p in here & there
                      if not filecmp.cmp(ROOT / folder / p, copy / folder / p, shallow=False)]
        wrong += unprocessable(copy)
    if (ROOT / "README.md").read_text() != readme(ROOT / "nbs/index.ipynb"):
        wrong.append("README.md differs from nbs/index.ipynb: run python tests/check_repository.py --write-readme")
    print("\n".join(wrong) or "exports, clean notebooks and README.md agree")
    return 1 if wrong else 0


def unprocessable(copy):
    "Does nbdev prepare the notebooks for Quarto? Quarto itself is stood in for: nbdev only asks for its version"
    stand_in = copy / "bin" / "quarto"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho 1.7.0\n")
    stand_in.chmod(0o755)
    env = {**os.environ, "PATH": f"{stand_in.parent}:{BIN}:{os.environ['PATH']}"}
    r = subprocess.run([BIN / "nbdev_proc_nbs", "--n_workers", "0"], cwd=copy, env=env, capture_output=True, text=True)
    if r.returncode: return [f"nbdev_proc_nbs failed: {r.stderr.strip().splitlines()[-1]}"]
    mixed = ["a cell has imports and other code, which the site cannot process: " + b.splitlines()[0] for b in r.stderr.split("See FAQ.\n---\n")[1:]]
    lost = [f"{p.name}: not in the site" for p in (ROOT / "nbs").rglob("*.ipynb") if not (copy / "_proc" / p.relative_to(ROOT / "nbs")).exists()]
    sidebar = (ROOT / "nbs/sidebar.yml").read_text()
    return mixed + lost + [f"{p.name}: not in the sidebar" for p in (ROOT / "nbs").rglob("*.ipynb") if str(p.relative_to(ROOT / "nbs")) not in sidebar]


def readme(notebook):
    "The front page as Markdown: text cells as they are, code as code, text outputs below it"
    import nbformat
    parts = []
    for cell in nbformat.read(notebook, 4).cells:
        src = cell.source.strip()
        if not src or "#| hide" in src or "#| default_exp" in src: continue
        if cell.cell_type == "markdown": parts.append(src); continue
        if "#| echo: false" not in src:
            parts.append(f"```python\n{chr(10).join(l for l in src.splitlines() if not l.startswith('#|'))}\n```")
        text = "".join(o.get("text", "") if o.output_type == "stream" else o.get("data", {}).get("text/plain", "") for o in cell.outputs if "image/png" not in o.get("data", {}))
        if text.strip(): parts.append(text.strip() if "#| output: asis" in src else "\n".join(("    " + l).rstrip() for l in text.strip("\n").splitlines()))
    return re.sub(r"\]\((?!https?:|#|nbs/)([\w/]+\.ipynb)\)", r"](nbs/\1)", "\n\n".join(parts)) + "\n"


if __name__ == "__main__":
    if "--write-readme" in sys.argv: (ROOT / "README.md").write_text(readme(ROOT / "nbs/index.ipynb"))
    sys.exit(main())
