"""What happens during a call: progress, other threads, exceptions, Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import CLASSES, SETTINGS

import ueo


def test_progress_is_told_from_the_first_image_to_the_last(demo, images):
    told = []
    ueo.Adapter(demo.model, CLASSES, progress=told.append, **SETTINGS).fit(images)
    phases = list(dict.fromkeys(progress.phase for progress in told))
    assert phases == ["zero-shot", "adapt", "adapted"]
    steps = [progress for progress in told if progress.phase == "adapt"]
    assert [(step.done, step.total, step.epoch) for step in steps] == [(n + 1, 6, n // 3 + 1) for n in range(6)]
    assert all(isinstance(step.loss, float) for step in steps)
    assert told[-1][:3] == ("adapted", 24, 24)


def test_an_exception_of_the_callers_function_ends_the_call(demo, images):
    class Enough(Exception):
        pass

    def stop(progress):
        if progress.phase == "adapt":
            raise Enough(progress.done)

    with pytest.raises(Enough):
        ueo.Adapter(demo.model, CLASSES, progress=stop, **SETTINGS | {"epochs": 1000}).fit(images)


def test_other_threads_go_on(demo, images):
    counted, done = 0, threading.Event()

    def count():
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    started = time.monotonic()
    ueo.Adapter(demo.model, CLASSES, **SETTINGS | {"epochs": 10}).fit(images)
    elapsed = time.monotonic() - started
    done.set()
    thread.join()
    # A thread that waits for the interpreter counts nothing; one that shares a busy core counts less often than it could.
    assert counted > 50 * elapsed


def test_calls_from_several_threads_have_the_same_results(fitted, images):
    expected = list(fitted.predict(images))
    found = [None] * 4

    def predict(place):
        found[place] = list(fitted.predict(images))

    threads = [threading.Thread(target=predict, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# What a shell runs in the background begins with the signal ignored.
PROGRAM = """
import signal, sys, ueo
from conftest import CLASSES, SETTINGS
signal.signal(signal.SIGINT, signal.default_int_handler)
model, images, output = sys.argv[1:]
adapter = ueo.Adapter(model, CLASSES, progress=lambda p: print(p.phase, flush=True), **SETTINGS | {"epochs": 100000})
try:
    adapter.fit(images, output=output)
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_ctrl_c_stops_and_the_run_goes_on_later(demo, images, tmp_path):
    output = tmp_path / "run"
    program = [sys.executable, "-c", PROGRAM, demo.model, images, output]
    place = os.path.dirname(__file__)
    with subprocess.Popen(program, cwd=place, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "adapt\n":
                break
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        rest, _ = process.communicate(timeout=60)
    assert rest.endswith("KeyboardInterrupt\n") and process.returncode == 0
    assert time.monotonic() - sent < 30
    with pytest.raises(ueo.Error, match="is not finished") as raised:
        ueo.load(output)
    assert "--resume" in raised.value.hint
    settings = SETTINGS | {"epochs": 100000}
    told = []

    def until_next(progress):
        told.append(progress)
        if progress.phase == "adapt":
            raise InterruptedError

    adapter = ueo.Adapter(demo.model, CLASSES, progress=until_next, **settings)
    with pytest.raises(ueo.Error, match="begun with another epochs: expected 100000, found 2"):
        ueo.Adapter(demo.model, CLASSES, **SETTINGS).fit(images, output=output, resume=True)
    with pytest.raises(InterruptedError):
        adapter.fit(images, output=output, resume=True)
    # Not from the beginning.
    assert told[0].phase == "adapt" and told[0].done > 1


def test_a_run_that_was_interrupted_ends_with_the_same_bytes(demo, images, fitted, tmp_path):
    def until_the_second_epoch(progress):
        if progress.epoch == 2:
            raise InterruptedError

    adapter = ueo.Adapter(demo.model, CLASSES, progress=until_the_second_epoch, **SETTINGS)
    with pytest.raises(InterruptedError):
        adapter.fit(images, output=tmp_path / "run")
    adapter.set_params(progress=False).fit(images, output=tmp_path / "run", resume=True)
    assert adapter.run_ == tmp_path / "run"
    assert (tmp_path / "run/adapted.safetensors").read_bytes() == (fitted.run_ / "adapted.safetensors").read_bytes()
    with pytest.raises(ueo.Error, match="exists and is not empty"):
        adapter.fit(images, output=tmp_path / "run")
    adapter.fit(images, output=tmp_path / "run", overwrite=True)
