"""Few-shot, language-driven classification of multimodal remote sensing images."""

__version__ = "0.1.0"

import warnings as _warnings

with _warnings.catch_warnings():  # the libraries below add filters of their own
    import diffclip.open_vocabulary  # noqa: F401  adds methods to DiffCLIP
    from diffclip.classifier import DiffCLIP
    from diffclip.core import InputError
    from diffclip.data import (
        Modality,
        Scene,
        Split,
        few_shot_split,
        load_dataset,
        open_raster,
        read_classes,
        read_labels,
        read_raster,
        read_scene,
        synthetic_scene,
        write_map,
    )
    from diffclip.evaluation import Report, evaluate, plot_map
    from diffclip.presets import PRESETS, Preset

__all__ = [
    "PRESETS",
    "DiffCLIP",
    "InputError",
    "Modality",
    "Preset",
    "Report",
    "Scene",
    "Split",
    "evaluate",
    "few_shot_split",
    "load_dataset",
    "open_raster",
    "plot_map",
    "read_classes",
    "read_labels",
    "read_raster",
    "read_scene",
    "synthetic_scene",
    "write_map",
]
