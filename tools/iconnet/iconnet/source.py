"""The training array: every source drawing as RGBA at a little more than the model's resolution, with its words."""

import argparse
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from .drawings import ROOT, read_drawings, read_rules
from .render import rasterize

SIZE = 72
# A longer name is a scene or a state of an interface, not a thing.
MOST_WORDS = 5


def _rasterize(drawing):
    return rasterize(drawing, SIZE)


def build(path: Path, processes: int) -> int:
    """Renders the source side of the split to an `.npz` with `images`, `bases` and `domains`; returns its length."""
    source = set(read_rules()["sides"]["source"])
    drawings = [d for d in read_drawings() if d.domain in source and d.base.count("-") < MOST_WORDS]
    with Pool(processes) as pool:
        images = pool.map(_rasterize, drawings, chunksize=256)
    kept = [(d, image) for d, image in zip(drawings, images) if image is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        images=np.stack([image for _, image in kept]),
        bases=np.array([d.base for d, _ in kept]),
        domains=np.array([d.domain for d, _ in kept]),
    )
    return len(kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "source.npz")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{build(arguments.output, arguments.processes)} source drawings")
