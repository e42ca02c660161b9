"""How fast preset `default` is beside `paper`, in one run on one machine: look at the
ratios, as the seconds are this machine's.

    python benchmarks/speed.py          # a quarter of an hour on a CPU core of its own
    python benchmarks/speed.py --quick  # two minutes: does it run?

A CUDA device is used where there is one. Writes benchmarks/results/speed.json and
speed.png. Three tables:
- windows per second of stage 1 and pixels per second of a map, at 13, 64 + 2 and
  144 + 1 bands, of `paper` as published (a window for each pixel), of `paper` when a
  window labels the 5×5 pixels in its middle, and of `default` (encoding, averaging,
  likeness, smoothing: all of it);
- overall accuracy at 2 shots of `paper` and `default`, whose stage 1 had the same
  number of seconds;
- seconds and memory of a map by `default` as the scene grows. Each size has a process
  of its own. Memory is the peak while `predict` runs, beyond what the process held
  before it: the scene, the model and the libraries (Linux).
On a CUDA device, TFLOP/s of stage 1 are counted by torch and set against the speed of
a large bf16 matrix product on the same card."""

import argparse
import json
import multiprocessing
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from diffclip import PRESETS, DiffCLIP, Scene, evaluate, few_shot_split, synthetic_scene
from diffclip.data import PALETTE
from diffclip.runs import machine

RESULTS = Path(__file__).with_name("results")
PAPER = PRESETS["paper"]
AS_PUBLISHED, BLOCKS, DEFAULT = (
    "paper, a window a pixel",
    "paper, a window 5×5 pixels",
    "default",
)
VARIANTS = {
    AS_PUBLISHED: PAPER,
    BLOCKS: replace(PAPER, fitting=replace(PAPER.fitting, readout="pixel", block=5)),
    DEFAULT: PRESETS["default"],
}
BANDS = {"13": (13, 0), "64 + 2": (64, 2), "144 + 1": (144, 1)}


def scene_of(hsi, lidar, size):
    "The built-in scene with other numbers of bands, interpolated between its own"
    scene = synthetic_scene(0, size)
    bands = np.asarray(scene.modalities["hsi"])
    at = np.linspace(0, len(bands) - 1, hsi)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(bands) - 1)
    share = (at % 1)[:, None, None]
    modalities = {"hsi": bands[low] * (1 - share) + bands[high] * share}
    if lidar:
        modalities["lidar"] = np.asarray(scene.modalities["lidar"])[:lidar]
    return Scene(
        modalities,
        labels=scene.labels,
        classes=scene.classes,
        valid=scene.valid,
        colors=scene.colors,
        name=scene.name,
    )


def wait_for_device():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work):
    "Wall clock, the device's work included"
    wait_for_device()
    start = time.perf_counter()
    work()
    wait_for_device()
    return time.perf_counter() - start


def fresh(model):
    "The same model, which has read no scene yet"
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        return DiffCLIP.load(folder)


# ------------------------------------------------------------------ the first table


def stage1_rate(preset, scene, enough):
    "Windows per second; the model"
    model = DiffCLIP(scene.classes, preset).pretrain(scene, steps=2)
    ten = seconds(lambda: model.pretrain(scene, steps=10))
    steps = max(int(10 * enough / ten), 4)
    taken = seconds(lambda: model.pretrain(scene, steps=steps))
    return steps * preset.pretraining.batch_size / taken, model


def map_rate(model, scene):
    "Pixels per second of a map of which nothing is known yet"
    model.fit(scene, few_shot_split(scene, 2).train)
    model = fresh(model)
    return scene.valid.size / seconds(lambda: model.predict(scene))


def rates(bands, sizes, enough):
    "One row of the first table"
    out = {}
    scene = scene_of(*bands, sizes[0])
    large = scene_of(*bands, sizes[1])
    for name, preset in VARIANTS.items():
        if name != BLOCKS:  # whose stage 1 is that of paper
            windows, pretrained = stage1_rate(preset, scene, enough)
        model = DiffCLIP.on(pretrained, preset=preset)
        mapped = map_rate(model, large if name == DEFAULT else scene)
        out[name] = dict(windows_per_s=windows, pixels_per_s=mapped)
        if torch.cuda.is_available():
            out[name] |= cuda_share(scene, preset)
    return out


def matrix_product_rate():
    "FLOP/s of a large bf16 matrix product"
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    taken = seconds(lambda: [a @ a for _ in range(10)])
    return 10 * 2 * 8192**3 / taken


def cuda_share(scene, preset, batch_size=1024):
    "TFLOP/s of stage 1, and their share of a large bf16 matrix product's"
    from torch.utils.flop_counter import FlopCounterMode

    model = DiffCLIP(scene.classes, preset).pretrain(scene, steps=2)
    with FlopCounterMode(display=False) as count:
        model.pretrain(scene, steps=1)
    per_window = count.get_total_flops() / preset.pretraining.batch_size
    pretraining = replace(preset.pretraining, batch_size=batch_size)
    preset = replace(preset, pretraining=pretraining)
    model = DiffCLIP(scene.classes, preset).pretrain(scene, steps=5)
    taken = seconds(lambda: model.pretrain(scene, steps=50))
    rate = per_window * batch_size * 50 / taken
    share = rate / matrix_product_rate()
    return dict(tflops=rate / 1e12, share_of_bf16_matrix_product=share)


# ------------------------------------------------------------------ the second table


def accuracy(per_s, budget, draws, size):
    "OA at 2 shots after equally long stages 1"
    scene = synthetic_scene(1, size)
    out = {}
    for name in (AS_PUBLISHED, DEFAULT):
        preset = VARIANTS[name]
        windows = budget * per_s[name]["windows_per_s"]
        steps = max(int(windows / preset.pretraining.batch_size), 1)
        model = DiffCLIP(scene.classes, preset).pretrain(scene, steps=steps)
        oa = []
        for seed in range(draws):
            split = few_shot_split(scene, 2, seed)
            labels = model.fit(scene, split.train).predict(scene)
            oa.append(evaluate(scene, labels, split.test).oa)
        out[name] = dict(steps=steps, oa=oa)
    return out


# ------------------------------------------------------------------ the third table


def memory(what):
    "VmRSS, resident memory now, or VmHWM, its peak, in MB; None without /proc"
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return None


def grown(size, queue):
    "Seconds and memory of a map of this size"
    small = scene_of(64, 2, 64)
    scene = scene_of(64, 2, size)
    model = DiffCLIP(small.classes).pretrain(small, steps=2)
    model.fit(small, few_shot_split(small, 2).train)
    if memory("VmRSS"):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS") or 0
    taken = seconds(lambda: model.predict(scene))
    row = dict(
        size=size,
        pixels=size**2,
        seconds=taken,
        scene_MB=sum(m.nbytes for m in scene.modalities.values()) / 2**20,
        memory_MB=(memory("VmHWM") or float("nan")) - before,
    )
    queue.put(row)


def growth(sizes):
    "The third table, a process for each size"
    out = []
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        queue = context.Queue()
        process = context.Process(target=grown, args=(size, queue))
        process.start()
        out.append(queue.get())
        process.join()
    return out


# ------------------------------------------------------------------ plot and tables


def plot_rates(ax, rates, key, title):
    "Bars: a variant's rate in multiples of that of paper"
    for i, name in enumerate(VARIANTS):
        times = [row[name][key] / row[AS_PUBLISHED][key] for row in rates.values()]
        x = np.arange(len(rates)) + 0.27 * (i - 1)
        ax.bar(x, times, width=0.25, label=name, color=PALETTE[i])
    ax.set(title=title, xlabel="bands", ylabel="times paper", yscale="log")
    ax.set_xticks(range(len(rates)), list(rates))
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100) if t <= ax.get_ylim()[1]]
    ax.set_yticks(ticks, ticks)
    ax.minorticks_off()
    ax.grid(alpha=0.3, axis="y")


def plot_growth(ax, growth):
    "What a larger scene costs"
    pixels = [row["pixels"] for row in growth]
    for key, style, label in (
        ("seconds", "o-", "seconds"),
        ("memory_MB", "s--", "memory, MB"),
        ("scene_MB", "k:", "the scene itself, MB"),
    ):
        ax.plot(pixels, [row[key] for row in growth], style, label=label)
    ax.set(title="a map by default, 64 + 2 bands", xlabel="pixels")
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(pixels, [f"{row['size']}²" for row in growth])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7)


def plot(r):
    "Ratios to `paper`, and what a larger scene costs"
    fig, axs = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    windows = "stage 1, windows per second"
    plot_rates(axs[0], r["rates"], "windows_per_s", windows)
    plot_rates(axs[1], r["rates"], "pixels_per_s", "map, pixels per second")
    plot_growth(axs[2], r["growth"])
    lines = axs[0].get_legend_handles_labels()
    fig.legend(*lines, loc="outside lower left", ncols=3, fontsize=8)
    return fig


def markdown(head, rows):
    "A table"
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines)


def rates_table(r):
    "Windows and pixels per second"
    rows = []
    for bands, row in r["rates"].items():
        for name in row:
            cells = [bands, name]
            for key in ("windows_per_s", "pixels_per_s"):
                rate, base = row[name][key], row[AS_PUBLISHED][key]
                cells.append(f"{rate:,.0f} (×{rate / base:.1f})")
            rows.append(cells)
    return markdown(["bands", "preset", "stage 1, windows/s", "map, pixels/s"], rows)


def accuracy_table(r):
    "Accuracy after equally long stages 1"
    draws = len(r["accuracy"][AS_PUBLISHED]["oa"])
    first = f"OA at 2 shots, {draws} draws, stage 1 of {r['stage1_seconds']} s"
    rows = []
    for name, v in r["accuracy"].items():
        mean = f"{np.mean(v['oa']):.1f} ± {np.std(v['oa']):.1f}"
        rows.append([name, f"{v['steps']:,}", mean])
    return markdown([first, "steps", "mean ± std"], rows)


def growth_table(r):
    "Seconds and memory as the scene grows"
    head = [
        "scene",
        "the scene, MB",
        "a map by `default`, s",
        "pixels/s",
        "memory beyond the scene, MB",
    ]
    rows = []
    for g in r["growth"]:
        rows.append(
            [
                f"{g['size']}×{g['size']}",
                f"{g['scene_MB']:.0f}",
                f"{g['seconds']:.1f}",
                f"{g['pixels'] / g['seconds']:,.0f}",
                f"{g['memory_MB']:.0f}",
            ]
        )
    return markdown(head, rows)


def tables(r):
    "All three tables in Markdown"
    return [rates_table(r), accuracy_table(r), growth_table(r)]


def measure(quick):
    "Everything"
    start = time.time()
    if quick:
        enough, sizes, budget, draws, areas = 0.2, (64, 64), 2, 1, (64, 128)
        bands = {"64 + 2": BANDS["64 + 2"]}
    else:
        enough, sizes, budget, draws, areas = 6.0, (64, 160), 60, 3, (160, 320, 640)
        bands = BANDS
    r = dict(
        command="python benchmarks/speed.py" + " --quick" * quick,
        machine=machine(),
        stage1_seconds=budget,
    )
    r["rates"] = {name: rates(b, sizes, enough) for name, b in bands.items()}
    r["accuracy"] = accuracy(r["rates"]["64 + 2"], budget, draws, size=64)
    r["growth"] = growth(areas)
    r["seconds"] = round(time.time() - start)
    return r


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = "small and short, written to speed_quick.json"
    p.add_argument("--quick", action="store_true", help=text)
    quick = p.parse_args().quick
    r = measure(quick)
    name = "speed_quick" if quick else "speed"
    text = json.dumps(r, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    plot(r).savefig(RESULTS / f"{name}.png", dpi=120)
    print(*tables(r), sep="\n\n")
    where = r["machine"]
    print(f"\n{r['seconds']} s on {where['cpu']}, {where['threads']} threads")


if __name__ == "__main__":
    main()
