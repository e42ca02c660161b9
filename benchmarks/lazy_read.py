"""Open an ENVI cube of 2 GB and read one window: how much memory, how long, and is it
the window?

    python benchmarks/lazy_read.py [--gb 2] [--out benchmarks/results/lazy_read.json]

The cube is written to a temporary folder first, a line at a time. Memory is the growth
of the process's peak resident set (VmHWM in /proc, Linux), in a fresh process for each
interleave, from before the file is opened to after the window is read."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BANDS = 200
SAMPLES = 2000
WINDOW = (slice(1000, 1256), slice(700, 956))  # rows, columns
LIMIT_MB = 200


def value(band, y, x):
    "What stands at a place of the cube: it tells band, row and column"
    return (band * 31 + y * 7 + x) % 60000


def header(lines, interleave):
    "The text of an ENVI header"
    fields = {
        "samples": SAMPLES,
        "lines": lines,
        "bands": BANDS,
        "header offset": 0,
        "file type": "ENVI Standard",
        "data type": 12,  # uint16
        "interleave": interleave,
        "byte order": 0,
    }
    return "ENVI\n" + "".join(f"{k} = {v}\n" for k, v in fields.items())


def write(path, lines, interleave):
    "An ENVI cube, uint16: BIL and BIP line by line, BSQ band by band"
    band, x = np.arange(BANDS)[:, None], np.arange(SAMPLES)
    with open(path.with_suffix(".img"), "wb") as f:
        if interleave == "bsq":
            y = np.arange(lines)[:, None]
            for b in range(BANDS):
                f.write(value(b, y, x).astype("<u2").tobytes())
        else:
            for y in range(lines):
                line = value(band, y, x).astype("<u2")  # (bands, samples)
                f.write((line if interleave == "bil" else line.T).tobytes())
    path.write_text(header(lines, interleave))


def peak():
    "Peak resident set in MB"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmHWM in /proc/self/status")


def measure(path):
    "Open the cube, read the window and check it; prints JSON"
    from diffclip.data import open_raster, read_raster

    small = Path(path).with_name("small.hdr")
    write(small, 4, "bil")
    read_raster(small)  # what the first use of the library needs is in memory now
    before = peak()
    start = time.perf_counter()
    raster = open_raster(path)
    opened = time.perf_counter() - start
    window = raster.read_window(*WINDOW)
    seconds = time.perf_counter() - start
    after = peak()
    band, y, x = np.ogrid[:BANDS, WINDOW[0], WINDOW[1]]
    assert raster.shape[0] == BANDS
    assert (np.asarray(window.data) == value(band, y, x)).all()
    result = {
        "extra_MB": round(after - before, 1),
        "open_s": round(opened, 4),
        "open_and_read_s": round(seconds, 3),
        "window_MB": round(window.data.nbytes / 2**20, 1),
    }
    print(json.dumps(result))


def measure_apart(lines, interleave):
    "Size of the cube in bytes, and what a process of its own measures"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cube.hdr"
        write(path, lines, interleave)
        size = path.with_suffix(".img").stat().st_size
        command = [sys.executable, __file__, "--measure", str(path)]
        out = subprocess.run(command, capture_output=True, text=True, check=True)
    return size, json.loads(out.stdout)


def machine():
    "What this was measured on"
    return {
        "system": platform.system(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure(args.measure)
    lines = max(int(args.gb * 1e9 / (2 * BANDS * SAMPLES)), 1300)
    results = {}
    for interleave in ("bil", "bip", "bsq"):
        size, results[interleave] = measure_apart(lines, interleave)
        print(interleave, results[interleave], flush=True)
    report = {
        "file_GB": round(size / 1e9, 3),
        "shape": [BANDS, lines, SAMPLES],
        "window": [BANDS, 256, 256],
        "limit_MB": LIMIT_MB,
        "results": results,
        "machine": machine(),
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    worst = [k for k, r in results.items() if r["extra_MB"] >= LIMIT_MB]
    if worst:
        sys.exit(f"more than {LIMIT_MB} MB: {worst}")


if __name__ == "__main__":
    main()
