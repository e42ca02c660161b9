"""Files with several rasters, files that reach outside, and damaged files: what is read
is right, or one message says why not; nothing is left out without a word"""

import base64
import json
import os
import random
import shutil
import warnings

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
from rasterio.shutil import copy as gdal_copy
from scipy.io import netcdf_file
from spectral.io import envi

from diffclip.core import InputError
from diffclip.data import check_local, open_raster, read_raster, read_scene

CRS = rasterio.CRS.from_epsg(32633)
PLACE = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
CUBE = np.random.default_rng(0).integers(500, 4000, (6, 20, 30)).astype(np.int16)

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"
)


def said(call, *args, **kwargs):
    "What a call returns, and its warnings"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*args, **kwargs)
    return result, [str(w.message) for w in caught if w.category is UserWarning]


def write_tif(path, cube=CUBE, **profile):
    count, height, width = cube.shape
    size = dict(count=count, height=height, width=width, dtype=cube.dtype)
    place = dict(crs=CRS, transform=PLACE)
    with rasterio.open(
        path, "w", **{"driver": "GTiff", **size, **place, **profile}
    ) as f:
        f.write(cube)
    return path


def write_pages(path, pages):
    "Write arrays (C, H, W) as the pages of a TIFF file"
    for i, page in enumerate(pages):
        one = write_tif(path.with_name("page.tif"), page)
        gdal_copy(one, path, driver="GTiff", APPEND_SUBDATASET="YES" if i else "NO")
    return path


# ------------------------------------------------------------------- pages of a TIFF


def test_pages_of_one_band_are_bands(tmp_path):
    "A cube as tifffile writes it: one page for each band"
    path = write_pages(tmp_path / "cube.tif", CUBE[:, None])
    raster, words = said(read_raster, path)
    np.testing.assert_array_equal(raster.data, CUBE)
    assert (raster.crs, raster.transform, words) == (CRS, PLACE, [])
    with open_raster(f"{path}[5,2]") as file:
        assert file.shape == (2, 20, 30)
        window = file.read_window((3, 9), (2, 7)).data
    np.testing.assert_array_equal(window, CUBE[[4, 1], 3:9, 2:7])
    np.testing.assert_array_equal(read_raster(f"{path}:page3").data, CUBE[2:3])


def test_pages_of_other_sizes_are_named(tmp_path):
    pages = [*CUBE[:3, None], CUBE[:1, ::5, ::5], CUBE[3:4]]
    path = write_pages(tmp_path / "a.tif", pages)
    raster, words = said(read_raster, path)
    np.testing.assert_array_equal(raster.data, CUBE[:4])
    assert len(words) == 1 and "page 4 (1 of 4×6)" in words[0], words
    assert words[0].endswith("a.tif:page4")
    small = read_raster(f"{path}:page4").data
    np.testing.assert_array_equal(small, CUBE[:1, ::5, ::5])


def test_a_small_picture_before_the_bands(tmp_path):
    pages = [CUBE[:1, ::5, ::5], *CUBE[:3, None]]
    raster, words = said(read_raster, write_pages(tmp_path / "a.tif", pages))
    np.testing.assert_array_equal(raster.data, CUBE[:3])
    assert len(words) == 1 and "left out (bands of rows × columns): page 1" in words[0]


def test_pages_of_one_size_in_two_places(tmp_path):
    "Two tiles are no raster of two bands"
    east = rasterio.Affine(10, 0, 500300, 0, -10, 5000000)
    for name, place in (("page.tif", PLACE), ("east.tif", east)):
        write_tif(tmp_path / name, CUBE[:1], transform=place)
    gdal_copy(tmp_path / "page.tif", tmp_path / "a.tif", driver="GTiff")
    how = dict(driver="GTiff", APPEND_SUBDATASET="YES")
    gdal_copy(tmp_path / "east.tif", tmp_path / "a.tif", **how)
    raster, words = said(read_raster, tmp_path / "a.tif")
    assert raster.shape == (1, 20, 30) and "1 of its 2 pages are read" in words[0]
    assert read_raster(f"{tmp_path}/a.tif:page2").transform == east


def test_pages_of_several_bands_are_named(tmp_path):
    "Two dates of three bands each are no raster of six"
    path = write_pages(tmp_path / "a.tif", [CUBE[:3], CUBE[3:]])
    raster, words = said(read_raster, path)
    np.testing.assert_array_equal(raster.data, CUBE[:3])
    assert len(words) == 1 and "page 2 (3 of 20×30)" in words[0]
    np.testing.assert_array_equal(read_raster(f"{path}:page2").data, CUBE[3:])
    with pytest.raises(InputError, match="a.tif"):
        read_raster(f"{path}:page3")


def test_overviews_and_masks_are_no_pages(tmp_path):
    large = np.tile(CUBE, (1, 20, 20))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_tif(tmp_path / "a.tif", large, tiled=True)
        with rasterio.open(path, "r+") as dst:
            dst.write_mask(np.indices(large.shape[1:])[0] > 5)
            dst.build_overviews([2, 4])
    raster, words = said(read_raster, path)
    np.testing.assert_array_equal(raster.data, large)
    assert words == [] and (~raster.valid).sum() == 6 * 600


def test_pictures_that_are_no_pages(tmp_path):
    "ImageJ writes one page and notes how many pictures follow it"
    path = write_tif(tmp_path / "a.tif", CUBE[:1])
    for text in ("ImageJ=1.53\nimages=6\n", json.dumps({"shape": [6, 20, 30]})):
        with rasterio.open(path, "r+") as dst:
            dst.update_tags(TIFFTAG_IMAGEDESCRIPTION=text)
        with pytest.raises(
            InputError, match="holds 6 pictures, but only 1 can be read"
        ):
            read_raster(path)


# ------------------------------------------------------------- groups and their names


def two_groups(path):
    with h5py.File(path, "w") as file:
        for i, season in enumerate(("summer", "winter")):
            file[f"{season}/cube"] = CUBE[i * 3 : i * 3 + 3]
    return path


@pytest.mark.parametrize("name", ["a.h5", "a.nc", "a.he5", "anything"])
def test_equal_names_in_two_groups_by_their_path(tmp_path, name):
    path = two_groups(tmp_path / name)
    for key in ("winter.cube", "/winter/cube", "winter/cube", "winter"):
        raster = read_raster(f"{path}:{key}@first")
        np.testing.assert_array_equal(raster.data, CUBE[3:])
    with pytest.raises(InputError, match=r"summer.cube \(3×20×30\), winter.cube"):
        read_raster(path)
    with pytest.raises(InputError, match="several arrays 'cube'; it has summer.cube"):
        read_raster(f"{path}:cube")


def test_a_group_whose_name_has_a_dot(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a.b/c"], file["a/b.c"] = CUBE[:3], CUBE[3:]
    for key, cube in (("/a.b/c", CUBE[:3]), ("/a/b.c", CUBE[3:])):
        raster = read_raster(f"{tmp_path}/a.h5:{key}@first")
        np.testing.assert_array_equal(raster.data, cube)
    with pytest.raises(InputError, match="holds several arrays"):
        read_raster(tmp_path / "a.h5")


def test_zarr_groups_by_their_path(tmp_path):
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    for i, season in enumerate(("summer", "winter")):
        root.create_array(f"{season}/cube", data=CUBE[i * 3 : i * 3 + 3])
    for key in ("winter.cube", "/winter/cube"):
        raster = read_raster(f"{tmp_path}/a.zarr:{key}@first")
        np.testing.assert_array_equal(raster.data, CUBE[3:])
    with pytest.raises(InputError, match="several arrays 'cube'"):
        read_raster(f"{tmp_path}/a.zarr:cube")


def test_what_was_left_out_is_said(tmp_path):
    "One array is chosen, beside the latitude and longitude of each pixel"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = CUBE[0]
        file["lat"], file["lon"] = np.mgrid[:20, :30] / 100
    raster, words = said(read_raster, tmp_path / "a.h5")
    np.testing.assert_array_equal(raster.data[0], CUBE[0])
    assert any("data is read; left out: lat (20×30), lon (20×30)" in w for w in words)


def test_text_beside_a_cube(tmp_path):
    "As NEON's files: an EPSG code and the map's name as text of any length"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        site = file.create_group("SITE")
        site["Cube"] = CUBE.transpose(1, 2, 0)
        site["EPSG Code"] = "32633"
        site["Names"] = np.array(["a", "b"], h5py.string_dtype())
        site["Fixed"] = np.array([b"abc", b"def"])
        site["Wavelength"] = 400.0 + 100 * np.arange(6)
        site["Empty"] = h5py.Empty("f4")
        site.create_dataset("Pairs", data=np.zeros(3, [("x", "i4"), ("y", "f4")]))
        site["Region"] = site["Cube"].regionref[:3]
    for path in (tmp_path / "a.h5", shutil.copy(tmp_path / "a.h5", tmp_path / "a.nc")):
        raster = read_raster(f"{path}:SITE.Cube@last")
        np.testing.assert_array_equal(raster.data, CUBE)
        waves = (400 + 100 * np.arange(6)) / 1000
        np.testing.assert_allclose(raster.data.wavelengths, waves)
        assert read_raster(f"{path}@last").shape == (6, 20, 30)


# ------------------------------------------------------------------ circles and links


def test_groups_that_hold_themselves(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = CUBE
        for name in "abcdefgh":
            file[name] = file["/"]
            file[f"soft {name}"] = h5py.SoftLink("/")
            file.create_group(f"inner/{name}")[name] = file["/"]
    raster = read_raster(f"{tmp_path}/a.h5@first")
    np.testing.assert_array_equal(raster.data, CUBE)


def test_a_very_deep_and_a_very_wide_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/".join("x" * 100) + "/cube"] = CUBE
        for i in range(3000):
            file[f"g{i % 50}/n{i}"] = i
        file["cube"] = CUBE
    np.testing.assert_array_equal(read_raster(f"{tmp_path}/a.h5@first").data, CUBE)
    with pytest.raises(InputError, match="has no array 'no'") as error:
        read_raster(f"{tmp_path}/a.h5:no")
    assert len(str(error.value)) < 1000


def secret(folder):
    "A file that somebody wants to see"
    (folder / "secret").mkdir()
    path = folder / "secret/secret.bin"
    path.write_bytes(b"password" * 1000)
    with h5py.File(folder / "secret/secret.h5", "w") as file:
        file["x"] = CUBE
    return path


def test_external_storage_is_refused(tmp_path):
    stored = [(str(secret(tmp_path)), 0, 600)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("band", (20, 30), "u1", external=stored)
    for name in (tmp_path / "a.h5", f"{tmp_path}/a.h5:band"):
        with pytest.raises(InputError, match="band has its numbers in another file"):
            read_raster(name)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["cube"] = CUBE
        file.create_dataset("wavelength", (6,), "u1", external=[(stored[0][0], 0, 6)])
    raster, words = said(read_raster, f"{tmp_path}/a.h5@first")
    np.testing.assert_array_equal(raster.data, CUBE)
    assert raster.data.wavelengths is None
    assert any("lead out of the file: band, wavelength" in text for text in words)


def test_links_to_other_files_are_refused(tmp_path):
    secret(tmp_path)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["away"] = h5py.ExternalLink("secret/secret.h5", "x")
    for name in (tmp_path / "a.h5", f"{tmp_path}/a.h5:away"):
        with pytest.raises(InputError, match="away is a link to another file"):
            read_raster(name)


def virtual(path, source, name="x"):
    layout = h5py.VirtualLayout(CUBE.shape, CUBE.dtype)
    layout[:] = h5py.VirtualSource(source, name, CUBE.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("cube", layout)
    return path


def test_virtual_datasets(tmp_path):
    "Right with its source, refused without it: HDF5 would read zeros"
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in/part.h5", "w") as file:
        file["x"] = CUBE
    path = virtual(tmp_path / "in/a.h5", "part.h5")
    np.testing.assert_array_equal(read_raster(f"{path}@first").data, CUBE)
    (tmp_path / "in/part.h5").unlink()
    with pytest.raises(InputError, match="its source part.h5 is not there"):
        read_raster(f"{path}@first")
    secret(tmp_path)
    for source in ("../secret/secret.h5", str(tmp_path / "secret/secret.h5")):
        virtual(path, source)
        with pytest.raises(InputError, match="lies outside of the file's folder"):
            read_raster(f"{path}@first")
    os.symlink(tmp_path / "secret/secret.h5", tmp_path / "in/link.h5")
    virtual(path, "link.h5")
    with pytest.raises(InputError, match="lies outside of the file's folder"):
        read_raster(f"{path}@first")
    virtual(path, "a.h5", "cube")  # of itself
    with pytest.raises(InputError, match="virtual dataset"):
        read_raster(f"{path}@first")


def test_a_virtual_dataset_of_external_storage(tmp_path):
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in/part.h5", "w") as file:
        stored = [(str(secret(tmp_path)), 0, CUBE.nbytes)]
        file.create_dataset("x", CUBE.shape, CUBE.dtype, external=stored)
    path = virtual(tmp_path / "in/a.h5", "part.h5")
    with pytest.raises(InputError, match="in another file"):
        read_raster(f"{path}@first")


def test_names_that_lead_elsewhere(tmp_path):
    tif = write_tif(tmp_path / "a.tif")
    gdal_copy(tif, tmp_path / "a.vrt", driver="VRT")
    shutil.copy(tmp_path / "a.vrt", tmp_path / "innocent.tif")
    (tmp_path / "wms.xml").write_text("\n <GDAL_WMS><Service name='WMS'/></GDAL_WMS>")
    (tmp_path / "stac.json").write_text('{"type": "FeatureCollection"}')
    np.save(tmp_path / "b.npy", CUBE)
    for good in (tif, f"{tif}[1:3]", f"{tmp_path}/b.npy@first", tmp_path / "b.npy"):
        check_local(good)
    two_groups(tmp_path / "c.h5")
    check_local(f"{tmp_path}/c.h5:winter/cube@first[1]")
    for bad in (
        "/vsicurl/http://example.org/a.tif",
        f"/vsizip/{tmp_path}/a.zip/a.tif",
        "http://example.org/a.tif",
        "s3://bucket/a.tif",
        f'NETCDF:"{tmp_path}/a.nc":x',
        f"GTIFF_DIR:1:{tif}",
        "<VRTDataset rasterXSize='1' rasterYSize='1'/>",
        tmp_path / "a.vrt",
        tmp_path / "innocent.tif",
        tmp_path / "wms.xml",
        f"{tmp_path}/wms.xml[1]",
        tmp_path / "stac.json",
    ):
        with pytest.raises(InputError, match="not allowed here"):
            check_local(bad)
    np.testing.assert_array_equal(read_raster(tmp_path / "a.vrt").data, CUBE)


# -------------------------------------------------------------------- missing chunks


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_with_missing_chunks(tmp_path, zarr_format):
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    path = tmp_path / "a.zarr"
    how = dict(chunks=(1, 10, 30), zarr_format=zarr_format)
    array = zarr.create_array(path, data=CUBE, **how)
    np.testing.assert_array_equal(read_raster(f"{path}@first").data, CUBE)
    chunk = "c/2/1/0" if zarr_format == 3 else "2.1.0"
    (path / chunk).unlink()
    words = "1 of 12 chunks are missing and would be read as 0"
    with pytest.raises(InputError, match=words):
        read_raster(f"{path}@first")
    assert read_raster(f"{path}@first", nodata=0).shape == CUBE.shape
    array.attrs["_FillValue"] = -9999  # not what the missing chunk is read as
    with pytest.raises(InputError, match=words):
        read_raster(f"{path}@first")
    array.attrs["_FillValue"] = 0
    raster = read_raster(f"{path}@first")
    np.testing.assert_array_equal(raster.data[:2], CUBE[:2])


def test_a_zarr_whose_fill_value_is_nan(tmp_path):
    "xarray leaves out chunks without data"
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    values = CUBE.astype(np.float32)
    values[:, :10] = np.nan
    how = dict(chunks=(6, 10, 30), fill_value=np.nan)
    array = zarr.create_array(tmp_path / "a.zarr", data=values, **how)
    nan = base64.b64encode(np.float64(np.nan).tobytes()).decode()
    array.attrs["_FillValue"] = nan
    assert (~read_raster(f"{tmp_path}/a.zarr@first").valid).sum() == 10 * 30


def test_an_hdf5_dataset_that_was_not_written_whole(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        part = file.create_dataset("part", CUBE.shape, "i2", chunks=(1, 20, 30))
        part[:5] = CUBE[:5]
        file.create_dataset("none", CUBE.shape, "i2")
        filled = file.create_dataset(
            "filled", CUBE.shape, "i2", chunks=(6, 10, 30), fillvalue=-1
        )
        filled[:, 10:] = CUBE[:, 10:]
        filled.attrs["_FillValue"] = np.int16(-1)
    for name, words in {
        "part": "1 of 6 chunks are missing and would be read as 0",
        "none": "1 of 1 chunks are missing",
    }.items():
        with pytest.raises(InputError, match=words):
            read_raster(f"{tmp_path}/a.h5:{name}@first")
    assert (~read_raster(f"{tmp_path}/a.h5:filled@first").valid).sum() == 10 * 30


# ----------------------------------------------------------------------- odd metadata


def npy_with(path, header):
    text = header.ljust(117).encode() + b"\n"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    path.write_bytes(start + text + CUBE.tobytes())
    return path


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i2', 'fortran_order': False, 'shape': __import__('os'), }",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (6, 20, 30",
        "{'descr': '<i2', 'fortran_order': 7, 'shape': (6, 20, 30), }",
        "{'descr': 'zz', 'fortran_order': False, 'shape': (6, 20, 30), }",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (-6, 20, 30), }",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (10**9,)*3, }",
        "[]",
        "'",
        "((((((((((",
        "{'descr': '<V2', 'fortran_order': False, 'shape': (6, 20, 30), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (6, 5, 30), }",
        "{'descr': '<M8[D]', 'fortran_order': False, 'shape': (6, 5, 30), }",
    ],
)
def test_headers_of_npy_that_are_no_literals(tmp_path, header):
    "V2 is how NumPy stores bfloat16"
    with pytest.raises(InputError, match="a.npy"):
        read_raster(npy_with(tmp_path / "a.npy", header), bands="first")


@pytest.mark.parametrize(
    "key, value",
    [
        (None, []),
        (None, "text"),
        ("shape", [6, 20]),
        ("shape", [0, 20, 30]),
        ("shape", "large"),
        (
            "chunk_grid",
            {"name": "regular", "configuration": {"chunk_shape": [0, 1, 1]}},
        ),
        ("chunk_grid", []),
        ("data_type", "bfloat16"),
        ("data_type", {"name": "numpy.void"}),
        ("codecs", []),
        ("codecs", [{"name": "no such codec"}]),
        ("fill_value", {}),
        ("zarr_format", 17),
        ("node_type", "tree"),
        ("attributes", []),
        ("dimension_names", ["y"]),
        ("dimension_names", 5),
    ],
)
def test_zarr_metadata_that_cannot_be_meant(tmp_path, key, value):
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    zarr.create_array(tmp_path / "a.zarr", data=CUBE)
    path = tmp_path / "a.zarr/zarr.json"
    content = json.loads(path.read_text())
    if key is None:
        content = value
    else:
        content[key] = value
    path.write_text(json.dumps(content))
    try:
        raster = read_raster(f"{tmp_path}/a.zarr@first")
    except InputError as e:
        assert "a.zarr" in str(e) and "\n" not in str(e)
    else:
        np.testing.assert_array_equal(raster.data, CUBE)


def test_ragged_wavelengths(tmp_path):
    "A list that does not fit is not used, and this is said"
    pixels = CUBE.transpose(1, 2, 0)
    metadata = {"wavelength": [450, 550, 650], "band names": ["a"] * 9}
    envi.save_image(str(tmp_path / "a.hdr"), pixels, ext="img", metadata=metadata)
    raster, words = said(read_raster, tmp_path / "a.hdr")
    assert (raster.data.wavelengths, raster.data.band_names) == (None, None)
    assert "wavelength has 3 entries for 6 bands" in words[0] and len(words) == 2
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = CUBE
        file["wavelength"] = [450.0, 550, 650]
    assert read_raster(f"{tmp_path}/a.h5@first").data.wavelengths is None


LONG = "x" * 5000


@pytest.mark.parametrize(
    "name, words",
    [
        ("a.tif[1:9999999999]", "write it as"),
        ("a.tif[1:2:3]", "write it as"),
        ("a.tif[]", "write it as"),
        ("a.tif[1e3]", "write it as"),
        ("a.tif@last", "leave @last out"),
        ("a.tif:x:y", "leave 'x:y' out"),
        (LONG, "no such file"),
        (f"{LONG}.tif", "no such file"),
        (f"a.tif:{LONG}", "leave"),
        (f"a.npz:{LONG}", "has no array"),
        ("a.tif\0", "no such file"),
        (".", "cannot be read as a raster"),
        ("folder.npy", "folder.npy"),
        ("folder.hdr", "folder.hdr"),
        ("folder.mat", "folder.mat"),
        ("folder.zarr", "folder.zarr"),
    ],
)
def test_names_that_cannot_be_meant(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    write_tif(tmp_path / "a.tif")
    np.savez(tmp_path / "a.npz", a=CUBE, b=CUBE)
    for ending in ("npy", "hdr", "mat", "zarr"):
        (tmp_path / f"folder.{ending}").mkdir()
        (tmp_path / f"folder.{ending}/note.txt").write_text("no raster")
    with pytest.raises((InputError, FileNotFoundError)) as error:
        read_raster(name)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_names_that_a_terminal_cannot_show(tmp_path):
    np.savez(tmp_path / "a.npz", **{"a\x1b[31m": CUBE, "b\n": CUBE})
    with pytest.raises(InputError) as error:
        read_raster(tmp_path / "a.npz")
    assert str(error.value).isprintable()


# ------------------------------------------------------------------- random damage


def sound_files(folder):
    "One small file of each format, and how it is named"
    write_tif(folder / "a.tif", compress="deflate", nodata=-1)
    write_pages(folder / "pages.tif", CUBE[:2, None])
    (folder / "page.tif").unlink()
    metadata = {"wavelength": list(range(1, 7)), "bbl": [1, 1, 0, 1, 1, 1]}
    metadata |= {"data gain values": [0.1] * 6, "data ignore value": 0}
    pixels = CUBE.transpose(1, 2, 0)
    envi.save_image(str(folder / "e.hdr"), pixels, ext="img", metadata=metadata)
    scipy.io.savemat(folder / "m.mat", {"hsi": {"Data": CUBE, "wl": np.arange(6)}})
    with h5py.File(folder / "h.h5", "w") as file:
        file["g/x"] = CUBE
        file["g/x"].attrs.update(scale_factor=0.1, _FillValue=np.int16(-1))
        file["names"] = ["a", "b"]
    with netcdf_file(str(folder / "o.nc"), "w") as file:
        for name, size in zip(("band", "lat", "lon"), CUBE.shape):
            file.createDimension(name, size)
        file.createVariable("lat", "f8", ("lat",))[:] = 45 + np.arange(20) / 1000
        file.createVariable("lon", "f8", ("lon",))[:] = 9 + np.arange(30) / 1000
        file.createVariable("r", "i2", ("band", "lat", "lon"))[:] = CUBE
    np.save(folder / "n.npy", CUBE)
    np.savez(folder / "z.npz", a=CUBE, b=np.ones(4))
    names = ["a.tif", "pages.tif", "e.hdr", "m.mat:hsi.Data@first", "h.h5:g/x@first"]
    return [*names, "o.nc", "n.npy@first", "z.npz:a@first"]


def damage(data, rng):
    "Bytes with a few changes, most of them near the beginning"
    data = bytearray(data)
    for _ in range(rng.choice([1, 2, 4, 16])):
        if not data:
            break
        i = rng.randrange(min(len(data), rng.choice([64, 512, 4096, 10**9])))
        kind = rng.random()
        if kind < 0.6:
            data[i] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
        elif kind < 0.7:
            del data[i : i + rng.randrange(1, 64)]
        elif kind < 0.8:
            data[i:i] = rng.randbytes(8)
        elif kind < 0.9:
            data[i : i + 8] = b"\xff" * 8
        else:
            del data[i + 1 :]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_read(tmp_path):
    "200 damaged files: no other error than `InputError`, with one line"
    rng = random.Random(0)
    (tmp_path / "sound").mkdir()
    names = sound_files(tmp_path / "sound")
    refused = 0
    for _ in range(25):
        for name in names:
            shutil.copytree(tmp_path / "sound", tmp_path / "d", dirs_exist_ok=True)
            path = tmp_path / "d" / name.partition("@")[0].partition(":")[0]
            path.write_bytes(damage(path.read_bytes(), rng))
            try:
                read_raster(tmp_path / "d" / name)
            except InputError as e:
                assert "\n" not in str(e) and str(tmp_path) in str(e)
                refused += 1
    assert 50 < refused < 200


def test_sound_files_are_read(tmp_path):
    for name in sound_files(tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert read_raster(tmp_path / name).shape[1:] == (20, 30)


def test_a_scene_of_labels_that_look_like_fills(tmp_path):
    "Codes of classes are no alarm"
    write_tif(tmp_path / "a.tif")
    labels = np.full((1, 20, 30), 1, np.uint8)
    labels[:, 5:] = 200
    write_tif(tmp_path / "l.tif", labels, nodata=0)
    scene, words = said(read_scene, {"a": tmp_path / "a.tif"}, tmp_path / "l.tif")
    assert words == [] and set(np.unique(scene.labels)) == {1, 200}
