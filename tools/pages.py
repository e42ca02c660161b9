"""The site as a whole: reading order, and what is written from the notebooks.

README.md comes from nbs/index.ipynb, nbs/llms.txt from the sidebar."""

import base64
import re
from pathlib import Path

import yaml
from cells import (
    NBS,
    ROOT,
    joined,
    notebooks,
    options,
    outputs,
    read,
    source,
    title_and_description,
)


def load_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# --------------------------------------------------------------------- sidebar


def sidebar_contents(nbs=NBS):
    return load_yaml(nbs / "sidebar.yml")["website"]["sidebar"]["contents"]


def sidebar_pages(part):
    "Pages in reading order, relative to `nbs`, of a part of the sidebar"
    if isinstance(part, str):
        return [part]
    if isinstance(part, list):
        return [page for each in part for page in sidebar_pages(each)]
    return [part["href"]] if "href" in part else sidebar_pages(part["contents"])


def sidebar_problems(nbs=NBS):
    "Sidebar and files must name each other, once"
    pages = sidebar_pages(sidebar_contents(nbs))
    paths = [*notebooks(nbs), *nbs.glob("*.qmd")]
    files = {p.relative_to(nbs).as_posix() for p in paths if p.stem != "404"}
    absent = sorted(set(pages) - files)
    unlisted = sorted(files - set(pages))
    repeated = sorted({p for p in pages if pages.count(p) > 1})
    return (
        [f"{p}: in the sidebar, but there is no such file" for p in absent]
        + [f"{p}: not in the sidebar" for p in unlisted]
        + [f"{p}: twice in the sidebar" for p in repeated]
    )


# ---------------------------------------------------------------------- README


def front_page(notebook=NBS / "index.ipynb"):
    "The front page as Markdown, and its figures: name → PNG"
    parts, pictures = [], {}
    for cell in read(notebook)["cells"]:
        text = source(cell).strip()
        if not text or "#| hide" in text:
            continue
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        if "#| echo: false" not in text:
            lines = [line for line in text.splitlines() if not line.startswith("#|")]
            parts.append("\n".join(["```python", *lines, "```"]))
        for output in outputs(cell):
            parts += printed(cell, output, pictures)
    markdown = "\n\n".join(parts) + "\n"
    return re.sub(r"\]\((?![a-z]+:|#)", "](nbs/", markdown), pictures


def printed(cell, output, pictures):
    "An output as Markdown: none or one piece of text; adds to the pictures"
    data = output.get("data", {})
    if "image/png" in data:
        name = f"readme-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode(joined(data["image/png"]))
        return [f"![{options(cell)['fig-alt']}](images/{name})"]
    text = joined(output.get("text", "")) or joined(data.get("text/plain", ""))
    if not text.strip():
        return []
    if "#| output: asis" in source(cell):
        return [text.strip()]
    lines = text.strip("\n").splitlines()
    return ["\n".join(("    " + line).rstrip() for line in lines)]


# -------------------------------------------------------------------- llms.txt


def site_settings():
    return load_yaml(NBS / "nbdev.yml")["website"]


def page_address(page):
    "Address of a page of the site: nbdev drops the numbers before the names"
    folder = Path(page).parent.as_posix()
    name = re.sub(r"^\d+[a-z]?_", "", Path(page).stem) + ".html"
    parts = [site_settings()["site-url"], folder, name]
    return "/".join(part for part in parts if part != ".")


def llms_entry(page):
    if not page.endswith(".ipynb"):
        return f"- [{Path(page).stem}]({page_address(page)})"
    title, description = title_and_description(read(NBS / page))
    return f"- [{title}]({page_address(page)}.md): {description}"


def llms_txt():
    """The index for language models (llmstxt.org).

    Every page in reading order, as the Markdown that Quarto keeps beside it."""
    site = site_settings()
    lines = [f"# {site['title']}", "", f"> {site['description']}"]
    single = []
    for part in sidebar_contents():
        if "section" in part:
            pages = sidebar_pages(part["contents"])
            lines += ["", f"## {part['section']}", "", *map(llms_entry, pages)]
        else:
            single.append(llms_entry(part["href"]))
    return "\n".join([*lines, "", "## Reference", "", *single]) + "\n"


def written_pages():
    "Path → bytes of what is written from the notebooks"
    text, pictures = front_page()
    return {
        ROOT / "README.md": text.encode(),
        NBS / "llms.txt": llms_txt().encode(),
    } | {NBS / "images" / name: png for name, png in pictures.items()}
