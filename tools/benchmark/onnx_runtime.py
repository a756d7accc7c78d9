"""Image encoding by ONNX Runtime: seconds per iteration of open_clip's vision tower, exported once by torch.onnx.

The graph keeps f32 and its random weights; the batch size is fixed, which lets the runtime plan its memory. One JSON object on
stdout. Making the graph is not measured; it lies in a temporary directory while the program runs.

    python tools/benchmark/onnx_runtime.py --batch-size 16 --threads 2
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import onnxruntime


def export(model: str, batch_size: int, path: Path) -> None:
    """Runs in a process of its own (see main), so that PyTorch's memory does not count."""
    import open_clip
    import torch

    # The fused inference kernel of PyTorch's attention module has no ONNX counterpart; its parts have.
    torch.backends.mha.set_fastpath_enabled(False)
    visual = open_clip.create_model(model).visual.eval().requires_grad_(False)
    size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    pixels = torch.randn(batch_size, 3, size, size)
    torch.onnx.export(
        visual, (pixels,), str(path), input_names=["pixels"], output_names=["features"], opset_version=17, dynamo=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16-quickgelu", help="open_clip's name of the architecture")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--export", type=Path, metavar="FILE", help="only write the graph to FILE")
    parser.add_argument("--graph", type=Path, metavar="FILE", help="measure this graph instead of exporting one")
    arguments = parser.parse_args()
    if arguments.export:
        export(arguments.model, arguments.batch_size, arguments.export)
        return

    with tempfile.TemporaryDirectory() as folder:
        graph = arguments.graph or Path(folder) / "vision.onnx"
        if not graph.exists():
            command = [sys.executable, __file__, "--model", arguments.model, "--batch-size", str(arguments.batch_size)]
            subprocess.run([*command, "--export", str(graph)], check=True, stdout=sys.stderr)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        options.inter_op_num_threads = 1
        # Waiting threads sleep: on a busy machine, spinning would count as work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    shape = session.get_inputs()[0].shape
    pixels = numpy.random.default_rng(1).standard_normal(shape, dtype=numpy.float32)
    wall_seconds, cpu_seconds = [], []
    for _ in range(arguments.warmup + arguments.iterations):
        wall, cpu = time.perf_counter(), time.process_time()
        (features,) = session.run(None, {"pixels": pixels})
        wall_seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
    assert numpy.isfinite(features).all()
    print(
        json.dumps(
            {
                "program": "onnxruntime",
                "model": arguments.model,
                "batch_size": shape[0],
                "threads": arguments.threads,
                "wall_seconds": wall_seconds[arguments.warmup :],
                "cpu_seconds": cpu_seconds[arguments.warmup :],
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "versions": {"onnxruntime": onnxruntime.__version__},
            }
        )
    )


if __name__ == "__main__":
    main()
