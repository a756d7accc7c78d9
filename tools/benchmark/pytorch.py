"""The PyTorch side of the benchmark: seconds per iteration of one task on a CLIP with random weights.

One configuration per call, so that the peak memory is that of this configuration; one JSON object on stdout. Nothing is
downloaded: speed does not depend on the weights. Compare medians of runs that alternate with the other program's on the
same machine; `load_average` and `cpu_seconds` show whether something else was running.

    python tools/benchmark/pytorch.py --task step --mode released --batch-size 16 --classes 345
    python tools/benchmark/pytorch.py --task vision --mode tuned --precision bf16-weights --threads 2

Tasks:
    step           a whole adaptation step: both towers forward, objective, backward, update
    vision         the vision tower forward and backward to the affine parameters of its LayerNorms
    encode-images  the vision tower forward, without gradients
    encode-texts   the text tower forward, without gradients

Modes:
    released       as the released UEO program runs it: 77 tokens for every class, f32
    tuned          what a careful PyTorch user would do: prompts trimmed to the longest of the classes, frozen weights, and on
                   request bf16 (by autocast, or with the frozen weights converted once), channels-last images, and
                   torch.compile

Attention is `scaled_dot_product_attention` in both; PyTorch chooses its flash kernel on the CPU. The towers are openai-clip's
or, with --library open-clip, open_clip's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Threads are chosen before PyTorch starts its pools.
if "--threads" in sys.argv[:-1]:
    os.environ["OMP_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1]

import torch
import torch.nn.functional as F
from clip.model import CLIP, LayerNorm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))
from reference import PromptedClip, affine_parameters, ueo_objective  # noqa: E402

CONTEXT_LENGTH = 77
VOCAB_SIZE = 49408
SOS, EOS, PERIOD = 49406, 49407, 269
A_PHOTO_OF_A = [320, 1125, 539, 320]
MODELS = {
    # embed_dim, image size, layers, width, patch size, text width, text heads, text layers
    "ViT-B/16": (512, 224, 12, 768, 16, 512, 8, 12),
    "ViT-B/32": (512, 224, 12, 768, 32, 512, 8, 12),
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 512, 8, 12),
    # For a quick trial of the program itself.
    "tiny": (32, 32, 2, 64, 8, 64, 1, 2),
}
OPEN_CLIP_NAMES = {"ViT-B/16": "ViT-B-16-quickgelu", "ViT-B/32": "ViT-B-32-quickgelu", "RN50": "RN50-quickgelu"}


def build_clip(name: str) -> CLIP:
    embed_dim, image_size, layers, width, patch_size, text_width, text_heads, text_layers = MODELS[name]
    model = CLIP(
        embed_dim, image_size, layers, width, patch_size,
        CONTEXT_LENGTH, VOCAB_SIZE, text_width, text_heads, text_layers,
    )  # fmt: skip
    return model.eval().requires_grad_(False)


def made_up_prompts(classes: int) -> torch.Tensor:
    """Token ids `[classes, 77]` with names of one to four tokens, the same lengths as in the Rust benchmark."""
    ids = torch.zeros(classes, CONTEXT_LENGTH, dtype=torch.int64)
    for number, row in enumerate(ids):
        name = [1000 + (number * 7 + place) % 30000 for place in range(1 + number % 4)]
        prompt = [SOS, *A_PHOTO_OF_A, *name, PERIOD, EOS]
        row[: len(prompt)] = torch.tensor(prompt)
    return ids


def trim_prompts(clip: CLIP, ids: torch.Tensor) -> torch.Tensor:
    """Cuts all prompts after the last EOS; exact, because attention is causal."""
    length = int(ids.argmax(dim=-1).max()) + 1
    for block in clip.transformer.resblocks:
        block.attn_mask = block.attn_mask[:length, :length].contiguous()
    return ids[:, :length].contiguous()


def convert_frozen_weights(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Everything except the LayerNorms, which stay (and compute) in f32."""
    kept = {id(p) for m in model.modules() if isinstance(m, LayerNorm) for p in m.parameters(recurse=False)}
    for name, parameter in model.named_parameters():
        if id(parameter) not in kept and not name.endswith("logit_scale"):
            parameter.data = parameter.data.to(dtype)


class OpenClipEncoder(torch.nn.Module):
    """open_clip's vision tower under the name that the tasks use."""

    def __init__(self, name: str, precision: str):
        super().__init__()
        import open_clip

        # open_clip's own way of bf16: frozen weights converted, LayerNorms in f32.
        theirs = "bf16" if precision == "bf16-weights" else "fp32"
        self.visual = open_clip.create_model(OPEN_CLIP_NAMES[name], precision=theirs).visual.eval().requires_grad_(False)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.visual(pixels)


class Benchmark:
    """Holds the model and the inputs; each task is a method without arguments."""

    def __init__(self, arguments: argparse.Namespace):
        torch.manual_seed(arguments.seed)
        clip = build_clip(arguments.model)
        ids = made_up_prompts(arguments.classes)
        tuned = arguments.mode == "tuned"
        if tuned:
            ids = trim_prompts(clip, ids)
        if arguments.precision == "bf16-weights":
            convert_frozen_weights(clip, torch.bfloat16)
        self.model = PromptedClip(clip, ids, torch.tensor(A_PHOTO_OF_A))
        # Trained in f32 in every precision; the tower casts it where it enters.
        self.model.context.data = self.model.context.data.float()
        self.prompt_length = ids.shape[1]
        size = clip.visual.input_resolution
        self.pixels = torch.randn(arguments.batch_size, 3, size, size)
        self.weights = 0.02 + 0.01 * torch.rand(arguments.batch_size)
        self.feature_gradient = torch.randn(arguments.batch_size, clip.text_projection.shape[1])
        self.autocast = arguments.precision == "bf16-autocast"
        self.affine = list(affine_parameters(clip).values())
        if arguments.task in ("step", "vision"):
            for parameter in self.affine:
                parameter.requires_grad_(True)
        trained = [self.model.context, *self.affine]
        self.optimizer = torch.optim.SGD(trained, lr=1e-4)

        self.encoder = OpenClipEncoder(arguments.model, arguments.precision) if arguments.library == "open-clip" else clip
        if arguments.library == "open-clip" and arguments.precision == "bf16-weights":
            self.pixels = self.pixels.bfloat16()
        if arguments.channels_last:
            self.encoder.visual.to(memory_format=torch.channels_last)
            self.pixels = self.pixels.contiguous(memory_format=torch.channels_last)
        self.encode = self.encoder.encode_image
        if arguments.compile:
            self.encode = torch.compile(self.encode)
            clip.transformer = torch.compile(clip.transformer)

    def precision(self) -> contextlib.AbstractContextManager:
        return torch.autocast("cpu", torch.bfloat16) if self.autocast else contextlib.nullcontext()

    def step(self) -> None:
        self.optimizer.zero_grad()
        with self.precision():
            image_features = self.encode(self.pixels)
            text_features = self.model.text_features()
        # Cosines and objective in f32, whatever the towers compute in.
        cosine_logits = F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features.float(), dim=-1).T
        ueo_objective(cosine_logits, self.weights, 100.0, trade_off=1.0).loss.backward()
        self.optimizer.step()

    def vision(self) -> None:
        self.optimizer.zero_grad()
        with self.precision():
            image_features = self.encode(self.pixels)
        image_features.float().backward(self.feature_gradient)

    def encode_images(self) -> None:
        with torch.no_grad(), self.precision():
            self.encode(self.pixels)

    def encode_texts(self) -> None:
        with torch.no_grad(), self.precision():
            self.model.text_features()


def measure(task: Callable[[], None], warmup: int, iterations: int, max_seconds: float) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each iteration; stops early, after at least one, when `max_seconds` have passed."""
    for _ in range(warmup):
        task()
    wall_seconds, cpu_seconds = [], []
    start = time.perf_counter()
    while len(wall_seconds) < iterations and (not wall_seconds or time.perf_counter() - start < max_seconds):
        wall, cpu = time.perf_counter(), time.process_time()
        task()
        wall_seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
    return wall_seconds, cpu_seconds


def peak_rss_bytes() -> int:
    """Of this process since its start. Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_rss() -> bool:
    """Forgets the peak so far, so that building the model does not hide that of the iterations. Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_rss_bytes_since_reset() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["step", "vision", "encode-images", "encode-texts"], required=True)
    parser.add_argument("--mode", choices=["released", "tuned"], default="released")
    parser.add_argument("--model", choices=list(MODELS), default="ViT-B/16")
    parser.add_argument("--precision", choices=["f32", "bf16-autocast", "bf16-weights"], default="f32")
    parser.add_argument("--library", choices=["openai-clip", "open-clip"], default="openai-clip")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile of both towers")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--classes", type=int, default=50, help="matters to step and encode-texts only")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--max-seconds", type=float, default=120.0, help="no new iteration is begun after this time")
    parser.add_argument("--seed", type=int, default=2023)
    arguments = parser.parse_args()
    if arguments.mode == "released" and arguments.precision != "f32":
        parser.error("the released mode runs in f32; use --mode tuned for other precisions")
    if arguments.library == "open-clip" and arguments.task != "encode-images":
        parser.error("open_clip's towers are measured encoding images only")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    benchmark = Benchmark(arguments)
    whole_process_peak = peak_rss_bytes()
    peak_was_reset = reset_peak_rss()
    load_before = os.getloadavg()[0]
    task = getattr(benchmark, arguments.task.replace("-", "_"))
    wall, cpu = measure(task, arguments.warmup, arguments.iterations, arguments.max_seconds)
    items = arguments.classes if arguments.task == "encode-texts" else arguments.batch_size
    quartiles = statistics.quantiles(wall, n=4, method="inclusive") if len(wall) > 1 else wall * 3
    result = {
        "program": "pytorch",
        "task": arguments.task,
        "mode": arguments.mode,
        "model": arguments.model,
        "library": arguments.library,
        "precision": arguments.precision,
        "channels_last": arguments.channels_last,
        "compiled": arguments.compile,
        "batch_size": arguments.batch_size,
        "classes": arguments.classes,
        "prompt_length": benchmark.prompt_length,
        "threads": torch.get_num_threads(),
        "iterations": len(wall),
        "median_secs": statistics.median(wall),
        "minimum_secs": min(wall),
        "lower_quartile_secs": quartiles[0],
        "upper_quartile_secs": quartiles[2],
        "items_per_sec": items / statistics.median(wall),
        "peak_rss_bytes": max(whole_process_peak, peak_rss_bytes()),
        "iterations_peak_rss_bytes": peak_rss_bytes_since_reset() if peak_was_reset else None,
        "wall_seconds": [round(t, 6) for t in wall],
        "cpu_seconds": [round(t, 6) for t in cpu],
        "load_average": [load_before, os.getloadavg()[0]],
        "machine": {"processor": processor(), "logical_cpus": os.cpu_count(), "system": platform.platform()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
