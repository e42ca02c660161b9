"""Open an ENVI cube of 2 GB and read one window: how much memory, how long, and is it the window?

    python benchmarks/lazy_read.py [--gb 2] [--out benchmarks/results/lazy_read.json]

The cube is written to a temporary folder first, a line at a time. Memory is the growth of the process's peak resident set
(VmHWM in /proc, Linux), taken in a fresh process per interleave, from before the file is opened to after the window is read.
"""

import argparse, json, os, platform, subprocess, sys, tempfile, time
from pathlib import Path

import numpy as np

BANDS, SAMPLES, WINDOW = 200, 2000, (slice(1000, 1256), slice(700, 956))


def line(y, interleave):
    "Line y of the cube: the value tells band, row and column"
    b, x = np.arange(BANDS)[:, None], np.arange(SAMPLES)
    a = ((b * 31 + y * 7 + x) % 60000).astype("<u2")
    return a if interleave == "bil" else a.T


def write(path, lines, interleave):
    "An ENVI cube, uint16: BIL or BIP line by line, BSQ band by band"
    with open(path.with_suffix(".img"), "wb") as f:
        if interleave == "bsq":
            y, x = np.arange(lines)[:, None], np.arange(SAMPLES)
            for b in range(BANDS):
                f.write(((b * 31 + y * 7 + x) % 60000).astype("<u2").tobytes())
        else:
            for y in range(lines):
                f.write(np.ascontiguousarray(line(y, interleave)).tobytes())
    path.write_text(
        f"ENVI\nsamples = {SAMPLES}\nlines = {lines}\nbands = {BANDS}\nheader offset = 0\nfile type = ENVI Standard\ndata type = 12\ninterleave = {interleave}\nbyte order = 0\n"
    )


def peak():
    "Peak resident set in MB"
    return (
        int(
            next(s for s in open("/proc/self/status") if s.startswith("VmHWM")).split()[
                1
            ]
        )
        / 1024
    )


def measure(path):
    "Open the cube, read the window and check it; prints JSON"
    from diffclip.data import open_raster, read_raster

    small = Path(path).with_name("small.hdr")
    write(small, 4, "bil")
    read_raster(
        small
    )  # what the first use of the library needs anyway, is in memory now
    before, start = peak(), time.perf_counter()
    f = open_raster(path)
    opened = time.perf_counter() - start
    w = f.read_window(*WINDOW)
    seconds, after = time.perf_counter() - start, peak()
    b, y, x = np.ogrid[:BANDS, WINDOW[0], WINDOW[1]]
    assert (
        f.shape[0] == BANDS
        and (np.asarray(w.data) == (b * 31 + y * 7 + x) % 60000).all()
    )
    print(
        json.dumps(
            {
                "extra_MB": round(after - before, 1),
                "open_s": round(opened, 4),
                "open_and_read_s": round(seconds, 3),
                "window_MB": round(w.data.nbytes / 2**20, 1),
            }
        )
    )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--gb", type=float, default=2.0)
    p.add_argument("--out", type=Path)
    p.add_argument("--measure", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.measure:
        return measure(a.measure)
    lines, results = max(int(a.gb * 1e9 / (2 * BANDS * SAMPLES)), 1300), {}
    for interleave in ("bil", "bip", "bsq"):
        with tempfile.TemporaryDirectory() as d:
            path = Path(d) / "cube.hdr"
            write(path, lines, interleave)
            size = path.with_suffix(".img").stat().st_size
            out = subprocess.run(
                [sys.executable, __file__, "--measure", str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            results[interleave] = json.loads(out.stdout)
        print(interleave, results[interleave], flush=True)
    report = {
        "file_GB": round(size / 1e9, 3),
        "shape": [BANDS, lines, SAMPLES],
        "window": [BANDS, 256, 256],
        "limit_MB": 200,
        "results": results,
        "machine": {
            "system": platform.system(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
    }
    if a.out:
        a.out.write_text(json.dumps(report, indent=1) + "\n")
    if worst := [k for k, r in results.items() if r["extra_MB"] >= 200]:
        sys.exit(f"more than 200 MB: {worst}")


if __name__ == "__main__":
    main()
