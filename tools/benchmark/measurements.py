"""Runs contestants in turn and keeps what they print, row by row, in one JSON file.

The file holds the measurements of one machine. Rows can be measured in several sittings. What is measured again replaces its
older measurement; every contestant keeps the time of its sitting, so that the page can tell which ratios come from one interleaved run.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import resource
import statistics
import subprocess
from pathlib import Path

from rows import Contestant, Row


class OtherMachine(Exception):
    """The file belongs to another machine."""


def machine() -> dict:
    """What must be the same for measurements to be compared."""
    names, flags = "", ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        names = f"{fields.get('model name', '')} (family {fields.get('cpu family')}, model {fields.get('model')})"
        known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        flags = ", ".join(flag for flag in known if flag in fields.get("flags", "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": names or platform.processor() or platform.machine(),
        "instruction_sets": flags,
        "logical_cpus": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def file_of_this_machine(folder: Path) -> Path:
    """The file in a folder that was measured here, or one that is not there yet."""
    here = machine()
    for path in sorted(folder.glob("*.json")):
        if json.loads(path.read_text())["machine"] == here:
            return path
    words = re.findall(r"[a-z0-9]+", here["processor"].lower())
    return folder / f"{'-'.join(words)}-{here['logical_cpus']}-cpus.json"


def read(path: Path) -> dict:
    """The file, or an empty one for this machine.

    Raises OtherMachine when it was measured elsewhere.
    """
    here = machine()
    if not path.exists():
        return {"machine": here, "rows": {}}
    kept = json.loads(path.read_text())
    if kept["machine"] != here:
        raise OtherMachine(f"{path} was measured on {kept['machine']}, this is {here}; name another file with --results")
    return kept


def write(path: Path, results: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def run_once(command: list[str], limit_gib: float | None, cwd: Path) -> dict:
    """What one process printed last; `failed` instead when it ended with an error."""

    def limit() -> None:
        if limit_gib:
            resource.setrlimit(resource.RLIMIT_DATA, (int(limit_gib * 2**30),) * 2)

    # PyTorch's waiting threads sleep instead of spinning, which on a busy machine would count as work.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, preexec_fn=limit)
    if process.returncode == 0:
        lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
        return lines[-1] if len(lines) == 1 else {"lines": lines}
    tail = process.stderr.strip().splitlines()[-1:] or ["no message"]
    out_of_memory = limit_gib and "alloc" in process.stderr
    return {"failed": f"more than {limit_gib:g} GiB" if out_of_memory else tail[0]}


def seconds(report: dict, clock: str, threads: int) -> list[float]:
    """Per iteration. The processor's clock counts what the process's threads ran, divided by their number: on a quiet machine that is
    about the wall clock's time, on a busy one it leaves out what others took."""
    if clock == "processor":
        return [value / threads for value in report.get("cpu_seconds") or []]
    return report.get("wall_seconds") or report.get("seconds") or []


def peak_bytes(report: dict) -> int:
    return report.get("peak_rss_bytes") or report.get("peak_memory_bytes") or 0


def measure(row: Row, rounds: int, clock: str, commands: dict[str, list[str]], cwd: Path, say) -> dict[str, dict]:
    """The contestants of a row that have a command, in turn, `rounds` times; their measurements by name."""
    reports: dict[str, list[dict]] = {name: [] for name in commands}
    sitting = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    by_name: dict[str, Contestant] = {contestant.name: contestant for contestant in row.contestants}
    for round_number in range(rounds):
        for name, command in commands.items():
            if any("failed" in report for report in reports[name]):
                continue
            report = run_once(command, by_name[name].limit_gib, cwd)
            reports[name].append(report)
            times = seconds(report, clock, by_name[name].threads)
            say(f"{row.name}, round {round_number + 1}: {name}: {report.get('failed') or times or 'done'}")
    return {name: summary(runs, sitting, clock, by_name[name].threads) for name, runs in reports.items()}


def summary(runs: list[dict], sitting: str, clock: str = "wall", threads: int = 2) -> dict:
    """What the file keeps of the runs of one contestant."""
    good = [run for run in runs if "failed" not in run]
    times = [value for run in good for value in seconds(run, clock, threads)]
    return {
        "seconds": [round(value, 4) for value in times],
        "median_seconds": round(statistics.median(times), 4) if times else None,
        "peak_memory_bytes": max((peak_bytes(run) for run in good), default=None),
        "failed": next((run["failed"] for run in runs if "failed" in run), None),
        # Rates and the like, as the last round printed them.
        "report": good[-1] if good and not times else None,
        "rounds": len(runs),
        "clock": clock,
        "sitting": sitting,
    }


def appended(kept: dict, new: dict) -> dict:
    """Further rounds of a contestant, added to those of its last sitting."""
    if not kept["seconds"] or not new["seconds"]:
        return new
    times = kept["seconds"] + new["seconds"]
    return new | {
        "seconds": times,
        "median_seconds": round(statistics.median(times), 4),
        "peak_memory_bytes": max(kept["peak_memory_bytes"], new["peak_memory_bytes"]),
        "rounds": kept["rounds"] + new["rounds"],
    }
