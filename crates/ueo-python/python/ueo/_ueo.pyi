"""What the package needs of ueo, in plain types. `Adapter` is the face of it."""

import os
from collections.abc import Sequence
from typing import Protocol, Union

VERSION: str

_Path = Union[str, "os.PathLike[str]"]
# A place; files one by one; or interleaved RGB samples, height and width of each image.
_Given = Union[_Path, Sequence[_Path], Sequence[tuple[bytes, int, int]]]
_Skipped = list[tuple[str, str]]

class _Listener(Protocol):
    def progress(self, phase: str, done: int, total: int, epoch: int | None, loss: float | None) -> None: ...
    def warning(self, text: str) -> None: ...

class Predicted:
    paths: list[str]
    classes: list[int]
    confidences: bytearray
    probabilities: bytearray
    known: list[bool]
    verdicts: list[str | None]
    threshold: float
    skipped: _Skipped

class Model:
    @staticmethod
    def open(path: _Path, choices: str) -> Model: ...
    @property
    def record(self) -> str | None: ...
    @property
    def base(self) -> str: ...
    @property
    def embed_dim(self) -> int: ...
    def predict(self, choices: str, images: _Given, *, threads: int | None, listener: _Listener) -> Predicted: ...
    def transform(
        self, images: _Given, *, image_root: _Path | None, strict: bool, threads: int | None, listener: _Listener
    ) -> tuple[list[str], bytearray, _Skipped]: ...

def adapt(
    choices: str,
    images: _Given,
    output: _Path,
    *,
    resume: bool,
    overwrite: bool,
    threads: int | None,
    listener: _Listener,
) -> list[str]: ...
def check_classes(names: Sequence[str]) -> list[str]: ...
def command(arguments: Sequence[str]) -> int: ...
def default_settings() -> str: ...
def read_classes(path: _Path) -> list[str]: ...
def write_demo(directory: _Path, architecture: str) -> str: ...
def write_report(run: _Path, output: _Path | None) -> str: ...
