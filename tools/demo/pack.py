"""Packs the drawings of `ueo demo` (a folder of class folders, made by tools/iconnet) into one WebDataset shard.

    python tools/demo/pack.py models/demo/images

writes models/demo/images.tar. Standard library only; the same drawings give the same bytes.
"""

import argparse
import io
import pathlib
import tarfile


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    # A fresh TarInfo has no owner, no time and mode 0644.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=pathlib.Path, help="folder with one folder per class")
    images = parser.parse_args().images

    drawings = sorted(images.glob("*/*.png"), key=lambda path: path.as_posix())
    with tarfile.open(images.with_suffix(".tar"), "w", format=tarfile.USTAR_FORMAT) as shard:
        for drawing in drawings:
            # A key ends at its first dot.
            key = f"{drawing.parent.name.replace(' ', '_')}/{drawing.stem.replace('.', '-')}"
            add(shard, f"{key}.png", drawing.read_bytes())
            add(shard, f"{key}.cls", drawing.parent.name.encode())
    print(f"{len(drawings)} drawings of {len({drawing.parent for drawing in drawings})} classes")


if __name__ == "__main__":
    main()
