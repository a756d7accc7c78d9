"""Zero-shot figures of a model on a suite: per-class accuracy over the known classes and AUROC of known against unknown."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import roc_auc_score

from . import model as clip
from .augment import normalize
from .captions import PROMPT


@dataclass
class Suite:
    """A suite folder: suite.json (ordered class names, number of known ones) and one list file per domain."""

    name: str
    classes: list[str]
    known: int
    domains: dict[str, tuple[torch.Tensor, torch.Tensor]]

    @classmethod
    def load(cls, directory: Path, domains: list[str] | None = None) -> "Suite":
        """Reads the images as `[n, 3, h, w]` u8 with labels `[n]` in the suite's class order."""
        written = json.loads((directory / "suite.json").read_text(encoding="utf-8"))
        loaded = {}
        for domain in domains or written["domains"]:
            lines = (directory / f"{domain}.txt").read_text(encoding="utf-8").splitlines()
            entries = [line.rsplit(" ", 1) for line in lines]
            images = np.stack([np.asarray(Image.open(directory / path).convert("RGB")) for path, _ in entries])
            labels = torch.tensor([int(label) for _, label in entries])
            loaded[domain] = (torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels)
        return cls(written["name"], written["classes"], written["known"], loaded)

    @classmethod
    def load_folder(cls, directory: Path) -> "Suite":
        """Reads a demonstration folder: classes.txt and images/class/*.png; every other class is one unknown label."""
        classes = (directory / "classes.txt").read_text(encoding="utf-8").splitlines()
        known = {name.replace(" ", "_"): label for label, name in enumerate(classes)}
        paths = sorted((directory / "images").glob("*/*.png"))
        images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
        labels = torch.tensor([known.get(path.parent.name, len(classes)) for path in paths])
        domains = {directory.name: (torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels)}
        return cls(directory.name, classes, len(classes), domains)

    @torch.no_grad()
    def evaluate(self, model, texts: clip.Texts) -> dict[str, dict]:
        """`figures` of every domain."""
        prompts = texts.rows([PROMPT.format(name.replace("_", " ")) for name in self.classes[: self.known]])
        text = F.normalize(clip.encode_text(model, prompts), dim=-1)
        return {
            domain: figures(clip.features(model, normalize(images.float() / 255)) @ text.T, labels)
            for domain, (images, labels) in self.domains.items()
        }


def figures(cosines: torch.Tensor, labels: torch.Tensor) -> dict:
    """Percentages. Known is the positive class; confidence is the maximum softmax of cosines / temperature."""
    known_count = cosines.shape[1]
    known, predicted = labels < known_count, cosines.argmax(1)
    recalls = [
        (predicted[labels == k] == k).float().mean().item() for k in range(known_count) if (labels == k).any()
    ]
    result = {"images": len(labels), "per_class_accuracy": 100 * float(np.mean(recalls))}
    for name, factor in (("auroc", 1.0), ("auroc_sharp", 100.0)):
        confidence = (factor * cosines).softmax(1).max(1).values
        result[name] = 100 * roc_auc_score(known, confidence) if 0 < known.sum() < len(known) else float("nan")
    return result


def summary(result: dict) -> str:
    """Accuracy / AUROC at temperature 1 / AUROC at temperature 0.01, in one short string."""
    return " / ".join(f"{result[k]:.1f}" for k in ("per_class_accuracy", "auroc", "auroc_sharp"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="an open_clip directory")
    parser.add_argument("--suite", type=Path, action="append", required=True)
    arguments = parser.parse_args()
    loaded, texts = clip.load(arguments.model)
    for path in arguments.suite:
        suite = Suite.load(path)
        print(f"{suite.name}: {len(suite.classes)} classes, {suite.known} known; accuracy / AUROC t=1 / AUROC t=0.01")
        for domain, result in suite.evaluate(loaded, texts).items():
            print(f"  {domain:20s} {result['images']:6d} images  {summary(result)}")
