"""Draws IconNet: `tree/domain/class/*.png`, a list file per suite and domain, and checksums of everything."""

import argparse
import hashlib
import json
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image

from .classes import classified, read_classes, suites
from .corrupt import CORRUPTIONS, corrupt
from .drawings import ROOT, Drawing, read_drawings, read_rules
from .photograph import PHOTOGRAPHS, SEVERITIES, photograph
from .render import choice, portrait

SIZE = 64
CHECKSUMS = ROOT / "checksums.txt"
# A class with fewer distinct drawings in a domain than this also gets variants of one drawing, marked in the file name.
ENOUGH = 3
# Held-out domains that also exist in corrupted versions, as `domain-corruption`.
CORRUPTED = ("solid", "duotone", "gradient")
# Held-out domains that also exist as a camera would meet them, as `domain-kind-severity`.
PHOTOGRAPHED = ("duotone", "gradient")


def distinct_first(drawings: list[Drawing]) -> list[tuple[Drawing, bool]]:
    """Drawings with a mark for variants; these are left out where there are enough drawings without them."""
    seen: set[str] = set()
    marked = []
    for drawing in drawings:
        marked.append((drawing, drawing.original in seen))
        seen.add(drawing.original)
    return marked if len(seen) < ENOUGH else [(d, variant) for d, variant in marked if not variant]


def _draw(job: tuple[Path, str, str, Drawing, bool, bool]) -> list[tuple[str, str]]:
    """Writes one drawing and its changed versions, if they are asked for; returns (domain, path in the tree) of each."""
    tree, folder, domain, drawing, variant, changed = job
    image = portrait(drawing, SIZE)
    if image is None:
        return []
    versions = {domain: image}
    if changed and domain in CORRUPTED:
        for name in CORRUPTIONS:
            versions[f"{domain}-{name}"] = corrupt(image, name, choice(drawing, name, 2**32))
    if changed and domain in PHOTOGRAPHED:
        for name in PHOTOGRAPHS:
            # One seed for all severities: the same scene, only worse.
            seed = choice(drawing, name, 2**32)
            for severity in SEVERITIES:
                versions[f"{domain}-{name}-{severity}"] = photograph(image, name, severity, seed)
    written = []
    for version, pixels in versions.items():
        path = f"{version}/{folder}/{drawing.prefix}-{drawing.name}{'.variant' if variant else ''}.png"
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target, "PNG", optimize=False)
        written.append((version, path))
    return written


def pixel_digest(path: Path) -> str:
    """SHA-256 of an image's size and decoded pixels: independent of the compressor's version."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def at_most(paths: list[str], most: int | None) -> list[str]:
    """Of each class `most` paths or fewer, chosen by their digests and in the order given; all without a limit."""
    if most is None:
        return paths
    by_class: dict[str, list[str]] = {}
    for path in paths:
        by_class.setdefault(path.split("/")[1], []).append(path)
    kept = {
        path
        for entries in by_class.values()
        for path in sorted(entries, key=lambda p: hashlib.sha256(p.encode()).digest())[:most]
    }
    return [path for path in paths if path in kept]


def write_suite(
    directory: Path, name: str, classes: list[str], ranges: dict, paths: dict[str, list[str]], own: set[str]
) -> None:
    """suite.json and, per domain, a list file of `path label` lines with labels in the order of `classes`.

    `own` are the domains that are drawn; the others are changed versions of them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    folders = {cls.replace(" ", "_"): label for label, cls in enumerate(classes)}
    domains = []
    for domain, entries in sorted(paths.items()):
        if domain not in own and not ranges.get("changed", True):
            continue
        kept = at_most([p for p in entries if p.split("/")[1] in folders], ranges.get("most_per_class"))
        lines = [f"../../tree/{p} {folders[p.split('/')[1]]}" for p in kept]
        if lines:
            domains.append(domain)
            (directory / f"{domain}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spans = {shift: spans for shift, spans in ranges.items() if isinstance(spans, list)}
    written = {"name": name, "classes": classes, "known": spans["known"][0][1], "ranges": spans, "domains": domains}
    (directory / "suite.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    (directory / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")


def build(output: Path, processes: int) -> list[str]:
    """Writes everything below `output` and returns the lines of the checksum file."""
    written, rules = read_classes(), read_rules()
    by_domain = classified(read_drawings(), written["candidates"])
    chosen = suites(by_domain, written, rules["sides"]["target"])
    wanted = set().union(*chosen.values())
    changed = set().union(*(chosen[name] for name, suite in written["suites"].items() if suite.get("changed", True)))
    tree = output / "tree"
    jobs = [
        (tree, cls.replace(" ", "_"), domain, drawing, variant, cls in changed)
        for domain in sorted(by_domain)
        for cls in sorted(wanted & by_domain[domain].keys())
        for drawing, variant in distinct_first(by_domain[domain][cls])
    ]
    paths: dict[str, list[str]] = {}
    with Pool(processes) as pool:
        for entries in pool.imap(_draw, jobs, chunksize=64):
            for domain, path in entries:
                paths.setdefault(domain, []).append(path)
        for entries in paths.values():
            entries.sort()
        for name, classes in chosen.items():
            write_suite(output / "suites" / name, name, classes, written["suites"][name], paths, set(by_domain))
        lines = []
        for domain, entries in sorted(paths.items()):
            digests = pool.map(pixel_digest, [tree / p for p in entries], chunksize=256)
            whole = hashlib.sha256("".join(f"{d}  {p}\n" for d, p in zip(digests, entries)).encode()).hexdigest()
            lines.append(f"{whole}  {domain}  {len(entries)} images")
        for path in sorted((output / "suites").rglob("*.*")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {path.relative_to(output).as_posix()}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write checksums.txt instead of comparing with it")
    arguments = parser.parse_args()
    lines = build(arguments.output, arguments.processes)
    if arguments.record:
        CHECKSUMS.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"recorded {len(lines)} checksums")
        return 0
    recorded = CHECKSUMS.read_text(encoding="utf-8").splitlines()
    different = sorted(set(lines) ^ set(recorded))
    for line in different:
        print(("+ " if line in lines else "- ") + line, file=sys.stderr)
    print(f"{len(lines)} checksums, {'all as recorded' if not different else 'NOT as recorded'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
