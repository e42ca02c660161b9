"The faults of the published code that have an observable consequence must be absent"

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffclip import PRESETS, DiffCLIP, Scene, few_shot_split
from diffclip.data import Windows, apply_scaling, fit_scaling
from diffclip.encoder import Architecture
from diffclip.mask_diffusion import (
    MaskDiffusion,
    Objective,
    Pretraining,
    pixel_batches,
    random_mask,
)
from diffclip.text_alignment import alignment_loss

SMALL = Architecture(
    window=7,
    width=16,
    depth=1,
    heads=1,
    hidden=16,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=1,
)


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def quick(**kw):
    p = PRESETS["tiny"]
    return replace(
        p,
        architecture=SMALL,
        pretraining=replace(p.pretraining, steps=4, batch_size=16),
        fitting=replace(p.fitting, steps=8, batch_size=16),
        **kw,
    )


@pytest.fixture(scope="module")
def split(scene):
    return few_shot_split(scene, 2, 0)


@pytest.fixture(scope="module")
def fitted(scene, split):
    return (
        DiffCLIP(scene.classes, quick(), device="cpu")
        .pretrain(scene)
        .fit(scene, split.train)
    )


def test_pretraining_does_not_read_labels(scene):
    labelled = DiffCLIP(scene.classes, quick(), device="cpu").pretrain(scene)
    bare = DiffCLIP(scene.classes, quick(), device="cpu").pretrain(
        Scene(scene.modalities, valid=scene.valid)
    )
    assert same(weights(labelled.stage1.network), weights(bare.stage1.network))


def test_pretraining_samples_the_whole_valid_scene(scene):
    "Also where nothing is labelled, and nowhere else"
    pixels = torch.from_numpy(np.argwhere(scene.valid))
    batches = pixel_batches(pixels, 64, torch.Generator().manual_seed(0))
    seen = np.zeros(scene.shape, bool)
    for _ in range(-(-len(pixels) // 64)):
        seen[tuple(next(batches).T.numpy())] = True
    assert (seen == scene.valid).all()


@pytest.mark.parametrize("modalities", [1, 2, 5])
@pytest.mark.parametrize("ratio", [0.3, 0.7, 0.9])
def test_mask_marks_exactly_the_hidden_tokens_in_every_modality(modalities, ratio):
    torch.manual_seed(0)
    x = {f"m{i}": torch.randn(2, i + 1, 7, 7) for i in range(modalities)}
    model = MaskDiffusion(
        {m: v.shape[1] for m, v in x.items()}, replace(SMALL, stem_norm="none")
    ).eval()
    kept = {}
    encode = model.encoder.encode
    model.encoder.encode = lambda tokens, t: kept.update(tokens) or encode(tokens, t)
    t = torch.zeros(2, dtype=torch.long)
    _, noised, masks = model.reconstruct(x, Objective(mask_ratio=ratio), t)
    everything = model.encoder.embed(noised)
    for m in x:
        for b in range(2):
            visible = {tuple(v.tolist()) for v in kept[m][b]}
            assert [
                tuple(v.tolist()) not in visible for v in everything[m][b]
            ] == masks[m][b].tolist()
        assert masks[m].sum(1).tolist() == [49 - int(49 * (1 - ratio))] * 2
    if modalities > 1:
        assert not torch.equal(masks["m0"], masks["m1"])


def test_masks_differ_between_samples():
    *_, mask = random_mask(50, 121)
    assert len({tuple(m.tolist()) for m in mask}) == 50


def test_labels_outside_the_shots_change_nothing(scene, split, fitted):
    other = copy.deepcopy(scene)
    rest = ~split.train & (scene.labels > 0)
    other.labels[rest] = np.random.default_rng(1).permutation(other.labels[rest])
    other.labels[~split.train & (scene.labels == 0)] = 3
    again = (
        DiffCLIP(scene.classes, quick(), device="cpu")
        .pretrain(other)
        .fit(other, split.train)
    )
    assert same(weights(fitted.stage1.network), weights(again.stage1.network))
    assert same(weights(fitted.stage2.encoder), weights(again.stage2.encoder))
    assert same(weights(fitted.stage2.head), weights(again.stage2.head))
    assert torch.equal(fitted.stage2.class_vectors, again.stage2.class_vectors)


def test_a_label_inside_the_shots_does_matter(scene, split, fitted):
    "Or the test above could not fail"
    other, (y, x) = copy.deepcopy(scene), np.argwhere(split.train)[0]
    other.labels[y, x] = 1 if scene.labels[y, x] != 1 else 2
    again = copy.deepcopy(fitted).fit(other, split.train)
    assert not same(weights(fitted.stage2.head), weights(again.stage2.head))


@pytest.mark.parametrize("readout", ["class", "pixel"])
def test_prediction_is_free_of_chance_and_of_the_batch_size(
    scene, split, readout, tmp_path
):
    p = quick()
    model = DiffCLIP(
        scene.classes,
        replace(
            p,
            fitting=replace(
                p.fitting, readout=readout, block=1 if readout == "class" else 5
            ),
        ),
        device="cpu",
    )
    model.pretrain(scene).fit(scene, split.train)
    model.save(tmp_path)

    def proba(batch_size):
        "Of a model that knows nothing of the scene yet"
        return DiffCLIP.load(tmp_path, "cpu").predict_proba(scene, batch_size)

    one = proba(256)
    torch.manual_seed(99)
    np.random.seed(99)
    np.testing.assert_array_equal(proba(256), one)
    for batch_size in (1 if readout == "pixel" else 50, 77, 5000):
        np.testing.assert_allclose(proba(batch_size), one, atol=1e-5)


def test_prediction_does_not_touch_the_callers_random_numbers(scene, split):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    DiffCLIP(scene.classes, quick(), device="cpu").pretrain(scene).fit(
        scene, split.train
    ).predict(scene)
    assert torch.equal(torch.rand(3), expected)


def test_two_images_of_a_class_are_not_negatives():
    "A second image of a class that moves towards its text lowers the loss"
    logits = torch.zeros(4, 2, requires_grad=True)
    alignment_loss(logits, torch.tensor([0, 0, 1, 1])).backward()
    right = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.bool)
    assert (logits.grad[right] < 0).all() and (logits.grad[~right] > 0).all()


def test_order_of_the_shots_and_of_classes_does_not_leak(scene, split, fitted):
    "Class codes are names, not numbers: renumbered classes give the renumbered map"
    table = {c: 10 * c + 3 for c in scene.classes}
    other = Scene(
        scene.modalities,
        np.vectorize(lambda c: table.get(c, 0))(scene.labels),
        {table[c]: n for c, n in scene.classes.items()},
        scene.valid,
    )
    again = (
        DiffCLIP(other.classes, quick(), device="cpu")
        .pretrain(other)
        .fit(other, split.train)
    )
    assert (
        again.predict(other)[scene.valid]
        == np.vectorize(table.get)(fitted.predict(scene)[scene.valid])
    ).all()


def test_any_number_of_modalities(scene, split):
    for names in (["hsi"], ["lidar"], ["hsi", "lidar", "more"]):
        mods = {
            n: scene.modalities.get(n, scene.modalities["lidar"][:1] ** 2)
            for n in names
        }
        s = Scene(mods, scene.labels, scene.classes, scene.valid)
        assert (
            DiffCLIP(s.classes, quick(), device="cpu")
            .pretrain(s)
            .fit(s, split.train)
            .predict(s)
            .shape
            == s.shape
        )


def test_paper_preset_runs_through(scene, split):
    p = PRESETS["paper"]
    p = replace(p, fitting=replace(p.fitting, steps=2))
    model = (
        DiffCLIP(scene.classes, p, device="cpu")
        .pretrain(scene, steps=2)
        .fit(scene, split.train)
    )
    assert (
        model.stage2.encoder.blocks[0].attn.heads == 8
        and model.preset.fitting.readout == "class"
    )
    small = Scene({k: m[:, :12, :12] for k, m in scene.modalities.items()})
    assert set(np.unique(model.predict(small))) <= set(scene.classes)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_paper_parameter_counts():
    model = MaskDiffusion({"hsi": 144, "lidar": 1}, Architecture())
    encoder = model.encoder
    decoders = model.decoders.values()
    counted = {
        "blocks": count(encoder.blocks),
        "norm": count(encoder.norm),
        "stems": [count(stem.reduce) for stem in encoder.stems.values()],
        "embed": [count(stem.embed) for stem in encoder.stems.values()],
        "time": [count(part) for part in encoder.timestep.values()],
        "class tokens": [token.numel() for token in encoder.class_token.values()],
        "mask tokens": [decoder.mask_token.numel() for decoder in decoders],
        "decoders": [[count(p) for p in decoder.children()] for decoder in decoders],
    }
    shared = [16_512, 397_440, 256, 16_512, 16_512]
    assert counted == {
        "blocks": 529_920,
        "norm": 256,
        "stems": [35_584, 17_280],
        "embed": [16_512] * 2,
        "time": [49_408] * 2,
        "class tokens": [128] * 2,
        "mask tokens": [128] * 2,
        "decoders": [[*shared, 18_576], [*shared, 129]],
    }


def test_paper_schedule():
    paper = PRESETS["paper"]
    assert paper.pretraining == Pretraining(
        steps=None,
        epochs=400,
        batch_size=128,
        lr=1e-4,
        weight_decay=1e-4,
        schedule="restarts",
        augment="crop",
        objective=Objective(mask_ratio=0.7, hidden_weight=0.1),
    )
    assert paper.scaling == "minmax"
    fitting = paper.fitting
    assert (fitting.steps, fitting.batch_size, fitting.schedule) == (150, 128, "steps")
    assert (fitting.lr, fitting.encoder_lr, fitting.weight_decay) == (1e-4, 1e-4, 1e-5)
    assert fitting.scale == pytest.approx(1 / 0.7)


def test_windows_are_views_of_one_table(scene):
    "No copy of all windows: the scene is held once"
    win = Windows(apply_scaling(scene, fit_scaling(scene)), 11)
    held = sum(t.numel() for t in win.rows.values())
    H, W = scene.shape
    assert held == (H + 10) * (W + 10) * 66
