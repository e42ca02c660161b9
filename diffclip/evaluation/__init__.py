"""Scores, baselines and tables."""

from diffclip.evaluation.baselines import (
    BASELINES,
    CLASSIFIERS,
    pixel_features,
    simple_map,
    svm_map,
)
from diffclip.evaluation.benchmark import (
    ABLATIONS,
    METHODS,
    benchmark,
    method_map,
    method_preset,
    stage1,
)
from diffclip.evaluation.metrics import (
    Report,
    evaluate,
    plot_map,
)
from diffclip.evaluation.results import (
    FIELDS,
    Results,
    compare,
    read_results,
)

__all__ = [
    "ABLATIONS",
    "BASELINES",
    "CLASSIFIERS",
    "FIELDS",
    "METHODS",
    "Report",
    "Results",
    "benchmark",
    "compare",
    "evaluate",
    "method_map",
    "method_preset",
    "pixel_features",
    "plot_map",
    "read_results",
    "simple_map",
    "stage1",
    "svm_map",
]
