"Scaling that is exact on small scenes and lean on large ones; windows"

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from diffclip.core import InputError
from diffclip.data import (
    Modality,
    Scene,
    Windows,
    apply_scaling,
    fit_scaling,
    synthetic_scene,
)
from diffclip.data.windows import sample_pixels

KINDS = ("standard", "minmax", "mnf")


def plain_scaling(x, valid, kind):
    "Offset and matrix by the definition, on the whole scene in double precision"
    values = x[:, valid].astype(np.float64)
    if kind == "minmax":
        offset = np.full(len(x), values.min())
        spread = np.full(len(x), np.ptp(values))
    else:
        offset = values.mean(1)
        spread = values.std(1)
    matrix = np.diag(1 / spread)
    if kind == "mnf":
        scaled = (x.astype(np.float64) - offset[:, None, None]) / spread[:, None, None]
        matrix = plain_mnf(scaled, valid) @ matrix
    return offset.astype(np.float32), matrix.astype(np.float32)


def plain_mnf(x, valid):
    right = (x[:, :, 1:] - x[:, :, :-1])[:, valid[:, 1:] & valid[:, :-1]].T
    lower = (x[:, 1:] - x[:, :-1])[:, valid[1:] & valid[:-1]].T
    d = np.concatenate([right, lower])
    size = (d**2).sum(1)
    d = d[size <= np.quantile(size, 0.8)] if len(d) else d
    z = x[:, valid]
    noise = d.T @ d / (2 * max(len(d), 1))
    noise += (1e-3 * np.trace(noise) / len(x) + 1e-9) * np.eye(len(x))
    values, vectors = linalg.eigh(z @ z.T / z.shape[1], noise)
    values, vectors = values[::-1][:12], vectors[:, ::-1][:, :12]
    vectors = vectors * np.sign(
        vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])]
    )
    a = (vectors * np.maximum(values, 1e-6) ** -0.2).T
    return a / np.sqrt(((a @ z) ** 2).mean())


def assert_plain(scene, kind):
    found = fit_scaling(scene, kind)
    for name, m in scene.modalities.items():
        offset, matrix = plain_scaling(np.asarray(m), scene.valid, kind)
        assert np.array_equal(found[name].offset, offset)
        assert np.array_equal(found[name].matrix, matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_small_scenes_to_the_bit(kind):
    assert_plain(synthetic_scene(0), kind)
    assert_plain(synthetic_scene(1, size=64), kind)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    bands=st.integers(1, 20),
    rows=st.integers(2, 90),
    columns=st.integers(2, 90),
    kind=st.sampled_from(KINDS),
    turned=st.booleans(),
)
def test_any_small_scene_to_the_bit(seed, bands, rows, columns, kind, turned):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2, 3, (bands, rows, columns)).astype(np.float32)
    x += x.mean(0)
    valid = rng.random((rows, columns)) < rng.choice([0.3, 0.9, 1])
    valid[0, 0] = valid[-1, -1] = True
    modality = Modality(x)[:, :, ::-1] if turned else Modality(x)
    assert_plain(Scene({"x": modality}, valid=valid), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_real_tile_to_the_bit(tile, kind):
    import rasterio

    names = {"optical": "S2L2A", "sar": "S1RTC", "dem": "DEM"}
    arrays = {k: rasterio.open(tile / f"{f}.tif").read() for k, f in names.items()}
    assert_plain(Scene(arrays), kind)


@pytest.fixture(scope="module")
def large():
    "600×600 pixels with 64 bands: 92 MB"
    rng = np.random.default_rng(0)
    sources = rng.standard_normal((6, 600, 600), dtype=np.float32)
    mixing = rng.standard_normal((64, 6), dtype=np.float32)
    x = np.tensordot(mixing, sources, 1)
    for band in x:
        band += 0.3 * rng.standard_normal((600, 600), dtype=np.float32)
    return Scene({"hsi": x}, valid=rng.random((600, 600)) > 0.02)


def peak(function, *args):
    "What a function returns, and the most memory that it held, in bytes"
    tracemalloc.start()
    try:
        out = function(*args)
        return out, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_a_large_scene(large, kind):
    size = large.modalities["hsi"].nbytes
    scaling, most = peak(fit_scaling, large, kind)
    assert most < size
    scaled, most = peak(apply_scaling, large, scaling)
    assert most - scaled["hsi"].nbytes < 1.5 * size


def test_the_sample_is_a_fair_one(large):
    x = np.asarray(large.modalities["hsi"])
    found = fit_scaling(large)["hsi"]
    again = fit_scaling(large)["hsi"]
    offset, matrix = plain_scaling(x, large.valid, "standard")
    assert np.array_equal(found.offset, again.offset)
    assert np.abs(np.diag(found.matrix) / np.diag(matrix) - 1).max() < 0.02
    assert np.abs((found.offset - offset) * np.diag(matrix)).max() < 0.02
    for kind in ("minmax", "mnf"):
        scaled = apply_scaling(large, fit_scaling(large, kind))["hsi"]
        values = scaled[:, large.valid]
        if kind == "minmax":
            assert (values.min(), values.max()) == pytest.approx((0, 1), abs=1e-6)
        else:
            assert abs((values**2).mean() - 1) < 0.02


def test_the_sample_does_not_grow():
    rows, columns = sample_pixels(np.ones((300, 400), bool))
    assert len(rows) == len(set(zip(rows.tolist(), columns.tolist()))) == 65_536
    assert len(sample_pixels(np.ones((256, 256), bool))[0]) == 65_536
    assert (np.diff(rows) >= 0).all()
    assert rows.min() == columns.min() == 0 and (rows.max(), columns.max()) == (
        299,
        399,
    )


def test_extremes_and_constant_bands_are_of_all_pixels():
    rng = np.random.default_rng(0)
    x = rng.random((3, 400, 400)).astype(np.float32)
    x[1] = 0.5
    with pytest.raises(InputError, match=r"band 2 is constant \(0.5\).*FILE\[1,3\]"):
        fit_scaling(Scene({"x": x}))
    rows, columns = sample_pixels(np.ones((400, 400), bool))
    assert not ((rows == 7) & (columns == 7)).any()
    x[1, 7, 7] = 9  # one pixel that is not in the sample
    scene = Scene({"x": x})
    for kind in KINDS:
        scaling = fit_scaling(scene, kind)
        assert all(np.isfinite(part).all() for part in scaling["x"])
        assert np.isfinite(apply_scaling(scene, scaling)["x"]).all()
    scaled = apply_scaling(scene, fit_scaling(scene, "minmax"))["x"]
    assert (scaled.min(), scaled.max()) == pytest.approx((0, 1), abs=1e-6)


def test_scaling_names_its_parts():
    scaling = fit_scaling(synthetic_scene(0, size=64), "mnf")["hsi"]
    offset, matrix = scaling
    assert offset is scaling.offset and matrix is scaling.matrix
    assert (offset.shape, matrix.shape) == ((64,), (12, 64))


def test_the_scene_is_not_changed():
    scene = synthetic_scene(0, size=64)
    before = scene.fingerprint()
    for kind in KINDS:
        apply_scaling(scene, fit_scaling(scene, kind))
    assert scene.fingerprint() == before


def test_windows_are_slices_of_the_padded_scene():
    rng = np.random.default_rng(0)
    arrays = {"a": rng.random((3, 20, 17)).astype(np.float32)}
    windows = Windows(arrays, size=7)
    padded = np.pad(arrays["a"], ((0, 0), (3, 3), (3, 3)), mode="edge")
    y, x = (torch.from_numpy(i.ravel()) for i in np.mgrid[:20, :17])
    plain = windows.gather(y, x)["a"].numpy()
    for row, column, window in zip(y.tolist(), x.tolist(), plain):
        assert np.array_equal(window, padded[:, row : row + 7, column : column + 7])
    for turn in range(8):
        found = windows.gather(y, x, torch.full_like(y, turn))["a"].numpy()
        first = plain if turn < 4 else plain.swapaxes(2, 3)
        assert np.array_equal(found, np.rot90(first, turn % 4, (2, 3)))
