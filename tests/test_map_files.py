"""What we write is what a GIS reads; nothing is falsified, and nothing is destroyed"""

import os
import signal
import struct
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from diffclip.core import InputError
from diffclip.data.labels import raster_legend
from diffclip.data.map_files import (
    check_outputs,
    map_classes,
    map_sides,
    write_map,
    write_polygons,
)
from diffclip.data.rasters import write_raster
from diffclip.data.scene import Scene, default_colors
from diffclip.data.scene_files import read_scene
from diffclip.data.vector_labels import read_labels

UTM = rasterio.CRS.from_epsg(32632)
PLACE = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
NAMES = {1: "water", 2: "trees & <shrubs>", 4: "Wiese, naß", 5: '"soil"'}


def make_scene(height=40, width=60, names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, *names], (height, width))
    labels.flat[: len(names)] = list(names)
    bands = {"s2": np.ones((height, width))}
    return Scene(bands, labels, names, crs=UTM, transform=PLACE)


def as_vrt(path):
    "What GDAL says of a raster, through another door than ours"
    copy = path.with_name("copy.vrt")
    rasterio.shutil.copy(path, copy, driver="VRT")
    return ET.parse(copy).find("VRTRasterBand")


# ---- names, colours, attribute table, style ------------------------------------------
def test_gdal_reads_the_names(tmp_path):
    scene = make_scene()
    write_map(tmp_path / "map.tif", scene.labels, scene, tags={"preset": "tiny"})
    band = as_vrt(tmp_path / "map.tif")
    categories = [c.text or "" for c in band.findall("CategoryNames/Category")]
    assert categories == ["", NAMES[1], NAMES[2], "", NAMES[4], NAMES[5]]
    rat = band.find("GDALRasterAttributeTable")
    assert [f.findtext("Usage") for f in rat.findall("FieldDefn")] == list("52678")
    rows = [[f.text for f in row.findall("F")] for row in rat.findall("Row")]
    assert {int(r[0]): r[1] for r in rows} == NAMES
    for code, _, *rgb in rows:
        color = bytes.fromhex(scene.colors[int(code)][1:])
        assert list(map(int, rgb)) == list(color)
    with rasterio.open(tmp_path / "map.tif") as src:
        assert src.tags()["preset"] == "tiny" and src.descriptions == ("class",)
        assert src.tags(1)["class_4"] == NAMES[4] and src.nodata == 0
        assert (src.crs, src.transform) == (UTM, PLACE)
        assert src.colormap(1)[0] == (0, 0, 0, 0)
        np.testing.assert_array_equal(src.read(1), scene.labels)


def test_qgis_reads_the_style(tmp_path):
    scene = make_scene()
    write_map(tmp_path / "map.tif", scene.labels, scene)
    style = ET.parse(tmp_path / "map.qml").getroot()
    renderer = style.find("pipe/rasterrenderer")
    assert renderer.get("type") == "paletted" and renderer.get("band") == "1"
    entries = renderer.findall("colorPalette/paletteEntry")
    assert {int(e.get("value")): e.get("label") for e in entries} == NAMES
    colors = [scene.colors[c].lower() for c in NAMES]
    assert [e.get("color") for e in entries] == colors


def test_sparse_codes_have_a_table(tmp_path):
    scene = make_scene(names={7: "water", 60_000: "trees"})
    write_map(tmp_path / "map.tif", scene.labels, scene)
    band = as_vrt(tmp_path / "map.tif")
    assert band.find("CategoryNames") is None
    assert band.find("GDALRasterAttributeTable") is not None
    assert map_classes(tmp_path / "map.tif") == scene.classes
    with rasterio.open(tmp_path / "map.tif") as src:
        assert src.dtypes == ("uint16",)
        np.testing.assert_array_equal(src.read(1), scene.labels)


def ifd_offsets(data):
    "Offsets of the directories of a TIFF, and of the first byte of its pixels"
    offset, found, starts = struct.unpack("<I", data[4:8])[0], [], []
    while offset:
        found.append(offset)
        (count,) = struct.unpack("<H", data[offset : offset + 2])
        for i in range(count):
            at = offset + 2 + 12 * i
            tag, kind, n, value = struct.unpack("<HHII", data[at : at + 12])
            if tag == 324:  # offsets of tiles
                size = {3: "H", 4: "I"}[kind]
                long = n * struct.calcsize(size) > 4
                where = value if long else at + 8
                tiles = struct.unpack_from(f"<{n}{size}", data, where)
                starts.append(min(t for t in tiles if t))
        end = offset + 2 + 12 * count
        (offset,) = struct.unpack("<I", data[end : end + 4])
    return found, starts


@pytest.mark.parametrize("size", [(40, 60), (1300, 1100)])
def test_the_map_is_cloud_optimised(tmp_path, size):
    scene = make_scene(*size)
    write_map(tmp_path / "map.tif", scene.labels, scene)
    with rasterio.open(tmp_path / "map.tif") as src:
        assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert src.is_tiled and src.overviews(1) == ([2, 4] if size[0] > 512 else [])
    if size[0] > 512:
        with rasterio.open(tmp_path / "map.tif", overview_level=0) as src:
            assert set(np.unique(src.read(1))) <= {0, *NAMES}
    directories, pixels = ifd_offsets((tmp_path / "map.tif").read_bytes())
    assert directories == sorted(directories)  # the whole map first, then smaller ones
    assert max(directories) < min(pixels)  # all directories before all pixels
    assert pixels == sorted(pixels, reverse=True)  # the smallest one's pixels first


def test_a_scene_without_a_place(tmp_path):
    scene = replace(make_scene(), crs=None, transform=None)
    write_map(tmp_path / "map.tif", scene.labels, scene)
    assert map_classes(tmp_path / "map.tif") == NAMES
    write_polygons(tmp_path / "map.gpkg", scene.labels, scene)
    crs = pyogrio.read_info(tmp_path / "map.gpkg")["crs"]
    assert crs is None or "Undefined" in crs


def test_names_in_files_are_escaped(tmp_path):
    names = {1: "a </Category><Category> b", 2: "]]> &amp; \u202e", 3: "🌲"}
    scene = make_scene(names=names)
    write_map(tmp_path / "map.tif", scene.labels, scene)
    assert raster_legend(tmp_path / "map.tif").names == names
    map_file, style = tmp_path / "map.tif", ET.parse(tmp_path / "map.qml")
    labels = [e.get("label") for e in style.iter("paletteEntry")]
    assert labels == list(names.values())
    with rasterio.open(map_file) as src:
        assert src.tags(1)["class_3"] == "🌲"


# ---- what would be falsified ---------------------------------------------------------
SCENE = make_scene()


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.full((40, 60), 300), "hold 300, which is no class of the scene"),
        (np.full((40, 60), 3), "hold 3, which is no class"),
        (np.full((40, 60), -1), "hold -1, which is no class"),
        (np.full((40, 60), 1.9), "not whole numbers"),
        (np.full((40, 60), np.inf), "not whole numbers"),
        (np.full((40, 60), 70_000), "hold 70000, which is no class"),
        (np.full((40, 60), 2**32 + 1), "hold 4294967297"),
        (np.ones((60, 40), int), "transpose it"),
        (np.ones((5, 40, 60)), "the modalities are 40×60"),
        (np.ones((40, 60), object), "of type object"),
        (np.full((40, 60), "1"), "an array of whole numbers"),
    ],
)
@pytest.mark.parametrize("write", [write_map, write_polygons])
def test_labels_that_are_no_classes(tmp_path, labels, words, write):
    path = tmp_path / ("map.tif" if write is write_map else "map.gpkg")
    with pytest.raises(InputError, match=words) as e:
        write(path, labels, SCENE)
    assert path.name in str(e.value) and not list(tmp_path.iterdir())


def test_masked_and_unknown_pixels_have_no_data(tmp_path):
    labels = np.ma.masked_equal(SCENE.labels, 2)
    write_map(tmp_path / "map.tif", labels, SCENE)
    with rasterio.open(tmp_path / "map.tif") as src:
        np.testing.assert_array_equal(
            src.read(1), np.where(labels.mask, 0, SCENE.labels)
        )
    labels = np.where(SCENE.labels == 2, np.nan, SCENE.labels)
    write_map(tmp_path / "map.tif", labels, SCENE)
    with rasterio.open(tmp_path / "map.tif") as src:
        assert (src.read(1)[SCENE.labels == 2] == 0).all()


# ---- whole or not at all -------------------------------------------------------------
resource = pytest.importorskip("resource", reason="Windows has no limits of files")


@contextmanager
def largest_file(size):
    "Files of this process may have so many bytes, as on a disk that is nearly full"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("left_out", [1, 100, 1000, 12_000, 100_000])
def test_a_full_disk_leaves_the_old_map(tmp_path, left_out):
    path = tmp_path / "map.tif"
    scene = make_scene(700, 700)
    write_map(path, scene.labels, scene)
    old = contents(tmp_path)
    newer = np.where(scene.labels > 0, 1 + scene.labels % 2, 0)
    write_map(tmp_path / "new.tif", newer, scene)
    size = (tmp_path / "new.tif").stat().st_size
    for file in tmp_path.glob("new*"):
        file.unlink()
    with largest_file(size - left_out):
        with pytest.raises(InputError, match="map.tif cannot be written"):
            write_map(path, newer, scene)
    assert contents(tmp_path) == old


def test_a_full_disk_leaves_the_old_polygons(tmp_path):
    "Without room for its index, a GeoPackage is still whole"
    path = tmp_path / "map.gpkg"
    scene = make_scene(100, 100)
    write_polygons(path, scene.labels, scene)
    old = contents(tmp_path)
    size = path.stat().st_size
    for part in (0.01, 0.1, 0.3, 0.6, 0.8, 0.999):
        with largest_file(int(size * part)):
            try:
                write_polygons(path, scene.labels, scene)
            except InputError as e:
                assert "map.gpkg cannot be written" in str(e)
                assert contents(tmp_path) == old
        np.testing.assert_array_equal(read_labels(path, scene).labels, scene.labels)


def test_a_failure_leaves_the_old_map(tmp_path, monkeypatch):
    write_map(tmp_path / "map.tif", SCENE.labels, SCENE)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffclip.data.map_files._qml", fail)
    with pytest.raises(InputError, match="No space left"):
        write_map(tmp_path / "map.tif", SCENE.labels * 0 + 1, SCENE)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_side_files_have_other_names():
    assert [p.name for p in map_sides("a/map.tif")] == ["map.tif.aux.xml", "map.qml"]
    with pytest.raises(InputError, match="ends in .tif"):
        map_sides("map.qml")


# ---- maps that are damaged -----------------------------------------------------------
def with_tags(path, **tags):
    profile = dict(driver="GTiff", count=1, height=2, width=2, dtype="uint8")
    with rasterio.open(path, "w", crs=UTM, transform=PLACE, **profile) as dst:
        dst.write(np.ones((1, 2, 2), "u1"))
        dst.update_tags(1, **tags)
    return path


@pytest.mark.parametrize(
    "tags",
    [
        {"class_": "a"},
        {"class_x": "a"},
        {"class_-1": "a"},
        {"class_0": "a"},
        {"class_1": ""},
        {"class_1": "   "},
        {"class_99999999999999999999": "a"},
        {"class_70000": "a"},
        {"class_²": "a"},
        {"class_1.5": "a"},
        {"class_1": "x" * 10_000},
    ],
)
def test_damaged_tags_are_left_out(tmp_path, tags):
    path = with_tags(tmp_path / "map.tif", **tags, class_2="water")
    assert map_classes(path) == {2: "water"}


def test_damaged_files(tmp_path):
    write_map(tmp_path / "map.tif", SCENE.labels, SCENE)
    aux = tmp_path / "map.tif.aux.xml"
    for text in (
        "",
        "<PAMDataset>",
        "<PAMDataset><PAMRasterBand band='x'/></PAMDataset>",
    ):
        aux.write_text(text)
        assert map_classes(tmp_path / "map.tif") == NAMES  # from the tags
    data = bytearray((tmp_path / "map.tif").read_bytes())
    at = data.index(b"water")
    data[at : at + 5] = b"\xff\xfe\xff\xfe\xff"
    (tmp_path / "map.tif").write_bytes(data)
    assert set(map_classes(tmp_path / "map.tif")) >= {2, 4, 5}
    (tmp_path / "map.tif").write_bytes(data[:200])
    assert map_classes(tmp_path / "map.tif") == {}
    assert map_classes(tmp_path / "none.tif") == map_classes(tmp_path) == {}


# ---- label rasters that say what they mean -------------------------------------------
def copy_without_tags(source, target, driver):
    "A map in another format; only names, colours and tables go along"
    with rasterio.open(source) as src:
        codes, profile = src.read(1), src.profile
    kept = {
        k: profile[k] for k in ("count", "height", "width", "dtype", "crs", "transform")
    }
    with rasterio.open(target, "w", driver=driver, **kept) as dst:
        dst.write(codes, 1)
    return target


@pytest.mark.parametrize("part", ["CategoryNames", "GDALRasterAttributeTable"])
@pytest.mark.parametrize("driver, name", [("GTiff", "l.tif"), ("PNG", "l.png")])
def test_names_beside_a_label_raster(tmp_path, part, driver, name):
    write_map(tmp_path / "map.tif", SCENE.labels, SCENE)
    root = ET.parse(tmp_path / "map.tif.aux.xml").getroot()
    band = root.find("PAMRasterBand")
    for child in list(band):
        if child.tag != part:
            band.remove(child)
    path = tmp_path / name
    if driver == "PNG":
        rasterio.shutil.copy(tmp_path / "map.tif", path, driver="PNG")
    else:
        copy_without_tags(tmp_path / "map.tif", path, driver)
    ET.ElementTree(root).write(f"{path}.aux.xml", encoding="unicode")
    write_raster(tmp_path / "s2.tif", np.ones((2, 40, 60), "f4"), SCENE)
    scene = read_scene(
        {"s2": tmp_path / "s2.tif"},
        labels=path,
        resample="nearest" if driver != "PNG" else None,
    )
    np.testing.assert_array_equal(scene.labels, SCENE.labels)
    assert scene.classes == NAMES
    if part == "GDALRasterAttributeTable":
        assert [c.lower() for c in SCENE.colors.values()] == [*scene.colors.values()]


def envi_classification(folder, names, lookup):
    SCENE.labels.astype("u1").tofile(folder / "labels")
    (folder / "labels.hdr").write_text(
        "ENVI\nsamples = 60\nlines = 40\nbands = 1\nheader offset = 0\n"
        "file type = ENVI Classification\ndata type = 1\ninterleave = bsq\n"
        f"byte order = 0\nclasses = 6\nclass lookup = {{{lookup}}}\n"
        f"class names = {{{', '.join(names)}}}\n"
    )
    return folder / "labels"


def test_the_header_of_an_envi_classification(tmp_path):
    names = ["Unclassified", "water", "trees", "nothing", "lawn", "soil"]
    lookup = "0,0,0, 0,0,255, 0,100,0, 9,9,9, 0,200,0, 99,50,0"
    path = envi_classification(tmp_path, names, lookup)
    np.save(tmp_path / "a.npy", np.ones((40, 60)))
    for file in (path, path.with_suffix(".hdr")):
        scene = read_scene({"a": tmp_path / "a.npy"}, labels=file)
        assert scene.classes == {1: "water", 2: "trees", 4: "lawn", 5: "soil"}
        assert scene.colors[1] == "#0000ff" and scene.colors[4] == "#00c800"
        np.testing.assert_array_equal(scene.labels, SCENE.labels)
    scene = read_scene(
        {"a": tmp_path / "a.npy"}, labels=path, classes={1: "w", 2: "t", 4: "l", 5: "s"}
    )
    assert scene.classes[1] == "w" and scene.colors[1] == "#0000ff"


@pytest.mark.parametrize(
    "driver, name", [("VRT", "l.vrt"), ("HFA", "l.img"), ("ENVI", "l.dat")]
)
def test_other_formats_of_gdal(tmp_path, driver, name):
    scene = make_scene(names={1: "water", 2: "trees", 4: "naß"})
    write_map(tmp_path / "map.tif", scene.labels, scene)
    rasterio.shutil.copy(tmp_path / "map.tif", tmp_path / name, driver=driver)
    legend = raster_legend(tmp_path / name)
    assert legend.names == scene.classes
    for code in scene.classes:
        assert legend.colors[code] == scene.colors[code].lower()


def test_the_table_of_arcgis(tmp_path):
    with_tags(tmp_path / "l.tif")
    values = [np.array([1, 2]), np.array(["water", "trees"], object)]
    values += [np.array(v) for v in ([0, 0], [0, 99], [255, 0])]
    fields = ["Value", "Class_Name", "Red", "Green", "Blue"]
    path = tmp_path / "l.tif.vat.dbf"
    pyogrio.raw.write(path, None, values, fields, driver="ESRI Shapefile")
    legend = raster_legend(tmp_path / "l.tif")
    assert legend.names == {1: "water", 2: "trees"}
    assert legend.colors == {1: "#0000ff", 2: "#006300"}
    path.write_bytes(b"nothing")
    assert raster_legend(tmp_path / "l.tif").names == {}


def test_a_legend_with_equal_names(tmp_path):
    with_tags(tmp_path / "l.tif", class_1="forest", class_2="forest")
    with rasterio.open(tmp_path / "l.tif", "r+") as dst:
        dst.write(np.array([[[1, 2], [3, 0]]], "u1"))
    write_raster(
        tmp_path / "a.tif",
        np.ones((1, 2, 2), "f4"),
        Scene({"a": np.ones((2, 2))}, crs=UTM, transform=PLACE),
    )
    scene = read_scene({"a": tmp_path / "a.tif"}, labels=tmp_path / "l.tif")
    assert scene.classes == {1: "forest (1)", 2: "forest (2)", 3: "class 3"}


# ---- polygons ------------------------------------------------------------------------
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([".gpkg", ".geojson", ".fgb"]))
def test_polygons_are_the_map(tmp_path_factory, seed, suffix):
    scene = make_scene(12, 15, seed=seed)
    path = tmp_path_factory.mktemp("polygons") / f"map{suffix}"
    write_polygons(path, scene.labels, scene)
    found = read_labels(path, scene)
    np.testing.assert_array_equal(found.labels, scene.labels)
    assert found.classes == {c: n for c, n in NAMES.items()}


def test_fields_of_polygons(tmp_path):
    labels = np.zeros((40, 60), int)
    labels[2:5, 3:9], labels[10:12, 0:2], labels[0, 0] = 1, 1, 5
    write_polygons(tmp_path / "map.gpkg", labels, SCENE)
    meta, _, shapes, values = pyogrio.raw.read(tmp_path / "map.gpkg")
    rows = sorted(zip(*[v.tolist() for v in values]))
    assert list(meta["fields"]) == ["code", "name", "pixels"]
    assert rows == [(1, "water", 4), (1, "water", 18), (5, '"soil"', 1)]
    areas = shapely.area(shapely.from_wkb(shapes))
    np.testing.assert_allclose(sorted(areas), [100, 400, 1800])
    write_polygons(tmp_path / "map.geojson", labels, SCENE)
    meta, _, shapes, _ = pyogrio.raw.read(tmp_path / "map.geojson")
    assert (
        meta["crs"] == "EPSG:4326"
        and abs(shapely.from_wkb(shapes[0]).bounds[0] - 9) < 0.1
    )


def test_an_empty_map_has_no_polygons(tmp_path):
    write_polygons(tmp_path / "map.gpkg", np.zeros((40, 60), int), SCENE)
    assert pyogrio.read_info(tmp_path / "map.gpkg")["features"] == 0
    with pytest.raises(InputError, match="choose one of them"):
        write_polygons(tmp_path / "map.shp", SCENE.labels, SCENE)


# ---- no output over an input ---------------------------------------------------------
@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.tif",
        "a.tif.aux.xml",
        "b.dat",
        "b.hdr",
        "c.shp",
        "c.dbf",
        "other.txt",
    ):
        Path(name).write_text("x")
    Path("z.zarr").mkdir()
    Path("z.zarr/0.0").write_text("x")
    Path("run").mkdir()
    Path("run/model.safetensors").write_text("x")
    os.symlink("a.tif", "link.tif")
    os.link("a.tif", "hard.tif")
    os.symlink("nowhere/x.tif", "dangling.tif")
    return [
        "a.tif[1,2]",
        "b.hdr",
        "c.shp:layer",
        "z.zarr",
        "run/model.safetensors",
        None,
    ]


@pytest.mark.parametrize(
    "output, words",
    [
        ("a.tif", "would replace a.tif.1,2., which is an input"),
        ("./x/../a.tif", "there is no folder|would replace"),
        ("link.tif", "would replace"),
        ("hard.tif", "would replace"),
        ("a.tif.aux.xml", "would replace"),
        ("b.dat", "would replace"),
        ("c.dbf", "would replace"),
        ("z.zarr/0.1", "would replace"),
        ("run/model.safetensors", "would replace"),
        ("", "give a file name"),
        (".", "give a file name"),
        ("run", "is a folder"),
        ("/dev/null", "is a device"),
        ("none/map.tif", "there is no folder"),
        ("other.txt/map.tif", "cannot be written"),
        ("a\0b", "give a file name"),
        ("x" * 5000, "cannot be written"),
    ],
)
def test_outputs_that_are_refused(inputs, output, words):
    with pytest.raises(InputError, match=words) as e:
        check_outputs([output], inputs)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "output",
    ["map.tif", "other.txt", "run/map.tif", "a.gpkg", "ab.dbf", "dangling.tif"],
)
def test_outputs_that_are_allowed(inputs, output):
    check_outputs([output, None], inputs)


def test_two_outputs_need_two_names(inputs):
    with pytest.raises(InputError, match="is named twice"):
        check_outputs(["map.tif", "run/../map.tif"], inputs)


def test_default_colours_are_those_of_the_scene():
    assert SCENE.colors == default_colors(SCENE.classes)
