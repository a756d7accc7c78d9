"""Times ueo beside PyTorch, in turn, on this machine, and rewrites BENCHMARKS.md.

    python tools/benchmark/compare.py [--rounds 3] [--only step-50]

With --only, the table is printed and the file left alone. Builds the Rust benchmark first. Every round runs each implementation once as a process of its own; the medians over all
iterations of all rounds are compared, so a machine whose speed drifts slows both.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name, what it is, arguments of the Rust benchmark, {PyTorch column: arguments of pytorch.py}
RELEASED = ["--task", "step", "--mode", "released"]
TUNED = ["--task", "step", "--mode", "tuned"]
MEASUREMENTS = [
    ("vision", "vision tower, forward and backward, batch 16", ["--mode", "vision"],
     {"tuned f32": ["--task", "vision", "--mode", "tuned"]}),
    ("encode", "image encoding, batch 16", ["--mode", "encode"],
     {"tuned f32": ["--task", "encode-images", "--mode", "tuned"]}),
    ("step-50", "adaptation step, batch 16, 50 classes", ["--mode", "step", "--classes", "50"],
     {"released f32": RELEASED + ["--classes", "50"], "tuned f32": TUNED + ["--classes", "50"]}),
    ("step-345", "adaptation step, batch 16, 345 classes", ["--mode", "step", "--classes", "345"],
     {"released f32": RELEASED + ["--classes", "345"], "tuned f32": TUNED + ["--classes", "345"]}),
    ("step-1000", "adaptation step, batch 16, 1,000 classes", ["--mode", "step", "--classes", "1000"], {}),
]


def build() -> str:
    command = ["cargo", "bench", "-p", "ueo", "--bench", "speed", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    messages = [json.loads(line) for line in lines]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "speed")


def measure(command: list[str]) -> tuple[list[float], int]:
    """Seconds per iteration and peak memory in bytes."""
    line = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    report = json.loads(line)
    seconds = report.get("seconds") or report.get("wall_seconds") or [report["median_seconds"]]
    return seconds, report.get("peak_memory_bytes") or report.get("peak_rss_bytes") or 0


def processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=2, help="per round, after one warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", action="append", help="names of measurements, all by default")
    options = parser.parse_args()

    binary = build()
    common = ["--threads", str(options.threads), "--iterations", str(options.iterations)]
    rows = []
    for name, what, ours, theirs in MEASUREMENTS:
        if options.only and name not in options.only:
            continue
        commands = {"ueo": [binary, *ours, "--batch", "16", *common]}
        for column, arguments in theirs.items():
            script = str(ROOT / "tools" / "benchmark" / "pytorch.py")
            commands[column] = [sys.executable, script, *arguments, "--batch-size", "16", "--warmup", "1", *common]
        seconds: dict[str, list[float]] = {column: [] for column in commands}
        peak = dict.fromkeys(commands, 0)
        for _ in range(options.rounds):
            for column, command in commands.items():
                values, memory = measure(command)
                seconds[column] += values
                peak[column] = max(peak[column], memory)
        medians = {column: statistics.median(values) for column, values in seconds.items()}
        print(name, medians, {column: memory >> 20 for column, memory in peak.items()}, flush=True)
        for column in commands:
            ratio = f"{medians[column] / medians['ueo']:.2f}" if column != "ueo" else ""
            images = 16 / medians[column]
            rows.append(
                f"| {what} | {column} | {medians[column]:.2f} | {images:.1f} | {ratio} | {peak[column] / 2**30:.2f} |"
            )

    import torch

    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    text = f"""# Benchmarks

CLIP ViT-B/16 with random weights, f32, {options.threads} threads. Medians of {options.rounds} rounds of {options.iterations}
iterations, implementations in turn within a round, each round a new process. "released" is the released UEO program's way
of computing (77 tokens for every class); "tuned" is PyTorch with prompts trimmed to the needed length and frozen weights. The
ratio is PyTorch's time over ueo's: above 1, ueo is faster.

Machine: {processor()}, {platform.system()}. {rust}, PyTorch {torch.__version__}.

| measurement | implementation | seconds | images/s | ratio | peak memory, GiB |
|---|---|---|---|---|---|
""" + "\n".join(rows) + """

Made by `python tools/benchmark/compare.py`; one row alone: `cargo bench -p ueo --bench speed -- --mode step --classes 50`.
"""
    if options.only:
        print(text)
    else:
        (ROOT / "BENCHMARKS.md").write_text(text)


if __name__ == "__main__":
    main()
