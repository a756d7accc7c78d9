"""Writes crates/ueo-hub/src/models.csv: models of the hub that `ueo` loads, with what their authors state about them.

Names, architectures and input settings are those of open_clip_torch (pinned in tools/requirements.txt), accuracies those
of docs/openclip_results.csv of github.com/mlfoundations/open_clip at commit
89fb801f1e6087880e951fc8354b8a2077b79c6d, for SigLIP 2 those of its authors (siglip.py). `ueo inspect --configuration`
decides which are loaded; the configurations are kept for a test that asks again.

    python tools/hub/catalog.py --results openclip_results.csv --ueo target/release/ueo
"""

import argparse
import csv
import json
import subprocess
import tempfile
from pathlib import Path

import open_clip
import torch
from open_clip.factory import get_model_config
from open_clip.pretrained import _PRETRAINED

from siglip import SIGLIP, SIGLIP_2, transformers_configuration

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "crates/ueo-hub/src/models.csv"
CONFIGURATIONS = ROOT / "crates/ueo-cli/tests/fixtures/listed_models.json"

# The licence of the weights, by the name of the training. docs/models.md says where each is stated.
LICENCES = {
    "openai": "MIT",
    "laion": "MIT",
    "datacomp_": "MIT",
    "metaclip_": "CC-BY-NC-4.0",
    "dfn": "Apple's own",
    "webli": "Apache-2.0",
}
# Small training runs of studies on data, and states before the end of a training, which nobody would adapt.
STUDIES = ("_s_", "_m_", "_l_", "commonpool", "_e16", "_e31", "yfcc", "cc12m")


# Others trained on the same data have licences of their own.
OWNERS_OF_LAION = ("laion/", "timm/vit_")
UNKNOWN = "see its page"


def licence(repository: str, training: str) -> str:
    """The licence that docs/models.md has a source for."""
    if training.startswith("laion") and not repository.startswith(OWNERS_OF_LAION):
        return UNKNOWN
    return next((licence for start, licence in LICENCES.items() if training.startswith(start)), UNKNOWN)


def configuration(architecture: str, settings: dict) -> dict:
    """What open_clip_config.json of the repository says."""
    model = get_model_config(architecture)
    # What open_clip means by a name that is not there; a SigLIP has no such key.
    if "timm_model_name" not in model["vision_cfg"]:
        model["quick_gelu"] = settings.get("quick_gelu", model.get("quick_gelu", False))
    preprocessing = {key: settings[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    return {"model_cfg": model, "preprocess_cfg": preprocessing}


def parameters_millions(architecture: str) -> str:
    with torch.device("meta"):
        model = open_clip.create_model(architecture, device="meta", pretrained_image=False)
    return f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f}"


def refusal(ueo: Path, config: dict) -> str | None:
    """Why a configuration is not loaded."""
    with tempfile.TemporaryDirectory() as directory:
        name = "open_clip_config.json" if "model_cfg" in config else "config.json"
        path = Path(directory) / name
        path.write_text(json.dumps(config))
        command = [ueo, "inspect", "--configuration", path, "--json"]
        verdict = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)[0]
    return None if verdict["loads"] else verdict["reason"]


def candidates(results: dict) -> dict:
    """Repository: configuration, and what the table says about it."""
    found = {}
    for architecture, trainings in _PRETRAINED.items():
        for training, settings in trainings.items():
            repository = settings.get("hf_hub", "").strip("/")
            result = results.get((architecture, training))
            if repository.count("/") != 1 or (result is None and architecture not in SIGLIP_2):
                continue
            if any(study in name for study in STUDIES for name in (training, repository.lower())):
                continue
            config = configuration(architecture, settings)
            if result is None:
                facts = [parameters_millions(architecture), f"{SIGLIP_2[architecture][2]:.2f}", "authors"]
            else:
                facts = [result["params (M)"], f"{100 * float(result['ImageNet 1k']):.2f}", "open_clip"]
            size = config["model_cfg"]["vision_cfg"]["image_size"]
            found[repository] = config, [architecture, training, size, *facts]
            of_transformers = SIGLIP.get(architecture) or SIGLIP_2.get(architecture)
            if of_transformers:
                name, size = of_transformers[:2]
                config = transformers_configuration(config["model_cfg"], size)
                found[name] = config, [architecture, training, size, *facts]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--ueo", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.results.open() as file:
        results = {(row["name"], row["pretrained"]): row for row in csv.DictReader(file)}
    rows, configurations = [], {}
    for repository, (config, facts) in candidates(results).items():
        reason = refusal(arguments.ueo, config)
        if reason:
            print(f"left out: {repository}: {reason}")
            continue
        rows.append([repository, *facts, licence(repository, facts[1])])
        configurations[repository] = config
    header = ["repository", "architecture", "training", "image_size", "parameters_millions", "imagenet_accuracy_percent"]
    with OUTPUT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, "accuracy_source", "licence"])
        writer.writerows(sorted(rows, key=lambda row: (float(row[4]), row[0])))
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(config)}" for name, config in sorted(configurations.items()))
    CONFIGURATIONS.parent.mkdir(exist_ok=True)
    CONFIGURATIONS.write_text(f"{{\n{lines}\n}}\n")
    print(f"{len(rows)} models in {OUTPUT}")


if __name__ == "__main__":
    main()
