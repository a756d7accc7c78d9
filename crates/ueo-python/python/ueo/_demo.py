"""The inputs of the demonstration, from inside the package."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from . import _ueo

__all__ = ["Demo", "demo"]


class Demo(NamedTuple):
    """A small model, unlabeled drawings, and the names of the classes that are known of them."""

    model: Path
    """A CLIP checkpoint for icons, of 3 to 4 million parameters."""
    images: Path
    """273 drawings in a style that the model has not seen, under fog; 10 of their 45 classes are not known."""
    classes: list[str]
    """The names of 50 classes."""
    settings: dict[str, Any]
    """Settings that suit a model as small as this."""


def demo(directory: str | os.PathLike[str] | None = None, *, architecture: str = "resnet") -> Demo:
    """Writes the inputs of the demonstration and says where they are.

    Args:
        directory: Where to write them; a folder of this user's cache where it is None. A run needs its checkpoint where it
            was, so a folder that stays is a good choice.
        architecture: `resnet` or `vit`.
    """
    if directory is None:
        place = _cache() / "ueo" / _ueo.VERSION / architecture
    else:
        place = Path(directory)
    settings = json.loads(_ueo.write_demo(place, architecture))
    defaults = json.loads(_ueo.default_settings())
    return Demo(
        model=place / "model",
        images=place / "images.tar",
        classes=_ueo.read_classes(place / "classes.txt"),
        settings={name: value for name, value in settings.items() if value != defaults[name]},
    )


def _cache() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"
