"""Two shots a class on a real Sentinel-2 + Sentinel-1 + elevation tile: DiffCLIP, the same without stage 1, and a linear SVM.

    python benchmarks/real_tile.py --seeds 5 --preset default

The tile is read from $DIFFCLIP_DATA/terramind/433D_629L_3_1 (public repository IBM/terramind, folder examples; TerraMesh, CC-BY-SA-4.0)."""
import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from diffclip import DiffCLIP, evaluate, few_shot_split, read_scene
from diffclip.cli import machine
from diffclip.evaluation import svm_map

CLASSES = {1: "water", 2: "trees", 4: "crops", 5: "built area", 9: "rangeland"}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--shots", type=int, default=2)
    p.add_argument("--preset", default="default")
    args, start = p.parse_args(), time.time()
    tile = Path(os.environ.get("DIFFCLIP_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data")) / "terramind/433D_629L_3_1"
    scene = read_scene({"optical": tile / "S2L2A.tif", "sar": tile / "S1RTC.tif", "dem": tile / "DEM.tif"}, tile / "LULC.tif", CLASSES)
    scores, model = [], DiffCLIP(scene.classes, args.preset).pretrain(scene)
    pretraining = time.time() - start
    for seed in range(args.seeds):   # one stage 1 serves all draws of shots: it has seen no label
        split = few_shot_split(scene, args.shots, seed)
        maps = {"DiffCLIP": model.fit(scene, split.train).predict(scene), "CLIP (no stage 1)": DiffCLIP(scene.classes, args.preset, seed=seed).fit(scene, split.train).predict(scene),
                "linear SVM, bands": svm_map(scene, split.train)}
        scores.append({n: {k: getattr(evaluate(scene, m, split.test), k) for k in ("oa", "aa", "kappa")} for n, m in maps.items()})
        print(seed, {n: round(v["oa"], 1) for n, v in scores[-1].items()}, flush=True)
    out = {"command": f"python benchmarks/real_tile.py --seeds {args.seeds} --shots {args.shots} --preset {args.preset}", "machine": machine(),
           "seconds": {"pretrain": round(pretraining), "all": round(time.time() - start)}, "scores": scores}
    Path(__file__).with_name("results").mkdir(exist_ok=True)
    Path(__file__).with_name("results").joinpath("real_tile.json").write_text(json.dumps(out, indent=1) + "\n")
    for n in scores[0]: print(n, {k: f"{np.mean([s[n][k] for s in scores]):.1f} ± {np.std([s[n][k] for s in scores]):.1f}" for k in ("oa", "aa", "kappa")})


if __name__ == "__main__": main()
