"""What half-centring and mirrored views do to features: the tables of docs/what-to-expect.md.

    python tools/decision/recipe.py build/decision           # after features.py; versions in tools/requirements.txt

Factors are compared on re-splits of `iconnet-validation`, figures are those of `iconnet-65`. Means over styles and the four category
shifts; intervals by the bootstrap over classes, known and unknown ones drawn apart, as crates/ueo/src/evaluate/bootstrap.rs has it.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.special import softmax

from features import CLEAN, CORRUPTED, MODELS, SUITES
from study import unit

DRAWS, SHIFTS = 1000, ("closed", "partial", "open", "open_partial")
MEASURES = ("accuracy", "AUROC msp", "AUROC maximum logit")


def centred(images, texts, means_of, factor: float):
    return unit(images - factor * means_of.mean(axis=0)), unit(texts - factor * texts.mean(axis=0))


def variants(images, mirrored, texts, adapted):
    """Name to cosines; `adapted` marks the images whose mean is taken."""
    both = unit(images + mirrored)
    named = {"zero-shot": images @ texts.T, "mirrored": both @ texts.T}
    for name, source, factor in [("half-centred", images, 0.5), ("half-centred, mirrored", both, 0.5), ("fully centred", images, 1.0)]:
        x, t = centred(source, texts, source[adapted], factor)
        named[name] = x @ t.T
    return named


class Statistics:
    """Recall by known class and pairs won by class pair: enough to measure any draw of classes."""

    def __init__(self, cosines, labels, known: int, unknown: int):
        own = [np.where(labels == k)[0] for k in range(known + unknown)]
        hit = cosines.argmax(axis=1) == labels
        self.images = np.array([len(i) for i in own], float)
        self.recall = np.array([hit[i].mean() if len(i) else 0.0 for i in own[:known]])
        self.won = []
        for score in (softmax(cosines, axis=1).max(axis=1), cosines.max(axis=1)):
            others = [np.sort(score[i]) for i in own[known:]]
            pairs = [
                [(np.searchsorted(o, score[i], "left") + np.searchsorted(o, score[i], "right")).sum() / 2 for o in others]
                for i in own[:known]
            ]
            self.won.append(np.array(pairs))
        self.known = known

    def measure(self, k, u) -> np.ndarray:
        """`[3, draws]` from how often each class is drawn, `[draws, classes]`."""
        there = self.images[: self.known] > 0
        accuracy = (k * there) @ self.recall / (k * there).sum(axis=1)
        pairs = (k @ self.images[: self.known]) * (u @ self.images[self.known :])
        areas = [np.einsum("dk,ku,du->d", k, won, u) / pairs for won in self.won]
        return 100 * np.array([accuracy, *areas])


def draws(known: int, unknown: int):
    rng = np.random.default_rng(2024)
    times = [rng.multinomial(n, np.full(n, 1 / n), DRAWS).astype(float) for n in (known, unknown)]
    return [np.vstack([np.ones(t.shape[1]), t]) for t in times]


def halves(labels) -> np.ndarray:
    """A mask of one half of the images, cut class by class as `ueo benchmark --protocol held-out` does (with another seed)."""
    rng, half, turn = np.random.default_rng(3), np.zeros(len(labels), bool), 0
    for k in np.unique(labels):
        own = rng.permutation(np.where(labels == k)[0])
        half[own[turn::2]] = True
        turn ^= len(own) % 2
    return half


def measured(features, suite: str, domains, known: np.ndarray, classes: int, shifts, held_out: bool):
    """Variant to `[domains, 3, 1 + draws]`, means over shifts; the first draw holds every class once."""
    place = np.empty(classes, int)
    place[np.concatenate([known, np.setdiff1d(np.arange(classes), known)])] = np.arange(classes)
    k, u = draws(len(known), classes - len(known))
    found: dict[str, list] = {}
    for domain in domains:
        images, mirrored = features[f"{suite}/{domain}/x"], features[f"{suite}/{domain}/m"]
        labels, texts = place[features[f"{suite}/{domain}/y"]], features[f"{suite}/text"][known]
        half = halves(labels)
        per_variant: dict[str, list] = {}
        for shift in shifts:
            present = np.isin(labels, [c for start, end in shift for c in range(start, end)])
            said = variants(images, mirrored, texts, present & half if held_out else present)
            if held_out:
                # Every image by the means of the half that it is not in, then all images measured at once.
                other = variants(images, mirrored, texts, present & ~half)
                said = {name: np.where(half[:, None], other[name], said[name]) for name in said}
            for name, cosines in said.items():
                statistics = Statistics(cosines, labels, len(known), classes - len(known))
                per_variant.setdefault(name, []).append(statistics.measure(k, u))
        for name, values in per_variant.items():
            found.setdefault(name, []).append(np.nanmean(values, axis=0))
    return {name: np.array(values) for name, values in found.items()}


def table(title: str, found, domains) -> None:
    print(f"\n{title}\n\n| features | " + " | ".join(MEASURES) + " | worst style, accuracy | cells below -2 |")
    print("| --- " * 6 + "|")
    base = found["zero-shot"]
    print("| zero-shot | " + " | ".join(f"{v:.1f}" for v in np.nanmean(base[:, :, 0], axis=0)) + " | | |")
    for name in found:
        if name == "zero-shot":
            continue
        difference = found[name] - base
        mean = np.nanmean(difference, axis=0)
        low, high = np.nanquantile(mean[:, 1:], [0.025, 0.975], axis=1)
        cells = [f"{m:+.1f} [{a:+.1f}, {b:+.1f}]" for m, a, b in zip(mean[:, 0], low, high)]
        worst = difference[:, 0, 0].argmin()
        harmed = (difference[:, 0, 0] < -2).sum()
        print(f"| {name} | " + " | ".join(cells) + f" | {domains[worst]} {difference[worst, 0, 0]:+.1f} | {harmed} of {len(domains)} |")


def main(directory: Path) -> None:
    for model in MODELS:
        features = dict(np.load(directory / f"{model}.npz"))
        # Which factor: re-splits of the validation classes, all of them present.
        factors, sums = (0.0, 0.25, 0.5, 0.75, 1.0), []
        rng = np.random.default_rng(7)
        for _ in range(6):
            known = np.sort(rng.permutation(39)[:30])
            for domain in CLEAN:
                place = np.full(39, 30)
                place[known] = np.arange(30)
                labels, images = place[features[f"iconnet-validation/{domain}/y"]], features[f"iconnet-validation/{domain}/x"]
                texts = features["iconnet-validation/text"][known]
                for factor in factors:
                    x, t = centred(images, texts, images, factor)
                    sums.append(Statistics(x @ t.T, labels, 30, 1).measure(np.ones((1, 30)), np.ones((1, 1)))[:, 0])
        means = np.array(sums).reshape(-1, len(factors), 3).mean(axis=0)
        print(f"\n{model}, validation, six re-splits: " + "; ".join(f"{f:g}: " + " / ".join(f"{v:.1f}" for v in m) for f, m in zip(factors, means)))
        written = json.loads((SUITES / "iconnet-65" / "suite.json").read_text(encoding="utf-8"))
        shifts = [written["ranges"][shift] for shift in SHIFTS]
        for name, domains in (("clean", CLEAN), ("corrupted", CORRUPTED)):
            for held_out in (False, True):
                found = measured(features, "iconnet-65", domains, np.arange(50), 65, shifts, held_out)
                table(f"{model}, {name}, {'held-out' if held_out else 'published'} protocol", found, domains)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
