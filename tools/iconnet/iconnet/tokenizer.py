"""CLIP's byte-pair encoding with a vocabulary small enough to be committed, in the Hugging Face layout.

The algorithm, the byte alphabet, the end-of-word mark and the order of ids (bytes, bytes at word ends, merges, start, end)
are CLIP's; only the merges are learned anew, from the icon names.

The learner breaks ties between equally frequent pairs in an order that varies from run to run, so ids of a few rare tokens
differ each time. Train with the tokenizer of an existing model directory (`train --tokenizer`) where they must agree.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .captions import TEMPLATES
from .drawings import ROOT

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 4096
CONTEXT = 32


def learn_merges(texts: Counter[str], count: int) -> list[tuple[str, str]]:
    """The first `count` merges of a byte-pair encoding of `texts` (text -> how often)."""
    byte_level = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    byte_level.normalizer = normalizers.Lowercase()
    byte_level.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=2 * 256 + count,
        initial_alphabet=sorted(bytes_to_unicode().values()),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    byte_level.train_from_iterator((text for text, n in sorted(texts.items()) for _ in range(n)), trainer)
    merges = [tuple(pair) for pair in json.loads(byte_level.to_str())["model"]["merges"]]
    if len(merges) < count:
        raise ValueError(f"the texts give {len(merges)} merges, {count} are needed")
    return merges[:count]


def write(directory: Path, bases: list[str]) -> None:
    """Learns the merges and writes tokenizer.json and tokenizer_config.json."""
    texts = Counter(base.replace("-", " ") for base in bases)
    for template in TEMPLATES:
        texts[template.replace("{}", "")] += 20
    merges = learn_merges(texts, VOCABULARY - 2 * 256 - 2)
    alphabet = list(bytes_to_unicode().values())
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges] + [START, END]
    if len(set(tokens)) != VOCABULARY:
        raise ValueError(f"{len(set(tokens))} distinct tokens, {VOCABULARY} expected")
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)
    tokenizer.save_pretrained(directory)
    # transformers indents the file to twice its size.
    compact = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    text = json.dumps(compact, ensure_ascii=False, separators=(",", ":"))
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=ROOT / "build" / "source.npz")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "tokenizer")
    arguments = parser.parse_args()
    with np.load(arguments.source) as source:
        write(arguments.output, [str(base) for base in source["bases"]])
