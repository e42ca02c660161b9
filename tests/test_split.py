"Few-shot splits, over many scenes, shots and seeds"

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffclip.data import InputError, Scene, few_shot_split, synthetic_scene

SCENES = {s: synthetic_scene(s) for s in range(3)}


@settings(max_examples=25, deadline=None)
@given(
    scene=st.sampled_from(list(SCENES)),
    shots=st.integers(1, 60),
    seed=st.integers(0, 10_000),
)
def test_random(scene, shots, seed):
    s = SCENES[scene]
    split = few_shot_split(s, shots, seed)
    assert [(split.train & (s.labels == c)).sum() for c in s.classes] == [shots] * 8
    assert ((split.train ^ split.test) == (s.labels > 0)).all() and not (
        split.train & split.test
    ).any()


@settings(max_examples=15, deadline=None)
@given(
    scene=st.sampled_from(list(SCENES)),
    shots=st.sampled_from([1, 2, 4, 8, 16, 40]),
    seed=st.integers(0, 10_000),
)
def test_disjoint(scene, shots, seed):
    s = SCENES[scene]
    split = few_shot_split(s, shots, seed, "disjoint")
    assert [(split.train & (s.labels == c)).sum() for c in s.classes] == [shots] * 8
    ty, tx = np.nonzero(split.train)
    y, x = np.nonzero(split.test)
    nearest = np.min(
        [np.maximum(abs(y - a), abs(x - b)) for a, b in zip(ty, tx)], axis=0
    )  # Chebyshev, by definition
    assert nearest.min() > 10
    for c in s.classes:
        assert (split.test & (s.labels == c)).sum() >= (s.labels == c).sum() / 2


@pytest.mark.parametrize("strategy", ["random", "disjoint"])
def test_same_seed_same_split_other_seed_other(strategy):
    a, b, c = (few_shot_split(SCENES[0], 5, seed, strategy).train for seed in (3, 3, 4))
    assert (a == b).all() and (a != c).any()


def test_disjoint_on_the_real_tile(tile):
    from diffclip import read_scene

    s = read_scene(
        {"optical": tile / "S2L2A.tif"},
        tile / "LULC.tif",
        {1: "water", 2: "trees", 4: "crops", 5: "built area", 9: "rangeland"},
    )
    for shots in (2, 10, 40):
        split = few_shot_split(s, shots, 0, "disjoint")
        assert (
            min(
                (split.test & (s.labels == c)).sum() / (s.labels == c).sum()
                for c in s.classes
            )
            >= 0.5
        )


def test_what_cannot_be_had_says_how_many_remain():
    labels = np.zeros((60, 60), int)
    labels[:30], labels[30:33, :3] = 1, 2
    s = Scene(
        {"x": np.random.default_rng(0).random((1, 60, 60))},
        labels,
        {1: "field", 2: "pond"},
    )
    assert few_shot_split(s, 8, 0).train.sum() == 16
    with pytest.raises(InputError, match=r"pond: \d+ of 9"):
        few_shot_split(s, 2, 0, "disjoint")
    with pytest.raises(InputError, match=r"too few of: pond \(9\)"):
        few_shot_split(s, 9, 0)


@pytest.mark.parametrize(
    "kw", [dict(shots=0), dict(shots=-1), dict(shots=1.5), dict(strategy="spatial")]
)
def test_wrong_arguments(kw):
    with pytest.raises(InputError):
        few_shot_split(SCENES[0], **{"shots": 2, **kw})
