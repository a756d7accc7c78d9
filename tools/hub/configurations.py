"""Writes the table of docs/models.md: which configurations of open_clip_torch (pinned) `ueo` loads.

`ueo inspect --configuration` decides and gives the reason.

    python tools/hub/configurations.py --ueo target/release/ueo
"""

import argparse
import json
import subprocess
from collections import Counter
from pathlib import Path

import open_clip

PAGE = Path(__file__).parents[2] / "docs/models.md"
BEGIN, END = "<!-- configurations: begin -->\n", "<!-- configurations: end -->\n"


def reason(verdict: dict) -> str:
    """The message without the path that it begins with."""
    return verdict["reason"].replace(verdict["path"], "").lstrip(": ").replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ueo", type=Path, required=True)
    arguments = parser.parse_args()
    files = sorted((Path(open_clip.__file__).parent / "model_configs").glob("*.json"), key=lambda file: file.stem.lower())
    command = [arguments.ueo, "inspect", "--json", "--configuration", *files]
    verdicts = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    loaded = [verdict for verdict in verdicts if verdict["loads"]]
    lines = [
        f"{len(loaded)} of {len(verdicts)} configurations of open_clip_torch {open_clip.__version__} are loaded "
        f"({100 * len(loaded) / len(verdicts):.0f} %).\n",
        "\n| configuration | |\n|---|---|\n",
    ]
    for file, verdict in zip(files, verdicts, strict=True):
        says = "loads" if verdict["loads"] else f"refused: {reason(verdict)}"
        lines.append(f"| {file.stem} | {says} |\n")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "".join(lines) + END + after)
    print(f"{len(loaded)} of {len(verdicts)}")
    for text, count in Counter(reason(v) for v in verdicts if not v["loads"]).most_common():
        print(f"{count:4} {text}")


if __name__ == "__main__":
    main()
