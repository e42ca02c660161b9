"Bad input: one message that names thing and mend, exit status 2, nothing half-written"

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from diffclip import (
    DiffCLIP,
    InputError,
    Scene,
    few_shot_split,
    read_scene,
    synthetic_scene,
)
from diffclip.classifier import FORMAT
from diffclip.cli import main
from diffclip.data import read_classes, write_map, write_raster
from diffclip.evaluation import evaluate


@pytest.fixture
def cli(monkeypatch, capsys):
    "The command in this process: (exit status, standard output, standard error)"

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["diffclip", *map(str, args)])
        try:
            main()
            status = 0
        except SystemExit as e:
            status = e.code or 0
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def patch_raster(path, change, **profile):
    "Rewrite a raster with changed values and profile"
    with rasterio.open(path) as src:
        data, p = src.read(), src.profile
    data = change(data)
    p.update(
        count=data.shape[0],
        height=data.shape[1],
        width=data.shape[2],
        dtype=data.dtype,
        **profile,
    )
    with rasterio.open(path, "w", **p) as dst:
        dst.write(data)


def nan_at(value):
    def f(d):
        d[0, 40, 40] = value
        return d

    return f


def class_file(text):
    return lambda d: (d / "classes.csv").write_text(text)


def set_labels(f):
    return lambda d: patch_raster(d / "labels.tif", f)


ROWS = "".join(f"{i},name {i}\n" for i in range(1, 8))
# name: (change to the files, options, what the message must say)
TRAIN = {
    "missing modality file": (
        lambda d: (d / "hsi.tif").unlink(),
        [],
        ["hsi.tif", "no such file"],
    ),
    "empty file": (
        lambda d: (d / "hsi.tif").write_bytes(b""),
        [],
        ["hsi.tif", "cannot be read"],
    ),
    "text instead of a raster": (
        lambda d: (d / "hsi.tif").write_text("hello"),
        [],
        ["hsi.tif", "cannot be read"],
    ),
    "truncated raster": (
        lambda d: (d / "hsi.tif").write_bytes((d / "hsi.tif").read_bytes()[:40_000]),
        [],
        ["hsi.tif", "is the file whole"],
    ),
    "a folder": (
        lambda d: ((d / "hsi.tif").unlink(), (d / "hsi.tif").mkdir()),
        [],
        ["hsi.tif", "cannot be read"],
    ),
    "other size": (
        lambda d: patch_raster(d / "lidar.tif", lambda a: a[:, :60]),
        [],
        ["lidar.tif is 60×72", "hsi.tif is 72×72"],
    ),
    "transposed labels": (
        lambda d: (
            [
                patch_raster(d / f, lambda a: a[:, :, :60])
                for f in ("hsi.tif", "lidar.tif")
            ]
            and patch_raster(d / "labels.tif", lambda a: a[:, :60])
        ),
        [],
        ["labels.tif is 60×72", "transpose"],
    ),
    "other CRS": (
        lambda d: patch_raster(d / "lidar.tif", lambda a: a, crs="EPSG:32632"),
        [],
        ["lidar.tif is in EPSG:32632", "EPSG:32633", "gdalwarp"],
    ),
    "shifted grid": (
        lambda d: patch_raster(
            d / "lidar.tif",
            lambda a: a,
            transform=rasterio.Affine(1, 0, 500_000.5, 0, -1, 5_400_000),
        ),
        [],
        ["lidar.tif lies 0.50 pixels off"],
    ),
    "labels on another grid": (
        lambda d: patch_raster(
            d / "labels.tif", lambda a: a, transform=rasterio.Affine(1, 0, 1, 0, -1, 1)
        ),
        [],
        ["labels.tif lies"],
    ),
    "labels with two bands": (
        set_labels(lambda a: np.repeat(a, 2, 0)),
        [],
        ["labels.tif has 2 bands"],
    ),
    "too few pixels of a class": (
        lambda d: None,
        ["--shots", 5000],
        ["5000 shots", "too few of"],
    ),
    "no shots": (lambda d: None, ["--shots", 0], ["shots=0"]),
    "class without a pixel": (
        class_file(f"code,name\n{ROWS}8,name 8\n9,snow\n"),
        [],
        ["9 (snow)"],
    ),
    "two classes with one code": (
        class_file(f"{ROWS}7,snow\n"),
        [],
        ["line 8", "code 7", "twice"],
    ),
    "two classes with one name": (
        class_file(f"{ROWS}8,name 1\n"),
        [],
        ["classes.csv", "two classes have the name"],
    ),
    "code that is no number": (
        class_file(f"code,name\n{ROWS}x,snow\n"),
        [],
        ["line 9", "'x'"],
    ),
    "class without a name": (class_file(f"{ROWS}8,\n"), [], ["class 8 has no name"]),
    "code zero": (class_file(f"{ROWS}0,background\n"), [], ["codes start at 1"]),
    "one column": (class_file("1\n2\n"), [], ["line 1", "code,name"]),
    "empty classes": (class_file(""), [], ["at least 2 classes"]),
    "one class": (class_file("1,water\n"), [], ["at least 2 classes"]),
    "classes not text": (
        lambda d: (d / "classes.csv").write_bytes(b"\xff\xfe1\x00,"),
        [],
        ["classes.csv", "UTF-8"],
    ),
    "missing classes": (
        lambda d: (d / "classes.csv").unlink(),
        [],
        ["classes.csv", "no such file"],
    ),
    "NaN": (
        lambda d: patch_raster(d / "hsi.tif", nan_at(np.nan)),
        [],
        ["hsi has NaN or infinite", "1 of", "nodata"],
    ),
    "infinity": (
        lambda d: patch_raster(d / "lidar.tif", nan_at(np.inf)),
        [],
        ["lidar has NaN or infinite"],
    ),
    "constant band": (
        lambda d: patch_raster(
            d / "lidar.tif", lambda a: np.concatenate([a[:1], a[1:] * 0 + 5])
        ),
        [],
        ["lidar: band 2 is constant", "FILE[1]"],
    ),
    "everything nodata": (
        lambda d: patch_raster(d / "hsi.tif", lambda a: a * 0 - 9999),
        [],
        ["no pixel of the scene is valid"],
    ),
    "smaller than a window": (
        lambda d: (
            [
                patch_raster(d / f, lambda a: a[:, 34:44, 30:40])
                for f in ("hsi.tif", "lidar.tif", "labels.tif")
            ]
            and class_file("3,lawn\n5,concrete\n")(d)
        ),
        [],
        ["10×10", "smaller than a window of 11×11"],
    ),
    "wrong preset": (
        lambda d: None,
        ["--preset", "huge"],
        ["preset 'huge'", "paper, default, tiny"],
    ),
    "wrong text": (
        lambda d: None,
        ["--text", "ViT-B-99/openai"],
        ["ViT-B-99", "scratch"],
    ),
    "wrong text tag": (
        lambda d: None,
        ["--text", "ViT-B-32/nothing"],
        ["nothing", "openai"],
    ),
    "missing text weights": (
        lambda d: None,
        ["--text", "ViT-B-32:/nowhere/w.pt"],
        ["/nowhere/w.pt", "no such file"],
    ),
    "wrong strategy": (
        lambda d: None,
        ["--strategy", "spatial"],
        ["'spatial'", "disjoint"],
    ),
    "no such device": (lambda d: None, ["--device", "abacus"], ["abacus"]),
    **(
        {}
        if torch.cuda.is_available()
        else {
            "CUDA where there is none": (
                lambda d: None,
                ["--device", "cuda"],
                ["'cuda'", "device='cpu'"],
            )
        }
    ),
    "no such band": (
        lambda d: None,
        ["--modality", "more=lidar.tif[3]"],
        ["lidar.tif", "no band 3"],
    ),
    "odd band selection": (
        lambda d: None,
        ["--modality", "more=lidar.tif[a]"],
        ["lidar.tif", "[1,2,5:9]"],
    ),
    "modality without a file": (lambda d: None, ["--modality", "sar"], ["NAME=FILE"]),
    "modality given twice": (
        lambda d: None,
        ["--modality", "hsi=lidar.tif"],
        ["given twice"],
    ),
    "modality named as torch names things": (
        lambda d: None,
        ["--modality", "type=lidar.tif"],
        ["'type'", "choose another"],
    ),
    "a device without numbers": (
        lambda d: None,
        ["--device", "meta"],
        ["'meta'", "cpu"],
    ),
    "template with two gaps": (
        lambda d: None,
        ["--template", "a {} of {}"],
        ["{} once"],
    ),
    "modality named with a dot": (
        lambda d: None,
        ["--modality", "a.b=lidar.tif"],
        ["'a.b=lidar.tif'", "without spaces, dots"],
    ),
    "out is a file": (lambda d: (d / "run").write_text("mine"), [], ["run is a file"]),
    "out holds other things": (
        lambda d: ((d / "run").mkdir(), (d / "run/thesis.doc").write_text("mine")),
        [],
        ["run holds other files"],
    ),
    "out below a file": (
        lambda d: (d / "f").write_text("x"),
        ["--out", "f/run"],
        ["cannot be written"],
    ),
}


def tree(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("case", TRAIN)
def test_train(case, files, cli, monkeypatch):
    change, options, say = TRAIN[case]
    monkeypatch.chdir(files)
    change(files)
    before = tree(files)
    args = [
        "train",
        "--modality",
        "hsi=hsi.tif",
        "--modality",
        "lidar=lidar.tif",
        "--labels",
        "labels.tif",
        "--classes",
        "classes.csv",
        "--preset",
        "tiny",
        "--out",
        "run",
    ]
    status, out, err = cli(*args, *options)
    assert status == 2, err
    message = err.strip().splitlines()[-1] if err.strip() else ""
    assert message.startswith("diffclip: ") and "Traceback" not in err
    for word in say:
        assert word in err, err
    assert tree(files) == before  # nothing written, nothing lost


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    "A trained run, its rasters beside it"
    from conftest import write_scene

    folder, scene = tmp_path_factory.mktemp("mapped"), synthetic_scene(0, size=72)
    write_scene(scene, folder)
    split = few_shot_split(scene, 2)
    DiffCLIP(scene.classes, "tiny", device="cpu").pretrain(scene, steps=1).fit(
        scene, split.train
    ).save(folder / "run")
    return folder


MAP = {
    "no model": (["--model", "nowhere"], ["nowhere", "no such file"]),
    "not a model": (["--model", "."], ["config.json", "not a model"]),
    "damaged model": (["--model", "bad"], ["bad holds a damaged model"]),
    "damaged weights": (["--model", "cut"], ["cut holds a damaged model"]),
    "other format": (["--model", "old"], ["format 99"]),
    "missing modality": (["--model", "run"], ["no modality lidar"]),
    "other bands": (
        ["--model", "run", "--modality", "lidar=hsi.tif"],
        ["lidar has 64 bands", "trained on 2"],
    ),
    "missing folder": (
        ["--model", "run", "--modality", "lidar=lidar.tif", "--out", "no/such/map.tif"],
        ["map.tif cannot be written", "no folder"],
    ),
}


@pytest.mark.parametrize("case", MAP)
def test_map(case, run_folder, cli, monkeypatch):
    monkeypatch.chdir(run_folder)
    for name in ("bad", "cut", "old"):
        Path(name).mkdir(exist_ok=True)
        for f in ("config.json", "model.safetensors"):
            Path(name, f).write_bytes(Path("run", f).read_bytes())
    Path("bad/config.json").write_text("{")
    Path("cut/model.safetensors").write_bytes(
        Path("run/model.safetensors").read_bytes()[:1000]
    )
    Path("old/config.json").write_text(
        Path("old/config.json")
        .read_text()
        .replace(f'"format": {FORMAT}', '"format": 99')
    )
    args, say = MAP[case]
    before = tree(run_folder)
    status, _, err = cli("map", "--modality", "hsi=hsi.tif", "--out", "map.tif", *args)
    assert status == 2 and "Traceback" not in err
    for word in say:
        assert word in err, err
    assert tree(run_folder) == before


def test_evaluate(files, cli, monkeypatch):
    monkeypatch.chdir(files)
    assert cli("evaluate", "--labels", "labels.tif", "--map", "no.tif")[0] == 2
    patch_raster("labels.tif", lambda a: a[:, :50], transform=None)
    status, _, err = cli("evaluate", "--labels", "labels.tif", "--map", "lidar.tif[1]")
    assert status == 2 and "50×72" in err


def test_scenes_of_one_name(scene, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for d in "ab":
        Path(d).mkdir()
        scene.save_yaml(f"{d}/scene.yaml")
    status, _, err = cli(
        "benchmark",
        "a/scene.yaml",
        "b/scene.yaml",
        "--methods",
        "nearest",
        "--out",
        "out",
    )
    assert status == 2 and "two scenes are named scene" in err
    Path("file").write_text("mine")
    status, _, err = cli(
        "benchmark",
        "a/scene.yaml",
        "--methods",
        "nearest",
        "--shots",
        2,
        "--out",
        "file",
    )
    assert status == 2 and "file cannot be written" in err


def test_usage_errors_are_status_2(cli):
    assert cli("train")[0] == 2
    assert cli("mop")[0] == 2
    assert cli("demo", "--seed", -1)[0] == 2
    assert cli("train", "--help")[0] == 0


@pytest.mark.parametrize(
    "make, say",
    {
        "no modality": (lambda: Scene({}), "at least one modality"),
        "text array": (lambda: Scene({"a": np.array([["x"]])}), "numeric"),
        "four dimensions": (lambda: Scene({"a": np.zeros((1, 1, 2, 2))}), "shape"),
        "no band": (lambda: Scene({"a": np.zeros((0, 2, 2))}), "no band"),
        "empty": (lambda: Scene({"a": np.zeros((1, 0, 2))}), "empty"),
        "probabilities as labels": (
            lambda: Scene({"a": np.random.rand(4, 4)}, labels=np.random.rand(4, 4)),
            "whole numbers",
        ),
        "labels transposed": (
            lambda: Scene({"a": np.random.rand(4, 6)}, labels=np.ones((6, 4), int)),
            "transpose",
        ),
        "valid of other size": (
            lambda: Scene({"a": np.random.rand(4, 6)}, valid=np.ones((6, 4), bool)),
            "valid is 6×4",
        ),
        "no modality to read": (lambda: read_scene({}), "name=file"),
        "small scene": (lambda: synthetic_scene(size=20), "too small"),
        "huge code": (
            lambda: write_map(
                "x.tif",
                np.zeros((2, 2)),
                Scene({"a": np.random.rand(2, 2)}, classes={1: "a", 70_000: "b"}),
            ),
            "70000",
        ),
        "unwritable raster": (
            lambda: write_raster("/nowhere/at/all.tif", np.zeros((2, 2))),
            "cannot be written",
        ),
        "no labels to score": (
            lambda: evaluate(Scene({"a": np.random.rand(2, 2)}), np.zeros((2, 2))),
            "no labels",
        ),
        "nothing to score": (
            lambda: evaluate(
                Scene({"a": np.random.rand(2, 2)}, np.array([[1, 2], [1, 2]])),
                np.zeros((2, 2)),
                np.zeros((2, 2), bool),
            ),
            "empty",
        ),
        "NaN class vectors": (
            lambda: DiffCLIP(["a", "b"], text=np.full((2, 3), np.nan)),
            "NaN",
        ),
        "one class only": (lambda: DiffCLIP(["a"]), "at least 2"),
    }.values(),
)
def test_python(make, say):
    with pytest.raises(InputError, match=say):
        make()
    assert issubclass(InputError, ValueError)


def test_unnamed_codes_are_said_once(recwarn):
    x = np.random.default_rng(0).random((1, 8, 8))
    Scene({"a": x}, labels=np.arange(64).reshape(8, 8) % 4, classes={1: "a", 2: "b"})
    assert [str(w.message) for w in recwarn] == [
        "label codes [3] have no class name: 16 pixels count as unlabelled"
    ]


def test_nan_as_nodata(files):
    patch_raster(files / "hsi.tif", nan_at(np.nan))
    scene = read_scene({"hsi": files / "hsi.tif"}, nodata=float("nan"))
    assert not scene.valid[40, 40] and scene.valid[41, 41]


def test_classes_csv_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "c.csv").write_bytes(
        '\ufeffcode,name,note\r\n1,"water, deep",x\r\n\r\n2,trees,\r\n'.encode()
    )
    assert read_classes(tmp_path / "c.csv") == {1: "water, deep", 2: "trees"}
