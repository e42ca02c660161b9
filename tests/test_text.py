"Text towers: the real loading code, on checkpoints made here"
import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from diffclip import DiffCLIP, InputError, few_shot_split
from diffclip.text_alignment import class_prompts, pretrained_text

ARCH = "RN50-quickgelu"


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(1)
    return open_clip.create_model(ARCH).eval()


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_local_checkpoint_gives_open_clips_embeddings(clip, form, tmp_path, scene):
    path, prompts = tmp_path / f"w.{form}", class_prompts(scene.classes.values())
    torch.save(clip.state_dict(), path) if form == "pt" else save_file(clip.state_dict(), path)
    ours = pretrained_text(f"{ARCH}:{path}", prompts)
    with torch.no_grad(): theirs = clip.encode_text(open_clip.get_tokenizer(ARCH)(prompts), normalize=True)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_damaged_checkpoint(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match="could not be loaded.*class vectors as an array"): pretrained_text(f"{ARCH}:{tmp_path / 'w.pt'}", ["a", "b"])


def test_hub_without_a_network_names_the_ways_out(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="hf-hub:nobody/nothing.*own class vectors as an array, or text='scratch'"): pretrained_text("hf-hub:nobody/nothing", ["a"])


def test_fit_with_a_pretrained_tower(clip, tmp_path, scene):
    torch.save(clip.state_dict(), tmp_path / "w.pt")
    split = few_shot_split(scene, 2, 0)
    model = DiffCLIP(scene.classes, "tiny", text=f"{ARCH}:{tmp_path / 'w.pt'}", device="cpu").pretrain(scene, steps=1).fit(scene, split.train)
    assert model.class_texts.shape == (8, 1024)
    model.save(tmp_path / "run")
    (tmp_path / "w.pt").unlink()                       # a saved model needs the tower no more
    assert (DiffCLIP.load(tmp_path / "run", "cpu").predict(scene) == model.predict(scene)).all()


def test_own_vectors(scene, tmp_path):
    split, vectors = few_shot_split(scene, 2, 0), np.random.default_rng(0).normal(size=(8, 20))
    model = DiffCLIP(scene.classes, "tiny", text=vectors, device="cpu").pretrain(scene, steps=1).fit(scene, split.train)
    np.testing.assert_allclose(model.class_texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-6)
    assert (model.predict(scene)[scene.valid] > 0).all()
    model.save(tmp_path / "run")
    again = DiffCLIP.load(tmp_path / "run", "cpu").fit(scene, split.train)   # fitted again with the vectors that were saved
    assert (again.predict(scene) == model.predict(scene)).all()
