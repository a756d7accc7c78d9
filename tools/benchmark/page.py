"""BENCHMARKS.md from the measurements."""

from __future__ import annotations

import targets
import work
from notes import NAMES
from rows import ROWS

HEAD = """# Benchmarks

CLIP with random weights, two threads unless said otherwise, whole adaptation steps (both towers, loss, update). Programs run in turn
within a round, each a process of its own, and medians over all rounds are given. "Released way" is the released UEO
program's way of computing: 77 tokens for every class. "Tuned" is PyTorch with prompts trimmed to the needed length and frozen weights; bf16
there means frozen weights converted once, channels-last images, f32 LayerNorms. "Compiled" adds torch.compile. Class names have one to four
tokens. A ratio is the other program's time over ueo's in the same precision: above 1, ueo is faster. Times of one machine say
nothing about another; ratios move too, with how well each library knows the processor. [docs/speed.md](docs/speed.md) says what follows for a
whole job, and has the targets.
"""


def render(machines: list[dict]) -> str:
    parts = [HEAD]
    for results in machines:
        rows = results["rows"]
        parts += [f"## {short_name(results)}\n", machine(results)]
        parts += [row_section(row, rows[row.name], rows) for row in ROWS if row.name in rows]
    parts.append(FOOT)
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def short_name(results: dict) -> str:
    processor = results["machine"]["processor"]
    return NAMES.get(processor, processor)


FOOT = """## Measuring again

`just bench` measures ueo alone and rewrites this page and docs/speed.md; `just bench PYTHON` runs everything side by side, with a Python that has the packages of
`tools/benchmark/requirements.txt`; `just bench PYTHON --only step-50` measures one row again and keeps the others. Without just:
`python tools/benchmark/compare.py`, and for single figures `cargo bench-step`, `cargo bench-products`, `cargo bench-loader`.
"""


def machine(results: dict) -> str:
    here = results["machine"]
    versions: dict[str, str] = {}
    for row in results["rows"].values():
        versions |= row["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Machine: {here['processor']}, {here['instruction_sets']}; {here['logical_cpus']} virtual processors, "
        f"{here['memory_gib']} GiB, {here['system']}. {listed}.\n"
    )


def quantity(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.0f} %"
    return f"{value:.2f} x" if unit == "x" else f"{value:.2f} {unit}"


def ceiling(results: dict) -> str:
    """What a machine's best product rate allows at most: the roofline of a step."""
    rows = results["rows"]
    try:
        rates = {precision: targets.best_rate(rows, precision) for precision in ("f32", "bf16")}
    except targets.Missing:
        return ""
    step = {classes: work.step_flops(16, classes) / 1e9 for classes in (50, 345)}
    lines = [
        f"{short_name(results)}: the fastest products reach {rates['f32']:.0f} GFLOP/s per thread in f32 and {rates['bf16']:.0f} in bf16 on these "
        f"shapes. A step of 16 images needs {step[50]:.0f} GFLOP with 50 classes and {step[345]:.0f} with 345. Products at that rate and nothing "
        "else would reach the following ratios; no program that does these operations in that precision could pass them.\n",
        "| step of 16 images | against the released way | against tuned PyTorch in the same precision |",
        "|---|---|---|",
    ]
    for classes in (50, 345):
        for precision, rate in rates.items():
            least = step[classes] / (targets.THREADS * rate)
            ratios = []
            for theirs in ("released", f"tuned {precision}"):
                try:
                    ratios.append(f"{targets.fastest(rows, f'step-{classes}', theirs) / least:.2f}")
                except targets.Missing:
                    ratios.append("not measured")
            lines.append(f"| {classes} classes, {precision} | {' | '.join(ratios)} |")
    try:
        least = work.encoding_flops(16) / 1e9 / (targets.THREADS * rates["f32"])
        theirs = {name: targets.fastest(rows, "encode", name) / least for name in ("open_clip f32", "ONNX")}
        lines.append("")
        lines.append(
            f"Image encoding in f32 could reach {theirs['open_clip f32']:.2f} against open_clip at its fastest and "
            f"{theirs['ONNX']:.2f} against ONNX Runtime."
        )
    except targets.Missing:
        pass
    return "\n".join(lines) + "\n"


def row_section(row, measured: dict, rows: dict) -> str:
    # In the order of the row, whatever the order of the sittings.
    names = [contestant.name for contestant in row.contestants if contestant.name in measured["contestants"]]
    contestants = {name: measured["contestants"][name] for name in names}
    head = f"### {row.title[0].upper()}{row.title[1:]}\n\n`{row.name}`: {sittings(contestants)}."
    if row.notes:
        head += f" {row.notes}"
    if row.name == "products":
        body = products(rows)
    elif row.name == "loader":
        body = loader(contestants["ueo"]["report"])
    else:
        body = times(row.batch, contestants)
    return f"{head}\n\n{body}\n"


def sittings(contestants: dict) -> str:
    """When and how often; who was measured at another time than the rest is not interleaved with it, and named."""
    by_sitting: dict[tuple[str, int], list[str]] = {}
    for name, measured in contestants.items():
        by_sitting.setdefault((measured["sitting"], measured["rounds"]), []).append(name)
    clocks = {measured["clock"] for measured in contestants.values() if measured["seconds"]}
    processor = ", processor time divided by threads" if "processor" in clocks else ""
    if len(by_sitting) == 1:
        ((sitting, rounds),) = by_sitting
        return f"{rounds} {'round' if rounds == 1 else 'rounds'}, {sitting}{processor}"
    parts = [f"{', '.join(names)}: {rounds} x, {sitting}" for (sitting, rounds), names in by_sitting.items()]
    return "not all in one sitting (" + "; ".join(parts) + ")" + processor


def times(batch: int, contestants: dict) -> str:
    lines = ["| program | seconds | images/s | ratio | peak memory, GiB |", "|---|---|---|---|---|"]
    for name, measured in contestants.items():
        median = measured["median_seconds"]
        if median is None:
            lines.append(f"| {name} | {measured['failed']} | | | |")
            continue
        # The comparison is with ueo in the same precision, unless the contestant is the only one of its kind.
        precision = "bf16" if "bf16" in name else "f32"
        own = contestants.get(f"ueo {precision}")
        # Times of different sittings are no comparison; one that waited for memory or other work says nothing about speed.
        together = own and own["sitting"] == measured["sitting"]
        compared = together and own["median_seconds"] and not name.startswith("ueo")
        ratio = f"{median / own['median_seconds']:.2f}" if compared else ""
        peak = (measured["peak_memory_bytes"] or 0) / 2**30
        lines.append(f"| {name} | {median:.2f} | {batch / median:.2f} | {ratio} | {peak:.2f} |")
    return "\n".join(lines)


def products(rows: dict) -> str:
    rates = targets.product_rates(rows)
    names = list(work.block_products())
    lines = [f"| GFLOP/s | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for name, by_product in rates.items():
        lines.append(f"| {name} | {' | '.join(f'{by_product[product]:.0f}' for product in names)} |")
    return "\n".join(lines)


def loader(report: dict) -> str:
    kinds = report.get("lines", [report])
    names = {
        "test_1_thread": "test views, 1 thread",
        "test_2_threads": "test views, 2 threads",
        "training_2_threads": "training views, 2 threads",
        "training_2_threads_cached": "training views, decoded images in memory",
        "training_2_threads_cached_reduced": "training views, reduced images in memory",
    }
    lines = [f"| images/s | {' | '.join(kind['kind'] for kind in kinds)} |", "|---|" + "---|" * len(kinds)]
    for key, name in names.items():
        values = " | ".join(f"{kind['images_per_sec'][key]:.0f}" for kind in kinds)
        lines.append(f"| {name} | {values} |")
    for key in ("decode", "test_view", "training_view", "normalize"):
        values = " | ".join(f"{kind['milliseconds'][key]:.2f} ms" for kind in kinds)
        lines.append(f"| {key.replace('_', ' ')}, one image | {values} |")
    return "\n".join(lines)
