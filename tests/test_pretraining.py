"Stage 1: what it learns, what it leaves alone, what it saves, what it refuses to load"

import dataclasses
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from diffclip.core import InputError, from_mapping
from diffclip.data.scene import Scene
from diffclip.data.windows import Windows, apply_scaling
from diffclip.encoder import Architecture, Encoder
from diffclip.mask_diffusion.diffusion import MaskDiffusion, Objective
from diffclip.mask_diffusion.pretraining import Pretraining, Stage1
from diffclip.mask_diffusion.training import autocast, has_bfloat16

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
SHORT = Pretraining(steps=2, batch_size=8)


def learn(scene, seed=0, **options):
    return Stage1.learn(scene, SMALL, settings=SHORT, seed=seed, **options)


def as_bytes(stage1):
    return safetensors.torch.save(stage1.tensors())


@pytest.fixture(scope="module")
def stage1(scene):
    return learn(scene)


@pytest.fixture
def folder(stage1, tmp_path):
    stage1.save(tmp_path / "stage1")
    return tmp_path / "stage1"


# ------------------------------------------------------------------- learning


def test_the_same_seed_gives_the_same_bytes(scene, stage1):
    assert as_bytes(learn(scene)) == as_bytes(stage1)
    assert as_bytes(learn(scene, seed=1)) != as_bytes(stage1)


def test_threads_do_not_disturb_each_other(scene, stage1):
    alone = {0: as_bytes(stage1), 1: as_bytes(learn(scene, seed=1))}
    seeds = [0, 1] * 4
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: as_bytes(learn(scene, seed=seed)), seeds))
    assert all(x == alone[seed] for seed, x in zip(seeds, found))


def test_the_callers_random_numbers_stay(scene, monkeypatch):
    "Neither seeded nor drawn from, on the CPU and on CUDA"
    torch.manual_seed(5)
    before = torch.get_rng_state()
    seeded = []
    for module, name in (
        (torch, "manual_seed"),
        (torch, "seed"),
        (torch.cuda, "manual_seed"),
        (torch.cuda, "manual_seed_all"),
        (torch.random, "manual_seed"),
    ):
        monkeypatch.setattr(module, name, lambda *a, n=name: seeded.append(n))
    learn(scene)
    assert seeded == []
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_leaves_the_random_numbers_alone(folder):
    before = torch.get_rng_state()
    Stage1.load(folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_stopped_training_leaves_nothing_behind(scene, stage1, error):
    "No object, no changed scene: the next training is as the first"

    def stop(step, steps, loss):
        raise error

    before = scene.fingerprint()
    random_numbers = torch.get_rng_state()
    with pytest.raises(error):
        learn(scene, progress=stop)
    assert scene.fingerprint() == before
    assert torch.equal(torch.get_rng_state(), random_numbers)
    assert as_bytes(learn(scene)) == as_bytes(stage1)


def test_labels_are_not_read(scene, stage1):
    bare = Scene(scene.modalities, valid=scene.valid)
    assert as_bytes(learn(bare)) == as_bytes(stage1)


def test_progress_is_called_after_each_step(scene, stage1):
    calls = []
    learn(scene, progress=lambda *call: calls.append(call))
    assert [(step, steps) for step, steps, _ in calls] == [(1, 2), (2, 2)]
    assert [float(loss) for *_, loss in calls] == stage1.losses


def test_a_loss_that_is_no_number_is_an_error(scene):
    fast = replace(SHORT, lr=1e30, steps=4)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        Stage1.learn(scene, SMALL, settings=fast)


def test_no_steps_are_the_first_weights(scene):
    untrained = Stage1.learn(scene, SMALL, settings=replace(SHORT, steps=0))
    assert untrained.losses == [] and untrained.steps == 0


def test_windows_are_scaled_as_while_learning(scene, stage1):
    windows = stage1.windows(scene)
    expected = Windows(apply_scaling(scene, stage1.scaling), SMALL.window)
    for m in expected.rows:
        assert torch.equal(windows.rows[m], expected.rows[m])
    other = Scene({"hsi": scene.modalities["hsi"]}, valid=scene.valid)
    with pytest.raises(InputError, match="lidar"):
        stage1.windows(other)


def test_what_stage_1_says_of_itself(scene, stage1):
    assert stage1.modalities == {m: len(x) for m, x in scene.modalities.items()}
    assert stage1.bands == stage1.modalities  # "minmax" keeps the number of bands
    assert stage1.steps == 2
    assert stage1.encoder is stage1.network.encoder
    assert not stage1.network.training
    assert "2 steps, seed 0" in repr(stage1)


# ------------------------------------------------------------------- bfloat16


@pytest.mark.parametrize(
    "capability, expected", [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_emulated_bfloat16_is_not_used(monkeypatch, capability, expected):
    "PyTorch says that a card of capability 7.5 supports bfloat16, which it emulates"
    enabled = []

    def record(*args, **options):
        enabled.append(options["enabled"])

    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *a: capability)
    monkeypatch.setattr(torch, "autocast", record)
    autocast(torch.device("cuda"))
    assert enabled == [expected]


@pytest.mark.parametrize("answer", [True, False])
def test_rocm_answers_itself(monkeypatch, answer):
    monkeypatch.setattr(torch.version, "hip", "6.0")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *a, **k: answer)
    assert has_bfloat16(torch.device("cuda")) is answer


def test_the_cpu_computes_in_float32():
    assert not has_bfloat16(torch.device("cpu"))


# ------------------------------------------------------------------- settings


@pytest.mark.parametrize("settings", [SMALL, Objective(), Pretraining()])
def test_settings_are_frozen(settings):
    name = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 1)


@pytest.mark.parametrize(
    "kind, values, message",
    [
        (Architecture, {"window": 10}, "odd"),
        (Architecture, {"width": 0}, "width is 0"),
        (Architecture, {"heads": 7}, "divisible"),
        (Architecture, {"decoder_heads": 7}, "divisible"),
        (Architecture, {"mlp_ratio": -1.0}, "mlp_ratio"),
        (Architecture, {"depth": -1}, "depth"),
        (Architecture, {"stem_norm": "layer"}, "stem_norm"),
        (Objective, {"mask_ratio": 70}, "mask_ratio"),
        (Objective, {"decode": -0.1}, "decode"),
        (Objective, {"timesteps": 1001}, "timesteps"),
        (Pretraining, {"steps": -1}, "steps is -1"),
        (Pretraining, {"batch_size": 0}, "batch_size is 0"),
        (Pretraining, {"schedule": "cosine"}, "schedule is 'cosine'"),
        (Pretraining, {"augment": "flip"}, "augment is 'flip'"),
    ],
)
def test_impossible_settings_are_refused(kind, values, message):
    with pytest.raises(InputError, match=message):
        kind(**values)


@pytest.mark.parametrize("seed", ["zero", -1, 1.5])
def test_an_impossible_seed_is_refused(scene, seed):
    with pytest.raises(InputError, match="seed"):
        learn(scene, seed=seed)


# ------------------------------------------------------------------- mapping


@dataclass(frozen=True)
class Part:
    rate: float = 0.5
    widths: tuple[float, ...] = ()


@dataclass(frozen=True)
class Whole:
    steps: int | None = None
    part: Part = Part()
    maybe: Part | None = None
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "whole",
    [
        Whole(),
        Whole(3, Part(1.0, (1.0, 2.5)), Part(), ("a", "b")),
        Pretraining(),
        Pretraining(steps=5, objective=Objective(decode=0.4)),
        SMALL,
    ],
)
def test_a_dataclass_survives_json(whole):
    values = json.loads(json.dumps(dataclasses.asdict(whole)))
    assert from_mapping(type(whole), values, "a.json") == whole


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": "3"}, "steps is '3'"),
        ({"steps": 3.5}, "steps is 3.5"),
        ({"steps": True}, "steps is True"),
        ({"steps": float("nan")}, "no valid JSON"),
        ({"steps": object()}, "no valid JSON"),
        ({"part": [1, 2]}, "part is"),
        ({"part": None}, "part is None"),
        ({"part": {"rate": 0.5}}, "part.widths is missing"),
        ({"maybe": {"rate": 0.5}}, "maybe.widths is missing"),
        ({"part": {"rate": 0.5, "widths": [], "x": 1}}, "part.x is unknown"),
        ({"part": {"rate": "fast", "widths": []}}, "part.rate is 'fast'"),
        ({"part": {"rate": 0.5, "widths": ["a"]}}, "part.widths.0 is 'a'"),
        ({"part": {"rate": 0.5, "widths": 3}}, "part.widths is 3"),
        ({"more": 1}, "the field more is unknown"),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(change, message):
    values = json.loads(json.dumps(dataclasses.asdict(Whole()))) | change
    with pytest.raises(InputError, match=f"a.json.*{message}"):
        from_mapping(Whole, values, "a.json")


@pytest.mark.parametrize("values", [[], None, 3, "text", [{}]])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(InputError, match="a.json"):
        from_mapping(Whole, values, "a.json")


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match="the field part is missing"):
        from_mapping(Whole, {"steps": None, "maybe": None, "names": []}, "a.json")


# ------------------------------------------------------------ saving, loading


def test_what_is_saved_comes_back(stage1, folder):
    again = Stage1.load(folder)
    assert as_bytes(again) == as_bytes(stage1)
    assert again.settings == stage1.settings
    assert again.architecture == SMALL
    assert (again.seed, again.losses) == (stage1.seed, stage1.losses)
    assert {p.name for p in folder.iterdir()} == {"stage1.json", "stage1.safetensors"}


@pytest.mark.parametrize("names", [["hsi", "lidar"], ["zebra", "ape"], ["ape", "bat"]])
def test_the_order_of_the_modalities_comes_back(scene, names, tmp_path):
    "A safetensors file sorts its tensors; the head of stage 2 depends on the order"
    rasters = dict(zip(names, scene.modalities.values()))
    learn(Scene(rasters, valid=scene.valid)).save(tmp_path)
    again = Stage1.load(tmp_path)
    assert list(again.scaling) == list(again.bands) == names


def test_no_file_stays_mapped(stage1, folder):
    again = Stage1.load(folder)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(folder) not in maps.read_text()
    (folder / "stage1.safetensors").write_bytes(b"")
    assert as_bytes(again) == as_bytes(stage1)


def test_a_stage_1_shares_nothing_with_its_tensors(stage1):
    before = as_bytes(stage1)
    tensors = stage1.tensors()
    again = Stage1.from_tensors(tensors, SMALL, 0, steps=2)
    for x in tensors.values():
        x.zero_()
    assert as_bytes(again) == as_bytes(stage1) == before


@pytest.mark.parametrize("name", ["stage1.json", "stage1.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        Stage1.load(folder)


def test_a_folder_in_place_of_a_file_is_no_crash(folder):
    (folder / "stage1.json").unlink()
    (folder / "stage1.json").mkdir()
    with pytest.raises(InputError, match="stage1.json cannot be read"):
        Stage1.load(folder)


def test_another_format_is_named(folder):
    change_json(folder, format=99)
    with pytest.raises(InputError, match="format 99.*use the version that saved it"):
        Stage1.load(folder)


def test_a_place_that_cannot_be_written(stage1, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        stage1.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def change_json(folder, **changes):
    values = json.loads((folder / "stage1.json").read_text(encoding="utf-8"))
    for name, value in changes.items():
        if value is ...:
            del values[name]
        else:
            values[name] = value
    (folder / "stage1.json").write_text(json.dumps(values), encoding="utf-8")


def damaged(folder):
    "Load, and expect the one sentence"
    with pytest.raises(InputError) as caught:
        Stage1.load(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder} holds a damaged stage 1 (")
    assert message.endswith("): train it again")
    assert "\n" not in message
    return message


SIZES = dataclasses.asdict(SMALL)
SETTINGS = dataclasses.asdict(SHORT)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": ...},
        {"seed": "0"},
        {"seed": -5.5},
        {"seed": -5},
        {"seed": 10**30},
        {"steps": -1},
        {"more": 1},
        {"steps": 3},
        {"sha256": "0" * 64},
        {"format": True, "seed": "0"},
        {"architecture": [7, 16]},
        {"architecture": None},
        {"architecture": {**SIZES, "width": 32}},
        {"architecture": {**SIZES, "width": 10**9}},
        {"architecture": {**SIZES, "width": 10**30}},
        {"architecture": {**SIZES, "depth": 2}},
        {"architecture": {**SIZES, "depth": "1"}},
        {"architecture": {**SIZES, "window": 6}},
        {"architecture": {**SIZES, "heads": 3}},
        {"architecture": {**SIZES, "mlp_ratio": float("nan")}},
        {"architecture": {**SIZES, "mlp_ratio": 1e300}},
        {"architecture": {**SIZES, "stem_norm": "none"}},
        {"architecture": {"width": 16}},
        {"settings": {**SETTINGS, "lr": "fast"}},
        {"settings": {**SETTINGS, "objective": []}},
        {"settings": {**SETTINGS, "augment": "flip"}},
        {"modalities": ["hsi", "lidar"]},
        {"modalities": {"hsi": 64}},
        {"modalities": {"hsi": 64, "lidar": 3}},
        {"modalities": {"hsi": 64, "radar": 2}},
        {"modalities": {"hsi": -1, "lidar": 2}},
        {"modalities": {}},
    ],
    ids=str,
)
def test_damaged_settings_end_in_one_sentence(folder, changes):
    change_json(folder, **changes)
    damaged(folder)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b"3"]
)
def test_damaged_json_ends_in_one_sentence(folder, text):
    (folder / "stage1.json").write_bytes(text)
    damaged(folder)


def write_tensors(folder, data):
    "A file that the checksum does not give away"
    (folder / "stage1.safetensors").write_bytes(data)
    change_json(folder, sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("data", [b"", b"abc", b"\0" * 64, b"\xff" * 64])
def test_a_damaged_tensor_file_ends_in_one_sentence(folder, data):
    write_tensors(folder, data)
    damaged(folder)


def test_a_cut_or_changed_tensor_file_is_noticed(folder):
    path = folder / "stage1.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    assert "not the file that was saved" in damaged(folder)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "not the file that was saved" in damaged(folder)


WEIGHT = "network.encoder.norm.weight"


@pytest.mark.parametrize(
    "name, value",
    [
        (WEIGHT, None),
        (WEIGHT, torch.zeros(17)),
        (WEIGHT, torch.zeros(16, 1)),
        (WEIGHT, torch.zeros(16).half()),
        (WEIGHT, torch.full((16,), torch.nan)),
        (WEIGHT, torch.full((16,), torch.inf)),
        ("network.more", torch.zeros(1)),
        ("more", torch.zeros(1)),
        ("losses", None),
        ("losses", torch.zeros(3).double()),
        ("losses", torch.zeros(2)),
        ("losses", torch.tensor([0.5, torch.nan]).double()),
        ("scaling.hsi.offset", None),
        ("scaling.hsi.offset", torch.zeros(3)),
        ("scaling.hsi.offset", torch.full((64,), torch.nan)),
        ("scaling.hsi.matrix", None),
        ("scaling.hsi.matrix", torch.zeros(64)),
        ("scaling.hsi.matrix", torch.zeros(())),
        ("scaling.hsi.matrix", torch.zeros(3, 64)),
        ("scaling.hsi.matrix", torch.zeros(0, 64)),
        ("scaling.hsi.matrix", torch.zeros(64, 64).double()),
        ("scaling.hsi.order", None),
        ("scaling.hsi.order", torch.zeros(2).long()),
        ("scaling.hsi", torch.zeros(1)),
        ("scaling.other.offset", torch.zeros(1)),
    ],
    ids=str,
)
def test_tensors_that_do_not_fit_end_in_one_sentence(stage1, folder, name, value):
    tensors = stage1.tensors()
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    write_tensors(folder, safetensors.torch.save(tensors))
    message = damaged(folder)
    if not name.startswith("scaling"):  # there the first tensor that does not fit
        assert name in message


# ------------------------------------------------------------------ the network


def test_the_same_as_its_parts(scene, stage1):
    "The loss is the error of what `reconstruct` shows, also without BatchNorm"
    bare = replace(SMALL, stem_norm="none")
    network = MaskDiffusion(stage1.bands, bare).eval()
    clean = stage1.windows(scene).gather(torch.arange(4) + 20, torch.arange(4) + 30)
    objective = Objective(hidden_weight=0.5)
    make = torch.Generator
    predicted, _, masks = network.reconstruct(
        clean, objective, generator=make().manual_seed(5)
    )
    expected = 0.0
    for m, x in clean.items():
        error = (predicted[m] - x).square().mean(1).flatten(1)
        expected += 0.5 * error[masks[m]].mean() + error[~masks[m]].mean()
    loss = network(clean, objective, generator=make().manual_seed(5))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_encoder_is_embed_then_encode(scene, stage1):
    encoder = Encoder(stage1.bands, SMALL).eval()
    clean = stage1.windows(scene).gather(torch.arange(4) + 20, torch.arange(4) + 30)
    t = torch.tensor([0, 5, 10, 999])
    whole = encoder(clean, t)
    parts = encoder.encode(encoder.embed(clean), t)
    for m in whole:
        np.testing.assert_array_equal(whole[m].detach(), parts[m].detach())
