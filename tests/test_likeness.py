"A fitted model: what is kept between calls must never show in a result"

from dataclasses import replace

import numpy as np
import pytest

from diffclip import PRESETS, DiffCLIP, InputError, few_shot_split
from diffclip.data import Scene


def same(a, b):
    "Equal to the bit, no data included"
    return np.array_equal(a, b, equal_nan=True)


@pytest.fixture(scope="module")
def split(scene):
    return few_shot_split(scene, 2, 0)


@pytest.fixture(scope="module")
def model(scene, split):
    return (
        DiffCLIP(scene.classes, "tiny", device="cpu")
        .pretrain(scene, steps=20)
        .fit(scene, split.train)
    )


def brighter(scene):
    return Scene(
        {k: 1.1 * np.asarray(m) for k, m in scene.modalities.items()},
        labels=scene.labels,
        classes=scene.classes,
        valid=scene.valid,
    )


def test_a_saved_model_gives_the_same_probabilities_to_the_bit(scene, model, tmp_path):
    model.save(tmp_path)
    again = DiffCLIP.load(tmp_path, "cpu")
    assert same(again.predict_proba(scene), model.predict_proba(scene))


def test_another_scene_in_between_changes_nothing(scene, split, model):
    before = model.predict_proba(scene)
    other = model.predict_proba(brighter(scene))
    assert not np.allclose(before, other, equal_nan=True)
    assert same(model.predict_proba(scene), before)
    assert same(model.fit(scene, split.train).predict_proba(scene), before)


def test_a_scene_changed_in_place_is_read_anew(scene, model):
    mine = brighter(scene)
    before = model.predict_proba(mine)
    mine.modalities["hsi"][:] = np.asarray(scene.modalities["hsi"])
    mine.modalities["lidar"][:] = np.asarray(scene.modalities["lidar"])
    assert not np.allclose(before, model.predict_proba(mine), equal_nan=True)
    assert same(model.predict_proba(mine), model.predict_proba(scene))


@pytest.mark.parametrize("batch_size", [8, 50])
def test_the_batch_of_a_call_is_the_batch(scene, model, tmp_path, batch_size):
    "No more windows are encoded at once"
    model.save(tmp_path)
    again = DiffCLIP.load(tmp_path, "cpu")
    seen = []
    encoder = again.stage2.encoder
    encoder.register_forward_pre_hook(
        lambda _, windows: seen.append(len(next(iter(windows[0].values()))))
    )
    again.predict(scene, batch_size=batch_size)
    assert max(seen) == batch_size


def test_a_scene_under_other_names_is_another_scene(scene, model):
    model.predict(scene)
    with pytest.raises(InputError, match="no modality hsi"):
        model.predict(
            Scene(dict(zip("ab", scene.modalities.values())), valid=scene.valid)
        )


def test_a_failed_fit_leaves_the_model_as_it_was(scene, split, model):
    before = model.predict_proba(scene)
    with pytest.raises(InputError, match="no modality lidar"):
        model.fit(
            Scene(
                {"hsi": scene.modalities["hsi"]},
                scene.labels,
                scene.classes,
                scene.valid,
            ),
            split.train,
        )
    assert same(model.predict_proba(scene), before)


def test_an_encoder_that_learns_is_read_anew(scene, split, tmp_path):
    "What a refined model predicts is what its saved weights predict"
    cfg = replace(PRESETS["tiny"].fitting, encoder_lr=1e-3, steps=5)
    vectors = np.eye(len(scene.classes), 16, dtype=np.float32)
    m = (
        DiffCLIP(scene.classes, replace(PRESETS["tiny"], fitting=cfg), vectors, "cpu")
        .pretrain(scene, steps=5)
        .fit(scene, split.train)
    )
    before = m.predict_proba(scene)
    m.refine(scene, split.train, steps=5).save(tmp_path)
    after = m.predict_proba(scene)
    assert not np.allclose(before, after, equal_nan=True)
    assert same(DiffCLIP.load(tmp_path, "cpu").predict_proba(scene), after)


def test_pseudo_labels_change_the_map_and_not_what_is_known(scene, split, model):
    "With them the shots keep their class, and the map is another"
    tiny = PRESETS["tiny"]
    untaught = replace(tiny, transduction=replace(tiny.transduction, pseudo=0.0))
    alone = DiffCLIP.on(model, preset=untaught)
    taught = model.predict(scene)
    assert (alone.fit(scene, split.train).predict(scene) != taught).mean() > 0.02
    assert (
        model.fit(scene, split.train).predict(scene)[split.train]
        == scene.labels[split.train]
    ).mean() >= 0.9


def test_likeness_reads_no_label(scene, split, model):
    blank = Scene(
        dict(scene.modalities),
        labels=np.where(split.train, scene.labels, 0),
        classes=scene.classes,
        valid=scene.valid,
    )
    again = (
        DiffCLIP(scene.classes, "tiny", device="cpu")
        .pretrain(blank, steps=20)
        .fit(blank, split.train)
    )
    assert same(again.predict_proba(scene), model.predict_proba(scene))


def test_the_preset_that_was_saved_is_the_preset(model, tmp_path):
    model.save(tmp_path)
    assert DiffCLIP.load(tmp_path, "cpu").preset == PRESETS["tiny"]


def test_shots_side_by_side_count_for_less(scene, model, monkeypatch):
    """In the class shares of the map, and in how far classes are compared when
    landmarks teach; no other label is read"""
    given = []
    monkeypatch.setattr(
        "diffclip.stage2.self_train",
        lambda *a, **k: given.append((k["weight"], k["overall"])),
    )
    worth = [
        DiffCLIP.on(model).fit(scene, few_shot_split(scene, 5, 0, s).train).stage2.shots
        for s in ("disjoint", "random")
    ]
    assert 1 <= worth[0] < worth[1] <= 5
    (trust, overall), (more, further) = given
    assert 0 <= trust < more < 1 and 0 <= overall < further <= 1
