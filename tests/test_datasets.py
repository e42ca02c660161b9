"""Benchmarks by name, with only the download replaced

Downloads are tested against a server on this machine.
"""

import hashlib
import http.server
import importlib
import os
import socket
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.io

from diffclip.core import InputError
from diffclip.data import datasets
from diffclip.data.datasets import (
    DATASETS,
    LULC,
    TERRAMIND_SHA256,
    datasets_table,
    load_dataset,
)
from diffclip.data.rasters import write_raster
from diffclip.data.scene import Scene
from diffclip.data.scene_files import read_scene
from diffclip.data.splits import few_shot_split, official_split

DATA = Path(
    os.environ.get("DIFFCLIP_DATA")
    or Path(__file__).resolve().parents[2] / "shared/data"
)
rsfd = pytest.importorskip(
    "rs_fusion_datasets", reason="rs-fusion-datasets is in the extra 'datasets'"
)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def stripes(h, w, n):
    return (np.mgrid[:h, :w][1] * n // w + 1).astype(np.uint8)


def module(name):
    return importlib.import_module(f"rs_fusion_datasets.core.{DATASETS[name].fetcher}")


@pytest.fixture
def without_download(monkeypatch):
    "Make the download of a data set answer with a folder"

    def replace(name, folder):
        monkeypatch.setattr(
            module(name), "zip_download_and_extract", lambda *a, **k: folder
        )
        if hasattr(module(name), "mirrored_download"):
            monkeypatch.setattr(module(name), "mirrored_download", lambda *a, **k: None)

    return replace


def test_trento_at_full_size(tmp_path, without_download):
    home = tmp_path / "Trento-b4afc449ce5d6936ddc04fe267d86f9f35536afd"
    home.mkdir()
    hsi, lidar = (
        np.random.default_rng(0).random((166, 600, 63), np.float32),
        np.random.default_rng(1).random((166, 600, 2), np.float32),
    )
    for file, key, a in (
        ("Italy_hsi", "data", hsi),
        ("Italy_lidar", "data", lidar),
        ("allgrd", "mask_test", stripes(166, 600, 6)),
    ):
        scipy.io.savemat(home / f"{file}.mat", {key: a})
    # the real files, where they are at hand
    for f in ("Italy_lidar.mat", "allgrd.mat"):
        if (DATA / "trento" / f).exists():
            (home / f).write_bytes((DATA / "trento" / f).read_bytes())
    without_download("trento", tmp_path)
    s = load_dataset("trento", tmp_path)
    np.testing.assert_array_equal(
        np.asarray(s.modalities["hsi"]), hsi.transpose(2, 0, 1)
    )
    assert (
        s.shape == (166, 600)
        and s.modalities["lidar"].shape == (2, 166, 600)
        and s.classes[1] == "apple trees"
        and s.split is None
    )
    if (DATA / "trento").is_dir():
        assert [int((s.labels == c).sum()) for c in s.classes] == [
            4034,
            2903,
            479,
            9123,
            10501,
            3174,
        ]
    assert few_shot_split(s, 2).train.sum() == 12


def roi(path, start, counts):
    """ENVI's text export: for each class its points; returns the label map

    Points are numbered from 1; column and row are counted from 1.
    """
    truth = np.zeros((349, 1905), int)
    lines = [
        "; ENVI Output of ROIs (4.8)",
        f"; Number of ROIs: {len(counts)}",
        "; File Dimension: 1905 x 349",
        "",
    ]
    at = start
    for c, n in enumerate(counts, 1):
        for i in range(n):
            y, x = divmod(at, 1905)
            lines.append(f"{i + 1:7}{x + 1:7}{y + 1:7}   271460.0  3290891.0")
            truth[y, x] = c
            at += 3
        lines.append("")
    path.write_text("\n".join(lines))
    return truth


def test_houston_2013_at_full_size_with_its_official_split(tmp_path, without_download):
    home = tmp_path / "2013_DFTC"
    home.mkdir()
    for part, bands, dtype in (("CASI", 144, "uint16"), ("LiDAR", 1, "float32")):
        with rasterio.open(
            home / f"2013_IEEE_GRSS_DF_Contest_{part}.tif",
            "w",
            driver="GTiff",
            count=bands,
            height=349,
            width=1905,
            dtype=dtype,
            crs="EPSG:32615",
            transform=rasterio.Affine(2.5, 0, 271460, 0, -2.5, 3290891),
            compress="lzw",
        ) as dst:
            for b in range(bands):
                dst.write(np.full((349, 1905), 400 * b + 7, dtype), b + 1)
    train = roi(
        home / "2013_IEEE_GRSS_DF_Contest_Samples_TR.txt", 0, [189] * 14 + [186]
    )  # 2,832 as in the contest
    test = roi(
        home / "2013_IEEE_GRSS_DF_Contest_Samples_VA.txt", 100_000, [813] * 14 + [815]
    )  # 12,197
    without_download("houston2013", tmp_path)
    s = load_dataset("houston2013", tmp_path)
    assert s.shape == (349, 1905) and {k: len(m) for k, m in s.modalities.items()} == {
        "hsi": 144,
        "lidar": 1,
    }
    np.testing.assert_array_equal(s.split.train, train > 0)
    np.testing.assert_array_equal(s.split.test, test > 0)
    np.testing.assert_array_equal(s.labels, train + test)
    assert (int(s.split.train.sum()), int(s.split.test.sum())) == (
        2832,
        12197,
    ) and list(s.classes.values())[-1] == "running track"
    assert (
        abs(float(s.modalities["hsi"].wavelengths[0]) - 0.364) < 1e-4
        and s.modalities["hsi"][143].max() == 400 * 143 + 7
    )


def test_muufl_at_full_size(tmp_path, without_download):
    home = tmp_path / "MUUFLGulfport-0.1/MUUFLGulfportSceneLabels"
    home.mkdir(parents=True)
    rng, truth = np.random.default_rng(0), stripes(325, 220, 11).astype(float)
    truth[:20] = -1
    hsi, z = (
        rng.random((325, 220, 64), np.float32),
        rng.random((325, 220, 2), np.float32),
    )
    lidar = np.empty(2, object)
    lidar[:] = [{"z": z, "x": np.zeros(3)}, {"z": np.ones((9, 9, 2)), "x": np.zeros(3)}]
    scipy.io.savemat(
        home / "muufl_gulfport_campus_1_hsi_220_label.mat",
        {
            "hsi": {
                "Data": hsi,
                "info": {"wavelength": np.linspace(375.0, 1050, 64)},
                "Lidar": lidar,
                "sceneLabels": {
                    "labels": truth,
                    "Materials_Type": np.array(
                        list(DATASETS["muufl"].classes.values()), object
                    ),
                },
            }
        },
    )
    without_download("muufl", tmp_path)
    s = load_dataset("muufl", tmp_path)
    np.testing.assert_array_equal(
        np.asarray(s.modalities["hsi"]), hsi.transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(
        np.asarray(s.modalities["lidar"]), z.transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(s.labels, np.where(truth < 0, 0, truth))
    assert s.classes[10] == "yellow curb" and not (s.labels[:20]).any()
    # and our own reader, on the file as it is
    path = f"{home}/muufl_gulfport_campus_1_hsi_220_label.mat"
    own = read_scene(
        {"hsi": f"{path}:hsi.Data", "lidar": f"{path}:hsi.Lidar[0].z"},
        f"{path}:hsi.sceneLabels.labels",
        DATASETS["muufl"].classes,
    )
    np.testing.assert_array_equal(own.labels, s.labels)
    np.testing.assert_array_equal(
        np.asarray(own.modalities["lidar"]), z.transpose(2, 0, 1)
    )
    np.testing.assert_allclose(
        own.modalities["hsi"].wavelengths, np.linspace(0.375, 1.05, 64), rtol=1e-6
    )


@pytest.mark.parametrize(
    "name, stem, bands",
    [
        ("augsburg", "augsburg", (180, 4)),
        ("berlin", "berlin", (244, 4)),
        ("houston2018", "houston", (50, 1)),
    ],
)
def test_scenes_prepared_for_dcmnet(tmp_path, without_download, name, stem, bands):
    n, second = len(DATASETS[name].classes), list(DATASETS[name].modalities)[1]
    home = tmp_path / name.capitalize()
    home.mkdir()
    rng, truth, yx = (
        np.random.default_rng(0),
        stripes(20, 40, n),
        np.argwhere(np.ones((20, 40))),
    )
    cube = {
        "hsi": rng.random((20, 40, bands[0])),
        second: rng.random((20, 40, bands[1])).squeeze(),
        "gt": truth,
    }
    for k, a in cube.items():
        scipy.io.savemat(home / f"{stem}_{k}.mat", {f"{stem}_{k}": a})
    scipy.io.savemat(
        home / f"{stem}_index.mat",
        {
            f"{stem}_train": np.concatenate([yx[:200], yx[:5]]),
            f"{stem}_test": yx[200:],
            f"{stem}_all": yx,
        },
    )  # five points twice
    without_download(name, tmp_path)
    s = load_dataset(name, tmp_path)
    np.testing.assert_array_equal(s.labels, truth)
    assert (s.split.train.sum(), s.split.test.sum()) == (200, 600)
    w = s.modalities["hsi"].wavelengths
    assert w is None and (
        name != "houston2018"
        or s.modalities["hsi"].band_names[:2] == ["374 nm", "389 nm"]
    )


def test_labels_outside_the_split_are_not_lost_and_points_in_both_train(recwarn):
    train, test = np.zeros((4, 5), int), np.zeros((4, 5), int)
    train[0], test[0, :2], test[1] = 1, 1, 2
    labels, split = official_split(train, test)
    assert (
        labels[0].tolist() == [1] * 5
        and split.train.sum() == 5
        and split.test.sum() == 5
        and "in training and in test" in str(recwarn[0].message)
    )


# ---------------------------------------------------------------- downloads


@pytest.fixture
def server(tmp_path):
    "Files served on 127.0.0.1: (their folder, address, list of requested paths)"
    home, seen = tmp_path / "www", []
    home.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *a):
            super().__init__(*a, directory=home)

        def log_message(self, *a):
            seen.append(self.path)

    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield home, f"http://127.0.0.1:{s.server_port}/", seen
    s.shutdown()
    s.server_close()


@pytest.fixture
def tile(server, monkeypatch):
    "A tile on the server, in the layout of the repository"
    home, url, seen = server
    rng, place = (
        np.random.default_rng(0),
        Scene(
            {"m": np.zeros((224, 224))},
            crs=rasterio.CRS.from_epsg(32718),
            transform=rasterio.Affine(10, 0, 5e5, 0, -10, 8e6),
        ),
    )
    codes = (
        np.where(np.arange(224) < 2, 3, np.where(np.arange(224) < 100, 2, 4))[None]
        .repeat(224, 0)
        .astype(np.uint8)
    )
    codes[30:, :2] = 2  # 60 pixels of class 3 remain
    for sensor, a in {
        "S2L2A": rng.integers(0, 9999, (12, 224, 224)).astype(np.int16),
        "S1RTC": rng.normal(-10, 3, (2, 224, 224)),
        "DEM": rng.integers(0, 99, (1, 224, 224)).astype(np.int16),
        "LULC": codes,
    }.items():
        (home / sensor).mkdir()
        write_raster(home / sensor / "made_here.tif", a, place)
    sums = {
        s: hashlib.sha256((home / s / "made_here.tif").read_bytes()).hexdigest()
        for s in ("S2L2A", "S1RTC", "DEM", "LULC")
    }
    monkeypatch.setattr(datasets, "TERRAMIND_URL", url)
    monkeypatch.setitem(TERRAMIND_SHA256, "made_here", sums)
    known = DATASETS["terramind/433D_629L_3_1"]
    name = "terramind/made_here"
    monkeypatch.setitem(DATASETS, name, replace(known, name=name))
    return home, seen


def load_tile(root):
    return load_dataset("terramind/made_here", root)


def test_tile_is_downloaded_once(tile, tmp_path):
    home, seen = tile
    s = load_tile(tmp_path / "cache")
    assert (
        {k: len(m) for k, m in s.modalities.items()}
        == {"optical": 12, "sar": 2, "dem": 1}
        and s.classes == {2: "trees", 4: "crops"}
        and s.crs.to_epsg() == 32718
    )
    np.testing.assert_allclose(
        s.modalities["optical"].wavelengths[[0, -1]], [0.4427, 2.2024], rtol=1e-6
    )
    assert (
        s.modalities["sar"].units == "dB"
        and s.modalities["optical"].band_names[8] == "B8A"
        and len(seen) == 4
    )
    load_tile(tmp_path / "cache")
    assert len(seen) == 4


def test_half_finished_download_is_fetched_again(tile, tmp_path):
    load_tile(tmp_path / "cache")
    f = tmp_path / "cache/terramind/DEM/made_here.tif"
    whole = f.read_bytes()
    f.write_bytes(whole[:100])
    load_tile(tmp_path / "cache")
    assert f.read_bytes() == whole


def fails(call, *words):
    with pytest.raises(InputError) as e:
        call()
    assert all(w in str(e.value) for w in words) and "\n" not in str(e.value), e.value


def test_checksum_mismatch_leaves_nothing(tile, tmp_path):
    home, _ = tile
    (home / "S1RTC/made_here.tif").write_bytes(b"something else")
    fails(
        lambda: load_tile(tmp_path / "cache"), "made_here", "SHA256", "put them there"
    )
    assert not (tmp_path / "cache/terramind/S1RTC/made_here.tif").exists() and not [
        p for p in (tmp_path / "cache").rglob("*") if p.name.startswith("tmp")
    ]


def test_missing_on_the_server(tile, tmp_path):
    home, _ = tile
    (home / "DEM/made_here.tif").unlink()
    fails(lambda: load_tile(tmp_path / "cache"), "404", "made_here.tif")


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_no_network(tile, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "TERRAMIND_URL", f"http://127.0.0.1:{closed_port()}/")
    fails(lambda: load_tile(tmp_path / "cache"), "Check the network")


@pytest.mark.parametrize("name", ["terramind/433D_629L_3_1", "trento"])
def test_read_only_cache(tmp_path, monkeypatch, name):
    (tmp_path / "cache").mkdir()
    # root may write anywhere, so a mode would not do
    monkeypatch.setattr(os, "access", lambda *a, **k: False)
    fails(lambda: load_dataset(name, tmp_path / "cache"), "read-only", "--root")
    assert not list((tmp_path / "cache").iterdir())


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as z:
        for name, data in members.items():
            z.writestr(name, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def archive(server, monkeypatch):
    """Trento's archive on the server

    rs-fusion-datasets downloads, checks and unpacks it as ever, from another address
    and with other sums.
    """
    home, url, seen = server
    real = module("trento").zip_download_and_extract

    def serve(members, sums=None, address=None):
        sha = zipped(home / "trento.zip", members)
        files = (
            {"trento.zip": sha}
            | {
                n: hashlib.sha256(b).hexdigest()
                for n, b in members.items()
                if ".." not in n
            }
            | (sums or {})
        )
        monkeypatch.setattr(
            module("trento"),
            "zip_download_and_extract",
            lambda name, _, __, data_home: real(
                name, address or f"{url}trento.zip", files, data_home
            ),
        )

    return serve


def trento_members(tmp_path):
    out, at = {}, "Trento-b4afc449ce5d6936ddc04fe267d86f9f35536afd"
    for file, key, a in (
        (
            "Italy_hsi",
            "data",
            np.random.default_rng(0).random((20, 30, 63), np.float32),
        ),
        (
            "Italy_lidar",
            "data",
            np.random.default_rng(1).random((20, 30, 2), np.float32),
        ),
        ("allgrd", "mask_test", stripes(20, 30, 6)),
    ):
        scipy.io.savemat(tmp_path / "x.mat", {key: a})
        out[f"{at}/{file}.mat"] = (tmp_path / "x.mat").read_bytes()
    return out


def test_archive_is_downloaded_checked_and_unpacked(archive, server, tmp_path):
    archive(trento_members(tmp_path))
    assert (
        load_dataset("trento", tmp_path / "cache").shape == (20, 30)
        and len(server[2]) == 1
    )
    load_dataset("trento", tmp_path / "cache")
    assert len(server[2]) == 1


def test_archive_with_path_traversal_stays_inside(archive, tmp_path):
    archive({**trento_members(tmp_path), "../../evil.txt": b"evil"})
    load_dataset("trento", tmp_path / "cache")
    assert not [
        p
        for p in tmp_path.rglob("evil.txt")
        if tmp_path / "cache/trento" not in p.parents
    ]


def test_archive_with_a_wrong_checksum(archive, tmp_path):
    archive(trento_members(tmp_path), {"trento.zip": "0" * 64})
    fails(
        lambda: load_dataset("trento", tmp_path / "cache"),
        "trento",
        "SHA-256",
        "put it at",
    )
    assert not (
        tmp_path / "cache/trento/Trento-b4afc449ce5d6936ddc04fe267d86f9f35536afd"
    ).exists()


def test_member_with_a_wrong_checksum(archive, tmp_path):
    archive(
        trento_members(tmp_path),
        {"Trento-b4afc449ce5d6936ddc04fe267d86f9f35536afd/allgrd.mat": "0" * 64},
    )
    fails(lambda: load_dataset("trento", tmp_path / "cache"), "trento", "put it at")


def test_half_finished_archive_is_fetched_again(archive, tmp_path):
    archive(trento_members(tmp_path))
    (tmp_path / "cache/trento").mkdir(parents=True)
    (tmp_path / "cache/trento/trento.zip").write_bytes(b"PK\3\4 half")
    assert load_dataset("trento", tmp_path / "cache").shape == (20, 30)


def test_archive_without_network(archive, tmp_path):
    archive(
        trento_members(tmp_path), address=f"http://127.0.0.1:{closed_port()}/trento.zip"
    )
    fails(lambda: load_dataset("trento", tmp_path / "cache"), "trento", "put it at")


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rs_fusion_datasets", None)
    fails(lambda: load_dataset("trento", tmp_path), "pip install 'diffclip[datasets]'")


# ---------------------------------------------------------------- real tiles


PIXELS = {  # tile → class → pixels
    "433D_629L_3_1": {1: 3127, 2: 10396, 4: 21213, 5: 11742, 9: 3608},
    "282D_485L_3_3": {1: 25991, 2: 18690, 6: 3316, 9: 2179},
    "637U_59R_1_3": {2: 1209, 4: 44382, 5: 797, 9: 3788},
    "38D_378R_2_3": {4: 21643, 9: 28533},
    "609U_541L_3_0": {7: 224 * 224},
}


@pytest.mark.parametrize("tile", PIXELS)
def test_real_tiles_have_the_listed_checksums(tmp_path, tile, monkeypatch):
    if not (DATA / "terramind" / tile).is_dir():
        pytest.skip(f"no tile {tile} in {DATA}")
    for f in (DATA / "terramind" / tile).glob("*.tif"):
        (tmp_path / "terramind" / f.stem).mkdir(parents=True)
        (tmp_path / "terramind" / f.stem / f"{tile}.tif").write_bytes(f.read_bytes())
    # nothing may be fetched
    monkeypatch.setattr(datasets, "TERRAMIND_URL", "http://127.0.0.1:9/")
    s = load_dataset(f"terramind/{tile}", tmp_path)
    assert {c: int((s.labels == c).sum()) for c in s.classes} == PIXELS[tile]
    assert s.classes == {c: LULC[c] for c in PIXELS[tile]}


def test_a_tile_of_one_class_is_a_scene(tile, tmp_path):
    home, _ = tile
    place = Scene({"m": np.zeros((224, 224))})
    snow = np.full((224, 224), 7, np.uint8)
    write_raster(home / "LULC/made_here.tif", snow, place)
    digest = hashlib.sha256((home / "LULC/made_here.tif").read_bytes()).hexdigest()
    TERRAMIND_SHA256["made_here"]["LULC"] = digest
    assert load_tile(tmp_path / "cache").classes == {7: "snow or ice"}


def test_every_data_set_is_listed_with_all_that_is_known():
    assert set(TERRAMIND_SHA256) == set(PIXELS)
    for sums in TERRAMIND_SHA256.values():
        assert list(sums) == ["S2L2A", "S1RTC", "DEM", "LULC"]
        assert all(len(digest) == 64 for digest in sums.values())
    for name, d in DATASETS.items():
        assert name == d.name and f"`{name}`" in datasets_table()
        assert d.shape and d.modalities and d.classes and d.licence and d.citation
        assert bool(d.fetcher) == bool(d.place) == ("/" not in name)
