import os
from pathlib import Path

import numpy as np
import pytest

from diffclip.data import synthetic_scene, write_map, write_raster

DATA = Path(
    os.environ.get("DIFFCLIP_DATA")
    or Path(__file__).resolve().parent.parent.parent / "shared" / "data"
)


def write_scene(scene, folder):
    "A scene as an analyst has it: a raster per modality, labels, classes.csv"
    for k, m in scene.modalities.items():
        write_raster(
            folder / f"{k}.tif",
            np.where(scene.valid, m, -9999).astype(np.float32),
            scene,
            nodata=-9999,
        )
    write_map(folder / "labels.tif", scene.labels, scene)
    (folder / "classes.csv").write_text(
        "code,name\n" + "".join(f"{c},{n}\n" for c, n in scene.classes.items())
    )


@pytest.fixture(scope="session")
def scene():
    return synthetic_scene(0, size=72)


@pytest.fixture
def files(scene, tmp_path):
    write_scene(scene, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tile():
    "The real tile 433D"
    folder = DATA / "terramind" / "433D_629L_3_1"
    if not folder.exists():
        pytest.skip(
            "no real data: set DIFFCLIP_DATA to a folder with "
            f"{folder.relative_to(DATA)}"
        )
    return folder
