"""Labels from points, lines and polygons in every kind of file are the right pixels"""

import os
import warnings
from dataclasses import replace

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyogrio.errors import DataSourceError
from rasterio.warp import transform as warp_coordinates

from diffclip.core import InputError
from diffclip.data.map_files import write_map
from diffclip.data.rasters import write_raster
from diffclip.data.scene import Scene
from diffclip.data.scene_files import read_scene
from diffclip.data.splits import few_shot_split
from diffclip.data.vector_files import holds_vectors, read_features
from diffclip.data.vector_labels import Grid, read_labels

UTM = rasterio.CRS.from_epsg(32633)
DEGREES = rasterio.CRS.from_epsg(4326)
LAEA = rasterio.CRS.from_epsg(3035)
HEIGHT, WIDTH = 30, 40
PLACE = rasterio.Affine(10, 0, 502_000, 0, -10, 5_100_000)
GRID = Grid((HEIGHT, WIDTH), UTM, PLACE)
NAMES = {1: "water", 2: "trees", 3: "lawn"}
DRIVERS = {
    "gpkg": "GPKG",
    "shp": "ESRI Shapefile",
    "geojson": "GeoJSON",
    "kml": "LIBKML",
    "fgb": "FlatGeobuf",
}


def on_ground(shapes, crs=UTM, place=PLACE):
    "Geometries in columns and rows as coordinates of a system"
    shapes = np.array(shapes, object)
    x, y = shapely.get_coordinates(shapes).T
    a, b, c, d, e, f = tuple(place)[:6]
    x, y = a * x + b * y + c, d * x + e * y + f
    if crs != UTM:
        x, y = warp_coordinates(UTM, crs, x, y)
    return shapely.set_coordinates(shapes, np.column_stack([x, y]))


def save(path, shapes, crs=UTM, layer="samples", append=False, **fields):
    "Write geometries that are on the ground already"
    values = [np.array(v) for v in fields.values()]
    kinds = {s.geom_type for s in shapes if s is not None}
    kind = kinds.pop() if len(kinds) == 1 else "Unknown"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.raw.write(
            path,
            shapely.to_wkb(np.array(shapes, object)),
            values,
            list(fields),
            geometry_type=kind,
            crs=None if crs is None else crs.to_wkt(),
            layer=layer,
            driver=DRIVERS[path.suffix[1:]],
            append=append,
        )
    return path


def quietly(*args, **options):
    "`read_labels`, and what it warns of"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_labels(*args, **options)
    said = [str(w.message) for w in caught if w.category is UserWarning]
    return found, " | ".join(said)


def map_of(pixels):
    "(row, column) → code, as a label map"
    out = np.zeros((HEIGHT, WIDTH), int)
    for (row, column), code in pixels.items():
        out[row, column] = code
    return out


# ---- the same labels from every kind of file -----------------------------------------
PIXELS = {(2, 3): 1, (9, 30): 1, (4, 4): 2, (20, 39): 2, (0, 0): 3, (29, 17): 3}
POINTS = [shapely.Point(column + 0.5, row + 0.5) for row, column in PIXELS]
CODES = list(PIXELS.values())


@pytest.mark.parametrize("crs", [UTM, DEGREES, LAEA], ids=["utm", "degrees", "laea"])
@pytest.mark.parametrize("suffix", DRIVERS)
def test_points_in_every_format(tmp_path, suffix, crs):
    crs = DEGREES if suffix == "kml" else crs
    words = np.array([NAMES[c] for c in CODES], object)
    path = save(
        tmp_path / f"samples.{suffix}",
        on_ground(POINTS, crs),
        crs,
        klass=CODES,
        name=words,
    )
    found, said = quietly(path, GRID, field="klass")
    np.testing.assert_array_equal(found.labels, map_of(PIXELS))
    assert found.classes == NAMES and not said
    assert sorted(found.objects[found.labels > 0]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "header, crs, separator",
    [
        ("x,y", UTM, ","),
        ("Easting;Northing", UTM, ";"),
        ("POINT_X\tPOINT_Y", UTM, "\t"),
        ("lon,lat", DEGREES, ","),
        ("Longitude;Latitude", DEGREES, ";"),
    ],
)
@pytest.mark.parametrize("decimal", [".", ","])
def test_points_as_a_table(tmp_path, header, crs, separator, decimal):
    if decimal == "," and separator == ",":
        pytest.skip("a comma cannot be both")
    lines = [f"{header}{separator}class"]
    for point, code in zip(on_ground(POINTS, crs), CODES):
        numbers = [f"{v:.9f}".replace(".", decimal) for v in (point.x, point.y)]
        lines.append(separator.join([*numbers, str(code)]))
    path = tmp_path / "samples.csv"
    path.write_text("\n".join(lines))
    found, said = quietly(path, GRID)
    np.testing.assert_array_equal(found.labels, map_of(PIXELS))
    assert ("coordinate system" in said) == (crs == UTM)


def test_geometries_as_text(tmp_path):
    "WKT, with the CRS of PostGIS in front, and longer than csv's own limit"
    long = shapely.segmentize(on_ground([shapely.box(0, 0, 8, 8)]), 0.02)
    text = f"SRID=32633;{shapely.to_wkt(long[0])}"
    assert len(text) > 131_072
    (tmp_path / "a.csv").write_text(f'id,WKT,landcover\n1,"{text}",forest\n')
    found, _ = quietly(tmp_path / "a.csv", GRID)
    np.testing.assert_array_equal(found.labels[:8, :8], 1)
    assert found.labels.sum() == 64 and found.classes == {1: "forest"}


def test_classes_are_optional_and_may_be_words(tmp_path):
    words = np.array(["Trees", "trees ", None, "WATER", "Water", ""], object)
    path = save(tmp_path / "a.gpkg", on_ground(POINTS), label=words)
    found, said = quietly(path, GRID)
    assert found.classes == {1: "Trees", 2: "WATER"}
    expected = {p: c for p, c in zip(PIXELS, [1, 1, 0, 2, 2, 0])}
    np.testing.assert_array_equal(found.labels, map_of(expected))
    assert "2 features without a class" in said
    found, _ = quietly(path, GRID, classes={7: "water", 9: " TREES "})
    assert found.labels[2, 3] == 9 and found.labels[20, 39] == 7


def test_the_classes_of_a_scene(tmp_path):
    write_raster(
        tmp_path / "s2.tif",
        np.ones((2, 30, 40), "f4"),
        Scene({"a": np.ones((30, 40))}, crs=UTM, transform=PLACE),
    )
    save(
        tmp_path / "a.gpkg",
        on_ground(POINTS),
        code=CODES,
        name=np.array([NAMES[c] for c in CODES], object),
    )
    scene = read_scene({"s2": tmp_path / "s2.tif"}, labels=tmp_path / "a.gpkg")
    assert scene.classes == NAMES and scene.objects.max() == 6
    np.testing.assert_array_equal(scene.labels, map_of(PIXELS))
    assert scene == replace(scene, objects=None)


# ---- by hypothesis: two coordinate systems, five formats -----------------------------
@st.composite
def drawn_features(draw):
    "Points and star-shaped polygons in columns and rows, with their codes"
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    shapes = []
    for _ in range(draw(st.integers(1, 8))):
        x, y = rng.uniform([-4, -4], [WIDTH + 4, HEIGHT + 4])
        if rng.random() < 0.4:
            shapes.append(shapely.Point(x, y))
            continue
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        radii = rng.uniform(1, 12, len(angles))
        ring = np.column_stack([x + radii * np.cos(angles), y + radii * np.sin(angles)])
        shapes.append(shapely.Polygon(ring))
    codes = rng.integers(1, 4, len(shapes)).tolist()
    return shapes, codes


CENTRES = shapely.points(
    *[c.ravel() + 0.5 for c in np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))]
)


def expected_labels(shapes, codes):
    "The labels, pixel by pixel, without GDAL"
    classes = [set() for _ in CENTRES]
    for shape, code in zip(shapes, codes):
        if shape.geom_type == "Point":
            column, row = int(np.floor(shape.x)), int(np.floor(shape.y))
            inside = 0 <= column < WIDTH and 0 <= row < HEIGHT
            hit = [row * WIDTH + column] if inside else []
        else:
            hit = np.flatnonzero(shapely.contains(shape, CENTRES))
        for index in hit:
            classes[index].add(code)
    labels = [c.pop() if len(c) == 1 else 0 for c in classes]
    return np.reshape(labels, (HEIGHT, WIDTH))


def is_clear(shape):
    "Is no pixel's centre on an edge, and no point between two pixels?"
    if shape.geom_type == "Point":
        return np.abs(np.array([shape.x, shape.y]) % 1 - 0.5).max() < 0.49
    return shape.is_valid and shapely.distance(shape.boundary, CENTRES).min() > 0.01


@settings(max_examples=25, deadline=None)
@given(drawn_features())
def test_any_features_give_the_same_labels(tmp_path_factory, drawn):
    shapes, codes = drawn
    assume(all(is_clear(shape) for shape in shapes))
    expected = expected_labels(shapes, codes)
    assume(expected.any())
    folder = tmp_path_factory.mktemp("features")
    for crs in (UTM, DEGREES):
        for suffix in DRIVERS:
            crs = DEGREES if suffix == "kml" else crs
            kinds = {s.geom_type for s in shapes}
            if suffix == "shp" and len(kinds) > 1:
                continue  # a Shapefile holds one kind of geometry
            path = folder / f"a{crs.to_epsg()}.{suffix}"
            save(path, on_ground(shapes, crs), crs, code=codes)
            found, _ = quietly(path, GRID)
            np.testing.assert_array_equal(found.labels, expected, err_msg=str(path))


# ---- what a feature covers -----------------------------------------------------------
def labels_of(tmp_path, *wkts, codes=None, place=PLACE, **options):
    shapes = on_ground([shapely.from_wkt(w) for w in wkts], place=place)
    path = save(
        tmp_path / "a.gpkg", shapes, code=codes or list(range(1, len(wkts) + 1))
    )
    return quietly(path, GRID._replace(transform=place), **options)


def test_a_polygon_takes_centres_or_all_it_touches(tmp_path):
    wkt = "POLYGON ((2.6 3.6, 6.4 3.6, 6.4 5.4, 2.6 5.4, 2.6 3.6))"
    found, _ = labels_of(tmp_path, wkt)
    np.testing.assert_array_equal(np.argwhere(found.labels), [[4, 3], [4, 4], [4, 5]])
    found, _ = labels_of(tmp_path, wkt, all_touched=True)
    assert found.labels[3:6, 2:7].all() and found.labels.sum() == 15


def test_a_line_takes_the_pixels_that_it_crosses(tmp_path):
    found, _ = labels_of(tmp_path, "LINESTRING (1.5 1.5, 1.5 3.2, 4.5 3.2)")
    pixels = {(1, 1): 1, (2, 1): 1, (3, 1): 1, (3, 2): 1, (3, 3): 1, (3, 4): 1}
    np.testing.assert_array_equal(found.labels, map_of(pixels))


def test_two_classes_in_a_pixel_are_counted(tmp_path):
    boxes = [shapely.box(0, 0, 4, 4).wkt, shapely.box(2, 2, 6, 6).wkt]
    found, said = labels_of(tmp_path, *boxes)
    assert (found.labels[2:4, 2:4] == 0).all() and "4 pixels with two classes" in said
    assert (found.labels > 0).sum() == 24
    found, said = labels_of(tmp_path, *boxes, codes=[1, 1])
    assert (found.labels > 0).sum() == 28 and not said


@pytest.mark.parametrize(
    "place",
    [
        rasterio.Affine(10, 0, 502_000, 0, 10, 5_100_000),  # south-up
        rasterio.Affine(-10, 0, 502_000, 0, -10, 5_100_000),  # mirrored
        rasterio.Affine(8, 6, 502_000, 6, -8, 5_100_000),  # rotated
        rasterio.Affine(10, 0, 502_000, 0, -25, 5_100_000),  # oblong pixels
    ],
)
def test_any_orientation_of_the_grid(tmp_path, place):
    wkts = ["POINT (3.5 7.5)", shapely.box(10.2, 4.2, 14.7, 9.7).wkt]
    found, _ = labels_of(tmp_path, *wkts, place=place)
    expected = map_of({(7, 3): 1})
    expected[4:10, 10:15] = 2
    expected[4:10, 10:15] = np.where(found.labels[4:10, 10:15], 2, 2)
    np.testing.assert_array_equal(found.labels, expected)


GEOMETRIES = {
    "parts": ("MULTIPOINT (3.5 2.5, 9.5 2.5)", {(2, 3): 1, (2, 9): 1}),
    "heights": ("POINT Z (3.5 2.5 700)", {(2, 3): 1}),
    "collection": (
        "GEOMETRYCOLLECTION (POINT (3.5 2.5), LINESTRING (9.5 2.5, 9.5 3.5))",
        {(2, 3): 1, (2, 9): 1, (3, 9): 1},
    ),
    "hole": (
        "POLYGON ((0 0, 3 0, 3 3, 0 3, 0 0), (1 1, 2 1, 2 2, 1 2, 1 1))",
        {(r, c): 1 for r in range(3) for c in range(3) if (r, c) != (1, 1)},
    ),
    "huge": (
        "POLYGON ((-1e9 3, 1e9 3, 1e9 4, -1e9 4, -1e9 3))",
        {(3, c): 1 for c in range(WIDTH)},
    ),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometries_of_every_kind(tmp_path, name):
    wkt, pixels = GEOMETRIES[name]
    found, _ = labels_of(tmp_path, wkt)
    np.testing.assert_array_equal(found.labels, map_of(pixels))


def test_crossing_edges_are_repaired(tmp_path):
    found, said = labels_of(tmp_path, "POLYGON ((0 0, 8 8, 8 0, 0 8, 0 0))")
    assert "1 polygon with edges that cross" in said
    assert found.labels[4, 1] and found.labels[4, 6] and not found.labels[1, 4]


def test_curves(tmp_path):
    "GDAL makes polygons of circles"
    x, y = PLACE.c + 200, PLACE.f - 150
    circle = f"{x - 50} {y}, {x} {y + 50}, {x + 50} {y}, {x} {y - 50}, {x - 50} {y}"
    (tmp_path / "a.csv").write_text(
        f'class,WKT\n1,"CURVEPOLYGON (CIRCULARSTRING ({circle}))"\n'
    )
    path = tmp_path / "a.vrt"
    path.write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>{tmp_path}/a.csv'
        "</SrcDataSource><GeometryType>wkbCurvePolygon</GeometryType>"
        "<LayerSRS>EPSG:32633</LayerSRS>"
        '<GeometryField encoding="WKT" field="WKT"/></OGRVRTLayer></OGRVRTDataSource>'
    )
    found, _ = quietly(path, GRID)
    assert abs((found.labels > 0).sum() - np.pi * 25) < 4 and found.labels[15, 20] == 1


def test_long_edges_follow_the_projection(tmp_path):
    "A parallel is an arc in UTM: its middle lies 24 pixels off the straight line"
    place = rasterio.Affine(100, 0, 300_000, 0, -100, 6_700_000)
    grid = Grid((400, 4000), UTM, place)
    x, y = place.c + 200_000, place.f - 20_000
    (lon, _), (lat, _) = warp_coordinates(UTM, DEGREES, [x, x], [y, y])
    field = shapely.box(lon - 3, lat - 0.1, lon + 3, lat)
    path = save(tmp_path / "a.gpkg", [field], DEGREES, code=[1])
    found, _ = quietly(path, grid)
    rows, columns = np.nonzero(found.labels)
    lons, lats = warp_coordinates(
        UTM, DEGREES, place.c + (columns + 0.5) * 100, place.f - (rows + 0.5) * 100
    )
    assert lat - 0.1 - 2e-4 < min(lats) and max(lats) < lat + 2e-4
    assert min(lons) < lon - 2.99 and max(lons) > lon + 2.99


# ---- what is left out ----------------------------------------------------------------
def test_points_outside_and_without_data_are_counted(tmp_path):
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[2, 3] = False
    shapes = on_ground([*POINTS, shapely.Point(-5, 3), shapely.Point(900, 3)])
    path = save(tmp_path / "a.gpkg", [*shapes, None], code=[*CODES, 1, 2, 3])
    found, said = quietly(path, GRID._replace(valid=valid))
    assert found.labels[2, 3] == 0 and (found.labels > 0).sum() == 5
    assert (
        "3 features outside the scene" in said
        and "1 labelled pixel without data" in said
    )


def test_objects_stay_together(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [
        shapely.box(c, r, c + 3, r + 3)
        for r in range(0, 28, 5)
        for c in range(0, 38, 5)
    ]
    codes = rng.integers(1, 4, len(shapes))
    path = save(tmp_path / "a.gpkg", on_ground(shapes), code=codes)
    found, _ = quietly(path, GRID)
    scene = Scene({"a": np.ones((HEIGHT, WIDTH))}, found.labels, objects=found.objects)
    for seed in range(5):
        split = few_shot_split(scene, 4, seed, "disjoint", margin=1)
        trained = set(scene.objects[split.train])
        assert not trained & set(scene.objects[split.test]) and 0 not in trained
        for code in scene.classes:
            mine = scene.labels == code
            assert (split.train & mine).sum() == 4
            assert (split.test & mine).sum() >= mine.sum() / 2
    plain = replace(scene, objects=None)
    one = few_shot_split(plain, 4, 0, "disjoint", margin=1)
    touched = set(found.objects[one.train]) & set(found.objects[one.test])
    assert touched, "without objects, a field may be in both"


# ---- layers, fields and options ------------------------------------------------------
@pytest.fixture
def two_layers(tmp_path):
    path = save(tmp_path / "a.gpkg", on_ground(POINTS), layer="first", code=CODES)
    return save(
        path,
        on_ground(POINTS[:2]),
        layer="second",
        append=True,
        code=[3, 3],
        crop=[1, 2],
    )


def test_layers(two_layers, tmp_path):
    with pytest.raises(
        InputError, match="2 layers with features .first, second.: name"
    ):
        read_labels(two_layers, GRID)
    assert read_labels(f"{two_layers}:second", GRID).labels.max() == 3
    assert read_labels(two_layers, GRID, layer="second", field="crop").labels.max() == 2
    with pytest.raises(InputError, match="has no layer 'third'; it has first, second"):
        read_labels(two_layers, GRID, layer="third")


def test_options_in_a_call_and_in_a_scene_file(two_layers, tmp_path):
    like = Scene({"a": np.ones((30, 40))}, crs=UTM, transform=PLACE)
    write_raster(tmp_path / "s2.tif", np.ones((2, 30, 40), "f4"), like)
    source = {"file": str(two_layers), "layer": "second", "field": "crop"}
    scene = read_scene({"s2": tmp_path / "s2.tif"}, labels=source)
    assert scene.labels[2, 3] == 1 and scene.labels[9, 30] == 2
    (tmp_path / "scene.yaml").write_text(
        "modalities: {s2: s2.tif}\n"
        "labels: {file: a.gpkg, layer: second, field: crop, all_touched: true}\n"
    )
    again = read_scene(tmp_path / "scene.yaml")
    assert again == replace(scene, name="scene")
    (tmp_path / "scene.yaml").write_text(
        "modalities: {s2: s2.tif}\nlabels: a.gpkg:second\n"
    )
    assert read_scene(tmp_path / "scene.yaml").labels.max() == 3


def test_training_and_test_labels_use_the_same_codes(tmp_path):
    like = Scene({"a": np.ones((30, 40))}, crs=UTM, transform=PLACE)
    write_raster(tmp_path / "s2.tif", np.ones((2, 30, 40), "f4"), like)
    points = on_ground(POINTS)
    train = np.array(["water", "soil"], object)
    test = np.array(["water", "soil"], object)[::-1]
    save(tmp_path / "train.gpkg", points[:2], label=train)
    save(tmp_path / "test.gpkg", points[2:4], label=test)
    scene = read_scene(
        {"s2": tmp_path / "s2.tif"},
        labels={"train": tmp_path / "train.gpkg", "test": tmp_path / "test.gpkg"},
    )
    assert scene.classes == {1: "soil", 2: "water"}
    assert scene.labels[scene.split.train].tolist() == [2, 1]
    assert scene.labels[scene.split.test].tolist() == [1, 2]
    assert len(set(scene.objects[scene.labels > 0])) == 4


# ---- ENVI's regions of interest ------------------------------------------------------
def roi_text(separator=None, coordinates=None, size="40 x 30"):
    "Two ROIs; coordinates (row, column) → numbers to add"
    rois = {"grass healthy": [(2, 3), (2, 4), (9, 30)], "soil": [(20, 39)], "empty": []}
    lines = ["; ENVI Output of ROIs (4.8) [Mon]", "; Number of ROIs: 3"]
    lines += [f"; File Dimension: {size}", ";"]
    for i, (name, pixels) in enumerate(rois.items()):
        lines += [f"; ROI name: {name}", f"; ROI rgb value: {{0, {100 + i}, 0}}"]
        lines += [f"; ROI npts: {len(pixels)}", ";"]
    names = ["ID", "X", "Y"] + (["Map X", "Map Y"] if coordinates else [])
    lines.append("; " + (separator or "   ").join(names))
    for pixels in rois.values():
        for i, (row, column) in enumerate(pixels):
            numbers = [i + 1, column + 1, row + 1]
            numbers += coordinates(row, column) if coordinates else []
            lines.append((separator or "   ").join(map(str, numbers)))
        lines += [""] * bool(pixels)
    return "\n".join(lines)


def ground(row, column):
    "The corner of a pixel, as ENVI gives it"
    return [PLACE.c + 10 * column, PLACE.f - 10 * row]


ROI_PIXELS = {(2, 3): 1, (2, 4): 1, (9, 30): 1, (20, 39): 2}


@pytest.mark.parametrize("separator", [None, ","])
@pytest.mark.parametrize("coordinates", [None, ground])
def test_regions_of_interest(tmp_path, separator, coordinates):
    (tmp_path / "roi.txt").write_text(roi_text(separator, coordinates))
    found, said = quietly(tmp_path / "roi.txt", GRID)
    np.testing.assert_array_equal(found.labels, map_of(ROI_PIXELS))
    assert found.classes == {1: "grass healthy", 2: "soil"} and "coordinate" not in said
    assert found.colors == {1: "#006400", 2: "#006500"}
    groups = [found.objects[p] for p in ((2, 3), (2, 4), (9, 30), (20, 39))]
    assert groups[0] == groups[1] and len(set(groups)) == 3


def test_regions_of_interest_of_another_image(tmp_path):
    "They are placed by their coordinates, or refused"
    (tmp_path / "a.txt").write_text(roi_text(coordinates=ground, size="99 x 99"))
    np.testing.assert_array_equal(
        quietly(tmp_path / "a.txt", GRID)[0].labels, map_of(ROI_PIXELS)
    )
    (tmp_path / "b.txt").write_text(roi_text(size="99 x 99"))
    with pytest.raises(InputError, match="image of 99×99, the scene is 30×40"):
        read_labels(tmp_path / "b.txt", GRID)

    def elsewhere(row, column):
        return [PLACE.c + 10 * column + 5000, PLACE.f - 10 * row]

    (tmp_path / "c.txt").write_text(roi_text(coordinates=elsewhere))
    with pytest.raises(
        InputError, match="500 pixels away: they belong to another image"
    ):
        read_labels(tmp_path / "c.txt", GRID)


def test_regions_of_interest_without_a_place(tmp_path):
    (tmp_path / "roi.txt").write_text(roi_text())
    found, _ = quietly(tmp_path / "roi.txt", Grid((HEIGHT, WIDTH)))
    np.testing.assert_array_equal(found.labels, map_of(ROI_PIXELS))


# ---- one message ---------------------------------------------------------------------
def points_file(name, crs=UTM, shapes=None, **fields):
    def make(folder):
        shapes_on_ground = on_ground(POINTS, crs or UTM) if shapes is None else shapes
        return save(folder / name, shapes_on_ground, crs, **(fields or {"code": CODES}))

    return make


def text_file(name, text):
    def make(folder):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return folder / name

    return make


def table_only(folder):
    pyogrio.raw.write(
        folder / "a.gpkg", None, [np.array([1, 2])], ["code"], layer="a", driver="GPKG"
    )
    return folder / "a.gpkg"


def without_shx(folder):
    path = points_file("a.shp")(folder)
    path.with_suffix(".shx").unlink()
    return path


def cut(folder):
    path = points_file("a.gpkg")(folder)
    path.write_bytes(path.read_bytes()[:5000])
    return path


far = [shapely.Point(502_015, 100), shapely.Point(502_025, 100)]
polygon_text = "class,wkt\n1,POLYGON ((0 0"
BAD = {
    "missing": (lambda d: d / "a.gpkg", {}, "no such file"),
    "empty layer": (points_file("a.gpkg", shapes=[], code=[]), {}, "no pixel|field"),
    "empty file": (text_file("a.geojson", ""), {}, "cannot be read as a"),
    "half a file": (cut, {}, "cannot be read|no pixel"),
    "no index": (without_shx, {}, "shx"),
    "no geometry": (table_only, {}, "no geometry"),
    "no field": (points_file("a.gpkg", kind=CODES), {}, "the fields are kind"),
    "unknown field": (points_file("a.gpkg"), {"field": "crop"}, "it has code"),
    "unknown layer": (points_file("a.gpkg"), {"layer": "x"}, "it has samples"),
    "two names of a layer": (
        lambda d: f"{points_file('a.gpkg')(d)}:samples",
        {"layer": "x"},
        "option",
    ),
    "fractions": (points_file("a.gpkg", code=[0.5] * 6), {}, "no field|no whole"),
    "negative": (points_file("a.gpkg", code=[-1] * 6), {}, "holds -1"),
    "too large": (points_file("a.gpkg", code=[2**32 + 1] * 6), {}, "holds 4294967297"),
    "elsewhere": (points_file("a.gpkg", shapes=far, code=[1, 2]), {}, "does not meet"),
    "degrees called utm": (
        text_file("a.csv", "x,y,class\n15.0,46.0,1\n"),
        {},
        "look like degrees",
    ),
    "metres called degrees": (
        text_file("a.csv", "lon,lat,class\n502015,5099985,1\n"),
        {},
        "no longitude and latitude",
    ),
    "unknown crs": (points_file("a.gpkg"), {"crs": "EPSG:999999"}, "coordinate system"),
    "a class that lacks": (
        points_file("a.gpkg", label=np.array(["water"] * 5 + ["snow"], object)),
        {"classes": {1: "water", 2: "trees"}},
        "snow, which the class table lacks; it has 1 water, 2 trees",
    ),
    "swapped names": (
        points_file(
            "a.gpkg", code=CODES, label=np.array([NAMES[c] for c in CODES], object)
        ),
        {"classes": {1: "trees", 2: "water", 3: "lawn"}},
        "is code 1 there, but code 2 in the class table",
    ),
    "no coordinates": (text_file("a.csv", "a,class\n1,2\n"), {}, "call them x and y"),
    "a word for a number": (
        text_file("a.csv", "x,y,class\n502015,north,1\n"),
        {},
        "line 2: 502015, north are no coordinates",
    ),
    "nan": (text_file("a.csv", "x,y,class\nnan,nan,1\n"), {}, "line 2"),
    "only a header": (text_file("a.csv", "x,y,class\n"), {}, "holds no point"),
    "half a polygon": (text_file("a.csv", polygon_text), {}, "a.csv"),
    "zeros": (
        text_file("a.csv", "x,y,class\n502015,5099985,\n"),
        {},
        "without a class|no field",
    ),
    "nul": (text_file("a.csv", b"x,y,class\n\0\0,1,1\n"), {}, "not a text file"),
    "roi counts": (
        text_file("a.txt", roi_text().replace("npts: 3", "npts: 9")),
        {},
        "export",
    ),
    "roi words": (
        text_file("a.txt", roi_text().replace("1   4   3", "1   x   3")),
        {},
        "no pixel of a ROI",
    ),
    "roi without pixels": (
        text_file("a.txt", "; ENVI Output of ROIs (4.8)\n; Number of ROIs: 0\n"),
        {},
        "holds no pixel",
    ),
    "yaml": (text_file("a.json", '{"type": "Topology"'), {}, "a.json"),
    "folder": (lambda d: d, {}, ""),
}


@pytest.mark.parametrize("name", BAD)
def test_one_message(name, tmp_path):
    make, options, words = BAD[name]
    path = make(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((InputError, FileNotFoundError), match=words) as e:
            read_labels(path, GRID, **options)
    message = str(e.value)
    assert "\n" not in message and os.path.basename(path).split(":")[0] in message
    assert e.value.__cause__ is None


def test_scenes_without_a_place(tmp_path):
    path = points_file("a.gpkg")(tmp_path)
    with pytest.raises(InputError, match="need a place, and the scene has none"):
        read_labels(path, Grid((HEIGHT, WIDTH)))
    with pytest.raises(InputError, match="does not say its coordinate system: add it"):
        read_labels(path, GRID._replace(crs=None))
    path = points_file("b.gpkg", crs=None)(tmp_path)
    found, said = quietly(path, GRID)
    np.testing.assert_array_equal(found.labels, map_of(PIXELS))
    assert "does not say its coordinate system" in said


def test_rasters_take_no_layer(tmp_path):
    like = Scene(
        {"a": np.ones((30, 40))}, map_of(PIXELS), NAMES, crs=UTM, transform=PLACE
    )
    write_map(tmp_path / "labels.tif", like.labels, like)
    found = read_labels(tmp_path / "labels.tif", GRID)
    np.testing.assert_array_equal(found.labels, map_of(PIXELS))
    assert found.classes == NAMES and found.objects is None
    with pytest.raises(InputError, match="is no vector file"):
        read_labels(tmp_path / "labels.tif", GRID, field="code")
    with pytest.raises(InputError, match="labels.tif is 30×40, the scene is 5×5"):
        read_labels(tmp_path / "labels.tif", Grid((5, 5)))


def test_what_holds_vectors(tmp_path):
    points_file("a.gpkg")(tmp_path)
    write_raster(tmp_path / "a.tif", np.ones((1, 3, 3), "f4"))
    (tmp_path / "plain").write_bytes(b"nothing")
    names = {"a.gpkg": True, "a.gpkg:samples": True, "a.tif": False, "plain": False}
    assert {n: holds_vectors(tmp_path / n) for n in names} == names
    assert len(read_features(tmp_path / "a.gpkg")) == 6


def test_other_readers_see_what_we_see(tmp_path):
    "The errors that we turn into messages are those that pyogrio raises"
    with pytest.raises(DataSourceError):
        pyogrio.list_layers(tmp_path / "none.gpkg")


# ---- the real tile -------------------------------------------------------------------
def test_ten_points_on_the_real_tile(tile, tmp_path):
    "A GeoPackage of 10 points gives the same scene as a raster of the same 10 pixels"
    image = next(p for p in sorted(tile.glob("*.tif")) if "S2" in p.name.upper())
    truth = next(p for p in sorted(tile.glob("*.tif")) if "LULC" in p.name.upper())
    with rasterio.open(truth) as src:
        codes, profile = src.read(1), src.profile
    rng = np.random.default_rng(0)
    classes = [c for c in np.unique(codes) if c > 0 and (codes == c).sum() > 20][:2]
    few = np.zeros_like(codes)
    for code in classes:
        few.flat[rng.choice(np.flatnonzero(codes == code), 5, replace=False)] = code
    with rasterio.open(tmp_path / "few.tif", "w", **profile) as dst:
        dst.write(few, 1)
    rows, columns = np.nonzero(few)
    points = on_ground(
        shapely.points(columns + 0.5, rows + 0.5), place=profile["transform"]
    )
    save(tmp_path / "few.gpkg", points, profile["crs"], code=few[rows, columns])
    names = {int(c): f"class {c}" for c in classes}
    scenes = [
        read_scene({"s2": image}, labels=tmp_path / f, classes=names, nodata=0)
        for f in ("few.tif", "few.gpkg")
    ]
    assert scenes[0] == scenes[1]
