"""docs/speed.md from the measurements of all machines."""

from __future__ import annotations

import costs
import page
import targets
from notes import BEFORE_AMX, LIMITS, QUALITY

HEAD = """# Speed

What a job costs, with which settings, and how the program compares with others on the processors that it was measured on. Made by
`tools/benchmark`; [BENCHMARKS.md](../BENCHMARKS.md) has every single measurement. `ueo adapt` measures a step before it begins and says how
long the run will take on your machine; when that passes an hour it names settings that take less, with their times.
`ueo inspect --machine` shows what computes there.
"""

COSTS = """## What a job costs

Adapting ViT-B/16 to photographs with 50 classes, batches of 64, `--epochs auto`: 50 epochs of 1,000 photographs, {ten} of 10,000, {hundred} of
100,000. Two passes over all photographs, before and after, are part of it. Times follow from the processor time of a step on the machine that the
row names, divided by the number of cores: a small server has 2, a laptop 8, a large server 32. Two cores were measured at 98 % of twice
the speed of one; more were not measured. "AVX2 only" is what a processor without AVX-512 computes, as most laptops are; there
`--precision bf16` saves memory and no time.
"""

DECODING = """Decoding comes on top: a photograph of 12 megapixels takes 0.08 processor seconds, one of 640 x 480 pixels 0.002. With a new view in every
epoch that is paid again and again, unless the decoded images fit into `--image-cache`; `--reduce-images 448` lets 45 times as many of 12
megapixels fit. With `--views` or `--augmentation none` beside `--train-blocks` or `--train context` each view is decoded once.

What is kept of a view for `last-4` is what enters the fourth block from the end: 0.6 MB in f32, 0.3 MB in bf16. For 10,000 photographs
with 4 views that is 24 GB or 12 GB. It stays in memory up to `--image-cache`; the rest goes to a file without a name in the run directory, which is
gone when the program ends. A run that is resumed computes it again, to the same bits.
"""

SIZES = (1_000, 10_000, 100_000)
CORES = (2, 8, 32)


def render(machines: list[dict]) -> str:
    parts = [HEAD, cost_section(machines), QUALITY, target_section(machines), LIMITS, BEFORE_AMX, FOOT]
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


FOOT = """## On your machine

`just bench` measures ueo alone, `just bench PYTHON` beside PyTorch and ONNX Runtime, with a Python that has the packages of
`tools/benchmark/requirements.txt`; both rewrite this page and BENCHMARKS.md. Measurements of a machine are one file in
`tools/benchmark/results/`.
"""


def duration(seconds: float) -> str:
    """With the precision that planning needs."""
    if seconds < 5_400:
        return f"{max(seconds / 60, 1):.0f} min"
    value = seconds / 3_600
    return f"{value:.1f} h" if value < 48 else f"{value / 24:.1f} days"


def cost_section(machines: list[dict]) -> str:
    head = COSTS.format(ten=costs.epochs(10_000), hundred=costs.epochs(100_000))
    columns = " | ".join(f"{size:,}: {' / '.join(map(str, CORES))} cores" for size in SIZES)
    lines = [f"| processor | settings | {columns} |", "|---|---|" + "---|" * len(SIZES)]
    for results in machines:
        for row, remark in (("kept", ""), ("kept-avx2", ", AVX2 only")):
            for way in costs.WAYS:
                try:
                    times = [costs.processor_seconds(results["rows"], way, size, row) for size in SIZES]
                except targets.Missing:
                    continue
                cells = " | ".join(" / ".join(duration(time / cores) for cores in CORES) for time in times)
                lines.append(f"| {page.short_name(results)}{remark} | {options(way)} | {cells} |")
    return "\n".join([head, *lines, "", slower(machines), DECODING])


def slower(machines: list[dict]) -> str:
    """Machines of which only whole steps were measured, beside the last of the table."""
    known = [results for results in machines if "kept" in results["rows"]]
    sentences = []
    for results in machines:
        if not known or results in known:
            continue
        try:
            ratios = [
                targets.seconds(results["rows"], "step-50", f"ueo {precision}") / targets.seconds(known[-1]["rows"], "step-50", f"ueo {precision}")
                for precision in ("f32", "bf16")
            ]
        except targets.Missing:
            continue
        names = page.short_name(results), page.short_name(known[-1])
        sentences.append(f"{names[0]}: a step takes {ratios[0]:.1f} (f32) and {ratios[1]:.1f} (bf16) times as long as on {names[1]}.\n")
    return "\n".join(sentences)


def options(way: costs.Way) -> str:
    return f"`{way.options}`" if way.options.startswith("-") else way.options


def target_section(machines: list[dict]) -> str:
    names = " | ".join(page.short_name(results) for results in machines)
    lines = [
        "## Targets",
        "",
        "Ratios of one run on one machine; **bold** misses the target. A number in parentheses is the target on a machine with AMX.",
        "",
        f"| target | wanted | {names} |",
        "|---|---|" + "---|" * len(machines),
    ]
    for target in targets.TARGETS:
        sign = "at least" if target.at_least else "at most"
        wanted = f"{sign} {page.quantity(target.bound, target.unit)}"
        if target.bound_with_amx is not None:
            wanted += f" ({page.quantity(target.bound_with_amx, target.unit)})"
        cells = []
        for results in machines:
            value, met = target.evaluate(results["rows"], "amx" in results["machine"]["instruction_sets"])
            text = "–" if value is None else page.quantity(value, target.unit)
            cells.append(f"**{text}**" if met is False else text)
        lines.append(f"| {target.what} | {wanted} | {' | '.join(cells)} |")
    ceilings = [page.ceiling(results) for results in machines]
    return "\n".join(lines) + "\n\n" + "\n".join(ceiling for ceiling in ceilings if ceiling)
