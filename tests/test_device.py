"What only a GPU would tell: operations that CUDA does not have, found without one"

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffclip import DiffCLIP, few_shot_split


class NoIntegerProducts(TorchDispatchMode):
    "CUDA multiplies matrices of floating-point numbers only"

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in (
            "mm",
            "mv",
            "bmm",
            "addmm",
            "addmv",
            "baddbmm",
            "dot",
        ):
            assert all(
                a.is_floating_point() for a in args if isinstance(a, torch.Tensor)
            ), func
        return func(*args, **(kwargs or {}))


def test_the_check_sees_integer_products():
    with NoIntegerProducts(), pytest.raises(AssertionError):
        torch.ones(2, 2).long() @ torch.ones(2).long()


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_no_product_of_integers(preset, scene):
    split = few_shot_split(scene, 2, 0)
    with NoIntegerProducts():
        DiffCLIP(scene.classes, preset, device="cpu").pretrain(scene, steps=1).fit(
            scene, split.train
        ).predict(scene)
