//! Jobs whose result is known from elsewhere: the embedded model on the demonstration's drawings, checkpoints that go
//! back to the Python world, batches cut into pieces.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Workplace, features_of};

fn repository(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(relative)
}

#[test]
fn the_shipped_model_scores_what_pytorch_measured() {
    let place = Workplace::new();
    let demo = repository("models/demo");
    place.run(
        &format!(
            "evaluate --model {} --images {} --classes {} --score msp --output evaluation.json",
            repository("models/iconclip-resnet").display(),
            demo.join("images.tar").display(),
            demo.join("classes.txt").display(),
        ),
        0,
    );
    let evaluation = place.json("evaluation.json");
    assert_eq!(evaluation["n_known"], 209);
    assert_eq!(evaluation["n_unknown"], 64);
    // tools/iconnet/README.md: 22.9 / 56.8 with open_clip, to one decimal.
    for (name, expected) in [("per_class_accuracy", 0.229), ("auroc", 0.568)] {
        let found = evaluation[name].as_f64().unwrap();
        assert!(
            (found - expected).abs() < 1e-3,
            "{name}: {found}, expected {expected}"
        );
    }
}

#[test]
fn a_standalone_checkpoint_sees_images_as_the_run_does() {
    let place = Workplace::new();
    place.adapt("--standalone");
    let features = |model: &str| {
        place.run(
            &format!(
                "embed --model {model} --images images --output features.safetensors --overwrite"
            ),
            0,
        );
        features_of(&place.path("features.safetensors"))
    };
    let (base, run, standalone) = (
        features("model"),
        features("run"),
        features("run/standalone"),
    );
    assert_eq!(run.len(), standalone.len());
    let distance = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
    };
    assert!(distance(&run, &standalone) < 1e-6);
    assert!(distance(&run, &base) > 1e-3, "adaptation changed nothing");
}

#[test]
fn pieces_of_a_batch_train_as_the_whole_does() {
    let place = Workplace::new();
    let losses = |more: &str| -> Vec<f64> {
        place.adapt(more);
        let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
        let lines = metrics.lines();
        lines
            .map(|line| {
                serde_json::from_str::<Value>(line).unwrap()["loss"]
                    .as_f64()
                    .unwrap()
            })
            .collect()
    };
    let whole = losses("");
    let pieces = losses("--micro-batch 3 --overwrite");
    assert_eq!(whole.len(), pieces.len());
    for (whole, pieces) in whole.iter().zip(&pieces) {
        assert!(
            (whole - pieces).abs() <= 1e-4 * whole.abs(),
            "{whole} and {pieces}"
        );
    }
}
