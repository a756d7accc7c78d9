"""Images as users name or hold them, told apart for the extension."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from ._errors import Error

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    Path = Union[str, "os.PathLike[str]"]
    ImageLike = Union[Path, Image.Image, npt.NDArray[np.uint8]]
    Images = Union[Path, Sequence[Path], Sequence[Image.Image], Sequence[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]

__all__ = ["given"]

_EXPECTED = "a path, a list of paths, PIL images, or arrays of unsigned bytes [height, width, 3]"


def given(images: Images, orientation: str | None) -> Any:
    """What the extension takes: a path, a list of paths, or samples, height and width of each image."""
    if isinstance(images, (str, os.PathLike)):
        return os.fspath(images)
    if _is_pil(images) or (isinstance(images, np.ndarray) and images.ndim < 4 and images.dtype != object):
        raise Error(f"images: expected {_EXPECTED}, found a single {_kind(images)}", "put it into a list: [image]")
    if not isinstance(images, Iterable):
        raise Error(f"images: expected {_EXPECTED}, found {type(images).__name__}")
    listed = list(images)
    if not listed:
        raise Error("images: expected at least one image, found an empty list")
    kinds = [_kind(image) for image in listed]
    for position, (image, kind) in enumerate(zip(listed, kinds)):
        if kind not in ("path", "PIL image", "array"):
            raise Error(f"images: expected {_EXPECTED}, found {type(image).__name__} at position {position}")
        if (kind == "path") != (kinds[0] == "path"):
            raise Error(f"images: expected paths or images in memory, found both: {kinds[0]} and {kind}")
    if kinds[0] == "path":
        return [os.fspath(path) for path in listed]
    return [_samples(image, position, orientation) for position, image in enumerate(listed)]


def _kind(image: object) -> str:
    if isinstance(image, (str, os.PathLike)):
        return "path"
    if _is_pil(image):
        return "PIL image"
    if isinstance(image, np.ndarray):
        return "array"
    return type(image).__name__


def _is_pil(image: object) -> bool:
    """Whether something is an image of Pillow, which is there then."""
    return any(base.__module__ == "PIL.Image" and base.__name__ == "Image" for base in type(image).__mro__)


def _samples(image: Any, position: int, orientation: str | None) -> tuple[bytes, int, int]:
    if not isinstance(image, np.ndarray):
        if orientation == "apply":
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
        image = np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8:
        raise Error(
            f"images: expected unsigned bytes, found {image.dtype} at position {position}",
            "give the pixels as they are in the file, from 0 to 255; scaling and cropping are the model's",
        )
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise Error(f"images: expected [height, width, 3], found {list(image.shape)} at position {position}")
    return np.ascontiguousarray(image).tobytes(), image.shape[0], image.shape[1]
