"""On a machine with a CUDA device: the tests marked `gpu`, then throughput.

    python benchmarks/gpu_check.py

writes benchmarks/results/gpu_<device>.json: windows per second of stage 1 and pixels
per second of a map, at 64 + 2 bands."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from speed import fresh, seconds

from diffclip import PRESETS, DiffCLIP, few_shot_split, synthetic_scene
from diffclip.runs import machine

RESULTS = Path(__file__).with_name("results")


def throughput(name, batch_size=4096, steps=100):
    "Stage 1 and the map of one preset"
    preset = PRESETS[name]
    pretraining = replace(preset.pretraining, batch_size=batch_size)
    preset = replace(preset, pretraining=pretraining)
    scene = synthetic_scene(0, size=320)
    model = DiffCLIP(scene.classes, preset, device="cuda")
    model.pretrain(scene, steps=5)  # warm up
    stage1 = seconds(lambda: model.pretrain(scene, steps=steps))
    model.fit(scene, few_shot_split(scene, 2).train)
    model.predict(scene, batch_size=batch_size)  # warm up
    model = fresh(model)  # the next map starts from the rasters
    mapped = seconds(lambda: model.predict(scene, batch_size=batch_size))
    return {
        "preset": name,
        "windows_per_s": steps * batch_size / stage1,
        "pixels_per_s": scene.valid.size / mapped,
        "peak_memory_GiB": torch.cuda.max_memory_allocated() / 2**30,
    }


def main():
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing to check")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q"]
    tests = subprocess.run(command, capture_output=True, text=True)
    print(tests.stdout)
    out = {
        "machine": machine(),
        "tests": tests.stdout.strip().splitlines()[-1],
        "throughput": [throughput(name) for name in ("tiny", "default", "paper")],
    }
    name = re.sub(r"\W+", "_", torch.cuda.get_device_name())
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(out, indent=1)
    (RESULTS / f"gpu_{name}.json").write_text(text + "\n")
    print(text)
    sys.exit(tests.returncode)


if __name__ == "__main__":
    main()
