"""Corrupted versions of an image in the spirit of ImageNet-C, for 64-pixel images, at one medium severity each.

Every function takes `[h, w, 3]` in 0..1 and a seeded generator, and returns the same shape in 0..1.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

# Chosen so that a person still reads the drawing at once.
FOG_STRENGTH, FOG_ROUGHNESS = 1.6, 2.0
NOISE_DEVIATION = 0.18
BLUR_SIGMA = 1.6
CONTRAST = 0.15
PIXELATED_TO = 18
JPEG_QUALITY = 10


def to_image(x: np.ndarray) -> Image.Image:
    return Image.fromarray(np.floor(x.clip(0, 1) * 255 + 0.5).astype(np.uint8))


def from_image(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64) / 255


def plasma(side: int, roughness: float, rng: np.random.Generator) -> np.ndarray:
    """A cloud-like field in 0..1, `[side, side]`: sums of smooth noise, each octave `roughness` times weaker."""
    total, cells, strength = np.zeros((side, side)), 2, 1.0
    while cells <= side:
        layer = Image.fromarray(rng.random((cells, cells)).astype(np.float32), mode="F")
        total += strength * np.asarray(layer.resize((side, side), Image.Resampling.BICUBIC), np.float64)
        cells, strength = cells * 2, strength / roughness
    total -= total.min()
    return total / total.max()


def fog(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bright clouds in front of the drawing; the brightest point of the image keeps its value."""
    peak = x.max()
    clouded = x + FOG_STRENGTH * plasma(x.shape[0], FOG_ROUGHNESS, rng)[..., None]
    return clouded * peak / (peak + FOG_STRENGTH)


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, independent per pixel and channel."""
    return x + rng.normal(0, NOISE_DEVIATION, x.shape)


def blur(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur."""
    return from_image(to_image(x).filter(ImageFilter.GaussianBlur(BLUR_SIGMA)))


def contrast(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every channel pulled toward its mean."""
    mean = x.mean((0, 1), keepdims=True)
    return (x - mean) * CONTRAST + mean


def pixelate(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Box-averaged to few pixels, which are then enlarged as squares."""
    small = to_image(x).resize((PIXELATED_TO, PIXELATED_TO), Image.Resampling.BOX)
    return from_image(small.resize((x.shape[1], x.shape[0]), Image.Resampling.NEAREST))


def jpeg_at(x: np.ndarray, quality: int) -> np.ndarray:
    """Compressed and decompressed at this quality."""
    buffer = io.BytesIO()
    to_image(x).save(buffer, "JPEG", quality=quality)
    return from_image(Image.open(buffer).convert("RGB"))


def jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compressed and decompressed at low quality."""
    return jpeg_at(x, JPEG_QUALITY)


CORRUPTIONS = {f.__name__: f for f in (fog, noise, blur, contrast, pixelate, jpeg)}


def changed(image: np.ndarray, change: Callable, seed: int) -> np.ndarray:
    """`image` u8 `[h, w, 3]` after `change(image in 0..1, generator)`, u8."""
    return np.asarray(to_image(change(image.astype(np.float64) / 255, np.random.default_rng(seed))))


def corrupt(image: np.ndarray, name: str, seed: int) -> np.ndarray:
    """`image` u8 `[h, w, 3]` under the named corruption, u8."""
    return changed(image, CORRUPTIONS[name], seed)
