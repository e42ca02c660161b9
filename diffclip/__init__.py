__version__ = "0.1.0"

from .core import InputError
from .data import Modality, Scene, Split, few_shot_split, read_scene, synthetic_scene, write_map
from .classifier import DiffCLIP, PRESETS, Preset
from .evaluation import Report, evaluate, plot_map
from . import open_vocabulary as _open_vocabulary

__all__ = ["DiffCLIP", "InputError", "Modality", "PRESETS", "Preset", "Report", "Scene", "Split", "evaluate", "few_shot_split", "plot_map",
           "read_scene", "synthetic_scene", "write_map"]
