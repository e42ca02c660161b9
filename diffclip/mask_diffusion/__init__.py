"""Stage 1: learn the images without labels."""

from diffclip.mask_diffusion.diffusion import (
    Decoder,
    MaskDiffusion,
    add_noise,
    mask_diffusion_loss,
    noise_schedule,
    random_mask,
)
from diffclip.mask_diffusion.pretraining import (
    Pretraining,
    autocast,
    crop_and_resize,
    make_optimizer,
    pixel_batches,
    pretrain,
)

__all__ = [
    "Decoder",
    "MaskDiffusion",
    "Pretraining",
    "add_noise",
    "autocast",
    "crop_and_resize",
    "make_optimizer",
    "mask_diffusion_loss",
    "noise_schedule",
    "pixel_batches",
    "pretrain",
    "random_mask",
]
