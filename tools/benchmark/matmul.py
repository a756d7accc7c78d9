"""The rate of other libraries' matrix products on the shapes of ViT-B/16 with 16 images, in GFLOP/s of one thread's own time.

`y = x W^T`, as a linear layer computes it. One JSON object on stdout; `cargo bench -p ueo-kernels --bench products` measures the same
shapes with ueo's kernels and the `gemm` crate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

# One thread, chosen before the libraries start their pools: its own time is what a busy machine disturbs least.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy
import torch
import torch.nn.functional as F

ROWS = 16 * 197
# name, outputs, inputs
SHAPES = [("qkv", 2304, 768), ("out", 768, 768), ("fc", 3072, 768), ("proj", 768, 3072)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates: dict[str, dict[str, float]] = {}
    for name, outputs, inputs in SHAPES:
        x, weight = torch.randn(ROWS, inputs), torch.randn(outputs, inputs)
        half_x, half_weight = x.bfloat16(), weight.bfloat16()
        contestants = {
            "numpy f32": lambda a=x.numpy(), b=weight.numpy().T: a @ b,
            "torch f32": lambda a=x, b=weight: F.linear(a, b),
            "torch bf16": lambda a=half_x, b=half_weight: F.linear(a, b),
        }
        samples: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        with torch.no_grad():
            for _ in range(1 + arguments.iterations):
                for contestant, product in contestants.items():
                    started = time.thread_time()
                    product()
                    samples[contestant].append(time.thread_time() - started)
        for contestant, seconds in samples.items():
            rate = 2 * ROWS * outputs * inputs / statistics.median(seconds[1:]) / 1e9
            rates.setdefault(contestant, {})[name] = round(rate, 1)
    print(json.dumps({"program": "matmul", "threads": 1, "gflops_per_sec": rates}))


if __name__ == "__main__":
    main()
