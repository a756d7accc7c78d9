"""Writes crates/ueo-hub/src/models.csv: models of the hub that `ueo` loads, with what their authors state about them.

Names, architectures and input settings are those of open_clip_torch (pinned in tools/requirements.txt), accuracies and
numbers of parameters those of docs/openclip_results.csv of github.com/mlfoundations/open_clip at commit
89fb801f1e6087880e951fc8354b8a2077b79c6d. `ueo inspect --configuration` decides which are loaded.

    python tools/hub/catalog.py --results openclip_results.csv --ueo target/release/ueo
"""

import argparse
import csv
import json
import subprocess
import tempfile
from pathlib import Path

from open_clip.factory import get_model_config
from open_clip.pretrained import _PRETRAINED

OUTPUT = Path(__file__).parents[2] / "crates/ueo-hub/src/models.csv"

# The licence of the weights, by the name of the training: LICENSE of github.com/openai/CLIP, the cards of LAION's
# repositories at the hub, docs/PRETRAINED.md of open_clip for the rest.
LICENCES = {
    "openai": "MIT",
    "laion": "MIT",
    "datacomp1b": "Apache-2.0",
    "datacomp": "MIT",
    "metaclip": "CC-BY-NC-4.0",
    "dfn": "Apple's own",
    "webli": "Apache-2.0",
}
# Small training runs of studies on data, and states before the end of a training, which nobody would adapt.
STUDIES = ("_s_", "_m_", "_l_", "commonpool", "_e16", "_e31", "yfcc", "cc12m")


def licence(training: str) -> str:
    return next(licence for start, licence in LICENCES.items() if training.startswith(start))


def configuration(architecture: str, settings: dict) -> dict:
    """What open_clip_config.json of the repository says."""
    model = get_model_config(architecture)
    model["quick_gelu"] = settings.get("quick_gelu", model.get("quick_gelu", False))
    preprocessing = {key: settings[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    return {"model_cfg": model, "preprocess_cfg": preprocessing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--ueo", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.results.open() as file:
        results = {(row["name"], row["pretrained"]): row for row in csv.DictReader(file)}
    rows = {}
    for architecture, trainings in _PRETRAINED.items():
        for training, settings in trainings.items():
            repository = settings.get("hf_hub", "").strip("/")
            result = results.get((architecture, training))
            if result is None or repository.count("/") != 1:
                continue
            if any(study in name for study in STUDIES for name in (training, repository.lower())):
                continue
            config = configuration(architecture, settings)
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "open_clip_config.json"
                path.write_text(json.dumps(config))
                command = [arguments.ueo, "inspect", "--configuration", path, "--json"]
                verdict = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)[0]
            if not verdict["loads"]:
                print(f"left out: {repository}: {verdict['reason']}")
                continue
            rows[repository] = [
                repository,
                architecture,
                training,
                config["model_cfg"]["vision_cfg"]["image_size"],
                result["params (M)"],
                f"{100 * float(result['ImageNet 1k']):.2f}",
                licence(training),
            ]
    header = ["repository", "architecture", "training", "image_size", "parameters_millions"]
    with OUTPUT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, "imagenet_accuracy_percent", "licence"])
        writer.writerows(sorted(rows.values(), key=lambda row: (float(row[4]), row[0])))
    print(f"{len(rows)} models in {OUTPUT}")


if __name__ == "__main__":
    main()
