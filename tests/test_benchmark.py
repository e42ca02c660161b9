"Methods × shots × draws: what is run, what is refused, and what stays as it is"

import json
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffclip import PRESETS, InputError, few_shot_split, synthetic_scene
from diffclip.evaluation import (
    ABLATIONS,
    BASELINES,
    METHODS,
    Setting,
    benchmark,
    method_map,
    method_preset,
    pretrained,
    read_results,
)
from diffclip.options import benchmark_scene

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLES = sorted(f.parent.name for f in RESULTS.glob("*/results.csv"))
TINY = PRESETS["tiny"]
QUICK = replace(
    TINY,
    architecture=replace(
        TINY.architecture,
        window=7,
        width=32,
        depth=1,
        heads=1,
        hidden=16,
        decoder_width=16,
        decoder_heads=1,
    ),
    pretraining=replace(TINY.pretraining, steps=4, batch_size=16),
    fitting=replace(TINY.fitting, steps=10),
    describing=replace(TINY.describing, context=3, landmarks=100),
)
SETTING = Setting(QUICK, device="cpu")


@pytest.fixture(scope="module")
def small():
    return synthetic_scene(0, size=64)


@pytest.fixture(scope="module")
def split(small):
    return few_shot_split(small, 2, 0)


@pytest.fixture(scope="module")
def model(small):
    return pretrained(small, "diffclip", SETTING)[0]


@pytest.fixture
def ask(tmp_path):
    "Two simple methods, two draws"
    return dict(
        methods=["svm", "nearest"],
        shots=[2],
        seeds=range(2),
        out=tmp_path / "out",
        setting=SETTING,
    )


# ------------------------------------------------------------------ methods


def test_a_method_leaves_the_model_as_it_is(model, small, split):
    first = method_map(small, split, "diffclip", SETTING, model)
    for method in ABLATIONS:
        method_map(small, split, method, SETTING, model)
        assert model.preset == QUICK
        assert model.stage2 is None
    assert (method_map(small, split, "diffclip", SETTING, model) == first).all()


def test_the_order_of_methods_does_not_matter(small, tmp_path):
    methods = ["no-likeness", "no-line", "no-smoothing", "diffclip"]
    scores = []
    for name, order in (("a", methods), ("b", methods[::-1])):
        ask = dict(shots=[2], seeds=[1], out=tmp_path / name, setting=SETTING)
        found = benchmark({"s": small}, order, **ask)
        scores.append({m: found.scores(method=m) for m in methods})
    assert scores[0] == scores[1]


def test_each_ablation_changes_one_part():
    for method, (part, change) in ABLATIONS.items():
        changed = getattr(method_preset(method, TINY), part)
        assert changed == replace(getattr(TINY, part), **change)
        assert changed != getattr(TINY, part)


def test_an_ablation_of_what_a_preset_does_not_do():
    with pytest.raises(InputError, match="use preset default or tiny"):
        method_preset("no-texture", PRESETS["paper"])


def test_stage1_runs_share_the_draws(small, tmp_path):
    setting = replace(SETTING, stage1_runs=2)
    found = benchmark(
        {"s": small}, ["diffclip"], [2], range(4), out=tmp_path, setting=setting
    )
    rows = found.select(method="diffclip")
    assert rows.stage1_seed.tolist() == [0, 1, 0, 1]
    assert len(list((tmp_path / "stage1").iterdir())) == 2


def test_scenes_whose_names_look_alike_have_their_own_stage1(small, tmp_path):
    scenes = {"a/b": small, "a_b": synthetic_scene(1, size=64)}
    ask = dict(shots=[2], seeds=[0], out=tmp_path, setting=SETTING)
    found = benchmark(scenes, ["diffclip"], **ask)
    assert len(list((tmp_path / "stage1").iterdir())) == 2
    alone = benchmark(
        {"a_b": scenes["a_b"]}, ["diffclip"], **ask | {"out": tmp_path / "alone"}
    )
    assert alone.scores(scene="a_b") == found.scores(scene="a_b")


# ------------------------------------------------------------------ what is run


def test_what_is_asked_for_twice_is_run_once(small, ask):
    ask |= dict(methods=["svm", "svm"], shots=[2, 2], seeds=[0, 0])
    assert len(benchmark({"s": small}, **ask, strategies=["random"] * 2).rows) == 1
    assert len((ask["out"] / "results.csv").read_text().splitlines()) == 2


def test_only_what_is_missing_is_run(small, ask):
    calls = []

    def report(done, total, line):
        assert line.startswith("s random 2 shots, draw ")
        calls.append((done, total))

    benchmark({"s": small}, **ask, progress=report)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    benchmark({"s": small}, **ask | {"seeds": range(3)}, progress=report)
    assert calls[4:] == [(1, 2), (2, 2)]
    benchmark({"s": small}, **ask, progress=report)
    assert len(calls) == 6


def test_each_score_is_logged(small, ask, caplog, capsys):
    with caplog.at_level(logging.INFO, logger="diffclip"):
        found = benchmark({"s": small}, **ask)
    oa = found.scores(method="svm")[0]
    assert caplog.messages[0] == f"s random 2 shots, draw 0: svm OA {oa:.1f} %"
    assert len(caplog.messages) == 4
    assert capsys.readouterr() == ("", "")


# ------------------------------------------------------------------ what is refused


def test_another_setting_is_refused(small, ask):
    benchmark({"s": small}, **ask)
    before = (ask["out"] / "setting.json").read_bytes()
    for what, setting in {
        "preset": replace(SETTING, preset="tiny"),
        "text": replace(SETTING, text=np.eye(8)),
        "stage1_runs": replace(SETTING, stage1_runs=2),
        "steps": replace(SETTING, steps=3),
        "paper_steps": replace(SETTING, paper_steps=3),
    }.items():
        with pytest.raises(InputError, match=f"results of another {what}: choose"):
            benchmark({"s": small}, **ask | {"setting": setting})
    with pytest.raises(InputError, match="another scene named s"):
        benchmark({"s": synthetic_scene(1, size=64)}, **ask)
    relabelled = replace(small, labels=small.labels[::-1])
    with pytest.raises(InputError, match="another scene named s"):
        benchmark({"s": relabelled}, **ask)
    assert (ask["out"] / "setting.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[]", "1", "{}", '{"scenes": 3}'])
def test_a_setting_that_cannot_be_read_is_refused(content, small, ask):
    ask["out"].mkdir()
    file = ask["out"] / "setting.json"
    file.write_text(content)
    with pytest.raises(InputError, match="damaged, or of another program") as e:
        benchmark({"s": small}, **ask)
    assert str(file) in str(e.value) and "\n" not in str(e.value)
    assert file.read_text() == content


def test_scores_without_a_setting_are_refused(small, ask):
    benchmark({"s": small}, **ask)
    (ask["out"] / "setting.json").unlink()
    with pytest.raises(InputError, match="no setting.json"):
        benchmark({"s": small}, **ask)


BAD = {
    "an unknown method": (dict(methods=["knn"]), "method 'knn' is unknown"),
    "no method": (dict(methods=[]), "methods is empty"),
    "no shots": (dict(shots=[]), "shots is empty"),
    "zero shots": (dict(shots=[0, 2]), "shots=0"),
    "too many shots": (dict(shots=[2, 5000]), "s: 5000 shots need more"),
    "an unknown strategy": (dict(strategies=["both"]), "neither 'random' nor"),
    "a folder that is a file": (dict(out=ROOT / "LICENSE"), "cannot be written"),
    "an unknown text": (
        dict(methods=["diffclip"], setting=replace(SETTING, text="no such text")),
        "no such text",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_run_is_refused_before_anything_is(case, small, ask):
    change, say = BAD[case]
    with pytest.raises(InputError, match=say):
        benchmark({"s": small}, **ask | change)
    assert not (ask["out"] / "results.csv").exists()


@pytest.mark.parametrize("change", [dict(preset="large"), dict(stage1_runs=0)])
def test_settings_are_checked(change):
    with pytest.raises(InputError):
        Setting(**change)


# ------------------------------------------------------------------ committed tables


@pytest.mark.parametrize("table", TABLES)
def test_committed_settings_are_those_of_this_version(table):
    kept = json.loads((RESULTS / table / "setting.json").read_text())
    now = Setting(paper_steps=kept["paper_steps"]).to_dict()
    assert {k: v for k, v in kept.items() if k != "scenes"} == now
    rows = read_results(RESULTS / table)
    assert set(rows.scene) == set(kept["scenes"])
    assert set(rows.method) <= set(METHODS)


def continued(table, scenes, tmp_path):
    "Ask for everything that a committed table has; returns what was run"
    shutil.copytree(RESULTS / table, tmp_path / table)
    rows = read_results(RESULTS / table)
    rows = rows[rows.scene.isin(scenes)]
    ran = []
    for (method, strategy), part in rows.groupby(["method", "strategy"]):
        for shots in part.shots.unique():
            seeds = part.seed[part.shots == shots].tolist()
            benchmark(
                scenes,
                methods=[method],
                shots=[shots],
                seeds=seeds,
                strategies=[strategy],
                out=tmp_path / table,
                progress=lambda *done: ran.append(done),
            )
    return ran


def test_committed_tables_of_built_in_scenes_are_complete(tmp_path):
    scenes = dict([benchmark_scene("built-in:102")])
    assert continued("built_in", scenes, tmp_path) == []


def test_committed_tables_of_tiles_are_complete(tile, tmp_path, monkeypatch):
    for sensor in ("S2L2A", "S1RTC", "DEM", "LULC"):
        folder = tmp_path / "cache" / "terramind" / sensor
        folder.mkdir(parents=True)
        (folder / f"{tile.name}.tif").symlink_to(tile / f"{sensor}.tif")
    monkeypatch.setenv("DIFFCLIP_CACHE", str(tmp_path / "cache"))
    scenes = dict([benchmark_scene(f"terramind/{tile.name}")])
    assert continued("tiles", scenes, tmp_path) == []


# ------------------------------------------------------------------ the scripts


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield
    for name in ("reproduce", "speed"):
        sys.modules.pop(name, None)


def test_reproduce_draws_every_method_and_scene(scripts):
    from reproduce import draw_rows

    rows = read_results(RESULTS / "tiles")
    n = rows.method.nunique()
    drawn = draw_rows(rows, n, seed=0)
    assert set(drawn.method) == set(rows.method)
    drawn = draw_rows(rows, 2 * n, seed=0)
    assert len(drawn.drop_duplicates(["method", "scene"])) == 2 * n
    assert not drawn.index.duplicated().any()
    assert not drawn.equals(draw_rows(rows, 2 * n, seed=1))
    assert len(draw_rows(rows, 10**6, seed=0)) == len(rows)


def test_reproduce_finds_a_difference(scripts, small, tmp_path, monkeypatch, capsys):
    import reproduce

    monkeypatch.setattr(reproduce, "RESULTS", tmp_path)
    monkeypatch.setattr(reproduce, "benchmark_scene", lambda name: (name, small))
    table = tmp_path / "mine"
    ask = dict(shots=[2], seeds=range(3), out=table)
    benchmark({"s": small}, BASELINES[:1] + BASELINES[3:4], **ask)
    command = ["reproduce.py", "--out", str(tmp_path / "reproduced.json")]

    def status():
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as e:
            reproduce.main()
        return e.value.code, json.loads((tmp_path / "reproduced.json").read_text())

    code, report = status()
    assert code == 0 and report["rows"] == 6 and report["differ"] == 0
    assert {"cpu", "torch", "numpy"} <= set(report["machine"])
    text = (table / "results.csv").read_text()
    oa = f"{read_results(table).oa[0]:.4f}"
    (table / "results.csv").write_text(text.replace(oa, "12.3456", 1))
    code, report = status()
    assert code == 1 and report["differ"] == 1
    assert "differs" in capsys.readouterr().out


def test_speed_has_tables_for_what_it_measured(scripts):
    import matplotlib.pyplot as plt
    from speed import plot, tables

    measured = json.loads((RESULTS / "speed.json").read_text())
    rates, accuracy, growth = tables(measured)
    assert rates.count("\n") == 10 and accuracy.count("\n") == 3
    assert growth.count("\n") == 4
    plt.close(plot(measured))
