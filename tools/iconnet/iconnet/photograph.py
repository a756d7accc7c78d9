"""Drawings as a camera would meet them: printed on a thing that stands somewhere (`scene`), or taken badly (`camera`).

Both come in severities 1 to 5. Every function takes `[h, w, 3]` in 0..1, a severity and a seeded generator, and returns the
same shape in 0..1. No photograph is involved: grounds are made of noise.
"""

import numpy as np
from PIL import Image, ImageFilter

from .corrupt import changed, from_image, jpeg_at, plasma, to_image

SEVERITIES = (1, 2, 3, 4, 5)
# What each severity does, chosen on iconnet-validation: zero-shot accuracy falls from step to step: scene to a quarter at 5, camera to two thirds.
TILT = (0.02, 0.04, 0.07, 0.10, 0.14)  # how far a corner moves, of the side
PALENESS = (0.92, 0.85, 0.76, 0.66, 0.55)  # darkest channel of the ground's color
TEXTURE = (0.03, 0.06, 0.10, 0.16, 0.24)  # contrast of the ground's pattern
SHADE = (0.06, 0.12, 0.20, 0.30, 0.42)  # darkest part of the illumination and the shadow, below 1
TINT = (0.02, 0.04, 0.07, 0.10, 0.14)  # color of the light, per channel
DEFOCUS = (0.4, 0.7, 1.0, 1.3, 1.6)  # deviation of the blur, pixels
MOTION = (0.5, 1.0, 2.0, 3.0, 4.0)  # length of the path, pixels
PHOTONS = (5000, 2000, 900, 400, 200)  # mean count at white
EXPOSURE = (0.08, 0.16, 0.24, 0.32, 0.40)  # change of the exponent's logarithm, either sign
QUALITY = (80, 60, 42, 30, 20)  # of JPEG


def _ground(side: int, paleness: float, contrast: float, rng: np.random.Generator) -> np.ndarray:
    """A textured surface: clouds stretched along one direction (wood, cloth, stone), in a random color."""
    field = plasma(2 * side, rng.uniform(1.2, 2.2), rng)
    stretch = int(rng.integers(1, 5))
    strip = Image.fromarray(field[: 2 * side // stretch].astype(np.float32), mode="F")
    pattern = np.asarray(strip.resize((2 * side, 2 * side), Image.Resampling.BICUBIC), np.float64)[:side, :side]
    pattern = np.rot90(pattern, int(rng.integers(0, 4)))
    color = paleness + (1 - paleness) * rng.uniform(0, 1, 3)
    return color * (1 - contrast + 2 * contrast * (pattern[..., None] - pattern.min()) / np.ptp(pattern))


def _perspective(x: np.ndarray, tilt: float, fill: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves the four corners by up to `tilt` of the side; what comes into view is `fill`, `[h, w, channels]`."""
    side = x.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float64)
    moved = corners + rng.uniform(-tilt, tilt, (4, 2)) * side
    rows = []
    for (u, v), (a, b) in zip(moved, corners):
        rows += [[u, v, 1, 0, 0, 0, -a * u, -a * v], [0, 0, 0, u, v, 1, -b * u, -b * v]]
    coefficients = np.linalg.solve(np.array(rows), corners.reshape(-1))
    channels = [
        Image.fromarray(x[..., c].astype(np.float32), mode="F").transform(
            (side, side), Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BILINEAR, fillcolor=-1
        )
        for c in range(x.shape[2])
    ]
    seen = np.stack([np.asarray(c, np.float64) for c in channels], -1)
    return np.where(seen < 0, fill, seen)


def scene(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The drawing as paint on a textured surface, seen at an angle, unevenly lit, with the edge of a shadow across it."""
    k, side = severity - 1, x.shape[0]
    # The picture's own ground is the color of its corner: where it is, the surface shows through.
    ground = x[0, 0]
    cover = np.abs(x - ground).max(-1, keepdims=True).clip(0, 0.25) / 0.25
    surface = _ground(side, PALENESS[k], TEXTURE[k], rng)
    painted = surface * (1 - cover) + (0.85 * x + 0.15 * surface) * cover
    painted = _perspective(painted, TILT[k], surface, rng)
    angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25)
    down, right = np.mgrid[0:side, 0:side] / side - 0.5
    along = right * np.cos(angle) + down * np.sin(angle)
    light = 1 - SHADE[k] * (along + 0.5).clip(0, 1)
    across = rng.uniform(0, 2 * np.pi)
    edge = right * np.cos(across) + down * np.sin(across) - place
    light *= 1 - 0.6 * SHADE[k] / (1 + np.exp(-edge * 24))
    return painted * light[..., None] * (1 + rng.uniform(-TINT[k], TINT[k], 3))


def camera(x: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The image out of focus, shaken, wrongly exposed, with the noise of few photons, and compressed."""
    k = severity - 1
    image = from_image(to_image(x).filter(ImageFilter.GaussianBlur(DEFOCUS[k])))
    angle, steps = rng.uniform(0, np.pi), 7
    shaken = np.zeros_like(image)
    for t in np.linspace(-MOTION[k] / 2, MOTION[k] / 2, steps):
        shift = (1, 0, t * np.cos(angle), 0, 1, t * np.sin(angle))
        shaken += np.stack(
            [
                np.asarray(
                    Image.fromarray(np.pad(image[..., c], 8, mode="edge").astype(np.float32), mode="F").transform(
                        (image.shape[1] + 16, image.shape[0] + 16), Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR
                    )
                )[8:-8, 8:-8]
                for c in range(3)
            ],
            -1,
        )
    exposed = (shaken / steps).clip(0, 1) ** np.exp(rng.choice((-1, 1)) * EXPOSURE[k])
    noisy = rng.poisson(exposed * PHOTONS[k]) / PHOTONS[k]
    return jpeg_at(noisy, QUALITY[k])


PHOTOGRAPHS = {f.__name__: f for f in (scene, camera)}


def photograph(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """`image` u8 `[h, w, 3]` in the named way at the severity, u8."""
    return changed(image, lambda x, rng: PHOTOGRAPHS[name](x, severity, rng), seed)
