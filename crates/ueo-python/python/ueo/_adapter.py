"""`Adapter`: an adaptation and its result, in the shape of scikit-learn."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np

from . import _ueo
from ._errors import Error
from ._images import given
from ._progress import Listener, ProgressChoice, warn
from ._settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Self, Unpack

    from ._images import Images

    PathLike = Union[str, "os.PathLike[str]"]

__all__ = ["Adapter", "Predictions", "load"]

_LISTED = 10
"""Skipped inputs that a warning names before it only counts."""

_REQUEST = (
    "score",
    "score_temperature",
    "threshold",
    "threshold_images",
    "labels",
    "labels_for_oracle",
    "image_root",
    "device",
    "precision",
    "activation",
    "exif_orientation",
    "image_cache",
    "strict",
)
_OWN = ("model", "classes", "method", *_REQUEST, "threads", "progress")


class Predictions(NamedTuple):
    """What a model says about images: a row per image, in the order of the images.

    An image that cannot be read keeps its row: label and verdict None, index -1, confidence and probabilities NaN, not known.
    """

    paths: list[str]
    """Paths relative to the images' root, paths as they were given, or positions of images in memory."""
    labels: npt.NDArray[np.object_]
    """Name of the most similar class, `[images]`."""
    indices: npt.NDArray[np.int64]
    """Its position in the list of classes, `[images]`."""
    confidences: npt.NDArray[np.float64]
    """What separates known from unknown images, higher for known ones, `[images]`."""
    known: npt.NDArray[np.bool_]
    """Whether the confidence reaches the threshold, `[images]`."""
    verdicts: npt.NDArray[np.object_]
    """`accept`, `reject`, or `review` where a person should look, `[images]`."""
    probabilities: npt.NDArray[np.float64]
    """At the checkpoint's own logit scale, `[images, classes]`."""
    threshold: float
    """Images with at least this confidence are known."""
    skipped: list[tuple[str, str]]
    """Inputs that were left out, each with its reason."""


class Adapter:
    """Adapts a CLIP checkpoint to unlabeled images, and tells known classes from unknown ones.

    The parameters are those of `ueo adapt`, and results are the same to the last bit: `fit` writes the same
    `adapted.safetensors` as the command line. Calls release the interpreter; Ctrl-C stops them at the next batch.

    Wherever images are expected: a path (a directory, list file, tar shard, directory of shards, or an image), a list of
    paths, a list of PIL images, or a list or stack of arrays of unsigned bytes `[height, width, 3]`.

    Args:
        model: A CLIP checkpoint of any layout, or ``hf-hub:OWNER/NAME[@REVISION]``.
        classes: Names of the known classes, or a file with them.
        method: What the images are used for, such as `ueo`, `info-max` or `zero-shot`.
        score: What tells known from unknown images, such as `maximum-logit`, `msp` or `energy`.
        score_temperature: Divides the cosines where the score has a softmax.
        threshold: How the threshold between known and unknown is chosen: `auto`, `gaussian-mixture`, `otsu`,
            `target-rejection-rate=0.2` or `target-known-acceptance=0.95`.
        threshold_images: Labelled images that `target-known-acceptance` is measured on.
        labels: Where labels to measure by come from: `auto`, `folders`, `list` or `none`.
        labels_for_oracle: The same images with labels, for oracle weights.
        image_root: Folder that the paths of a list file are relative to.
        device: Where to compute, `cpu`, `wgpu`, `wgpu:1` or `auto`; what is no CPU needs a package that was built for it.
        precision: Number format of the frozen weights, `f32` or `bf16`.
        activation: Activation of both towers, for a state dict that does not say.
        exif_orientation: Whether the camera's orientation counts, `ignore` or `apply`.
        image_cache: Bytes of decoded images that may stay in memory during `fit`.
        strict: Whether inputs that cannot be read are an error.
        threads: Threads for computing and reading, all cores where it is None; results do not depend on it.
        progress: None for a bar where tqdm is installed, False for none, or a function that is called with `Progress`.
        **settings: Settings of the adaptation: `Settings` names them, `default_settings` has their defaults.

    Attributes:
        classes_: Names of the classes, `[classes]`.
        threshold_: Images with at least this confidence are known; None where it is chosen from the images at hand.
        run_: The run directory, None for a plain checkpoint.
        record_: The content of its `run.json`: checkpoint with SHA-256, measurements where the images have labels, warnings.
        skipped_: Images that `fit` left out, each with its reason.
    """

    classes_: npt.NDArray[np.object_]
    threshold_: float | None
    run_: Path | None
    record_: dict[str, Any] | None
    skipped_: list[tuple[str, str]]

    def __init__(
        self,
        model: PathLike,
        classes: Sequence[str] | PathLike,
        method: str = "ueo",
        *,
        score: str | None = None,
        score_temperature: float | None = None,
        threshold: str | None = None,
        threshold_images: PathLike | None = None,
        labels: str | None = None,
        labels_for_oracle: PathLike | None = None,
        image_root: PathLike | None = None,
        device: str | None = None,
        precision: str | None = None,
        activation: str | None = None,
        exif_orientation: str | None = None,
        image_cache: int | None = None,
        strict: bool = False,
        threads: int | None = None,
        progress: ProgressChoice = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.model = model
        self.classes = classes
        self.method = method
        self.score = score
        self.score_temperature = score_temperature
        self.threshold = threshold
        self.threshold_images = threshold_images
        self.labels = labels
        self.labels_for_oracle = labels_for_oracle
        self.image_root = image_root
        self.device = device
        self.precision = precision
        self.activation = activation
        self.exif_orientation = exif_orientation
        self.image_cache = image_cache
        self.strict = strict
        self.threads = threads
        self.progress = progress
        self._settings: dict[str, Any] = {}
        self.set_params(**settings)

    def __getattr__(self, name: str) -> Any:
        settings = self.__dict__.get("_settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        # The classes may be many; they are counted.
        classes = self.classes
        short = repr(classes) if isinstance(classes, (str, os.PathLike)) else f"[{len(classes)} classes]"
        chosen = [f"{self.model!r}", short]
        defaults = dict.fromkeys(_OWN, None) | {"method": "ueo", "strict": False}
        for name, value in self.get_params().items():
            if name not in ("model", "classes") and (name not in _OWN or value != defaults[name]):
                chosen.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(chosen)})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, and the settings that were chosen, as scikit-learn has them; `deep` changes nothing."""
        return {name: getattr(self, name) for name in _OWN} | self._settings

    def set_params(self, **params: Any) -> Self:
        """Changes parameters; what was fitted stays as it is.

        Raises:
            Error: For a name that is no parameter and no setting.
        """
        settings = list(Settings.__annotations__)
        for name in params:
            if name not in _OWN and name not in settings:
                expected = "`, `".join((*_OWN, *settings))
                raise Error(f"unknown parameter `{name}`, expected one of `{expected}`")
        for name, value in params.items():
            if name in _OWN:
                setattr(self, name, value)
            else:
                self._settings[name] = value
        return self

    def fit(
        self,
        images: Images,
        y: object = None,
        *,
        output: PathLike | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> Self:
        """Adapts to unlabeled images, of which some may show none of the classes.

        Images that cannot be read are left out, with a warning that names them.

        Args:
            images: The images. Labels that folders give them are used to measure only, in `record_`.
            y: Ignored; scikit-learn's pipelines pass it.
            output: Run directory to create, as `ueo adapt --output` does; a temporary one where it is None.
            resume: Continue what was begun last in `output`, by this call or by the command line.
            overwrite: Replace a run that is in `output`.

        Raises:
            Error: When something cannot be read, or a setting makes no sense.
            KeyboardInterrupt: After Ctrl-C, at the next batch. With `output`, `resume` goes on from there.
        """
        del y
        classes = _names(self.classes)
        handed = given(images, self.exif_orientation)
        temporary = None
        if output is None:
            if resume or overwrite:
                raise Error("resume and overwrite need an output, the run directory that they are about")
            temporary = _TemporaryFolder()
            output = temporary.path / "run"
        choices = {name: getattr(self, name) for name in _REQUEST}
        choices |= {"model": self.model, "classes": classes, "method": self.method} | self._settings
        if isinstance(self.classes, (str, os.PathLike)):
            # It may have ids beside the names, by which labels spell them.
            choices["class_file"] = self.classes
        with Listener(self.progress) as listener:
            doubts = _ueo.adapt(
                _json(choices),
                handed,
                output,
                resume=resume,
                overwrite=overwrite,
                threads=_threads(self.threads),
                listener=listener,
            )
        self._become(_ueo.Model.open(output, _json({"device": self.device})), Path(output), classes)
        self._temporary = temporary
        for doubt in doubts:
            warn(doubt)
        _warn_of(self.skipped_)
        return self

    def predict(self, images: Images) -> npt.NDArray[np.object_]:
        """The name of the most similar class of each image, known or not, `[images]`."""
        return self.predictions(images).labels

    def decide(self, images: Images, *, threshold: float | str | None = None) -> npt.NDArray[np.object_]:
        """The name of each image's class, or None where the image shows none of the classes, `[images]`.

        `threshold` as for `predictions`.
        """
        found = self.predictions(images, threshold=threshold)
        decided = found.labels.copy()
        decided[~found.known] = None
        return decided

    def predict_proba(self, images: Images) -> npt.NDArray[np.float64]:
        """Probabilities of the classes at the checkpoint's own logit scale, `[images, classes]`."""
        return self.predictions(images).probabilities

    def score_known(self, images: Images) -> npt.NDArray[np.float64]:
        """How confident the model is that each image shows one of the classes, by the score; `[images]`."""
        return self.predictions(images).confidences

    def predictions(self, images: Images, *, threshold: float | str | None = None) -> Predictions:
        """Everything that the model says about images, from one pass over them.

        Args:
            images: The images.
            threshold: Confidence from which on an image is known, or a way to choose it from these images, such as `otsu`.
                Where it is None, that of the run counts; without one it is chosen from these images.

        Raises:
            Error: When something cannot be read, or with `strict` an image.
            KeyboardInterrupt: After Ctrl-C, at the next batch.
        """
        model = self._fitted()
        choices: dict[str, Any] = {
            "classes": list(self.classes_) or None,
            "score": self.score,
            "score_temperature": self.score_temperature,
            "threshold": threshold,
            "image_root": self.image_root,
            "strict": self.strict,
        }
        handed = given(images, self.exif_orientation)
        with Listener(self.progress) as listener:
            found = model.predict(_json(choices), handed, threads=_threads(self.threads), listener=listener)
        _warn_of(found.skipped)
        indices = np.array(found.classes, dtype=np.int64)
        # The last one is that of -1.
        names = np.array([*self.classes_, None], dtype=object)
        return Predictions(
            paths=found.paths,
            labels=names[indices],
            indices=indices,
            confidences=np.frombuffer(found.confidences, dtype=np.float64),
            known=np.array(found.known, dtype=np.bool_),
            verdicts=np.array(found.verdicts, dtype=object),
            probabilities=np.frombuffer(found.probabilities, dtype=np.float64).reshape(-1, len(self.classes_)),
            threshold=found.threshold,
            skipped=found.skipped,
        )

    def transform(self, images: Images) -> npt.NDArray[np.float32]:
        """Features of unit norm, `[images, features]`; a row of NaN for an image that cannot be read."""
        model = self._fitted()
        handed = given(images, self.exif_orientation)
        with Listener(self.progress) as listener:
            _, features, skipped = model.transform(
                handed,
                image_root=self.image_root,
                strict=self.strict,
                threads=_threads(self.threads),
                listener=listener,
            )
        _warn_of(skipped)
        return np.frombuffer(features, dtype=np.float32).reshape(-1, model.embed_dim)

    @property
    def history_(self) -> list[dict[str, Any]]:
        """What `fit` recorded of each training step: loss, its terms, learning rates; empty for a plain checkpoint."""
        self._fitted()
        if self.run_ is None:
            return []
        lines = (self.run_ / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def save(self, path: PathLike, *, overwrite: bool = False) -> None:
        """Writes the run directory, a few megabytes without the frozen weights: `load` and every command of `ueo` read it.

        Raises:
            Error: When `path` exists and is not empty, unless `overwrite` is set; when there is no run.
        """
        run, path = self._run(), Path(path)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            if not overwrite:
                raise Error(
                    f"{path} exists and is not empty, expected a new or empty directory",
                    "choose another path, or replace it with overwrite=True",
                )
            if not (path / "run.json").exists():
                raise Error(f"{path} is no run directory: it has no run.json", "choose another path")
            shutil.rmtree(path)
        # What other processes hold is theirs.
        shutil.copytree(run, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".ueo*"))

    def report(self, path: PathLike | None = None) -> Path:
        """Writes the page of the run, to `path` or to `report.html` in the run directory, and says where it is.

        Raises:
            Error: When it cannot be written, or there is no run.
        """
        return Path(_ueo.write_report(self._run(), path))

    def _fitted(self) -> _ueo.Model:
        model: _ueo.Model | None = self.__dict__.get("_model")
        if model is None:
            raise Error("this Adapter has not been fitted", "call fit, or load a run")
        return model

    def _run(self) -> Path:
        self._fitted()
        if self.run_ is None:
            raise Error("this Adapter is a plain checkpoint, expected a run", "call fit")
        return self.run_

    def _become(self, model: _ueo.Model, run: Path | None, classes: list[str]) -> None:
        record = json.loads(model.record) if model.record is not None else None
        threshold = record["threshold"] if record is not None else None
        self._model = model
        self.run_ = run
        self.record_ = record
        self.classes_ = np.array(classes, dtype=object)
        self.threshold_ = threshold["value"] if threshold is not None else None
        self.skipped_ = [(entry["id"], entry["reason"]) for entry in record["images"]["skipped"]] if record else []
        for warning in json.loads(model.base).get("warnings", []):
            warn(warning)


def load(
    path: PathLike,
    *,
    classes: Sequence[str] | PathLike | None = None,
    base: PathLike | None = None,
    score: str | None = None,
    score_temperature: float | None = None,
    image_root: PathLike | None = None,
    device: str | None = None,
    precision: str | None = None,
    activation: str | None = None,
    exif_orientation: str | None = None,
    strict: bool = False,
    threads: int | None = None,
    progress: ProgressChoice = None,
) -> Adapter:
    """Opens a run directory, or a CLIP checkpoint as it is.

    Args:
        path: What `Adapter.save` or `ueo adapt` has written, or a checkpoint of any layout.
        classes: Names of the classes, or a file with them; a run has its own, a checkpoint needs some to predict.
        base: Where the checkpoint of a run is now, if it has moved.
        score, score_temperature, image_root, device, precision, activation, exif_orientation, strict, threads, progress: As
            for `Adapter`; a run has its own score, precision and orientation.

    Raises:
        Error: When it cannot be read, or a run is not finished or its checkpoint is another one.
    """
    opening = {
        "base": base,
        "device": device,
        "precision": precision,
        "activation": activation,
        "exif_orientation": exif_orientation,
    }
    model = _ueo.Model.open(path, _json(opening))
    record = json.loads(model.record) if model.record is not None else None
    request = record["request"] if record is not None else None
    adapter = Adapter(
        path if request is None else (base or request["model"]),
        classes if classes is not None else (request["classes"] if request is not None else []),
        score=score,
        score_temperature=score_temperature,
        image_root=image_root,
        device=device,
        precision=precision,
        activation=activation,
        exif_orientation=exif_orientation,
        strict=strict,
        threads=threads,
        progress=progress,
    )
    if request is not None:
        adapter.set_params(**request["settings"])
    else:
        adapter.set_params(method="zero-shot")
    names = _names(adapter.classes) if request is not None or classes is not None else []
    adapter._become(model, Path(path) if record is not None else None, names)
    return adapter


def _names(classes: Sequence[str] | PathLike) -> list[str]:
    if isinstance(classes, (str, os.PathLike)):
        return _ueo.read_classes(classes)
    names = list(classes)
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise Error(f"classes: expected names, found {type(name).__name__} at position {position}")
    return _ueo.check_classes(names)


class _TemporaryFolder:
    """A folder that goes when nobody holds this any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ueo-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _threads(threads: int | None) -> int | None:
    if threads is not None and (not isinstance(threads, (int, np.integer)) or threads < 1):
        raise Error(f"threads: expected a whole number of at least 1, found {threads!r}")
    return threads


def _json(choices: dict[str, Any]) -> str:
    for name, value in choices.items():
        if isinstance(value, (float, np.floating)) and not math.isfinite(value):
            raise Error(f"{name}: expected a finite number, found {value}")
    return json.dumps(choices, default=_plain)


def _plain(value: Any) -> Any:
    """Paths, and the scalars and arrays of NumPy, as JSON has them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise Error(f"expected numbers, texts and paths, found {type(value).__name__}")


def _warn_of(skipped: list[tuple[str, str]]) -> None:
    if not skipped:
        return
    counted = "1 input was skipped" if len(skipped) == 1 else f"{len(skipped)} inputs were skipped"
    lines = [f"  {name}: {reason}" for name, reason in skipped[:_LISTED]]
    if len(skipped) > _LISTED:
        lines.append(f"  and {len(skipped) - _LISTED} more")
    warn("\n".join([f"{counted}:", *lines]))
