"""Shows that what `ueo export` writes says of images what `ueo predict` says, with the packages that it is written for.

    cargo build --release
    python tools/export/check.py target/release/ueo

Both shipped models are adapted to the drawings of the demonstration and exported in all formats. ONNX Runtime, open_clip and
transformers then judge every drawing; the programs that use them are those of docs/export.md, word for word. Labels, decisions
and verdicts must be equal, confidences within 1e-4. SigLIPs of random weights follow: a tiny one, and one with an image tower
that timm has a name for. Prints what was found.
"""

import argparse
import csv
import json
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

import numpy
import onnx
import onnxruntime
import open_clip
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torchvision import transforms

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / "models/demo/images.tar"
FIXTURES = ROOT / "crates/ueo/tests/fixtures/siglip"
# Random weights make much of the single levels by which resized pixels differ between libraries.
OF_RANDOM_WEIGHTS = {"tolerance": 2e-3, "differing": 2}
# Names that the fixtures' vocabularies tell apart.
SIGLIP_CLASSES = ["dog", "small cat", "bird", "red car", "tree", "house near the sea"]
# What the program with transformers says differently of a SigLIP.
OF_SIGLIP = {
    "CLIPVisionModelWithProjection": "SiglipVisionModel",
    "CLIPImageProcessorPil": "SiglipImageProcessorPil",
    "image_embeds": "pooler_output",
}
TOLERANCE = 1e-4
BATCHES = [1, 7, 64]
# Drawings that a model of real size sees.
LARGE_COUNT = 24
# Sizes that shrink, grow, and have odd numbers of pixels to spare.
SIZES = [(64, 64), (65, 64), (64, 67), (100, 80), (640, 480), (767, 1023), (31, 40), (20, 9), (2000, 1500)]
# Pillow 13 filters along columns first here; the graph never does.
TALL_SIZES = [(81, 301), (640, 2000)]


def program(package: str) -> str:
    """The program of docs/export.md that imports a package."""
    text = (ROOT / "docs/export.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if re.search(rf"\b{package}\b", block))


def predictor(package: str, place: str, replacement: pathlib.Path, words: dict[str, str] | None = None):
    """The function `predict` of such a program, with the place that it names replaced, and other words for a SigLIP."""
    names: dict = {}
    code = program(package)
    for word, other in {place: place, **(words or {})}.items():
        assert word in code
        code = code.replace(word, other)
    exec(code.replace(place, f"{replacement}/" if place.endswith("/") else str(replacement)), names)
    return names["predict"]


class Demonstration:
    """A shipped model, adapted to the drawings of the demonstration; or another one, as it is, on some of them."""

    def __init__(self, ueo: pathlib.Path, directory: pathlib.Path, model: str | pathlib.Path, count: int | None = None):
        self.ueo, self.directory = ueo, directory
        images = directory / "images"
        with tarfile.open(IMAGES) as shard:
            shard.extractall(images, filter="data")
        if isinstance(model, str):
            self.call("demo", "--architecture", model, "--output", directory / "run")
        else:
            for path in sorted(images.rglob("*.png"))[count:] if count else []:
                path.unlink()
            (directory / "classes.txt").write_text("\n".join(SIGLIP_CLASSES) + "\n")
            self.call(
                *("adapt", "--model", model, "--images", images, "--classes", directory / "classes.txt"),
                *("--method", "zero-shot", "--score", "maximum-logit", "--output", directory / "run", "--no-report"),
            )
        self.call("predict", "--model", directory / "run", "--images", images, "--output", directory / "p.csv")
        with open(directory / "p.csv", newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.paths = [images / row["path"] for row in self.rows]

    def call(self, *arguments) -> None:
        subprocess.run([self.ueo, "--quiet", *map(str, arguments)], check=True)

    def export(self, form: str, name: str, *more: str) -> pathlib.Path:
        path = self.directory / name
        self.call("export", self.directory / "run", "--to", form, "--output", path, *more)
        return path

    def compare(self, what: str, answers: list, tolerance: float | None = TOLERANCE, differing: int = 0) -> None:
        """Answers are (label, confidence, known, verdict); so many may differ."""
        assert len(answers) == len(self.rows)
        labels = sum(row["predicted"] == answer[0] for row, answer in zip(self.rows, answers))
        decisions = sum((row["decision"] == "known") == bool(answer[2]) for row, answer in zip(self.rows, answers))
        verdicts = sum(row["verdict"] == answer[3] for row, answer in zip(self.rows, answers))
        apart = max(abs(float(row["confidence"]) - answer[1]) for row, answer in zip(self.rows, answers))
        count = len(answers)
        equal = f"labels {labels}/{count}, decisions {decisions}/{count}, verdicts {verdicts}/{count}"
        print(f"  {what:44} {equal}, confidences within {apart:.1e}")
        if tolerance:
            assert min(labels, decisions, verdicts) >= count - differing and apart < tolerance, what


def view(path: pathlib.Path, side: int = 64) -> numpy.ndarray:
    """A drawing as open_clip prepares it, in 0..1; drawings are square."""
    resized = transforms.Resize(side, transforms.InterpolationMode.BICUBIC)(Image.open(path).convert("RGB"))
    return transforms.ToTensor()(transforms.CenterCrop(side)(resized)).numpy()


def from_pixels(graph: pathlib.Path, paths: list[pathlib.Path], batch: int) -> list:
    session = onnxruntime.InferenceSession(graph)
    names, verdicts = (json.loads(session.get_modelmeta().custom_metadata_map[key]) for key in ("class_names", "verdicts"))
    side = session.get_inputs()[0].shape[2]
    pixels = numpy.stack([view(path, side) for path in paths])
    answers = []
    for start in range(0, len(pixels), batch):
        outputs = session.run(["label", "confidence", "known", "verdict"], {"pixels": pixels[start : start + batch]})
        answers += [(names[label], float(score), known, verdicts[verdict]) for label, score, known, verdict in zip(*outputs)]
    return answers


def from_towers(directory: pathlib.Path, paths: list[pathlib.Path], demonstration: Demonstration) -> list:
    """The decision by hand, from the image tower and the classifier's file."""
    with safe_open(directory / "classifier.safetensors", "np") as file:
        said, embeddings, offset = file.metadata(), file.get_tensor("class_embeddings"), file.get_tensor("image_offset")
    assert said["score"] == "maximum-logit"
    names = json.loads(said["class_names"])
    preprocessing = json.loads((directory / "preprocessor_config.json").read_text())
    mean, std = (numpy.array(preprocessing[key], numpy.float32)[:, None, None] for key in ("image_mean", "image_std"))
    pixels = numpy.stack([(view(path) - mean) / std for path in paths]).astype(numpy.float32)
    session = onnxruntime.InferenceSession(directory / "onnx/vision_model.onnx")
    (features,) = session.run(["image_embeds"], {"pixel_values": pixels})
    features = features / numpy.linalg.norm(features, axis=1, keepdims=True) - offset
    cosines = features / numpy.linalg.norm(features, axis=1, keepdims=True) @ embeddings.T
    confidences = cosines.max(1)
    known, accepted, seen = (confidences >= float(said[cut]) for cut in ("threshold", "accept_from", "reject_below"))
    verdicts = [json.loads(said["verdicts"])[index] for index in accepted.astype(int) + seen]
    return [(names[row.argmax()], float(c), k, v) for row, c, k, v in zip(cosines, confidences, known, verdicts)]


def check_texts(directory: pathlib.Path, demonstration: Demonstration) -> None:
    """The text tower on texts of several lengths, padded together."""
    from tokenizers import Tokenizer

    texts = ["a photo of a dog", "house", "an icon of an umbrella in the rain, with a red apple beside it"]
    (demonstration.directory / "texts.txt").write_text("\n".join(texts) + "\n")
    features = demonstration.directory / "texts.safetensors"
    demonstration.call(
        "embed", "--model", demonstration.directory / "run", "--texts", demonstration.directory / "texts.txt", "--output", features
    )
    with safe_open(features, "np") as file:
        expected = file.get_tensor("text_features")
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    start, end = (tokenizer.token_to_id(token) for token in ("<|startoftext|>", "<|endoftext|>"))
    rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    rows = [[start, *row, end] for row in rows]
    longest = max(map(len, rows))
    ids = numpy.array([row + [end] * (longest - len(row)) for row in rows], numpy.int64)
    session = onnxruntime.InferenceSession(directory / "onnx/text_model.onnx")
    (found,) = session.run(["text_embeds"], {"input_ids": ids})
    found = found / numpy.linalg.norm(found, axis=1, keepdims=True)
    apart = abs(found - expected).max()
    print(f"  {'text tower, ' + str(len(texts)) + ' texts':44} features within {apart:.1e}")
    assert apart < TOLERANCE


def check_preprocessing(graph: pathlib.Path) -> None:
    """The pixels inside the graph against Pillow and torchvision, on noise: the hardest there is."""
    model = onnx.load(graph)
    sub = next(node for node in model.graph.node if node.name.startswith("normalization/Sub"))
    model.graph.output.append(onnx.helper.make_tensor_value_info(sub.input[0], onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    generator = numpy.random.default_rng(0)
    for what, sizes, limit in (("usual", SIZES, 1), ("tall", TALL_SIZES, None)):
        differing = total = largest = 0
        for width, height in sizes:
            noise = generator.integers(0, 256, (height, width, 3), numpy.uint8)
            (found,) = session.run([sub.input[0]], {"image": noise[None]})
            resized = transforms.Resize(64, transforms.InterpolationMode.BICUBIC)(Image.fromarray(noise))
            expected = numpy.asarray(transforms.CenterCrop(64)(resized)).transpose(2, 0, 1)
            levels = abs(numpy.rint(found[0] * 255) - expected)
            differing, total, largest = differing + (levels > 0).sum(), total + levels.size, max(largest, levels.max())
        label = f"preprocessing, noise of {len(sizes)} {what} sizes"
        print(f"  {label:44} {differing} of {total} values differ from Pillow's, by {largest:.0f} at most")
        assert limit is None or largest <= limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ueo", type=pathlib.Path, help="the program")
    arguments = parser.parse_args()
    print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
    for architecture in ("resnet", "vit"):
        print(architecture)
        with tempfile.TemporaryDirectory() as place:
            demonstration = Demonstration(arguments.ueo.resolve(), pathlib.Path(place), architecture)
            check(demonstration, architecture)
    check_siglips(arguments.ueo.resolve())


def check_siglips(ueo: pathlib.Path) -> None:
    print("siglip")
    with tempfile.TemporaryDirectory() as place:
        demonstration = Demonstration(ueo, pathlib.Path(place), FIXTURES / "hugging-face")
        graph = demonstration.export("onnx", "model.onnx")
        onnx.checker.check_model(graph, full_check=True)
        demonstration.compare("onnx, pixels", from_pixels(graph, demonstration.paths, 64), **OF_RANDOM_WEIGHTS)
        onnx.checker.check_model(demonstration.export("onnx", "decoded.onnx", "--preprocess"), full_check=True)
        towers = demonstration.export("onnx-encoder", "web")
        for name in ("vision_model", "text_model"):
            onnx.checker.check_model(towers / f"onnx/{name}.onnx", full_check=True)
        predict = predictor("transformers", "hf/", demonstration.export("hugging-face", "hf"), OF_SIGLIP)
        answers = [predict(path) for path in demonstration.paths]
        demonstration.compare("transformers, program of the docs", answers, **OF_RANDOM_WEIGHTS)
    with tempfile.TemporaryDirectory() as place:
        model = pathlib.Path(place) / "model"
        write_siglip(model)
        demonstration = Demonstration(ueo, pathlib.Path(place), model, count=LARGE_COUNT)
        predict = predictor("open_clip", "clip/", demonstration.export("open_clip", "clip"))
        answers = [predict(path) for path in demonstration.paths]
        demonstration.compare("open_clip, program of the docs", answers, **OF_RANDOM_WEIGHTS)


def write_siglip(directory: pathlib.Path) -> None:
    """A SigLIP with timm's smallest tower and a tiny text tower, in open_clip's layout."""
    shutil.copytree(FIXTURES / "open-clip", directory)
    path = directory / "open_clip_config.json"
    config = json.loads(path.read_text())
    model = config["model_cfg"]
    model["embed_dim"] = 768
    model["vision_cfg"] |= {"image_size": 256, "timm_model_name": "vit_base_patch32_siglip_256"}
    path.write_text(json.dumps(config))
    torch.manual_seed(0)
    built = open_clip.model.CustomTextCLIP(**{key: value for key, value in model.items() if key != "custom_text"})
    with torch.no_grad():
        built.visual.trunk.pos_embed.normal_()
    save_file({name: tensor.contiguous() for name, tensor in built.state_dict().items()}, directory / "open_clip_model.safetensors")


def check(demonstration: Demonstration, architecture: str) -> None:
    paths = demonstration.paths
    graph = demonstration.export("onnx", "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    for batch in BATCHES:
        demonstration.compare(f"onnx, pixels, batches of {batch}", from_pixels(graph, paths, batch))
    half = demonstration.export("onnx", "half.onnx", "--weights", "f16")
    sizes = f"{half.stat().st_size / 1e6:.1f} of {graph.stat().st_size / 1e6:.1f} MB"
    demonstration.compare(f"onnx, weights of 16 bits, {sizes}", from_pixels(half, paths, 64), tolerance=None)
    decoded = demonstration.export("onnx", "decoded.onnx", "--preprocess")
    onnx.checker.check_model(decoded, full_check=True)
    predict = predictor("onnxruntime", "model.onnx", decoded)
    demonstration.compare("onnx, decoded images, program of the docs", [predict(path) for path in paths])
    check_preprocessing(decoded)
    towers = demonstration.export("onnx-encoder", "web")
    for name in ("vision_model", "text_model"):
        onnx.checker.check_model(towers / f"onnx/{name}.onnx", full_check=True)
    demonstration.compare("onnx-encoder, image tower and classifier", from_towers(towers, paths, demonstration))
    check_texts(towers, demonstration)
    predict = predictor("open_clip", "clip/", demonstration.export("open_clip", "clip"))
    demonstration.compare("open_clip, program of the docs", [predict(path) for path in paths])
    if architecture == "vit":
        predict = predictor("transformers", "hf/", demonstration.export("hugging-face", "hf"))
        demonstration.compare("transformers, program of the docs", [predict(path) for path in paths])


if __name__ == "__main__":
    main()
