"The rules for notebooks find what they are for, and leave the rest alone"

import json
import re

import cells
import links
import pages
import pytest
import rooms
import rules
import yaml

NAME = "01_page.ipynb"


def markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text, *outputs):
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [*outputs]}


def sound_page():
    "A tutorial with which nothing is wrong"
    figure = {"output_type": "display_data", "data": {"image/png": ""}}
    cell_list = [
        markdown("# A page\n\n> What it is for"),
        markdown(f"[Open in Colab]({links.COLAB}nbs/tutorials/{NAME})"),
        code("scene = synthetic_scene(seed=0)"),
        code('#| fig-alt: "A map with six colours"\nplot_map(scene)', figure),
    ]
    nb = {"cells": cell_list, "metadata": {}}
    nb["metadata"]["code_hash"] = cells.code_hash(nb)
    return nb


@pytest.fixture
def page(tmp_path, monkeypatch):
    "page(change) changes a sound page and returns what is wrong with it"
    path = tmp_path / "nbs" / "tutorials" / NAME
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(links, "ROOT", tmp_path)

    def changed(change=lambda nb: None):
        nb = sound_page()
        change(nb)
        path.write_text(json.dumps(nb), encoding="utf-8")
        return rules.problems(path)

    assert changed() == []
    return changed


def first(nb, test=lambda cell: True):
    "The first code cell that passes the test"
    return next(c for c in nb["cells"] if cells.is_code(c) and test(c))


def add_text(nb, text):
    nb["cells"].append(markdown(text))


def add_code(nb, text):
    "New code, as if it had been executed"
    nb["cells"].append(code(text))
    nb["metadata"]["code_hash"] = cells.code_hash(nb)


def add_output(nb, text, kind="stream"):
    if kind == "stream":
        output = {"output_type": "stream", "name": "stdout", "text": [text]}
    else:
        data = {f"text/{kind}": text}
        output = {"output_type": "display_data", "metadata": {}, "data": data}
    first(nb)["outputs"].append(output)


# ---------------------------------------------------------------------- fresh


def test_changed_moved_and_removed_code_makes_outputs_stale(page):
    def edit(nb):
        first(nb)["source"] = "scene = synthetic_scene(seed=1)"

    def move(nb):
        nb["cells"].append(nb["cells"].pop(nb["cells"].index(first(nb))))

    def remove(nb):
        nb["cells"].remove(first(nb))

    for change in (edit, move, remove):
        assert any("of other code" in wrong for wrong in page(change))


def test_changed_prose_and_alternative_text_do_not(page):
    def describe(nb):
        cell = first(nb, cells.has_figure)
        text = 'fig-alt: "Another description of what there is to see"'
        cell["source"] = re.sub(r"fig-alt: .*", text, cells.source(cell))

    assert page(describe) == page(lambda nb: add_text(nb, "One more.")) == []


def test_changed_measurements_make_outputs_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    scores = tmp_path / "tiles" / "results.csv"
    scores.parent.mkdir()
    scores.write_text("oa\n50\n")

    def hashes():
        names = ("", "/tiles", "/tiles/results.csv", "/speed.json")
        codes = {n: f'read("../benchmarks/results{n}")' for n in names}
        return {
            name: cells.code_hash({"cells": [code(text)]})
            for name, text in codes.items()
        }

    before = hashes()
    (tmp_path / "tiles" / "plot.png").write_text("")
    (tmp_path / "stage1").mkdir()
    (tmp_path / "stage1" / "config.json").write_text("")
    assert hashes() == before
    scores.write_text("oa\n51\n")
    changed = {name for name, value in hashes().items() if value != before[name]}
    assert changed == {"", "/tiles", "/tiles/results.csv"}


# -------------------------------------------------------------------- outputs


@pytest.mark.parametrize("kind", ["stream", "plain", "html"])
@pytest.mark.parametrize(
    "text, what",
    [
        ("wrote /tmp/tmpab12/map.tif", "path"),
        ("C:\\Users\\eve", "path"),
        ("x.py:3: UserWarning: labels", "warning"),
        ("12%|█▏  | 3/25 [00:01<00:09, 2.41it/s]", "progress"),
        ("step 1\rstep 2", "progress"),
        ("pretraining ━━━━━━━━ 100%", "progress"),
        ("\x1b[1mOA\x1b[0m", "escape"),
    ],
)
def test_what_no_reader_should_see_is_found(page, text, what, kind):
    wrong = page(lambda nb: add_output(nb, text, kind))
    assert wrong and all(what in w for w in wrong)


@pytest.mark.parametrize(
    "text", ["https://example.org/home/page", "crops: 30 % | 4 it", "a\r\nb", "a/work"]
)
def test_what_is_harmless_passes(page, text):
    assert page(lambda nb: add_output(nb, text)) == []


def test_errors_and_standard_error_are_found(page):
    error = {"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": []}
    stderr = {"output_type": "stream", "name": "stderr", "text": ["hm"]}
    assert "KeyError" in page(lambda nb: first(nb)["outputs"].append(error))[0]
    assert "standard error" in page(lambda nb: first(nb)["outputs"].append(stderr))[0]


# -------------------------------------------------------------------- figures


def test_figures_need_alternative_text(page):
    def edit(pattern, new):
        def change(nb):
            for cell in filter(cells.is_code, nb["cells"]):
                cell["source"] = re.sub(pattern, new, cells.source(cell), flags=re.M)

        return change

    def remove_figures(nb):
        nb["cells"] = [c for c in nb["cells"] if not cells.has_figure(c)]
        nb["metadata"]["code_hash"] = cells.code_hash(nb)

    assert "without alternative text" in page(edit(r"^#\| fig-alt.*\n", ""))[0]
    assert "no YAML" in page(edit("fig-alt: .*", "fig-alt: a map: colours"))[0]
    assert page(remove_figures) == ["no figure"]
    picture = page(lambda nb: add_text(nb, f"![]({NAME})"))
    assert len(picture) == 1 and "without alternative text" in picture[0]


# ----------------------------------------------------------------------- code


def test_long_cells_lines_and_functions_are_found(page):
    many = "x = 1\n" * 41
    body = "    x = 1\n" * 41
    wide = f'x = "{"x" * 90}"'

    def found(text):
        return page(lambda nb: add_code(nb, text))

    assert "41 lines of code" in found(many)[0]
    assert "96 characters" in found(wide)[0]
    assert "the body of f has 41 lines" in found(f"class A: ...\ndef f():\n{body}")[0]
    assert found(f"class A: ...\n{many}") == []
    assert found(f'#| fig-alt: "{"x" * 90}"\nx = 1') == []
    assert found(many[6:] + "\n\n") == []


def test_components_are_read_in_one_sitting():
    def component(words, *lengths):
        codes = ["#| export\n\n" + "x = 1\n" * n for n in lengths]
        text = markdown("word " * words)
        return rules.reading_problems({"cells": [text, *map(code, codes)]})

    assert component(2180, 12, 278, 12) == component(0) == []
    assert "takes 20.0 minutes" in component(2200, 12, 276, 12)[0]
    assert "12.5 lines" in component(10, 12, 13)[0]


def test_components_import_in_cells_of_their_own():
    def found(text):
        return rules.import_problems({"cells": [code(text)]})

    assert "cell 0" in found("import os\n\nos.getcwd()")[0]
    assert found("import os\nimport sys") == found("x = 1") == []
    assert found("#| export\nimport os\n\nx = 1") == []


def test_title_and_description_are_needed(page):
    def edit(text):
        def change(nb):
            nb["cells"][0]["source"] = text

        return change

    assert "title" in page(edit("Just text"))[0]
    assert "title" in page(edit("# Title\n\n> Description\n\nand more"))[0]
    assert "title" in page(lambda nb: add_text(nb, "# Another title"))[0]


# ---------------------------------------------------------------------- links


@pytest.mark.parametrize(
    "link, wrong",
    [
        ("nowhere.ipynb", "no file"),
        ("#no-such-heading", "without that heading"),
        (f"{NAME}#nor-here", "without that heading"),
        ("/data/01_scene.ipynb#nope", "without that heading"),
        (f"{links.REPOSITORY}/blob/main/NOTHING.md", "no file"),
    ],
)
def test_broken_links_are_found(page, link, wrong):
    found = page(lambda nb: add_text(nb, f"See [there]({link})."))
    assert len(found) == 1 and wrong in found[0]
    quoted = f"`[a]({link})`\n\n    [a]({link})\n\n```\n[a]({link})\n```"
    assert page(lambda nb: add_text(nb, quoted)) == []


def test_sound_links_pass(page):
    text = (
        "## 1. Ünd *so* `weiter`, [mehr](https://example.org)\n"
        "[a](#ünd-so-weiter-mehr) [b](/data/03_splits.ipynb#few_shot_split) "
        f"[c]({links.REPOSITORY}/blob/main/nbs/tutorials/{NAME})"
    )
    assert page(lambda nb: add_text(nb, text)) == []


def test_functions_have_anchors_where_they_are_explained():
    assert "few_shot_split" in links.documented(cells.NBS / "data/03_splits.ipynb")
    assert "scene.save_yaml" in links.documented(
        cells.NBS / "data/11_scene_files.ipynb"
    )


# ------------------------------------------------------------------- the site


def test_sidebar_and_files_must_name_each_other(tmp_path):
    section = {"section": "S", "contents": ["b.ipynb", "b.ipynb"]}
    settings = {"website": {"sidebar": {"contents": [section]}}}
    (tmp_path / "a.ipynb").write_text("{}")
    (tmp_path / "sidebar.yml").write_text(yaml.safe_dump(settings))
    assert pages.sidebar_problems(tmp_path) == [
        "b.ipynb: in the sidebar, but there is no such file",
        "a.ipynb: not in the sidebar",
        "b.ipynb: twice in the sidebar",
    ]


def test_the_map_of_the_rooms_is_written_between_its_marks(tmp_path, monkeypatch):
    text = f"above\n{rooms.BEGIN}FORMER{rooms.END}below\n"
    monkeypatch.setattr(rooms, "PAGE", tmp_path / "CONTRIBUTING.md")
    rooms.PAGE.write_text(text)
    found = rooms.contributing()
    assert found.startswith("above\n") and found.endswith("below\n")
    assert "| [core](nbs/00_core.ipynb) |" in found and "FORMER" not in found
