"""Measures `ueo discover` on IconNet: how pure groups are, and how often the true name of an unknown class is among five names.

    python tools/discover/measure.py target/release/ueo iconnet-65 build/discover      # needs tools/iconnet/build

Each domain is adapted once (open-partial shift: drawings of a part of the known classes and of unknown ones, settings of
`ueo demo`, one seed), then looked at twice: with the shipped nouns, and with the names of all 200 classes of IconNet. Standard
library only.
"""

import argparse
import json
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITES = ROOT / "tools" / "iconnet" / "build" / "suites"
MODELS = ("resnet", "vit")
DOMAINS = ("solid", "duotone", "pixel", "solid-fog", "solid-noise", "solid-blur", "duotone-fog", "duotone-noise")
TRAINING = "--epochs 15 --context-learning-rate 5e-2 --affine-learning-rate 5e-2".split()
SMALLEST = 3


def words(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def images(suite: dict, folder: Path, domain: str) -> str:
    """A list file of the domain's images under open-partial shift, labelled by name."""
    inside = {label for first, end in suite["ranges"]["open_partial"] for label in range(first, end)}
    rows = [line.rsplit(" ", 1) for line in (folder / f"{domain}.txt").read_text(encoding="utf-8").splitlines()]
    named = [(path, suite["classes"][int(label)]) for path, label in rows if int(label) in inside]
    return "".join(f"{path} {name.replace(' ', '_')}\n" for path, name in named)


def adapted(ueo: Path, suites: Path, suite_name: str, domain: str, model: str, output: Path) -> tuple[Path, list[str]]:
    """A run for the domain, made once, and the options that name its images."""
    folder = suites / suite_name
    suite = json.loads((folder / "suite.json").read_text(encoding="utf-8"))
    place = output / f"{suite_name}-{domain}-{model}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "images.txt").write_text(images(suite, folder, domain), encoding="utf-8")
    (place / "classes.txt").write_text("".join(f"{name}\n" for name in suite["classes"][: suite["known"]]), encoding="utf-8")
    named = ["--images", str(place / "images.txt"), "--image-root", str(folder)]
    run = place / "run"
    if not (run / "report.html").is_file():
        command = [ueo, "adapt", "--quiet", "--model", ROOT / "models" / f"iconclip-{model}", "--classes", place / "classes.txt"]
        subprocess.run([*command, *named, "--output", run, "--overwrite", *TRAINING], check=True)
    return run, named


def looked(ueo: Path, run: Path, named: list[str], vocabulary: Path | None, name: str) -> dict:
    output = run.parent / name
    command = [ueo, "discover", "--quiet", run, *named, "--output", output, "--overwrite", "--smallest", str(SMALLEST)]
    if vocabulary is not None:
        command += ["--vocabulary", vocabulary]
    subprocess.run(command, check=True)
    return json.loads((output / "discovered.json").read_text(encoding="utf-8"))


def figures(found: dict, vocabulary: set[str]) -> Counter:
    """Counts that add up over domains."""
    known = {words(name) for name in found["known_classes"]}
    label = lambda image: words(image["true_label"])  # noqa: E731
    groups = [group for group in found["groups"] if len(group["images"]) >= SMALLEST]
    rejected = [image for group in found["groups"] for image in group["images"]] + found["alone"]
    sizes = Counter(label(image) for image in rejected)
    findable = {name for name, size in sizes.items() if size >= SMALLEST and name not in known}
    counts = Counter(rejected=len(rejected), unknown=sum(label(image) not in known for image in rejected))
    counts.update(findable=len(findable), groups=len(groups), grouped=sum(len(group["images"]) for group in groups))
    reached = set()
    for group in groups:
        truth, majority = Counter(label(image) for image in group["images"]).most_common(1)[0]
        counts["majority"] += majority
        if 2 * majority <= len(group["images"]):
            counts["mixed"] += 1
            continue
        if truth in known:
            counts["groups_of_known"] += 1
            continue
        reached.add(truth)
        counts["groups_of_unknown"] += 1
        if truth not in vocabulary:
            continue
        five = [words(name["name"]) for name in group["names"]]
        proposed = words(group["proposal"] or "") == truth
        counts.update(nameable=1, first=five[0] == truth, among_five=truth in five, proposed=proposed)
    for group in found["groups"]:
        five = [words(name["name"]) for name in group["names"]]
        counts["images_among_five"] += sum(label(i) in five and label(i) not in known for i in group["images"])
    counts["images_nameable"] = sum(label(image) not in known and label(image) in vocabulary for image in rejected)
    counts["found"] = len(reached & findable)
    return counts


def share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def line(title: str, counts: Counter) -> str:
    cells = (
        share(counts["unknown"], counts["rejected"]),
        f"{counts['groups_of_unknown']}, {counts['groups_of_known']}, {counts['mixed']}",
        share(counts["majority"], counts["grouped"]),
        share(counts["found"], counts["findable"]),
        share(counts["first"], counts["nameable"]),
        share(counts["among_five"], counts["nameable"]),
        share(counts["images_among_five"], counts["images_nameable"]),
        share(counts["proposed"], counts["nameable"]),
    )
    return f"| {title} | " + " | ".join(cells) + " |"


HEAD = (
    "model, vocabulary",
    "rejected images that are unknown",
    f"groups of {SMALLEST} or more: unknown, known, mixed",
    "images of a group's majority",
    "unknown classes with a group",
    "true name first",
    "true name among five",
    "images with their name among five",
    "true name proposed",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ueo", type=Path)
    parser.add_argument("suite", choices=("iconnet-validation", "iconnet-65"))
    parser.add_argument("output", type=Path)
    parser.add_argument("--suites", type=Path, default=SUITES)
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    arguments = parser.parse_args()
    ueo, output = arguments.ueo.resolve(), arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    nouns = {words(line) for line in (ROOT / "crates/ueo/assets/negative_words.txt").read_text().splitlines()}
    every = output / "iconnet-200.txt"
    every.write_bytes((arguments.suites / "iconnet-200" / "classes.txt").read_bytes())
    all_names = {words(line) for line in every.read_text(encoding="utf-8").splitlines()}
    sums: dict[str, Counter] = {}
    for model in MODELS:
        for domain in arguments.domains:
            run, named = adapted(ueo, arguments.suites, arguments.suite, domain, model, output)
            for title, file, names in (("nouns", None, nouns), ("200 names", every, all_names)):
                found = looked(ueo, run, named, file, title.replace(" ", "-"))
                sums.setdefault(f"{model}, {title}", Counter()).update(figures(found, names))
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for title, counts in sums.items():
        print(line(title, counts))


if __name__ == "__main__":
    main()
