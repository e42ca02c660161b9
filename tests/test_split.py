"Few-shot splits, over many scenes, shots and seeds"

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffclip.core import InputError
from diffclip.data import Scene, Split, few_shot_split, synthetic_scene

SCENES = {seed: synthetic_scene(seed) for seed in range(3)}


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
    assert np.array_equal(split.train | split.test, s.labels > 0)
    assert not (split.train & split.test).any()


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
    y, x = np.nonzero(split.test)
    shot_pixels = np.argwhere(split.train)
    # Chebyshev distance, by definition
    far = [np.maximum(abs(y - row), abs(x - column)) for row, column in shot_pixels]
    assert np.min(far) > 10
    for c in s.classes:
        assert (split.test & (s.labels == c)).sum() >= (s.labels == c).sum() / 2


def test_splits_are_equal_by_content():
    a = few_shot_split(SCENES[0], 2, seed=0)
    b = few_shot_split(SCENES[0], 2, seed=0)
    assert (a == b) is True and (a != b) is False
    assert a == copy.deepcopy(a)
    assert (a == few_shot_split(SCENES[0], 2, seed=1)) is False
    assert (a == few_shot_split(SCENES[1], 2, seed=0)) is False
    assert (a == replace(a, test=a.train)) is False
    assert (a == replace(a, margin=1)) is False
    assert (a == replace(a, train=a.train[:5], test=a.test[:5])) is False
    assert (a == "a split") is False
    assert isinstance(a, Split)


def test_a_scene_with_one_class_can_be_split():
    labels = np.zeros((60, 60), int)
    labels[10:50, 10:50] = 3
    s = Scene({"x": np.random.default_rng(0).random((1, 60, 60))}, labels)
    for strategy in ("random", "disjoint"):
        split = few_shot_split(s, 4, 0, strategy)
        assert split.train.sum() == 4
        assert (labels[split.train] == 3).all() and (labels[split.test] == 3).all()


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
        for c in s.classes:
            mine = s.labels == c
            assert (split.test & mine).sum() >= mine.sum() / 2


def test_what_cannot_be_had_says_how_many_remain():
    labels = np.zeros((60, 60), int)
    labels[:30] = 1
    labels[30:33, :3] = 2
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
