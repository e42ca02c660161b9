"Modalities that know their bands; scenes that can be compared and recognised"

import copy
import operator
import pickle
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffclip.core import InputError
from diffclip.data import Modality, Scene, check_classes, synthetic_scene

BANDS, ROWS, COLUMNS = 4, 5, 6
NAMES = ["zero", "one", "two", "three"]
CENTRES = [0.45, 0.55, 0.65, 0.85]


def numbered():
    "A modality whose band i holds the value i everywhere"
    values = np.arange(BANDS)[:, None, None] + np.zeros((BANDS, ROWS, COLUMNS))
    return Modality(values, CENTRES, NAMES, "reflectance")


def check_lists(m, expected=None):
    "Every list that is kept must fit the values of the planes"
    values = np.asarray(m)
    planes = values if values.ndim == 3 else values[None]
    for plane, name in zip(planes, m.band_names or [], strict=bool(m.band_names)):
        assert (plane == NAMES.index(name)).all()
    for plane, centre in zip(planes, [] if m.wavelengths is None else m.wavelengths):
        assert (plane == CENTRES.index(round(float(centre), 2))).all()
    if m.wavelengths is not None:
        assert len(m.wavelengths) == len(planes)
    if expected is not None:
        assert m.band_names == [NAMES[i] for i in expected]
        assert np.allclose(m.wavelengths, [CENTRES[i] for i in expected])
        assert m.units == "reflectance"


SELECTIONS = {
    "reversed": (np.s_[::-1], [3, 2, 1, 0]),
    "list": (np.s_[[2, 0, 1]], [2, 0, 1]),
    "list with all bands": (np.s_[[3, 1, 2, 0]], [3, 1, 2, 0]),
    "slice": (np.s_[1:3], [1, 2]),
    "mask": (np.array([True, False, True, True]), [0, 2, 3]),
    "list of bools": ([False, True, True, False], [1, 2]),
    "array": (np.array([-1, 0]), [3, 0]),
    "integer": (2, [2]),
    "negative integer": (-1, [3]),
    "numpy integer": (np.int64(1), [1]),
    "list and columns": (np.s_[[2, 0], 3:5], [2, 0]),
    "reversed and rows": (np.s_[::-1, 1:4, ::2], [3, 2, 1, 0]),
    "integer and rows": (np.s_[1, 2:4], [1]),
    "ellipsis": (np.s_[...], [0, 1, 2, 3]),
    "ellipsis and columns": (np.s_[..., ::-1], [0, 1, 2, 3]),
    "list and ellipsis": (np.s_[[1, 0], ...], [1, 0]),
    "empty ellipsis": (np.s_[..., 1:3, :, :], [1, 2]),
    "empty tuple": ((), [0, 1, 2, 3]),
    "rows only": (np.s_[:, 1:3], [0, 1, 2, 3]),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_of_bands_takes_its_names_along(name):
    index, expected = SELECTIONS[name]
    check_lists(numbered()[index], expected)


NO_SELECTIONS = {
    "pixels": lambda m: m[:, np.ones((ROWS, COLUMNS), bool)],
    "one spectrum": lambda m: m[:, 2, 3],
    "pairs": lambda m: m[[0, 1, 2, 3], [0, 1, 2, 3]],
    "crossed": lambda m: m[[0, 1, 2, 3], :, [0, 1, 2, 3]],
    "new axis": lambda m: m[None],
    "a row of each band": lambda m: m[:, 2],
    "table of bands": lambda m: m[[[0, 1], [2, 3]]],
    "all values": lambda m: m[np.asarray(m) > 1],
    "turned": lambda m: m.transpose(1, 0, 2),
    "T": lambda m: m.T,
    "swapped": lambda m: m[:, :4, :4].swapaxes(0, 2),
    "moved": lambda m: np.moveaxis(m[:, :4, :4], 0, -1),
    "reshaped": lambda m: m.reshape(BANDS, COLUMNS, ROWS),
    "flat": lambda m: m.ravel(),
    "rolled": lambda m: np.roll(m, 1, 0),
    "sorted": lambda m: np.sort(-m, 0),
    "partitioned": lambda m: np.partition(-m, 1, axis=0),
    "sorted, from the end": lambda m: np.sort(-m, axis=-3),
    "mean": lambda m: m.mean(0),
    "mean, kept": lambda m: m.mean(0, keepdims=True),
    "sum of rows, kept": lambda m: m.sum(1, keepdims=True),
    "running sum": lambda m: np.cumsum(m, 0),
    "difference of bands": lambda m: np.diff(m, axis=0),
    "band minus another": lambda m: m - m[::-1],
    "plane minus another": lambda m: m[3] - m[0],
    "stacked": lambda m: np.concatenate([m, m]),
    "table": lambda m: np.add.outer(m, [1, 2]),
    "spread over bands": lambda m: m[:1] + np.zeros((3, 1, 1)),
    "products of matrices": lambda m: np.matmul(m[:, :4, :4], m[::-1][:, :4, :4]),
}


@pytest.mark.parametrize("name", NO_SELECTIONS)
def test_what_has_no_whole_bands_has_no_names(name):
    out = NO_SELECTIONS[name](numbered())
    assert getattr(out, "band_names", None) is None
    assert getattr(out, "wavelengths", None) is None


def test_a_new_shape_in_place_drops_the_names():
    m = numbered()
    m.shape = (COLUMNS, BANDS, ROWS)
    assert m.band_names is None and m.wavelengths is None
    m.copy()


ARITHMETIC = {
    "number": lambda m: 2 * m + 1,
    "plane": lambda m: m - np.asarray(m).mean(0),
    "offset per band": lambda m: m - np.ones((BANDS, 1, 1)),
    "offset from itself": lambda m: m - m[:, :1, :1],
    "itself": lambda m: m * m,
    "function": lambda m: np.sqrt(np.abs(m)),
    "clip": lambda m: np.clip(m, 0, 1),
    "comparison": lambda m: m > 1,
    "nan in a list": lambda m: m + 0,
    "float64": lambda m: m.astype(np.float64),
    "copy": lambda m: m.copy(),
    "difference of rows": lambda m: np.diff(m, axis=1),
    "flipped": lambda m: np.flip(m, 2),
    "nothing in common": lambda m: m + Modality(np.ones((ROWS, COLUMNS))),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_keeps_the_names(name):
    out = ARITHMETIC[name](numbered())
    assert out.band_names == NAMES
    assert np.allclose(out.wavelengths, CENTRES)
    assert out.units == "reflectance"


def test_in_place():
    m = numbered()
    m *= 2
    assert m.band_names == NAMES
    m += m[::-1]
    assert m.band_names is None
    out = numbered()
    np.add(numbered()[::-1], 0, out=out)
    assert out.band_names is None


def test_numpy_has_no_complaint():
    m = numbered()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (m, m[1], m[:, 1, 1], m[None], m.mean(), np.asarray(3).view(Modality)):
            assert np.array_equal(np.negative(-x), x)
            assert (x == x).all()
            assert np.all(x < 9) and not np.any(x != x)
        np.testing.assert_array_equal(m, m.copy())
        np.testing.assert_allclose(m, m + 1e-9, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_chains_never_keep_a_wrong_list(data):
    m = numbered()
    for _ in range(data.draw(st.integers(1, 5))):
        count = len(m)
        step = data.draw(st.sampled_from(["reverse", "pick", "cut", "copy", "turn"]))
        if step == "reverse":
            m = m[::-1]
        elif step == "pick":
            numbers = st.integers(-count, count - 1)
            m = m[data.draw(st.lists(numbers, min_size=1, max_size=5))]
        elif step == "cut":
            m = m[data.draw(st.slices(count)), 1:]
        elif step == "copy":
            m = pickle.loads(pickle.dumps(m + 0))
        else:
            m = m.swapaxes(1, 2)
        if 0 in m.shape:
            return
        check_lists(m)


@pytest.mark.parametrize(
    "same",
    [copy.copy, copy.deepcopy]
    + [lambda m, p=p: pickle.loads(pickle.dumps(m, p)) for p in range(6)],
)
def test_copies_and_pickles_keep_everything(same):
    m = numbered()
    other = same(m)
    check_lists(other, range(BANDS))
    other.band_names[0] = "changed"
    other.wavelengths[0] = 9
    other[0] = 9
    check_lists(m, range(BANDS))


def test_a_modality_of_a_modality_keeps_its_names():
    check_lists(Modality(numbered()), range(BANDS))
    check_lists(Modality(numbered()[1]), [1])
    assert Modality(numbered(), units="dB").units == "dB"
    assert Modality(numbered(), band_names=list("abcd")).band_names == list("abcd")


def test_a_list_is_checked_whenever_it_is_set():
    m = numbered()
    with pytest.raises(InputError, match="2 band_names for 4 bands"):
        m.band_names = ["a", "b"]
    m.wavelengths = [1, 2, 3, 4]
    assert m[::-1].wavelengths.tolist() == [4, 3, 2, 1]


def test_a_scene_takes_planes_and_other_types():
    m = numbered()
    s = Scene({"plane": m[2], "double": m.astype(np.float64)})
    assert [x.shape for x in s.modalities.values()] == [(1, 5, 6), (4, 5, 6)]
    assert {x.dtype for x in s.modalities.values()} == {np.dtype(np.float32)}
    assert s.modalities["plane"].band_names == ["two"]
    assert s.modalities["double"].band_names == NAMES


# ------------------------------------------------------------------- scenes


def small():
    rng = np.random.default_rng(0)
    return Scene(
        {"hsi": rng.random((3, 8, 9)), "dem": rng.random((8, 9))},
        labels=rng.integers(0, 3, (8, 9)),
        valid=rng.random((8, 9)) > 0.1,
        transform=(1, 0, 0, 0, 1, 0),
    )


CHANGES = {
    "a pixel": lambda s: operator.setitem(s.modalities["dem"], (0, 0, 0), 9),
    "a label": lambda s: operator.setitem(s.labels, (0, 0), 7),
    "no labels": lambda s: setattr(s, "labels", None),
    "valid": lambda s: operator.setitem(s.valid, (0, 0), not s.valid[0, 0]),
    "a class name": lambda s: s.classes.update({1: "other"}),
    "a colour": lambda s: s.colors.update({1: "#000000"}),
    "the place": lambda s: setattr(s, "transform", (2, 0, 0, 0, 1, 0)),
    "the name": lambda s: setattr(s, "name", "other"),
    "descriptions": lambda s: setattr(s, "descriptions", {1: "dark"}),
    "band names": lambda s: setattr(s.modalities["hsi"], "band_names", list("abc")),
    "units": lambda s: setattr(s.modalities["hsi"], "units", "dB"),
    "another modality": lambda s: s.modalities.update(x=s.modalities["dem"]),
}


def test_equal_by_content():
    assert small() == small() and small() == copy.deepcopy(small())
    assert (small() == "a scene") is False
    assert pickle.loads(pickle.dumps(small())) == small()


def test_nan_outside_of_the_valid_pixels_is_equal():
    x = np.ones((2, 2))
    x[0, 0] = np.nan
    assert Scene({"x": x}, valid=x == 1) == Scene({"x": x.copy()}, valid=x == 1)


@pytest.mark.parametrize("name", CHANGES)
def test_not_equal(name):
    s = small()
    CHANGES[name](s)
    assert (s == small()) is False and (s != small()) is True


def test_the_order_of_the_modalities_counts():
    s = small()
    turned = replace(s, modalities=dict(reversed(s.modalities.items())))
    assert s != turned and s.fingerprint() != turned.fingerprint()


def test_fingerprint():
    s = small()
    mark = s.fingerprint()
    assert re.fullmatch("[0-9a-f]{16}", mark) and mark == small().fingerprint()
    seen = {mark}
    for name in ("a pixel", "valid", "another modality"):
        other = small()
        CHANGES[name](other)
        seen.add(other.fingerprint())
    renamed = {"hsi": s.modalities["hsi"], "DEM": s.modalities["dem"]}
    seen.add(replace(s, modalities=renamed).fingerprint())
    wide = {k: np.asarray(m).reshape(-1, 9, 8) for k, m in s.modalities.items()}
    seen.add(Scene(wide, valid=s.valid.reshape(9, 8)).fingerprint())
    assert len(seen) == 6


def test_fingerprint_and_labels():
    s = small()
    other = small()
    other.labels[0, 0] = 7
    assert s.fingerprint() == other.fingerprint()
    assert s.fingerprint(labels=True) != other.fingerprint(labels=True)
    assert s.fingerprint(labels=True) == small().fingerprint(labels=True)
    unlabelled = replace(s, labels=None)
    assert unlabelled.fingerprint(labels=True) != s.fingerprint(labels=True)


def test_fingerprint_does_not_depend_on_the_memory_layout():
    s = small()
    other = small()
    for name, m in s.modalities.items():
        stored = np.asfortranarray(m).view(Modality)
        assert name == "dem" or not stored.flags["C_CONTIGUOUS"]
        other.modalities[name] = stored
    assert s.fingerprint() == other.fingerprint()


def test_a_split_does_not_stop_the_comparison():
    from diffclip.data import few_shot_split

    a = synthetic_scene(0, size=64)
    b = synthetic_scene(0, size=64)
    a.split = few_shot_split(a, 2)
    assert a != b
    b.split = few_shot_split(b, 2)
    assert a == b
    b.split = few_shot_split(b, 2, seed=1)
    assert a != b


def test_one_class_is_a_scene_but_no_classifier():
    labels = np.zeros((4, 4), int)
    labels[0] = 3
    assert Scene({"x": np.ones((4, 4))}, labels).classes == {3: "class 3"}
    assert check_classes({3: "water"}) == {3: "water"}
    with pytest.raises(InputError, match="needs at least 2 classes, got 1"):
        check_classes({3: "water"}, at_least=2)
    with pytest.raises(InputError, match="needs at least 1 class, got 0"):
        Scene({"x": np.ones((4, 4))}, labels * 0)


def test_the_warning_points_to_the_caller():
    with pytest.warns(UserWarning, match=r"codes \[2\] have no class name") as caught:
        Scene({"x": np.ones((2, 2))}, [[1, 2], [1, 2]], {1: "water"})
    assert caught[0].filename == __file__


def test_show_returns_its_figure():
    import matplotlib.pyplot as plt

    figure = small().show()
    assert [ax.get_title() for ax in figure.axes][-1] == "labels"
    plt.close(figure)
