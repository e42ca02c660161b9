"""Are the committed tables what the present code gives? Draws rows of every committed
results.csv, runs them again and compares.

    python benchmarks/reproduce.py --sample 20            # 20 rows of each table
    python benchmarks/reproduce.py --sample 20 --seed 1   # 20 other rows
    python benchmarks/reproduce.py --table tiles --stage1 kept

Prints old score, new score and difference of each row, and exits with 1 where a
difference is larger than 0.005 points. Writes benchmarks/results/reproduced.json, with
machine and versions. Stage 1 is made once for each scene and kind, and kept for the
other rows: in a temporary folder, or in the folder of --stage1 for the next time.

Another kind of processor adds numbers in another order. This changes the last bits of
the weights, and it can move a single score of a DiffCLIP model by some tenths of a
point. There, look at the mean difference, and give a larger --tolerance.

Every kind of method and every scene gets its turn before one is drawn twice. Method
diffclip-paper takes half an hour and is left out, unless --paper asks for it."""

import argparse
import json
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from diffclip import few_shot_split
from diffclip.core import whole_file
from diffclip.evaluation import (
    KEY,
    Setting,
    pretrained,
    read_results,
    score_row,
    stage1_method,
)
from diffclip.options import benchmark_scene
from diffclip.runs import machine

RESULTS = Path(__file__).with_name("results")
SCORES = ("oa", "aa", "kappa")


# ------------------------------------------------------------------ which rows


def draw_rows(rows, count, seed):
    "Each method gets its turn before one is drawn twice; so does each of its scenes"
    shuffled = rows.sample(frac=1, random_state=seed)
    turn = shuffled.groupby(["method", "scene"]).cumcount()
    nth_scene = shuffled.assign(turn=turn).groupby(["method", "turn"]).cumcount()
    order = pd.DataFrame({"turn": turn, "nth_scene": nth_scene})
    order = order.sort_values(["turn", "nth_scene"], kind="stable")
    return rows.loc[order.index[:count]]


def table_names():
    "The folders with a committed results.csv"
    return sorted(f.parent.name for f in RESULTS.glob("*/results.csv"))


def chosen_rows(args):
    "The rows to run again, with the name of their table"
    parts = []
    for table in args.table or table_names():
        rows = read_results(RESULTS / table)
        if not args.paper:
            rows = rows[rows.method != "diffclip-paper"]
        drawn = draw_rows(rows, args.sample, args.seed)
        parts.append(drawn.assign(table=table))
    return pd.concat(parts, ignore_index=True)


# ------------------------------------------------------------------ running them


def setting_of(table, device):
    "The setting of a table; it must be one that the present presets give"
    kept = json.loads((RESULTS / table / "setting.json").read_text())
    setting = Setting(
        preset="default",
        text=kept["text"],
        device=device,
        stage1_runs=kept["stage1_runs"],
        steps=kept["steps"],
        paper_steps=kept["paper_steps"],
    )
    if setting.to_dict() != {k: v for k, v in kept.items() if k != "scenes"}:
        sys.exit(f"{table}: its setting is not that of the present preset 'default'")
    return setting, kept["scenes"]


def check_scene(scene, name, mark):
    "The scene must be the one that was measured"
    if scene.fingerprint(labels=True) != mark:
        sys.exit(f"{name} is another scene than the one that was measured")


def model_for(row, scene, setting, folder):
    "The model on the stage 1 of a row; None where it has none"
    first = stage1_method(row.method)
    if first is None:
        return None
    safe = row.scene.replace("/", "_").replace(":", "_")
    steps = setting.stage1_steps(first)
    place = folder / f"{safe}-{first}-{steps or 'all'}-{row.stage1_seed}"
    return pretrained(scene, first, setting, row.stage1_seed, place)[0]


def run_again(rows, folder, device):
    "Yields each row and its new scores; a scene's rows come together"
    for name, of_scene in rows.groupby("scene", sort=False):
        scene = benchmark_scene(name)[1]
        of_scene = of_scene.sort_values(["method", "table", "strategy", "shots"])
        for _, of_model in of_scene.groupby(["method", "table"], sort=False):
            model = None
            for row in of_model.itertuples():
                setting, marks = setting_of(row.table, device)
                check_scene(scene, name, marks[name])
                if model is None:
                    model = model_for(row, scene, setting, folder)
                split = few_shot_split(scene, row.shots, row.seed, row.strategy)
                yield row, score_row(name, scene, split, row.method, setting, model)


def compared(row, new, tolerance):
    "One line of the report"
    out = {"table": row.table} | {k: getattr(row, k) for k in KEY}
    for k in SCORES:
        out[k] = [getattr(row, k), round(new[k], 4)]
    largest = max(abs(b - a) for a, b in (out[k] for k in SCORES))
    return out | {"difference": round(largest, 4), "differs": largest > tolerance}


# ------------------------------------------------------------------ the report


def say(c):
    "Print one line"
    old, new = c["oa"]
    print(
        f"{c['table']:14} {c['scene'].split('/')[-1]:14} {c['strategy']:8} "
        f"{c['method']:17} {c['shots']:2} {c['seed']:3}  {old:8.4f} {new:8.4f} "
        f"{c['difference']:8.4f}{'  differs' if c['differs'] else ''}",
        flush=True,
    )


def summary(comparisons):
    "How many rows differ, by how much, and whether to one side"
    oa = [new - old for old, new in (c["oa"] for c in comparisons)]
    return dict(
        rows=len(comparisons),
        differ=sum(c["differs"] for c in comparisons),
        largest_difference=max((c["difference"] for c in comparisons), default=0.0),
        mean_oa_difference=round(float(np.mean(oa)), 4) if oa else 0.0,
    )


def save(args, comparisons, seconds):
    "Write what was compared"
    versions = {
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    report = dict(
        command="python benchmarks/reproduce.py " + " ".join(sys.argv[1:]),
        machine=machine() | versions,
        seconds=round(seconds),
        tolerance=args.tolerance,
        **summary(comparisons),
        comparisons=comparisons,
    )
    with whole_file(args.out) as part:
        part.write_text(json.dumps(report, indent=1) + "\n")


def arguments():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = p.add_argument
    add("--sample", type=int, default=20, help="rows of each table")
    add("--seed", type=int, default=0, help="which rows are drawn")
    add("--table", action="append", choices=table_names(), help="default all; repeat")
    add("--stage1", type=Path, help="folder that keeps the stages 1")
    add("--paper", action="store_true", help="with method diffclip-paper")
    add("--device", default="cpu", help="where the tables were made")
    add("--tolerance", type=float, default=0.005, help="points of OA, AA and kappa")
    add("--out", type=Path, default=RESULTS / "reproduced.json")
    return p.parse_args()


def main():
    args = arguments()
    start = time.time()
    comparisons = []
    rows = chosen_rows(args)
    print(
        f"{len(rows)} rows: table, scene, split, method, shots, draw; OA old and new;"
    )
    print("the largest difference of OA, AA and kappa")
    keep = nullcontext(args.stage1) if args.stage1 else tempfile.TemporaryDirectory()
    with keep as folder:
        for row, new in run_again(rows, Path(folder), args.device):
            comparisons.append(compared(row, new, args.tolerance))
            say(comparisons[-1])
    save(args, comparisons, time.time() - start)
    found = summary(comparisons)
    print(
        f"{found['differ']} of {found['rows']} rows differ by more than "
        f"{args.tolerance}, the largest difference is {found['largest_difference']}; "
        f"OA new − old is {found['mean_oa_difference']:+} in the mean"
    )
    sys.exit(found["differ"] > 0)


if __name__ == "__main__":
    main()
