"""Draws docs/benchmark-protocols.svg: which images are adapted to and which are tested under both protocols.

    python tools/figures/protocols.py > docs/benchmark-protocols.svg

Python's standard library is enough.
"""

CELL, GAP = 22, 4
# Classes of an open-partial shift, with four images each: (name, known, present).
CLASSES = [
    ("known, present", True, True),
    ("known, absent", True, False),
    ("unknown, present", False, True),
    ("unknown, absent", False, False),
]
IMAGES = 4
ADAPTED, TESTED, BOTH, NEITHER = "#d98c1f", "#2f7ebc", "#7a5195", "#d9d9d9"

parts: list[str] = []


def text(x: float, y: float, content: str, size: int = 12, anchor: str = "start", weight: str = "normal") -> None:
    parts.append(
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">{content}</text>'
    )


def grid(x: float, y: float, title: str, color) -> None:
    """One model: a row of images per class, each in the color of what happens to it."""
    text(x, y - 8, title, weight="bold")
    for row, (_, _, present) in enumerate(CLASSES):
        for column in range(IMAGES):
            left, top = x + column * (CELL + GAP), y + row * (CELL + GAP)
            fill = color(present, column)
            parts.append(f'<rect x="{left}" y="{top}" width="{CELL}" height="{CELL}" rx="3" fill="{fill}"/>')


def published(present: bool, column: int) -> str:
    return BOTH if present else TESTED


def half(tested: int):
    def color(present: bool, column: int) -> str:
        if column % 2 == tested:
            return TESTED
        return ADAPTED if present else NEITHER

    return color


left, top = 150, 46
for row, (name, _, _) in enumerate(CLASSES):
    text(left - 12, top + row * (CELL + GAP) + 15, name, anchor="end")
width = IMAGES * (CELL + GAP)
grid(left, top, "published", published)
grid(left + width + 50, top, "held-out, one half", half(0))
grid(left + 2 * width + 100, top, "and the other", half(1))
bottom = top + len(CLASSES) * (CELL + GAP) + 18
x = left
for color, name in [(ADAPTED, "adapted to"), (TESTED, "tested"), (BOTH, "adapted to and tested"), (NEITHER, "not used")]:
    parts.append(f'<rect x="{x}" y="{bottom - 11}" width="14" height="14" rx="2" fill="{color}"/>')
    text(x + 20, bottom, name)
    x += 34 + 7 * len(name)
total = left + 3 * width + 130
height = bottom + 16
print(
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" width="{total}" height="{height}" '
    f'font-family="sans-serif" fill="#333" role="img" aria-label="Which images are adapted to and tested">'
)
print(f'<rect width="{total}" height="{height}" fill="white"/>')
print("\n".join(parts))
print("</svg>")
