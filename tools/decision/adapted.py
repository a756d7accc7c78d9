"""Adapts IconNet's models by `ueo` to sets with known shares of unknown images, and keeps the adapted features for study.py.

    cargo build --release && python tools/decision/adapted.py target/release/ueo build/decision --suite iconnet-validation

Settings are those of suites/iconnet.toml; a set takes a few seconds. Versions: tools/requirements.txt.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from features import CLEAN, MODELS, ROOT, SUITES, subset  # noqa: F401  (features.py makes tools/iconnet importable)
from iconnet.adapt_check import Adapter


SETTINGS = {"epochs": "15", "batch-size": "64", "context-learning-rate": "1e-1", "affine-learning-rate": "1e-1"}
SEED = 2023


def adapted(program: Path, suite: str, model: str, domain: str, share: float, method: str) -> dict[str, np.ndarray]:
    """Image features `x`, labels `y` (the number of known classes for unknown ones), class features `T`."""
    directory = SUITES / suite
    written = json.loads((directory / "suite.json").read_text(encoding="utf-8"))
    known = [name.replace("_", " ") for name in written["classes"][: written["known"]]]
    lines = [line.rsplit(" ", 1) for line in (directory / f"{domain}.txt").read_text(encoding="utf-8").splitlines()]
    labels = np.minimum([int(label) for _, label in lines], len(known))
    chosen = subset(labels, len(known), share, SEED)
    checkpoint = ROOT / "models" / f"iconclip-{model}"
    with tempfile.TemporaryDirectory() as place:
        images, classes, run, features = (Path(place) / name for name in ("list.txt", "classes.txt", "run", "x.safetensors"))
        images.write_text("".join(f"{lines[i][0]} 0\n" for i in chosen), encoding="utf-8")
        classes.write_text("\n".join(known) + "\n", encoding="utf-8")
        from_list = ["--images", images, "--image-root", directory]
        settings = [text for name, value in SETTINGS.items() for text in (f"--{name}", value)]
        adapt = ["--model", checkpoint, "--classes", classes, "--output", run, "--method", method, *settings]
        subprocess.run([program, "adapt", *from_list, *adapt], check=True, capture_output=True)
        subprocess.run([program, "embed", "--model", run, *from_list, "--output", features], check=True, capture_output=True)
        with safe_open(features, "np") as file:
            x = file.get_tensor("image_features")
        with safe_open(run / "adapted.safetensors", "pt") as file:
            context = file.get_tensor(next(name for name in file.keys() if "context" in name))
    adapter = Adapter(checkpoint, known)
    with torch.no_grad():
        adapter.context.copy_(context)
        return {"x": x, "y": labels[chosen], "T": adapter.text().numpy()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--suite", default="iconnet-validation")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--domains", default="duotone,pixel,color,gradient,duotone-fog,duotone-blur")
    parser.add_argument("--shares", default="0,0.05,0.1,0.25,0.5")
    parser.add_argument("--method", default="ueo")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for model in arguments.models.split(","):
        for domain in arguments.domains.split(","):
            for share in map(float, arguments.shares.split(",")):
                name = f"{arguments.suite}-{domain}-{share:g}-{arguments.method.replace('-', '_')}-{model}.npz"
                if not (arguments.output / name).exists():
                    found = adapted(arguments.program, arguments.suite, model, domain, share, arguments.method)
                    np.savez(arguments.output / name, **found)
                    print(name, flush=True)
