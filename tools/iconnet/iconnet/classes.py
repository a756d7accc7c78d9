"""Which class a drawing shows, and which classes make a suite."""

import tomllib
from collections import defaultdict

from .drawings import ROOT, Drawing


def read_classes() -> dict:
    """The whole of classes.toml."""
    return tomllib.loads((ROOT / "classes.toml").read_text(encoding="utf-8"))


def names_of_classes(candidates: dict[str, list[str]]) -> dict[str, str]:
    """Base name -> class; a name that two classes claim is an error."""
    owner: dict[str, str] = {}
    for cls, others in candidates.items():
        for name in [cls.replace(" ", "-"), *others]:
            if owner.setdefault(name, cls) != cls:
                raise ValueError(f"classes.toml: {name!r} belongs to {owner[name]!r} and to {cls!r}")
    return owner


def class_of(drawing: Drawing, owner: dict[str, str]) -> str | None:
    """The class of a drawing by the rules at the top of classes.toml."""
    if not drawing.phrase:
        return owner.get(drawing.base)
    words = drawing.base.split("-")
    tails = ["-".join(words[i:]) for i in range(len(words))]
    found = next(((owner[tail], len(words) - i) for i, tail in enumerate(tails) if tail in owner), None)
    if found is None or any(owner.get(word, found[0]) != found[0] for word in words[: -found[1]]):
        return None
    return found[0]


def classified(drawings: list[Drawing], candidates: dict[str, list[str]]) -> dict[str, dict[str, list[Drawing]]]:
    """Domain -> class -> drawings, in the order of `drawings`."""
    owner = names_of_classes(candidates)
    result: dict[str, dict[str, list[Drawing]]] = defaultdict(lambda: defaultdict(list))
    for drawing in drawings:
        if (cls := class_of(drawing, owner)) is not None:
            result[drawing.domain][cls].append(drawing)
    return result


def suites(by_domain: dict[str, dict[str, list[Drawing]]], written: dict, target: list[str]) -> dict[str, list[str]]:
    """Suite name -> its classes in alphabetical order."""
    rules = written["rules"]

    def enough(cls: str, least: dict[str, int]) -> bool:
        return all(len(by_domain[domain][cls]) >= n for domain, n in least.items())

    common = {"iconnet-65": rules["well_separated"], "iconnet-validation": rules["validation"]}
    for name, classes in common.items():
        poor = [cls for cls in classes if not enough(cls, rules["least_common"])]
        if poor:
            raise ValueError(f"{name}: too few drawings of {', '.join(poor)}")
    shared = set(rules["well_separated"]) & set(rules["validation"])
    if shared:
        raise ValueError(f"in iconnet-65 and in iconnet-validation: {', '.join(sorted(shared))}")

    def most_drawn(classes: list[str], domains: list[str]) -> list[str]:
        return sorted(classes, key=lambda c: (-sum(len(by_domain[d][c]) for d in domains), c))

    candidates = [c for c in written["candidates"] if c not in rules["validation"]]
    large = most_drawn([c for c in candidates if enough(c, rules["least_large"])], rules["ranked_by"])[:200]
    largest = most_drawn(candidates, target)[:320]
    return {
        name: sorted(classes) for name, classes in {**common, "iconnet-200": large, "iconnet-320": largest}.items()
    }
