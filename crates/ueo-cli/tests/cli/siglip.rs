//! A SigLIP from the command line to the files.

use std::fs;

use crate::support::{Workplace, features_of};

/// With the SigLIP of the library's tests in place of the CLIP.
fn workplace() -> Workplace {
    let place = Workplace::new();
    fs::remove_dir_all(place.path("model")).unwrap();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../ueo/tests/fixtures/siglip/hugging-face"
    );
    for entry in fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        place.write(&format!("model/{name}"), fs::read(&path).unwrap());
    }
    place
}

#[test]
fn a_siglip_adapts_predicts_and_is_inspected() {
    let place = workplace();
    let said = place.run("inspect --model model", 0).stdout;
    for fact in [
        "attention pooling (SigLIP)",
        "16 tokens with padding",
        "whole image to 36 x 36",
    ] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    place.adapt("--score sigmoid --standalone");
    let record = place.json("run/run.json");
    assert_eq!(record["request"]["score"], "sigmoid");
    let text = &record["base"]["config"]["text"]["architecture"];
    assert_eq!(text["kind"], "padded");
    place.run("predict --model run --images images --output p.csv", 0);
    let table = fs::read_to_string(place.path("p.csv")).unwrap();
    for line in table.lines().skip(1) {
        let confidence: f64 = line.split(',').nth(2).unwrap().parse().unwrap();
        assert!((0.0..=1.0).contains(&confidence), "{line}");
    }
    place.run("export run --to onnx --output model.onnx", 0);
    place.run("export run --to onnx-encoder --output web", 0);
    place.run("export run --to hugging-face --output hf", 0);
    place
        .run("export run --to open_clip --output clip", 2)
        .says(&["timm has under no name", "hint:", "--to hugging-face"]);
    // Both ways to full weights see images as the run does.
    let features = |model: &str| {
        let embed =
            format!("embed --model {model} --images images --output f.safetensors --overwrite");
        place.run(&embed, 0);
        features_of(&place.path("f.safetensors"))
    };
    let run = features("run");
    for model in ["run/standalone", "hf"] {
        let pairs = run.iter().zip(features(model));
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{model}: {apart}");
    }
}

#[test]
fn the_sigmoid_needs_a_bias() {
    let place = Workplace::new();
    place
        .run(
            "adapt --model model --images images --classes classes.txt --output run --score sigmoid",
            2,
        )
        .says(&["no `logit_bias`", "hint:", "maximum-logit"]);
    assert!(!place.path("run/state.safetensors").exists());
}
