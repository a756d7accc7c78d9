"""How the decision between known and unknown was chosen, and what it does: the tables of docs/decision.md.

    python tools/decision/study.py build/decision            # after features.py and adapted.py; versions in tools/requirements.txt

Settings are chosen on `iconnet-validation` (re-split many times), figures are those of `iconnet-65`, whose classes had no say.
The rule itself is crates/ueo/src/evaluate/{left_out,group_test,decision}.rs; this is its transcription.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.mixture import GaussianMixture

from features import CLEAN, CORRUPTED, MODELS, SUITES, WORDS, subset

SHARES = (0.05, 0.1, 0.25, 0.5)
SCORES = ("msp", "maximum-logit", "energy", "entropy", "margin", "negative-labels")
QUANTILES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FEWEST_IMAGES, FALSE_ALARMS = 30, 0.1
TWO_GROUPS, ONE_GROUP = (0.5, 0.8, 0.95), (0.05, 0.15, 0.5)
# What crates/ueo/src/evaluate/group_test.rs has: offset and slope of the margin over ln K; after adaptation 0.65 of it.
MARGINS = {"zero-shot": (0.046, 0.039), "adapted": (0.65 * 0.046, 0.65 * 0.039)}
# What threshold.rs has: from which separation on two groups are plain to see, and the most that the lower one may hold.
PLAIN_SEPARATION, LARGEST_SECOND_GROUP = 4.0, 0.6


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def confidence(score: str, cosines: np.ndarray, negatives: np.ndarray | None, t: float = 0.01) -> np.ndarray:
    if score == "maximum-logit":
        return cosines.max(axis=1)
    if score == "energy":
        return t * logsumexp(cosines / t, axis=1)
    if score == "negative-labels":
        return softmax(np.hstack([cosines, negatives]) / t, axis=1)[:, : cosines.shape[1]].sum(axis=1)
    p = softmax(cosines / (1 if score == "msp" else t), axis=1)
    if score == "msp":
        return p.max(axis=1)
    if score == "entropy":
        return (p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    ordered = np.sort(p, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def left_out(cosines: np.ndarray) -> np.ndarray:
    """Cosines whose largest one in each row is the mean of the others."""
    rows, best = np.arange(len(cosines)), cosines.argmax(axis=1)
    without = cosines.copy()
    without[rows, best] = (cosines.sum(axis=1) - cosines[rows, best]) / (cosines.shape[1] - 1)
    return without


def share_below(images: np.ndarray, texts: np.ndarray) -> float:
    centred = unit(images - images.mean(axis=0) / 2) @ unit(texts - texts.mean(axis=0) / 2).T
    ordered = np.sort(centred, axis=1)
    return float((ordered[:, -1] < np.median(ordered[:, -2])).mean())


def h_scores(confidences, correct, labels, cuts):
    """H-score at each cut; the harmonic mean of accuracy over classes with rejection and of the unknown images' recall."""
    known = labels >= 0
    classes, index, count = np.unique(labels[known], return_inverse=True, return_counts=True)
    order = np.argsort(confidences[known])
    gained = np.concatenate([[0], np.cumsum((correct[known] / count[index] / len(classes))[order])])
    accuracy = gained[-1] - gained[np.searchsorted(confidences[known][order], cuts)]
    recall = np.searchsorted(np.sort(confidences[~known]), cuts) / (~known).sum()
    return 2 * accuracy * recall / np.maximum(accuracy + recall, 1e-12)


class Set:
    """Images under judgement: labels at least 0 for known classes, -1 for others."""

    def __init__(self, images, labels, texts, negatives=None, **what):
        self.labels, self.what, self.classes = labels, what, len(texts)
        self.known = labels >= 0
        cosines = images @ texts.T
        self.correct = cosines.argmax(axis=1) == labels
        self.below = share_below(images, texts)
        far = None if negatives is None else images @ negatives.T
        self.scores = {
            score: (confidence(score, cosines, far), confidence(score, left_out(cosines), far))
            for score in SCORES
            if far is not None or score != "negative-labels"
        }

    def at(self, score: str, quantile: float) -> tuple[float, float]:
        """Share of known images rejected, and H-score over the best one, where the left-out scores are cut."""
        own, reference = self.scores[score]
        return self.measure(own, np.quantile(reference, quantile))

    def measure(self, own, cut) -> tuple[float, float]:
        rejected = (own[self.known] < cut).mean()
        if self.known.all():
            return rejected, np.nan
        cuts = np.append(np.unique(own), np.nextafter(own.max(), np.inf))
        h = h_scores(own, self.correct, self.labels, np.append(cuts, cut))
        return rejected, h[-1] / h[:-1].max() if h[:-1].max() > 0 else np.nan

    def two_groups(self, margin) -> bool:
        return self.below > margin[0] + margin[1] * np.log(self.classes)


def mixture(confidences: np.ndarray) -> tuple[float, bool]:
    """The cut of `gaussian-mixture` (Otsu's split where one Gaussian does as well as two), and whether two groups are plain to see."""
    inside = confidences.min() >= 0 and confidences.max() <= 1
    clipped = np.clip(confidences, 1e-12, 1 - 1e-12)
    position = np.sort(np.log(clipped / (1 - clipped)) if inside else confidences)
    z = (position - position.mean()) / position.std()
    sums, n = np.cumsum(z)[:-1], np.arange(1, len(z))
    variance = np.where(np.diff(z) > 0, sums**2 / (n * (len(z) - n)), -np.inf)
    split = int(variance.argmax())
    cut, plain = (z[split] + z[split + 1]) / 2, False
    fitted = GaussianMixture(2, random_state=0, means_init=[[z[: split + 1].mean()], [z[split + 1 :].mean()]]).fit(z[:, None])
    gain = fitted.score(z[:, None]) + 0.5 * (1 + np.log(2 * np.pi))
    if 2 * len(z) * gain > 3 * np.log(len(z)) and fitted.weights_.min() >= 0.01:
        means, low = fitted.means_.ravel(), fitted.means_.argmin()
        line = np.linspace(means.min(), means.max(), 2001)
        upper = fitted.predict_proba(line[:, None])[:, 1 - low] > 0.5
        if upper[-1] and not upper[0]:
            cut = line[upper.argmax()]
            separation = np.ptp(means) / np.sqrt(fitted.covariances_.mean())
            plain = separation >= PLAIN_SEPARATION and fitted.weights_[low] <= LARGEST_SECOND_GROUP
    value = position.mean() + position.std() * cut
    return 1 / (1 + np.exp(-value)) if inside else value, plain


def automatic(s: Set, score: str, margin) -> tuple[float, float]:
    cut, plain = mixture(s.scores[score][0])
    if plain:
        return s.measure(s.scores[score][0], cut)
    return s.at(score, (TWO_GROUPS if s.two_groups(margin) else ONE_GROUP)[1])


class Features:
    """What features.py and adapted.py wrote."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.zero_shot = {model: dict(np.load(directory / f"{model}.npz")) for model in MODELS}
        self.classes = {
            suite: json.loads((SUITES / suite / "suite.json").read_text(encoding="utf-8"))["classes"]
            for suite in ("iconnet-validation", "iconnet-65")
        }
        self.words = WORDS.read_text(encoding="utf-8").split("\n")[:-1]

    def negatives(self, model: str, texts: np.ndarray, names: list[str]) -> np.ndarray:
        """The 1,000 words farthest from the classes."""
        named = {name.replace("_", " ").lower() for name in names}
        words = self.zero_shot[model]["words"][[w.lower() not in named for w in self.words]]
        return words[np.argsort(np.quantile(words @ texts.T, 0.95, axis=1), kind="stable")[:1000]]

    def sets(self, suite: str, splits: list[np.ndarray], shares, seeds=(1,), domains=CLEAN + CORRUPTED):
        for model in MODELS:
            arrays = self.zero_shot[model]
            for number, known in enumerate(splits):
                texts = arrays[f"{suite}/text"][known]
                negatives = self.negatives(model, texts, [self.classes[suite][k] for k in known])
                place = np.full(len(self.classes[suite]), len(known))
                place[known] = np.arange(len(known))
                for domain in domains:
                    labels = place[arrays[f"{suite}/{domain}/y"]]
                    for seed in seeds:
                        for share in shares:
                            chosen = subset(labels, len(known), share, 1000 * seed + number)
                            if len(chosen) < FEWEST_IMAGES or (share and (labels[chosen] == len(known)).sum() < 2):
                                continue
                            own = np.where(labels[chosen] < len(known), labels[chosen], -1)
                            images = arrays[f"{suite}/{domain}/x"][chosen]
                            yield Set(images, own, texts, negatives, share=share, domain=domain, model=model)

    def adapted(self, suite: str):
        for path in sorted(self.directory.glob(f"{suite}-*.npz")):
            domain, share, objective, model = path.stem.removeprefix(f"{suite}-").rsplit("-", 3)
            arrays = np.load(path)
            texts, labels = arrays["T"], arrays["y"]
            own = np.where(labels < len(texts), labels, -1)
            yield Set(arrays["x"], own, texts, share=float(share), domain=domain, model=model, objective=objective)


def re_splits(classes: int, sizes, repetitions: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [np.sort(rng.permutation(classes)[:size]) for size in sizes for _ in range(repetitions)]


def fitted_margin(known_sets: list[Set]) -> np.ndarray:
    """Offset and slope over ln K of the share that one set of known images in ten exceeds."""
    sizes = sorted({s.classes for s in known_sets})
    exceeded = [np.quantile([s.below for s in known_sets if s.classes == k], 1 - FALSE_ALARMS) for k in sizes]
    return np.polyfit(np.log(sizes), exceeded, 1)[::-1]


def row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def percent(values) -> str:
    values = [v for v in values if not np.isnan(v)]
    return f"{100 * np.mean(values):.1f}" if values else "-"


def report(title: str, sets: list[Set], margin, scores, groups) -> None:
    """Known images rejected where nothing is unknown, and the H-score over the best threshold's, by share."""
    print(f"\n{title}\n")
    head = ["images", "score", "rule", "known rejected at 0 %", *(f"H at {100 * s:g} %" for s in SHARES)]
    print(row(head), row(["---"] * len(head)), sep="\n")
    for name, member in groups.items():
        chosen = [s for s in sets if member(s)]
        for score in scores:
            rules = {
                "mixture or Otsu": lambda s: s.measure(s.scores[score][0], mixture(s.scores[score][0])[0]),
                "always two groups": lambda s: s.at(score, TWO_GROUPS[1]),
                "auto": lambda s: automatic(s, score, margin),
            }
            for rule, of in rules.items():
                found = {share: [of(s) for s in chosen if s.what["share"] == share] for share in (0, *SHARES)}
                cells = [percent([r for r, _ in found[0]]), *(percent([h for _, h in found[share]]) for share in SHARES)]
                print(row([name, score, rule, *cells]))
        flagged = [percent([float(s.two_groups(margin)) for s in chosen if s.what["share"] == u]) for u in (0, *SHARES)]
        print(row([name, "", "a second group found", *flagged]))


def main(directory: Path) -> None:
    features = Features(directory)
    validation = len(features.classes["iconnet-validation"])
    known_only = re_splits(validation, (8, 12, 18, 26, 36), 3) + [np.arange(validation)]
    null = list(features.sets("iconnet-validation", known_only, (0,)))
    print("margin, zero-shot:", fitted_margin(null).round(3))
    adapted = list(features.adapted("iconnet-validation"))
    if adapted:
        margins = [s.below / (MARGINS["zero-shot"][0] + MARGINS["zero-shot"][1] * np.log(s.classes)) for s in adapted if not s.what["share"]]
        print("adapted, share over the zero-shot margin, known images only:", np.sort(margins).round(2))

    chosen_on = list(features.sets("iconnet-validation", re_splits(validation, (15, 20, 30), 4), (0, *SHARES)))
    print("\nvalidation: H-score over the best threshold's, least over the shares, by quantile of the left-out scores\n")
    print(row(["score", *map(str, QUANTILES)]), row(["---"] * (1 + len(QUANTILES))), sep="\n")
    for score in SCORES:
        means = [
            [np.nanmean([s.at(score, q)[1] for s in chosen_on if s.what["share"] == share]) for share in SHARES]
            for q in QUANTILES
        ]
        print(row([score, *(f"{100 * min(m):.0f} to {100 * max(m):.0f}" for m in means)]))

    styles = {"clean": lambda s: "-" not in s.what["domain"], "corrupted": lambda s: "-" in s.what["domain"]}
    test = list(features.sets("iconnet-65", [np.arange(50)], (0, *SHARES), seeds=(1, 2, 3)))
    report("test, zero-shot, both models", test, MARGINS["zero-shot"], SCORES, styles)
    for objective in sorted({s.what["objective"] for s in features.adapted("iconnet-65")}):
        sets = [s for s in features.adapted("iconnet-65") if s.what["objective"] == objective]
        report(f"test, adapted by {objective}", sets, MARGINS["adapted"], SCORES[:5], styles)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
