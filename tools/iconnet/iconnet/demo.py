"""Copies a part of a suite's domain into a small folder tree: the unlabeled images of a demonstration, by class."""

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path

from .drawings import ROOT

README = """# Demonstration images

{count} drawings of the held-out domain `{domain}` of {suite}: style "{style}"{corruption}. No drawing of this style and none by
these artists was in the training of the models beside this folder; the classes' names were.

`classes.txt` lists the {known} known classes. `images.tar` is a WebDataset shard; the labels (`.cls`) are the classes that the images show: {present_known} of the known
ones and {unknown} that no line of `classes.txt` names ({shift} shift). At most {most} drawings per class, first by file name.

Made by `python -m iconnet.demo` in `tools/iconnet` and packed by `tools/demo/pack.py`. Authors and licences of the drawings, by the set that a file name begins with:

{attribution}
"""


def attribution(prefixes: set[str]) -> str:
    """The lines of ATTRIBUTION.md about the given sets."""
    table = [line for line in (ROOT / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return "\n".join(table[:2] + [row for row in table[2:] if any(f"(`{prefix}`)" in row for prefix in prefixes)])


def make(build: Path, suite: str, domain: str, shift: str, most: int, output: Path) -> int:
    """Writes classes.txt, images/class/*.png and README.md; returns the number of images."""
    directory = build / "suites" / suite
    written = json.loads((directory / "suite.json").read_text(encoding="utf-8"))
    classes, known = written["classes"], written["known"]
    present = {label for start, end in written["ranges"][shift] for label in range(start, end)}
    sets = [path.name for path in (ROOT / "node_modules" / "@iconify-json").iterdir()]
    taken: Counter[int] = Counter()
    prefixes: set[str] = set()
    shutil.rmtree(output, ignore_errors=True)
    for line in (directory / f"{domain}.txt").read_text(encoding="utf-8").splitlines():
        path, label = line.rsplit(" ", 1)
        if int(label) not in present or taken[int(label)] == most:
            continue
        taken[int(label)] += 1
        source = directory / path
        target = output / "images" / source.parent.name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        prefixes.add(max((s for s in sets if source.name.startswith(f"{s}-")), key=len))
    (output / "classes.txt").write_text("\n".join(classes[:known]) + "\n", encoding="utf-8")
    style, _, corruption = domain.partition("-")
    count = taken.total()
    (output / "README.md").write_text(
        README.format(
            count=count, domain=domain, suite=suite, style=style, known=known, most=most, shift=shift.replace("_", "-"),
            corruption=f", corrupted by {corruption} (as in tools/iconnet/iconnet/corrupt.py)" if corruption else "",
            present_known=sum(label < known for label in taken), unknown=sum(label >= known for label in taken),
            attribution=attribution(prefixes),
        ),
        encoding="utf-8",
    )
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--suite", default="iconnet-65")
    parser.add_argument("--domain", default="solid-fog")
    parser.add_argument("--shift", default="open_partial")
    parser.add_argument("--most", type=int, default=8, help="images per class")
    parser.add_argument("--output", type=Path, required=True)
    a = parser.parse_args()
    print(f"{make(a.build, a.suite, a.domain, a.shift, a.most, a.output)} images in {a.output}")
