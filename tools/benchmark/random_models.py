"""Writes a CLIP ViT-B/16 and a SigLIP ViT-B/16 of 224 pixels with random weights, to compare the speed of their adaptation.

Run as `python tools/benchmark/random_models.py DIRECTORY`; then `ueo adapt --model DIRECTORY/siglip ...`. The classes that such a
model names mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures"))

import torch
from siglip_tokenizers import write_unigram
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel


def write(model: torch.nn.Module, scale: float, folder: Path) -> None:
    with torch.no_grad():
        model.logit_scale.fill_(scale)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)


def main(target: Path) -> None:
    torch.manual_seed(1)
    # OpenAI's vocabulary is built into ueo; SigLIP's 32,000 rows are filled, though its small vocabulary asks for few of them.
    write(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})), 4.6, target / "clip")
    write(SiglipModel(SiglipConfig()), 4.7, target / "siglip")
    write_unigram(target / "siglip")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
