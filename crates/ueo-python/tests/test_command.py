"""The command that comes with the package, and that the package gives its results."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from conftest import CLASSES, SETTINGS

import ueo

OPTIONS = [text for name, value in SETTINGS.items() for text in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def adapted(demo, images, command, tmp_path):
    """A run directory of `ueo adapt` with what `fitted` was fitted with."""
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    inputs = ["--model", demo.model, "--images", images, "--classes", tmp_path / "classes.txt"]
    command("adapt", *inputs, "--output", tmp_path / "run", *OPTIONS)
    return tmp_path / "run"


def test_it_is_there_and_knows_its_version(command):
    assert command("--version").stdout == f"ueo {ueo.__version__}\n"
    as_module = subprocess.run([sys.executable, "-m", "ueo", "--version"], capture_output=True, text=True)
    assert as_module.stdout == f"ueo {ueo.__version__}\n"
    assert "Usage" in command("adapt", code=2).stderr


def test_both_adapt_to_the_same_bytes(adapted, fitted):
    for name in ("adapted.safetensors", "predictions.csv"):
        assert (adapted / name).read_bytes() == (fitted.run_ / name).read_bytes(), name


def test_both_predict_the_same(adapted, fitted, images, command, tmp_path):
    table = tmp_path / "predictions.csv"
    command("predict", "--model", adapted, "--images", images, "--output", table, "--top-k", len(CLASSES))
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = fitted.predictions(images)
    assert found.paths == [row["path"] for row in rows]
    assert list(found.labels) == [row["predicted"] for row in rows]
    assert list(found.confidences) == [float(row["confidence"]) for row in rows]
    assert list(found.verdicts) == [row["verdict"] for row in rows]
    assert list(found.known) == [row["decision"] == "known" for row in rows]
    assert list(np.max(found.probabilities, axis=1)) == [float(row["probability"]) for row in rows]


def test_each_reads_the_runs_of_the_other(adapted, fitted, images, command, tmp_path):
    loaded = ueo.load(adapted)
    assert np.array_equal(loaded.predict_proba(images), fitted.predict_proba(images))
    assert loaded.threshold_ == fitted.threshold_
    fitted.save(tmp_path / "saved")
    command("predict", "--model", tmp_path / "saved", "--images", images, "--output", tmp_path / "table.csv")
    assert "report.html" in str(ueo.load(tmp_path / "saved").report())


def test_both_fail_with_the_same_words(demo, images, command, tmp_path):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(ueo.Error) as raised:
        ueo.load(nowhere)
    error, hint = str(raised.value), raised.value.hint
    assert command("inspect", "--model", nowhere, code=2).stderr == f"error: {error}\nhint: {hint}\n"
    (tmp_path / "classes.txt").write_text("dog")
    inputs = ["--model", demo.model, "--images", images, "--classes", tmp_path / "classes.txt"]
    told = command("adapt", *inputs, "--output", tmp_path / "run", "--epochs", 0, code=2).stderr
    with pytest.raises(ueo.Error) as raised:
        ueo.Adapter(demo.model, ["dog"], epochs=0).fit(images)
    assert told.splitlines()[0] == f"error: {raised.value}"
