"""The settings of an adaptation; docs/settings.md of the repository says what each of them does."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from . import _ueo

__all__ = ["Settings", "default_settings"]


class Settings(TypedDict, total=False):
    """All settings besides the method, by the names that they have in files; values are those of files too."""

    train: str | None
    """Which parameters are trained: `both`, `context` or `affine`; None for those of the method's publication."""
    train_blocks: str
    """Residual blocks of the image tower that are trained: `all`, or `last-4` for the last four and what follows."""
    epochs: int | str
    """Passes over the images, or `auto`: as many as make about 2,500 steps, between 5 and 50."""
    batch_size: int
    """Images per training step."""
    micro_batch: int | None
    """Images in memory at once; the gradient stays that of the whole batch."""
    context_learning_rate: float
    """Initial learning rate of the context vectors."""
    affine_learning_rate: float
    """Initial learning rate of the normalization layers' scale and shift."""
    trade_off: float
    """Weight of the marginal entropy."""
    confidence_weights: str
    """What the confidence weights are made of."""
    weight_temperature: float
    """Temperature of the confidence weights."""
    unconfident_weights: str
    """How unconfident images are weighted."""
    refresh_weights: bool
    """Whether the weights follow the model that is trained."""
    augmentation: str
    """Random changes of the training images: `crop-flip` or `none`."""
    views: int | None
    """Random views of each image, which then come again in turn; None for a new one in every epoch."""
    reduce_images: int | None
    """Reduce larger images to this shorter side once."""
    shuffle: bool
    """Whether each epoch visits the images in a new random order."""
    seed: int
    """Seed of everything random."""
    template: str | list[str]
    """Sentences that class names stand in, such as `a drawing of a {}.`; those of the checkpoint where there are none."""
    restart_after: list[int]
    """Epochs after which the learning rates begin anew."""
    step_size: str
    """`gradient`, or `relative`: the learning rates are the lengths of the whole paths in norms of the parameters."""
    keep: str
    """Which epoch's parameters are the result."""


def default_settings() -> dict[str, Any]:
    """The settings that count where nothing is chosen, the method included."""
    settings: dict[str, Any] = json.loads(_ueo.default_settings())
    return settings
