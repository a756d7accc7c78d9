"""Packs the images of `ueo demo` into one WebDataset shard, from a list file of IconNet (tools/iconnet builds it).

    python tools/demo/pack.py tools/iconnet/build/suites/iconnet-65/solid-fog.txt --known 0 50

Standard library only; running it again on the same drawings gives the same bytes.
"""

import argparse
import io
import json
import pathlib
import tarfile

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "crates" / "ueo-cli" / "demo"


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    # A fresh TarInfo has no owner, no time and mode 0644.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=pathlib.Path, help="list file of the suite: `path class-index` lines")
    parser.add_argument("--known", type=int, nargs=2, required=True, help="half-open range of the known classes")
    parser.add_argument("--per-class", type=int, default=8, help="at most so many drawings per class")
    arguments = parser.parse_args()

    classes = json.loads((arguments.list.parent / "suite.json").read_text())["classes"]
    taken = dict.fromkeys(classes, 0)
    with tarfile.open(OUTPUT / "images.tar", "w", format=tarfile.USTAR_FORMAT) as shard:
        for line in sorted(arguments.list.read_text().splitlines()):
            path, index = line.rsplit(" ", 1)
            name = classes[int(index)]
            if taken[name] == arguments.per_class:
                continue
            taken[name] += 1
            drawing = (arguments.list.parent / path).resolve()
            key = f"{name.replace(' ', '_')}/{drawing.stem.replace('.', '-')}"
            add(shard, f"{key}.png", drawing.read_bytes())
            add(shard, f"{key}.cls", name.encode())
    known = classes[slice(*arguments.known)]
    (OUTPUT / "classes.txt").write_text("\n".join(known) + "\n")
    print(f"{sum(taken.values())} drawings of {len(classes)} classes, {len(known)} of them known")


if __name__ == "__main__":
    main()
