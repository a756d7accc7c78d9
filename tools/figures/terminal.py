"""Draws what a program prints in a terminal as an SVG.

    XDG_RUNTIME_DIR=/tmp ueo inspect --machine | python tools/figures/terminal.py "ueo inspect --machine" > docs/devices.svg

Python's standard library is enough.
"""

import html
import sys

# Of a letter of the font, in pixels.
WIDTH, HEIGHT = 8.43, 20
MARGIN, BAR = 16, 28
BACKGROUND, FRAME, TEXT, PROMPT = "#1b1f24", "#30363d", "#e6edf3", "#7ee787"


def main() -> None:
    command = sys.argv[1]
    lines = [(f"$ {command}", PROMPT)] + [(line, TEXT) for line in sys.stdin.read().rstrip("\n").split("\n")]
    width = round(2 * MARGIN + WIDTH * max(len(line) for line, _ in lines))
    height = BAR + 2 * MARGIN + HEIGHT * len(lines)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">')
    print(f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}" stroke="{FRAME}"/>')
    for place, color in enumerate(["#ff5f57", "#febc2e", "#28c840"]):
        print(f'<circle cx="{MARGIN + 4 + 20 * place}" cy="{BAR // 2 + 2}" r="6" fill="{color}"/>')
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">')
    for place, (line, color) in enumerate(lines):
        y = BAR + MARGIN + HEIGHT * place + 14
        print(f'<text x="{MARGIN}" y="{y}" fill="{color}">{html.escape(line).replace(" ", "&#160;")}</text>')
    print("</g>\n</svg>")


main()
