"""How fast preset `default` is beside `paper`, in one run on one machine: look at the ratios, the seconds are this machine's.

    python benchmarks/speed.py             # about a quarter of an hour on one CPU core, which it should have for itself; a CUDA device is used where there is one
    python benchmarks/speed.py --quick     # two minutes: does it run?

writes benchmarks/results/speed.json and speed.png. Three tables:
- windows per second of stage 1 and pixels per second of a map, at 13, 64 + 2 and 144 + 1 bands, of `paper` as published (a window for each
  pixel), of `paper` when a window labels the 5×5 pixels in its middle, and of `default` (encoding, averaging, likeness, smoothing: all of it);
- overall accuracy at 2 shots of `paper` and `default`, whose stage 1 had the same number of seconds;
- seconds and memory of a map by `default` as the scene grows. Each size has a process of its own; memory is the peak while `predict` runs,
  beyond what the process held before it: the scene, the model and the libraries (Linux).
On a CUDA device, TFLOP/s of stage 1 are counted by torch and set against the speed of a large bf16 matrix product on the same card."""

import argparse
import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from diffclip import PRESETS, DiffCLIP, Scene, evaluate, few_shot_split, synthetic_scene
from diffclip.cli import machine
from diffclip.data import PALETTE

RESULTS = Path(__file__).with_name("results")
PAPER = PRESETS["paper"]
VARIANTS = {
    "paper, a window a pixel": PAPER,
    "paper, a window 5×5 pixels": replace(
        PAPER, fitting=replace(PAPER.fitting, readout="pixel", block=5)
    ),
    "default": PRESETS["default"],
}
BANDS = {"13": (13, 0), "64 + 2": (64, 2), "144 + 1": (144, 1)}


def scene_of(hsi, lidar, size):
    "The built-in scene with other numbers of bands, interpolated between its own"
    s = synthetic_scene(0, size)
    x = np.asarray(s.modalities["hsi"])
    at = np.linspace(0, len(x) - 1, hsi)
    low, share = np.floor(at).astype(int), (at % 1)[:, None, None]
    mods = {
        "hsi": x[low] * (1 - share) + x[np.minimum(low + 1, len(x) - 1)] * share
    } | ({"lidar": np.asarray(s.modalities["lidar"])[:lidar]} if lidar else {})
    return Scene(
        mods,
        labels=s.labels,
        classes=s.classes,
        valid=s.valid,
        colors=s.colors,
        name=s.name,
    )


def seconds(f):
    "Wall clock, the device's work included"
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    f()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def stage1_rate(preset, scene, enough):
    "Windows per second; the model"
    model = DiffCLIP(scene.classes, preset).pretrain(scene, steps=2)
    steps = max(int(10 * enough / seconds(lambda: model.pretrain(scene, steps=10))), 4)
    t = seconds(lambda: model.pretrain(scene, steps=steps))
    return steps * preset.pretraining.batch / t, model


def map_rate(model, scene):
    "Pixels per second of a map of which nothing is known yet"
    model.fit(scene, few_shot_split(scene, 2).train)
    model.kept = None
    return scene.valid.size / seconds(lambda: model.predict(scene))


def rates(bands, sizes, enough):
    "One row of the first table"
    out = {}
    for name, preset in VARIANTS.items():
        if name != "paper, a window 5×5 pixels":
            windows, paper = stage1_rate(
                preset, scene_of(*bands, sizes[0]), enough
            )  # whose stage 1 is paper's
        model = DiffCLIP(paper.classes, preset)
        model.stage1, model.scaling = paper.stage1, paper.scaling
        out[name] = dict(
            windows_per_s=windows,
            pixels_per_s=map_rate(model, scene_of(*bands, sizes[name == "default"])),
        )
        if torch.cuda.is_available():
            out[name] |= cuda_share(model, scene_of(*bands, sizes[0]), preset)
    return out


def cuda_share(model, scene, preset, batch=1024):
    "TFLOP/s of stage 1, and their share of a large bf16 matrix product's"
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as count:
        model.pretrain(scene, steps=1)
    flops = count.get_total_flops() / preset.pretraining.batch
    large = replace(preset, pretraining=replace(preset.pretraining, batch=batch))
    model = DiffCLIP(scene.classes, large).pretrain(scene, steps=5)
    rate = flops * batch * 50 / seconds(lambda: model.pretrain(scene, steps=50)) / 1e12
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    peak = 10 * 2 * 8192**3 / seconds(lambda: [a @ a for _ in range(10)]) / 1e12
    return dict(tflops=rate, share_of_bf16_matrix_product=rate / peak)


def accuracy(per_s, budget, draws, size):
    "OA at 2 shots after equally long stages 1"
    scene, out = synthetic_scene(1, size), {}
    for name in ("paper, a window a pixel", "default"):
        steps = max(
            int(
                budget * per_s[name]["windows_per_s"] / VARIANTS[name].pretraining.batch
            ),
            1,
        )
        model = DiffCLIP(scene.classes, VARIANTS[name]).pretrain(scene, steps=steps)
        out[name] = dict(
            steps=steps,
            oa=[
                evaluate(
                    scene, model.fit(scene, split.train).predict(scene), split.test
                ).oa
                for split in (few_shot_split(scene, 2, k) for k in range(draws))
            ],
        )
    return out


def memory(what):
    "VmRSS, resident memory now, or VmHWM, its peak, in MB; None where there is no /proc"
    status = Path("/proc/self/status")
    return (
        next(
            int(l.split()[1]) / 1024
            for l in status.read_text().splitlines()
            if l.startswith(what)
        )
        if status.exists()
        else None
    )


def grown(size, queue):
    "Seconds and memory of a map of this size"
    small, scene = synthetic_scene(0, 64), scene_of(64, 2, size)
    model = (
        DiffCLIP(small.classes)
        .pretrain(small, steps=2)
        .fit(small, few_shot_split(small, 2).train)
    )
    if memory("VmRSS"):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS") or 0
    t = seconds(lambda: model.predict(scene))
    queue.put(
        dict(
            size=size,
            pixels=size**2,
            seconds=t,
            scene_MB=sum(m.nbytes for m in scene.modalities.values()) / 2**20,
            memory_MB=(memory("VmHWM") or float("nan")) - before,
        )
    )


def growth(sizes):
    "The third table"
    out, context = [], multiprocessing.get_context("spawn")
    for size in sizes:
        queue = context.Queue()
        p = context.Process(target=grown, args=(size, queue))
        p.start()
        out.append(queue.get())
        p.join()
    return out


def plot(r):
    "Ratios to `paper`, and what a larger scene costs"
    fig, axs = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for ax, key, title in zip(
        axs,
        ("windows_per_s", "pixels_per_s"),
        ("stage 1, windows per second", "map, pixels per second"),
    ):
        for i, name in enumerate(VARIANTS):
            ax.bar(
                np.arange(len(r["rates"])) + 0.27 * (i - 1),
                [
                    b[name][key] / b["paper, a window a pixel"][key]
                    for b in r["rates"].values()
                ],
                0.25,
                label=name,
                color=PALETTE[i],
            )
        ax.set(
            title=title,
            xticks=range(len(r["rates"])),
            xticklabels=list(r["rates"]),
            xlabel="bands",
            ylabel="times paper",
            yscale="log",
        )
        ax.grid(alpha=0.3, axis="y")
        ax.set_yticks(
            ticks := [t for t in (1, 2, 5, 10, 20, 50, 100) if t <= ax.get_ylim()[1]],
            ticks,
        )
        ax.minorticks_off()
    fig.legend(
        *axs[0].get_legend_handles_labels(),
        loc="outside lower left",
        ncols=3,
        fontsize=8,
    )
    px = [g["pixels"] for g in r["growth"]]
    axs[2].plot(px, [g["seconds"] for g in r["growth"]], "o-", label="seconds")
    axs[2].plot(px, [g["memory_MB"] for g in r["growth"]], "s--", label="memory, MB")
    axs[2].plot(
        px, [g["scene_MB"] for g in r["growth"]], "k:", label="the scene itself, MB"
    )
    axs[2].set(
        title="a map by default, 64 + 2 bands",
        xlabel="pixels",
        xscale="log",
        yscale="log",
        xticks=px,
        xticklabels=[f"{g['size']}²" for g in r["growth"]],
    )
    axs[2].minorticks_off()
    axs[2].grid(alpha=0.3)
    axs[2].legend(fontsize=7)
    return fig


def tables(r):
    "Markdown"
    base, times = "paper, a window a pixel", lambda v, b: f"{v:,.0f} (×{v / b:.1f})"
    yield "\n".join(
        [
            "| bands | preset | stage 1, windows/s | map, pixels/s |",
            "|---|---|---|---|",
            *(
                f"| {k} | {n} | {times(v['windows_per_s'], b[base]['windows_per_s'])} | {times(v['pixels_per_s'], b[base]['pixels_per_s'])} |"
                for k, b in r["rates"].items()
                for n, v in b.items()
            ),
        ]
    )
    yield "\n".join(
        [
            f"| OA at 2 shots, {len(r['accuracy'][base]['oa'])} draws, stage 1 of {r['stage1_seconds']} s | steps | mean ± std |",
            "|---|---|---|",
            *(
                f"| {n} | {v['steps']:,} | {np.mean(v['oa']):.1f} ± {np.std(v['oa']):.1f} |"
                for n, v in r["accuracy"].items()
            ),
        ]
    )
    yield "\n".join(
        [
            "| scene | the scene, MB | a map by `default`, s | pixels/s | memory beyond the scene, MB |",
            "|---|---|---|---|---|",
            *(
                f"| {g['size']}×{g['size']} | {g['scene_MB']:.0f} | {g['seconds']:.1f} | {g['pixels'] / g['seconds']:,.0f} | {g['memory_MB']:.0f} |"
                for g in r["growth"]
            ),
        ]
    )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--quick",
        action="store_true",
        help="small and short, written to speed_quick.json",
    )
    quick, start = p.parse_args().quick, time.time()
    enough, sizes, budget, draws, areas = (
        (0.2, (64, 64), 2, 1, (64, 128))
        if quick
        else (6.0, (64, 160), 60, 3, (160, 320, 640))
    )
    r = dict(
        command="python benchmarks/speed.py" + " --quick" * quick,
        machine=machine(),
        stage1_seconds=budget,
    )
    r["rates"] = {
        k: rates(b, sizes, enough)
        for k, b in BANDS.items()
        if k == "64 + 2" or not quick
    }
    r["accuracy"] = accuracy(r["rates"]["64 + 2"], budget, draws, 64)
    r["growth"] = growth(areas)
    r["seconds"] = round(time.time() - start)
    name = "speed_quick" if quick else "speed"
    (RESULTS / f"{name}.json").write_text(
        json.dumps(r, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    plot(r).savefig(RESULTS / f"{name}.png", dpi=120)
    print(
        *tables(r),
        f"{r['seconds']} s on {r['machine']['cpu']}, {r['machine']['threads']} threads",
        sep="\n\n",
    )


if __name__ == "__main__":
    main()
