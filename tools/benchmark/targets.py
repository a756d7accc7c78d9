"""The project's targets of speed and memory, each computed from the measurements.

A target is a number that must be at least (or at most) a bound. Where it needs a row that has not been measured, it has no value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import work

Rows = dict[str, dict]
# Of the steps; products are measured per thread.
THREADS = 2


class Missing(Exception):
    """A measurement that the target needs is not there."""


@dataclass(frozen=True)
class Target:
    what: str
    bound: float
    value: Callable[[Rows], float]
    at_least: bool = True
    unit: str = "x"
    # Where tiles of bf16 (AMX) multiply.
    bound_with_amx: float | None = None

    def evaluate(self, rows: Rows, has_amx: bool = False) -> tuple[float | None, bool | None]:
        """The measured value and whether the target is met; `None` where nothing was measured."""
        try:
            value = self.value(rows)
        except Missing:
            return None, None
        bound = self.bound_with_amx if has_amx and self.bound_with_amx is not None else self.bound
        return value, (value >= bound) if self.at_least else (value <= bound)


def contestant(rows: Rows, row: str, name: str) -> dict:
    try:
        return rows[row]["contestants"][name]
    except KeyError:
        raise Missing(f"{row}: {name}") from None


def seconds(rows: Rows, row: str, name: str) -> float:
    value = contestant(rows, row, name)["median_seconds"]
    if value is None:
        raise Missing(f"{row}: {name}")
    return value


def fastest(rows: Rows, row: str, prefix: str) -> float:
    """Of the contestants whose names begin with `prefix`: the comparison is with the best that PyTorch does."""
    names = [name for name in rows.get(row, {}).get("contestants", {}) if name.startswith(prefix)]
    times = [rows[row]["contestants"][name]["median_seconds"] for name in names]
    times = [value for value in times if value]
    if not times:
        raise Missing(f"{row}: {prefix}")
    return min(times)


def gib(rows: Rows, row: str, name: str) -> float:
    value = contestant(rows, row, name)["peak_memory_bytes"]
    if not value:
        raise Missing(f"{row}: {name}")
    return value / 2**30


def speedup(row: str, ours: str, theirs: str) -> Callable[[Rows], float]:
    return lambda rows: fastest(rows, row, theirs) / seconds(rows, row, ours)


def against(row: str, ours: str, theirs: str) -> Callable[[Rows], float]:
    """Against one contestant, whether or not another is faster."""
    return lambda rows: seconds(rows, row, theirs) / seconds(rows, row, ours)


def never_slower(rows: Rows) -> float:
    """Of all that was measured in both precisions, the least ratio of the time in f32 to that in bf16."""
    ratios = []
    for row, measured in rows.items():
        for name in measured["contestants"]:
            if name.startswith("ueo f32") and row != "threads":
                bf16 = name.replace("f32", "bf16")
                if bf16 in measured["contestants"]:
                    ratios.append(seconds(rows, row, name) / seconds(rows, row, bf16))
    if not ratios:
        raise Missing("bf16 beside f32")
    return min(ratios)


def product_ratio(ours: str, theirs: str) -> Callable[[Rows], float]:
    """Of the rates over a block's four products."""
    return lambda rows: 100 * rate_of(rows, ours) / rate_of(rows, theirs)


def image_passes(rows: Rows) -> float:
    """What the image tower computes for `--train context` on 10,000 images of fixed views in 50 epochs, as a share of encoding them once.

    The pass before the first step encodes all; the adaptation encodes its first batch again, and once more as many as its last batch has,
    to see that they are the same (crates/ueo/tests/adapt_once.rs counts them).
    """
    images, batch = 10_000, 64
    return 100 * (images + batch + images % batch) / images


def share_of_memory(theirs: str) -> Callable[[Rows], float]:
    return lambda rows: gib(rows, "memory", "ueo f32") / gib(rows, "memory", theirs)


def growth_mib_per_class(rows: Rows) -> float:
    return (gib(rows, "memory-1000", "ueo f32") - gib(rows, "memory", "ueo f32")) * 1024 / (1000 - 345)


def efficiency(precision: str) -> Callable[[Rows], float]:
    def value(rows: Rows) -> float:
        one, two = (seconds(rows, "threads", f"ueo {precision}, {threads}") for threads in ("1 thread", "2 threads"))
        return 100 * one / (2 * two)

    return value


def product_rates(rows: Rows) -> dict[str, dict[str, float]]:
    """GFLOP/s by implementation and product."""
    rates: dict[str, dict[str, float]] = {}
    for name in ("ueo and gemm", "numpy and PyTorch"):
        rates |= (contestant(rows, "products", name)["report"] or {}).get("gflops_per_sec", {})
    if not rates:
        raise Missing("products")
    return rates


def best_rate(rows: Rows, precision: str) -> float:
    """Rate of a block's four products, each done by whichever implementation is fastest at it."""
    rates = {name: by_product for name, by_product in product_rates(rows).items() if name.endswith(precision)}
    if not rates:
        raise Missing("products")
    flops = work.block_products()
    time = sum(flops[product] / max(rate[product] for rate in rates.values()) for product in flops)
    return sum(flops.values()) / time


def own_rate(rows: Rows, precision: str) -> float:
    return rate_of(rows, f"ueo {precision}")


def rate_of(rows: Rows, name: str) -> float:
    """Rate of a block's four products by one implementation."""
    rate = product_rates(rows).get(name)
    if rate is None:
        raise Missing("products")
    flops = work.block_products()
    return sum(flops.values()) / sum(flops[product] / rate[product] for product in flops)


def product_share(precision: str) -> Callable[[Rows], float]:
    return lambda rows: 100 * own_rate(rows, precision) / best_rate(rows, precision)


def step_rate(rows: Rows, precision: str) -> float:
    """GFLOP/s of a whole step per thread, counting the products that its mathematics needs and nothing that is recomputed."""
    return work.step_flops(images=16, classes=50) / seconds(rows, "step-50", f"ueo {precision}") / 1e9 / THREADS


def step_share(precision: str) -> Callable[[Rows], float]:
    return lambda rows: 100 * step_rate(rows, precision) / best_rate(rows, precision)


TARGETS = (
    Target("step bf16, 50 classes, against PyTorch bf16 at its fastest", 1.4, speedup("step-50", "ueo bf16", "tuned bf16"), bound_with_amx=1.5),
    Target("step bf16, 345 classes, against PyTorch bf16 at its fastest", 1.4, speedup("step-345", "ueo bf16", "tuned bf16"), bound_with_amx=1.5),
    Target("step f32, 50 classes, against PyTorch f32 at its fastest", 1.3, speedup("step-50", "ueo f32", "tuned f32"), bound_with_amx=1.5),
    Target("step f32, 345 classes, against PyTorch f32 at its fastest", 1.3, speedup("step-345", "ueo f32", "tuned f32"), bound_with_amx=1.5),
    Target("encoding bf16 against open_clip bf16 at its fastest", 1.2, speedup("encode", "ueo bf16", "open_clip bf16"), bound_with_amx=1.3),
    Target("products bf16 of oneDNN's", 95, product_ratio("ueo bf16", "torch bf16"), unit="%", bound_with_amx=85),
    Target("bf16 against own f32, the slowest of all", 1, never_slower),
    Target("image tower of `--train context`, 10,000 images, 50 epochs, of encoding once", 101, image_passes, at_least=False, unit="%"),
    Target("step of `last-4` that has its inputs, f32, against a whole step", 3, against("kept", "ueo f32, last-4", "ueo f32, whole step")),
    Target("step of `last-4` that has its inputs, bf16, against a whole step", 3, against("kept", "ueo bf16, last-4", "ueo bf16, whole step")),
    Target("the same of RN50, f32", 3, against("kept-rn50", "ueo f32, last-4", "ueo f32, whole step")),
    Target("step, 50 classes, f32, against the released way", 3.6, speedup("step-50", "ueo f32", "released")),
    Target("step, 345 classes, f32, against the released way", 10, speedup("step-345", "ueo f32", "released")),
    Target("step, 50 classes, bf16, against the released way", 6.5, speedup("step-50", "ueo bf16", "released")),
    Target("step, 345 classes, bf16, against the released way", 18, speedup("step-345", "ueo bf16", "released")),
    Target("products alone, f32, of the best on this machine", 85, product_share("f32"), unit="%"),
    Target("products alone, bf16, of the best on this machine", 75, product_share("bf16"), unit="%"),
    Target("whole step, f32, of the best product rate", 85, step_share("f32"), unit="%"),
    Target("whole step, bf16, of the best product rate", 75, step_share("bf16"), unit="%"),
    Target("peak memory, batch 64, 345 classes, of the released way's", 1 / 3, share_of_memory("released way f32"), at_least=False),
    Target("peak memory, batch 64, 345 classes, of tuned PyTorch's", 1 / 3, share_of_memory("tuned f32"), at_least=False),
    Target("memory per class, f32", 2, growth_mib_per_class, at_least=False, unit="MiB"),
    Target("memory, batch 64, 1,000 classes, f32", 8, lambda r: gib(r, "memory-1000", "ueo f32"), at_least=False, unit="GiB"),
    Target("step, RN50, f32 against PyTorch f32", 2, against("rn50", "ueo f32", "tuned f32")),
    Target("step, RN50, f32 against PyTorch f32, channels-last", 2, against("rn50", "ueo f32", "tuned f32, channels-last")),
    Target("image encoding, f32 against open_clip f32", 2, against("encode", "ueo f32", "open_clip f32")),
    Target("image encoding, f32 against open_clip f32, compiled", 2, against("encode", "ueo f32", "open_clip f32, compiled")),
    Target("image encoding, f32 against ONNX Runtime f32", 1, speedup("encode", "ueo f32", "ONNX")),
    Target("efficiency of two threads, f32", 90, efficiency("f32"), unit="%"),
    Target("efficiency of two threads, bf16", 90, efficiency("bf16"), unit="%"),
)
