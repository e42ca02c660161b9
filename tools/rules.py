"""What a page must be like to be read: `problems(path)` lists what it is not."""

import ast
import re
import statistics

import yaml
from cells import (
    code_lines,
    has_figure,
    is_code,
    is_exported,
    is_stale,
    module_of,
    options,
    outputs,
    prose,
    read,
    shown,
    source,
    texts,
)
from links import COLAB, link_problems, without_code

LINE_LENGTH = 88
CELL_LINES = 40  # of a code cell that defines no class, without imports and signatures
FUNCTION_LINES = 40  # of a function's body
HALF_OF_THE_CELLS = 12  # lines; half of a component's code cells have no more
MINUTES = 20  # to read a component
WORDS_A_MINUTE = 220
LINES_A_MINUTE = 30

# components that have nothing to show in a figure
WITHOUT_FIGURE = {
    "core",
    "progress",
    "presets",
    "runs",
    "options",
    "cli",
    "text_alignment.tuning",
}

# what must not stand in an output: (what it is, pattern)
FORBIDDEN = (
    (
        "a path of the author's machine",
        r"(?<![\w.:/])/(?:home|root|tmp|work|Users|private|var/folders|mnt|content)/[\w.]"
        r"|\b[A-Z]:\\\\?Users",
    ),
    ("a warning", r"\b\w*Warning\b"),
    (
        "the remains of a progress bar",
        r"\r(?!\n)|\d+(?:it|s)/(?:s|it)\b|\d+%\|[\s█▏▎▍▌▋▊▉]*\||[━╸╺]{3}",
    ),
    ("a terminal's escape codes", r"\x1b\["),
)


def problems(path):
    "All that is wrong with one notebook, as lines"
    nb = read(path)
    is_lesson = path.parent.name in ("tutorials", "howto")
    found = (
        heading_problems(nb)
        + figure_problems(nb, is_lesson)
        + output_problems(nb)
        + code_problems(nb)
        + link_problems(path)
    )
    if is_stale(nb):
        found.append(
            "the outputs are of other code, or of other measurements: "
            f"python tools/notebooks.py {shown(path)}"
        )
    if module_of(nb):
        found += reading_problems(nb) + import_problems(nb)
    if is_lesson:
        found += colab_problems(nb, path)
    return found


def heading_problems(nb):
    "The first cell is title and description, as nbdev reads them; no second title"
    pages = prose(nb) or [""]
    titles = [t for p in pages for t in re.findall(r"^# .+$", without_code(p), re.M)]
    is_heading = re.fullmatch(r"# .+\n\n> .+(\n- .+)*", pages[0].strip())
    if is_heading and len(titles) == 1:
        return []
    return [
        "the first cell is not one title (# …), an empty line and a description (> …), "
        "the only ones"
    ]


def colab_problems(nb, path):
    "Tutorials and how-to pages open in Colab"
    link = f"{COLAB}nbs/{path.parent.name}/{path.name}"
    return [] if link in "\n".join(prose(nb)) else ["no link to open it in Colab"]


# -------------------------------------------------------------------- figures


def figure_problems(nb, is_lesson):
    "Each figure has alternative text that Quarto can read; lessons have a figure"
    found, described = [], []
    for i, cell in enumerate(nb["cells"]):
        try:
            descriptions = alternative_texts(cell)
        except yaml.YAMLError:
            found.append(
                f"cell {i}: a #| line is no YAML "
                "(a colon and a space in the text need quotes)"
            )
            continue
        if "" in descriptions:
            found.append(
                f"cell {i}: a figure without alternative text: "
                'begin the cell with #| fig-alt: "…", of 20 characters or more'
            )
        described += descriptions
    module = module_of(nb)
    needs_figure = is_lesson or (module and module not in WITHOUT_FIGURE)
    if needs_figure and not described:
        found.append("no figure")
    repeated = {text for text in described if text and described.count(text) > 1}
    found += [f"two figures have the alternative text {t[:50]!r}" for t in repeated]
    return found


def alternative_texts(cell):
    "One for each picture or figure of a cell; '' where it has none, or a short one"
    if not is_code(cell):
        pictures = re.findall(r"!\[([^\]]*)\]\((?!https?://colab)", source(cell))
        return [text.strip() for text in pictures if "Colab" not in text]
    text = options(cell).get("fig-alt")  # each cell's #| lines must be YAML
    if not has_figure(cell):
        return []
    return [text if isinstance(text, str) and len(text) >= 20 else ""]


# -------------------------------------------------------------------- outputs


def output_problems(nb):
    "Errors, messages on standard error, and what the forbidden patterns find"
    found = []
    for i, cell in enumerate(nb["cells"]):
        for output in outputs(cell):
            if output["output_type"] == "error":
                found.append(f"cell {i}: failed with {output['ename']}")
            if output.get("name") == "stderr":
                start = "".join(output["text"])[:80]
                found.append(f"cell {i}: wrote to standard error: {start!r}")
            for text in texts(output):
                found += [f"cell {i}: {what}" for what in forbidden(text)]
    return found


def forbidden(text):
    matches = [(what, re.search(pattern, text)) for what, pattern in FORBIDDEN]
    return [f"{what} in the output: {m[0]!r}" for what, m in matches if m]


# ----------------------------------------------------------------------- code


def code_problems(nb):
    "Lines, cells and functions that are too long to be read"
    found = []
    for i, cell in enumerate(nb["cells"]):
        if not is_code(cell):
            continue
        lines = code_lines(cell)
        defines_class = any(line.startswith("class ") for line in lines)
        length = count_lines(lines) - signature_lines(source(cell))
        if length > CELL_LINES and not defines_class:
            found.append(
                f"cell {i}: {length} lines of code, "
                f"{CELL_LINES} are the limit: "
                "split it where the idea changes"
            )
        found += [
            f"cell {i}: {len(line)} characters in the line {line.strip()[:40]!r}…, "
            f"{LINE_LENGTH} are the limit"
            for line in lines
            if len(line) > LINE_LENGTH
        ]
        found += [
            f"cell {i}: the body of {name} has {length} lines, "
            f"{FUNCTION_LINES} are the limit: make two functions of it"
            for name, length in function_lengths(source(cell))
            if length > FUNCTION_LINES
        ]
    return found


def import_problems(nb):
    "The site runs a component's cells that import something: they must do nothing else"
    return [
        f"cell {i}: imports and other code: give the imports a cell of their own"
        for i, cell in enumerate(nb["cells"])
        if is_code(cell) and not is_exported(cell) and mixes_imports(source(cell))
    ]


def mixes_imports(code):
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError:  # a line of IPython's, as %timeit
        return False
    imports = any(isinstance(n, (ast.Import, ast.ImportFrom)) for n in nodes)
    return imports and any(isinstance(n, (ast.Expr, ast.Assign)) for n in nodes)


def count_lines(lines):
    "Those that are not empty"
    return sum(bool(line.strip()) for line in lines)


def function_lengths(code):
    "Name and lines of the body, without signature and docstring, of each function"
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a line of IPython's, as %timeit
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    lines = code.splitlines()
    return [(f.name, body_length(f, lines)) for f in functions]


def signature_lines(code):
    "Lines of signatures and imports: such a table is read at a glance"
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return 0
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    tables = sum(f.body[0].lineno - f.lineno for f in functions)
    return tables + sum(n.end_lineno - n.lineno + 1 for n in imports)


def body_length(function, lines):
    "Lines that are not empty"
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return count_lines(lines[body[0].lineno - 1 : body[-1].end_lineno])


# --------------------------------------------------------------------- reading


def reading_problems(nb):
    "A component is read in one sitting, and most of its cells are small"
    lengths = [count_lines(code_lines(c)) for c in nb["cells"] if is_code(c)]
    lengths = [n for n in lengths if n]
    words = sum(len(text.split()) for text in prose(nb))
    minutes = words / WORDS_A_MINUTE + sum(lengths) / LINES_A_MINUTE
    middle = statistics.median(lengths or [0])
    found = []
    if minutes >= MINUTES:
        found.append(
            f"takes {minutes:.1f} minutes to read, {MINUTES} are the limit: "
            "go on in a second notebook, with a module of its own"
        )
    if middle > HALF_OF_THE_CELLS:
        found.append(
            f"half of the code cells have {middle:g} lines or more, "
            f"{HALF_OF_THE_CELLS} are the limit: "
            "look at what a piece does before the next piece"
        )
    return found
