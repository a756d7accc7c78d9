"""What a whole job costs, from the measured steps: adapting ViT-B/16 to some photographs with 50 classes.

Processor seconds of one machine, divided by the cores of another that is thought of as equally fast. What is counted: two passes
over all images (before and after), and the steps. Decoding is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import targets

BATCH = 64
# Images of a measured step.
MEASURED = 16
# Blocks of the image tower, and those in front of the last four.
BLOCKS, BEFORE_LAST_4 = 12, 8
VIEWS = 4
# `--epochs auto`, crates/ueo/src/adapt/epochs.rs.
STEPS_WANTED, FEWEST, MOST = 2_500, 5, 50


def epochs(images: int) -> int:
    steps = -(-images // BATCH)
    return min(max((STEPS_WANTED + steps // 2) // steps, FEWEST), MOST)


@dataclass(frozen=True)
class Way:
    """Settings, and the kind of the measured step."""

    options: str
    precision: str
    step: str
    # Views that are encoded once; 0 where nothing is kept.
    views: int
    # The share of encoding that is paid for each view.
    share: float = 0.0


WAYS = (
    Way("defaults", "f32", "whole step", 0),
    Way("--precision bf16", "bf16", "whole step", 0),
    Way(f"--train-blocks last-4 --views {VIEWS}", "f32", "last-4", VIEWS, BEFORE_LAST_4 / BLOCKS),
    Way(f"--train-blocks last-4 --views {VIEWS} --precision bf16", "bf16", "last-4", VIEWS, BEFORE_LAST_4 / BLOCKS),
    Way("--train context --augmentation none", "f32", "context", 0),
    Way("--train context --augmentation none --precision bf16", "bf16", "context", 0),
)


def processor_seconds(rows: targets.Rows, way: Way, images: int, row: str = "kept") -> float:
    """Of all cores together, from the steps of a row."""

    def measured(what: str) -> float:
        return targets.THREADS * targets.seconds(rows, row, f"ueo {way.precision}, {what}")

    encoding = measured("encoding") / MEASURED
    # A step has the text tower once, whatever the number of images.
    text = measured("context")
    image = max(measured(way.step) - text, 0) / MEASURED
    passes = epochs(images)
    steps = passes * -(-images // BATCH)
    once = min(way.views, passes) * images * way.share * encoding
    return 2 * images * encoding + once + passes * images * image + steps * text
