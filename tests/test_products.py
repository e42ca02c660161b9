"Products as they are downloaded, each on a small one in its layout"

import pickle
import re
import shutil
import tarfile
import warnings

import h5py
import numpy as np
import product_writers as write
import pytest
import rasterio

from diffclip.core import InputError
from diffclip.data import (
    GDALSource,
    open_raster,
    read_quality_mask,
    read_raster,
    read_scene,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
ROUNDING = 0.51e-4


def fine(values, factor):
    "Each pixel repeated"
    return values.repeat(factor, 0).repeat(factor, 1)


@pytest.fixture
def safe(tmp_path):
    return write.write_safe(tmp_path)


# ------------------------------------------------------------------ Sentinel-2


def check_safe(raster, values, bands):
    for i, band in enumerate(bands):
        expected = fine(values[band], write.METRES[band] // 10)
        got = np.where(raster.valid, raster.data[i], expected)
        np.testing.assert_allclose(got, expected, atol=ROUNDING)
    assert not raster.valid[:36, :36].any() and raster.valid[36:].all()
    assert raster.crs.to_epsg() == 32632
    assert tuple(raster.transform)[:6] == (10, 0, 6e5, 0, -10, 5e6)
    assert raster.data.units == "reflectance"


ALL = ["B01", "B02", "B03", "B04", "B05", "B08", "B8A"]


@pytest.mark.parametrize("baseline", ["02.14", "03.01", "04.00", "05.11"])
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_the_same_reflectance_from_every_baseline(tmp_path, level, baseline):
    safe, values = write.write_safe(tmp_path, level, baseline)
    raster = read_raster(safe)
    assert raster.data.band_names == ALL
    np.testing.assert_allclose(raster.data.wavelengths[[0, -1]], [0.4427, 0.8647])
    check_safe(raster, values, ALL)


def test_a_zip_and_the_metadata_file_are_the_product(safe):
    folder, values = safe
    archive = shutil.make_archive(folder, "zip", folder.parent, folder.name)
    for path in (archive, folder / "MTD_MSIL2A.xml"):
        check_safe(read_raster(path), values, ALL)


def test_what_is_left_out_is_said(safe):
    with pytest.warns(UserWarning, match="AOT, TCI, SCL left out.*:AOT"):
        open_raster(safe[0])


def test_parts_by_name(safe):
    folder, values = safe
    coarse = read_raster(f"{folder}:20m")
    assert (coarse.data.band_names, coarse.transform.a) == (["B05", "B8A"], 20)
    np.testing.assert_allclose(coarse.data[1, 6:], values["B8A"][6:], atol=ROUNDING)
    scl = read_raster(f"{folder}:SCL")
    assert scl.shape == (1, 30, 30) and set(np.unique(scl.data)) == {3, 4, 9, 11}
    assert read_raster(f"{folder}:TCI").shape == (3, 60, 60)
    np.testing.assert_allclose(read_raster(f"{folder}:AOT").data, 0.12, rtol=1e-6)
    assert read_raster(folder / "MTD_MSIL2A.xml", key="B5").shape == (1, 30, 30)
    with pytest.raises(InputError, match=":10m .*:20m .*:60m .*:SCL.*B8A"):
        open_raster(f"{folder}:EPSG_32632")


def test_bands_by_name_and_number(safe):
    folder, values = safe
    raster = read_raster(f"{folder}[B8A,b2,1]")
    assert raster.data.band_names == ["B8A", "B02", "B01"]
    expected = fine(values["B8A"], 2)[36:]
    np.testing.assert_allclose(raster.data[0, 36:], expected, atol=ROUNDING)
    for wrong, said in (
        ("[B11]", "has no band 'B11', it has B01"),
        ("[9]", "no band 9"),
    ):
        with pytest.raises(InputError, match=said.replace("[", r"\[")):
            open_raster(f"{folder}{wrong}")


def test_nothing_is_read_before_a_window_is_asked_for(safe, monkeypatch):
    read = GDALSource.read
    monkeypatch.setattr(GDALSource, "read", None)
    file = open_raster(safe[0])
    seen = []

    def counted(self, bands, rows, cols):
        values = read(self, bands, rows, cols)
        seen.append(values.size)
        return values

    monkeypatch.setattr(GDALSource, "read", counted)
    file.read_window((0, 12), (0, 12))
    assert sum(seen) == 4 * 12**2 + 2 * 6**2 + 2**2


def test_a_window_is_a_part_of_the_whole(safe):
    file = pickle.loads(pickle.dumps(open_raster(safe[0])))
    whole = file.read_window()
    part = file.read_window((31, 50), (7, 9))
    np.testing.assert_array_equal(part.data, whole.data[:, 31:50, 7:9])
    assert part.transform.f == 5e6 - 310


def test_one_tile_of_several(tmp_path):
    first, values = write.write_safe(tmp_path / "a")
    second, _ = write.write_safe(tmp_path / "b", tile="T33UUP")
    shutil.copytree(second / "GRANULE", first / "GRANULE", dirs_exist_ok=True)
    xml = (first / "MTD_MSIL2A.xml").read_text()
    other = re.search(
        "<Granule .*</Granule>", (second / "MTD_MSIL2A.xml").read_text(), re.S
    )
    xml = xml.replace("</Granule_List>", other[0] + "</Granule_List>")
    (first / "MTD_MSIL2A.xml").write_text(xml)
    with pytest.raises(InputError, match="holds 2 tiles: T32TQM, T33UUP; name one"):
        open_raster(first)
    check_safe(read_raster(f"{first}:T32TQM"), values, ALL)
    assert open_raster(f"{first}:T33UUP.20m").shape == (2, 30, 30)


def test_a_partial_product(safe):
    folder, values = safe
    xml = folder / "MTD_MSIL2A.xml"
    (gone,) = folder.rglob("*_B08_10m.jp2")
    gone.unlink()
    with pytest.raises(
        InputError, match=r"B08 is missing: .*\[B01,B02,B03,B04,B05,B8A\]"
    ):
        open_raster(folder)
    assert open_raster(f"{folder}[B02,B8A]").shape == (2, 60, 60)
    assert open_raster(f"{folder}:60m").shape == (1, 10, 10)
    lines = xml.read_text().splitlines()
    xml.write_text("\n".join(line for line in lines if "B08" not in line))
    assert open_raster(folder).shape == (6, 60, 60)  # the metadata lists it no more


def damage(folder, what):
    "Damage a product; returns the path to open"
    xml = folder / "MTD_MSIL2A.xml"
    text = xml.read_text()
    if what == "cut xml":
        xml.write_text(text[: len(text) // 2])
    elif what == "empty xml":
        xml.write_text("")
    elif what == "no xml":
        xml.unlink()
    elif what == "document type":
        xml.write_text(text.replace("<n1", '<!DOCTYPE a [<!ENTITY x "y">]><n1', 1))
    elif what == "no offset":
        xml.write_text(re.sub("<BOA_ADD.*\n", "", text))
    elif what == "one offset":
        xml.write_text(re.sub('<BOA_ADD_OFFSET band_id="[1-9].*\n', "", text))
    elif what == "no divisor":
        xml.write_text(text.replace("QUANTIFICATION_VALUE", "OTHER"))
    elif what == "divisor 0":
        xml.write_text(text.replace(">10000<", ">0<"))
    elif what == "baseline in the xml":
        xml.write_text(text.replace(">05.11<", ">02.14<"))
    elif what == "baseline of the tile":
        (tile,) = folder.rglob("MTD_TL.xml")
        tile.write_text(tile.read_text().replace("N05.11", "N02.14"))
    elif what == "no baseline":
        xml.write_text(text.replace(">05.11<", "><"))
    elif what == "xml of another tile":
        xml.write_text(text.replace("T32TQM", "T31UDQ"))
    elif what == "cut image":
        (image,) = folder.rglob("*_B04_10m.jp2")
        image.write_bytes(image.read_bytes()[:100])
    elif what == "image of another grid":
        (image,) = folder.rglob("*_B04_10m.jp2")
        image.unlink()
        write.write_band(image, np.ones((59, 60), np.uint16), 10, **write.JP2)
    elif what == "cut zip":
        archive = shutil.make_archive(folder, "zip", folder.parent, folder.name)
        data = open(archive, "rb").read()
        open(archive, "wb").write(data[: len(data) // 2])
        return archive
    return folder


DAMAGES = {
    "cut xml": "MTD_MSIL2A.xml: is no whole XML file",
    "empty xml": "MTD_MSIL2A.xml: is no whole XML file",
    "no xml": "no MTD_MSIL2A.xml or MTD_MSIL1C.xml, which tells the offset",
    "document type": "MTD_MSIL2A.xml: declares a document type",
    "no offset": "has no BOA_ADD_OFFSET, but processing baseline 05.11 needs it",
    "one offset": "has no offset for band B02",
    "no divisor": "has no element QUANTIFICATION_VALUE",
    "divisor 0": "BOA_QUANTIFICATION_VALUE is 0",
    "baseline in the xml": "baseline 02.14, but S2A_MSIL2A.* says 05.11",
    "baseline of the tile": "baseline 05.11, but S2A_OPER.* says 02.14",
    "no baseline": "PROCESSING_BASELINE is None",
    "xml of another tile": "does not name T32TQM.*belongs to another product",
    "cut image": "B04_10m.jp2: cannot be read as a raster",
    "image of another grid": "B04_10m.jp2 does not lie on the grid of",
    "cut zip": "zip: is no whole archive",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_product_says_what_is_wrong(safe, what):
    with pytest.raises(InputError, match=DAMAGES[what]) as error:
        open_raster(damage(safe[0], what))
    assert "\n" not in str(error.value)
    assert "download" in str(error.value) or "copy it again" in str(error.value).lower()


def test_an_image_that_breaks_off_is_named(safe):
    file = open_raster(safe[0])
    (image,) = safe[0].rglob("*_B04_10m.jp2")
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(InputError, match="B04_10m.jp2"):
        file.read_window()


# --------------------------------------------------------------------- Landsat


@pytest.mark.parametrize("form", ["txt", "json", "xml"])
@pytest.mark.parametrize("sensor", ["LC08", "LE07", "LT05"])
@pytest.mark.parametrize("level", ["L2SP", "L1TP"])
def test_landsat(tmp_path, level, sensor, form):
    scene, values = write.write_landsat(tmp_path, level, sensor, form)
    raster = read_raster(scene)
    assert raster.data.band_names == list(values)
    assert raster.data.units == "reflectance"
    for band, expected in zip(raster.data, values.values()):
        np.testing.assert_allclose(band[3:], expected[3:], atol=3e-5)
    assert (~raster.valid).sum() == 3 * 25 and not raster.valid[:3].any()
    assert raster.data.wavelengths[2] == pytest.approx(
        0.56 if sensor != "LC08" else 0.5615, 0.2
    )
    assert tuple(raster.transform)[:6] == (30, 0, 6e5, 0, -30, 5e6)


def test_a_landsat_archive_is_the_scene(tmp_path):
    scene, values = write.write_landsat(tmp_path)
    with tarfile.open(f"{scene}.tar", "w") as archive:
        for path in sorted(scene.iterdir()):
            archive.add(path, path.name)
    raster = read_raster(f"{scene}.tar")
    np.testing.assert_allclose(raster.data[0, 3:], values["SR_B1"][3:], atol=3e-5)


def test_parts_of_a_landsat_scene(tmp_path):
    scene, values = write.write_landsat(tmp_path)
    thermal = read_raster(f"{scene}:ST_B10")
    np.testing.assert_allclose(thermal.data, 44100 * 0.00341802 + 149, rtol=1e-6)
    assert thermal.data.units == "K"
    bits = read_raster(f"{scene}:QA_PIXEL")
    assert set(np.unique(bits.data[:, bits.valid])) == {21824, 22280}
    two = read_raster(f"{scene}[SR_B5,B4]")
    np.testing.assert_allclose(two.data[1, 3:], values["SR_B4"][3:], atol=3e-5)
    with pytest.warns(UserWarning, match="QA_PIXEL, ST_B10 left out"):
        open_raster(scene)
    with pytest.raises(InputError, match="has no raster 'B8'; name one of"):
        open_raster(f"{scene}:B8")


def test_landsat_level_1_has_a_panchromatic_and_a_thermal_band(tmp_path):
    scene, _ = write.write_landsat(tmp_path, "L1TP")
    panchromatic = read_raster(f"{scene}:B8").data
    assert panchromatic.shape == (1, 40, 50)
    np.testing.assert_allclose(panchromatic, (44100 * 2e-5 - 0.1) / 0.5, rtol=1e-6)
    radiance = read_raster(f"{scene}:B10").data
    np.testing.assert_allclose(radiance, 44100 * 3.342e-4 + 0.1, rtol=1e-6)
    assert radiance.units == "W/(m² sr µm)"


def test_level_2_without_metadata(tmp_path):
    scene, values = write.write_landsat(tmp_path)
    next(scene.glob("*_MTL.txt")).unlink()
    raster = read_raster(scene)
    np.testing.assert_allclose(raster.data[3, 3:], values["SR_B4"][3:], atol=3e-5)


LANDSAT_DAMAGES = {
    "cut": "MTL.txt: is no whole MTL file",
    "missing band": r"there is no file .*SR_B3.TIF, .*\[SR_B1,SR_B2,SR_B4",
    "another scene": "there is no file LC08_L2SP_999",
    "no factor": "has no REFLECTANCE_MULT_BAND_1 in the group LEVEL2",
    "factor": "REFLECTANCE_MULT_BAND_1 is 'x'",
    "collection 1": "is not of Landsat Collection 2",
}


@pytest.mark.parametrize("what", LANDSAT_DAMAGES)
def test_a_damaged_scene_says_what_is_wrong(tmp_path, what):
    scene, _ = write.write_landsat(tmp_path)
    mtl = next(scene.glob("*_MTL.txt"))
    text = mtl.read_text()
    if what == "cut":
        mtl.write_text(text[: len(text) // 2])
    elif what == "missing band":
        next(scene.glob("*SR_B3.TIF")).unlink()
    elif what == "another scene":
        mtl.write_text(text.replace("193028", "999999"))
    elif what == "no factor":
        mtl.write_text(text.replace("LEVEL2_SURFACE_REFLECTANCE", "OTHER"))
    elif what == "factor":
        mtl.write_text(text.replace('"2.75e-05"', '"x"'))
    else:
        mtl.write_text(text.replace("PRODUCT_CONTENTS", "PRODUCT_METADATA"))
    with pytest.raises(InputError, match=LANDSAT_DAMAGES[what]) as error:
        open_raster(scene)
    assert "download" in str(error.value)


# --------------------------------------------------------------- hyperspectral


def check_spectra(raster, values, numbers, empty):
    "`numbers`: which bands of `values` are read; `empty`: rows without data"
    np.testing.assert_allclose(raster.data.wavelengths, write.NM[numbers] / 1000, 1e-5)
    got = raster.data[:, empty:]
    np.testing.assert_allclose(got, values[numbers, empty:], atol=ROUNDING)
    assert raster.valid[empty:].all() and not raster.valid[:empty].any()


ENMAP_BANDS = [0, 1, 2, 3, 6, 7, 8, 10, 11]


def test_enmap(tmp_path):
    product, values = write.write_enmap(tmp_path)
    image = next(product.glob("*.TIF"))
    for path in (product, next(product.glob("*.XML")), image):
        with pytest.warns(UserWarning, match="1 band without data .10. and 2 bands of"):
            raster = read_raster(path)
        check_spectra(raster, values, ENMAP_BANDS, 2)
        assert raster.data.units == "reflectance" and raster.transform.a == 30
    assert open_raster(f"{product}:VNIR").band_names == [
        f"band {i}" for i in write.VNIR
    ]
    assert open_raster(f"{product}[band 9,1]").shape == (2, 20, 25)


def test_enmap_in_an_archive(tmp_path):
    product, values = write.write_enmap(tmp_path)
    archive = shutil.make_archive(tmp_path / "enmap", "zip", tmp_path, product.name)
    check_spectra(read_raster(archive), values, ENMAP_BANDS, 2)


def test_enmap_level_1b_has_two_images(tmp_path):
    product, values = write.write_enmap(tmp_path, "L1B")
    with pytest.raises(InputError, match="an image for each spectrometer.*:VNIR"):
        open_raster(product)
    with open_raster(f"{product}:SWIR") as file:
        assert file.units == "radiance" and file.shape == (7, 20, 25)
        np.testing.assert_allclose(file.wavelengths[0], 0.96, rtol=1e-6)


def test_desis(tmp_path):
    product, values = write.write_desis(tmp_path)
    for path in (product, next(product.glob("*.tif"))):
        raster = read_raster(path)
        np.testing.assert_allclose(raster.data[:, 2:], values[:, 2:], atol=ROUNDING)
        np.testing.assert_allclose(raster.data.wavelengths, np.arange(5, 11) / 10)
        assert (~raster.valid).sum() == 2 * 25


@pytest.mark.parametrize("corners", ["centres", "outer"])
def test_prisma(tmp_path, corners):
    path, values = write.write_prisma(tmp_path, corners=corners)
    with pytest.warns(
        UserWarning, match="1 band flagged as unused and 3 bands? of the VNIR|left out"
    ):
        raster = read_raster(path)
    check_spectra(raster, values, [0, 1, 2, 3, 7, 8, 10, 11], 2)
    assert tuple(raster.transform)[:6] == (30, 0, 6e5, 0, -30, 5e6)
    assert raster.crs.to_epsg() == 32632
    assert open_raster(f"{path}:VNIR").shape == (6, 20, 25)


def test_a_dark_band_of_prisma_is_no_hole(tmp_path):
    path, _ = write.write_prisma(tmp_path)
    with h5py.File(path, "r+") as file:
        file["HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/SWIR_Cube"][10, 0, :] = 0
    raster = read_raster(path)
    assert raster.valid[2:].all() and (raster.data[-1, 10] == 0).all()


def test_prisma_level_1_is_radiance_without_a_place(tmp_path):
    path, values = write.write_prisma(tmp_path, "1")
    with pytest.warns(UserWarning, match="without a map grid: take level 2D"):
        raster = read_raster(path)
    assert raster.crs is None and raster.data.units == "radiance"
    np.testing.assert_allclose(raster.data[0, 2:], values[0, 2:], atol=0.0051)


def test_emit(tmp_path):
    path, values = write.write_emit(tmp_path)
    with pytest.warns(UserWarning, match="1 band where the air is opaque"):
        raster = read_raster(path)
    good = np.flatnonzero(write.NM != 1900)
    np.testing.assert_array_equal(raster.data[:, 1:-1, 1:-1], values[good])
    assert raster.valid.sum() == 20 * 25 and raster.shape == (11, 22, 27)
    assert tuple(raster.transform)[:6] == (5e-4, 0, 9, 0, -5e-4, 45)
    part = open_raster(path).read_window((3, 9), (2, 20))
    np.testing.assert_array_equal(part.data, raster.data[:, 3:9, 2:20])
    with pytest.warns(UserWarning, match="geometry of the sensor"):
        swath = read_raster(f"{path}:reflectance")
    np.testing.assert_array_equal(swath.data, values[good][:, ::-1, ::-1])
    assert swath.crs is None


def test_neon(tmp_path):
    path, values = write.write_neon(tmp_path)
    raster = read_raster(path)
    check_spectra(raster, values, np.flatnonzero(write.NM != 1900), 2)
    assert raster.crs.to_epsg() == 32611
    assert tuple(raster.transform)[:6] == (1, 0, 257000, 0, -1, 4113000)
    stored = open_raster(f"{path}:SJER.Reflectance.Reflectance_Data@last")
    assert stored.shape == (12, 20, 25)  # the array by its name, as any other file


def test_hdf5_products_read_nothing_outside_of_the_file(tmp_path):
    path, _ = write.write_emit(tmp_path)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(20 * 25 * 12 * 4))
    with h5py.File(path, "r+") as file:
        del file["reflectance"]
        shape = (20, 25, 12)
        file.create_dataset(
            "reflectance", shape, "f4", external=[(str(secret), 0, 24000)]
        )
    with pytest.raises(InputError, match="reflectance is no dataset of this file"):
        open_raster(path)


H5_DAMAGES = {
    "wavelengths": (write.write_emit, "wavelengths are not those of 12 bands"),
    "geotransform": (write.write_emit, "has no attribute geotransform"),
    "crs": (write.write_emit, "its coordinate system 'x' is unknown"),
    "table": (write.write_emit, "point outside of the cube"),
    "corners": (write.write_prisma, "corners are not those of an image north up"),
    "flags": (write.write_prisma, "12 wavelengths|6 wavelengths and 3 flags"),
    "map info": (write.write_neon, "Map_Info or EPSG Code cannot be read"),
    "cut": (write.write_neon, "cannot be read"),
}


@pytest.mark.parametrize("what", H5_DAMAGES)
def test_a_damaged_hdf5_product_says_what_is_wrong(tmp_path, what):
    writer, said = H5_DAMAGES[what]
    path, _ = writer(tmp_path)
    if what == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with h5py.File(path, "r+") as file:
            if what == "wavelengths":
                del file["sensor_band_parameters/wavelengths"]
                file["sensor_band_parameters/wavelengths"] = write.NM[:3]
            elif what == "geotransform":
                del file.attrs["geotransform"]
            elif what == "crs":
                file.attrs["spatial_ref"] = "x"
            elif what == "table":
                file["location/glt_x"][5, 5] = 99
            elif what == "corners":
                file.attrs["Product_LRcorner_easting"] = 1.0
            elif what == "flags":
                file.attrs["List_Cw_Vnir_Flags"] = np.ones(3)
            else:
                group = file["SJER/Reflectance/Metadata/Coordinate_System"]
                del group["Map_Info"]
                group["Map_Info"] = "UTM, a, b"
    with pytest.raises(InputError, match=said):
        read_raster(path)


# ------------------------------------------------- anything, damaged anywhere


WRITERS = {
    "safe": write.write_safe,
    "landsat": write.write_landsat,
    "enmap": write.write_enmap,
    "desis": write.write_desis,
    "prisma": write.write_prisma,
    "emit": write.write_emit,
    "neon": write.write_neon,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore")
def test_random_damage_is_read_or_refused(tmp_path, kind):
    "Bytes changed, left out or put in: a raster, or one `InputError`"
    product, _ = WRITERS[kind](tmp_path)
    rng = np.random.default_rng(0)
    files = [product] if product.is_file() else sorted(product.rglob("*.*"))
    metadata = [f for f in files if f.suffix.lower() in (".xml", ".txt")] or files
    for i in range(40):
        file = metadata if i % 2 else [f for f in files if f.is_file()]
        file = file[rng.integers(len(file))]
        whole = file.read_bytes()
        data = bytearray(whole)
        at = int(rng.integers(len(data)))
        if i % 3 == 0:
            data = data[:at]
        elif i % 3 == 1:
            del data[at : at + int(rng.integers(1, 200))]
        else:
            data[at : at + 3] = rng.bytes(3)
        file.write_bytes(data)
        try:
            raster = read_raster(product)
            assert raster.valid.shape == raster.shape[1:]
        except InputError as e:
            assert "\n" not in str(e)
        finally:
            file.write_bytes(whole)


# ------------------------------------------------- several files as one raster


@pytest.fixture
def bands(tmp_path):
    "Files of single bands, and their values"
    values = {}
    for i, (band, metres) in enumerate(write.METRES.items()):
        if metres < 60:
            stored = np.random.default_rng(i).integers(1, 9999, (600 // metres,) * 2)
            values[band] = stored.astype(np.uint16)
            path = tmp_path / f"T32TQM_20240601T100031_{band}_{metres}m.tif"
            write.write_band(path, values[band], metres, nodata=0)
    return tmp_path, values


def test_a_list_of_files(bands):
    folder, values = bands
    stem = f"{folder}/T32TQM_20240601T100031"
    paths = [f"{stem}_{band}_10m.tif" for band in ("B04", "B02")]
    for given in (paths, ",".join(paths)):
        raster = read_raster(given)
        assert raster.data.band_names == ["B04", "B02"]
        np.testing.assert_allclose(raster.data.wavelengths, [0.6646, 0.4924], 1e-6)
        np.testing.assert_array_equal(raster.data[0], values["B04"])
    scene = read_scene({"s2": paths[0] + "," + paths[1]})
    np.testing.assert_array_equal(scene.modalities["s2"][1], values["B02"])


@pytest.mark.parametrize(
    "written",
    [
        "[T32TQM_20240601T100031_B04_10m.tif, T32TQM_20240601T100031_B02_10m.tif]",
        "T32TQM_20240601T100031_B04_10m.tif, T32TQM_20240601T100031_B02_10m.tif",
        "{file: [T32TQM_20240601T100031_B04_10m.tif,"
        " T32TQM_20240601T100031_B02_10m.tif]}",
    ],
)
def test_several_files_in_a_scene_file(bands, written):
    folder, values = bands
    (folder / "scene.yaml").write_text(f"modalities:\n  s2: {written}\n")
    scene = read_scene(folder / "scene.yaml")
    assert scene.modalities["s2"].band_names == ["B04", "B02"]
    np.testing.assert_array_equal(scene.modalities["s2"][1], values["B02"])


def test_several_files_on_other_grids_in_a_scene(bands):
    folder, values = bands
    paths = sorted(folder.glob("*_20m.tif")) + sorted(folder.glob("*_B02_10m.tif"))
    scene = read_scene({"s2": paths}, resample="nearest")
    np.testing.assert_array_equal(scene.modalities["s2"][0], fine(values["B05"], 2))
    (folder / "scene.yaml").write_text('modalities:\n  s2: "*_B0?_10m.tif"\n')
    assert read_scene(folder / "scene.yaml").modalities["s2"].shape == (4, 60, 60)


def test_a_pattern(bands):
    folder, values = bands
    raster = read_raster(f"{folder}/*_B??_10m.tif")
    assert raster.data.band_names == ["B02", "B03", "B04", "B08"]
    with pytest.raises(InputError, match="no file has such a name"):
        read_raster(f"{folder}/*.jp2")


def test_files_on_other_grids_are_named_or_resampled(bands):
    folder, values = bands
    with pytest.raises(InputError, match="B05_20m.tif is 30×30.*resample="):
        open_raster(f"{folder}/*.tif")
    with open_raster(f"{folder}/*.tif", resample="nearest") as file:
        raster = file.read_window()
        part = file.read_window((11, 30), (5, 60))
    names = ["B02", "B03", "B04", "B05", "B08", "B8A"]
    assert raster.data.band_names == names
    np.testing.assert_array_equal(raster.data[3], fine(values["B05"], 2))
    np.testing.assert_array_equal(part.data, raster.data[:, 11:30, 5:60])


def test_a_window_in_which_one_file_has_no_data(bands):
    folder, values = bands
    path = folder / "T32TQM_20240601T100031_B03_10m.tif"
    stored = values["B03"].copy()
    stored[:30] = 0
    write.write_band(path, stored, 10, nodata=0)
    paths = [folder / "T32TQM_20240601T100031_B02_10m.tif", path]
    window = open_raster(paths).read_window((0, 20))
    assert not window.valid.any()
    assert open_raster(paths).read_window((20, 60)).valid.sum() == 30 * 60


def test_files_of_several_formats_and_bands(bands):
    folder, values = bands
    np.save(folder / "height.npy", np.ones((60, 60), np.float32))
    two = np.stack([values["B02"], values["B03"]])
    write.write_band(folder / "two.tif", two, 10)
    raster = read_raster([folder / "height.npy", f"{folder}/two.tif[2]"])
    np.testing.assert_array_equal(raster.data[1], values["B03"])
    assert raster.crs.to_epsg() == 32632
    with pytest.raises(InputError, match="is named twice"):
        open_raster([folder / "two.tif", folder / "two.tif"])
    with pytest.raises(InputError, match="names no raster"):
        open_raster([])


def test_bands_of_any_file_by_name(bands):
    folder, values = bands
    path = write.write_band(folder / "a.tif", np.stack([values["B02"]] * 2), 10)
    with pytest.raises(InputError, match="its bands have no names"):
        open_raster(f"{path}[red]")
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = ["red", "nir"]
    assert open_raster(f"{path}[nir,red]").band_names == ["nir", "red"]


# ------------------------------------------------------------ folders and masks


def test_an_unknown_folder_lists_what_is_there(bands):
    folder, _ = bands
    with pytest.raises(InputError, match=r"B02_10m.tif, .*name one, as .*\*\.tif"):
        open_raster(folder)
    shutil.make_archive(folder / "town", "zip", folder, ".")
    with pytest.raises(InputError, match="name one, as /vsizip/"):
        open_raster(folder / "town.zip")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.docx").write_text("x")
    with pytest.raises(InputError, match="there is no raster in it"):
        open_raster(folder / "notes")


def test_several_products_in_one_folder(tmp_path):
    write.write_safe(tmp_path)
    write.write_landsat(tmp_path)
    with pytest.raises(InputError, match="holds several products"):
        open_raster(tmp_path)


def test_quality_masks(tmp_path):
    safe, _ = write.write_safe(tmp_path)
    scene, _ = write.write_landsat(tmp_path)
    mask = read_quality_mask(safe)
    assert mask.shape == (30, 30) and (~mask).sum() == 12 * 10
    assert (~read_quality_mask(f"{safe}:SCL", snow=False)).sum() == 12 * 10 + 10 * 5
    (image,) = safe.rglob("*_SCL_20m.jp2")
    np.testing.assert_array_equal(read_quality_mask(image), mask)
    large = read_quality_mask(safe, like=open_raster(safe))
    np.testing.assert_array_equal(large, fine(mask, 2))
    usable = read_quality_mask(scene)
    assert (~usable).sum() == 3 * 25 + 10 * 5
    image = next(scene.glob("*QA_PIXEL.TIF"))
    np.testing.assert_array_equal(read_quality_mask(image), usable)
    with pytest.raises(InputError, match="has no quality layer"):
        read_quality_mask(tmp_path)


def test_a_scene_of_products(tmp_path):
    "A Landsat scene and a file on its grid are one scene"
    scene, values = write.write_landsat(tmp_path)
    dem = write.write_band(tmp_path / "dem.tif", np.ones((20, 25), np.float32), 30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = read_scene({"landsat": scene, "dem": dem})
    assert both.valid.sum() == 17 * 25
    assert both.modalities["landsat"].band_names == list(values)
