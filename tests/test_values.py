"""Stored numbers become values: the same metadata means the same in every format,
and what is no data is left out with a word"""

import warnings

import h5py
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import netcdf_file
from spectral.io import envi

from diffclip.core import InputError
from diffclip.data import open_raster, read_raster, read_scene
from diffclip.data.values import find_fills

CRS = rasterio.CRS.from_epsg(32633)
PLACE = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
WAVES = [450.0, 550, 650, 1400, 1650, 2200]  # nm

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.filterwarnings("ignore:.*the values are stored:UserWarning"),
]
many = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def cube_of(count=6, dtype=np.int16, seed=0):
    "Random numbers (C, 20, 30)"
    rng = np.random.default_rng(seed)
    return rng.integers(500, 4000, (count, 20, 30)).astype(dtype)


def said(call, *args, **kwargs):
    "What a call returns, and its warnings"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*args, **kwargs)
    return result, [str(w.message) for w in caught if w.category is UserWarning]


def write_tif(path, cube, scale=1.0, offset=0.0, **profile):
    count, height, width = cube.shape
    size = dict(count=count, height=height, width=width, dtype=cube.dtype)
    place = dict(crs=CRS, transform=PLACE)
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **profile) as dst:
        dst.write(cube)
        dst.scales = np.broadcast_to(scale, count)
        dst.offsets = np.broadcast_to(offset, count)
    return path


def write_envi(path, cube, ext="img", **metadata):
    metadata = {key.replace("_", " "): value for key, value in metadata.items()}
    pixels = cube.transpose(1, 2, 0)
    envi.save_image(
        str(path), pixels, dtype=cube.dtype, ext=ext, metadata=metadata, force=True
    )
    return path


# ------------------------------------------------- scale and offset, every reader


def packed_envi(folder, cube, scale, offset, fill):
    count = len(cube)
    terms = dict(data_gain_values=[repr(scale)] * count)
    terms |= dict(data_offset_values=[repr(offset)] * count, data_ignore_value=fill)
    return write_envi(folder / "a.hdr", cube, **terms)


def packed_netcdf3(folder, cube, scale, offset, fill):
    with netcdf_file(str(folder / "a.nc"), "w") as file:
        for name, size in zip(("band", "y", "x"), cube.shape):
            file.createDimension(name, size)
        stored = cube.view(np.int8) if cube.dtype == np.uint8 else cube
        variable = file.createVariable("r", stored.dtype.str[1:], ("band", "y", "x"))
        variable[:] = stored
        variable.scale_factor = scale
        variable.add_offset = offset
        variable._FillValue = np.array(fill, cube.dtype).view(stored.dtype)[()]
        if stored is not cube:  # NetCDF 3 has no unsigned bytes
            variable._Unsigned = "true"
    return folder / "a.nc"


def packed_hdf5(folder, cube, scale, offset, fill, name="a.h5"):
    with h5py.File(folder / name, "w") as file:
        file["g/r"] = cube
        attrs = dict(scale_factor=scale, add_offset=offset)
        file["g/r"].attrs.update(**attrs, missing_value=cube.dtype.type(fill))
        for axis, label in enumerate(("band", "y", "x")):
            file["g/r"].dims[axis].label = label
    return folder / name


def packed_zarr(folder, cube, scale, offset, fill, zarr_format=3):
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    dims = ["band", "y", "x"]
    named = {"dimension_names": dims} if zarr_format == 3 else {}
    array = zarr.create_array(
        folder / "a.zarr", data=cube, zarr_format=zarr_format, **named
    )
    if zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = dims
    attrs = dict(scale_factor=scale, add_offset=offset, _FillValue=fill)
    array.attrs.update(attrs)
    return folder / "a.zarr"


def packed_pages(folder, cube, scale, offset, fill):
    "One page for each band"
    for i, band in enumerate(cube):
        write_tif(folder / "page.tif", band[None], scale, offset, nodata=fill)
        append = "YES" if i else "NO"
        rasterio.shutil.copy(
            folder / "page.tif",
            folder / "a.tif",
            driver="GTiff",
            APPEND_SUBDATASET=append,
        )
    return folder / "a.tif"


def packed_vrt(folder, cube, scale, offset, fill):
    write_tif(folder / "a.tif", cube, scale, offset, nodata=fill)
    rasterio.shutil.copy(folder / "a.tif", folder / "a.vrt", driver="VRT")
    return folder / "a.vrt"


PACKED = {
    "tif": lambda d, cube, s, o, fill: write_tif(d / "a.tif", cube, s, o, nodata=fill),
    "pages": packed_pages,
    "vrt": packed_vrt,
    "envi": packed_envi,
    "netcdf3": packed_netcdf3,
    "netcdf4": lambda *args: packed_hdf5(*args, name="a.nc"),
    "hdf5": packed_hdf5,
    "zarr2": lambda *args: packed_zarr(*args, zarr_format=2),
    "zarr3": packed_zarr,
}


@pytest.mark.parametrize("kind", PACKED)
@many
@given(
    dtype=st.sampled_from([np.uint8, np.int16, np.float32]),
    scale=st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6),
    offset=st.floats(-1e4, 1e4),
    seed=st.integers(0, 2**32 - 1),
)
def test_scale_and_offset_in_every_format(
    tmp_path_factory, kind, dtype, scale, offset, seed
):
    "value = number × scale + offset; no data is told in stored numbers"
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 250, (3, 7, 9)).astype(dtype)
    fill = 251
    numbers[:, rng.random((7, 9)) < 0.2] = fill
    path = PACKED[kind](tmp_path_factory.mktemp(kind), numbers, scale, offset, fill)
    raster = read_raster(path)
    expected = numbers.astype(float) * scale + offset
    error = np.abs(np.asarray(raster.data) - expected)
    assert (error <= 1e-6 * (abs(offset) + abs(scale) * 251)).all()
    np.testing.assert_array_equal(raster.valid, (numbers != fill).all(0))
    with open_raster(path) as file:
        window = file.read_window((2, 5), (1, 8))
    np.testing.assert_array_equal(window.data, raster.data[:, 2:5, 1:8])


def test_two_encodings_of_one_reflectance(tmp_path):
    "Sentinel-2 before and after baseline 04.00"
    old = cube_of()
    a = read_raster(write_tif(tmp_path / "old.tif", old, 1e-4))
    b = read_raster(write_tif(tmp_path / "new.tif", old + 1000, 1e-4, -0.1))
    np.testing.assert_allclose(a.data, b.data, atol=1e-7)
    np.testing.assert_allclose(a.data, old / 1e4, atol=1e-7)


def test_scales_of_their_own_for_each_band(tmp_path):
    numbers = cube_of(3)
    scales, offsets = np.array([0.1, 1.0, 5.0]), np.array([0.0, -7.0, 3.0])
    path = write_tif(tmp_path / "a.tif", numbers, scales, offsets)
    expected = numbers * scales[:, None, None] + offsets[:, None, None]
    np.testing.assert_allclose(read_raster(path).data, expected, rtol=1e-6)
    some = read_raster(f"{path}[3,1]").data
    np.testing.assert_allclose(some, expected[[2, 0]], rtol=1e-6)
    gains = dict(data_gain_values=list(scales), data_offset_values=list(offsets))
    header = write_envi(tmp_path / "a.hdr", numbers, **gains)
    np.testing.assert_allclose(read_raster(header).data, expected, rtol=1e-6)


def test_it_is_said_once(tmp_path):
    path = write_tif(tmp_path / "a.tif", cube_of(), 1e-4, -0.1)

    def read_twice():
        with open_raster(path) as file:
            file.read_window((0, 9), None)
            file.read_window((9, 20), None)

    _, words = said(read_twice)
    assert len(words) == 1 and words[0].endswith(
        "stored × 0.0001 − 0.1, as the file says"
    )
    assert said(read_raster, write_tif(tmp_path / "b.tif", cube_of()))[1] == []


def test_numbers_without_metadata_stay_exact(tmp_path):
    numbers = cube_of(2, np.int32)
    numbers[0, 0, :2] = 2**24 - 1, -(2**24) + 1
    raster = read_raster(write_tif(tmp_path / "a.tif", numbers))
    np.testing.assert_array_equal(np.asarray(raster.data), numbers)


def test_numbers_below_float32_become_zero(tmp_path):
    values = np.full((20, 30), 1e-42, np.float32)
    values[0, 0] = 1e-30
    np.save(tmp_path / "a.npy", values)
    data = read_raster(tmp_path / "a.npy").data
    assert data[0, 0, 0] == np.float32(1e-30) and np.count_nonzero(data) == 1


@pytest.mark.parametrize("scale", [0, np.nan, np.inf])
def test_a_scale_that_cannot_be_meant(tmp_path, scale):
    path = write_tif(tmp_path / "a.tif", cube_of(), scale)
    with pytest.raises(
        InputError, match="a.tif: scale .* turns no number into a value"
    ):
        read_raster(path)


# ---------------------------------------------------------------- ENVI headers


@pytest.mark.parametrize("ending", ["img", "dat", "rfl", "RFL", "radiance", ""])
def test_an_envi_binary_of_any_ending(tmp_path, ending):
    "As AVIRIS' .rfl: the factor counts, and each of both files finds the other"
    numbers = np.full((2, 4, 5), 2500, np.int16)
    write_envi(tmp_path / "f97.hdr", numbers, "img", reflectance_scale_factor=10000)
    binary = (tmp_path / "f97.img").rename(
        tmp_path / f"f97{'.' * bool(ending)}{ending}"
    )
    for path in (tmp_path / "f97.hdr", binary):
        raster = read_raster(path)
        assert (raster.data == 0.25).all() and raster.data.units == "reflectance"
    header = (tmp_path / "f97.hdr").rename(tmp_path / f"{binary.name}.hdr")
    for path in (header, binary):
        assert (read_raster(path).data == 0.25).all()


def test_a_geotiff_beside_an_envi_header_stays_a_geotiff(tmp_path):
    write_envi(tmp_path / "a.hdr", cube_of(2))
    write_tif(tmp_path / "a.tif", cube_of(3))
    assert read_raster(tmp_path / "a.tif").shape[0] == 3
    assert read_raster(tmp_path / "a.hdr").shape[0] == 2


def test_two_binaries_for_one_header(tmp_path):
    write_envi(tmp_path / "a.hdr", cube_of(2))
    (tmp_path / "a.rfl").write_bytes(bytes((tmp_path / "a.img").stat().st_size))
    raster, words = said(read_raster, tmp_path / "a.hdr")
    assert (raster.data > 0).all() and "a.rfl also fits the header" in words[0]
    assert not read_raster(tmp_path / "a.rfl").data.any()


def test_bad_bands_are_left_out(tmp_path):
    numbers = cube_of()
    numbers[3] = np.random.default_rng(0).integers(-32000, 32000, numbers[3].shape)
    waves = dict(wavelength=WAVES, wavelength_units="Nanometers")
    path = write_envi(tmp_path / "a.hdr", numbers, bbl=[1, 1, 1, 0, 1, 1], **waves)
    raster, words = said(read_raster, path)
    assert len(words) == 1 and "band 4 (1.4 µm) is left out: the list bbl" in words[0]
    np.testing.assert_array_equal(raster.data, numbers[[0, 1, 2, 4, 5]])
    np.testing.assert_allclose(raster.data.wavelengths * 1000, WAVES[:3] + WAVES[4:])
    with open_raster(path) as file:
        assert file.shape == (5, 20, 30)
        window = file.read_window((3, 9), (2, 7)).data
    np.testing.assert_array_equal(window, numbers[[0, 1, 2, 4, 5], 3:9, 2:7])
    np.testing.assert_array_equal(read_raster(f"{path}[4,1]").data, numbers[[3, 0]])


def test_a_list_of_bad_bands_that_cannot_be_meant(tmp_path):
    path = write_envi(tmp_path / "a.hdr", cube_of(), bbl=[0] * 6)
    assert read_raster(path).shape[0] == 6
    path = write_envi(tmp_path / "b.hdr", cube_of(), bbl=[1, 0, 1])
    raster, words = said(read_raster, path)
    assert raster.shape[0] == 6 and "bbl has 3 entries for 6 bands" in words[0]


def test_bands_with_a_gain_of_zero_are_bad(tmp_path):
    gains = [0.1, 0.1, 0, 0.1, 0.1, 0.1]
    path = write_envi(tmp_path / "a.hdr", cube_of(), data_gain_values=gains)
    raster, words = said(read_raster, path)
    assert raster.shape[0] == 5 and any("its gain is 0" in text for text in words)


def test_a_gain_and_a_factor_that_say_the_same(tmp_path):
    numbers = cube_of()
    twice = dict(data_gain_values=[1e-4] * 6, reflectance_scale_factor=10000)
    path = write_envi(tmp_path / "a.hdr", numbers, **twice)
    raster, words = said(read_raster, path)
    np.testing.assert_allclose(raster.data, numbers / 1e4, rtol=1e-6)
    assert "the gain is used, as both say the same" in words[0]


# ------------------------------------------- attributes of NetCDF, HDF5 and Zarr


def h5_with(path, numbers, **attrs):
    with h5py.File(path, "w") as file:
        file["r"] = numbers
        file["r"].attrs.update(attrs)
        for axis, label in enumerate(("band", "y", "x")):
            file["r"].dims[axis].label = label
    return path


def test_a_valid_range_in_stored_numbers_and_in_values(tmp_path):
    numbers = cube_of(2)
    numbers[0, 3, 4], numbers[1, 5, 6] = -7, 20000
    outside = [[3, 4], [5, 6]]
    for i, said_range in enumerate(
        (
            dict(valid_range=np.array([0, 10000], np.int16)),
            dict(valid_min=np.int16(0), valid_max=np.int16(10000)),
            dict(valid_range=[0.0, 1.00001]),  # in values, as they are floats
        )
    ):
        path = h5_with(tmp_path / f"{i}.nc", numbers, scale_factor=1e-4, **said_range)
        raster = read_raster(path)
        assert np.argwhere(~raster.valid).tolist() == outside, said_range


def test_several_fill_values(tmp_path):
    numbers = cube_of(2)
    numbers[:, 0, 0], numbers[0, 0, 1], numbers[1, 0, 2] = -1, -2, -3
    attrs = dict(_FillValue=np.int16(-1), missing_value=np.array([-2, -3], np.int16))
    raster = read_raster(h5_with(tmp_path / "a.nc", numbers, **attrs))
    assert np.argwhere(~raster.valid).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_neon_divides_by_its_scale_factor(tmp_path):
    attrs = dict(Scale_Factor=10000.0, Data_Ignore_Value=-9999.0)
    numbers = cube_of(2)
    numbers[:, 0, 0] = -9999
    raster = read_raster(h5_with(tmp_path / "a.h5", numbers, **attrs))
    np.testing.assert_allclose(raster.data[:, 1:], numbers[:, 1:] / 1e4, rtol=1e-6)
    assert not raster.valid[0, 0] and raster.valid.sum() == 599


def test_fills_that_netcdf_chooses_itself(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        fill = np.float32(9.969209968386869e36)
        data = cube_of(2, np.float32)
        data[0, :2] = fill
        file.create_dataset("r", data=data, fillvalue=fill)
        for axis, label in enumerate(("band", "y", "x")):
            file["r"].dims[axis].label = label
    assert (~read_raster(tmp_path / "a.nc").valid).sum() == 2 * 30


def test_xarray_writes_fill_values_of_zarr_in_base64(tmp_path):
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    numbers = cube_of(2, np.float32)
    numbers[0, 0] = -9999
    array = zarr.create_array(
        tmp_path / "a.zarr", data=numbers, dimension_names=["band", "y", "x"]
    )
    array.attrs["_FillValue"] = "AAAAAICHw8A="  # -9999.0
    assert (~read_raster(tmp_path / "a.zarr").valid).sum() == 30


def test_good_bands_in_the_file(tmp_path):
    "A vector of ones and zeros beside the cube"
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["cube"] = cube_of().transpose(1, 2, 0)
        for axis, label in enumerate(("line", "sample", "bands")):
            file["cube"].dims[axis].label = label
        file["sensor/good_bands"] = [1, 1, 1, 0, 1, 1]
        file["sensor/wavelengths"] = WAVES
    raster, words = said(read_raster, tmp_path / "a.nc")
    np.testing.assert_array_equal(raster.data, cube_of()[[0, 1, 2, 4, 5]])
    assert len(words) == 1 and "band 4 (1.4 µm) is left out" in words[0]


@pytest.mark.parametrize(
    "attrs, words",
    [
        (dict(scale_factor="much"), "scale_factor is 'much'"),
        (dict(_FillValue="none"), "_FillValue is 'none'"),
        (dict(valid_range=[1, 2, 3]), "valid_range is .*: expected two numbers"),
        (dict(valid_min=5, valid_max=2), "valid numbers from 5 to 2"),
        (dict(scale_factor=0.0), "turns no number into a value"),
    ],
)
def test_attributes_that_cannot_be_meant(tmp_path, attrs, words):
    path = h5_with(tmp_path / "a.nc", cube_of(2), **attrs)
    with pytest.raises(InputError, match=f"a.nc.*{words}"):
        read_raster(path)


# --------------------------------------------------------------- empty bands, alpha


def test_a_band_without_a_valid_value_does_not_empty_the_scene(tmp_path):
    "As band 4 of EnMAP, in the water vapour of the air"
    numbers = cube_of()
    numbers[3] = -32768
    numbers[:, 0, 0] = -32768
    path = write_tif(tmp_path / "a.tif", numbers, nodata=-32768)
    labels = np.ones((1, 20, 30), np.uint8)
    labels[:, 10:] = 2
    write_tif(tmp_path / "labels.tif", labels, nodata=0)
    scene, words = said(
        read_scene, {"m": path}, tmp_path / "labels.tif", {1: "water", 2: "trees"}
    )
    assert scene.valid.sum() == 599 and len(scene.modalities["m"]) == 5
    assert [text for text in words if "band 4 is left out: no pixel of it" in text]
    with open_raster(path) as file:
        assert file.read_window((0, 9), (0, 9)).shape[0] == 6  # a window is a window
    assert not read_raster(f"{path}[4]").valid.any()


def test_a_band_of_nan_without_a_declaration(tmp_path):
    values = cube_of(3, np.float32)
    values[1] = np.nan
    raster, words = said(read_raster, write_tif(tmp_path / "a.tif", values))
    assert raster.shape[0] == 2 and raster.valid.all()
    assert "band 2 is left out" in words[0]


def test_a_dark_band_is_kept(tmp_path):
    "0 means no data only where all bands are 0"
    numbers = cube_of(3)
    numbers[1] = 0
    raster = read_raster(write_tif(tmp_path / "a.tif", numbers, nodata=0))
    assert raster.shape[0] == 3 and raster.valid.all()


def test_a_raster_without_any_valid_value_stays_as_it_is(tmp_path):
    numbers = np.full((3, 20, 30), -1, np.int16)
    raster, words = said(read_raster, write_tif(tmp_path / "a.tif", numbers, nodata=-1))
    assert raster.shape[0] == 3 and not raster.valid.any() and words == []


@pytest.mark.parametrize("count", [2, 4])
def test_an_alpha_band_is_a_mask(tmp_path, count):
    numbers = cube_of(count, np.uint8)
    numbers[-1] = 255
    numbers[-1, :3] = 0
    path = write_tif(tmp_path / "a.tif", numbers, alpha="YES")
    raster, words = said(read_raster, path)
    np.testing.assert_array_equal(raster.data, numbers[:-1])
    np.testing.assert_array_equal(raster.valid, numbers[-1] > 0)
    assert f"band {count} is left out: it is an alpha band" in words[0]
    np.testing.assert_array_equal(read_raster(f"{path}[{count}]").data, numbers[-1:])


def test_an_alpha_band_beside_a_nodata_value(tmp_path):
    numbers = cube_of(4, np.uint8)
    numbers[numbers == 9] = 8
    numbers[:3, :, :4] = 9
    numbers[3] = 255
    numbers[3, :3] = 0
    raster = read_raster(write_tif(tmp_path / "a.tif", numbers, nodata=9))
    valid = np.ones((20, 30), bool)
    valid[:, :4] = valid[:3] = False
    np.testing.assert_array_equal(raster.valid, valid)


def test_near_infrared_that_is_called_alpha_is_data(tmp_path):
    "GDAL calls the fourth band of 8 bits alpha if nobody says what it is"
    numbers = cube_of(4, np.uint8)
    raster, words = said(read_raster, write_tif(tmp_path / "a.tif", numbers))
    np.testing.assert_array_equal(raster.data, numbers)
    assert raster.valid.all() and "has many values: it is read as data" in words[0]


# ----------------------------------------------------------- fills nobody declared


@pytest.mark.parametrize("fill", [-9999, -32768, 32767])
def test_an_undeclared_fill_value_is_warned_of(tmp_path, fill):
    heights = (40 + 30 * np.sin(np.mgrid[:60, :80].sum(0) / 9))[None].astype(np.int16)
    heights[:, :, :20] = fill
    path = write_tif(tmp_path / "dem.tif", heights)
    _, words = said(read_raster, path)
    shown = str(fill).replace("-", "−")
    assert len(words) == 1 and f"{shown} stands in 25.0 % of the pixels" in words[0]
    assert words[0].endswith(f"pass nodata={fill}")
    raster, words = said(read_raster, path, nodata=fill)
    assert words == [] and (~raster.valid).sum() == 60 * 20
    with open_raster(path) as file:
        windows = [said(file.read_window, (0, 60), (0, 40)) for _ in range(2)]
    assert [len(words) for _, words in windows] == [1, 0]


@pytest.mark.parametrize("fill", [1e20, -3.4028235e38, 65535, -9999])
def test_undeclared_fills_of_floats(tmp_path, fill):
    values = np.random.default_rng(0).gamma(2, 500, (3, 60, 80)).astype(np.float32)
    values[:, 50:] = fill
    _, words = said(read_raster, write_tif(tmp_path / "a.tif", values))
    assert len(words) == 1 and "far outside the other values" in words[0]
    nodata = float(words[0].rpartition("=")[2])
    raster, words = said(read_raster, tmp_path / "a.tif", nodata=nodata)
    assert words == [] and (~raster.valid).sum() == 10 * 80


def test_a_header_with_a_shortened_smallest_float(tmp_path):
    values = np.random.default_rng(0).random((2, 30, 40)).astype(np.float32)
    values[:, :3] = np.finfo(np.float32).min
    path = write_envi(tmp_path / "a.hdr", values, data_ignore_value="-3.40282e+38")
    assert (~read_raster(path).valid).sum() == 3 * 40


@settings(many, max_examples=200)
@given(
    kind=st.sampled_from(["normal", "gamma", "classes", "bytes", "saturated", "flat"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_false_alarm_for_ordinary_data(kind, seed):
    rng = np.random.default_rng(seed)
    shape = (2, 40, 50)
    scale = 10.0 ** rng.integers(-3, 4)
    if kind == "normal":
        numbers = rng.standard_normal(shape) * scale + scale * rng.integers(-9, 9)
    elif kind == "gamma":
        numbers = rng.gamma(rng.random() * 5 + 0.1, scale, shape)
    elif kind == "classes":
        codes = rng.choice(256, rng.integers(2, 16), replace=False)
        numbers = rng.choice(codes, shape)
    elif kind == "bytes":
        numbers = rng.integers(0, 256, shape, dtype=np.uint8)
    elif kind == "saturated":
        numbers = np.clip(rng.gamma(2, 9000, shape), 0, 65535).astype(np.uint16)
    else:  # a sea or a plain among hills
        numbers = np.maximum(rng.normal(0, 50, shape), 0)
    assert find_fills(numbers, np.ones(shape[1:], bool)) == {}


@settings(many, max_examples=200)
@given(
    fill=st.sampled_from([-9999, -32768, 65535, 1e20, -99999, -3.4028235e38]),
    share=st.floats(0.02, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_usual_fill_is_found(fill, share, seed):
    rng = np.random.default_rng(seed)
    numbers = rng.gamma(2, 10.0 ** rng.integers(-2, 4), (2, 40, 50)).astype(np.float32)
    numbers[0, rng.random((40, 50)) < share] = fill
    found = find_fills(numbers, np.ones((40, 50), bool))
    assert list(found) == [np.float32(fill)]
    share = (numbers[0] == np.float32(fill)).mean()
    np.testing.assert_allclose(found[np.float32(fill)], share)


def test_undeclared_fills_in_stored_numbers(tmp_path):
    "The number that is named is the one that can be passed"
    numbers = cube_of(2)
    numbers[:, :5] = -9999
    path = write_tif(tmp_path / "a.tif", numbers, 1e-4)
    _, words = said(read_raster, path)
    assert words[-1].endswith("pass nodata=-9999")
    assert (~read_raster(path, nodata=-9999).valid).sum() == 5 * 30
