"The state of a model: what is shared, what is saved, what an interruption leaves"

import copy
import json
import os
import sys
import threading
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch

from diffclip import PRESETS, DiffCLIP, InputError, Scene, few_shot_split
from diffclip.text_alignment import Describing, Fitting, Transduction

TINY = PRESETS["tiny"]
QUICK = replace(
    TINY,
    pretraining=replace(TINY.pretraining, steps=4, batch_size=16),
    fitting=replace(TINY.fitting, steps=4, batch_size=16),
)
TUNED = replace(QUICK, fitting=replace(QUICK.fitting, encoder_lr=1e-3))


def one_hot(texts):
    "A text encoder whose vectors tell any texts apart"
    rng = np.random.default_rng(0)
    table = rng.standard_normal((256, 16))
    return [sum(table[b] * (i + 1) for i, b in enumerate(t.encode())) for t in texts]


@pytest.fixture(scope="module")
def split(scene):
    return few_shot_split(scene, shots=2, seed=0)


@pytest.fixture(scope="module")
def pretrained(scene):
    return DiffCLIP(scene.classes, QUICK, one_hot, "cpu").pretrain(scene)


@pytest.fixture
def fitted(pretrained, scene, split):
    return DiffCLIP.on(pretrained, text=one_hot).fit(scene, split.train)


class Stop(Exception):
    pass


def stop(*args, **kwargs):
    raise Stop


# ------------------------------------------------------------ settings and sharing


def test_settings_are_frozen():
    "One model cannot change the preset of another"
    for settings in (TINY, TINY.fitting, TINY.describing, TINY.pretraining):
        with pytest.raises(FrozenInstanceError):
            settings.steps = 1
    with pytest.raises(TypeError):
        PRESETS["tiny"] = QUICK


def test_on_shares_stage_1_and_nothing_else(pretrained, scene, split, fitted):
    other = DiffCLIP.on(fitted, text=one_hot, seed=3)
    assert other.stage1 is pretrained.stage1 and other.stage2 is None
    assert other.seed == 3 and other.preset == fitted.preset
    other.add_class(90, "snow")
    assert 90 not in fitted.classes
    by_stage = DiffCLIP.on(
        pretrained.stage1, scene.classes, text=one_hot, preset=QUICK
    ).fit(scene, split.train)
    assert (by_stage.predict(scene) == fitted.predict(scene)).all()


@pytest.mark.parametrize(
    "change, say",
    [
        ({"preset": "default"}, "another network"),
        ({"preset": "nothing"}, "is unknown"),
    ],
)
def test_on_refuses_what_does_not_fit(pretrained, change, say):
    with pytest.raises(InputError, match=say):
        DiffCLIP.on(pretrained, text=one_hot, **change)


def test_on_needs_a_stage_1_and_classes(pretrained, scene):
    with pytest.raises(InputError, match="no stage 1 to share"):
        DiffCLIP.on(DiffCLIP(scene.classes, QUICK, device="cpu"))
    with pytest.raises(InputError, match="pass classes"):
        DiffCLIP.on(pretrained.stage1)


def test_presets_that_contradict_themselves_are_refused():
    with pytest.raises(InputError, match="larger than the window"):
        replace(TINY, fitting=replace(TINY.fitting, block=13))
    with pytest.raises(InputError, match="describing"):
        replace(TINY, describing=None)


def test_reach(scene, fitted, split):
    "A change farther away than the reach changes no probability"
    assert PRESETS["paper"].reach == 5 and PRESETS["default"].reach == 38
    assert Describing(context=0, scales=()).reach(11) == 7
    assert Fitting().block == 1 and Transduction().smooth == 0


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "1", None])
def test_bad_seeds(scene, seed):
    with pytest.raises(InputError, match="seed"):
        DiffCLIP(scene.classes, QUICK, device="cpu", seed=seed)


# ------------------------------------------------------------ what is random


def test_landmarks_follow_the_seed(scene, split):
    "The seed is of everything that is random; stage 1 owns the landmarks"

    def landmarks(seed):
        model = DiffCLIP(scene.classes, QUICK, one_hot, "cpu", seed)
        return model.pretrain(scene).fit(scene, split.train).stage2.likeness.landmarks

    first, again, other = landmarks(0), landmarks(0), landmarks(1)
    assert torch.equal(first, again)
    few = replace(QUICK, describing=replace(QUICK.describing, landmarks=20))
    model = DiffCLIP(scene.classes, few, one_hot, "cpu").pretrain(scene)
    marks = [
        DiffCLIP(scene.classes, few, one_hot, "cpu", seed)
        .fit(scene, split.train)
        .stage2.likeness.landmarks
        for seed in (0, 1)
    ]
    assert first.shape == other.shape and not torch.equal(marks[0], marks[1])
    shared = [
        DiffCLIP.on(model, text=one_hot, seed=seed)
        .fit(scene, split.train)
        .stage2.likeness.landmarks
        for seed in (0, 1)
    ]
    assert torch.equal(shared[0], shared[1])


def test_models_in_threads_are_those_of_their_seeds(scene, split):
    "No thread moves another's random numbers, nor the caller's"

    def train(seed, out):
        model = DiffCLIP(scene.classes, QUICK, "scratch", "cpu", seed)
        out[seed] = model.pretrain(scene).fit(scene, split.train).predict_proba(scene)

    alone, together = {}, {}
    for seed in (1, 2):
        train(seed, alone)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = [threading.Thread(target=train, args=(s, together)) for s in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.rand(3), expected)
    for seed in (1, 2):
        np.testing.assert_array_equal(alone[seed], together[seed])


# ------------------------------------------------------------ interruptions


@pytest.mark.parametrize("preset", [QUICK, TUNED])
def test_an_interrupted_fit_leaves_the_model_as_it_was(
    preset, pretrained, scene, split
):
    model = DiffCLIP.on(pretrained, text=one_hot, preset=preset)
    model.fit(scene, split.train)
    before = model.predict_proba(scene)
    other = few_shot_split(scene, shots=3, seed=1)
    with pytest.raises(Stop):
        _interrupted(model.fit, scene, other.train)
    np.testing.assert_array_equal(model.predict_proba(scene), before)


@pytest.mark.parametrize("preset", [QUICK, TUNED])
def test_an_interrupted_refine_leaves_the_model_as_it_was(
    preset, pretrained, scene, split
):
    model = DiffCLIP.on(pretrained, text=one_hot, preset=preset)
    model.fit(scene, split.train)
    before = model.predict_proba(scene)
    other = few_shot_split(scene, shots=3, seed=1)
    with pytest.raises(Stop):
        _interrupted(model.refine, scene, other.train)
    np.testing.assert_array_equal(model.predict_proba(scene), before)


def _interrupted(call, *args):
    "Interrupt a fit on its last steps, when the landmarks teach"
    import diffclip.stage2 as module

    kept, module.self_train = module.self_train, stop
    try:
        call(*args)
    finally:
        module.self_train = kept


def test_an_interrupted_pretraining_leaves_the_model_as_it_was(
    pretrained, scene, fitted
):
    before = fitted.predict_proba(scene)
    with pytest.raises(Stop):
        fitted.pretrain(scene, progress=stop)
    assert fitted.stage1 is pretrained.stage1
    np.testing.assert_array_equal(fitted.predict_proba(scene), before)


# ------------------------------------------------------------ refine


def test_refine_goes_on_from_the_present_weights(fitted, scene, split):
    "Without a step it changes nothing; with few it moves a part of the way"
    other = few_shot_split(scene, shots=4, seed=2)
    alone = replace(QUICK, transduction=replace(QUICK.transduction, pseudo=0.0))
    model = DiffCLIP.on(fitted, text=one_hot, preset=alone).fit(scene, split.train)
    start = model.stage2.head.project.weight.detach().clone()
    full = copy.deepcopy(model).refine(scene, other.train)
    full = full.stage2.head.project.weight.detach()
    none = copy.deepcopy(model).refine(scene, other.train, steps=0)
    few = copy.deepcopy(model).refine(scene, other.train, steps=2)
    assert torch.allclose(none.stage2.head.project.weight, start, atol=1e-5)
    distance = [
        float((w - full).norm())
        for w in (start, few.stage2.head.project.weight.detach())
    ]
    assert 0 < distance[1] < distance[0]


# ------------------------------------------------------------ no data


def test_no_data_is_0_in_codes_and_nan_in_numbers(fitted, scene):
    invalid = ~scene.valid
    assert invalid.any() and (fitted.predict(scene)[invalid] == 0).all()
    proba = fitted.predict_proba(scene)
    assert np.isnan(proba[:, invalid]).all()
    np.testing.assert_allclose(proba[:, scene.valid].sum(0), 1, atol=1e-5)
    query = fitted.query(scene, "river")
    assert np.isnan(query[invalid]).all() and np.isfinite(query[scene.valid]).all()


# ------------------------------------------------------------ classes


def test_classes_with_one_vector_are_named(scene):
    with pytest.raises(InputError, match="'Trees' and 'trees'"):
        DiffCLIP({1: "Trees", 2: "trees", 3: "water"}, QUICK, device="cpu")
    rows = np.eye(8)
    rows[3] = rows[5]
    with pytest.raises(InputError, match="'bare soil' and 'flat roof'"):
        DiffCLIP(scene.classes, QUICK, rows, "cpu")
    with pytest.raises(InputError, match="same text vector"):
        DiffCLIP(scene.classes, QUICK, np.ones((8, 4)), "cpu")
    model = DiffCLIP({1: "a", 2: "b"}, QUICK, lambda t: np.ones((len(t), 3)), "cpu")
    with pytest.raises(InputError, match="'a' and 'b'"):
        model.words.class_vectors()


def test_a_model_needs_two_classes(scene):
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        DiffCLIP({1: "water"}, QUICK, device="cpu")


# ------------------------------------------------------------ saved models


@pytest.fixture(scope="module")
def saved(pretrained, scene, split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "run"
    model = DiffCLIP.on(pretrained, text=one_hot).fit(scene, split.train)
    model.save(folder)
    return folder


def test_history_and_settings_survive(saved, pretrained):
    again = DiffCLIP.load(saved, "cpu")
    assert again.history["pretrain"] == pretrained.history["pretrain"]
    assert len(again.history["fit"]) > 0 and again.preset == QUICK


def test_a_shared_encoder_is_stored_once(saved, pretrained):
    names = DiffCLIP.load(saved, "cpu")._tensors()
    assert not [n for n in names if n.startswith("stage2.encoder")]
    weights = sum(p.numel() for p in pretrained.stage1.network.parameters())
    described = sum(t.numel() for n, t in names.items() if n.startswith("stage2"))
    size = (saved / "model.safetensors").stat().st_size
    assert size < 4 * (weights + described) * 1.1 + 50_000


def test_an_encoder_that_learned_is_stored_too(pretrained, scene, split, tmp_path):
    model = DiffCLIP.on(pretrained, text=one_hot, preset=TUNED).fit(scene, split.train)
    model.save(tmp_path)
    again = DiffCLIP.load(tmp_path, "cpu")
    np.testing.assert_array_equal(
        again.predict_proba(scene), model.predict_proba(scene)
    )
    np.testing.assert_array_equal(
        again.fit(scene, split.train).predict(scene),
        model.fit(scene, split.train).predict(scene),
    )


def test_without_stage_1(scene, split, tmp_path):
    model = DiffCLIP(scene.classes, QUICK, one_hot, "cpu").fit(scene, split.train)
    model.save(tmp_path)
    again = DiffCLIP.load(tmp_path, "cpu")
    assert again.stage1 is None
    np.testing.assert_array_equal(
        again.predict_proba(scene), model.predict_proba(scene)
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="reads /proc")
def test_the_weights_are_not_mapped(saved):
    model = DiffCLIP.load(saved, "cpu")
    with open("/proc/self/maps") as maps:
        assert "model.safetensors" not in maps.read()
    assert model.stage2 is not None


def without(key):
    def change(config):
        node = config
        *path, last = key.split(".")
        for name in path:
            node = node[name]
        del node[last]

    return change


def with_value(key, value):
    def change(config):
        node = config
        *path, last = key.split(".")
        for name in path:
            node = node[name]
        node[last] = value

    return change


CHANGES = {
    "an unknown field": with_value("more", 1),
    "an unknown field of the preset": with_value("preset.fitting.more", 1),
    "no preset": without("preset"),
    "no stage 2": without("stage2"),
    "no shots": without("stage2.shots"),
    "no field of the preset": without("preset.fitting.steps"),
    "no classes": without("classes"),
    "classes of a list": with_value("classes", ["a"]),
    "one class": with_value("classes", {"1": "a"}),
    "a code that is no number": with_value("classes", {"a": "a", "b": "b"}),
    "a text for a number": with_value("preset.fitting.steps", "many"),
    "null for a number": with_value("preset.architecture.width", None),
    "a width that does not fit": with_value("preset.architecture.width", 32),
    "a window of 0": with_value("preset.architecture.window", 0),
    "a negative seed": with_value("seed", -1),
    "colours of numbers": with_value("colors", {"1": 7}),
    "sentences of another number": with_value("words.sentences", [["a"]]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_configurations(change, saved, tmp_path):
    "Each ends in one sentence that names the folder"
    config = json.loads((saved / "config.json").read_text())
    CHANGES[change](config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = (saved / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=str(tmp_path)) as e:
        DiffCLIP.load(tmp_path, "cpu")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"', "{", "[" * 100_000])
def test_configurations_that_are_no_mapping(text, saved, tmp_path):
    (tmp_path / "config.json").write_text(text)
    weights = (saved / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=str(tmp_path)):
        DiffCLIP.load(tmp_path, "cpu")


def test_format_5_is_refused_with_the_way_on(saved, tmp_path):
    config = json.loads((saved / "config.json").read_text())
    old = {"format": 5, "classes": config["classes"], "shots": 2.0}
    (tmp_path / "config.json").write_text(json.dumps(old))
    (tmp_path / "model.safetensors").write_bytes(
        (saved / "model.safetensors").read_bytes()
    )
    with pytest.raises(InputError, match="format 5, .* train the model again"):
        DiffCLIP.load(tmp_path, "cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite(value, saved, tmp_path):
    import hashlib

    import safetensors.torch as st

    tensors = st.load((saved / "model.safetensors").read_bytes())
    tensors["stage2.head.project.weight"][0, 0] = value
    _rewrite(tensors, saved, tmp_path, st, hashlib)
    with pytest.raises(InputError, match="damaged"):
        DiffCLIP.load(tmp_path, "cpu")


@pytest.mark.parametrize("name", ["stage2.class_vectors", "stage2.likeness.guide"])
def test_tensors_that_are_missing(name, saved, tmp_path):
    import hashlib

    import safetensors.torch as st

    tensors = st.load((saved / "model.safetensors").read_bytes())
    del tensors[name]
    _rewrite(tensors, saved, tmp_path, st, hashlib)
    with pytest.raises(InputError, match="damaged"):
        DiffCLIP.load(tmp_path, "cpu")


def _rewrite(tensors, saved, folder, st, hashlib):
    weights = st.save(tensors)
    config = json.loads((saved / "config.json").read_text())
    config["weights"] = hashlib.sha256(weights).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(weights)


def test_files_of_two_models_do_not_fit(saved, pretrained, scene, split, tmp_path):
    other = DiffCLIP.on(pretrained, text=one_hot)
    other.fit(scene, few_shot_split(scene, shots=3, seed=4).train).save(tmp_path)
    weights = (saved / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="do not fit"):
        DiffCLIP.load(tmp_path, "cpu")


def test_settings_as_json(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["preset"] == json.loads(json.dumps(asdict(QUICK)))


def test_importing_leaves_the_interpreter_alone():
    "Warning filters, random numbers, plot settings"
    import subprocess

    code = (
        "import warnings, torch, matplotlib, numpy as np\n"
        "warnings.simplefilter('default')\n"
        "before = list(warnings.filters), torch.get_rng_state().clone(), "
        "np.random.get_state()[1].copy(), dict(matplotlib.rcParams)\n"
        "import diffclip, diffclip.cli\n"
        "assert warnings.filters == before[0], warnings.filters\n"
        "assert torch.equal(torch.get_rng_state(), before[1])\n"
        "assert (np.random.get_state()[1] == before[2]).all()\n"
        "assert dict(matplotlib.rcParams) == before[3]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_scenes_with_one_class_can_be_mapped(fitted, scene):
    "A reference with one class is no training set, but it is a scene"
    labels = np.where(scene.labels == 1, 1, 0)
    one = Scene(scene.modalities, labels, {1: "water"}, scene.valid)
    assert (fitted.predict(one) == fitted.predict(scene)).all()


# ------------------------------------------------------------ known bands


def test_bands_in_another_order_give_the_same_map(fitted, scene):
    turned = {name: m[::-1] for name, m in reversed(scene.modalities.items())}
    mixed = Scene(turned, valid=scene.valid)
    assert (fitted.predict(mixed) == fitted.predict(scene)).all()


def test_values_in_another_unit_are_refused(fitted, scene):
    hsi, lidar = scene.modalities.values()
    counts = Scene({"hsi": 10_000 * hsi, "lidar": lidar}, valid=scene.valid)
    for call in (fitted.predict, fitted.predict_proba):
        with pytest.raises(InputError, match="hsi: .* divide by it"):
            call(counts)
    assert fitted.predict(counts, force=True).shape == scene.shape
    DiffCLIP.on(fitted, text=one_hot)
    with pytest.raises(InputError, match="nothing like"):
        fitted.query(counts, "river")


def test_known_bands_are_saved(saved, scene):
    again = DiffCLIP.load(saved, "cpu")
    assert again.rasters["lidar"].names == ["height", "intensity"]
    other = Scene(
        {"hsi": scene.modalities["hsi"][:40], "lidar": np.ones((2, *scene.shape))}
    )
    with pytest.raises(InputError, match="hsi has 40 bands"):
        again.predict(other)
