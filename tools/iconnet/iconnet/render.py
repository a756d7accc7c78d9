"""Draws SVG bodies with resvg and puts them on plain backgrounds."""

import hashlib
import io

import numpy as np
import resvg_py
from PIL import Image

from .drawings import Drawing

# Ink of one-color drawings on backgrounds: dark on light, as icons are mostly seen.
INKS = ("#111111", "#1d3557", "#5b2333", "#14532d", "#3b2f63", "#444444")
GROUNDS = ((255, 255, 255), (255, 255, 255), (248, 244, 232), (232, 240, 248), (236, 246, 236), (244, 236, 244))
# A drawing that covers less than this share of the square is an empty or hair-thin rendering.
LEAST_COVER = 0.02


def rasterize(drawing: Drawing, size: int, ink: str = INKS[0]) -> np.ndarray | None:
    """The drawing as straight-alpha RGBA, `[size, size, 4]` u8, or None where nothing is visible."""
    x, y, width, height = drawing.view_box
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{size}" '
        f'height="{size}" viewBox="{x} {y} {width} {height}" color="{ink}">{drawing.body}</svg>'
    )
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg))
    except ValueError:
        return None
    rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    if rgba.shape != (size, size, 4) or (rgba[..., 3] > 0).mean() < LEAST_COVER:
        return None
    return rgba


def choice(drawing: Drawing, salt: str, n: int) -> int:
    """A number below `n` that depends on the drawing's identity and `salt` alone."""
    digest = hashlib.sha256(f"{salt}:{drawing.prefix}:{drawing.name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % n


def portrait(drawing: Drawing, size: int) -> np.ndarray | None:
    """The drawing on its plain background, `[size, size, 3]` u8: a tenth of the side is left free on each edge."""
    margin = round(size / 10)
    rgba = rasterize(drawing, size - 2 * margin, INKS[choice(drawing, "ink", len(INKS))])
    if rgba is None:
        return None
    ground = np.array(GROUNDS[choice(drawing, "ground", len(GROUNDS))], np.float64)
    alpha = rgba[..., 3:].astype(np.float64) / 255
    canvas = np.broadcast_to(ground, (size, size, 3)).copy()
    inner = canvas[margin : size - margin, margin : size - margin]
    inner[:] = rgba[..., :3] * alpha + inner * (1 - alpha)
    return np.floor(canvas + 0.5).astype(np.uint8)
