"""Training views: drawings with jittered color and place on plain backgrounds, a whole batch at a time.

No blur, noise, fog or contrast change is among them: those are the shifts that the corrupted domains measure.
"""

import math

import torch
import torch.nn.functional as F

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
LUMA = torch.tensor([0.299, 0.587, 0.114])
# Share of colored drawings that are reduced to one color, by keeping what is darker (or lighter) than a threshold.
REDUCED = 0.2
# Share of one-color drawings shown light on dark.
INVERTED = 0.2


def normalize(images: torch.Tensor) -> torch.Tensor:
    """`[batch, 3, h, w]` in 0..1 to CLIP's mean and standard deviation."""
    return (images - MEAN) / STD


def views(drawings: torch.Tensor, one_color: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """`[batch, s, s, 4]` u8 RGBA and a `[batch]` mask of one-color drawings to `[batch, 3, size, size]` in 0..1."""
    n = len(drawings)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(*(shape or (n, 1, 1, 1)), generator=generator) * (high - low) + low

    rgba = drawings.permute(0, 3, 1, 2).float().div_(255)
    color, alpha = rgba[:, :3], rgba[:, 3:]
    luma = (color * LUMA.view(1, 3, 1, 1)).sum(1, keepdim=True)

    darker = torch.where(uniform(0, 1) < 0.75, 1.0, -1.0)
    reduced_alpha = alpha * torch.sigmoid(20 * darker * (uniform(0.3, 0.7) - luma))
    reduced = ~one_color & (uniform(0, 1, n) < REDUCED) & (reduced_alpha.mean((1, 2, 3)) > 0.05)
    alpha = torch.where(reduced.view(n, 1, 1, 1), reduced_alpha, alpha)
    plain = (one_color | reduced).view(n, 1, 1, 1)

    saturation = torch.where(uniform(0, 1) < 0.15, torch.zeros(1), uniform(0.5, 1.4))
    color = luma + (color - luma) * saturation
    color = ((color - 0.5) * uniform(0.8, 1.2) + 0.5) * uniform(0.8, 1.2)

    inverted = plain & (uniform(0, 1) < INVERTED)
    tint = uniform(0, 1, n, 3, 1, 1)
    light = torch.where(uniform(0, 1) < 0.4, torch.ones(1), 1 - 0.15 * tint)
    ground = torch.where(inverted, 1 - light + 0.1 * tint, light)
    ink_tint = 0.35 * uniform(0, 1, n, 3, 1, 1)
    color = torch.where(plain, torch.where(inverted, 1 - ink_tint, ink_tint), color)

    angle, scale = uniform(-0.25, 0.25, n), uniform(0.65, 1.02, n)
    mirror = torch.where(uniform(0, 1, n) < 0.5, -1.0, 1.0)
    aspect, shear = uniform(0.9, 1.1, n), uniform(-0.1, 0.1, n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = angle.cos() * mirror * aspect / scale
    theta[:, 0, 1] = (shear - angle.sin()) * mirror / scale
    theta[:, 1, 0] = angle.sin() / scale
    theta[:, 1, 1] = angle.cos() / scale
    theta[:, :, 2] = uniform(-0.12, 0.12, n, 2) / scale[:, None]
    grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
    # Straight alpha must be premultiplied before resampling, or edges take the color of invisible pixels.
    premultiplied = torch.cat([color.clamp(0, 1) * alpha, alpha], 1)
    moved = F.grid_sample(premultiplied, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (moved[:, :3] + ground * (1 - moved[:, 3:])).clamp_(0, 1)


def cosine(fraction: float) -> float:
    """From 1 at fraction 0 to 0 at fraction 1."""
    return 0.5 * (1 + math.cos(math.pi * min(max(fraction, 0.0), 1.0)))
