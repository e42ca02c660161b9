"The command as a user has it: a process, files in, files out"

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio

from diffclip.data import far_from, map_classes, write_map


def diffclip(*args, cwd, **kw):
    return subprocess.run(
        [sys.executable, "-m", "diffclip.cli", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        **kw,
    )


RASTERS = ["--modality", "hsi=hsi.tif", "--modality", "lidar=lidar.tif"]
TRAIN = [
    "train",
    *RASTERS,
    "--labels",
    "labels.tif",
    "--classes",
    "classes.csv",
    "--preset",
    "tiny",
    "--steps",
    5,
]


@pytest.fixture(scope="module")
def done(tmp_path_factory, scene):
    "The same training twice, in separate processes"
    from conftest import write_scene

    folder = tmp_path_factory.mktemp("cli")
    write_scene(scene, folder)
    for out in ("one", "two"):
        r = diffclip(
            *TRAIN, "--shots", 3, "--strategy", "disjoint", "--out", out, cwd=folder
        )
        assert r.returncode == 0, r.stderr
    return folder


def test_files(done):
    names = {
        "model.safetensors",
        "config.json",
        "metrics.json",
        "map.tif",
        "map.tif.aux.xml",
        "map.qml",
        "map.png",
        "history.csv",
    }
    assert {p.name for p in (done / "one").iterdir()} == names
    assert not [p for p in done.iterdir() if p.name.startswith(".")]
    assert (done / "one/map.png").read_bytes()[:4] == b"\x89PNG"


def test_same_seed_same_bytes(done):
    for f in ("model.safetensors", "map.tif", "config.json", "history.csv"):
        assert (done / "one" / f).read_bytes() == (done / "two" / f).read_bytes(), f


def test_metrics(done, scene):
    m = json.loads((done / "one/metrics.json").read_text())
    assert {
        "oa",
        "aa",
        "kappa",
        "per_class",
        "shots",
        "seed",
        "strategy",
        "n_train",
        "n_test",
        "seconds",
    } <= set(m)
    assert (m["shots"], m["seed"], m["strategy"], m["n_train"]) == (
        3,
        0,
        "disjoint",
        24,
    )
    assert set(m["seconds"]) == {"pretrain", "fit", "predict"} and set(
        m["per_class"]
    ) == set(scene.classes.values())
    labels = rasterio.open(done / "one/map.tif").read(1)
    shots = np.zeros(scene.shape, bool)
    shots[
        tuple(
            np.array(
                json.loads(
                    rasterio.open(done / "one/map.tif").tags()["diffclip_shots"]
                )["pixels"]
            ).T
        )
    ] = True
    test = (scene.labels > 0) & far_from(shots, 10)
    assert m["n_test"] == test.sum() and m["oa"] == pytest.approx(
        100 * (labels == scene.labels)[test].mean()
    )


def test_map_is_georeferenced_with_names_and_colours(done, scene):
    with rasterio.open(done / "one/map.tif") as m:
        assert (m.crs, m.transform, m.nodata, m.dtypes[0]) == (
            scene.crs,
            scene.transform,
            0,
            "uint8",
        )
        assert {c: m.colormap(1)[c][:3] for c in scene.classes} == {
            c: tuple(int(h[i : i + 2], 16) for i in (1, 3, 5))
            for c, h in scene.colors.items()
        }
        assert (m.read(1)[~scene.valid] == 0).all() and (
            m.read(1)[scene.valid] > 0
        ).all()
    assert map_classes(done / "one/map.tif") == scene.classes


def test_history(done):
    rows = list(csv.DictReader(open(done / "one/history.csv")))
    assert [r["stage"] for r in rows].count("pretrain") == 5 and all(
        float(r["loss"]) > 0 for r in rows
    )


def test_map_gives_the_same_labels(done):
    r = diffclip("map", "--model", "one", *RASTERS, "--out", "again.tif", cwd=done)
    assert r.returncode == 0, r.stderr
    with (
        rasterio.open(done / "again.tif") as a,
        rasterio.open(done / "one/map.tif") as b,
    ):
        assert (
            (a.read() == b.read()).all()
            and (a.crs, a.transform) == (b.crs, b.transform)
            and a.colormap(1) == b.colormap(1)
        )


def test_evaluate_scores_the_same_pixels(done):
    r = diffclip(
        "evaluate",
        "--labels",
        "labels.tif",
        "--map",
        "one/map.tif",
        "--json",
        "scores.json",
        cwd=done,
    )
    assert r.returncode == 0, r.stderr
    a, b = (
        json.loads((done / f).read_text()) for f in ("scores.json", "one/metrics.json")
    )
    assert all(a[k] == b[k] for k in ("oa", "aa", "kappa", "n_test"))


@pytest.mark.parametrize("where", ["c.DiffCLIP.fit", "runs.plot_map"])
def test_resume_after_an_interruption(where, done, scene):
    "Killed after stage 1, or on the last steps: --resume ends with the same bytes"
    script = (
        "import sys; import diffclip.classifier as c, diffclip.cli as cli\n"
        "import diffclip.runs as runs\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        f"{where} = stop\nsys.argv = ['diffclip', *sys.argv[1:]]\ncli.main()"
    )
    out = where.rpartition(".")[2]
    args = [*map(str, TRAIN), "--shots", "3", "--strategy", "disjoint", "--out", out]
    assert (
        subprocess.run(
            [sys.executable, "-c", script, *args], cwd=done, capture_output=True
        ).returncode
        != 0
    )
    assert (done / f".{out}.part/stage1.safetensors").exists()
    assert not (done / out).exists()
    for other, say in (
        (["--seed", "1"], "other options"),
        (["--steps", "6"], "other options"),
        (["--modality", "again=lidar.tif"], "other rasters"),
    ):
        r = diffclip(*args, *other, "--resume", cwd=done)
        assert r.returncode == 2 and say in r.stderr
    r = diffclip(*args, "--resume", cwd=done)
    assert r.returncode == 0 and "pretrain:" not in r.stderr, r.stderr
    for f in ("model.safetensors", "map.tif", "history.csv"):
        assert (done / "one" / f).read_bytes() == (done / out / f).read_bytes(), f
    assert {f.name for f in (done / out).iterdir()} == {
        f.name for f in (done / "one").iterdir()
    }


def test_evaluate_counts_holes_as_wrong(done, scene, tmp_path):
    "A map without an answer where there is a label has no better score for it"
    labels = rasterio.open(done / "one/map.tif").read(1)
    labels[:, 40:] = 0
    write_map(tmp_path / "holes.tif", labels, scene)
    r = diffclip(
        "evaluate",
        "--labels",
        "labels.tif",
        "--map",
        tmp_path / "holes.tif",
        "--json",
        tmp_path / "scores.json",
        cwd=done,
    )
    assert r.returncode == 0 and "all labelled pixels are scored" in r.stdout, r.stderr
    scores, known = json.loads((tmp_path / "scores.json").read_text()), scene.labels > 0
    assert scores["n_test"] == known.sum() and scores["oa"] == pytest.approx(
        100 * (labels == scene.labels)[known].mean()
    )


def test_evaluate_a_part_of_a_map(done, scene, tmp_path):
    "Its tags tell the shots of the whole map: they are not believed"
    for name in ("one/map", "labels"):
        with rasterio.open(done / f"{name}.tif") as src:
            window = rasterio.windows.Window(10, 20, 50, 50)
            with rasterio.open(
                tmp_path / f"{name[-3:]}.tif",
                "w",
                **src.profile
                | dict(height=50, width=50, transform=src.window_transform(window)),
            ) as dst:
                dst.update_tags(**src.tags())
                dst.write(src.read(window=window))
    r = diffclip(
        "evaluate",
        "--labels",
        "els.tif",
        "--map",
        "map.tif",
        "--json",
        "scores.json",
        cwd=tmp_path,
    )
    assert r.returncode == 0 and "all labelled pixels are scored" in r.stdout, r.stderr
    assert (
        json.loads((tmp_path / "scores.json").read_text())["n_test"]
        == (scene.labels[20:70, 10:60] > 0).sum()
    )


def test_evaluate_a_map_that_gdal_does_not_read(done, scene, tmp_path):
    np.save(tmp_path / "map.npy", rasterio.open(done / "one/map.tif").read(1))
    r = diffclip(
        "evaluate", "--labels", "labels.tif", "--map", tmp_path / "map.npy", cwd=done
    )
    assert r.returncode == 0 and "all labelled pixels are scored" in r.stdout, r.stderr


def test_real_tile(tile, tmp_path):
    "A real Sentinel-2, Sentinel-1 and elevation tile, from the files as distributed"
    (tmp_path / "classes.csv").write_text(
        "code,name\n1,water\n2,trees\n4,crops\n5,built area\n9,rangeland\n"
    )
    rasters = [
        a
        for m, f in (("optical", "S2L2A"), ("sar", "S1RTC"), ("dem", "DEM"))
        for a in ("--modality", f"{m}={tile / f}.tif")
    ]
    r = diffclip(
        "train",
        *rasters,
        "--labels",
        tile / "LULC.tif",
        "--classes",
        "classes.csv",
        "--preset",
        "tiny",
        "--steps",
        20,
        "--out",
        "run",
        cwd=tmp_path,
    )
    assert r.returncode == 0, r.stderr
    r = diffclip("map", "--model", "run", *rasters, "--out", "again.tif", cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    with (
        rasterio.open(tmp_path / "again.tif") as a,
        rasterio.open(tmp_path / "run/map.tif") as b,
        rasterio.open(tile / "LULC.tif") as c,
    ):
        assert (
            (a.read() == b.read()).all()
            and a.crs == b.crs == c.crs
            and a.transform.almost_equals(c.transform, 1e-6)
        )
    assert (
        json.loads((tmp_path / "run/metrics.json").read_text())["n_test"] == 50_086 - 10
    )


def test_a_second_run_keeps_what_else_lies_in_its_folder(tmp_path):
    "A map of another scene, say, that the user has put beside the model"
    from diffclip.runs import finish_folder

    out, part = tmp_path / "run", tmp_path / ".run.part"
    for folder, text in ((out, "old"), (part, "new")):
        folder.mkdir()
        (folder / "config.json").write_text(text)
    (out / "other.tif").write_text("mine")
    finish_folder(part, out)
    assert {p.name: p.read_text() for p in out.iterdir()} == {
        "config.json": "new",
        "other.tif": "mine",
    } and not part.exists()


def test_every_label_as_a_shot(scene, tmp_path):
    "Two labels a class and no more: nothing is left to score the map"
    from conftest import write_scene

    write_scene(scene, tmp_path)
    few = np.zeros_like(scene.labels)
    for code in scene.classes:
        few[tuple(np.argwhere(scene.labels == code)[[10, 20]].T)] = code
    write_map(tmp_path / "labels.tif", few, scene)
    r = diffclip(*TRAIN, "--out", "few", cwd=tmp_path)
    assert r.returncode == 2 and "--strategy all" in r.stderr
    r = diffclip(*TRAIN, "--strategy", "all", "--out", "few", cwd=tmp_path)
    assert r.returncode == 0 and "none is left" in r.stdout, r.stderr
    assert json.loads((tmp_path / "few/metrics.json").read_text())["n_train"] == 16
