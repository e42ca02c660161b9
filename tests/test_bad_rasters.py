"""Malformed files and arguments: each gives one message that names the file and the
mend, and leaves what was there as it was"""

import hashlib
import io
import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
from spectral.io import envi

from diffclip.core import InputError
from diffclip.data import (
    Scene,
    load_dataset,
    open_raster,
    read_raster,
    read_scene,
    write_raster,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::rasterio.errors.NotGeoreferencedWarning"
)
CRS, PLACE = rasterio.CRS.from_epsg(32633), rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
CUBE = np.random.default_rng(0).integers(1, 999, (4, 20, 30)).astype(np.uint16)


class Trap:
    "Unpickled, it leaves a file behind"

    def __reduce__(self):
        return os.mkdir, ("was-unpickled",)


def tif(path, a=CUBE, crs=CRS, transform=PLACE, nodata=None):
    write_raster(
        path,
        a,
        Scene({"m": np.zeros(a.shape[-2:])}, crs=crs, transform=transform),
        nodata,
    )


def header(d, edit=lambda t: t, binary=lambda b: b):
    envi.save_image(
        str(d / "cube.hdr"),
        CUBE.transpose(1, 2, 0),
        dtype=np.uint16,
        ext="img",
        force=True,
    )
    (d / "cube.hdr").write_text(edit((d / "cube.hdr").read_text()))
    (d / "cube.img").write_bytes(binary((d / "cube.img").read_bytes()))


def cut(path, share=0.5):
    b = path.read_bytes()
    path.write_bytes(b[: int(len(b) * share)])


def bad_npz(d, name, shape, data=b"\0" * 64):
    "An .npz whose header says `shape`"
    f = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        f, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(d / name, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("x.npy", f.getvalue() + data)


def raster(path, *args, **kwargs):
    return lambda d: read_raster(f"{d}/{path}", *args, **kwargs)


def scene(*args, **kwargs):
    return lambda d: read_scene(
        {k: f"{d}/{v}" for k, v in args[0].items()},
        *(f"{d}/{a}" for a in args[1:]),
        **kwargs,
    )


def yaml(text, name="scene.yaml"):
    def prepare(d):
        tif(d / "a.tif")
        tif(d / "labels.tif", (CUBE[0] % 3).astype(np.uint8))
        (d / name).write_text(text) if isinstance(text, str) else (
            d / name
        ).write_bytes(text)

    return prepare


def load_yaml(d):
    return read_scene(d / "scene.yaml")


A = "modalities: {a: a.tif}\n"

# name: (prepare(folder), call(folder), what the message must hold: the file or
# argument at fault, and the mend)
CASES = {
    # files of any kind
    "missing": (lambda d: None, raster("no.tif"), "no.tif", "no such file"),
    "missing with key": (
        lambda d: None,
        raster("no.mat:data"),
        "no.mat:data",
        "no such file",
    ),
    "empty": (
        lambda d: (d / "a.tif").touch(),
        raster("a.tif"),
        "a.tif",
        "copy it again",
    ),
    "empty folder": (
        lambda d: (d / "a.tif").mkdir(),
        raster("a.tif"),
        "a.tif",
        "pass a raster file",
    ),
    "folder": (
        lambda d: [(d / "x").mkdir(), (d / "x/y.txt").write_text("z")],
        raster("x"),
        "/x",
        "there is no raster in it",
    ),
    "text as tif": (
        lambda d: (d / "a.tif").write_text("hello"),
        raster("a.tif"),
        "a.tif",
        "is the file whole",
    ),
    "symlink loop": (
        lambda d: [
            (d / "a.tif").symlink_to(d / "b.tif"),
            (d / "b.tif").symlink_to(d / "a.tif"),
        ],
        raster("a.tif"),
        "a.tif",
        "no such file",
    ),
    "key is a number": (
        lambda d: tif(d / "a.tif"),
        raster("a.tif", -9999),
        "a.tif",
        "nodata=-9999",
    ),
    "bands is a word": (
        lambda d: tif(d / "a.tif"),
        raster("a.tif", bands="middle"),
        "middle",
        "'first' nor 'last'",
    ),
    # GeoTIFF
    "truncated tif": (
        lambda d: [
            tif(d / "a.tif", np.random.default_rng(0).random((4, 99, 99))),
            cut(d / "a.tif"),
        ],
        raster("a.tif"),
        "a.tif",
        "is the file whole",
    ),
    "tif header only": (
        lambda d: [tif(d / "a.tif"), cut(d / "a.tif", 0.02)],
        raster("a.tif"),
        "a.tif",
        "is the file whole",
    ),
    "no such band": (
        lambda d: tif(d / "a.tif"),
        raster("a.tif[1,9]"),
        "a.tif",
        "no band 9, it has 4",
    ),
    "band 0": (lambda d: tif(d / "a.tif"), raster("a.tif[0]"), "a.tif", "no band 0"),
    "bands backwards": (
        lambda d: tif(d / "a.tif"),
        raster("a.tif[3:1]"),
        "a.tif",
        "write it as [1,2,5:9]",
    ),
    "bands are words": (
        lambda d: tif(d / "a.tif"),
        raster("a.tif[red]"),
        "a.tif",
        "write numbers, as [1,2,5:9]",
    ),
    "complex tif": (
        lambda d: complex_tif(d / "a.tif"),
        raster("a.tif"),
        "a.tif",
        "not real numbers",
    ),
    "key in a tif": (
        lambda d: tif(d / "a.tif"),
        raster("a.tif:red"),
        "a.tif",
        "leave 'red' out",
    ),
    "zero bands": (
        lambda d: (d / "a.vrt").write_text(
            '<VRTDataset rasterXSize="5" rasterYSize="5"></VRTDataset>'
        ),
        raster("a.vrt"),
        "a.vrt",
        "is the file whole",
    ),
    "vrt of a missing file": (
        lambda d: (d / "a.vrt").write_text(
            '<VRTDataset rasterXSize="5" rasterYSize="5">'
            '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            '<SourceFilename relativeToVRT="1">gone.tif</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        ),
        raster("a.vrt"),
        "a.vrt",
        "is the file whole",
    ),
    "larger than memory": (
        lambda d: (d / "a.vrt").write_text(
            '<VRTDataset rasterXSize="2000000" rasterYSize="2000000">'
            '<VRTRasterBand dataType="Float32" band="1"/></VRTDataset>'
        ),
        raster("a.vrt"),
        "a.vrt",
        "read windows of it",
    ),
    "window outside": (
        lambda d: tif(d / "a.tif"),
        lambda d: open_raster(d / "a.tif").read_window((10, 90)),
        "a.tif",
        "not inside 0 to 20",
    ),
    "int32 that float32 cannot hold": (
        lambda d: tif(d / "a.tif", np.full((1, 5, 5), 2**24 + 1, np.int32)),
        raster("a.tif"),
        "a.tif",
        "rescale the raster",
    ),
    # ENVI
    "header without binary": (
        lambda d: [header(d), (d / "cube.img").unlink()],
        raster("cube.hdr"),
        "cube.hdr",
        "put it there",
    ),
    "header of something else": (
        lambda d: (d / "cube.hdr").write_text("BYTEORDER I\nNROWS 20\n"),
        raster("cube.hdr"),
        "cube.hdr",
        "export it again",
    ),
    "wrong lines": (
        lambda d: header(d, lambda t: t.replace("lines = 20", "lines = 21")),
        raster("cube.hdr"),
        "cube.hdr",
        "correct the header",
    ),
    "too few lines": (
        lambda d: header(d, lambda t: t.replace("lines = 20", "lines = 19")),
        raster("cube.hdr"),
        "cube.hdr",
        "correct the header",
    ),
    "truncated binary": (
        lambda d: header(d, binary=lambda b: b[:-7]),
        raster("cube.img"),
        "cube.hdr",
        "copy the binary again",
    ),
    "no samples": (
        lambda d: header(d, lambda t: t.replace("samples = 30\n", "")),
        raster("cube.hdr"),
        "cube.hdr",
        "export it again",
    ),
    "lines are words": (
        lambda d: header(d, lambda t: t.replace("lines = 20", "lines = many")),
        raster("cube.hdr"),
        "cube.hdr",
        "export it again",
    ),
    "no such data type": (
        lambda d: header(d, lambda t: t.replace("data type = 12", "data type = 99")),
        raster("cube.hdr"),
        "cube.hdr",
        "export it again",
    ),
    "interleaved otherwise": (
        lambda d: header(
            d, lambda t: t.replace("interleave = bip", "interleave = zig")
        ),
        raster("cube.hdr"),
        "cube.hdr",
        "correct the header",
    ),
    "open brace": (
        lambda d: header(d, lambda t: t + "\nwavelength = { 400, 500\n"),
        raster("cube.hdr"),
        "cube.hdr",
        "export it again",
    ),
    "zero lines": (
        lambda d: header(
            d, lambda t: t.replace("lines = 20", "lines = 0"), lambda b: b""
        ),
        raster("cube.hdr"),
        "cube.hdr",
        "correct the header",
    ),
    "zero scale": (
        lambda d: header(d, lambda t: t + "\nreflectance scale factor = -1\n"),
        raster("cube.hdr"),
        "cube.hdr",
        "must be positive",
    ),
    "ignore value a word": (
        lambda d: header(d, lambda t: t + "\ndata ignore value = none\n"),
        raster("cube.hdr"),
        "cube.hdr",
        "expected a number",
    ),
    "compressed binary": (
        lambda d: header(d, lambda t: t + "\nfile compression = 1\n"),
        raster("cube.hdr"),
        "cube.hdr",
        "save it without compression",
    ),
    # MATLAB, HDF5
    "mat without array": (
        lambda d: scipy.io.savemat(d / "a.mat", {"name": "x", "n": 3.0}),
        raster("a.mat"),
        "a.mat",
        "save the raster as one",
    ),
    "mat with two": (
        lambda d: scipy.io.savemat(d / "a.mat", {"hsi": CUBE, "dem": CUBE[0]}),
        raster("a.mat"),
        "a.mat",
        "name one, as",
    ),
    "mat, no such key": (
        lambda d: scipy.io.savemat(d / "a.mat", {"hsi": CUBE, "dem": CUBE[0]}),
        raster("a.mat:lidar"),
        "a.mat",
        "hsi (4×20×30)",
    ),
    "truncated mat": (
        lambda d: [scipy.io.savemat(d / "a.mat", {"hsi": CUBE}), cut(d / "a.mat")],
        raster("a.mat"),
        "a.mat",
        "is it whole",
    ),
    "text as mat": (
        lambda d: (d / "a.mat").write_text("x" * 300),
        raster("a.mat"),
        "a.mat",
        "is it whole",
    ),
    "7.3 file opened as 5": (
        lambda d: (d / "a.mat").write_bytes(
            b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\0" * 400
        ),
        raster("a.mat"),
        "a.mat",
        "copy it again",
    ),
    "truncated 7.3": (
        lambda d: [h5(d / "a.mat"), cut(d / "a.mat")],
        raster("a.mat"),
        "a.mat",
        "is it whole",
    ),
    "7.3 without array": (
        lambda d: h5(d / "a.mat", np.array([1.0, 2])),
        raster("a.mat"),
        "a.mat",
        "save the raster as one",
    ),
    "complex mat": (
        lambda d: scipy.io.savemat(d / "a.mat", {"hsi": CUBE * 1j}),
        raster("a.mat@first"),
        "a.mat",
        "not real numbers",
    ),
    "4-D": (
        lambda d: scipy.io.savemat(d / "a.mat", {"hsi": np.ones((2, 3, 4, 5))}),
        raster("a.mat"),
        "a.mat",
        "save the raster as one",
    ),
    "huge declared h5": (
        lambda d: huge_h5(d / "a.h5"),
        raster("a.h5@first"),
        "a.h5",
        "read windows of it",
    ),
    # NumPy
    "pickled npy": (
        lambda d: np.save(d / "a.npy", np.array([Trap()], object), allow_pickle=True),
        raster("a.npy"),
        "a.npy",
        "save it again as a numeric array",
    ),
    "bare pickle": (
        lambda d: (d / "a.npy").write_bytes(pickle.dumps(Trap())),
        raster("a.npy"),
        "a.npy",
        "is the file whole",
    ),
    "pickled npz": (
        lambda d: np.savez(d / "a.npz", x=np.array([Trap()], object)),
        raster("a.npz"),
        "a.npz",
        "np.savez",
    ),
    "truncated npy": (
        lambda d: [np.save(d / "a.npy", CUBE), cut(d / "a.npy")],
        raster("a.npy"),
        "a.npy",
        "is the file whole",
    ),
    "npy, 1-D": (
        lambda d: np.save(d / "a.npy", np.ones(9)),
        raster("a.npy"),
        "a.npy",
        "rows × columns",
    ),
    "npy, empty": (
        lambda d: np.save(d / "a.npy", np.ones((0, 5, 5))),
        raster("a.npy"),
        "a.npy",
        "write the file again",
    ),
    "npy, text": (
        lambda d: np.save(d / "a.npy", np.array([["a", "b"]])),
        raster("a.npy"),
        "a.npy",
        "not real numbers",
    ),
    "npy, key": (
        lambda d: np.save(d / "a.npy", CUBE),
        raster("a.npy:hsi"),
        "a.npy",
        "leave 'hsi' out",
    ),
    "ambiguous axes": (
        lambda d: np.save(d / "a.npy", np.ones((9, 9, 9))),
        raster("a.npy"),
        "a.npy@first",
        "a.npy@last",
    ),
    "npz, lying header": (
        lambda d: bad_npz(d, "a.npz", (100000, 100000)),
        raster("a.npz"),
        "a.npz",
        "np.savez",
    ),
    "npz, bomb": (
        lambda d: bad_npz(d, "a.npz", (5000, 5000), bytes(10**8)),
        raster("a.npz"),
        "a.npz",
        "np.save",
    ),
    "npz, not a zip": (
        lambda d: (d / "a.npz").write_bytes(b"PK\3\4 no zip"),
        raster("a.npz"),
        "a.npz",
        "np.savez",
    ),
    "npz, no array": (
        lambda d: np.savez(d / "a.npz", x=3),
        raster("a.npz"),
        "a.npz",
        "save the raster as one",
    ),
    # several rasters
    "two grids": (
        lambda d: [tif(d / "a.tif"), tif(d / "b.tif", CUBE[:, :10])],
        scene({"a": "a.tif", "b": "b.tif"}),
        "b.tif",
        "resample=",
    ),
    "two CRSs": (
        lambda d: [
            tif(d / "a.tif"),
            tif(d / "b.tif", crs=rasterio.CRS.from_epsg(32634)),
        ],
        scene({"a": "a.tif", "b": "b.tif"}),
        "b.tif",
        "gdalwarp -t_srs",
    ),
    "shifted": (
        lambda d: [
            tif(d / "a.tif"),
            tif(d / "b.tif", transform=rasterio.Affine(10, 0, 5e5 + 5, 0, -10, 5e6)),
        ],
        scene({"a": "a.tif", "b": "b.tif"}),
        "b.tif",
        "resample=",
    ),
    "resample without CRS": (
        lambda d: [tif(d / "a.tif"), np.save(d / "b.npy", CUBE[0, :10])],
        scene({"a": "a.tif", "b": "b.npy"}, resample="nearest"),
        "b.npy",
        "gdal_edit.py -a_srs",
    ),
    "resample apart": (
        lambda d: [
            tif(d / "a.tif"),
            tif(d / "b.tif", transform=rasterio.Affine(10, 0, 9e5, 0, -10, 5e6)),
        ],
        scene({"a": "a.tif", "b": "b.tif"}, resample="nearest"),
        "b.tif",
        "do not overlap",
    ),
    "no such resampling": (
        lambda d: tif(d / "a.tif"),
        scene({"a": "a.tif"}, resample="lanczos"),
        "lanczos",
        "'bilinear'",
    ),
    "no modality": (lambda d: None, lambda d: read_scene({}), "modality", "name=file"),
    "class absent from the labels": (
        lambda d: [
            tif(d / "a.tif"),
            tif(d / "l.tif", (CUBE[0] % 2 + 1).astype(np.uint8)),
        ],
        scene({"a": "a.tif"}, "l.tif", classes={1: "x", 2: "y", 3: "z"}),
        "3 (z)",
        "remove the class",
    ),
    "labels with four bands": (
        lambda d: tif(d / "a.tif"),
        scene({"a": "a.tif"}, "a.tif"),
        "a.tif",
        "one band of class codes",
    ),
    "labels are fractions": (
        lambda d: [tif(d / "a.tif"), np.save(d / "l.npy", CUBE[0] / 7)],
        scene({"a": "a.tif"}, "l.npy"),
        "l.npy",
        "pass class codes",
    ),
    "labels transposed": (
        lambda d: [tif(d / "a.tif"), np.save(d / "l.npy", CUBE[0].T)],
        scene({"a": "a.tif"}, "l.npy"),
        "l.npy",
        "transpose it",
    ),
    "nodata of no modality": (
        lambda d: tif(d / "a.tif"),
        scene({"a": "a.tif"}, nodata={"b": 0}),
        "'b'",
        "there is a",
    ),
    "labels without test": (
        lambda d: tif(d / "a.tif"),
        lambda d: read_scene({"a": d / "a.tif"}, {"train": d / "a.tif"}),
        "train",
        "test",
    ),
    "train and test disagree": (
        lambda d: [
            tif(d / "a.tif"),
            np.save(d / "r.npy", CUBE[0] % 2 + 1),
            np.save(d / "e.npy", CUBE[0] % 3 + 1),
        ],
        lambda d: read_scene(
            {"a": d / "a.tif"}, {"train": d / "r.npy", "test": d / "e.npy"}
        ),
        "r.npy",
        "correct one of the files",
    ),
    # scene files
    "yaml missing": (lambda d: None, load_yaml, "scene.yaml", "no such file"),
    "yaml unknown key": (
        yaml(A + "label: labels.tif"),
        load_yaml,
        "scene.yaml",
        "did you mean 'labels'",
    ),
    "yaml unknown key of a modality": (
        yaml("modalities: {a: {file: a.tif, band: last}}"),
        load_yaml,
        "scene.yaml",
        "did you mean 'bands'",
    ),
    "yaml Python object": (
        yaml(A + "name: !!python/object/apply:os.mkdir [was-unpickled]"),
        load_yaml,
        "scene.yaml",
        "correct that place",
    ),
    "yaml broken": (
        yaml("modalities: {a: [}"),
        load_yaml,
        "scene.yaml",
        "correct that place",
    ),
    "yaml a list": (
        yaml("- a.tif"),
        load_yaml,
        "scene.yaml",
        "start with 'modalities:'",
    ),
    "yaml binary": (
        yaml(b"\xff\xfe\x00mod"),
        load_yaml,
        "scene.yaml",
        "save it as UTF-8",
    ),
    "yaml without modalities": (yaml("name: x"), load_yaml, "scene.yaml", "name: file"),
    "yaml absolute path": (
        yaml("modalities: {a: /data/a.tif}"),
        load_yaml,
        "/data/a.tif",
        "relative to the scene file",
    ),
    "yaml Windows path": (
        yaml("modalities: {a: 'C:\\data\\a.tif'}"),
        load_yaml,
        "scene.yaml",
        "relative to the scene file",
    ),
    "yaml home": (
        yaml("modalities: {a: ~/a.tif}"),
        load_yaml,
        "scene.yaml",
        "relative to the scene file",
    ),
    "yaml names itself": (
        yaml("modalities: {a: ./scene.yaml}"),
        load_yaml,
        "scene.yaml",
        "name a raster",
    ),
    "yaml names another": (
        yaml("modalities: {a: other.yaml}"),
        load_yaml,
        "scene.yaml",
        "name a raster",
    ),
    "yaml in a circle": (
        yaml("modalities: &m {a: *m}"),
        load_yaml,
        "scene.yaml",
        "it takes file",
    ),
    "yaml key twice": (
        yaml("modalities: {a: a.tif, a: b.tif}"),
        load_yaml,
        "scene.yaml",
        "given twice",
    ),
    "yaml raster missing": (
        yaml("modalities: {a: gone.tif}"),
        load_yaml,
        "gone.tif",
        "no such file",
    ),
    "yaml class absent": (
        yaml(A + "labels: labels.tif\nclasses: {1: x, 2: y, 8: snow}"),
        load_yaml,
        "8 (snow)",
        "remove the class",
    ),
    "yaml colour": (
        yaml(A + "classes: {1: {name: x, color: '#12'}, 2: y}"),
        load_yaml,
        "scene.yaml",
        "#rrggbb",
    ),
    "yaml class without a name": (
        yaml(A + "classes: {1: , 2: y}"),
        load_yaml,
        "scene.yaml",
        "its name",
    ),
    "yaml nodata": (
        yaml(A + "nodata: none"),
        load_yaml,
        "scene.yaml",
        "expected a number",
    ),
    "yaml resample": (yaml(A + "resample: best"), load_yaml, "scene.yaml", "bilinear"),
    "yaml wavelengths": (
        yaml("modalities: {a: {file: a.tif, wavelengths: [400, 500]}}"),
        load_yaml,
        "a.tif",
        "one for each band",
    ),
    "yaml labels": (
        yaml(A + "labels: {training: labels.tif}"),
        load_yaml,
        "scene.yaml",
        "train, test",
    ),
    "save over": (
        lambda d: [tif(d / "a.tif"), (d / "s.yaml").write_text("mine")],
        lambda d: read_scene({"a": d / "a.tif"}).save_yaml(d / "s.yaml"),
        "s.yaml",
        "overwrite=True",
    ),
    "save nowhere": (
        lambda d: tif(d / "a.tif"),
        lambda d: read_scene({"a": d / "a.tif"}).save_yaml(d / "no/s.yaml"),
        "cannot be written",
        "no",
    ),
    # data sets
    "no such data set": (
        lambda d: None,
        lambda d: load_dataset("huston", d),
        "huston",
        "houston2013",
    ),
    "no such tile": (
        lambda d: None,
        lambda d: load_dataset("terramind/x", d),
        "terramind/x",
        "433D_629L_3_1",
    ),
    "a scene that is no longer offered": (
        lambda d: None,
        lambda d: load_dataset("mrnet", d),
        "mrnet",
        "houston2013",
    ),
    "root is a file": (
        lambda d: (d / "root").touch(),
        lambda d: load_dataset("trento", d / "root"),
        "root",
        "choose another folder",
    ),
}


def complex_tif(path):
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=4, width=5, dtype="complex64"
    ) as dst:
        dst.write(np.ones((1, 4, 5), np.complex64))


def h5(path, a=CUBE):
    with h5py.File(path, "w", userblock_size=512) as f:
        f["hsi"] = a


def huge_h5(path):
    with h5py.File(path, "w") as f:
        f.create_dataset("x", (200, 10**6, 10**6), "f4", chunks=(1, 1000, 1000))


def tree(d):
    "Every file in a folder, by content"
    return {
        str(p.relative_to(d)): None
        if p.is_symlink() or p.is_dir()
        else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(d.rglob("*"))
    }


@pytest.mark.parametrize("name", CASES)
def test_one_message_that_names_the_file_and_the_mend(name, tmp_path, monkeypatch):
    prepare, call, thing, mend = CASES[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    prepare(tmp_path / "in")
    before = tree(tmp_path)
    with pytest.raises((InputError, FileNotFoundError)) as e:
        call(tmp_path / "in")
    message = str(e.value)
    assert thing in message and mend in message, message
    assert (
        "\n" not in message and "Traceback" not in message and e.value.__cause__ is None
    ), message
    assert tree(tmp_path) == before


def test_there_are_enough():
    assert len(CASES) >= 60


COMMANDS = {
    "truncated tif": (
        lambda d: [
            tif(d / "a.tif", np.random.default_rng(0).random((4, 99, 99))),
            cut(d / "a.tif"),
            (d / "c.csv").write_text("1,x\n2,y\n"),
        ],
        "train --modality a=a.tif --labels a.tif --classes c.csv --out run",
        "a.tif",
    ),
    "no options": (lambda d: None, "train --out run", "--modality"),
    "yaml unknown key": (
        yaml(A + "label: labels.tif"),
        "train scene.yaml --out run",
        "scene.yaml",
    ),
    "yaml without labels": (yaml(A), "train scene.yaml --out run", "scene.yaml"),
    "yaml and modality": (
        yaml(A),
        "train scene.yaml --modality a=a.tif --out run",
        "--modality",
    ),
    "yaml missing": (lambda d: None, "train scene.yaml --out run", "scene.yaml"),
    "no official split": (
        yaml(A + "labels: labels.tif\nclasses: {1: x, 2: y}"),
        "train scene.yaml --strategy official --out run",
        "official",
    ),
    "no such resampling": (
        yaml(A + "labels: labels.tif"),
        "train scene.yaml --resample best --out run",
        "best",
    ),
    "no such data set": (lambda d: None, "datasets fetch huston", "huston"),
    "fetch over a file": (
        yaml(A),
        "datasets fetch trento --out scene.yaml",
        "scene.yaml",
    ),
    "exams as a scene": (lambda d: None, "datasets fetch mrnet --out x.yaml", "mrnet"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_exits_with_2_and_one_message(name, tmp_path, monkeypatch, capsys):
    from diffclip import cli

    prepare, command, thing = COMMANDS[name]
    prepare(tmp_path)
    before = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["diffclip", *command.split()])
    with pytest.raises(SystemExit) as e:
        cli.main()
    said = capsys.readouterr()
    assert (
        e.value.code == 2
        and thing in said.err
        and "Traceback" not in said.err
        and len(said.err.strip().splitlines()) == 1
    ), said
    assert tree(tmp_path) == before
