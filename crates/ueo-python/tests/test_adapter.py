"""The shape of `Adapter`: what goes in, what comes out, in which types."""

import pickle

import numpy as np
import pytest
from conftest import CLASSES, SETTINGS
from PIL import Image

import ueo
from ueo import _ueo


def test_results_are_arrays_with_a_row_per_image(fitted, images, files):
    labels = fitted.predict(images)
    assert labels.shape == (24,) and set(labels) <= set(CLASSES)
    probabilities = fitted.predict_proba(images)
    assert probabilities.shape == (24, len(CLASSES)) and probabilities.dtype == np.float64
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert list(labels) == [CLASSES[best] for best in probabilities.argmax(axis=1)]
    features = fitted.transform(images)
    assert features.dtype == np.float32 and len(features) == 24
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert list(fitted.classes_) == CLASSES
    assert fitted.predictions(images).paths == [path.name for path in files]


def test_images_below_the_threshold_are_nothing(fitted, images):
    confidences = fitted.score_known(images)
    decided = fitted.decide(images)
    assert [label is None for label in decided] == list(confidences < fitted.threshold_)
    middle = float(np.median(confidences))
    by_hand = fitted.decide(images, threshold=middle)
    assert [label is None for label in by_hand] == list(confidences < middle)
    assert fitted.predictions(images, threshold="target-rejection-rate=0.25").known.sum() == 18
    assert all(label is not None for label in fitted.predict(images))


def test_paths_pictures_and_arrays_are_the_same_images(fitted, images, files):
    pictures = [Image.open(file) for file in files]
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    expected = fitted.transform(images)
    for given in (files, [str(file) for file in files], pictures, arrays, tuple(arrays), np.stack(arrays)):
        assert np.array_equal(fitted.transform(given), expected)
    assert np.array_equal(fitted.transform(files[::-1]), expected[::-1])
    # Batches of other sizes round otherwise.
    assert np.allclose(fitted.transform(str(files[3])), expected[3:4], atol=1e-6)
    grey = [array[:, :, 0] for array in arrays[:2]]
    assert np.array_equal(fitted.transform(grey), fitted.transform([np.repeat(g[:, :, None], 3, 2) for g in grey]))


def test_images_in_memory_adapt_to_the_same_bytes(demo, fitted, files):
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    for given in (arrays, files):
        other = ueo.Adapter(demo.model, CLASSES, threads=1, **SETTINGS).fit(given)
        assert (other.run_ / "adapted.safetensors").read_bytes() == (fitted.run_ / "adapted.safetensors").read_bytes()
        assert list(other.predict(given)) == list(fitted.predict(files))


def test_an_image_that_cannot_be_read_keeps_its_row(demo, fitted, files, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    given = [files[0], broken, files[1]]
    with pytest.warns(ueo.UeoWarning, match="1 input was skipped:\n.*broken.png") as warned:
        found = fitted.predictions(given)
    assert warned[0].filename == __file__
    assert found.labels[1] is None and found.verdicts[1] is None and found.indices[1] == -1 and not found.known[1]
    assert np.isnan(found.confidences[1]) and np.isnan(found.probabilities[1]).all()
    assert list(found.labels[[0, 2]]) == list(fitted.predict(files[:2]))
    with pytest.warns(ueo.UeoWarning):
        assert np.isnan(fitted.transform(given)[1]).all()
    with pytest.warns(ueo.UeoWarning):
        other = ueo.Adapter(demo.model, CLASSES, **SETTINGS).fit(given)
    assert [path.endswith("broken.png") for path, _ in other.skipped_] == [True]
    with pytest.raises(ueo.Error, match="none may be skipped"):
        ueo.Adapter(demo.model, CLASSES, strict=True, **SETTINGS).fit(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "at least one image"),
        (3, "found int"),
        ([3], "found int at position 0"),
        (np.zeros((8, 8, 3), np.uint8), "found a single array"),
        ([np.zeros((8, 8, 3), np.float32)], "expected unsigned bytes, found float32"),
        ([np.zeros((8, 8, 4), np.uint8)], r"found \[8, 8, 4\]"),
        (["a.png", np.zeros((8, 8, 3), np.uint8)], "found both: path and array"),
        ("nowhere", "cannot be opened"),
    ],
)
def test_what_is_no_image_is_named(fitted, given, words):
    with pytest.raises(ueo.Error, match=words):
        fitted.predict(given)


def test_a_checkpoint_predicts_as_it_is(demo, images):
    zero_shot = ueo.load(demo.model, classes=CLASSES)
    same = ueo.Adapter(demo.model, CLASSES, method="zero-shot").fit(images)
    assert list(zero_shot.predict(images)) == list(same.predict(images))
    assert zero_shot.method == "zero-shot" and zero_shot.run_ is None and zero_shot.history_ == []
    with pytest.raises(ueo.Error, match="knows no classes"):
        ueo.load(demo.model).predict(images)
    assert ueo.load(demo.model).transform(images).shape[0] == 24
    with pytest.raises(ueo.Error, match="plain checkpoint"):
        zero_shot.save("run")


def test_what_is_saved_is_loaded(fitted, images, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = ueo.load(tmp_path / "run")
    assert np.array_equal(loaded.transform(images), fitted.transform(images))
    assert list(loaded.decide(images)) == list(fitted.decide(images))
    assert loaded.get_params()["epochs"] == 2 and loaded.history_ == fitted.history_
    assert [step["step"] for step in loaded.history_] == [1, 2, 3, 4, 5, 6]
    other = ueo.load(tmp_path / "run", classes=["dog", "umbrella"])
    assert set(other.predict(images)) <= {"dog", "umbrella"}
    with pytest.raises(ueo.Error, match="exists and is not empty"):
        fitted.save(tmp_path / "run")
    fitted.save(tmp_path / "run", overwrite=True)
    with pytest.raises(ueo.Error, match="no run directory"):
        fitted.save(tmp_path, overwrite=True)


def test_parameters_are_those_of_scikit_learn(demo, images):
    adapter = ueo.Adapter(demo.model, CLASSES, epochs=3, keep="last")
    params = adapter.get_params()
    assert params["epochs"] == adapter.epochs == 3 and params["method"] == "ueo"
    again = ueo.Adapter(**params)
    assert all(again.get_params()[name] is value for name, value in params.items())
    assert again.set_params(epochs=5, method="info-max") is again
    assert (again.epochs, again.method) == (5, "info-max")
    assert repr(again).endswith("[5 classes], method='info-max', epochs=5, keep='last')")
    with pytest.raises(ueo.Error, match="unknown parameter `epoch`.*`epochs`"):
        ueo.Adapter(demo.model, CLASSES, epoch=3)
    with pytest.raises(ueo.Error, match="has not been fitted") as raised:
        again.predict(images)
    assert raised.value.hint == "call fit, or load a run"


def test_scikit_learn_clones_it(fitted):
    base = pytest.importorskip("sklearn.base")
    clone = base.clone(fitted)
    assert clone.get_params() == fitted.get_params() and not hasattr(clone, "classes_")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"epochs": "many"}, "^epochs: "),
        ({"epochs": 0}, "^epochs: expected at least 1 and at most 1000000000, found 0"),
        ({"method": "tent"}, "^method: "),
        ({"score": "luck"}, "^score: "),
        ({"threshold": "luck"}, "^threshold: "),
        ({"precision": "f8"}, "^precision: "),
        ({"device": "tpu"}, "^device: expected `cpu`"),
        ({"device": "cuda:0"}, "`cuda:0` is not supported"),
        ({"classes": ["dog", "dog"]}, "^classes, entry 2: expected every class once"),
        ({"classes": []}, "at least one class"),
        ({"classes": [1]}, "found int at position 0"),
        ({"model": "nowhere"}, "nowhere"),
        ({"trade_off": np.float32("nan")}, "^trade_off: expected a finite number, found nan"),
        ({"threads": 0}, "^threads: expected a whole number of at least 1"),
        ({"model": object()}, "found object"),
        ({"method": "info-max", "weight_temperature": 0.5}, "^weight-temperature: expected no choice with"),
    ],
)
def test_choices_that_make_no_sense_are_named(demo, images, choices, words):
    params = {"model": demo.model, "classes": CLASSES} | choices
    with pytest.raises(ueo.Error, match=words):
        ueo.Adapter(**params).fit(images)


def test_numbers_of_numpy_are_numbers(demo, files):
    settings = SETTINGS | {"epochs": np.int64(1), "affine_learning_rate": np.float32(0.5)}
    adapter = ueo.Adapter(demo.model, np.array(CLASSES, dtype=object), **settings).fit(files)
    assert adapter.record_["request"]["settings"]["epochs"] == 1


def test_errors_can_be_sent(demo):
    with pytest.raises(ueo.Error) as raised:
        ueo.load(demo.model / "nowhere")
    sent = pickle.loads(pickle.dumps(raised.value))
    assert str(sent) == str(raised.value) and sent.hint == raised.value.hint


def test_all_settings_are_described():
    described = set(ueo.Settings.__annotations__) | {"method"}
    assert described >= set(ueo.default_settings())


def test_the_stub_has_what_the_extension_has():
    import ast
    from importlib.resources import files

    package = files("ueo")
    assert (package / "py.typed").is_file()
    stub = ast.parse((package / "_ueo.pyi").read_text(encoding="utf-8"))
    named = {node.name for node in stub.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    named |= {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    public = {name for name in dir(_ueo) if not name.startswith("_")}
    assert {name for name in named if not name.startswith("_")} == public
