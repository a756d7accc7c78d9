"""Compares ways to group and to name on the validation classes of IconNet, after measure.py has adapted to them.

    python tools/discover/measure.py target/release/ueo iconnet-validation build/discover
    python tools/discover/choose.py target/release/ueo build/discover      # versions in tools/requirements.txt

The linkage is SciPy's, the features are those of `ueo embed`. Prints two tables of docs/discover.md.
"""

import argparse
import csv
import itertools
import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
from measure import ROOT, SMALLEST, SUITES, words
from safetensors import safe_open
from scipy.cluster.hierarchy import fcluster, linkage

NOUNS = (ROOT / "crates/ueo/assets/negative_words.txt").read_text(encoding="utf-8").split()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def embedded(ueo: Path, model: Path, options: list, file: Path, kind: str) -> tuple[np.ndarray, list[str]]:
    if not file.is_file():
        subprocess.run([ueo, "embed", "--quiet", "--model", model, *options, "--output", file], check=True)
    with safe_open(file, "numpy") as tensors:
        names = json.loads(tensors.metadata()["texts" if kind == "text" else "paths"])
        return unit(tensors.get_tensor(f"{kind}_features").astype(float)), names


def pairs(counts: Counter) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def agreement(groups: np.ndarray, classes: np.ndarray, beta: float) -> float:
    found, positive = pairs(Counter(groups)), pairs(Counter(classes))
    right = pairs(Counter(zip(groups, classes, strict=True)))
    return (1 + beta**2) * right / max(beta**2 * positive + found, 1)


def cut(tree: np.ndarray, classes: np.ndarray, beta: float) -> float:
    heights = np.unique(tree[:, 2])
    return heights[int(np.argmax([agreement(fcluster(tree, h, "distance"), classes, beta) for h in heights]))]


def large(groups: np.ndarray) -> list[int]:
    return [group for group, size in Counter(groups).items() if size >= SMALLEST]


def cases(ueo: Path, runs: Path):
    for report in sorted(runs.glob("iconnet-validation-*/run/report.html")):
        place = report.parent.parent
        options = ["--images", place / "images.txt", "--image-root", SUITE]
        features, paths = embedded(ueo, place / "run", options, place / "features.safetensors", "image")
        with (place / "run" / "predictions.csv").open(encoding="utf-8", newline="") as table:
            rows = {row["path"]: row for row in csv.DictReader(table)}
        rows = [rows[path] for path in paths]
        labels = np.array([words(row["true_label"]) for row in rows])
        rejected = np.array([row["decision"] == "unknown" for row in rows])
        if rejected.sum() >= SMALLEST:
            known = {words(name) for name in (place / "classes.txt").read_text(encoding="utf-8").splitlines()}
            yield place, features, np.array([row["predicted"] for row in rows]), labels, rejected, known


def cuts(found: list) -> None:
    print("| centred | classes of | beta | groups | purity | unknown classes found | F1 of pairs |\n|---|---|---|---|---|---|---|")
    for factor, basis, beta in itertools.product((0.5, 1), ("accepted images", "all images"), (0.5, 0.7, 1, 1.4)):
        sums, scores = np.zeros(5, int), []
        for _, features, predicted, labels, rejected, known in found:
            x = unit(features - factor * features.mean(0))
            of = ~rejected if basis == "accepted images" else np.ones(len(x), bool)
            height = cut(linkage(x[of], "average", "cosine"), predicted[of], beta)
            groups, truth = fcluster(linkage(x[rejected], "average", "cosine"), height, "distance"), labels[rejected]
            most = [Counter(truth[groups == group]).most_common(1)[0] for group in large(groups)]
            findable = {name for name, size in Counter(truth).items() if size >= SMALLEST} - known
            reached = {name for name, _ in most} & findable
            size = sum(int((groups == group).sum()) for group in large(groups))
            sums += (len(most), sum(count for _, count in most), size, len(reached), len(findable))
            scores.append(agreement(groups, truth, 1))
        purity = 100 * sums[1] / max(sums[2], 1)
        print(f"| {factor} | {basis} | {beta} | {sums[0]} | {purity:.0f} % | {sums[3]} of {sums[4]} | {np.mean(scores):.3f} |")


def naming(found: list, ueo: Path) -> None:
    print("\n| images centred | nouns centred | true name first | among five |\n|---|---|---|---|")
    sentences = found[0][0].parent / "sentences.txt"
    sentences.write_text("".join(f"a photo of a {noun}.\n" for noun in NOUNS), encoding="utf-8")
    for image_factor, text_factor in itertools.product((0, 0.5, 1), (0, 0.5, 1)):
        first = five = nameable = 0
        for place, features, predicted, labels, rejected, known in found:
            model = ROOT / "models" / f"iconclip-{place.name.rsplit('-', 1)[1]}"
            file = place.parent / f"{model.name}.safetensors"
            texts, _ = embedded(ueo, model, ["--texts", sentences], file, "text")
            texts = texts[[noun not in known for noun in NOUNS]]
            nouns = [noun for noun in NOUNS if noun not in known]
            texts = unit(texts - text_factor * texts.mean(0))
            whole = unit(features - features.mean(0))
            height = cut(linkage(whole, "average", "cosine"), predicted, 0.7)
            groups = fcluster(linkage(whole[rejected], "average", "cosine"), height, "distance")
            x = unit(features - image_factor * features.mean(0))[rejected]
            for group in large(groups):
                truth = Counter(labels[rejected][groups == group]).most_common(1)[0][0]
                if truth in known or truth not in nouns:
                    continue
                names = [nouns[i] for i in np.argsort(-(texts @ x[groups == group].mean(0)))[:5]]
                nameable, first, five = nameable + 1, first + (names[0] == truth), five + (truth in names)
        print(f"| {image_factor} | {text_factor} | {first} of {nameable} | {five} of {nameable} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ueo", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--suites", type=Path, default=SUITES)
    arguments = parser.parse_args()
    SUITE = arguments.suites / "iconnet-validation"
    studied = list(cases(arguments.ueo.resolve(), arguments.runs.resolve()))
    cuts(studied)
    naming(studied, arguments.ueo.resolve())
