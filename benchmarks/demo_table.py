"""The demo's comparison over several seeds: another seed is another scene, other shots, other random weights.

    python benchmarks/demo_table.py --seeds 5 --preset tiny

writes benchmarks/results/demo_<preset>.json and prints the table. Every method sees the same scene and the same shots."""
import argparse
import json
import time
from pathlib import Path

import numpy as np

from diffclip import DiffCLIP, evaluate, few_shot_split, synthetic_scene
from diffclip.cli import machine
from diffclip.evaluation import svm_map


def one_seed(seed, preset, shots):
    "Scores of each method on one scene"
    scene = synthetic_scene(seed)
    split = few_shot_split(scene, shots, seed)
    diffclip = DiffCLIP(scene.classes, preset, seed=seed).pretrain(scene).fit(scene, split.train)
    clip = DiffCLIP(scene.classes, preset, seed=seed).fit(scene, split.train)
    maps = {"DiffCLIP": diffclip.predict(scene), "CLIP (no stage 1)": clip.predict(scene), "linear SVM, bands": svm_map(scene, split.train)}
    return {name: {k: getattr(evaluate(scene, m, split.test), k) for k in ("oa", "aa", "kappa")} for name, m in maps.items()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--shots", type=int, default=2)
    p.add_argument("--preset", default="tiny")
    args, start = p.parse_args(), time.time()
    scores = []
    for s in range(args.seeds):
        scores.append(one_seed(s, args.preset, args.shots))
        print(s, {n: round(v["oa"], 1) for n, v in scores[-1].items()}, flush=True)
    out = {"command": f"python benchmarks/demo_table.py --seeds {args.seeds} --shots {args.shots} --preset {args.preset}", "machine": machine(),
           "seconds": round(time.time() - start), "scores": scores}
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath(f"demo_{args.preset}.json").write_text(json.dumps(out, indent=1) + "\n")
    print("\n| method | OA, % | AA, % | κ, % |\n|---|---|---|---|")
    for n in scores[0]: print(f"| {n} | " + " | ".join(f"{np.mean(v):.1f} ± {np.std(v):.1f}" for v in ([s[n][k] for s in scores] for k in ("oa", "aa", "kappa"))) + " |")


if __name__ == "__main__": main()
