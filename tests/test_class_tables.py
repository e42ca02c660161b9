"""Class tables as spreadsheets save them are read right, or refused with one message"""

import csv
import os
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffclip.core import InputError
from diffclip.data.labels import color_text, read_class_table, read_classes
from diffclip.data.rasters import write_raster
from diffclip.data.scene import Scene, as_codes, check_classes
from diffclip.data.scene_files import read_scene

# content → (names, descriptions, colours); what is not named is empty
TABLES = {
    # columns in another order, and a number of the line in front
    "fid,code,name\n1,3,lawn\n2,1,water\n": ({3: "lawn", 1: "water"},),
    "value,color,label\n10,#006400,Tree cover\n20,#ffbb22,Shrubland\n": (
        {10: "Tree cover", 20: "Shrubland"},
        {},
        {10: "#006400", 20: "#ffbb22"},
    ),
    "code;name\n1;eau\n2;forêt, dense\n": ({1: "eau", 2: "forêt, dense"},),
    "1\tMeadow, wet\n2\tMeadow, dry\n": ({1: "Meadow, wet", 2: "Meadow, dry"},),
    "Class_ID;Class Name;Description\n4;lake;still water\n": (
        {4: "lake"},
        {4: "still water"},
    ),
    "name,id\nwater,1\ntrees,2\n": ({1: "water", 2: "trees"},),
    "label,class\n1,water\n2,trees\n": ({1: "water", 2: "trees"},),
    "class,label\nwater,1\ntrees,2\n": ({1: "water", 2: "trees"},),
    "OBJECTID,Value,Count,Class_Name\n1,11,500,Open Water\n2,21,90,Town\n": (
        {11: "Open Water", 21: "Town"},
    ),
    ",code,name\n0,5,water\n1,6,trees\n": ({5: "water", 6: "trees"},),
    "Klasse;Bezeichnung\n1;Wasser\n2;Wald\n": ({1: "Wasser", 2: "Wald"},),
    "id,r,g,b,name\n1,0,0,255,water\n": ({1: "water"}, {}, {1: "#0000ff"}),
    'code,name,rgb\n1,water,"0,0,255"\n2,trees,0 100 0\n': (
        {1: "water", 2: "trees"},
        {},
        {1: "#0000ff", 2: "#006400"},
    ),
    "code,name,hex\n1,water,0000FF\n": ({1: "water"}, {}, {1: "#0000ff"}),
    "code,description\n1,a lake\n": ({1: "a lake"},),
    "code,name,code2\n1.0,water,9\n2.0,trees,8\n": ({1: "water", 2: "trees"},),
    # QGIS: "Export color map to file"
    "# QGIS Generated Color Map Export File\nINTERPOLATION:EXACT\n"
    "1,0,0,255,255,water\n2,0,100,0,255,trees\n": (
        {1: "water", 2: "trees"},
        {},
        {1: "#0000ff", 2: "#006400"},
    ),
    # without a header
    "1,water\n2,trees\n": ({1: "water", 2: "trees"},),
    "1,water,a river\n2,trees,\n": ({1: "water", 2: "trees"}, {1: "a river"}),
    "1,water,#0000ff\n2,trees,crowns\n": (
        {1: "water", 2: "trees"},
        {2: "crowns"},
        {1: "#0000ff"},
    ),
    '1,"water, deep"\r\n\r\n2,trees\r\n': ({1: "water, deep", 2: "trees"},),
    "1,water\r2,trees\r": ({1: "water", 2: "trees"},),
    "#code,name\n1,water\n": ({1: "water"},),
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "cp1252"]


def encoded(text, encoding):
    if encoding == "utf-16-le-bom":
        return b"\xff\xfe" + text.encode("utf-16-le")
    return text.encode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TABLES, ids=[t.split("\n")[0] for t in TABLES])
def test_tables(tmp_path, text, encoding):
    expected = [*TABLES[text], {}, {}][:3]
    (tmp_path / "classes.csv").write_bytes(encoded(text, encoding))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_class_table(tmp_path / "classes.csv")
    assert list(table) == expected
    guessed = encoding == "cp1252" and not text.isascii()
    assert [("Latin-1" in str(w.message)) for w in caught] == [True] * guessed


names = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs", "Co", "Cn")),
    min_size=1,
    max_size=12,
).filter(lambda name: not name.startswith("#") and any(c.isalpha() for c in name))


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(st.integers(1, 65535), names, min_size=1, max_size=6),
    st.sampled_from(",;\t"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.permutations(["code", "name", "fid"]),
)
def test_what_csv_writes_is_read(tmp_path_factory, classes, separator, encoding, order):
    if len(set(classes.values())) < len(classes):
        classes = {code: f"{name}{code}" for code, name in classes.items()}
    path = tmp_path_factory.mktemp("table") / "classes.csv"
    with open(path, "w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(order)
        for i, (code, name) in enumerate(classes.items()):
            row = {"code": code, "name": name, "fid": i}
            writer.writerow([row[column] for column in order])
    assert read_classes(path) == classes


BAD = {
    "empty": (b"", "names no class"),
    "only a header": (b"code,name\n", "at least 1 class"),
    "one column": (b"1\n2\n", "expected code,name, got '1'"),
    "words for codes": (b"code,name\n1,water\ntwo,trees\n", "line 3: 'two' is not a"),
    "names first, no header": (b"water,1\ntrees,2\n", "line 1: 'water' is not a whole"),
    "fractions": (b"code,name\n1.5,water\n", "line 2: '1.5' is not a whole number"),
    "twice": (b"1,water\n1,trees\n", "line 2: code 1 is given twice"),
    "two names": (b"1,water\n2,water\n", "two classes have the name 'water'"),
    "no name": (b"1,\n2,trees\n", "class 1 has no name"),
    "zero": (b"0,water\n1,trees\n", "codes start at 1"),
    "too large": (b"70000,water\n", "does not fit a 16-bit map"),
    "far too large": (b"1,water\n99999999999999999999,trees\n", "line 2"),
    "no known column": (b"a,b,c\nx,y,z\n", "no column is known to hold the codes"),
    "two columns called code": (b"code,Code,name\n1,2,water\n", "2 columns are called"),
    "no colour": (
        b"code,name,color\n1,water,bluish\n",
        "line 2: 'bluish' is no colour",
    ),
    "nul": (b"1,wa\0ter\n", "not a text file"),
    "escape": (b"1,water\n2,\x1b[2Jtrees\n", "line 2: holds the control character"),
    "line break in a name": (b'1,"wa\nter"\n', "has a line break"),
    "open quote": (b'1,"water\n2,trees\n', "is not a CSV file"),
    "long cell": (b"1," + 131_073 * b"a", "field larger than field limit"),
    "long name": (b"1," + 501 * b"a", "a name of 501 characters"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
    "half of utf-16": (b"\xff\xfe1\0,", "not a text file"),
    "large": (b"1,water\n" * 2**22, "is larger than 16 MiB"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_message(tmp_path, name):
    content, words = BAD[name]
    (tmp_path / "classes.csv").write_bytes(content)
    with pytest.raises(InputError, match=words) as e:
        read_class_table(tmp_path / "classes.csv")
    message = str(e.value)
    assert "classes.csv" in message and "\n" not in message and "\x1b" not in message
    assert len(message) < 500 and e.value.__cause__ is None


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_classes(tmp_path / "none.csv")
    for path, words in (
        (tmp_path, "Is a directory"),
        ("x" * 5000, "File name too long"),
        ("a\0b", "is no name of a file"),
        ("/dev/zero", "is larger than"),
    ):
        with pytest.raises(InputError, match=words):
            read_classes(path)


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(
        target=(tmp_path / "pipe").write_text, args=("1,water\n2,trees\n",)
    )
    writer.start()
    assert read_classes(tmp_path / "pipe") == {1: "water", 2: "trees"}
    writer.join()


def test_the_limit_of_the_csv_module_stays():
    before = csv.field_size_limit()
    assert before == 131_072


def test_colours_of_a_table_are_used(tmp_path):
    write_raster(tmp_path / "a.tif", np.ones((1, 2, 2), "f4"))
    np.save(tmp_path / "labels.npy", np.array([[1, 2], [0, 1]]))
    (tmp_path / "c.csv").write_text("code,name,color\n1,water,#0000ff\n2,trees,\n")
    arguments = {"labels": tmp_path / "labels.npy", "classes": tmp_path / "c.csv"}
    scene = read_scene({"a": tmp_path / "a.tif"}, **arguments)
    assert scene.colors[1] == "#0000ff" and scene.colors[2] != "#0000ff"
    scene = read_scene({"a": tmp_path / "a.tif"}, **arguments, colors={1: "#00ffff"})
    assert scene.colors[1] == "#00ffff"


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_colour_or_none(text):
    color = color_text(text)
    assert color is None or (
        color[0] == "#" and len(color) == 7 and int(color[1:], 16) >= 0
    )


# ---- labels and codes of any type ----------------------------------------------------
@pytest.mark.parametrize(
    "dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"]
)
def test_labels_of_any_numeric_type(dtype):
    labels = np.array([[0, 1], [1, 0]], dtype)
    scene = Scene({"a": np.ones((2, 2))}, labels)
    np.testing.assert_array_equal(scene.labels, [[0, 1], [1, 0]])
    assert scene.labels.dtype == np.int32


def test_masked_labels_keep_their_mask():
    labels = np.ma.array([[1, 2], [1, 2]], mask=[[0, 0], [0, 1]])
    np.testing.assert_array_equal(
        Scene({"a": np.ones((2, 2))}, labels).labels, [[1, 2], [1, 0]]
    )


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.array([[2**32 + 1, 1]]), "hold 4294967297"),
        (np.array([[2.0**33, 1]]), "hold 8589934592"),
        (np.array([[2**63 + 1, 1]], np.uint64), "hold 9223372036854775809"),
        (np.array([[-(2**40), 1]]), "hold -1099511627776"),
        (np.array([[1.5, 1]]), "not whole numbers"),
        (np.array([[np.inf, 1]]), "not whole numbers"),
        (np.array([[1, 2]], object), "of type object"),
        (np.array([["1", "2"]]), "pass an array of whole numbers"),
        (np.array([[1j, 2]]), "of type complex"),
        ([[1, 2], [1]], "no array"),
        (np.ones((2, 1)), "transpose it"),
    ],
)
def test_labels_that_would_change_are_refused(labels, words):
    with pytest.raises(InputError, match=words):
        Scene({"a": np.ones((1, 2))}, labels)
    with pytest.raises(InputError, match=words):
        as_codes(labels, (1, 2))


@pytest.mark.parametrize(
    "classes, words",
    [
        ({1.5: "a"}, "not a whole number"),
        ({True: "a"}, "not a whole number"),
        ({float("inf"): "a"}, "not a whole number"),
        ({None: "a"}, "not a whole number"),
        ({70_000: "a"}, "codes up to 65535"),
        ({1: "a\nb"}, "line break"),
        ({1: "a\x1b[31m"}, "control character"),
        ({1: "\ud800"}, "control character"),
        ({1: "  "}, "has no name"),
    ],
)
def test_classes_that_cannot_be_meant(classes, words):
    with pytest.raises(InputError, match=words):
        check_classes(classes)
