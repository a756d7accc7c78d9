"""How far the work is: a bar of tqdm where that is installed, or a function of the caller's."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Union

from ._errors import UeoWarning

__all__ = ["Progress", "ProgressChoice"]


class Progress(NamedTuple):
    """How far a piece of work is."""

    phase: str
    """`zero-shot`, `adapt` and `adapted` during an adaptation, `threshold` where labelled images choose that, else `encode`."""
    done: int
    """Images that are done; steps in the phase `adapt`."""
    total: int
    """Images of the phase, or steps."""
    epoch: int | None
    """The epoch, in the phase `adapt`, from 1."""
    loss: float | None
    """The loss of the last step, in the phase `adapt`."""


ProgressChoice = Union[None, bool, Callable[[Progress], object]]

_WORDS = {
    "zero-shot": ("encoding images, zero-shot", "image"),
    "adapt": ("adapting", "step"),
    "adapted": ("encoding images, adapted", "image"),
    "encode": ("encoding images", "image"),
    "threshold": ("encoding labelled images", "image"),
}


class Listener:
    """Is told what happens during a call, and passes it on."""

    def __init__(self, choice: ProgressChoice) -> None:
        self._bar: Any = None
        self._phase: str | None = None
        self._tqdm: Any = None
        self._callback = choice if callable(choice) else None
        if choice is None or choice is True:
            self._tqdm = _tqdm(required=choice is True)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def progress(self, phase: str, done: int, total: int, epoch: int | None, loss: float | None) -> None:
        if self._callback is not None:
            self._callback(Progress(phase, done, total, epoch, loss))
        if self._tqdm is None:
            return
        if phase != self._phase:
            self._close()
            words, unit = _WORDS[phase]
            self._bar, self._phase = self._tqdm(total=total, desc=words, unit=unit), phase
        if loss is not None:
            self._bar.set_postfix(epoch=epoch, loss=f"{loss:.4f}", refresh=False)
        self._bar.update(done - self._bar.n)

    def warning(self, text: str) -> None:
        warn(text)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._phase = None, None


def warn(text: str) -> None:
    """Warns, in the place outside of this package that led here."""
    warnings.warn(text, UeoWarning, stacklevel=_depth())


def _depth() -> int:
    depth, frame = 2, sys._getframe(1)
    package = os.path.dirname(__file__)
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == package:
        frame, depth = frame.f_back, depth + 1
    return depth - 1


def _tqdm(*, required: bool) -> Any:
    try:
        with warnings.catch_warnings():
            # In a notebook without its widgets there are bars of text, which is no reason to warn.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError:
        if required:
            raise
        return None
    return tqdm
