"The site without Quarto: the checks of the notebooks find what they are for; colours, contrast, links of the configuration, API page"

import copy
import json
import re
from itertools import combinations

import numpy as np
import pytest
import yaml
from matplotlib.colors import to_rgb

import notebooks as nbk
from notebooks import NBS, ROOT

PAGE = NBS / "tutorials/01_your_first_map.ipynb"


@pytest.fixture
def page(tmp_path):
    "A sound page, to be spoilt: write(change) applies change(notebook) and returns what is found wrong"
    (tmp_path / "tutorials").mkdir()
    sound = nbk.read(PAGE)
    for cell in sound["cells"]:  # links lead out of the copy
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(
                r"\]\((?!https:)[^)]*\)", "](01_your_first_map.ipynb)", nbk.source(cell)
            )

    def write(change=lambda nb: None):
        nb, path = copy.deepcopy(sound), tmp_path / "tutorials" / PAGE.name
        change(nb)
        path.write_text(json.dumps(nb), encoding="utf-8")
        return nbk.problems(path)

    assert write() == []
    return write


def code(nb, test):
    return next(c for c in nb["cells"] if c["cell_type"] == "code" and test(c))


def add_text(nb, text):
    nb["cells"].append({"cell_type": "markdown", "metadata": {}, "source": text})


def test_changed_code_with_old_outputs_is_found(page):
    def change(nb):
        code(nb, lambda c: "seed=0" in nbk.source(c))["source"] = (
            "scene = synthetic_scene(seed=1)"
        )

    assert page(change) == [
        f"the outputs are of other code, or of other measurements: python tests/notebooks.py {PAGE.name}"
    ]


def test_changed_order_and_removed_cells_are_found(page):
    def swap(nb):
        nb["cells"].append(nb["cells"].pop(nb["cells"].index(code(nb, lambda c: True))))

    def drop(nb):
        nb["cells"].remove(code(nb, lambda c: not nbk.has_figure(c)))

    for change in (swap, drop):
        assert "of other code" in page(change)[0]


def test_changed_prose_and_alternative_text_keep_the_outputs_fresh(page):
    def describe(nb):
        c = code(nb, nbk.has_figure)
        c["source"] = re.sub(
            r"fig-alt: .*",
            "fig-alt: Another description of what there is to see",
            nbk.source(c),
        )

    for change in (describe, lambda nb: add_text(nb, "One more sentence.")):
        assert page(change) == []


def test_changed_measurements_make_the_outputs_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(nbk, "RESULTS", tmp_path)
    (tmp_path / "tiles").mkdir()
    scores, speed = tmp_path / "tiles" / "results.csv", tmp_path / "speed.json"
    scores.write_text("oa\n50\n")
    speed.write_text("1")
    reads = lambda what: nbk.code_hash(
        {
            "cells": [
                {"cell_type": "code", "source": f'read("../benchmarks/results{what}")'}
            ]
        }
    )
    before = {what: reads(what) for what in ("", "/tiles", "/speed.json", "/none")}
    changed = lambda: {what for what, h in before.items() if reads(what) != h}
    assert changed() == set()
    for beside in (
        "tiles/plot.png",
        "tiles/table.md",
        "tiles/stage1/scene-diffclip-0/config.json",
        "speed_quick.json",
    ):  # what a run leaves there and git does not keep
        (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / beside).write_text("{}")
    assert changed() == set()
    scores.write_text("oa\n51\n")
    assert changed() == {"", "/tiles"}
    scores.write_text("oa\n50\n")
    speed.write_text("2")
    assert changed() == {"", "/speed.json"}


def test_nbdev_keeps_the_hash():
    from nbdev.clean import _nbdev_clean
    from execnb.nbio import read_nb

    nb = read_nb(PAGE)
    _nbdev_clean(nb, path=ROOT)
    assert nb.metadata["code_hash"] == nbk.read(PAGE)["metadata"]["code_hash"]


@pytest.mark.parametrize(
    "text, what",
    [
        ("/home/eve/scene.tif: no such file", "path"),
        ("wrote /tmp/tmpab12/map.tif", "path"),
        ("'/work/data/S2.tif'", "path"),
        ("C:\\\\Users\\\\eve", "path"),
        ("C:\\Users\\eve", "path"),
        ("x.py:3: UserWarning: labels", "warning"),
        ("FutureWarning", "warning"),
        ("12%|█▏  | 3/25 [00:01<00:09, 2.41it/s]", "progress"),
        ("step 1\rstep 2", "progress"),
        ("pretraining ━━━━━━━━ 100%", "progress"),
        ("\x1b[1mOA\x1b[0m", "escape"),
    ],
)
@pytest.mark.parametrize("kind", ["stream", "plain", "html"])
def test_what_no_reader_should_see_is_found(page, text, what, kind):
    out = (
        {"output_type": "stream", "name": "stdout", "text": [text]}
        if kind == "stream"
        else {
            "output_type": "display_data",
            "metadata": {},
            "data": {"text/plain" if kind == "plain" else "text/html": text},
        }
    )
    wrong = page(lambda nb: code(nb, lambda c: True)["outputs"].append(out))
    assert wrong and all(what in w for w in wrong)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/home/page",
        "run/map.tif",
        "OA 71.6 %",
        "crops: 30 % | 4 it",
        "warning signs",
        "m/s",
        "a\r\nb",
        "classes/work",
    ],
)
def test_what_is_harmless_passes(page, text):
    assert (
        page(
            lambda nb: code(nb, lambda c: True)["outputs"].append(
                {"output_type": "stream", "name": "stdout", "text": text}
            )
        )
        == []
    )


def test_errors_and_standard_error_are_found(page):
    def fail(nb):
        code(nb, lambda c: True)["outputs"] = [
            {
                "output_type": "error",
                "ename": "KeyError",
                "evalue": "x",
                "traceback": [],
            }
        ]

    def speak(nb):
        code(nb, lambda c: True)["outputs"] = [
            {"output_type": "stream", "name": "stderr", "text": "hm"}
        ]

    assert "KeyError" in page(fail)[0] and "standard error" in page(speak)[0]


def test_figures_need_alternative_text(page):
    def without(nb):
        for c in nb["cells"]:
            if c["cell_type"] == "code" and nbk.has_figure(c):
                c["source"] = re.sub(r"^#\| fig-alt.*\n", "", nbk.source(c), flags=re.M)

    def unreadable(nb):
        c = code(nb, nbk.has_figure)
        c["source"] = re.sub(r"fig-alt: ", "fig-alt: a map: ", nbk.source(c))

    def none(nb):
        nb["cells"] = [
            c
            for c in nb["cells"]
            if not (c["cell_type"] == "code" and nbk.has_figure(c))
        ]
        nb["metadata"]["code_hash"] = nbk.code_hash(nb)

    assert any("without alternative text" in w for w in page(without))
    assert any("no YAML" in w for w in page(unreadable))
    assert page(none) == ["no figure"]
    assert page(lambda nb: add_text(nb, "![](01_your_first_map.ipynb)")) == [
        f"cell {len(nbk.read(PAGE)['cells'])}: a picture without alternative text"
    ]


def test_cells_beyond_forty_lines_are_found(page):
    def lengthen(nb):
        (c := code(nb, lambda c: True)).update(source=nbk.source(c) + "\n# more" * 41)

    assert any("lines of code" in w for w in page(lengthen))


def test_components_that_take_too_long_to_read_are_found():
    def component(words, *cells):
        return {
            "cells": [
                {"cell_type": "markdown", "source": "word " * words},
                *(
                    {"cell_type": "code", "source": "#| export\n\n" + "x = 1\n" * n}
                    for n in cells
                ),
            ]
        }

    assert (
        nbk.reading_problems(component(2180, 6, 290, 6))
        == []
        == nbk.reading_problems(component(0))
    )
    assert [
        "20.0 minutes" in w for w in nbk.reading_problems(component(2200, 6, 288, 6))
    ] == [True]
    assert ["6.5 lines" in w for w in nbk.reading_problems(component(10, 6, 7))] == [
        True
    ]


def test_components_are_read_against_the_clock_and_pages_are_not(page, tmp_path):
    def lengthen(nb):
        add_text(nb, "word " * 5000)

    assert page(lengthen) == []
    (tmp_path / "nbs").mkdir()
    path = tmp_path / "nbs/00_long.ipynb"
    path.write_text(
        json.dumps(
            {
                "metadata": {},
                "cells": [
                    {"cell_type": "markdown", "metadata": {}, "source": "word " * 5000}
                ],
            }
        )
    )
    assert any("minutes to read" in w for w in nbk.problems(path))


def test_title_and_description_are_needed(page):
    def second(nb):
        add_text(nb, "# Another title")

    def untitled(nb):
        nb["cells"][0]["source"] = "Just text"

    def mixed(nb):
        nb["cells"][0]["source"] = (
            nbk.source(nb["cells"][0])
            + "\n\nnbdev drops what follows the description in its cell."
        )

    for change in (second, untitled, mixed):
        assert "title" in page(change)[0]


@pytest.mark.parametrize(
    "link, wrong",
    [
        ("nowhere.ipynb", "no file"),
        ("#no-such-heading", "without that heading"),
        ("01_your_first_map.ipynb#nor-here", "without that heading"),
        ("/00_data.ipynb#nope", "without that heading"),
        ("https://github.com/diffclip/diffclip/blob/main/NOTHING.md", "no file"),
    ],
)
def test_broken_links_are_found(page, link, wrong):
    found = page(lambda nb: add_text(nb, f"See [there]({link})."))
    assert len(found) == 1 and wrong in found[0]
    assert (
        page(
            lambda nb: add_text(
                nb,
                f"In code, `[there]({link})`\n\n    [there]({link})\n\n```\n[there]({link})\n```",
            )
        )
        == []
    )


def test_sound_links_pass(page):
    assert (
        page(
            lambda nb: add_text(
                nb,
                "# 1. Ünd *so* `weiter`, [mehr](https://example.org)\n".replace(
                    "# ", "## "
                )
                + "[a](#ünd-so-weiter-mehr) [b](/00b_windows.ipynb#few_shot_split) "
                "[c](/05_classifier.ipynb#diffclip.fit) [d](https://github.com/diffclip/diffclip/blob/main/LICENSE)",
            )
        )
        == []
    )


def test_functions_are_linked_where_they_are_explained():
    assert "fit_shots" in nbk.documented(
        NBS / "03b_few_shot_fitting.ipynb"
    ) and "fit_shots" not in nbk.documented(NBS / "03_text_alignment.ipynb")
    assert "diffclip.query" in nbk.documented(
        NBS / "05b_open_vocabulary.ipynb"
    ) and "diffclip" in nbk.documented(NBS / "05_classifier.ipynb")


def test_sidebar_and_files_must_name_each_other(tmp_path):
    (tmp_path / "a.ipynb").write_text("{}")
    (tmp_path / "sidebar.yml").write_text(
        yaml.safe_dump(
            {
                "website": {
                    "sidebar": {
                        "contents": [
                            {"section": "S", "contents": ["b.ipynb", "b.ipynb"]}
                        ]
                    }
                }
            }
        )
    )
    assert nbk.sidebar_problems(tmp_path) == [
        "b.ipynb: in the sidebar, but there is no such file",
        "a.ipynb: not in the sidebar",
        "b.ipynb: twice in the sidebar",
    ]


def test_configuration_names_files_that_exist():
    site, book = (
        yaml.safe_load((NBS / f).read_text(encoding="utf-8"))
        for f in ("_quarto.yml", "nbdev.yml")
    )
    html, web = site["format"]["html"], site["website"]
    files = [
        web["favicon"],
        web["image"],
        web["navbar"]["logo"],
        html["css"],
        *site["metadata-files"],
        *(f for v in html["theme"].values() for f in v if f.endswith(".scss")),
    ]
    assert [f for f in files if not (NBS / f).is_file()] == []
    assert (
        html["html-math-method"] == "mathml"
        and html["code-copy"]
        and web["search"]
        and set(html["theme"]) == {"light", "dark"}
        and book["website"]["site-url"]
    )


def test_workflows_cover_systems_and_versions():
    test, docs = (
        yaml.safe_load(
            (ROOT / f".github/workflows/{n}.yml").read_text(encoding="utf-8")
        )
        for n in ("test", "docs")
    )
    matrix = test["jobs"]["matrix"]["strategy"]["matrix"]
    assert {m.split("-")[0] for m in matrix["os"]} == {
        "ubuntu",
        "macos",
        "windows",
    } and matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert any(s.get("run") == "make docs" for s in docs["jobs"]["build"]["steps"])


def test_pictures_are_sound_and_say_what_they_are():
    from xml.etree import ElementTree

    for path in NBS.glob("images/*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg") and (
            path.stem == "favicon" or root.get("aria-label")
        ), path.name


def test_social_card_has_the_size_that_sites_expect():
    png = (NBS / "images/card.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and (
        int.from_bytes(png[16:20], "big"),
        int.from_bytes(png[20:24], "big"),
    ) == (1200, 630)


def test_api_page_lists_every_public_name():
    import importlib
    import inspect

    page = "\n".join(nbk.pieces(NBS / "api.ipynb"))
    for path in sorted(NBS.glob("*.ipynb")):
        if not (
            m := re.search(
                r"^#\| default_exp (\w+)",
                "\n".join(nbk.source(c) for c in nbk.read(path)["cells"]),
                re.M,
            )
        ):
            continue
        module = importlib.import_module(f"diffclip.{m[1]}")
        for name in module.__all__:
            assert f"`{name}`" in page, (
                f"{m[1]}.{name}: run python tests/notebooks.py api.ipynb"
            )
            if inspect.isclass(obj := getattr(module, name)):
                for k, v in vars(obj).items():
                    if (
                        inspect.isfunction(v)
                        and not k.startswith("_")
                        and (v.__doc__ or "").strip()
                    ):
                        assert f"`{name}.{k}`" in page, f"{name}.{k}"


# ---------------------------------------------------------------- colours

VISION = {"normal": None, "deuteranopia": "deuteranomaly", "protanopia": "protanomaly"}


def seen(colors, vision):
    "What the colours look like (n, 3): Machado, Oliveira & Fernandes 2009 at full severity, in CAM02-UCS, where distance is difference"
    from colorspacious import cspace_convert

    rgb = np.array([to_rgb(c) for c in colors])
    if VISION[vision]:
        rgb = np.clip(
            cspace_convert(
                rgb,
                {"name": "sRGB1+CVD", "cvd_type": VISION[vision], "severity": 100},
                "sRGB1",
            ),
            0,
            1,
        )
    return cspace_convert(rgb, "sRGB1", "CAM02-UCS")


def nearest(colors, vision):
    "The two colours hardest to tell apart, and their ΔE′"
    x = seen(colors, vision)
    return min(
        (float(np.linalg.norm(x[i] - x[j])), colors[i], colors[j])
        for i, j in combinations(range(len(colors)), 2)
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("vision", VISION)
def test_class_colours_can_be_told_apart(vision):
    "ΔE′ 1 is just noticeable side by side; 10 is ten times that: enough for patches of a map and its legend"
    from diffclip.data import PALETTE, SYNTHETIC_COLORS

    for colors in (list(PALETTE), list(SYNTHETIC_COLORS.values())):
        assert nearest(colors, vision)[0] >= 10, nearest(colors, vision)


@pytest.mark.filterwarnings("ignore")
def test_the_measure_sees_red_and_green_as_deuteranopes_do():
    assert (
        nearest(["#a05a2c", "#5f7a2c"], "normal")[0]
        > 20
        > 10
        > nearest(["#a05a2c", "#5f7a2c"], "deuteranopia")[0]
    )


def luminance(color):
    c = np.array(to_rgb(color))
    return float(
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        @ [0.2126, 0.7152, 0.0722]
    )


def contrast(a, b):
    "WCAG 2: 1 to 21"
    hi, lo = sorted((luminance(a), luminance(b)), reverse=True)
    return (hi + 0.05) / (lo + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(theme):
    c = dict(
        re.findall(
            r"^\$([\w-]+):\s*(#[0-9a-f]{6});", (NBS / f"{theme}.scss").read_text(), re.M
        )
    )
    pairs = [
        (f, b)
        for f in ("body-color", "link-color", "text-muted")
        for b in ("body-bg", "code-block-bg")
    ] + [
        ("code-color", "code-bg"),
        ("code-color", "body-bg"),
        ("navbar-fg", "navbar-bg"),
    ]
    assert {
        (f, b): round(contrast(c[f], c[b]), 1)
        for f, b in pairs
        if contrast(c[f], c[b]) < 4.5
    } == {}
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast(
        "#777777", "#ffffff"
    ) == pytest.approx(4.48, abs=0.01)
