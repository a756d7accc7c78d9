"""A short PyTorch check that unsupervised entropy optimization (UEO) helps a small CLIP on a domain of a suite.

It tunes the prompt context and the gains and biases of the visual normalization layers by SGD, as the method says, and
prints accuracy and AUROC before and after. It exists to choose the demonstration and its settings; `ueo` is the product.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from . import model as clip
from .augment import normalize
from .captions import PROMPT
from .evaluate import Suite, figures, summary

CONTEXT_WORDS = 4
EPSILON = 1e-5


def present_labels(suite_directory: Path, shift: str) -> torch.Tensor:
    """Labels of the classes that the unlabeled images may show under a category shift."""
    ranges = json.loads((suite_directory / "suite.json").read_text(encoding="utf-8"))["ranges"][shift]
    return torch.tensor([label for start, end in ranges for label in range(start, end)])


def training_view(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random resized crop (area 0.5-1) and a random flip of a u8 image `[3, h, w]`."""
    area = RandomResizedCrop.get_params(image, (0.5, 1.0), (3 / 4, 4 / 3))
    view = TF.resized_crop(image, *area, list(image.shape[1:]), InterpolationMode.BICUBIC, antialias=True)
    return view.flip(-1) if torch.rand(1, generator=generator) < 0.5 else view


class Adapter:
    """A model whose context and visual affine parameters are free, for the first `known` classes of a suite."""

    def __init__(self, directory: Path, classes: list[str]):
        self.model, texts = clip.load(directory)
        self.model.requires_grad_(False)
        self.rows = texts.rows([PROMPT.format(name) for name in classes])
        self.embedded = self.model.token_embedding(self.rows)
        self.context = torch.nn.Parameter(self.embedded[0, 1 : 1 + CONTEXT_WORDS].clone())
        self.affine = []
        for name, module in self.model.visual.named_modules():
            if isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm2d) and "downsample" not in name:
                self.affine += list(module.requires_grad_(True).parameters())

    def text(self) -> torch.Tensor:
        """Text features of the known classes with the present context."""
        m, length = self.model, self.rows.shape[1]
        context = self.context.expand(len(self.rows), -1, -1)
        x = torch.cat([self.embedded[:, :1], context, self.embedded[:, 1 + CONTEXT_WORDS :]], 1)
        x = m.transformer(x + m.positional_embedding[:length], attn_mask=m.attn_mask[:length, :length])
        x = m.ln_final(x)[torch.arange(len(self.rows)), self.rows.argmax(-1)]
        return F.normalize(x @ m.text_projection, dim=-1)

    @torch.no_grad()
    def cosines(self, images: torch.Tensor) -> torch.Tensor:
        """Cosines of whole images, `[n, known]`."""
        return clip.features(self.model, normalize(images.float() / 255)) @ self.text().T


def entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * (p + EPSILON).log()).sum(-1)


def adapt(adapter: Adapter, images: torch.Tensor, learning_rate: float, epochs: int, weight_temperature: float,
          batch: int, seed: int, objective: str = "ueo") -> None:
    """Trains in place on unlabeled images, `[n, 3, h, w]` u8. `objective`: ueo, infomax or entropy."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    weights = (adapter.cosines(images) / weight_temperature).softmax(1).max(1).values
    if objective != "ueo":
        weights = torch.ones_like(weights)
    optimizer = torch.optim.SGD([adapter.context, *adapter.affine], lr=learning_rate)
    steps = epochs * math.ceil(len(images) / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(batch):
            views = torch.stack([training_view(images[i], generator) for i in rows])
            image = F.normalize(adapter.model.encode_image(normalize(views.float() / 255)), dim=-1)
            p = (clip.FINAL_LOGIT_SCALE * image @ adapter.text().T).softmax(1)
            w = weights[rows]
            conditional = (w / w.sum() * entropy(p)).sum()
            marginal = entropy(((1 / w) / (1 / w).sum() @ p))
            loss = conditional - (marginal if objective != "entropy" else 0)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--suite", type=Path, help="a suite folder, with --domain and --shift")
    data.add_argument("--folder", type=Path, help="a demonstration folder, all of whose images are unlabeled images")
    parser.add_argument("--domain", action="append")
    parser.add_argument("--shift", default="open_partial", choices=["closed", "partial", "open", "open_partial"])
    parser.add_argument("--learning-rate", type=float, action="append", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--weight-temperature", type=float, default=1.0)
    parser.add_argument("--objective", default="ueo", choices=["ueo", "infomax", "entropy"])
    parser.add_argument("--seed", type=int, action="append")
    arguments = parser.parse_args()
    if arguments.suite:
        suite = Suite.load(arguments.suite, arguments.domain)
        present = present_labels(arguments.suite, arguments.shift)
    else:
        suite = Suite.load_folder(arguments.folder)
        present = torch.arange(suite.known + 1)
    present_classes = arguments.shift if arguments.suite else "all"
    print("accuracy / AUROC t=1 / AUROC t=0.01")
    for domain, (images, labels) in suite.domains.items():
        unlabeled = images[torch.isin(labels, present)]
        for learning_rate in arguments.learning_rate:
            for seed in arguments.seed or [2023]:
                adapter = Adapter(arguments.model, suite.classes[: suite.known])
                before = figures(adapter.cosines(images), labels)
                adapt(adapter, unlabeled, learning_rate, arguments.epochs, arguments.weight_temperature,
                      arguments.batch_size, seed, arguments.objective)
                after = figures(adapter.cosines(images), labels)
                setting = f"{present_classes} {arguments.objective} lr {learning_rate:g} seed {seed}"
                print(f"{domain} {setting}: {summary(before)} -> {summary(after)}", flush=True)


if __name__ == "__main__":
    main()
