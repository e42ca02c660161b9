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
    OBJECTIVES,
    Setting,
    benchmark,
    method_map,
    method_preset,
    pretrained,
    score_row,
    stage1_method,
)
from diffclip.evaluation.metrics import (
    Report,
    evaluate,
    plot_map,
)
from diffclip.evaluation.results import (
    FIELDS,
    KEY,
    Results,
    append_result,
    compare,
    read_results,
)

__all__ = [
    "ABLATIONS",
    "BASELINES",
    "CLASSIFIERS",
    "FIELDS",
    "KEY",
    "METHODS",
    "OBJECTIVES",
    "Report",
    "Results",
    "Setting",
    "append_result",
    "benchmark",
    "compare",
    "evaluate",
    "method_map",
    "method_preset",
    "pixel_features",
    "plot_map",
    "pretrained",
    "read_results",
    "score_row",
    "simple_map",
    "stage1_method",
    "svm_map",
]
