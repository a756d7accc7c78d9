"""Trains a small CLIP from scratch on the source drawings, for a bounded time."""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.transformer import PatchDropout
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import model as clip
from .augment import cosine, normalize, views
from .captions import SHARES, TEMPLATES
from .classes import names_of_classes, read_classes
from .drawings import ROOT
from .evaluate import Suite, summary

BATCH = 128
WEIGHT_DECAY = 0.1
WARMUP_STEPS, RESUME_WARMUP_STEPS = 300, 50
# The factor on cosines grows from CLIP's initial one to its final one over this share of the training.
SCALE_FROM, SCALE_TO, SCALE_UNTIL = 14.3, clip.FINAL_LOGIT_SCALE, 0.6
# Share of training during which a ViT sees a random part of its patches only (then all of them), and that part.
PART_UNTIL, PART = 0.82, 0.5
# Text features of so many earlier captions stay as further negatives: one image then tells this many names apart.
REMEMBERED = 1024
# Share of each batch that shows everyday things (the candidates of classes.toml), and the share of these whose caption
# has the class name in place of the icon's own ("airplane" for "plane").
EVERYDAY, CLASS_NAMED = 0.6, 0.5
# Weight of the distance to the image features of a teacher, where one is given.
TEACHER_WEIGHT = 5.0
# Domains of the suites that checkpoints are evaluated on.
EVALUATED = ["solid", "duotone", "gradient", "pixel", "solid-fog"]
# Weight of an auxiliary linear classifier of the everyday things on the image features, at the start; it falls to zero
# with the learning rate and is thrown away: it gives a signal before the text tower means anything.
CLASSIFIER_WEIGHT = 1.0


def parameter_groups(model: torch.nn.Module) -> list[dict]:
    """Weight decay for matrices and kernels, none for gains, biases and embeddings."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        if name == "logit_scale" or not parameter.requires_grad:
            continue
        (decayed if parameter.ndim >= 2 and "embedding" not in name else free).append(parameter)
    return [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}]


class MultiPositiveLoss:
    """CLIP's symmetric loss where every pair of equal names is a positive, with remembered captions as further negatives."""

    def __init__(self):
        self.features, self.names = torch.empty(0), np.empty(0, dtype=str)

    def __call__(self, image: torch.Tensor, text: torch.Tensor, names: np.ndarray, scale: float):
        """The loss, and the share of images whose best caption has the right name."""
        if len(self.names) == 0:
            self.features = text.detach()[:0]
        all_names = np.concatenate([names, self.names])
        logits = scale * image @ torch.cat([text, self.features]).T
        same = torch.from_numpy(names[:, None] == all_names[None])
        target = same.float() / same.sum(1, keepdim=True)
        in_batch = same[:, : len(names)].float()
        back = F.cross_entropy(logits[:, : len(names)].T, in_batch / in_batch.sum(1, keepdim=True))
        loss = (F.cross_entropy(logits, target) + back) / 2
        self.features = torch.cat([text.detach(), self.features])[:REMEMBERED]
        self.names = all_names[:REMEMBERED]
        return loss, same[torch.arange(len(names)), logits.argmax(1)].float().mean().item()


class Sampler:
    """Draws batches: half everyday things, half anything; rarer names more often, so that "arrow" does not fill them."""

    def __init__(self, bases: np.ndarray, everyday: np.ndarray, rng: np.random.Generator):
        counts = Counter(bases)
        weights = np.array([counts[base] ** -0.5 for base in bases])
        self.rng = rng
        self.pools = []
        for rows, size in ((np.flatnonzero(everyday), round(EVERYDAY * BATCH)), (np.arange(len(bases)), None)):
            shares = weights[rows] / weights[rows].sum()
            self.pools.append((rows, np.cumsum(shares), size or BATCH - round(EVERYDAY * BATCH)))

    def batch(self) -> np.ndarray:
        """Row numbers, `[BATCH]`."""
        return np.concatenate(
            [rows[np.searchsorted(ends, self.rng.random(n)).clip(max=len(rows) - 1)] for rows, ends, n in self.pools]
        )


def place_codes(grid: int, width: int) -> torch.Tensor:
    """Two-dimensional sine and cosine codes, `[1 + grid * grid, width]` with a zero row for [CLS]: a start that knows places."""
    frequencies = 50 ** -torch.linspace(0, 1, width // 4)
    angles = torch.arange(grid).float()[:, None] * frequencies
    code = torch.cat([angles.sin(), angles.cos()], 1)
    rows = code[:, None].expand(grid, grid, -1)
    columns = code[None].expand(grid, grid, -1)
    plane = torch.cat([rows, columns], -1).reshape(grid * grid, width)
    return torch.cat([torch.zeros(1, width), plane])


def take_text_tower(model: torch.nn.Module, teacher: torch.nn.Module) -> None:
    """Copies everything outside the visual tower from the teacher, and freezes it."""
    text = {name: value for name, value in teacher.state_dict().items() if not name.startswith("visual.")}
    model.load_state_dict(text, strict=False)
    for name, parameter in model.named_parameters():
        if not name.startswith("visual."):
            parameter.requires_grad_(False)


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.set_flush_denormal(True)
    rng = np.random.default_rng(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    model = clip.create(config)
    is_vit = isinstance(config["vision_cfg"]["layers"], int)
    if not is_vit:
        model.visual.to(memory_format=torch.channels_last)
    size = config["vision_cfg"]["image_size"]
    if is_vit:
        width = config["vision_cfg"]["width"]
        codes = place_codes(size // config["vision_cfg"]["patch_size"], width)
        # Half of a patch embedding's own size.
        model.visual.positional_embedding.data.copy_(0.5 * codes)
    if arguments.resume:
        model.load_state_dict(clip.load(arguments.resume)[0].state_dict())
    teacher = None
    if arguments.teacher:
        teacher, _ = clip.load(arguments.teacher)
        teacher.requires_grad_(False)
        take_text_tower(model, teacher)
    texts = clip.Texts(arguments.tokenizer)
    with np.load(arguments.source) as source:
        images = torch.from_numpy(source["images"])
        bases, one_color = source["bases"], torch.from_numpy(source["domains"] == "outline")
    owner = names_of_classes(read_classes()["candidates"])
    names = np.array([owner.get(base, base.replace("-", " ")) for base in bases])
    own_names = np.char.replace(bases, "-", " ")
    sampler = Sampler(bases, np.array([base in owner for base in bases]), rng)
    everyday_classes = sorted(set(owner.values()))
    labels = torch.tensor([everyday_classes.index(name) if base in owner else -1 for base, name in zip(bases, names)])
    classifier = torch.nn.Linear(config["embed_dim"], len(everyday_classes))
    # The classifier is not saved, and a new one would only disturb a trained model.
    classifier_weight, warmup = (0.0, RESUME_WARMUP_STEPS) if arguments.resume else (CLASSIFIER_WEIGHT, WARMUP_STEPS)
    groups = [*parameter_groups(model), {"params": classifier.parameters(), "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    criterion = MultiPositiveLoss()
    suites = [Suite.load(path, EVALUATED) for path in arguments.suite]
    dropout = PatchDropout(1 - PART)

    log = arguments.log.open("w", encoding="utf-8")

    def record(**entry):
        line = json.dumps(entry)
        print(line, flush=True)
        print(line, file=log, flush=True)

    parameters = sum(p.numel() for p in model.parameters())
    record(config=str(arguments.config.name), seed=arguments.seed, minutes=arguments.minutes, drawings=len(bases),
           names=len(set(names)), parameters=parameters, batch=BATCH, learning_rate=arguments.learning_rate,
           from_fraction=arguments.from_fraction, teacher=arguments.teacher.name if arguments.teacher else None)
    start, step, saved = time.monotonic(), 0, 0.0
    model.train()
    while True:
        elapsed = time.monotonic() - start
        fraction = arguments.from_fraction + (1 - arguments.from_fraction) * elapsed / (60 * arguments.minutes)
        if fraction >= 1:
            break
        rate = arguments.learning_rate * min(1, (step + 1) / warmup) * max(0.01, cosine(fraction))
        for group in optimizer.param_groups:
            group["lr"] = rate
        if is_vit:
            model.visual.patch_dropout = dropout if fraction < PART_UNTIL else torch.nn.Identity()
        scale = SCALE_FROM * (SCALE_TO / SCALE_FROM) ** min(1, fraction / SCALE_UNTIL)

        chosen = sampler.batch()
        picture = normalize(views(images[chosen], one_color[chosen], size, generator))
        if not is_vit:
            picture = picture.contiguous(memory_format=torch.channels_last)
        template = rng.choice(len(TEMPLATES), size=BATCH, p=SHARES)
        words = np.where(rng.random(BATCH) < CLASS_NAMED, names[chosen], own_names[chosen])
        tokens = texts.rows([TEMPLATES[t].format(w) for t, w in zip(template, words)])
        with torch.autocast("cpu", torch.bfloat16):
            image, text = model.encode_image(picture), clip.encode_text(model, tokens)
            guess = classifier(image)
        auxiliary = F.cross_entropy(guess.float(), labels[chosen], ignore_index=-1)
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        loss, accuracy = criterion(image, text, names[chosen], scale)
        total = loss + classifier_weight * cosine(fraction) * auxiliary
        if teacher is not None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                taught = teacher.encode_image(picture.contiguous(memory_format=torch.channels_last))
            total = total + TEACHER_WEIGHT * (1 - (image * F.normalize(taught.float(), dim=-1)).sum(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
        optimizer.step()
        step += 1

        if step % 50 == 0:
            record(step=step, seconds=round(elapsed), fraction=round(fraction, 3), loss=round(loss.item(), 3),
                   classifier=round(auxiliary.item(), 3), accuracy=round(accuracy, 3), learning_rate=round(rate, 6),
                   scale=round(scale, 1))
        if elapsed - saved > 60 * arguments.save_minutes:
            saved = elapsed
            checkpoint(model, config, arguments, suites, record, step)
    checkpoint(model, config, arguments, suites, record, step)


def checkpoint(model, config, arguments, suites, record, step) -> None:
    """Saves the present state and records its zero-shot figures."""
    clip.save(model, config, arguments.tokenizer, arguments.output)
    saved, texts = clip.load(arguments.output)
    for suite in suites:
        record(step=step, suite=suite.name, zero_shot={d: summary(r) for d, r in suite.evaluate(saved, texts).items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the open_clip directory to write")
    parser.add_argument("--resume", type=Path, help="a saved model to go on from (its weights; optimizer state is new)")
    parser.add_argument("--from-fraction", type=float, default=0.0, help="where in the schedule to begin, with --resume")
    parser.add_argument("--teacher", type=Path, help="a trained model to take the text tower and image features from")
    parser.add_argument("--source", type=Path, default=ROOT / "build" / "source.npz")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "build" / "tokenizer")
    parser.add_argument("--suite", type=Path, action="append", default=[], help="a suite folder to evaluate on")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=2023)
    # For so short sequences plain products are faster on a CPU than the blocked attention.
    with sdpa_kernel(SDPBackend.MATH):
        train(parser.parse_args())


if __name__ == "__main__":
    main()
