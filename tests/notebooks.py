"""The notebooks as committed: executed, cleaned, fit to be read. Needs no Quarto.

    python tests/notebooks.py                    # execute those whose code has changed since they were last executed
    python tests/notebooks.py nbs/00_data.ipynb  # execute these
    python tests/notebooks.py --all              # execute every one
    python tests/notebooks.py --check            # execute none; list what is wrong, exit with 1 if anything is

Executing writes the outputs, cleans the notebook with nbdev and stores a hash of its code cells, and of the measurements in benchmarks/results/ that they name, with them: outputs that belong to other code or to former measurements are found out."""

import ast, hashlib, json, multiprocessing, os, re, statistics, sys, time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
RESULTS = ROOT / "benchmarks" / "results"
REPOSITORY = "https://github.com/diffclip/diffclip"
COLAB = "https://colab.research.google.com/github/diffclip/diffclip/blob/main/{}"


def notebooks(nbs=NBS):
    return sorted(
        p
        for p in nbs.rglob("*.ipynb")
        if not any(x.startswith((".", "_")) for x in p.relative_to(nbs).parts)
    )


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


def prose(nb):
    return [source(c) for c in nb["cells"] if c["cell_type"] == "markdown"]


# ---------------------------------------------------------------- executed?


def measurements(code):
    "Scores and times below benchmarks/results that the code names, by their own path or by that of a folder above them; not the models, pictures and quick trials that lie beside them where they were made"
    named = {
        RESULTS / name.strip("/.")
        for name in re.findall(r"\bbenchmarks/results\b([\w./-]*)", code)
    }
    found = {
        f
        for p in named
        for f in ([p] if p.is_file() else p.rglob("*"))
        if f.suffix in (".csv", ".json")
    }
    return sorted(
        f
        for f in found
        if not any(
            part.startswith(("stage1", "speed_quick"))
            for part in f.relative_to(RESULTS).parts
        )
    )


def code_hash(nb):
    "Of all code cells in order, without the lines that only say how a page shows them (alternative text, folding), and of the measurements they name: 16 hexadecimal digits"
    code = "\0".join(
        re.sub(r"^#\|(?!\s*eval).*\n?", "", source(c), flags=re.M).strip()
        for c in nb["cells"]
        if c["cell_type"] == "code"
    )
    h = hashlib.sha256(code.encode())
    for f in measurements(code):
        h.update(
            f.relative_to(RESULTS).as_posix().encode()
            + b"\0"
            + f.read_bytes().replace(b"\r\n", b"\n")
        )
    return h.hexdigest()[:16]


def stale(nb):
    "Do the outputs belong to other code or measurements than are here, or is it not known?"
    return nb["metadata"].get("code_hash") != code_hash(nb)


def execute(path):
    "Run a notebook in its folder, in this process; write outputs and hash"
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell

    os.chdir(path.parent)
    nb, shell = read_nb(path), CaptureShell(path, mpl_format="png")
    skipped = lambda c: (
        c.cell_type == "code" and re.search(r"^#\|\s*eval:\s*false", c.source, re.M)
    )
    for c in nb.cells:
        if c.cell_type == "code" and not skipped(c):
            c.outputs = []  # execnb leaves the old ones where a cell no longer prints anything
    try:
        shell.run_all(nb, exc_stop=True, preproc=skipped)
    except Exception:
        sys.exit(shell.prettytb(fname=path.name))
    nb.metadata["code_hash"] = code_hash(nb)
    write_nb(nb, path)


def refresh(path):
    "Execute in a fresh process and clean; True if that went well and nothing is wrong with the result"
    from nbdev.clean import nbdev_clean

    start, cpu = time.time(), os.times().children_user
    p = multiprocessing.get_context("spawn").Process(target=execute, args=(path,))
    p.start()
    p.join()
    if p.exitcode:
        return False
    nbdev_clean.__wrapped__(str(path))
    wrong = problems(path)
    print(
        f"{path.relative_to(ROOT)}: {time.time() - start:.0f} s, {os.times().children_user - cpu:.0f} s of CPU",
        *wrong,
        sep="\n  ",
        flush=True,
    )
    return not wrong


# ---------------------------------------------------------------- fit to be read?

# what must not stand in an output: (what it is, pattern)
FORBIDDEN = (
    (
        "a path of the author's machine",
        r"(?<![\w.:/])/(?:home|root|tmp|work|Users|private|var/folders|mnt|content)/[\w.]|\b[A-Z]:\\\\?Users",
    ),
    ("a warning", r"\b\w*Warning\b"),
    (
        "the remains of a progress bar",
        r"\r(?!\n)|\d+(?:it|s)/(?:s|it)\b|\d+%\|[\s█▏▎▍▌▋▊▉]*\||[━╸╺]{3}",
    ),
    ("a terminal's escape codes", r"\x1b\["),
)


def outputs(cell):
    return cell.get("outputs", [])


def joined(v):
    return "".join(v) if isinstance(v, list) else str(v)


def texts(out):
    return [
        joined(out.get("text", "")),
        *(
            joined(v)
            for k, v in out.get("data", {}).items()
            if k.startswith("text/") or "svg" in k
        ),
    ]


def has_figure(cell):
    return any(k.startswith("image/") for o in outputs(cell) for k in o.get("data", {}))


def options(cell):
    "The `#|` lines of a cell as Quarto reads them; raises yaml.YAMLError"
    lines = re.findall(r"^#\|\s*([\w-]+:.*)$", source(cell), re.M)
    return {k: v for line in lines for k, v in yaml.safe_load(line).items()}


def output_problems(nb):
    "Errors, messages on standard error, and what the forbidden patterns find"
    out = []
    for i, cell in enumerate(nb["cells"]):
        for o in outputs(cell):
            if o["output_type"] == "error":
                out.append(f"cell {i}: failed with {o['ename']}")
            if o.get("name") == "stderr":
                out.append(
                    f"cell {i}: wrote to standard error: {joined(o['text'])[:80]!r}"
                )
            out += [
                f"cell {i}: {what} in the output: {m[0]!r}"
                for t in texts(o)
                for what, p in FORBIDDEN
                if (m := re.search(p, t))
            ]
    return out


def figure_problems(nb):
    "Each figure has alternative text that Quarto can read; each notebook has a figure"
    out, alts = [], []
    for i, cell in enumerate(nb["cells"]):
        if cell["cell_type"] == "markdown":
            pictures = re.findall(r"!\[([^\]]*)\]\((?!https?://colab)", source(cell))
            out += [
                f"cell {i}: a picture without alternative text"
                for a in pictures
                if not a.strip()
            ]
            alts += [a for a in pictures if a.strip() and "Colab" not in a]
            continue
        try:
            o = options(cell)
        except yaml.YAMLError:
            out.append(
                f"cell {i}: a #| line is no YAML (a colon and a space in the text need quotes)"
            )
            continue
        if not has_figure(cell):
            continue
        alt = o.get("fig-alt")
        if not isinstance(alt, str) or len(alt) < 20:
            out.append(
                f"cell {i}: a figure without alternative text: begin the cell with #| fig-alt: …"
            )
        else:
            alts.append(alt)
    if not alts:
        out.append("no figure")
    return out + [
        f"two figures have the alternative text {a[:50]!r}"
        for a in {a for a in alts if alts.count(a) > 1}
    ]


def heading_problems(nb):
    "A title and a line that says what the page is for, as nbdev reads them; no second title"
    first = prose(nb)[0] if prose(nb) else ""
    titles = [
        t for p in prose(nb) for t in re.findall(r"^# .+$", without_code(p), re.M)
    ]
    return (
        []
        if re.fullmatch(r"# .+\n\n> .+(\n- .+)*", first.strip()) and len(titles) == 1
        else [
            "the first cell is not one title (# …), an empty line and a description (> …), the only ones"
        ]
    )


def reading_problems(nb):
    "A component is read in one sitting: in less than 20 minutes, with 220 words of prose or 30 lines of code a minute; and most of its cells are small"
    lines = [
        n
        for c in nb["cells"]
        if c["cell_type"] == "code"
        and (
            n := sum(
                bool(l.strip()) and not l.startswith("#|")
                for l in source(c).splitlines()
            )
        )
    ]
    minutes, middle = (
        sum(len(p.split()) for p in prose(nb)) / 220 + sum(lines) / 30,
        statistics.median(lines or [0]),
    )
    return [
        f"takes {minutes:.1f} minutes to read, 20 are the limit: go on in a second notebook"
    ] * (minutes >= 20) + [
        f"half of the code cells have {middle:g} lines or more, 6 are the limit: look at what a piece does before the next piece"
    ] * (middle > 6)


def problems(path):
    "All that is wrong with one notebook, as lines"
    nb = read(path)
    out = (
        heading_problems(nb)
        + figure_problems(nb)
        + output_problems(nb)
        + link_problems(path)
    )
    out += [
        f"cell {i}: {n} lines of code: split it where the idea changes"
        for i, c in enumerate(nb["cells"])
        if c["cell_type"] == "code" and (n := len(source(c).splitlines())) > 40
    ]
    if stale(nb):
        out.append(
            f"the outputs are of other code, or of other measurements: python tests/notebooks.py {Path(path).name}"
        )
    folder = Path(path).parent.name
    if folder == NBS.name and Path(path).name[0].isdigit():
        out += reading_problems(nb)
    if folder in ("tutorials", "howto") and COLAB.format(
        f"nbs/{folder}/{Path(path).name}"
    ) not in "\n".join(prose(nb)):
        out.append("no link to open it in Colab")
    return out


# ---------------------------------------------------------------- links


def without_code(text):
    return re.sub(
        r"^(?: {4}|\t).*$",
        "",
        re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S),
        flags=re.M,
    )


def slug(heading):
    "The anchor that Pandoc makes of a heading"
    s = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    s = re.sub(r"[^\w\s.-]", "", s.lower()).strip()
    return re.sub(r"^[\W\d_]+", "", re.sub(r"\s+", "-", s)) or "section"


def documented(path):
    "Names under which nbdev documents functions, classes and patched methods on a component notebook's page, as anchors; what stands inside a class has no heading of its own"
    exported = "\n".join(
        s
        for c in read(path)["cells"]
        if c["cell_type"] == "code"
        and re.search(r"^#\|\s*exports?\b", s := source(c), re.M)
    )
    tops = [
        n
        for n in ast.parse(exported).body
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")
    ]
    patched = lambda n: any(
        ast.unparse(d).startswith("patch") for d in n.decorator_list
    )
    return {
        (
            f"{ast.unparse(n.args.args[0].annotation)}.{n.name}"
            if patched(n)
            else n.name
        ).lower()
        for n in tops
    }


def anchors(path):
    "All places of a page that a link can point to"
    path = Path(path)
    text = (
        "\n".join(prose(read(path)))
        if path.suffix == ".ipynb"
        else path.read_text(encoding="utf-8")
    )
    out = {
        slug(h)
        for h in re.findall(r"^#+ (.+?)\s*(?:\{.*\})?$", without_code(text), re.M)
    } | set(re.findall(r"\{#([\w.-]+)", text))
    return out | (documented(path) if path.suffix == ".ipynb" else set())


def links(text):
    "Targets of Markdown links and pictures, without code"
    text = re.sub(r"(`+).*?\1", "", without_code(text), flags=re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r"(?:href|src)=[\"']([^\"']+)[\"']", text
    )


def pieces(path):
    "The Markdown of a page: its text, and what its cells print as Markdown"
    if Path(path).suffix != ".ipynb":
        return [Path(path).read_text(encoding="utf-8")]
    nb = read(path)
    asis = [
        t
        for c in nb["cells"]
        if re.search(r"^#\|\s*output:\s*asis", source(c), re.M)
        for o in outputs(c)
        for t in texts(o)[:1]
    ]
    return (
        prose(nb)
        + asis
        + [
            joined(o["data"]["text/markdown"])
            for c in nb["cells"]
            for o in outputs(c)
            if "text/markdown" in o.get("data", {})
        ]
    )


def link_problems(path):
    "Links within the repository that lead nowhere"
    path, out = Path(path), []
    for link in (l for piece in pieces(path) for l in links(piece)):
        if link.startswith(f"{REPOSITORY}/blob/main/") or link.startswith(
            f"{REPOSITORY}/tree/main/"
        ):
            target, anchor = ROOT / link.split("/main/")[1].split("#")[0], ""
        elif link.startswith(COLAB.format("")):
            target, anchor = ROOT / link.removeprefix(COLAB.format("")), ""
        elif re.match(r"[a-z]+:", link):
            continue
        else:
            name, _, anchor = link.partition("#")
            target = (
                path
                if not name
                else NBS / name[1:]
                if name.startswith("/")
                else path.parent / name
            )
        if not target.exists():
            out.append(f"the link {link} leads to no file")
        elif anchor and anchor not in anchors(target):
            out.append(f"the link {link} leads to a page without that heading")
    return out


# ---------------------------------------------------------------- the site as a whole


def sidebar_contents(nbs=NBS):
    return yaml.safe_load((nbs / "sidebar.yml").read_text(encoding="utf-8"))["website"][
        "sidebar"
    ]["contents"]


def sidebar_pages(x):
    "Pages in reading order, as paths relative to `nbs`, of a part of the sidebar"
    if isinstance(x, str):
        return [x]
    if isinstance(x, list):
        return [p for y in x for p in sidebar_pages(y)]
    return [x["href"]] if "href" in x else sidebar_pages(x["contents"])


def sidebar_problems(nbs=NBS):
    "Sidebar and files must name each other, once"
    pages, files = (
        sidebar_pages(sidebar_contents(nbs)),
        {
            p.relative_to(nbs).as_posix()
            for p in [*notebooks(nbs), *nbs.glob("*.qmd")]
            if p.stem != "404"
        },
    )
    return (
        [
            f"{p}: in the sidebar, but there is no such file"
            for p in sorted(set(pages) - files)
        ]
        + [f"{p}: not in the sidebar" for p in sorted(files - set(pages))]
        + [
            f"{p}: twice in the sidebar"
            for p in sorted({p for p in pages if pages.count(p) > 1})
        ]
    )


def all_problems():
    "Everything, with the names of the files"
    texts = [
        ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    ] + sorted(NBS.glob("*.qmd"))
    return (
        sidebar_problems()
        + [f"{p.relative_to(ROOT)}: {w}" for p in notebooks() for w in problems(p)]
        + [f"{p.relative_to(ROOT)}: {w}" for p in texts for w in link_problems(p)]
    )


def main(args):
    if "--check" in args:
        wrong = all_problems()
        print(
            "\n".join(wrong)
            or f"{len(notebooks())} notebooks are executed, clean and linked"
        )
        return bool(wrong)
    if "--all" in args:
        todo = notebooks()
    elif args:
        todo = [
            next(
                (p for p in notebooks() if p == Path(a).resolve() or p.name == a), None
            )
            or sys.exit(f"{a}: no such notebook")
            for a in args
        ]
    else:
        todo = [p for p in notebooks() if stale(read(p))]
    results = [refresh(p) for p in todo]
    return not all(results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
