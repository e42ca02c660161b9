"""Draws the front page's picture and the social card from a real run on the built-in scene.

python tools/pictures.py     # writes nbs/images/overview.png and nbs/images/card.png"""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Patch

from diffclip import DiffCLIP, few_shot_split, synthetic_scene
from diffclip.data import PALETTE, draw_labels, stretch

IMAGES = Path(__file__).resolve().parent.parent / "nbs/images"


def run():
    "The front page's example: scene, split, map"
    scene = synthetic_scene(seed=0)
    split = few_shot_split(scene, shots=2, seed=0)
    return (
        scene,
        split,
        DiffCLIP(scene.classes, preset="tiny", seed=0)
        .pretrain(scene)
        .fit(scene, split.train)
        .predict(scene),
    )


def panels(fig, boxes, scene, split, labels, color="black"):
    "Rasters, shots and map at three places (left, bottom, width, height in figure shares), with arrows between; returns the axes"
    (x, y, w, h), d = boxes[0], 0.1
    back, front = (
        fig.add_axes([x, y + d * h, w * (1 - d), h * (1 - d)]),
        fig.add_axes([x + d * w, y, w * (1 - d), h * (1 - d)]),
    )
    back.imshow(stretch(scene.modalities["lidar"][:1], scene.valid), cmap="gray")
    front.imshow(scene.rgb())
    dots, out = (fig.add_axes(b) for b in boxes[1:])
    dots.imshow(scene.rgb().mean(-1), cmap="gray", vmin=-0.6, vmax=1.4)
    for c in scene.classes:
        dots.scatter(
            *np.nonzero(split.train & (scene.labels == c))[::-1],
            s=70 * (fig.get_figheight() / 3.4) ** 2,
            color=scene.colors[c],
            edgecolor="white",
            linewidth=1.5,
        )
    draw_labels(out, labels, scene.classes, scene.colors, legend=False)
    for ax in (back, front, dots, out):
        ax.set(xticks=[], yticks=[])
        for s in ax.spines.values():
            s.set(color="white", linewidth=1.5)
    for a, b in zip(boxes, boxes[1:]):
        fig.add_artist(
            FancyArrowPatch(
                (a[0] + a[2] + 0.005, a[1] + a[3] / 2),
                (b[0] - 0.005, a[1] + a[3] / 2),
                arrowstyle="-|>",
                mutation_scale=22,
                lw=2.5,
                color=color,
            )
        )
    return dots, out


def overview(scene, split, labels):
    "Rasters in, two pixels a class, map out"
    fig = plt.figure(figsize=(10.5, 3.4), facecolor="white")
    boxes = [[x, 0.06, 0.25, 0.77] for x in (0.01, 0.31, 0.61)]
    _, out = panels(fig, boxes, scene, split, labels)
    for b, text in zip(
        boxes, ("rasters of one place", "two known pixels a class", "a map")
    ):
        fig.text(b[0] + b[2] / 2, 0.9, text, ha="center", fontsize=14)
    out.legend(
        handles=[
            Patch(facecolor=scene.colors[c], edgecolor="0.4", label=n)
            for c, n in scene.classes.items()
        ],
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=11,
    )
    fig.savefig(IMAGES / "overview.png", dpi=110)


def card(scene, split, labels):
    "1200×630, what a link to the site shows"
    fig = plt.figure(figsize=(12, 6.3), facecolor=PALETTE[0])
    panels(
        fig,
        [[x, 0.07, 0.27, 0.514] for x in (0.04, 0.365, 0.69)],
        scene,
        split,
        labels,
        "white",
    )
    fig.text(0.04, 0.8, "DiffCLIP", fontsize=58, color="white", weight="bold")
    fig.text(
        0.04,
        0.67,
        "Rasters in, two labelled pixels a class, a land-cover map out",
        fontsize=23,
        color="white",
    )
    fig.savefig(IMAGES / "card.png", dpi=100)


if __name__ == "__main__":
    result = run()
    overview(*result)
    card(*result)
