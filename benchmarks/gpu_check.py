"""On a machine with a CUDA device: the tests marked `gpu`, then throughput.

    python benchmarks/gpu_check.py

writes benchmarks/results/gpu_<device>.json: windows per second of stage 1 and pixels per second of a map, at 64 + 2 bands."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from diffclip import DiffCLIP, PRESETS, few_shot_split, synthetic_scene
from diffclip.cli import machine


def timed(f):
    torch.cuda.synchronize()
    start = time.perf_counter()
    f()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def throughput(name, batch=4096, steps=100):
    "Stage 1 and the map of one preset"
    preset, scene = PRESETS[name], synthetic_scene(0, size=320)
    preset = replace(preset, pretraining=replace(preset.pretraining, batch=batch))
    model = DiffCLIP(scene.classes, preset, device="cuda").pretrain(
        scene, steps=5
    )  # warm up
    seconds = timed(lambda: model.pretrain(scene, steps=steps))
    model.fit(scene, few_shot_split(scene, 2).train).predict(scene, batch=batch)
    model.kept = None  # the next map starts from the rasters
    return {
        "preset": name,
        "windows_per_s": steps * batch / seconds,
        "pixels_per_s": scene.valid.size
        / timed(lambda: model.predict(scene, batch=batch)),
        "peak_memory_GiB": torch.cuda.max_memory_allocated() / 2**30,
    }


def main():
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing to check")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-q"],
        capture_output=True,
        text=True,
    )
    print(tests.stdout)
    out = {
        "machine": machine(),
        "tests": tests.stdout.strip().splitlines()[-1],
        "throughput": [throughput(p) for p in ("tiny", "default", "paper")],
    }
    name = re.sub(r"\W+", "_", torch.cuda.get_device_name())
    path = Path(__file__).with_name("results") / f"gpu_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))
    sys.exit(tests.returncode)


if __name__ == "__main__":
    main()
