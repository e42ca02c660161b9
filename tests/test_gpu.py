"On a CUDA device: the same maps as on the CPU"

import numpy as np
import pytest
import torch

from diffclip import DiffCLIP, few_shot_split, synthetic_scene

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_same_probabilities_as_on_the_cpu(preset, tmp_path):
    scene = synthetic_scene(0, size=72)
    split = few_shot_split(scene, 2, 0)
    DiffCLIP(scene.classes, preset, device="cpu").pretrain(scene, steps=20).fit(
        scene, split.train
    ).save(tmp_path / "run")
    cpu, gpu = (
        DiffCLIP.load(tmp_path / "run", d).predict_proba(scene) for d in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, atol=1e-3)


def test_trains_on_cuda():
    scene = synthetic_scene(0, size=96)
    split = few_shot_split(scene, 10, 0)
    model = (
        DiffCLIP(scene.classes, "tiny", device="cuda")
        .pretrain(scene)
        .fit(scene, split.train)
    )
    assert np.mean(model.history["pretrain"][-10:]) < 0.8 * np.mean(
        model.history["pretrain"][:5]
    )
    assert (model.predict(scene) == scene.labels)[split.test].mean() > 0.6
