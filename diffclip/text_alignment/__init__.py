"""Stage 2: attach language to what stage 1 has learned."""

from diffclip.text_alignment.alignment import (
    AlignmentHead,
    Fitting,
    alignment_loss,
    fit_shots,
    predict_blocks,
    shot_tokens,
)
from diffclip.text_alignment.averaging import (
    SceneReader,
    edge_mean,
    fit_guide,
    tokens_at,
)
from diffclip.text_alignment.likeness import (
    Likeness,
    fit_likeness,
)
from diffclip.text_alignment.prompts import (
    TEMPLATES,
    builtin_descriptions,
    class_prompts,
    class_sentences,
)
from diffclip.text_alignment.surroundings import (
    surroundings,
)
from diffclip.text_alignment.towers import (
    PretrainedText,
    ScratchText,
    find_tower,
    fitting_tokens,
    open_text,
    parse_text,
    text_state,
)
from diffclip.text_alignment.transduction import (
    effective_shots,
    fit_head,
    predict_tiles,
    self_train,
    share_weighted,
    solve_head,
)
from diffclip.text_alignment.tuning import (
    TunedText,
    split_projection,
)
from diffclip.text_alignment.vectors import (
    check_embeddings,
    encode_texts,
    encoder_name,
    match_embeddings,
    mean_directions,
    read_embeddings,
)

__all__ = [
    "AlignmentHead",
    "Fitting",
    "Likeness",
    "PretrainedText",
    "SceneReader",
    "ScratchText",
    "TEMPLATES",
    "TunedText",
    "alignment_loss",
    "builtin_descriptions",
    "check_embeddings",
    "class_prompts",
    "class_sentences",
    "edge_mean",
    "effective_shots",
    "encode_texts",
    "encoder_name",
    "find_tower",
    "fit_guide",
    "fit_head",
    "fit_likeness",
    "fit_shots",
    "fitting_tokens",
    "match_embeddings",
    "mean_directions",
    "open_text",
    "parse_text",
    "predict_blocks",
    "predict_tiles",
    "read_embeddings",
    "self_train",
    "share_weighted",
    "shot_tokens",
    "solve_head",
    "split_projection",
    "surroundings",
    "text_state",
    "tokens_at",
]
