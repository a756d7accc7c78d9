"""Measures what 16 and 8 bits cost: accuracy, AUROC, equal answers, size and time of exported graphs.

    cargo build --release
    python tools/export/quantize.py target/release/ueo

Both shipped models are adapted to the drawings of the demonstration and exported. Beside what `ueo export --weights` writes stand ONNX
Runtime's own ways to 8 bits: `dynamic` rounds what goes into each product when it runs, `static` as it was for the same drawings,
without labels; both multiply integers. Prints the rows of the table in docs/export.md.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import numpy
import onnxruntime
from check import Demonstration, view
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.metrics import roc_auc_score

OUTPUTS = ["label", "confidence", "known", "verdict"]
BATCH, ROUNDS = 16, 3


class Drawings(CalibrationDataReader):
    """The drawings one after the other."""

    def __init__(self, pixels: numpy.ndarray):
        self.batches = iter(pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def session_of(graph: pathlib.Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options)


def answers(session: onnxruntime.InferenceSession, pixels: numpy.ndarray) -> list[numpy.ndarray]:
    batches = [session.run(OUTPUTS, {"pixels": pixels[start : start + BATCH]}) for start in range(0, len(pixels), BATCH)]
    return [numpy.concatenate(parts) for parts in zip(*batches)]


def measure(demonstration: Demonstration, architecture: str, graphs: dict[str, pathlib.Path], pixels: numpy.ndarray) -> None:
    rows = demonstration.rows
    known = numpy.array([row["true_decision"] == "known" for row in rows])
    sessions = {name: session_of(graph) for name, graph in graphs.items()}
    names = json.loads(sessions["f32"].get_modelmeta().custom_metadata_map["class_names"])
    times: dict[str, list[float]] = {name: [] for name in graphs}
    # In turn, so that what else the machine does falls on all.
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            start = time.process_time()
            answers(session, pixels)
            times[name].append(1000 * (time.process_time() - start) / len(pixels))
    reference = answers(sessions["f32"], pixels)
    for name, session in sessions.items():
        label, confidence, accepted, verdict = answers(session, pixels)
        correct = numpy.array([names[index] == row["true_label"] for index, row in zip(label, rows)])
        same = [f"{100 * (found == expected).mean():.1f}" for found, expected in zip((label, accepted, verdict), (reference[0], *reference[2:]))]
        figures = [
            f"{graphs[name].stat().st_size / 1e6:.2f}",
            f"{100 * correct[known].mean():.1f}",
            f"{100 * roc_auc_score(known, confidence):.1f}",
            *same,
            f"{abs(confidence - reference[1]).max():.0e}",
            f"{statistics.median(times[name]):.2f}",
        ]
        print("|", " | ".join([architecture, name, *figures]), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ueo", type=pathlib.Path, help="the program")
    parser.add_argument("--models", nargs="*", default=["resnet", "vit"], help="the shipped models to measure")
    arguments = parser.parse_args()
    print(f"onnxruntime {onnxruntime.__version__}, one thread, batches of {BATCH}")
    print("| model | weights | MB | overall accuracy | AUROC | same label | decision | verdict | confidence apart | ms per image |")
    for architecture in arguments.models:
        with tempfile.TemporaryDirectory() as place:
            demonstration = Demonstration(arguments.ueo.resolve(), pathlib.Path(place), architecture)
            pixels = numpy.stack([view(path) for path in demonstration.paths])
            graphs = {name: demonstration.export("onnx", f"{name}.onnx", "--weights", name) for name in ("f32", "f16", "int8")}
            prepared = demonstration.directory / "prepared.onnx"
            quant_pre_process(graphs["f32"], prepared)
            settings = {"per_channel": True, "weight_type": QuantType.QInt8}
            for name in ("dynamic", "static"):
                graphs[name] = demonstration.directory / f"{name}.onnx"
            quantize_dynamic(prepared, graphs["dynamic"], op_types_to_quantize=["MatMul", "Conv"], **settings)
            quantize_static(
                prepared,
                graphs["static"],
                Drawings(pixels),
                op_types_to_quantize=["MatMul", "Conv"],
                activation_type=QuantType.QUInt8,
                **settings,
            )
            measure(demonstration, architecture, graphs, pixels)


if __name__ == "__main__":
    main()
