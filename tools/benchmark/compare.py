"""Times ueo beside PyTorch and ONNX Runtime on this machine, and rewrites BENCHMARKS.md and docs/speed.md.

    python tools/benchmark/compare.py                        # everything, about an hour
    python tools/benchmark/compare.py --only step-50 encode  # some rows; the others keep their measurements
    python tools/benchmark/compare.py --render               # only rewrite the pages

Every round of a row runs each program once as a process of its own, so that a machine whose speed drifts slows all of them; the
medians over all iterations of all rounds are compared. Measurements of each machine are kept in a file in tools/benchmark/results. Packages:
`pip install -r tools/benchmark/requirements.txt`; without them, `--only` rows that need none (`threads`, `loader`).
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.metadata
import json
import shlex
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import measurements
import page
import speed_page
from rows import ROWS, command

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tools" / "benchmark" / "results"
# Files of each kind for the row that loads images.
WRITTEN_FILES = 16


def build() -> dict[str, str]:
    """Paths of the Rust benchmarks by name."""
    packages = ["-p", "ueo-cli", "-p", "ueo", "-p", "ueo-kernels"]
    targets = ["--bench", "speed", "--bench", "loader", "--bench", "products"]
    line = ["cargo", "bench", *packages, *targets, "--no-run", "--message-format", "json"]
    output = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines()]
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def versions() -> dict[str, str]:
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    found = {"rustc": rust}
    for package in ("torch", "open_clip_torch", "onnxruntime", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--programs", nargs="+", metavar="PATTERN", default=["*"], help="such as `ueo*`; the others are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, help="per process, instead of the row's own number")
    parser.add_argument(
        "--clock",
        choices=["wall", "processor"],
        default="wall",
        help="`processor` on a machine that is busy with other work: the time that the program's own threads ran",
    )
    parser.add_argument("--append", action="store_true", help="add the rounds to those that are kept, instead of replacing them")
    parser.add_argument("--results", type=Path, help="file of this machine [default: the one in tools/benchmark/results, or a new one there]")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    parser.add_argument("--launcher", default="", metavar="COMMAND", help="put in front of every process, such as `taskset -c 0,1`")
    options = parser.parse_args()

    options.results = options.results or measurements.file_of_this_machine(RESULTS)
    try:
        results = {} if options.render else measurements.read(options.results)
    except measurements.OtherMachine as error:
        parser.error(str(error))
    chosen = {
        row.name: [
            contestant
            for contestant in row.contestants
            if any(fnmatch.fnmatch(contestant.name, pattern) for pattern in options.programs)
        ]
        for row in ROWS
        if not options.render and (not options.only or row.name in options.only)
    }
    if any(contestant.is_rust for contestants in chosen.values() for contestant in contestants):
        binaries = build()
    else:
        binaries = {}
    if chosen:
        with tempfile.TemporaryDirectory() as written:
            folders = {}
            for kind in ("photo-vga", "photo-12mp"):
                folders[kind] = str(Path(written) / kind)
                arguments = [kind, "--write", folders[kind], "--count", str(WRITTEN_FILES)]
                if chosen.get("loading"):
                    subprocess.run([binaries["loader"], *arguments], check=True)
            for row in ROWS:
                if not chosen.get(row.name):
                    continue
                row = replace(row, iterations=options.iterations or row.iterations)
                commands = {
                    contestant.name: [*shlex.split(options.launcher), *command(contestant, row, binaries, folders)]
                    for contestant in chosen[row.name]
                }
                kept = results["rows"].setdefault(row.name, {"contestants": {}})
                for name, measured in measurements.measure(row, options.rounds, options.clock, commands, ROOT, say).items():
                    before = kept["contestants"].get(name)
                    if options.append and before:
                        measured = measurements.appended(before, measured)
                    kept["contestants"][name] = measured
                kept["versions"] = versions()
                measurements.write(options.results, results)
    machines = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    (ROOT / "BENCHMARKS.md").write_text(page.render(machines))
    (ROOT / "docs" / "speed.md").write_text(speed_page.render(machines))


if __name__ == "__main__":
    main()
