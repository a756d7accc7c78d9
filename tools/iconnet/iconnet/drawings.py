"""Reads the installed icon sets into drawings: which domain each belongs to and what it shows."""

import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "node_modules" / "@iconify-json"

# People in several skin tones, flags and key caps are many near-copies of few drawings, or none of an everyday thing.
REPEATED = re.compile(
    r"(light|medium|dark)-skin|skin-tone|-(light|medium-light|medium|medium-dark|dark)$|^flags?-|^keycap|^regional-indicator"
)
# "umbrella-2", "camera-01", "box-24px" and "alarm-clock-icon" are further drawings of the same thing.
VARIANT = re.compile(r"-?(\d+(px|x\d+)?|icon)$")


@dataclass(frozen=True)
class Drawing:
    """One icon: `name` is its name in the set, `base` what it shows, words joined by hyphens.

    Icons that share `original` are variants of one drawing (the same lines, filled or colored).
    """

    domain: str
    prefix: str
    name: str
    base: str
    original: str
    phrase: bool
    view_box: tuple[float, float, float, float]
    body: str

    @property
    def words(self) -> str:
        return self.base.replace("-", " ")


def read_rules() -> dict:
    """The whole of sets.toml."""
    return tomllib.loads((ROOT / "sets.toml").read_text(encoding="utf-8"))


def check_families(rules: dict) -> None:
    """Fails if one artist family stands on both sides of the split."""
    side_of_domain = {d: side for side, domains in rules["sides"].items() for d in domains}
    side_of_family: dict[str, str] = {}
    for entry in rules["set"]:
        for rule in entry["rules"]:
            if not rule["domain"]:
                continue
            side = side_of_domain[rule["domain"]]
            if side_of_family.setdefault(entry["family"], side) != side:
                raise ValueError(f"family {entry['family']!r} stands on both sides of the split; see sets.toml")


def base_name(name: str) -> str:
    """What a drawing shows: its name without variant numbers."""
    previous = None
    while name != previous:
        previous, name = name, VARIANT.sub("", name)
    return name


def _place(entry: dict, name: str) -> tuple[str, str] | None:
    """The domain of an icon and its name without style words, or None where the rules drop it."""
    if REPEATED.search(name):
        return None
    for rule in entry["rules"]:
        match = re.fullmatch(rule["pattern"], name)
        if match:
            return (rule["domain"], match[1]) if rule["domain"] and base_name(match[1]) else None
    return None


def read_drawings(packages: Path = PACKAGES) -> list[Drawing]:
    """All drawings that the rules keep, sorted by domain, set and name."""
    rules = read_rules()
    check_families(rules)
    drawings, joined = [], []
    for entry in rules["set"]:
        icons = json.loads((packages / entry["prefix"] / "icons.json").read_text(encoding="utf-8"))
        phrase = entry.get("naming") == "phrase"
        for name, icon in icons["icons"].items():
            placed = _place(entry, name)
            if placed is None or icon.get("hidden"):
                continue
            width = icon.get("width", icons.get("width", 16))
            height = icon.get("height", icons.get("height", 16))
            left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
            side = max(width, height)
            box = (left - (side - width) / 2, top - (side - height) / 2, side, side)
            domain, plain_name = placed
            original = f"{entry.get('variants_of', entry['prefix'])}:{plain_name}"
            drawing = Drawing(domain, entry["prefix"], name, base_name(plain_name), original, phrase, box, icon["body"])
            (joined if entry.get("joined_names") else drawings).append(drawing)
    drawings += _separated(joined, drawings)
    return sorted(drawings, key=lambda d: (d.domain, d.prefix, d.name))


def _separated(joined: list[Drawing], known: list[Drawing]) -> list[Drawing]:
    """Gives names without separators ("fireengine") the separated form that another set of their domain uses."""
    forms = {(d.domain, d.base.replace("-", "")): d.base for d in known}
    return [
        replace(d, base=forms[d.domain, d.base])
        for d in joined
        if (d.domain, d.base) in forms
    ]
