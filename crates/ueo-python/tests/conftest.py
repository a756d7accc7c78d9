"""Inputs of the tests: the demonstration's, and a few of its drawings as files, so that a fit takes a second."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import ueo

CLASSES = ["airplane", "apple", "car", "dog", "house"]
SETTINGS = {"epochs": 2, "batch_size": 8, "context_learning_rate": 5e-2, "affine_learning_rate": 5e-2, "seed": 7}


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    return ueo.demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def images(demo, tmp_path_factory):
    """A folder of 24 drawings without labels."""
    folder = tmp_path_factory.mktemp("images") / "drawings"
    folder.mkdir()
    with tarfile.open(demo.images) as archive:
        drawings = [member for member in archive if member.name.endswith(".png")]
        for number, member in enumerate(drawings[:: len(drawings) // 24][:24]):
            (folder / f"{number:02}.png").write_bytes(archive.extractfile(member).read())
    return folder


@pytest.fixture(scope="session")
def files(images):
    return sorted(images.iterdir())


@pytest.fixture(scope="session")
def fitted(demo, images):
    return ueo.Adapter(demo.model, CLASSES, **SETTINGS).fit(images)


@pytest.fixture
def command():
    """Runs the command that came with the package."""
    program = Path(sys.executable).with_name("ueo.exe" if sys.platform == "win32" else "ueo")

    def run(*arguments, code=0):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done

    return run
