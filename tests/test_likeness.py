"Stage 2 by likeness: what is kept between calls must never show in a result"

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffclip import PRESETS, DiffCLIP, InputError, few_shot_split
from diffclip.data import Scene
from diffclip.text_alignment import (
    Fitting,
    SceneReader,
    predict_tiles,
    self_train,
    solve_head,
    surroundings,
)


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
    assert (
        DiffCLIP.load(tmp_path, "cpu").predict_proba(scene)
        == model.predict_proba(scene)
    ).all()


def test_another_scene_in_between_changes_nothing(scene, split, model):
    before = model.predict_proba(scene)
    other = model.predict_proba(brighter(scene))
    assert (
        not np.allclose(before, other) and (model.predict_proba(scene) == before).all()
    )
    assert (model.fit(scene, split.train).predict_proba(scene) == before).all()


def test_a_scene_changed_in_place_is_read_anew(scene, model):
    mine = brighter(scene)
    before = model.predict_proba(mine)
    mine.modalities["hsi"][:] = np.asarray(scene.modalities["hsi"])
    mine.modalities["lidar"][:] = np.asarray(scene.modalities["lidar"])
    assert (
        not np.allclose(before, model.predict_proba(mine))
        and (model.predict_proba(mine) == model.predict_proba(scene)).all()
    )


def test_a_large_scene_gets_the_map_of_a_small_one(scene, model):
    "Read tile by tile, or once and kept"
    kept = model._read(scene)
    large = SceneReader(model.encoder, kept.windows, kept.cfg, keep=0)
    large.guide, large.tau2 = kept.guide, kept.tau2
    a, b = (
        torch.cat(
            [
                p
                for _, _, p in predict_tiles(
                    r, model.likeness, model.head, model.class_texts, tile=50
                )
            ]
        )
        for r in (kept, large)
    )
    assert kept.small and not large.small and (a - b).abs().max() < 1e-4


def test_the_batch_of_a_call_is_the_batch(scene, model):
    model.kept = None
    model.predict(scene)
    model.predict(scene, batch=8)
    assert model._read(scene).batch == 8


def test_a_scene_under_other_names_is_another_scene(scene, model):
    model.predict(scene)
    with pytest.raises(InputError, match="no modality hsi"):
        model.predict(
            Scene(dict(zip("ab", scene.modalities.values())), valid=scene.valid)
        )


def test_after_a_failed_fit_a_model_says_that_it_is_not_fitted(scene, split, model):
    model = copy.copy(model)
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
    with pytest.raises(InputError, match="has not been fitted"):
        model.predict(scene)


def test_an_encoder_that_learns_is_read_anew(scene, split, tmp_path):
    "What a refined model predicts is what its saved weights predict"
    cfg = replace(PRESETS["tiny"].fitting, encoder_lr=1e-3, steps=5, context_steps=5)
    vectors = np.eye(len(scene.classes), 16, dtype=np.float32)
    m = (
        DiffCLIP(scene.classes, replace(PRESETS["tiny"], fitting=cfg), vectors, "cpu")
        .pretrain(scene, steps=5)
        .fit(scene, split.train)
    )
    before = m.predict_proba(scene)
    m.refine(scene, split.train, steps=5).save(tmp_path)
    after = m.predict_proba(scene)
    assert (
        not np.allclose(before, after)
        and (DiffCLIP.load(tmp_path, "cpu").predict_proba(scene) == after).all()
    )


def test_pseudo_labels_change_the_map_and_not_what_is_known(scene, split, model):
    "With them the shots keep their class, and the map is another"
    alone = copy.copy(model)
    alone.preset = replace(
        model.preset, fitting=replace(model.preset.fitting, pseudo=0.0)
    )
    taught = model.predict(scene)
    assert (alone.fit(scene, split.train).predict(scene) != taught).mean() > 0.02
    assert (
        model.fit(scene, split.train).predict(scene)[split.train]
        == scene.labels[split.train]
    ).mean() >= 0.9


def test_a_class_that_no_landmark_has_is_mapped(scene, split, model):
    "Its shots alone stand for it"
    head, likeness, texts = model.head, model.likeness, model.class_texts
    yx = torch.from_numpy(np.argwhere(split.train))
    phi, y = (
        likeness(model._read(scene).pixels(yx)),
        torch.from_numpy(
            np.searchsorted(list(scene.classes), scene.labels[split.train])
        ),
    )
    with torch.no_grad():
        label = head([likeness.describe(likeness.landmarks)], texts).argmax(1)
    others = likeness.describe(likeness.landmarks)[label != 0]
    trial = copy.deepcopy(head)
    solve_head(phi, trial, texts, y)
    self_train(phi, y, others, trial, texts)
    with torch.no_grad():
        assert (trial([phi], texts).argmax(1)[y == 0] == 0).all()
    self_train(phi, y, others[:0], trial, texts)  # no landmark at all: the shots
    with torch.no_grad():
        assert (trial([phi], texts).argmax(1) == y).float().mean() > 0.9


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
    assert (again.predict_proba(scene) == model.predict_proba(scene)).all()


def test_the_preset_that_was_saved_is_the_preset(model, tmp_path):
    model.save(tmp_path)
    assert DiffCLIP.load(tmp_path, "cpu").preset == PRESETS["tiny"]


def test_a_model_saved_before_texture_had_kinds_stays_what_it_was(
    scene, split, model, tmp_path
):
    variance = (
        DiffCLIP(
            scene.classes,
            replace(
                PRESETS["tiny"],
                fitting=replace(PRESETS["tiny"].fitting, texture="variance"),
            ),
            device="cpu",
        )
        .pretrain(scene, steps=20)
        .fit(scene, split.train)
    )
    variance.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["preset"]["fitting"]["texture"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    expected = variance.predict_proba(scene)
    assert (DiffCLIP.load(tmp_path, "cpu").predict_proba(scene) == expected).all()
    assert not np.allclose(model.predict_proba(scene), expected)


def test_an_unknown_texture_is_refused():
    with pytest.raises(InputError, match="'octaves', 'variance'"):
        Fitting(texture="stripes")


def test_shots_side_by_side_count_for_less(scene, model, monkeypatch):
    "In the class shares of the map, and how far classes are compared when landmarks teach; without a word from the other labels"
    given = []
    monkeypatch.setattr(
        "diffclip.classifier.self_train", lambda *a: given.append(a[-2:])
    )
    worth = [
        model.fit(scene, few_shot_split(scene, 5, 0, s).train).shots
        for s in ("disjoint", "random")
    ]
    assert 1 <= worth[0] < worth[1] <= 5
    (trust, overall), (more, further) = given
    assert 0 <= trust < more < 1 and 0 <= overall < further <= 1


def test_texture_is_seen():
    "Two halves of one mean and unlike spread: told apart by their surroundings, not by the mean"
    rng = np.random.default_rng(0)
    calm, rough = (s * rng.standard_normal((1, 40, 40)) for s in (0.1, 1.0))
    rough -= rough.mean() - calm.mean()
    labels = np.repeat([[1, 2]], 40, 0).repeat(40, 1)
    both = Scene(
        {"x": np.concatenate([calm, rough], 2).astype(np.float32)},
        labels=labels,
        classes={1: "calm", 2: "rough"},
    )
    windows = DiffCLIP(both.classes, "tiny", device="cpu")._windows(both)
    f = surroundings(windows, torch.arange(40), torch.arange(80), (4.0,)).flatten(0, 1)
    apart = (
        f[labels.ravel() == 1].mean(0) - f[labels.ravel() == 2].mean(0)
    ).abs() / f.std(0)
    assert apart[0] < 0.5 and apart[1] > 1.5
