"""Draws docs/what-to-expect.svg: what methods gain and lose, style by style, against how well the model starts.

    python tools/figures/gains.py CLEAN/tables/results.csv CORRUPTED/tables/results.csv ... > docs/what-to-expect.svg

The files are those of `ueo benchmark --protocol held-out`. Python's standard library is enough.
"""

import csv
import sys
from collections import defaultdict

METHODS = [("half-centring", "#2f7ebc", "circle"), ("auto", "#d98c1f", "square"), ("ueo", "#7a7a7a", "cross")]
TITLES = {"half-centring": "half-centring", "auto": "auto", "ueo": "UEO"}
METRICS = [("per_class_accuracy", "accuracy, points"), ("auroc_matched", "matched AUROC, points")]
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 200, 60, 60, 56
SIZE = 4.5


def read(paths: list[str]) -> dict:
    """Mean over category shifts: (model, style) -> {"start": accuracy, (method, metric): gain}, in points."""
    sums = defaultdict(lambda: defaultdict(list))
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["protocol"] != "held-out" or row["shift"] == "mean" or row["domain"] == "mean":
                    continue
                place = sums[row["model"], row["domain"]]
                if row["method"] == "zero-shot" and row["metric"] == "per_class_accuracy":
                    place["start"].append(100 * float(row["mean"]))
                elif row["minus_zero_shot"]:
                    place[row["method"], row["metric"]].append(100 * float(row["minus_zero_shot"]))
    return {key: {name: sum(v) / len(v) for name, v in values.items()} for key, values in sums.items()}


def mark(x: float, y: float, shape: str, color: str, hollow: bool) -> str:
    look = f'fill="{"none" if hollow else color}" stroke="{color}" stroke-width="1.5"'
    match shape:
        case "circle":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{SIZE}" {look}/>'
        case "square":
            return f'<rect x="{x - SIZE + 0.5:.1f}" y="{y - SIZE + 0.5:.1f}" width="{2 * SIZE - 1}" height="{2 * SIZE - 1}" {look}/>'
        case "cross":
            a, b, c, d = x - SIZE + 1, y - SIZE + 1, x + SIZE - 1, y + SIZE - 1
            width = 1.2 if hollow else 2.4
            return f'<path d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}M{a:.1f} {d:.1f}L{c:.1f} {b:.1f}" stroke="{color}" stroke-width="{width}"/>'
    raise ValueError(shape)


def text(x: float, y: float, content: str, anchor: str = "middle", weight: str = "normal", turn: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"{turn}>{content}</text>'


def panel(styles: dict, model: str, metric: str, label: str, x0: float, y0: float, span: tuple[float, float]) -> list[str]:
    low, high = span

    def at(start: float, gain: float) -> tuple[float, float]:
        return x0 + start / 100 * WIDTH, y0 + (high - gain) / (high - low) * HEIGHT

    parts = []
    every = 5 if high - low <= 30 else 10
    for gain in range(-(-int(low) // every) * every, int(high) + 1, every):
        _, y = at(0, gain)
        weight = 1.4 if gain == 0 else 0.4
        parts.append(f'<path class="grid" d="M{x0} {y:.1f}h{WIDTH}" stroke-width="{weight}"/>')
        parts.append(text(x0 - 8, y + 4, f"{gain:+d}" if gain else "0", "end"))
    for start in range(0, 101, 20):
        x, _ = at(start, 0)
        parts.append(f'<path class="grid" d="M{x:.1f} {y0}v{HEIGHT}" stroke-width="0.4"/>')
        parts.append(text(x, y0 + HEIGHT + 16, str(start)))
    parts.append(text(x0 - 40, y0 + HEIGHT / 2, label, turn=f' transform="rotate(-90 {x0 - 40} {y0 + HEIGHT / 2})"'))
    for (owner, style), values in sorted(styles.items()):
        for method, color, shape in METHODS:
            if owner == model and (method, metric) in values:
                x, y = at(values["start"], values[method, metric])
                title = f"<title>{style}, {TITLES[method]}: {values[method, metric]:+.1f}</title>"
                parts.append(f"<g>{title}{mark(x, y, shape, color, '-' in style)}</g>")
    return parts


def main() -> None:
    styles = read(sys.argv[1:])
    models = sorted({model for model, _ in styles})
    parts = []
    for row, (metric, label) in enumerate(METRICS):
        gains = [v[method, metric] for v in styles.values() for method, _, _ in METHODS if (method, metric) in v]
        span = (5 * (min(gains) // 5), -5 * (-max(gains) // 5))
        for column, model in enumerate(models):
            x0, y0 = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)
            if row == 0:
                parts.append(text(x0 + WIDTH / 2, y0 - 12, model, weight="bold"))
            parts += panel(styles, model, metric, label, x0, y0, span)
    bottom = TOP + 2 * HEIGHT + GAP + 38
    middle = LEFT + WIDTH + GAP / 2
    parts.append(text(middle, bottom, "accuracy of the model as it is, percent"))
    x = LEFT
    for method, color, shape in METHODS:
        parts += [mark(x, 20, shape, color, False), text(x + 12, 24, TITLES[method], "start")]
        x += 40 + 8 * len(TITLES[method])
    parts.append(text(x + 10, 24, "filled: clean drawings; hollow or thin: changed ones", "start"))
    width, height = LEFT + 2 * WIDTH + GAP + 20, bottom + 14
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
        "<style>text{fill:#222}.grid{stroke:#888}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"
    )
    print("\n".join(parts))
    print("</svg>")


main()
