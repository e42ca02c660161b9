"""The map of the rooms in CONTRIBUTING.md: which notebook makes which module.

python tools/rooms.py      # write the map
"""

import ast

from cells import NBS, ROOT, module_of, read, title_and_description
from links import exported_name
from pages import sidebar_contents, sidebar_pages

PAGE = ROOT / "CONTRIBUTING.md"
BEGIN = "<!-- rooms: written by tools/rooms.py -->\n"
END = "<!-- end of rooms -->\n"
NAMES = 5  # shown of each module


def components():
    "Section of the sidebar → its pages, in reading order, of the component notebooks"
    for part in sidebar_contents():
        if part.get("section") == "Components":
            return {
                p["section"]: sidebar_pages(p["contents"]) for p in part["contents"]
            }
    return {}


def rooms():
    "Module → notebook, relative to `nbs`, in reading order"
    pages = [page for section in components().values() for page in section]
    return {module_of(read(NBS / page)): page for page in pages}


def public_names(module):
    "Functions, classes and patched methods of a module, as they come in its notebook"
    path = ROOT / "diffclip" / (module.replace(".", "/") + ".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions = (ast.FunctionDef, ast.ClassDef)
    nodes = [n for n in tree.body if isinstance(n, definitions)]
    return [exported_name(n) for n in nodes if not n.name.startswith("_")]


def row(page):
    "A line of the table"
    nb = read(NBS / page)
    names = public_names(module_of(nb))
    shown = ", ".join(f"`{name}`" for name in names[:NAMES])
    if len(names) > NAMES:
        shown += f" and {len(names) - NAMES} more"
    _, description = title_and_description(nb)
    return f"| [{module_of(nb)}](nbs/{page}) | {description.strip()} | {shown} |"


def table():
    "The map as Markdown: a line for each module"
    lines = [
        "| module and its notebook | what it is about | main names |",
        "|---|---|---|",
    ]
    for section, pages in components().items():
        lines += [f"| **{section}** | | |", *map(row, pages)]
    return "\n".join(lines) + "\n"


def contributing():
    "CONTRIBUTING.md with the map as it is now"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(contributing(), encoding="utf-8")
