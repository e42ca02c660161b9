"""Row order, axis order and georeference are read, not assumed; and two rasters lie on
one grid only if their files say so, or the user does"""

import warnings

import h5py
import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from diffclip.core import InputError
from diffclip.data import check_same_grid, open_raster, read_raster, read_scene

UTM = rasterio.CRS.from_epsg(32633)
PLACE = Affine(10, 0, 500000, 0, -10, 5000000)
CUBE = np.random.default_rng(0).integers(500, 4000, (3, 20, 30)).astype(np.int16)
NORTH = 5000000 - 5 - 10.0 * np.arange(20)  # of the rows' centres
EAST = 500000 + 5 + 10.0 * np.arange(30)

pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"
)


def said(call, *args, **kwargs):
    "What a call returns, and its warnings"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*args, **kwargs)
    return result, [str(w.message) for w in caught if w.category is UserWarning]


def write_tif(path, cube=CUBE, crs=UTM, transform=PLACE, nodata=None, gcps=None):
    count, height, width = cube.shape
    size = dict(count=count, height=height, width=width, dtype=cube.dtype)
    place = dict(gcps=gcps, crs=crs) if gcps else dict(crs=crs, transform=transform)
    with rasterio.open(
        path, "w", driver="GTiff", nodata=nodata, **size, **place
    ) as dst:
        dst.write(cube)
    return path


def check_place(raster, cube=CUBE, crs=UTM, transform=PLACE):
    np.testing.assert_array_equal(raster.data, cube)
    assert raster.crs == crs
    assert raster.transform.almost_equals(transform, 1e-6)


# ------------------------------------------------------------------- north is up


@pytest.mark.parametrize("rows, cols", [(True, False), (False, True), (True, True)])
def test_a_mirrored_raster_is_turned(tmp_path, rows, cols):
    "South-up, or from east to west; values, masks, windows and place agree"
    cube = CUBE.copy()
    cube[:, 2, 3] = -1
    a, _, c, _, e, f = tuple(PLACE)[:6]
    transform = Affine(
        -a if cols else a,
        0,
        c + 30 * a if cols else c,
        0,
        -e if rows else e,
        f + 20 * e if rows else f,
    )
    stored = cube[:, :: -1 if rows else 1, :: -1 if cols else 1]
    path = write_tif(tmp_path / "a.tif", stored, transform=transform, nodata=-1)
    raster, words = said(read_raster, path)
    check_place(raster, cube)
    assert np.argwhere(~raster.valid).tolist() == [[2, 3]]
    assert len(words) == 1 and "it is read with north up" in words[0]
    with open_raster(path) as file:
        window = file.read_window((1, 7), (2, 9))
        assert file.transform.almost_equals(PLACE)
    np.testing.assert_array_equal(window.data, cube[:, 1:7, 2:9])
    assert np.argwhere(~window.valid).tolist() == [[1, 1]]
    assert (window.transform.c, window.transform.f) == (500020, 4999990)
    straight = read_raster(write_tif(tmp_path / "b.tif", cube, nodata=-1))
    check_same_grid(straight, raster)


def test_a_rotated_raster_keeps_its_transform(tmp_path):
    rotated = Affine(9, 3, 5e5, 3, -9, 5e6)
    a = read_raster(write_tif(tmp_path / "a.tif", transform=rotated))
    check_place(a, transform=rotated)
    b = read_raster(write_tif(tmp_path / "b.tif", transform=rotated))
    check_same_grid(a, b)
    straight = read_raster(write_tif(tmp_path / "c.tif"))
    with pytest.raises(InputError, match="pixels off the grid"):
        check_same_grid(a, straight)
    scene = read_scene(
        {"a": tmp_path / "c.tif", "b": tmp_path / "a.tif"}, resample="nearest"
    )
    assert 0 < scene.valid.sum() < scene.valid.size


def test_an_image_without_a_place_is_not_turned(tmp_path):
    for transform in (Affine(2, 0, 0, 0, 2, 0), Affine.identity()):
        path = write_tif(tmp_path / "a.tif", crs=None, transform=transform)
        raster, words = said(read_raster, path)
        np.testing.assert_array_equal(raster.data, CUBE)
        assert words == []


def test_a_crs_alone_is_no_place(tmp_path):
    raster = read_raster(write_tif(tmp_path / "a.tif", transform=Affine.identity()))
    assert (raster.crs, raster.transform) == (None, None)


# ---------------------------------------------------------- points and polynomials


def points(transform, bend=0.0):
    "Nine ground control points of a raster of 20 × 30 pixels"
    a, b, c, d, e, f = tuple(transform)[:6]
    found = []
    for row in (0, 10, 20):
        for col in (0, 15, 30):
            x = col + bend * row**2
            ground = (a * x + b * row + c, d * x + e * row + f)
            found.append(GroundControlPoint(row, col, *ground))
    return found


def test_points_on_a_straight_grid_give_the_place(tmp_path):
    "A SAR image beside an optical one, 100 m away"
    shifted = Affine(10, 0, 500100, 0, -10, 5000000)
    paths = {"optical": write_tif(tmp_path / "optical.tif")}
    paths["sar"] = write_tif(tmp_path / "sar.tif", gcps=points(shifted))
    raster, words = said(read_raster, paths["sar"])
    check_place(raster, transform=shifted)
    assert len(words) == 1 and "placed by 9 ground control points" in words[0]
    with pytest.raises(InputError, match="sar.tif lies 10.00 pixels off the grid"):
        read_scene(paths)
    scene = read_scene(paths, resample="bilinear")
    assert (~scene.valid).sum() == 10 * 20


def test_points_of_a_rotated_grid(tmp_path):
    rotated = Affine(9, 3, 5e5, 3, -9, 5e6)
    raster = read_raster(write_tif(tmp_path / "a.tif", gcps=points(rotated)))
    check_place(raster, transform=rotated)


def test_points_on_a_bent_grid_need_a_warp(tmp_path):
    path = write_tif(tmp_path / "sar.tif", gcps=points(PLACE, 0.02))
    raster, words = said(read_raster, path)
    assert (raster.crs, raster.transform) == (None, None)
    assert len(words) == 1 and "warp it first, with gdalwarp -tps" in words[0]
    optical = write_tif(tmp_path / "optical.tif")
    with pytest.raises(
        InputError, match="sar.tif: its 9 ground .* lies on a map: warp"
    ):
        read_scene({"optical": optical, "sar": path})


def test_polynomials_need_a_warp(tmp_path):
    path = write_tif(tmp_path / "a.tif", crs=None, transform=Affine.identity())
    terms = {key: [1.0] + [0.0] * 19 for key in ("line_num_coeff", "line_den_coeff")}
    terms |= {key: [1.0] + [0.0] * 19 for key in ("samp_num_coeff", "samp_den_coeff")}
    offsets = {f"{n}_off": 1.0 for n in ("height", "lat", "line", "long", "samp")}
    scales = {f"{n}_scale": 1.0 for n in ("height", "lat", "line", "long", "samp")}
    with rasterio.open(path, "r+") as dst:
        dst.rpcs = RPC(**terms, **offsets, **scales)
    raster, words = said(read_raster, path)
    assert raster.transform is None and len(words) == 1
    assert "placed by rational polynomials (RPCs)" in words[0]


# ------------------------------------------------------------ coordinate variables


def write_h5(path, dims, cube=CUBE, coordinates=None, mapping=None):
    "An array `r` with named axes in NetCDF 4, coordinates, and a grid mapping"
    stored = cube.transpose([("band", "y", "x").index(d) for d in dims])
    with h5py.File(path, "w") as file:
        file["r"] = stored
        for axis, name in enumerate(dims):
            file["r"].dims[axis].label = name
        for name, (values, attrs) in (coordinates or {}).items():
            file[name] = values
            file[name].attrs.update(attrs)
            file[name].make_scale(name)
            if name in dims:
                file["r"].dims[dims.index(name)].attach_scale(file[name])
        if mapping:
            file["crs"] = 0
            file["crs"].attrs.update(mapping)
            file["r"].attrs["grid_mapping"] = "crs"
    return path


WKT = {"crs_wkt": UTM.to_wkt()}


@pytest.mark.parametrize("dims", ["band y x", "y x band", "y band x", "x y band"])
@pytest.mark.parametrize("up", [False, True])
def test_coordinates_and_axes_of_netcdf(tmp_path, dims, up):
    "Any order of the axes, and rows from either side, are one raster"
    cube = CUBE[:, ::-1] if up else CUBE
    coordinates = {"x": (EAST, {}), "y": (NORTH[::-1] if up else NORTH, {})}
    path = write_h5(tmp_path / "a.nc", dims.split(), cube, coordinates, WKT)
    raster, words = said(read_raster, path)
    check_place(raster)
    assert len(words) == up
    with open_raster(path) as file:
        window = file.read_window((3, 9), (2, 7))
    np.testing.assert_array_equal(window.data, CUBE[:, 3:9, 2:7])


def test_gdal_and_we_agree_on_a_netcdf_file(tmp_path):
    "GDAL writes rows from south to north, with coordinates"
    tif = write_tif(tmp_path / "a.tif", CUBE[:1])
    rasterio.shutil.copy(tif, tmp_path / "a.nc", driver="netCDF", FORMAT="NC4")
    rasterio.shutil.copy(tif, tmp_path / "old.nc", driver="netCDF", FORMAT="NC")
    for name in ("a.nc", "old.nc"):
        raster = read_raster(tmp_path / name)
        check_place(raster, CUBE[:1])
        check_same_grid(read_raster(tif), raster)
        with rasterio.open(f'NETCDF:"{tmp_path / name}":Band1') as src:
            np.testing.assert_array_equal(src.read(), CUBE[:1])


def test_degrees_without_a_grid_mapping(tmp_path):
    lat = 45.995 - 0.01 * np.arange(20)
    lon = 9.005 + 0.01 * np.arange(30)
    coordinates = {
        "x": (lon, {"units": "degrees_east"}),
        "y": (lat, {"units": "degrees_north"}),
    }
    path = write_h5(tmp_path / "a.nc", ["band", "y", "x"], coordinates=coordinates)
    degrees = Affine(0.01, 0, 9, 0, -0.01, 46)
    check_place(read_raster(path), crs=rasterio.CRS.from_epsg(4326), transform=degrees)


def test_a_projection_in_parameters(tmp_path):
    mapping = dict(
        grid_mapping_name="transverse_mercator",
        longitude_of_central_meridian=15.0,
        latitude_of_projection_origin=0.0,
        scale_factor_at_central_meridian=0.9996,
        false_easting=500000.0,
        false_northing=0.0,
        semi_major_axis=6378137.0,
        inverse_flattening=298.257223563,
    )
    coordinates = {
        "x": (EAST / 1000, {"units": "km"}),
        "y": (NORTH / 1000, {"units": "km"}),
    }
    path = write_h5(tmp_path / "a.nc", ["band", "y", "x"], CUBE, coordinates, mapping)
    raster = read_raster(path)
    assert raster.transform.almost_equals(PLACE, 1e-6)
    check_same_grid(read_raster(write_tif(tmp_path / "a.tif")), raster)


def test_coordinates_count_before_an_old_transform(tmp_path):
    "A part that was cut out of a raster, with the GeoTransform of the whole"
    stale = WKT | {"GeoTransform": "400000 10 0 6000000 0 -10"}
    coordinates = {"x": (EAST, {}), "y": (NORTH, {})}
    path = write_h5(tmp_path / "a.nc", ["band", "y", "x"], CUBE, coordinates, stale)
    check_place(read_raster(path))
    path = write_h5(tmp_path / "b.nc", ["band", "y", "x"], mapping=stale)
    old = Affine(10, 0, 400000, 0, -10, 6000000)
    check_place(read_raster(path), transform=old)


def test_coordinates_that_are_not_even(tmp_path):
    coordinates = {"x": (EAST, {}), "y": (NORTH - np.arange(20) ** 2, {})}
    path = write_h5(tmp_path / "a.nc", ["band", "y", "x"], CUBE, coordinates, WKT)
    raster, words = said(read_raster, path)
    assert raster.transform is None and "are not evenly spaced" in words[0]


def swath(path, cube=None):
    "A cube (rows, columns, bands) with the latitude and longitude of each pixel"
    cube = np.where(np.arange(20)[:, None, None] < 10, 0.1, 0.4) * np.ones((20, 30, 3))
    with h5py.File(path, "w") as file:
        file["reflectance"] = cube.astype(np.float32)
        for axis, name in enumerate(("scan", "pixel", "channel")):
            file["reflectance"].dims[axis].label = name
        file["geo/latitude"] = 45 - 0.001 * np.mgrid[:20, :30][0]
        file["geo/longitude"] = 9 + 0.001 * np.mgrid[:20, :30][1]
        file["bands/wavelength"] = [450, 550, 650]
    return path


def test_a_swath_is_read_as_it_is_stored(tmp_path):
    "Without a map grid, labels in a .npy file lie in the order of the rows"
    labels = np.ones((20, 30), np.uint8)
    labels[10:] = 2
    np.save(tmp_path / "labels.npy", labels)
    paths = {"m": f"{swath(tmp_path / 'a.nc')}:reflectance"}
    classes = {1: "water", 2: "sand"}
    scene, words = said(read_scene, paths, tmp_path / "labels.npy", classes)
    band = scene.modalities["m"][0]
    means = [float(band[scene.labels == code].mean()) for code in (1, 2)]
    np.testing.assert_allclose(means, [0.1, 0.4], rtol=1e-6)
    np.testing.assert_allclose(scene.modalities["m"].wavelengths, [0.45, 0.55, 0.65])
    assert len(words) == 1 and "it gives the place of each pixel" in words[0]
    assert scene.transform is None


def test_a_swath_is_not_on_the_grid_of_a_map(tmp_path):
    paths = {"map": write_tif(tmp_path / "map.tif")}
    paths["swath"] = f"{swath(tmp_path / 'a.nc')}:reflectance"
    with pytest.raises(InputError, match="map.tif lies on a map: warp"):
        read_scene(paths)


def test_zarr_with_coordinates(tmp_path):
    "As xarray and rioxarray write it"
    zarr = pytest.importorskip("zarr", "3", reason="zarr is in the extra 'scale'")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    for name, data, dims in (
        ("r", CUBE[:, ::-1], ["band", "y", "x"]),
        ("x", EAST, ["x"]),
        ("y", NORTH[::-1], ["y"]),
        ("spatial_ref", np.array(0), []),
    ):
        group.create_array(name, data=np.ascontiguousarray(data), dimension_names=dims)
    group["spatial_ref"].attrs.update(WKT)
    group["r"].attrs["grid_mapping"] = "spatial_ref"
    check_place(read_raster(f"{tmp_path}/a.zarr:r"))


# ------------------------------------------------------------ what cannot be used


def vrt(path, place):
    band = '<VRTRasterBand dataType="Int16" band="1"/>'
    path.write_text(
        f'<VRTDataset rasterXSize="30" rasterYSize="20">{place}{band}</VRTDataset>'
    )
    return path


@pytest.mark.parametrize(
    "numbers", ["5e5, 10, 0, 5e6, 0, 0", "5e5, 0, 0, 5e6, 0, 0", "5e5, 1, 2, 5e6, 2, 4"]
)
def test_a_singular_transform_is_left_away(tmp_path, numbers):
    place = f"<SRS>EPSG:32633</SRS><GeoTransform>{numbers}</GeoTransform>"
    path = vrt(tmp_path / "a.vrt", place)
    raster, words = said(read_raster, path)
    assert (raster.crs, raster.transform) == (None, None)
    assert len(words) == 1 and "puts all pixels on one line" in words[0]
    _, words = said(read_scene, {"a": write_tif(tmp_path / "b.tif"), "b": path})
    assert "a.vrt does not say where it lies" in words[-1]


def test_an_engineering_crs_is_left_away(tmp_path):
    site = rasterio.CRS.from_wkt('LOCAL_CS["site 7",UNIT["metre",1]]')
    path = write_tif(tmp_path / "a.tif", crs=site)
    raster, words = said(read_raster, path)
    check_place(raster, crs=None)
    assert len(words) == 1 and "not tied to the Earth" in words[0]
    with pytest.raises(InputError, match="a.tif has no CRS"):
        read_scene(
            {"a": write_tif(tmp_path / "b.tif", CUBE[:, :9]), "b": path},
            resample="cubic",
        )


# --------------------------------------------------------------- one grid, or not

WRITTEN_OTHERWISE = {
    "with heights": rasterio.CRS.from_user_input("EPSG:32633+5773"),
    "as parameters": rasterio.CRS.from_proj4("+proj=utm +zone=33 +datum=WGS84"),
    "as a Mercator": rasterio.CRS.from_proj4(
        "+proj=tmerc +lon_0=15 +k=0.9996 +x_0=500000 +ellps=WGS84 +units=m"
    ),
    "in WKT 2": rasterio.CRS.from_wkt(UTM.to_wkt(version="WKT2_2019")),
}


@pytest.mark.parametrize("how", WRITTEN_OTHERWISE)
def test_one_projection_in_other_words(tmp_path, how):
    "Such as a surface model in a compound CRS beside an image"
    paths = {"optical": write_tif(tmp_path / "optical.tif")}
    paths["dsm"] = write_tif(tmp_path / "dsm.tif", CUBE[:1], crs=WRITTEN_OTHERWISE[how])
    scene = read_scene(paths)
    assert scene.shape == (20, 30) and scene.crs == UTM
    shifted = Affine(10, 0, 500005, 0, -10, 5000000)
    write_tif(paths["dsm"], CUBE[:1], WRITTEN_OTHERWISE[how], shifted)
    with pytest.raises(InputError, match="dsm.tif lies 0.50 pixels off the grid"):
        read_scene(paths)


@pytest.mark.parametrize("other", ["EPSG:4979", "OGC:CRS84", "EPSG:4326+3855"])
def test_degrees_in_other_words(tmp_path, other):
    "With ellipsoidal heights, with longitude first, with heights above the geoid"
    degrees = Affine(0.01, 0, 9, 0, -0.01, 46)
    a, b = (
        read_raster(write_tif(tmp_path / name, CUBE, crs, degrees))
        for name, crs in (("a.tif", "EPSG:4326"), ("b.tif", other))
    )
    check_same_grid(a, b)


@pytest.mark.parametrize(
    "other", ["EPSG:32634", "EPSG:3857", "EPSG:4326", "EPSG:23033"]
)
def test_another_projection_is_refused_by_name(tmp_path, other):
    "EPSG:23033 has another datum, about 200 m away"
    a = read_raster(write_tif(tmp_path / "a.tif"))
    b = read_raster(write_tif(tmp_path / "b.tif", crs=other))
    with pytest.raises(InputError) as error:
        check_same_grid(a, b)
    assert f"b.tif is in {other}, " in str(error.value)
    assert len(str(error.value)) < 400


def test_a_raster_without_a_place_is_assumed_to_fit(tmp_path):
    "One warning for each; none where no file has a place"
    np.save(tmp_path / "labels.npy", (CUBE[0] % 2 + 1).astype(np.uint8))
    np.save(tmp_path / "dem.npy", CUBE[0])
    np.save(tmp_path / "small.npy", CUBE[0, :9])
    tif = write_tif(tmp_path / "a.tif")
    scene, words = said(read_scene, {"a": tif}, tmp_path / "labels.npy")
    assert scene.transform == PLACE and len(words) == 1
    assert "labels.npy does not say where it lies" in words[0]
    assert "we assume the same grid" in words[0]
    scene, words = said(read_scene, {"d": tmp_path / "dem.npy", "a": tif})
    assert scene.transform == PLACE and len(words) == 1
    _, words = said(read_scene, {"d": tmp_path / "dem.npy"}, tmp_path / "labels.npy")
    assert words == []
    with pytest.raises(InputError, match="small.npy is 9×30"):
        read_scene({"a": tif, "d": tmp_path / "small.npy"})
