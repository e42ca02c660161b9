"The site without Quarto: configuration, pictures, API page, colours, contrast"

import importlib
import inspect
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
import rooms
import yaml
from cells import NBS, ROOT
from links import page_markdown
from matplotlib.colors import to_rgb


def load_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_configuration_names_files_that_exist():
    site = load_yaml(NBS / "_quarto.yml")
    html = site["format"]["html"]
    web = site["website"]
    themes = [name for theme in html["theme"].values() for name in theme]
    files = [
        web["favicon"],
        web["image"],
        web["navbar"]["logo"],
        html["css"],
        *site["metadata-files"],
        *(name for name in themes if name.endswith(".scss")),
    ]
    assert [f for f in files if not (NBS / f).is_file()] == []
    assert html["html-math-method"] == "mathml"
    assert html["code-copy"] and web["search"]
    assert set(html["theme"]) == {"light", "dark"}
    assert load_yaml(NBS / "nbdev.yml")["website"]["site-url"]


def test_workflows_cover_systems_and_versions():
    workflows = ROOT / ".github" / "workflows"
    jobs = load_yaml(workflows / "test.yml")["jobs"]
    matrix = jobs["matrix"]["strategy"]["matrix"]
    assert {m.split("-")[0] for m in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert any("lowest-direct" in s.get("run", "") for s in jobs["lowest"]["steps"])
    steps = load_yaml(workflows / "docs.yml")["jobs"]["build"]["steps"]
    assert any(s.get("run") == "make docs" for s in steps)


def test_pictures_are_sound_and_say_what_they_are():
    for path in NBS.glob("images/*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg"), path.name
        assert path.stem == "favicon" or root.get("aria-label"), path.name


def test_social_card_has_the_size_that_sites_expect():
    png = (NBS / "images/card.png").read_bytes()
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and (width, height) == (1200, 630)


def described_methods(cls):
    "Public methods that have a docstring"
    for name, value in vars(cls).items():
        if inspect.isfunction(value) and not name.startswith("_") and value.__doc__:
            yield f"{cls.__name__}.{name}"


def test_api_page_lists_every_public_name():
    page = "\n".join(page_markdown(NBS / "api.ipynb"))
    names = []
    for room in rooms.rooms():
        module = importlib.import_module(f"diffclip.{room}")
        names += module.__all__
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)):
                names += described_methods(getattr(module, name))
    missing = [name for name in names if f"`{name}`" not in page]
    assert missing == [], "run python tools/notebooks.py nbs/api.ipynb"


# --------------------------------------------------------------------- colours

VISION = {"normal": None, "deuteranopia": "deuteranomaly", "protanopia": "protanomaly"}


def seen(colors, vision):
    """What the colours look like (n, 3), in CAM02-UCS, where distance is difference.

    Machado, Oliveira & Fernandes 2009, at full severity."""
    from colorspacious import cspace_convert

    rgb = np.array([to_rgb(c) for c in colors])
    if VISION[vision]:
        space = {"name": "sRGB1+CVD", "cvd_type": VISION[vision], "severity": 100}
        rgb = cspace_convert(rgb, space, "sRGB1").clip(0, 1)
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
    """ΔE′ 1 is just noticeable side by side.

    10 is ten times that, which is enough for the patches of a map and its legend."""
    from diffclip.data import PALETTE, SYNTHETIC_COLORS

    for colors in (list(PALETTE), list(SYNTHETIC_COLORS.values())):
        assert nearest(colors, vision)[0] >= 10, nearest(colors, vision)


@pytest.mark.filterwarnings("ignore")
def test_the_measure_sees_red_and_green_as_deuteranopes_do():
    brown_and_green = ["#a05a2c", "#5f7a2c"]
    assert nearest(brown_and_green, "normal")[0] > 20
    assert nearest(brown_and_green, "deuteranopia")[0] < 10


def luminance(color):
    "WCAG 2: 0 to 1"
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    "WCAG 2: 1 to 21"
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(theme):
    text = (NBS / f"{theme}.scss").read_text()
    color = dict(re.findall(r"^\$([\w-]+):\s*(#[0-9a-f]{6});", text, re.M))
    pairs = [
        ("code-color", "code-bg"),
        ("code-color", "body-bg"),
        ("navbar-fg", "navbar-bg"),
    ]
    for name in ("body-color", "link-color", "text-muted"):
        pairs += [(name, "body-bg"), (name, "code-block-bg")]
    contrasts = {(a, b): contrast(color[a], color[b]) for a, b in pairs}
    assert {pair: c for pair, c in contrasts.items() if c < 4.5} == {}


def test_the_measure_of_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
