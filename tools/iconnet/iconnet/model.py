"""Creates, saves and loads the small CLIPs: open_clip's own model class and directory layout."""

import json
import math
import shutil
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AutoTokenizer

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# CLIP's own upper bound, and the factor that its zero-shot classifier is used with.
FINAL_LOGIT_SCALE = 100.0


def create(config: dict) -> open_clip.CLIP:
    """An untrained model of open_clip's CLIP class."""
    return open_clip.CLIP(config["embed_dim"], dict(config["vision_cfg"]), dict(config["text_cfg"]))


def encode_text(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """`model.encode_text` for token rows `[n, length]` that may be shorter than the context.

    Attention is causal and the feature is taken at [EOS], so positions after the longest row change nothing.
    """
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(tokens)), tokens.argmax(-1)] @ model.text_projection


class Texts:
    """Turns captions into token rows, remembering those already seen."""

    def __init__(self, directory: Path):
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.seen: dict[str, list[int]] = {}

    def rows(self, captions: list[str]) -> torch.Tensor:
        """`[n, longest]`, padded with id 0 after [EOS]."""
        for caption in set(captions) - self.seen.keys():
            ids = self.tokenizer(caption, truncation=True, max_length=self.tokenizer.model_max_length).input_ids
            self.seen[caption] = ids
        rows = [self.seen[caption] for caption in captions]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def save(model: open_clip.CLIP, config: dict, tokenizer: Path, directory: Path) -> None:
    """Writes the open_clip directory: configuration, half-precision weights, tokenizer files."""
    directory.mkdir(parents=True, exist_ok=True)
    # In an open_clip directory the tokenizer lies beside the configuration, so it has no name of its own.
    text_cfg = {**config["text_cfg"], "hf_tokenizer_name": directory.name}
    written = {
        "model_cfg": {**config, "text_cfg": text_cfg},
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (directory / "open_clip_config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}
    half = {n: t.half().contiguous() if t.is_floating_point() else t.contiguous() for n, t in tensors.items()}
    # In half precision its exponential would be 100.03.
    half["logit_scale"] = torch.tensor(math.log(FINAL_LOGIT_SCALE))
    partial = directory / "open_clip_model.safetensors.partial"
    save_file(half, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(directory / "open_clip_model.safetensors")
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, directory / name)


def load(directory: Path) -> tuple[open_clip.CLIP, Texts]:
    """The saved model in f32 evaluation mode, as open_clip itself loads it, and its captions' tokenizer."""
    model = open_clip.create_model(f"local-dir:{directory}")
    return model.eval(), Texts(directory)


def features(model: open_clip.CLIP, images: torch.Tensor, batch: int = 256) -> torch.Tensor:
    """L2-normalized image features of normalized images."""
    return torch.cat([F.normalize(model.encode_image(chunk), dim=-1) for chunk in images.split(batch)])
