"""What is compared: rows, each with the programs that take part in it.

A row is one interleaved measurement. Every contestant is a process of its own: `command` prints one JSON object with seconds
per iteration (or rates) and its peak memory.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contestant:
    """One program in one configuration. `program` is `step`, `products`, `loader` (ueo's benchmarks) or a Python script."""

    name: str
    program: str
    arguments: tuple[str, ...]
    threads: int = 2
    # Some compile or choose kernels during the first iterations.
    warmup: int = 1
    # Refused more memory than this, so that a machine that is too small for it survives.
    limit_gib: float | None = None

    @property
    def is_rust(self) -> bool:
        return not self.program.endswith(".py")


@dataclass(frozen=True)
class Row:
    """`batch` images per iteration; 0 where the contestants print rates of their own."""

    name: str
    title: str
    batch: int
    contestants: tuple[Contestant, ...]
    iterations: int = 2
    notes: str = field(default="")


def ueo(name: str, *arguments: str, threads: int = 2) -> Contestant:
    return Contestant(name, "step", arguments, threads)


def pytorch(name: str, *arguments: str, warmup: int = 1, limit_gib: float | None = None) -> Contestant:
    return Contestant(name, "pytorch.py", arguments, warmup=warmup, limit_gib=limit_gib)


BF16 = ("--precision", "bf16")
TUNED = ("--task", "step", "--mode", "tuned")
# Compiling during the first iteration, and again where the second one meets other strides.
COMPILED = ("--compile",)


def step_row(classes: int) -> Row:
    count = ("--classes", str(classes))
    return Row(
        f"step-{classes}",
        f"adaptation step, ViT-B/16, batch 16, {classes} classes",
        16,
        (
            ueo("ueo f32", "--mode", "step", *count),
            ueo("ueo bf16", "--mode", "step", *count, *BF16),
            pytorch("released way f32", "--task", "step", "--mode", "released", *count),
            pytorch("tuned f32", *TUNED, *count),
            pytorch("tuned f32, compiled", *TUNED, *count, *COMPILED, warmup=2),
            pytorch("tuned bf16", *TUNED, *count, "--precision", "bf16-weights", "--channels-last"),
            pytorch("tuned bf16, compiled", *TUNED, *count, "--precision", "bf16-weights", *COMPILED, warmup=2),
        ),
        iterations=1 if classes > 100 else 2,
    )


def kept_row(name: str, what: str, *options: str, precisions: tuple[str, ...] = ("f32", "bf16")) -> Row:
    """Steps that train a part and have what the rest makes of the images from an earlier step."""
    parts = (
        ("whole step", "step", ()),
        ("last-4", "kept", ("--train-blocks", "last-4")),
        ("context", "kept", ("--train", "context")),
        ("encoding", "encode", ()),
    )
    return Row(
        name,
        f"adaptation steps that have what is not trained, {what}, batch 16, 50 classes",
        16,
        tuple(
            ueo(f"ueo {precision}, {part}", "--mode", mode, *arguments, *options, "--precision", precision)
            for precision in precisions
            for part, mode, arguments in parts
        ),
        iterations=4,
    )


ENCODE = ("--task", "encode-images", "--mode", "tuned", "--library", "open-clip")
LARGE = ("--classes", "345")

ROWS = (
    step_row(50),
    step_row(345),
    Row(
        "encode",
        "image encoding without gradients, ViT-B/16, batch 16",
        16,
        (
            ueo("ueo f32", "--mode", "encode"),
            ueo("ueo bf16", "--mode", "encode", *BF16),
            pytorch("open_clip f32", *ENCODE),
            pytorch("open_clip f32, compiled", *ENCODE, *COMPILED, warmup=2),
            pytorch("open_clip bf16", *ENCODE, "--precision", "bf16-weights"),
            pytorch("open_clip bf16, compiled", *ENCODE, "--precision", "bf16-weights", *COMPILED, warmup=2),
            Contestant("ONNX Runtime f32", "onnx_runtime.py", ()),
        ),
        iterations=3,
    ),
    kept_row("kept", "ViT-B/16"),
    kept_row("kept-avx2", "ViT-B/16, with AVX2 only", "--instruction-set", "avx2", precisions=("f32",)),
    kept_row("kept-rn50", "RN50", "--model", "RN50"),
    Row(
        "rn50",
        "adaptation step, RN50, batch 16, 50 classes",
        16,
        (
            ueo("ueo f32", "--mode", "step", "--model", "RN50"),
            ueo("ueo bf16", "--mode", "step", "--model", "RN50", *BF16),
            pytorch("tuned f32", *TUNED, "--model", "RN50"),
            pytorch("tuned f32, channels-last", *TUNED, "--model", "RN50", "--channels-last"),
        ),
    ),
    Row(
        "threads",
        "adaptation step, ViT-B/16, batch 16, 50 classes, one thread and two",
        16,
        (
            ueo("ueo f32, 1 thread", "--mode", "step", threads=1),
            ueo("ueo f32, 2 threads", "--mode", "step"),
            ueo("ueo bf16, 1 thread", "--mode", "step", *BF16, threads=1),
            ueo("ueo bf16, 2 threads", "--mode", "step", *BF16),
        ),
    ),
    Row(
        "memory",
        "peak memory of a step, ViT-B/16, batch 64, 345 classes",
        64,
        (
            ueo("ueo f32", "--mode", "step", *LARGE),
            ueo("ueo bf16", "--mode", "step", *LARGE, *BF16),
            pytorch("tuned f32", *TUNED, *LARGE, warmup=0, limit_gib=18),
            pytorch("tuned bf16", *TUNED, *LARGE, "--precision", "bf16-weights", warmup=0, limit_gib=18),
            pytorch("released way f32", "--task", "step", *LARGE, warmup=0, limit_gib=18),
        ),
        iterations=1,
        notes="A limit on the address space stands for the machine's memory: PyTorch's allocation fails instead of the machine.",
    ),
    Row(
        "memory-1000",
        "peak memory of a step, ViT-B/16, batch 64, 1,000 classes",
        64,
        (
            ueo("ueo f32", "--mode", "step", "--classes", "1000"),
            ueo("ueo bf16", "--mode", "step", "--classes", "1000", *BF16),
        ),
        iterations=1,
    ),
    Row(
        "products",
        "matrix products of ViT-B/16 with 16 images, per thread",
        0,
        (
            Contestant("ueo and gemm", "products", ()),
            Contestant("numpy and PyTorch", "matmul.py", ()),
        ),
    ),
    Row("loader", "images per second from files to network inputs", 0, (Contestant("ueo", "loader", ()),)),
    Row(
        "loading",
        "adaptation steps, ViT-B/16, batch 16, 50 classes, with images from files",
        16,
        (
            ueo("f32, pixels in memory", "--mode", "step"),
            ueo("f32, 640 x 480 JPEG", "--mode", "step", "--images", "{photo-vga}"),
            ueo("f32, 12-megapixel JPEG", "--mode", "step", "--images", "{photo-12mp}"),
            ueo("f32, 12-megapixel JPEG, reduced in memory", "--mode", "step", "--images", "{photo-12mp}", "--reduce-images", "448", "--image-cache", str(2 << 30)),
        ),
        iterations=4,
    ),
)


def command(contestant: Contestant, row: Row, binaries: dict[str, str], folders: dict[str, str]) -> list[str]:
    """The process to start."""
    if contestant.program in ("products", "loader"):
        return [binaries[contestant.program], "--threads", str(contestant.threads)]
    common = ["--threads", str(contestant.threads)]
    if contestant.program == "matmul.py":
        return [sys.executable, str(TOOLS / contestant.program)]
    common += ["--iterations", str(row.iterations), "--warmup", str(contestant.warmup)]
    arguments = [argument.format_map(folders) if "{" in argument else argument for argument in contestant.arguments]
    if contestant.program == "step":
        prefix = []
        if "--instruction-set" in arguments:
            at = arguments.index("--instruction-set")
            prefix = ["env", f"UEO_INSTRUCTION_SET={arguments[at + 1]}"]
            del arguments[at : at + 2]
        return [*prefix, binaries["speed"], *arguments, "--batch", str(row.batch), *common]
    return [sys.executable, str(TOOLS / contestant.program), *arguments, "--batch-size", str(row.batch), *common]
