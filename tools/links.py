"""Links between the pages: where they lead, and which places a page has."""

import ast
import re
from pathlib import Path

from cells import NBS, ROOT, is_exported, joined, outputs, prose, read, source, texts

REPOSITORY = "https://github.com/diffclip/diffclip"
COLAB = "https://colab.research.google.com/github/diffclip/diffclip/blob/main/"
IN_REPOSITORY = (f"{REPOSITORY}/blob/main/", f"{REPOSITORY}/tree/main/", COLAB)


def without_code(text):
    "Markdown without its code blocks"
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    return re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.M)


def links(text):
    "Targets of Markdown's links and pictures, and of HTML's"
    text = re.sub(r"(`+).*?\1", "", without_code(text), flags=re.S)
    html = re.findall(r"(?:href|src)=[\"']([^\"']+)[\"']", text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + html


def slug(heading):
    "The anchor that Pandoc makes of a heading"
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = re.sub(r"[^\w\s.-]", "", text.lower()).strip()
    return re.sub(r"^[\W\d_]+", "", re.sub(r"\s+", "-", text)) or "section"


def exported_name(node):
    "'Scene', or 'Scene.save_yaml' of a function that is patched into a class"
    is_patch = any(ast.unparse(d).startswith("patch") for d in node.decorator_list)
    if not is_patch:
        return node.name
    return f"{ast.unparse(node.args.args[0].annotation)}.{node.name}"


def documented(path):
    """Anchors that nbdev makes of the functions, classes and patched methods.

    What stands inside a class has no heading of its own."""
    code = "\n".join(source(c) for c in read(path)["cells"] if is_exported(c))
    definitions = (ast.FunctionDef, ast.ClassDef)
    nodes = [n for n in ast.parse(code).body if isinstance(n, definitions)]
    return {exported_name(n).lower() for n in nodes if not n.name.startswith("_")}


def anchors(path):
    "All places of a page that a link can point to"
    is_notebook = path.suffix == ".ipynb"
    if is_notebook:
        text = "\n".join(prose(read(path)))
    else:
        text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+?)\s*(?:\{.*\})?$", without_code(text), re.M)
    found = set(map(slug, headings)) | set(re.findall(r"\{#([\w.-]+)", text))
    return found | (documented(path) if is_notebook else set())


def printed_markdown(cell):
    "What a cell prints that a page shows as Markdown"
    found = [
        joined(o["data"]["text/markdown"])
        for o in outputs(cell)
        if "text/markdown" in o.get("data", {})
    ]
    if re.search(r"^#\|\s*output:\s*asis", source(cell), re.M):
        found += [t for o in outputs(cell) for t in texts(o)[:1]]
    return found


def page_markdown(path):
    "The Markdown of a page: its text, and what its cells print as Markdown"
    if Path(path).suffix != ".ipynb":
        return [Path(path).read_text(encoding="utf-8")]
    nb = read(path)
    return prose(nb) + [text for c in nb["cells"] for text in printed_markdown(c)]


def link_target(path, link):
    "File and anchor that a link on a page leads to; (None, '') outside of this project"
    for address in IN_REPOSITORY:
        if link.startswith(address):
            return ROOT / link.removeprefix(address).partition("#")[0], ""
    if re.match(r"[a-z]+:", link):
        return None, ""
    name, _, anchor = link.partition("#")
    if not name:
        return path, anchor
    if name.startswith("/"):
        return NBS / name[1:], anchor
    return path.parent / name, anchor


def link_problems(path):
    "Links of a page that lead nowhere"
    path = Path(path)
    found = []
    for link in [each for text in page_markdown(path) for each in links(text)]:
        target, anchor = link_target(path, link)
        if target is None:
            continue
        if not target.exists():
            found.append(f"the link {link} leads to no file")
        elif anchor and anchor not in anchors(target):
            found.append(f"the link {link} leads to a page without that heading")
    return found
