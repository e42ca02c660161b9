"""Round trips: what another library wrote reads back equal, with its georeference,
wavelengths and nodata; and files are closed"""

import json
import os
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform_bounds
from spectral.io import envi

from diffclip.core import InputError
from diffclip.data import (
    Modality,
    Scene,
    open_raster,
    read_raster,
    read_scene,
    write_raster,
)

DATA = Path(
    os.environ.get("DIFFCLIP_DATA")
    or Path(__file__).resolve().parents[2] / "shared/data"
)
CRS = rasterio.CRS.from_epsg(32633)
PLACE = rasterio.Affine(2, 0, 500000, 0, -2, 5000000)
DTYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    ">u2",
    ">i2",
    "float32",
    "float64",
    ">f4",
    ">f8",
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*read with bands.*:UserWarning",
    "ignore::rasterio.errors.NotGeoreferencedWarning",
)
many = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


def has_data(a, nodata):
    "Which pixels have data: 0 must be in all bands to mean no data, others in one"
    if nodata is None:
        return np.ones(a.shape[1:], bool)
    if np.isnan(nodata):
        return np.isfinite(a).all(0)
    return (a != 0).any(0) if nodata == 0 else (a != nodata).all(0)


@st.composite
def cubes(draw, dtypes=DTYPES):
    "A cube (C, H, W) of any dtype, its nodata value or None, and its extremes in it"
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = (
        draw(st.integers(1, 300)),
        draw(st.integers(2, 12)),
        draw(st.integers(2, 12)),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        a = (
            (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape))
            .astype(np.float32)
            .astype(dtype)
        )
    elif dtype.kind == "b":
        a = rng.random(shape) < 0.5
    else:
        info = np.iinfo(dtype)
        a = rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)
        a.flat[0], a.flat[-1] = info.min, info.max
    nodata = draw(st.sampled_from([None] if dtype.kind == "b" else [None, 0, 7]))
    if nodata is not None:
        a[:, rng.random(shape[1:]) < 0.2] = nodata
    return a, nodata


def check(raster, a, nodata, select=None):
    a = a if select is None else a[select]
    np.testing.assert_array_equal(np.asarray(raster.data), a.astype(np.float32))
    assert raster.data.dtype == np.float32
    np.testing.assert_array_equal(raster.valid, has_data(a, nodata))


def check_window(path, a, **kwargs):
    "A window of the file is the window of the whole"
    h, w = a.shape[1] // 2, max(a.shape[2] // 2, 1)
    with open_raster(path, **kwargs) as f:
        window = f.read_window((h, a.shape[1]), (0, w)).data
    expected = a[:, h:, :w].astype(np.float32)
    np.testing.assert_array_equal(np.asarray(window), expected)


@many
@given(
    cube=cubes(("uint8", "uint16", "int16", "float32", "float64")),
    interleave=st.sampled_from(["pixel", "band"]),
    big=st.booleans(),
)
def test_geotiff_from_rasterio(tmp_path_factory, cube, interleave, big):
    (a, nodata), path = cube, tmp_path_factory.mktemp("tif") / "a.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(a),
        height=a.shape[1],
        width=a.shape[2],
        dtype=a.dtype,
        nodata=nodata,
        crs=CRS,
        transform=PLACE,
        interleave=interleave,
        ENDIANNESS="BIG" if big else "LITTLE",
    ) as dst:
        dst.write(a)
        for i in range(len(a)):
            dst.update_tags(i + 1, wavelength=400 + i, wavelength_units="nm")
            dst.set_band_description(i + 1, f"b{i}")
    r = read_raster(path)
    check(r, a, nodata)
    check_window(path, a)
    assert (
        r.crs == CRS
        and r.transform == PLACE
        and r.data.band_names == [f"b{i}" for i in range(len(a))]
    )
    np.testing.assert_allclose(
        r.data.wavelengths, 0.4 + np.arange(len(a)) / 1000, rtol=1e-6
    )
    check(read_raster(f"{path}[{len(a)},1]"), a, nodata, [len(a) - 1, 0])


@many
@given(
    cube=cubes(("uint8", "uint16", "int16", "float32", "float64")),
    interleave=st.sampled_from(["bsq", "bil", "bip"]),
    byteorder=st.integers(0, 1),
    nm=st.booleans(),
)
def test_envi_from_spectral(tmp_path_factory, cube, interleave, byteorder, nm):
    (a, nodata), path = cube, tmp_path_factory.mktemp("envi") / "a.hdr"
    wavelengths = 400 + 5.0 * np.arange(len(a))
    meta = {
        "wavelength": list(wavelengths if nm else wavelengths / 1000),
        "wavelength units": "Nanometers" if nm else "Micrometers",
        "band names": [f"b{i}" for i in range(len(a))],
        "map info": ["UTM", 1, 1, 500000, 5000000, 2, 2, 33, "North", "WGS-84"],
    } | ({} if nodata is None else {"data ignore value": nodata})
    envi.save_image(
        str(path),
        a.transpose(1, 2, 0),
        dtype=a.dtype,
        interleave=interleave,
        byteorder=byteorder,
        metadata=meta,
        ext="img",
    )
    for p in (path, path.with_suffix(".img")):
        r = read_raster(p)
        check(r, a, nodata)
        check_window(p, a)
        assert (
            r.crs == CRS
            and r.transform == PLACE
            and r.data.band_names == meta["band names"]
        )
        np.testing.assert_allclose(r.data.wavelengths, wavelengths / 1000, rtol=1e-6)


def test_envi_scale_factor(tmp_path):
    a = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    envi.save_image(
        str(tmp_path / "a.hdr"),
        a,
        interleave="bil",
        metadata={"reflectance scale factor": 100, "data ignore value": 5},
    )
    r = read_raster(tmp_path / "a.hdr")
    np.testing.assert_allclose(r.data, a.transpose(2, 0, 1) / 100, rtol=1e-6)
    assert (
        r.data.units == "reflectance" and not r.valid[0, 1] and r.valid.sum() == 5
    )  # the ignore value is that of the file, before scaling


@many
@given(cube=cubes(), last=st.booleans(), nested=st.booleans(), compress=st.booleans())
def test_matlab5_from_scipy(tmp_path_factory, cube, last, nested, compress):
    (a, nodata), path = cube, tmp_path_factory.mktemp("mat5") / "a.mat"
    stored = a.transpose(1, 2, 0) if last else a
    d = {"Data": stored, "wavelength": 400 + np.arange(len(a))[None]}
    scipy.io.savemat(path, {"hsi": d} if nested else d, do_compression=compress)
    kw = dict(key="hsi.Data" if nested else "Data", bands="last" if last else "first")
    r = read_raster(path, nodata=nodata, **kw)
    check(r, a, nodata)
    check_window(path, a, **kw)
    if len(a) > 12:
        np.testing.assert_allclose(
            r.data.wavelengths, 0.4 + np.arange(len(a)) / 1000, rtol=1e-6
        )


@many
@given(
    cube=cubes(),
    last=st.booleans(),
    nested=st.booleans(),
    matlab=st.booleans(),
    chunks=st.booleans(),
)
def test_matlab73_and_hdf5_from_h5py(
    tmp_path_factory, cube, last, nested, matlab, chunks
):
    (a, nodata), path = (
        cube,
        tmp_path_factory.mktemp("h5") / ("a.mat" if matlab else "a.h5"),
    )
    stored = a.transpose(1, 2, 0) if last else a
    key = "hsi/Data" if nested else "Data"
    with h5py.File(path, "w", userblock_size=512) as f:
        f.create_dataset(
            key, data=stored.T if matlab else stored, chunks=True if chunks else None
        )
    kw = dict(key=key.replace("/", "."), bands="last" if last else "first")
    check(read_raster(path, nodata=nodata, **kw), a, nodata)
    check_window(path, a, **kw)


@many
@given(
    cube=cubes((*DTYPES, "bool")),
    last=st.booleans(),
    fortran=st.booleans(),
    kind=st.sampled_from(["npy", "npz", "npz compressed"]),
)
def test_numpy(tmp_path_factory, cube, last, fortran, kind):
    (a, nodata), folder = cube, tmp_path_factory.mktemp("npy")
    stored = np.asarray(
        a.transpose(1, 2, 0) if last else a, order="F" if fortran else "C"
    )
    path = folder / f"a.{kind[:3]}"
    if kind == "npy":
        np.save(path, stored)
    elif kind == "npz":
        np.savez(path, x=stored)
    else:
        np.savez_compressed(path, x=stored)
    kw = dict(bands="last" if last else "first")
    check(read_raster(path, nodata=nodata, **kw), a, nodata)
    check(read_raster(f"{path}@{kw['bands']}", nodata=nodata), a, nodata)
    check_window(path, a, **kw)


@settings(many, max_examples=12)
@given(
    cube=cubes(("uint8", "uint16", "int16", ">u2", "float32", "float64", ">f8")),
    last=st.booleans(),
    version=st.sampled_from([2, 3]),
    group=st.booleans(),
)
def test_zarr(tmp_path_factory, cube, last, version, group):
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    (a, nodata), path = cube, tmp_path_factory.mktemp("zarr") / "a.zarr"
    stored = a.transpose(1, 2, 0) if last else a
    attrs = {
        "wavelengths": (400 + np.arange(len(a))).tolist(),
        "wavelength_units": "nm",
        "units": "DN",
        "crs": "EPSG:32633",
        "transform": list(PLACE)[:6],
    } | ({} if nodata is None else {"_FillValue": nodata})
    dims = ["y", "x", "band"] if last else ["band", "y", "x"]
    if version == 2:
        attrs["_ARRAY_DIMENSIONS"] = dims
    names = {"dimension_names": dims} if version == 3 else {}
    if group:
        x = zarr.open_group(path, mode="w", zarr_format=version).create_array(
            "cube", data=stored, **names
        )
    else:
        x = zarr.create_array(path, data=stored, zarr_format=version, **names)
    x.attrs.update(attrs)
    r = read_raster(path)
    check(r, a, nodata)
    check_window(path, a)
    assert (r.crs, r.transform, r.data.units) == (CRS, PLACE, "DN")
    np.testing.assert_allclose(
        r.data.wavelengths, 0.4 + np.arange(len(a)) / 1000, rtol=1e-6
    )


@many
@given(
    c=st.integers(1, 40), h=st.integers(2, 30), w=st.integers(2, 30), last=st.booleans()
)
def test_the_grid_of_the_others_tells_where_the_bands_are(
    tmp_path_factory, c, h, w, last
):
    folder = tmp_path_factory.mktemp("grid")
    a = np.random.default_rng(0).random((c, h, w), np.float32)
    np.save(folder / "cube.npy", a.transpose(1, 2, 0) if last else a)
    np.save(folder / "dem.npy", a[0])
    paths = {"cube": folder / "cube.npy", "dem": folder / "dem.npy"}
    if (c, h) == (h, w):  # both readings give this grid
        with pytest.raises(InputError, match="@first or .*@last"):
            read_scene(paths)
    else:
        with pytest.warns(
            UserWarning, match=f"read with bands {'last' if last else 'first'}"
        ):
            scene = read_scene(paths)
        np.testing.assert_array_equal(np.asarray(scene.modalities["cube"]), a)


def test_two_bare_cubes_settle_each_other(tmp_path):
    rng = np.random.default_rng(0)
    hsi, lidar = (
        rng.random((64, 40, 50), np.float32),
        rng.random((2, 40, 50), np.float32),
    )
    np.save(tmp_path / "hsi.npy", hsi.transpose(1, 2, 0))
    np.save(tmp_path / "lidar.npy", lidar)
    scene = read_scene({"hsi": tmp_path / "hsi.npy", "lidar": tmp_path / "lidar.npy"})
    np.testing.assert_array_equal(np.asarray(scene.modalities["hsi"]), hsi)
    np.testing.assert_array_equal(np.asarray(scene.modalities["lidar"]), lidar)


def test_cells_and_structs_by_key(tmp_path):
    a = np.random.default_rng(0).random((6, 5, 3))
    cell = np.empty(2, object)
    cell[0], cell[1] = a, a + 1
    scipy.io.savemat(
        tmp_path / "a.mat",
        {
            "hsi": {
                "Data": a,
                "Lidar": np.array([{"z": a[..., :2]}, {"z": a[..., 1:]}], object),
            },
            "c": cell,
        },
    )
    for key, x in (("hsi.Data", a), ("hsi.Lidar[1].z", a[..., 1:]), ("c[1]", a + 1)):
        np.testing.assert_allclose(
            read_raster(f"{tmp_path}/a.mat:{key}", bands="last").data,
            x.transpose(2, 0, 1),
            rtol=1e-6,
        )
        np.testing.assert_allclose(
            read_raster(tmp_path / "a.mat", key=key, bands="last").data,
            x.transpose(2, 0, 1),
            rtol=1e-6,
        )
    np.testing.assert_allclose(
        read_raster(f"{tmp_path}/a.mat:hsi.Data@last[3,1]").data,
        a.transpose(2, 0, 1)[[2, 0]],
        rtol=1e-6,
    )


def test_cells_of_matlab73(tmp_path):
    a = np.random.default_rng(0).random((6, 5, 3))
    with h5py.File(tmp_path / "a.mat", "w") as f:
        for i in range(2):
            f[f"#refs#/{'ab'[i]}/z"] = (a + i).T
        f["hsi/Data"] = a.T
        f.create_dataset(
            "hsi/Lidar",
            data=np.array([[f["#refs#/a"].ref], [f["#refs#/b"].ref]], h5py.ref_dtype),
        )  # a 1×2 cell
        f["hsi/name"] = np.frombuffer("scene".encode("utf-16le"), np.uint16)[:, None]
        f["hsi/name"].attrs["MATLAB_class"] = np.bytes_("char")
    np.testing.assert_allclose(
        read_raster(f"{tmp_path}/a.mat:hsi.Lidar[1].z@last").data,
        (a + 1).transpose(2, 0, 1),
        rtol=1e-6,
    )
    with pytest.raises(InputError, match=r"hsi.Data \(6×5×3\)"):
        read_raster(tmp_path / "a.mat")


# ------------------------------------------------------------- in every format

KINDS = ("tif", "envi", "npy", "npz", "mat5", "mat73", "h5", "zarr")


def store(folder, kind, cube, nodata=None):
    "Write a cube; its path, and arguments that say what the format cannot say"
    path = folder / f"a.{kind}"
    said = {} if nodata is None else {"nodata": nodata}
    unsaid = {"bands": "first", **said}
    if kind == "tif":
        count, height, width = cube.shape
        profile = dict(count=count, height=height, width=width, dtype=cube.dtype)
        profile |= dict(driver="GTiff", crs=CRS, transform=PLACE, nodata=nodata)
        with rasterio.open(path, "w", **profile) as dst:
            dst.write(cube)
        return path, {}
    if kind == "envi":
        path = folder / "a.hdr"
        meta = {} if nodata is None else {"data ignore value": nodata}
        pixels = cube.transpose(1, 2, 0)
        envi.save_image(str(path), pixels, ext="img", metadata=meta, dtype=cube.dtype)
        return path, {}
    if kind == "zarr":
        zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
        names = {"dimension_names": ["band", "y", "x"]}
        zarr.create_array(path, data=cube, **names).attrs.update(said)
        return path, {}
    if kind == "npy":
        np.save(path, cube)
    elif kind == "npz":
        np.savez(path, x=cube)
    elif kind == "mat5":
        path = folder / "a.mat"
        scipy.io.savemat(path, {"x": cube})
    else:
        path = folder / ("a.mat" if kind == "mat73" else "a.h5")
        with h5py.File(path, "w", userblock_size=512) as f:
            f["x"] = cube.T if kind == "mat73" else cube
    return path, unsaid


def dark_cube(nodata, dtype="float32"):
    "Three bands; pixel (0, 0) has `nodata` in one band, pixel (0, 1) in all of them"
    cube = np.arange(100, 160).reshape(3, 4, 5).astype(dtype)
    cube[1, 0, 0] = nodata
    cube[:, 0, 1] = nodata
    return cube


@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_no_data_only_where_all_bands_are_zero(tmp_path, kind):
    path, how = store(tmp_path, kind, dark_cube(0, "uint16"), 0)
    valid = read_raster(path, **how).valid
    assert np.argwhere(~valid).tolist() == [[0, 1]]
    with open_raster(path, bands=how.get("bands")) as f:
        window = f.read_window((0, 2), (0, 3), nodata=0)
    assert np.argwhere(~window.valid).tolist() == [[0, 1]]


@pytest.mark.parametrize("nodata", [7, -9999, np.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_other_values_are_no_data_in_any_band(tmp_path, kind, nodata):
    path, how = store(tmp_path, kind, dark_cube(nodata), nodata)
    valid = read_raster(path, **how).valid
    assert np.argwhere(~valid).tolist() == [[0, 0], [0, 1]]


def test_two_nodata_values_both_count(tmp_path):
    cube = dark_cube(0)
    cube[2, 3, 4] = 7
    path, _ = store(tmp_path, "tif", cube, 0)
    valid = read_raster(path, nodata=7).valid
    assert np.argwhere(~valid).tolist() == [[0, 1], [3, 4]]


def test_valid_is_gdals_dataset_mask_where_zero_is_no_data(tmp_path):
    cube = np.random.default_rng(0).integers(0, 2, (3, 40, 50)).astype(np.uint8)
    path, _ = store(tmp_path, "tif", cube, 0)
    with rasterio.open(path) as src:
        mask = src.dataset_mask() > 0
    valid = read_raster(path).valid
    np.testing.assert_array_equal(valid, mask)
    assert 0 < (~valid).sum() < (cube == 0).any(0).sum()


def test_a_mask_counts_beside_zeros(tmp_path):
    cube = dark_cube(0, "uint8")
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=3,
        height=4,
        width=5,
        dtype="uint8",
    ) as dst:
        dst.write(cube)
        dst.write_mask(np.indices((4, 5))[0] < 3)
    valid = read_raster(tmp_path / "a.tif").valid
    np.testing.assert_array_equal(valid, np.indices((4, 5))[0] < 3)


def open_places(folder):
    "Open files and memory maps of this process that lie in a folder"
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            pass  # it was the folder /proc/self/fd itself
    found += Path("/proc/self/maps").read_text().splitlines()
    return [place for place in found if str(folder) in place]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_file_is_closed(tmp_path, kind):
    path, how = store(tmp_path, kind, dark_cube(0))
    with open_raster(path, bands=how.get("bands")) as f:
        window = f.read_window((1, 3), (0, 2))
        shape = f.shape
        assert open_places(tmp_path) == []  # nothing is held between two windows
    assert f.closed and f.shape == shape == (3, 4, 5)
    assert window.data.shape == (3, 2, 2)  # what was read stays
    with pytest.raises(ValueError, match="a\\..*the file is closed"):
        f.read_window()
    f.close()  # once more does no harm
    whole = read_raster(path, bands=how.get("bands"))
    assert open_places(tmp_path) == [] and whole.valid.all()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_file_that_cannot_be_read_is_closed(tmp_path):
    path, _ = store(tmp_path, "envi", dark_cube(0))
    path.write_text(path.read_text().replace("lines = 4", "lines = 5"))
    with pytest.raises(InputError) as error:
        open_raster(path)
    assert open_places(tmp_path) == [], error


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_file_goes_to_another_process(tmp_path, kind):
    cube = dark_cube(0)
    path, how = store(tmp_path, kind, cube)
    f = pickle.loads(pickle.dumps(open_raster(path, bands=how.get("bands"))))
    np.testing.assert_array_equal(np.asarray(f.read_window().data), cube)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_leaves_the_warning_filters_alone(tmp_path, kind):
    path, how = store(tmp_path, kind, dark_cube(0))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: read_raster(path, **how), range(40)))
    assert warnings.filters == before


def test_what_an_open_file_tells(tmp_path):
    bands = dict(wavelengths=[0.45, 0.55, 0.65], band_names=["b", "g", "r"], units="DN")
    modality = Modality(dark_cube(7), **bands)
    scene = Scene({"m": modality}, crs=CRS, transform=PLACE)
    write_raster(tmp_path / "a.tif", modality, scene)
    with open_raster(tmp_path / "a.tif") as f:
        assert (f.shape, f.crs, f.transform) == ((3, 4, 5), CRS, PLACE)
        assert (f.band_names, f.units) == (["b", "g", "r"], "DN")
        np.testing.assert_allclose(f.wavelengths, [0.45, 0.55, 0.65])
    with open_raster(f"{tmp_path}/a.tif[3,1]") as f:
        assert (f.shape, f.band_names) == ((2, 4, 5), ["r", "b"])
        np.testing.assert_allclose(f.wavelengths, [0.65, 0.45])
        window = f.read_window((1, 3), (2, 4))
    np.testing.assert_allclose(window.data.wavelengths, [0.65, 0.45])
    assert (window.shape, window.transform.c) == ((2, 2, 2), PLACE.c + 2 * 2)


def test_a_bare_array_tells_nothing(tmp_path):
    path, how = store(tmp_path, "npy", dark_cube(0))
    with open_raster(path, **how) as f:
        told = (f.crs, f.transform, f.band_names, f.wavelengths, f.units)
    assert told == (None,) * 5


@pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic"])
def test_resample_to_the_first_grid(tmp_path, how):
    y, x = np.mgrid[:40, :60].astype(np.float32)

    def ground(t, h, w):
        "A plane over the ground, at the pixels' centres"
        rows, cols = np.mgrid[:h, :w] + 0.5
        return (t.c + t.a * cols) / 1000 + (t.f + t.e * rows) / 500

    fine, coarse = (
        rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
        rasterio.Affine(30, 0, 5e5 - 60, 0, -30, 5e6 + 60),
    )
    write_raster(
        tmp_path / "a.tif", np.stack([y, x]), Scene({"m": y}, crs=CRS, transform=fine)
    )
    write_raster(
        tmp_path / "b.tif",
        ground(coarse, 18, 24).astype(np.float32),
        Scene({"m": np.zeros((18, 24))}, crs=CRS, transform=coarse),
    )
    write_raster(
        tmp_path / "l.tif",
        (np.mgrid[:18, :24][1] % 2 + 1).astype(np.uint8),
        Scene({"m": np.zeros((18, 24))}, crs=CRS, transform=coarse),
        nodata=0,
    )
    paths = {"a": tmp_path / "a.tif", "b": tmp_path / "b.tif"}
    with pytest.raises(InputError, match="resample"):
        read_scene(paths)
    s = read_scene(paths, tmp_path / "l.tif", resample=how)
    assert (
        s.shape == (40, 60)
        and s.transform == fine
        and set(np.unique(s.labels)) == {1, 2}
    )
    error = np.abs(np.asarray(s.modalities["b"][0]) - ground(fine, 40, 60))[
        s.valid
    ].max()
    assert (
        error
        < {"nearest": 15 / 1000 + 15 / 500 + 1e-2, "bilinear": 2e-2, "cubic": 2e-2}[how]
    )  # float32 at 10,000
    assert s.valid.mean() > 0.95


def test_resample_across_crs_and_nodata(tmp_path):
    a = np.ones((50, 50), np.float32)
    write_raster(
        tmp_path / "a.tif",
        a,
        Scene({"m": a}, crs=CRS, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)),
    )
    w, s, e, n = transform_bounds(CRS, "EPSG:4326", 5e5, 5e6 - 500, 5e5 + 500, 5e6)
    b = np.full((60, 60), 7, np.float32)
    b[:, :20] = -1
    write_raster(
        tmp_path / "b.tif",
        b,
        Scene(
            {"m": b},
            crs=rasterio.CRS.from_epsg(4326),
            transform=rasterio.transform.from_bounds(w, s, e, n, 60, 60),
        ),
        nodata=-1,
    )
    scene = read_scene(
        {"a": tmp_path / "a.tif", "b": tmp_path / "b.tif"}, resample="nearest"
    )
    assert (
        scene.crs == CRS
        and not scene.valid[:, :14].any()
        and scene.valid[2:-2, 19:-2].all()
    )
    assert (np.asarray(scene.modalities["b"][0])[scene.valid] == 7).all()


def test_float64_nodata_beyond_float32(tmp_path):
    a = np.ones((1, 5, 6))
    a[0, 0, 0] = -np.finfo(np.float64).max
    np.save(tmp_path / "a.npy", a)
    with pytest.raises(InputError, match="do not fit float32"):
        read_raster(tmp_path / "a.npy", bands="first")
    assert (
        read_raster(
            tmp_path / "a.npy", bands="first", nodata=-np.finfo(np.float64).max
        ).valid.sum()
        == 29
    )


def test_write_keeps_wavelengths_names_units(tmp_path):
    m = Modality(
        np.random.default_rng(0).random((3, 6, 7)),
        wavelengths=[0.45, 0.55, 0.65],
        band_names=["blue", "green", "red"],
        units="reflectance",
    )
    write_raster(tmp_path / "a.tif", m)
    r = read_raster(tmp_path / "a.tif").data
    np.testing.assert_array_equal(np.asarray(r), np.asarray(m))
    np.testing.assert_allclose(r.wavelengths, m.wavelengths)
    assert (r.band_names, r.units) == (m.band_names, m.units)


def test_yaml_by_relative_paths_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "in/deep").mkdir(parents=True)
    np.save(tmp_path / "in/a.npy", np.random.default_rng(0).random((3, 20, 30)))
    np.save(tmp_path / "in/l.npy", np.mgrid[:20, :30][0] // 10 + 1)
    (tmp_path / "in/deep/scene.yaml").write_text(
        "modalities: {a: ../a.npy}\nlabels: ../l.npy\n"
        "classes: {1: north, 2: {name: south, color: red}}\n"
    )
    monkeypatch.chdir(tmp_path)
    s = read_scene("in/deep/scene.yaml")
    assert (
        s.name == "scene"
        and s.classes == {1: "north", 2: "south"}
        and s.colors[2] == "#ff0000"
        and s.modalities["a"].shape == (3, 20, 30)
    )
    saved = read_scene(s.save_yaml(tmp_path / "out.yaml"))
    np.testing.assert_array_equal(
        np.asarray(saved.modalities["a"]), np.asarray(s.modalities["a"])
    )
    np.testing.assert_array_equal(saved.labels, s.labels)


def test_real_trento():
    folder = DATA / "trento"
    if not folder.is_dir():
        pytest.skip(f"no real data in {DATA}")
    with pytest.warns(UserWarning, match="bands last"):
        s = read_scene({"lidar": folder / "Italy_lidar.mat"}, folder / "allgrd.mat")
    assert s.modalities["lidar"].shape == (2, 166, 600)
    assert [int((s.labels == c).sum()) for c in range(1, 7)] == [
        4034,
        2903,
        479,
        9123,
        10501,
        3174,
    ]


def test_real_sentinel():
    folder = DATA / "terramind/433D_629L_3_1"
    if not folder.is_dir():
        pytest.skip(f"no real data in {DATA}")
    s = read_scene(
        {
            "optical": folder / "S2L2A.tif",
            "sar": folder / "S1RTC.tif",
            "dem": folder / "DEM.tif",
        },
        folder / "LULC.tif",
        {1: "water", 2: "trees", 3: "flooded", 4: "crops", 5: "built", 9: "rangeland"},
    )
    assert {k: len(m) for k, m in s.modalities.items()} == {
        "optical": 12,
        "sar": 2,
        "dem": 1,
    } and s.crs.to_epsg() == 32718
    assert [int((s.labels == c).sum()) for c in s.classes] == [
        3127,
        10396,
        90,
        21213,
        11742,
        3608,
    ]


def test_official_split_survives_save_yaml(tmp_path):
    rows = np.mgrid[:20, :30][0]
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((3, 20, 30)))
    np.save(tmp_path / "train.npy", (rows % 2 + 1) * (rows < 6))
    np.save(tmp_path / "test.npy", (rows % 2 + 1) * (rows > 9))
    s = read_scene(
        {"a": tmp_path / "a.npy"},
        {"train": tmp_path / "train.npy", "test": tmp_path / "test.npy"},
        {1: "even", 2: "odd"},
    )
    assert s.split.strategy == "official" and not (s.split.train & s.split.test).any()
    again = read_scene(s.save_yaml(tmp_path / "s.yaml"))
    np.testing.assert_array_equal(again.split.train, rows < 6)
    np.testing.assert_array_equal(again.split.test, rows > 9)
    np.testing.assert_array_equal(again.labels, s.labels)
    s.save_yaml(tmp_path / "s.yaml", overwrite=True)


def test_official_split_on_the_command_line(tmp_path, monkeypatch, capsys):
    from diffclip import cli

    rows, rng = np.mgrid[:24, :26][0], np.random.default_rng(0)
    labels = np.mgrid[:24, :26][1] // 13 + 1
    np.save(tmp_path / "a.npy", labels + 0.3 * rng.standard_normal((3, 24, 26)))
    np.save(tmp_path / "train.npy", labels * (rows < 2))
    np.save(tmp_path / "test.npy", labels * (rows > 9))
    (tmp_path / "s.yaml").write_text(
        "modalities: {a: a.npy}\nlabels: {train: train.npy, test: test.npy}\n"
        "classes: {1: west, 2: east}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv",
        (
            "diffclip train s.yaml --strategy official --preset tiny --steps 2 "
            "--device cpu --out run"
        ).split(),
    )
    try:
        cli.main()
    except SystemExit as e:
        assert not e.code, capsys.readouterr().err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert (metrics["strategy"], metrics["n_train"], metrics["n_test"]) == (
        "official",
        2 * 26,
        14 * 26,
    )
