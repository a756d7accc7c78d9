"""Fills fuzz/corpus/TARGET with small valid files, from the fixtures of the tests (python3, nothing else)."""

import io
import pathlib
import shutil
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "fuzz" / "corpus"
FIXTURES = ROOT / "crates" / "ueo" / "tests" / "fixtures"
BENCHMARK = ROOT / "crates" / "ueo-benchmark"
RUNS = ROOT / "crates" / "ueo-run" / "tests" / "fixtures" / "version-0.1.0"

# Longer seeds make every execution slow.
LONGEST = 600_000

# Files of a run directory, with the letter that tells the target which one it is.
RUN_FILES = {
    "run.json": b"r",
    "metrics.jsonl": b"l",
    "epochs.jsonl": b"l",
    "predictions.csv": b"p",
    "state.safetensors": b"s",
    "events.out.tfevents.ueo": b"e",
}


def seed(target, name, content):
    if len(content) > LONGEST:
        return
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name.replace("/", "-")).write_bytes(content)


def fixtures(pattern):
    for path in sorted(FIXTURES.glob(pattern)):
        if path.is_file():
            yield str(path.relative_to(FIXTURES)), path.read_bytes()


def checkpoints():
    for pattern in ("checkpoint*/**/*.safetensors", "checkpoint*/**/*.pt", "checkpoint*/**/*.bin", "checkpoint*/**/*.ckpt"):
        for name, content in fixtures(pattern):
            seed("weights", name, content)
            if zipfile.is_zipfile(io.BytesIO(content)):
                archive = zipfile.ZipFile(io.BytesIO(content))
                for member in archive.namelist():
                    if member.endswith("data.pkl"):
                        seed("pickle", f"{name}-data.pkl", archive.read(member))
    for pattern in ("checkpoint*/**/*config*.json",):
        for name, content in fixtures(pattern):
            seed("configurations", name, content)
    for name, content in fixtures("**/tokenizer*.json"):
        seed("tokenizers", name, content)


def shards(pictures):
    for mode, ending in (("w", "tar"), ("w:gz", "tgz")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for number, content in enumerate(pictures):
                for extension, member in (("png", content), ("cls", b"3"), ("json", b'{"label": "cat"}')):
                    entry = tarfile.TarInfo(f"folder/{number:04}.{extension}")
                    entry.size = len(member)
                    archive.addfile(entry, io.BytesIO(member))
        seed("shards", f"shard.{ending}", file.getvalue())


def lists():
    texts = {
        "names.txt": "cat\nred_fox\ncaf\u00e9\n",
        "table.csv": "id,name\n0,cat\n1,\"fox, red\"\n",
        "list.json": '["cat", "dog"]',
        "map.json": '{"n01440764": "tench", "0": "goldfish"}',
        "ids.txt": "n01440764 tench\nn01443537 goldfish\n",
        "images.txt": "a/0.jpg 0\na/1.jpg -1\n",
        "images.csv": "path,label\na/0.jpg,cat\n",
        "split.json": '{"train": [["a/0.jpg", 0, "cat"]], "test": []}',
    }
    for name, text in texts.items():
        seed("class_files", name, text.encode())


def main():
    shutil.rmtree(CORPUS, ignore_errors=True)
    checkpoints()
    pictures = [path.read_bytes() for path in sorted((RUNS / "images" / "cat").glob("*.png"))]
    shards(pictures)
    lists()
    for name, content in fixtures("parquet/**/*.parquet"):
        seed("parquet", name, content)
    for name, content in fixtures("images/**/*"):
        if not name.endswith((".json", ".safetensors")):
            seed("images", name, content)
    for path in sorted((BENCHMARK / "suites").glob("*.toml")):
        seed("suites", path.name, path.read_bytes())
    seed("suites", "cell.json", (BENCHMARK / "tests" / "fixtures" / "cell.json").read_bytes())
    seed("suites", "published.toml", b'source = "x"\n[[rows]]\nsuite = "a"\nmodel = "b"\nshift = "open"\nmethod = "c"\nvalues = { d = [1.0, 99.5] }\n')
    for state in ("finished", "interrupted"):
        for name, letter in RUN_FILES.items():
            seed("runs", f"{state}-{name}", letter + (RUNS / state / name).read_bytes())
    for folder in sorted(CORPUS.iterdir()):
        files = list(folder.iterdir())
        print(f"{folder.name}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1000:.0f} kB")


main()
