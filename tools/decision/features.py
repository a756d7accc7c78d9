"""Writes zero-shot features of IconNet's drawings for study.py and recipe.py. Needs tools/iconnet/build.

    python tools/decision/features.py build/decision          # versions in tools/requirements.txt
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "iconnet"))

from iconnet import model as clip  # noqa: E402
from iconnet.augment import normalize  # noqa: E402
from iconnet.captions import PROMPT  # noqa: E402
from iconnet.evaluate import Suite  # noqa: E402

SUITES = ROOT / "tools" / "iconnet" / "build" / "suites"
MODELS = ("resnet", "vit")
WORDS = ROOT / "crates" / "ueo" / "assets" / "negative_words.txt"
CLEAN = ("solid", "duotone", "gradient", "pixel", "freehand", "color")
CORRUPTED = tuple(
    f"{style}-{corruption}"
    for style in ("solid", "duotone", "gradient")
    for corruption in ("fog", "noise", "blur", "contrast", "pixelate", "jpeg")
)


@torch.no_grad()
def image_features(model, images: torch.Tensor) -> np.ndarray:
    return F.normalize(clip.features(model, normalize(images.float() / 255)), dim=-1).numpy()


def zero_shot(output: Path) -> None:
    """`MODEL.npz` with `words`, `SUITE/text`, and for each domain `SUITE/DOMAIN/x` (images), `/m` (mirrored), `/y` (labels)."""
    for name in MODELS:
        model, texts = clip.load(ROOT / "models" / f"iconclip-{name}")

        def encoded(names: list[str]) -> np.ndarray:
            rows = texts.rows([PROMPT.format(c.replace("_", " ")) for c in names])
            with torch.no_grad():
                return torch.cat([F.normalize(clip.encode_text(model, r), dim=-1) for r in rows.split(256)]).numpy()

        arrays = {"words": encoded(WORDS.read_text(encoding="utf-8").split("\n")[:-1])}
        for suite_name in ("iconnet-validation", "iconnet-65"):
            suite = Suite.load(SUITES / suite_name, list(CLEAN + CORRUPTED))
            arrays[f"{suite_name}/text"] = encoded(suite.classes)
            for domain, (images, labels) in suite.domains.items():
                arrays[f"{suite_name}/{domain}/x"] = image_features(model, images)
                arrays[f"{suite_name}/{domain}/m"] = image_features(model, images.flip(-1))
                arrays[f"{suite_name}/{domain}/y"] = labels.numpy()
        np.savez(output / f"{name}.npz", **arrays)


def subset(labels: np.ndarray, known: int, share: float, seed: int) -> np.ndarray:
    """Images with this share of unknown ones (labels at or above `known`): all known ones where there are enough unknown."""
    rng = np.random.default_rng(seed)
    inside, outside = np.where(labels < known)[0], np.where(labels >= known)[0]
    wanted = round(share / (1 - share) * len(inside))
    if wanted <= len(outside):
        outside = rng.choice(outside, wanted, replace=False)
    else:
        inside = rng.choice(inside, round((1 - share) / share * len(outside)), replace=False)
    return np.sort(np.concatenate([inside, outside]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    zero_shot(arguments.output)
