"""Models by name: what Python's clients have in their cache is found, without asking anybody."""

import shutil
from pathlib import Path

import pytest
from conftest import CLASSES, SETTINGS

import ueo

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(demo, tmp_path, monkeypatch):
    repository = tmp_path / "models--owner--iconclip"
    shutil.copytree(Path(demo.model), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_model_is_opened_by_its_name(cache, demo, images, fitted):
    named = ueo.Adapter("hf-hub:owner/iconclip", CLASSES, **SETTINGS).fit(images)
    assert list(named.score_known(images)) == list(fitted.score_known(images))
    opened = ueo.load("hf-hub:owner/iconclip", classes=CLASSES)
    assert list(opened.predict(images)) == list(ueo.load(demo.model, classes=CLASSES).predict(images))


def test_what_is_not_there_is_said(cache, images):
    with pytest.raises(ueo.Error, match="owner/other"):
        ueo.load("hf-hub:owner/other", classes=CLASSES)
