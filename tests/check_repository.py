"""Checks that need no test runner and no Quarto: what is committed is what the notebooks say. Exits with 1 and says what differs.

python tests/check_repository.py           # check
python tests/check_repository.py --write   # write README.md and its pictures from nbs/index.ipynb, and nbs/llms.txt from the sidebar; then check"""

import base64, filecmp, os, re, shutil, subprocess, sys, tempfile
from pathlib import Path

import yaml
from notebooks import (
    NBS,
    all_problems,
    joined,
    options,
    outputs,
    read,
    sidebar_contents,
    sidebar_pages,
    source,
)

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def files(folder):
    keep = {
        p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    return {p.relative_to(folder) for p in keep}


def run(*cmd, cwd):
    subprocess.run(
        [str(c) for c in cmd],
        cwd=cwd,
        check=True,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )


def main():
    "Export and clean a copy, and compare"
    wrong = []
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "copy"
        shutil.copytree(
            ROOT,
            copy,
            symlinks=True,
            ignore=shutil.ignore_patterns(
                ".venv", ".git", "__pycache__", "_docs", "_proc", "demo", "*.egg-info"
            ),
        )
        run(BIN / "nbdev_export", cwd=copy)
        run(BIN / "nbdev_clean", cwd=copy)
        for folder in ("diffclip", "nbs"):
            here, there = files(ROOT / folder), files(copy / folder)
            wrong += [
                f"{folder}/{p}: only in {'the repository' if p in here else 'the export'}"
                for p in here ^ there
            ]
            wrong += [
                f"{folder}/{p}: differs after nbdev_export and nbdev_clean"
                for p in here & there
                if not filecmp.cmp(ROOT / folder / p, copy / folder / p, shallow=False)
            ]
        wrong += unprocessable(copy)
    wrong += [
        f"{path.relative_to(ROOT)}: not what the notebooks say: run python tests/check_repository.py --write"
        for path, content in generated().items()
        if not path.exists() or path.read_bytes() != content
    ]
    wrong += all_problems()
    print(
        "\n".join(wrong)
        or "exports, notebooks, links, sidebar, README.md and llms.txt agree"
    )
    return 1 if wrong else 0


def unprocessable(copy):
    "Does nbdev prepare the notebooks for Quarto? Quarto itself is stood in for: nbdev only asks for its version"
    stand_in = copy / "bin" / "quarto"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho 1.7.0\n")
    stand_in.chmod(0o755)
    env = {**os.environ, "PATH": f"{stand_in.parent}:{BIN}:{os.environ['PATH']}"}
    r = subprocess.run(
        [BIN / "nbdev_proc_nbs", "--n_workers", "0"],
        cwd=copy,
        env=env,
        capture_output=True,
        text=True,
    )
    if r.returncode:
        return [f"nbdev_proc_nbs failed: {r.stderr.strip().splitlines()[-1]}"]
    mixed = [
        "a cell has imports and other code, which the site cannot process: "
        + b.splitlines()[0]
        for b in r.stderr.split("See FAQ.\n---\n")[1:]
    ]
    return mixed + [
        f"{p.name}: not in the site"
        for p in NBS.rglob("*")
        if p.is_file()
        and not p.name.startswith(".")
        and not (copy / "_proc" / p.relative_to(NBS)).exists()
    ]


def generated():
    "Path → bytes of what is written from the notebooks"
    text, pictures = readme(NBS / "index.ipynb")
    return {
        ROOT / "README.md": text.encode(),
        NBS / "llms.txt": llms_txt().encode(),
    } | {NBS / "images" / name: png for name, png in pictures.items()}


def readme(notebook):
    "The front page as Markdown, with its figures as PNG by name: text cells as they are, code as code, text outputs and figures below it"
    parts, pictures = [], {}
    for cell in read(notebook)["cells"]:
        src = source(cell).strip()
        if not src or "#| hide" in src:
            continue
        if cell["cell_type"] == "markdown":
            parts.append(src)
            continue
        if "#| echo: false" not in src:
            parts.append(
                f"```python\n{chr(10).join(l for l in src.splitlines() if not l.startswith('#|'))}\n```"
            )
        for o in outputs(cell):
            data = o.get("data", {})
            if "image/png" in data:
                name = f"readme-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(joined(data["image/png"]))
                parts.append(f"![{options(cell)['fig-alt']}](images/{name})")
                continue
            text = joined(o.get("text", "")) or joined(data.get("text/plain", ""))
            if text.strip():
                parts.append(
                    text.strip()
                    if "#| output: asis" in src
                    else "\n".join(
                        ("    " + l).rstrip() for l in text.strip("\n").splitlines()
                    )
                )
    return re.sub(r"\]\((?![a-z]+:|#)", "](nbs/", "\n\n".join(parts)) + "\n", pictures


def page_url(page):
    "Address of a page of the site: nbdev drops the numbers before the names"
    site = yaml.safe_load((NBS / "nbdev.yml").read_text())["website"]["site-url"]
    folder, name = (
        Path(page).parent.as_posix(),
        re.sub(r"^\d+[a-z]?_", "", Path(page).stem),
    )
    return "/".join([site] + [folder] * (folder != ".") + [f"{name}.html"])


def llms_txt():
    "The index for language models (llmstxt.org): every page in reading order, as the Markdown that Quarto keeps beside it"

    def entry(page):
        if not page.endswith(".ipynb"):
            return f"- [{Path(page).stem}]({page_url(page)})"
        title, _, description = source(read(NBS / page)["cells"][0]).partition("\n\n> ")
        return f"- [{title.removeprefix('# ')}]({page_url(page)}.md): {description}"

    contents = sidebar_contents()
    site = yaml.safe_load((NBS / "nbdev.yml").read_text())["website"]
    lines, more = [f"# {site['title']}", "", f"> {site['description']}"], []
    for item in contents:
        if "section" in item:
            lines += [
                "",
                f"## {item['section']}",
                "",
                *map(entry, sidebar_pages(item["contents"])),
            ]
        else:
            more += [entry(item["href"])]
    return "\n".join([*lines, "", "## Reference", "", *more]) + "\n"


if __name__ == "__main__":
    if any(a.startswith("--write") for a in sys.argv):
        for path, content in generated().items():
            path.write_bytes(content)
    sys.exit(main())
