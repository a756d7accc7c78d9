//! `--image-cache` and `--reduce-images`: what is said, what is refused, what they must not change.

use std::fs;

use crate::support::{IMAGES, Workplace};

const ADAPT: &str = "adapt --model model --images images --classes classes.txt --epochs 2 --batch-size 8 \
    --context-learning-rate 0.01 --affine-learning-rate 0.01 --overwrite --output";

/// The run's losses with everything that a clock decides left out.
fn losses(place: &Workplace, run: &str) -> Vec<String> {
    fs::read_to_string(place.path(format!("{run}/metrics.jsonl")))
        .unwrap()
        .lines()
        .map(|line| {
            let step: serde_json::Value = serde_json::from_str(line).unwrap();
            step["loss"].to_string()
        })
        .collect()
}

#[test]
fn a_cache_that_is_too_small_is_said_once_and_changes_no_result() {
    let place = Workplace::new();
    let enough = place.run(&format!("{ADAPT} all"), 0);
    assert!(
        !enough.stderr.contains("--image-cache"),
        "{}",
        enough.stderr
    );
    let small = place.run(&format!("{ADAPT} few --image-cache 20KiB"), 0);
    assert_eq!(small.stderr.matches("fit into --image-cache").count(), 1);
    small.says(&[
        "warning:",
        &format!("of {IMAGES} images"),
        "--reduce-images",
    ]);
    let none = place.run(&format!("{ADAPT} none --image-cache 0"), 0);
    assert!(!none.stderr.contains("--image-cache"), "{}", none.stderr);
    assert_eq!(losses(&place, "few"), losses(&place, "all"));
    assert_eq!(losses(&place, "none"), losses(&place, "all"));
}

#[test]
fn reduced_images_change_training_and_not_what_is_measured_before_it() {
    let place = Workplace::new();
    for number in 0..6 {
        let pixels = image::RgbImage::from_fn(160, 120, |x, y| {
            image::Rgb([(x * 3 + number) as u8, (x * y) as u8, (y * 7) as u8])
        });
        pixels
            .save(place.path(format!("images/cat/{number}.png")))
            .unwrap();
    }
    place.run(&format!("{ADAPT} exact"), 0);
    place.run(&format!("{ADAPT} reduced --reduce-images 64"), 0);
    assert_ne!(losses(&place, "reduced"), losses(&place, "exact"));
    let (exact, reduced) = (place.json("exact/run.json"), place.json("reduced/run.json"));
    assert_eq!(exact["zero_shot"], reduced["zero_shot"]);
    assert_eq!(reduced["request"]["settings"]["reduce_images"], 64);
}

#[test]
fn reducing_to_less_than_the_input_or_for_nothing_is_refused() {
    let place = Workplace::new();
    place
        .run(&format!("{ADAPT} run --reduce-images 16"), 2)
        .says(&[
            "reduce-images",
            "at least the model's input size, 32",
            "hint:",
        ]);
    place
        .run(
            &format!("{ADAPT} run --reduce-images 64 --augmentation none"),
            2,
        )
        .says(&[
            "reduce-images",
            "augmentation none",
            "hint:",
            "--reduce-images",
        ]);
}
