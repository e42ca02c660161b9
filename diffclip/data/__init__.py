"""Scenes: rasters in, windows out."""

from diffclip.data.datasets import (
    DATASETS,
    Dataset,
    LULC,
    S2_BANDS,
    TERRAMIND_SHA256,
    TERRAMIND_URL,
    datasets_table,
    find_dataset,
    load_dataset,
)
from diffclip.data.labels import (
    map_classes,
    read_classes,
    read_descriptions,
    write_map,
)
from diffclip.data.raster_files import (
    Raster,
    RasterFile,
)
from diffclip.data.rasters import (
    open_raster,
    read_raster,
    write_raster,
)
from diffclip.data.scene import (
    Modality,
    PALETTE,
    Scene,
    check_classes,
    default_colors,
    draw_labels,
    stretch,
)
from diffclip.data.scene_files import (
    RESAMPLING,
    read_scene,
    read_scene_file,
)
from diffclip.data.splits import (
    Split,
    far_from,
    few_shot_split,
    official_split,
)
from diffclip.data.synthetic import (
    SYNTHETIC_CLASSES,
    SYNTHETIC_COLORS,
    WAVELENGTHS,
    synthetic_scene,
)
from diffclip.data.windows import (
    Windows,
    apply_scaling,
    fit_scaling,
    mnf,
)

__all__ = [
    "DATASETS",
    "Dataset",
    "LULC",
    "Modality",
    "PALETTE",
    "RESAMPLING",
    "Raster",
    "RasterFile",
    "S2_BANDS",
    "SYNTHETIC_CLASSES",
    "SYNTHETIC_COLORS",
    "Scene",
    "Split",
    "TERRAMIND_SHA256",
    "TERRAMIND_URL",
    "WAVELENGTHS",
    "Windows",
    "apply_scaling",
    "check_classes",
    "datasets_table",
    "default_colors",
    "draw_labels",
    "far_from",
    "few_shot_split",
    "find_dataset",
    "fit_scaling",
    "load_dataset",
    "map_classes",
    "mnf",
    "official_split",
    "open_raster",
    "read_classes",
    "read_descriptions",
    "read_raster",
    "read_scene",
    "read_scene_file",
    "stretch",
    "synthetic_scene",
    "write_map",
    "write_raster",
]
