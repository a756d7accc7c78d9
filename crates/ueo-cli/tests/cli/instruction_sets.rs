//! The kernels on every instruction set: a CPU without AVX-512, or without any that the kernels know, adapts to the same losses.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Report, Workplace};

const VARIABLE: &str = "UEO_INSTRUCTION_SET";
/// From the plainest to the most capable.
const INSTRUCTION_SETS: [&str; 7] = [
    "scalar",
    "amx-emulated",
    "portable",
    "avx2",
    "avx512",
    "avx512bf16",
    "amx",
];
/// Those that every CPU has.
const EVERYWHERE: [&str; 3] = ["scalar", "amx-emulated", "portable"];
/// Two steps per epoch on six images, because plain loops are slow.
const ADAPT: &str = "adapt --images images/cat --classes classes.txt --output run --overwrite \
    --epochs 2 --batch-size 3 --context-learning-rate 0.05 --affine-learning-rate 0.02";
/// The demonstration's images, classes and learning rates, for one epoch instead of fifteen.
const DEMONSTRATION: &str = "adapt --output run --overwrite --epochs 1 --context-learning-rate 0.05 \
    --affine-learning-rate 0.05 --no-report";

fn adapt(place: &Workplace, arguments: &str, model: &str, set: &str) -> Report {
    let arguments = format!("{arguments} --model {}", shipped(model));
    let mut command = place.ueo(&arguments);
    Report::of(command.env(VARIABLE, set).output().unwrap())
}

fn shipped(file: &str) -> String {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    models.join(file).display().to_string()
}

/// The classes of all images, zero-shot and adapted.
fn labels(place: &Workplace) -> Vec<[String; 2]> {
    let predictions = fs::read_to_string(place.path("run/predictions.csv")).unwrap();
    let mut rows = predictions
        .lines()
        .map(|row| row.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |name: &str| header.iter().position(|&column| column == name).unwrap();
    let columns = ["zero_shot_predicted", "predicted"].map(column);
    rows.map(|row| columns.map(|column| row[column].to_owned()))
        .collect()
}

/// One epoch of the demonstration gives every image the same class on every instruction set of this CPU.
fn compare_labels(model: &str) {
    let place = Workplace::new();
    let inputs = ["images.tar", "classes.txt"].map(|file| shipped(&format!("demo/{file}")));
    let arguments = format!(
        "{DEMONSTRATION} --images {} --classes {}",
        inputs[0], inputs[1]
    );
    let mut expected: Option<Vec<[String; 2]>> = None;
    for set in INSTRUCTION_SETS {
        let report = adapt(&place, &arguments, model, set);
        if report.code != Some(0) && !EVERYWHERE.contains(&set) {
            continue;
        }
        report.expect_code(0, set);
        let found = labels(&place);
        assert_eq!(found.len(), 273);
        let changed = found.iter().filter(|[before, after]| before != after);
        assert!(changed.count() > 0, "{model} has not learned");
        let expected = expected.get_or_insert_with(|| found.clone());
        assert!(
            found == *expected,
            "{model} on {set} and {}",
            INSTRUCTION_SETS[0]
        );
    }
}

/// The losses of all steps.
fn losses(place: &Workplace) -> Vec<f64> {
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64();
    metrics.lines().map(|line| loss(line).unwrap()).collect()
}

fn compare(model: &str) {
    let place = Workplace::new();
    let mut expected: Option<f64> = None;
    for set in INSTRUCTION_SETS {
        let report = adapt(&place, ADAPT, model, set);
        if report.code != Some(0) && !EVERYWHERE.contains(&set) {
            report.expect_code(2, set).says(&[
                "UEO_INSTRUCTION_SET: expected one that this CPU has (scalar, amx-emulated, portable",
                &format!("found {set}"),
                "hint: unset UEO_INSTRUCTION_SET",
            ]);
            continue;
        }
        report.expect_code(0, set);
        let losses = losses(&place);
        assert_eq!(losses.len(), 4);
        let (first, last) = (losses[0], losses[3]);
        assert!(
            (last - first).abs() > 1e-2 * first.abs(),
            "{model} has not learned: {losses:?}"
        );
        let expected = *expected.get_or_insert(last);
        assert!(
            (last - expected).abs() <= 1e-4 * expected.abs(),
            "{model} on {set}: last loss {last}, on {} {expected}",
            INSTRUCTION_SETS[0]
        );
    }
}

#[test]
fn the_shipped_vision_transformer_learns_the_same_on_every_instruction_set() {
    compare("iconclip-vit");
}

#[test]
fn the_shipped_resnet_learns_the_same_on_every_instruction_set() {
    compare("iconclip-resnet");
}

#[test]
fn the_demonstration_gives_the_same_labels_on_every_instruction_set() {
    compare_labels("iconclip-resnet");
}

#[test]
fn the_shipped_vision_transformer_gives_the_same_labels_on_every_instruction_set() {
    compare_labels("iconclip-vit");
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let place = Workplace::new();
    let report = adapt(&place, ADAPT, "iconclip-vit", "sse2");
    report.expect_code(2, "sse2").says(&[
        "UEO_INSTRUCTION_SET: expected one of scalar, amx-emulated, portable, avx2, avx512, avx512bf16, amx, found \"sse2\"",
        "hint: unset UEO_INSTRUCTION_SET",
    ]);
}
