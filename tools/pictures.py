"""Draw the front page's picture and the social card, from a run on the built-in scene.

python tools/pictures.py     # writes nbs/images/overview.png and nbs/images/card.png"""

from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Patch

from diffclip import DiffCLIP, Scene, Split, few_shot_split, synthetic_scene
from diffclip.data import PALETTE, draw_labels, stretch

IMAGES = Path(__file__).resolve().parent.parent / "nbs/images"
OFFSET = 0.1  # of the two rasters that overlap, as a share of their place


class Run(NamedTuple):
    "The front page's example"

    scene: Scene
    split: Split
    labels: np.ndarray  # (H, W), the map


def run():
    "Scene, two shots per class, map"
    scene = synthetic_scene(seed=0)
    split = few_shot_split(scene, shots=2, seed=0)
    model = DiffCLIP(scene.classes, preset="tiny", seed=0)
    model.pretrain(scene).fit(scene, split.train)
    return Run(scene, split, model.predict(scene))


def draw_rasters(fig, place, scene):
    "The height map behind the natural-colour picture; returns both axes"
    left, bottom, width, height = place
    size = [width * (1 - OFFSET), height * (1 - OFFSET)]
    back = fig.add_axes([left, bottom + OFFSET * height, *size])
    front = fig.add_axes([left + OFFSET * width, bottom, *size])
    back.imshow(stretch(scene.modalities["lidar"][:1], scene.valid), cmap="gray")
    front.imshow(scene.rgb())
    return back, front


def draw_shots(fig, place, scene, split):
    "The labelled pixels as dots on a pale picture; returns the axes"
    ax = fig.add_axes(place)
    ax.imshow(scene.rgb().mean(-1), cmap="gray", vmin=-0.6, vmax=1.4)
    size = 70 * (fig.get_figheight() / 3.4) ** 2
    for code in scene.classes:
        rows, columns = np.nonzero(split.train & (scene.labels == code))
        style = dict(color=scene.colors[code], edgecolor="white", linewidth=1.5)
        ax.scatter(columns, rows, s=size, **style)
    return ax


def draw_map(fig, place, scene, labels):
    "The map; returns the axes"
    ax = fig.add_axes(place)
    draw_labels(ax, labels, scene.classes, scene.colors, legend=False)
    return ax


def draw_arrow(fig, start, end, color):
    "From one place to the next"
    left, bottom, width, height = start
    middle = bottom + height / 2
    arrow = FancyArrowPatch(
        (left + width + 0.005, middle),
        (end[0] - 0.005, middle),
        arrowstyle="-|>",
        mutation_scale=22,
        lw=2.5,
        color=color,
    )
    fig.add_artist(arrow)


def panels(fig, places, example, color="black"):
    """Rasters, shots and map at three places, with arrows between.

    A place is (left, bottom, width, height) in shares of the figure. Returns the axes
    of the map."""
    rasters = draw_rasters(fig, places[0], example.scene)
    shots = draw_shots(fig, places[1], example.scene, example.split)
    result = draw_map(fig, places[2], example.scene, example.labels)
    for ax in (*rasters, shots, result):
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(color="white", linewidth=1.5)
    for start, end in zip(places, places[1:]):
        draw_arrow(fig, start, end, color)
    return result


def overview(example):
    "Rasters in, two pixels per class, map out"
    fig = plt.figure(figsize=(10.5, 3.4), facecolor="white")
    places = [[left, 0.06, 0.25, 0.77] for left in (0.01, 0.31, 0.61)]
    result = panels(fig, places, example)
    texts = ("rasters of one place", "two known pixels per class", "a map")
    for (left, _, width, _), text in zip(places, texts):
        fig.text(left + width / 2, 0.9, text, ha="center", fontsize=14)
    colors = example.scene.colors
    patches = [
        Patch(facecolor=colors[code], edgecolor="0.4", label=name)
        for code, name in example.scene.classes.items()
    ]
    place = dict(loc="center left", bbox_to_anchor=(1.02, 0.5))
    result.legend(handles=patches, frameon=False, fontsize=11, **place)
    fig.savefig(IMAGES / "overview.png", dpi=110)


def card(example):
    "1200×630 pixels, what a link to the site shows"
    fig = plt.figure(figsize=(12, 6.3), facecolor=PALETTE[0])
    places = [[left, 0.07, 0.27, 0.514] for left in (0.04, 0.365, 0.69)]
    panels(fig, places, example, color="white")
    fig.text(0.04, 0.8, "DiffCLIP", fontsize=58, color="white", weight="bold")
    claim = "Rasters in, two labelled pixels per class, a land-cover map out"
    fig.text(0.04, 0.67, claim, fontsize=23, color="white")
    fig.savefig(IMAGES / "card.png", dpi=100)


if __name__ == "__main__":
    example = run()
    overview(example)
    card(example)
