//! What `ueo export` writes, and what it refuses.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{CLASSES, MODELS, Workplace, copy_model, features_of};

/// What every exported directory holds.
const COMMON: [&str; 2] = ["classifier.safetensors", "README.md"];

#[test]
fn every_layout_becomes_a_graph() {
    for (name, model, needs_vocabulary) in MODELS {
        let place = Workplace::new();
        let model = copy_model(name, model, needs_vocabulary, &place.path("checkpoint"));
        let model = model.strip_prefix(place.path("")).unwrap().display();
        place.run(
            &format!(
                "adapt --model {model} --images images --classes classes.txt --output run --epochs 1 --no-report"
            ),
            0,
        );
        place.run("export run --to onnx --output deep/er/model.onnx", 0);
        place.run(
            "export run --to onnx --preprocess --weights f16 --output small.onnx",
            0,
        );
        place.run("export run --to onnx-encoder --output web", 0);
        for file in [
            "onnx/vision_model.onnx",
            "onnx/text_model.onnx",
            "config.json",
        ] {
            assert!(place.path("web").join(file).is_file(), "{name}: {file}");
        }
        let bytes = fs::read(place.path("deep/er/model.onnx")).unwrap();
        for text in [
            "class_names",
            "red_fox",
            "score_temperature",
            "LayerNorm",
            "threshold",
        ] {
            let found = bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            // A ResNet's image tower has none.
            assert!(found || text == "LayerNorm", "{name}: {text}");
        }
    }
}

#[test]
fn full_weights_see_images_as_the_run_does() {
    let place = Workplace::new();
    place.adapt("");
    let features = |model: &str| {
        place.run(
            &format!("embed --model {model} --images images --output f.safetensors --overwrite"),
            0,
        );
        features_of(&place.path("f.safetensors"))
    };
    let run = features("run");
    for (format, weights) in [
        ("open_clip", "open_clip_model.safetensors"),
        ("hugging-face", "model.safetensors"),
    ] {
        let report = place.run(&format!("export run --to {format} --output {format}"), 0);
        report.says(&[&format!("{format}: "), " files in "]);
        for name in COMMON.iter().chain(&[weights]) {
            assert!(place.path(format).join(name).is_file(), "{format}: {name}");
        }
        let exported = features(format);
        let pairs = run.iter().zip(&exported);
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            apart < 1e-6 && run.len() == exported.len(),
            "{format}: {apart}"
        );
    }
}

#[test]
fn the_classifier_has_what_a_decision_needs() {
    let place = Workplace::new();
    place.adapt("--score negative-labels");
    place.run("export run --to open_clip --output clip", 0);
    let path = place.path("clip/classifier.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let names: Vec<String> = serde_json::from_str(&metadata["class_names"]).unwrap();
    assert_eq!(names, CLASSES);
    assert_eq!(metadata["score"], "negative-labels");
    let threshold: f64 = metadata["threshold"].parse().unwrap();
    let run: Value = place.json("run/run.json");
    assert_eq!(run["threshold"]["value"], threshold);
    for cut in ["reject_below", "accept_from"] {
        let value: f64 = metadata[cut].parse().unwrap();
        assert_eq!(run["threshold"]["review"][cut], value, "{cut}");
    }
    assert_eq!(metadata["verdicts"], r#"["reject","review","accept"]"#);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = file.tensor("class_embeddings").unwrap();
    assert_eq!(embeddings.shape()[0], CLASSES.len());
    assert!(file.tensor("negative_embeddings").unwrap().shape()[0] > 10);
    for row in embeddings.data().chunks_exact(4 * embeddings.shape()[1]) {
        let squares = row
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).powi(2));
        assert!((squares.sum::<f32>() - 1.0).abs() < 1e-5);
    }

    let card = fs::read_to_string(place.path("clip/README.md")).unwrap();
    for text in [
        "cat, dog, red_fox",
        "AUROC",
        "- images: 24, and 0 that",
        "licence: not stated",
    ] {
        assert!(card.contains(text), "{text} in\n{card}");
    }
    // Nobody who gets the model needs to know where it was made.
    let here = place.path("").display().to_string();
    assert!(!card.contains(&here));
    assert!(!metadata.values().any(|value| value.contains(&here)));

    place.run("export run --to open_clip --output clip --overwrite", 0);
    assert!(
        fs::read(path).unwrap() == bytes,
        "the same run gave other bytes"
    );
}

#[test]
fn the_licence_of_the_base_is_handed_on() {
    let place = Workplace::new();
    place.write("model/README.md", "---\nlicense: mit\n---\n# A model\n");
    place.adapt("");
    place.run("export run --to hugging-face --output hf", 0);
    place
        .run("export run --to onnx --output model.onnx", 0)
        .says(&["onnx: model.onnx\n"]);
    let card = fs::read_to_string(place.path("hf/README.md")).unwrap();
    assert!(card.starts_with("---\nlicense: mit\n"), "{card}");
    assert!(card.contains("- licence: mit"), "{card}");
    // The temperature is told of scores that have one.
    let decision = "`maximum-logit` (largest cosine, without any temperature) is at least ";
    assert!(card.contains(decision), "{card}");
}

#[test]
fn exports_that_exist_are_kept() {
    let place = Workplace::new();
    place.adapt("");
    place.write("model.onnx", "precious");
    place
        .run("export run --to onnx --output model.onnx", 2)
        .says(&["error: model.onnx already exists", "hint:", "--overwrite"]);
    assert_eq!(fs::read(place.path("model.onnx")).unwrap(), b"precious");
    place.run("export run --to onnx --output model.onnx --overwrite", 0);

    let export = "export run --to hugging-face --output hf";
    place.run(export, 0);
    place.write("hf/left-over.txt", "of an earlier export");
    place
        .run(export, 2)
        .says(&["error: hf already exists", "hint:", "--overwrite"]);
    place.run(&format!("{export} --overwrite"), 0);
    assert!(!place.path("hf/left-over.txt").exists());

    // A directory that holds something else is never cleared.
    place.write("notes/diary.txt", "dear diary");
    place
        .run("export run --to open_clip --output notes --overwrite", 2)
        .says(&[
            "error: notes already exists, expected a new or empty directory",
            "hint:",
        ]);
    assert!(place.path("notes/diary.txt").exists());
    place
        .run(
            "export run --to open_clip --output classes.txt --overwrite",
            2,
        )
        .says(&["classes.txt already exists", "found a file"]);
    assert_eq!(hidden(&place.path("")), Vec::<String>::new());
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let place = Workplace::new();
    place
        .run("export model --to onnx --output m.onnx", 2)
        .says(&["error: model is no run directory", "hint:"]);
    place.adapt("--no-report");
    for (arguments, pieces) in [
        (
            "--to onnx --output m.bin",
            &["m.bin: expected a name that ends in .onnx"][..],
        ),
        (
            "--to onnx --output -",
            &["expected a name that ends in .onnx"],
        ),
        (
            "--to open_clip --output x --preprocess",
            &[
                "--preprocess is a choice of --to onnx, found --to open_clip",
                "hint:",
            ],
        ),
        (
            "--to hugging-face --output x --weights f16",
            &["--weights is a choice of --to onnx", "hint:"],
        ),
        (
            "--to onnx --output m.onnx --weights int4",
            &["invalid value 'int4'", "f32, f16, int8"],
        ),
        (
            "--to coreml --output x",
            &["invalid value 'coreml'", "onnx, onnx-encoder"],
        ),
    ] {
        place
            .run(&format!("export run {arguments}"), 2)
            .says(pieces);
    }
    place.run(
        "adapt --model model --images images --classes classes.txt --output together \
         --method transductive-gaussians --no-report",
        0,
    );
    place
        .run("export together --to onnx --output m.onnx", 2)
        .says(&[
            "error: the method transductive-gaussians judges an image by all images",
            "hint:",
        ]);

    copy_model("openclip-rn", "model", true, &place.path("rn"));
    place.run(
        "adapt --model rn/model --images images --classes classes.txt --output rn-run --epochs 1 --no-report",
        0,
    );
    place
        .run("export rn-run --to hugging-face --output rn-hf", 2)
        .says(&[
            "error: rn-hf: an image tower other than a vision transformer",
            "not supported",
            "hint: choose another --to: ",
            "--to open_clip a CLIP with a vision transformer, a ResNet",
        ]);
    assert!(!place.path("rn-hf").exists());
    place.run("export rn-run --to open_clip --output rn-clip", 0);
    assert_eq!(hidden(&place.path("")), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn a_place_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;

    let place = Workplace::new();
    place.adapt("--no-report");
    fs::create_dir(place.path("locked")).unwrap();
    fs::set_permissions(place.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    for arguments in [
        "--to onnx --output locked/m.onnx",
        "--to open_clip --output locked/clip",
    ] {
        place
            .run_unprivileged(&format!("export run {arguments}"), 2)
            .says(&["error:", "locked", "ermission denied", "hint:"]);
    }
}

/// Names of hidden files and directories, which nothing may leave.
fn hidden(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}
