"""Writes ATTRIBUTION.md from the installed packages: every set's authors, licence and version."""

import json

from .drawings import PACKAGES, ROOT, read_rules

# Licences under which a set may be used here. Share-alike sets are out, because images and a model are made from many.
ACCEPTED = {"MIT", "ISC", "Apache-2.0", "CC-BY-3.0", "CC-BY-4.0"}
LICENCE_TEXTS = {
    "MIT": "https://spdx.org/licenses/MIT.html",
    "ISC": "https://spdx.org/licenses/ISC.html",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
# What a package says about its own licence is not always what the artists say.
CORRECTED = {"fxemoji": "CC-BY-4.0"}
HEADER = """# The drawings of IconNet

IconNet is drawn from the icon sets below, installed as the packages named in `package.json`. The drawings were rendered
at 64 x 64 pixels in a plain ink on plain backgrounds, and in corrupted versions; the models under `models/` were trained on
renderings of the sets marked "source". Each set stays under its own licence. Sets under share-alike licences (openmoji,
emojione-v1) are not used; neither is Remix Icon, whose terms restrict what may be made from it. The artwork of fxemoji
is under CC BY 4.0 by its authors' statement, whatever its package says.

| set | side | authors | licence | upstream version | package |
|---|---|---|---|---|---|
"""


def rows() -> list[str]:
    """One table row per set of sets.toml, in its order."""
    rules = read_rules()
    side_of = {domain: side for side, domains in rules["sides"].items() for domain in domains}
    lines = []
    for entry in rules["set"]:
        prefix = entry["prefix"]
        info = json.loads((PACKAGES / prefix / "info.json").read_text(encoding="utf-8"))
        package = json.loads((PACKAGES / prefix / "package.json").read_text(encoding="utf-8"))["version"]
        licence = CORRECTED.get(prefix, info["license"]["spdx"])
        if licence not in ACCEPTED:
            raise ValueError(f"{prefix}: licence {licence} is not among {', '.join(sorted(ACCEPTED))}")
        sides = sorted({side_of[rule["domain"]] for rule in entry["rules"] if rule["domain"]})
        author = f"[{info['author']['name']}]({info['author']['url']})"
        lines.append(
            f"| {info['name']} (`{prefix}`) | {', '.join(sides)} | {author} | [{licence}]({LICENCE_TEXTS[licence]}) "
            f"| {info.get('version') or 'not stated'} | {package} |"
        )
    return lines


if __name__ == "__main__":
    (ROOT / "ATTRIBUTION.md").write_text(HEADER + "\n".join(rows()) + "\n", encoding="utf-8")
