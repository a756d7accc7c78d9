//! Scores and thresholds from the command line to the files.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{IMAGES, PER_CLASS, Workplace};

const SCORES: [&str; 6] = [
    "msp",
    "maximum-logit",
    "energy",
    "entropy",
    "margin",
    "negative-labels",
];

/// Confidences by image, as `predict` writes them.
fn predict(place: &Workplace, more: &str) -> BTreeMap<String, (f64, bool)> {
    place.run(
        &format!("predict --images images --output p.csv --overwrite {more}"),
        0,
    );
    let table = fs::read_to_string(place.path("p.csv")).unwrap();
    let lines = table.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split(',').collect();
        let known = columns[3] == "known";
        (columns[0].to_owned(), (columns[2].parse().unwrap(), known))
    });
    lines.collect()
}

#[test]
fn every_score_goes_all_the_way() {
    for score in SCORES {
        let place = Workplace::new();
        place.adapt(&format!("--score {score}"));
        let record = place.json("run/run.json");
        assert_eq!(record["request"]["score"], score);
        let temperature = if score == "msp" { 1.0 } else { 0.01 };
        assert_eq!(record["request"]["score_temperature"], temperature);
        let page = fs::read_to_string(place.path("run/report.html")).unwrap();
        assert!(page.contains(score), "{score} stands among the settings");

        // The run's score and threshold are used unless others are asked for.
        let found = predict(&place, "--model run");
        let threshold = record["threshold"]["value"].as_f64().unwrap();
        assert_eq!(found.len(), IMAGES);
        for (image, (confidence, known)) in &found {
            assert_eq!(*known, *confidence >= threshold, "{score}: {image}");
        }
        let range = match score {
            "entropy" => -(3.0_f64.ln())..=0.0,
            "msp" => 1.0 / 3.0..=1.0,
            "margin" | "negative-labels" => 0.0..=1.0,
            _ => -1.0..=1.0,
        };
        let inside = |(confidence, _): &(f64, bool)| range.contains(confidence);
        assert!(found.values().all(inside), "{score}: {found:?}");
        place.run("evaluate --model run --images images --output e.json", 0);
        assert_eq!(place.json("e.json"), record["adapted"], "{score}");
    }
}

#[test]
fn another_score_than_the_runs_has_its_own_temperature_and_threshold() {
    let place = Workplace::new();
    place.adapt("--score msp --score-temperature 0.5 --threshold gaussian-mixture");
    let of_run = predict(&place, "--model run");
    assert_eq!(predict(&place, "--model run --score msp"), of_run);
    let entropy = predict(&place, "--model run --score entropy");
    assert_eq!(
        entropy,
        predict(
            &place,
            "--model run --score entropy --score-temperature 0.01"
        )
    );
    let rejected =
        |found: &BTreeMap<String, (f64, bool)>| found.values().filter(|(_, known)| !known).count();
    assert!((1..IMAGES).contains(&rejected(&entropy)), "{entropy:?}");
}

#[test]
fn labelled_images_set_the_threshold_that_is_asked_for() {
    let place = Workplace::new();
    place.adapt("--threshold target-known-acceptance=0.5 --threshold-images images");
    let record = place.json("run/run.json");
    let threshold = &record["threshold"];
    assert_eq!(threshold["method"], "target-known-acceptance=0.5");
    let value = threshold["value"].as_f64().unwrap();
    let known = predict(&place, "--model run")
        .into_iter()
        .filter(|(image, _)| !image.starts_with("submarine/"))
        .filter(|(_, (confidence, _))| *confidence >= value)
        .count();
    // Half of the known images, and those that are equal to the last of them.
    assert!(known >= 3 * PER_CLASS / 2, "{known}");
    assert!(known < 3 * PER_CLASS, "{known}");
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("was measured on the labelled images in"));

    // The same images say nothing about a threshold that does without.
    let place = Workplace::new();
    place.adapt("--threshold otsu --threshold-images images");
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(page.contains("was chosen without labels by otsu"));
}

#[test]
fn a_threshold_from_labelled_images_needs_some() {
    let place = Workplace::new();
    let adapt = "adapt --model model --images images --classes classes.txt --output run";
    place
        .run(
            &format!("{adapt} --threshold target-known-acceptance=0.9"),
            2,
        )
        .says(&[
            "target-known-acceptance=0.9 needs labelled images of known classes beside the images at hand",
            "hint:",
            "--threshold-images (those of --images are not used)",
        ]);
    place.write("list.txt", "images/cat/0.png\n");
    place
        .run(
            &format!("{adapt} --threshold target-known-acceptance=0.9 --threshold-images list.txt"),
            2,
        )
        .says(&["list.txt gives no labels", "hint:"]);
    assert!(!place.path("run/state.safetensors").exists());
}

#[test]
fn negative_labels_need_cosines() {
    let place = Workplace::new();
    place
        .run(
            "adapt --model model --images images --classes classes.txt --output run \
             --method transductive-gaussians --score negative-labels",
            2,
        )
        .says(&["negative-labels", "hint:", "another --score"]);
}

#[test]
fn auto_says_whether_there_is_a_second_group() {
    let place = Workplace::new();
    place.adapt("--threshold auto --score maximum-logit");
    let record = place.json("run/run.json");
    let threshold = &record["threshold"];
    assert_eq!(threshold["method"], "auto");
    assert!(!threshold["finding"].is_null(), "{threshold}");
    let cuts = &threshold["review"];
    let (below, from) = (&cuts["reject_below"], &cuts["accept_from"]);
    let value = threshold["value"].as_f64().unwrap();
    assert!(
        below.as_f64().unwrap() <= value && value <= from.as_f64().unwrap(),
        "{threshold}"
    );
    // The stored threshold decides about other images, the rule about those at hand.
    let stored = predict(&place, "--model run");
    let known = stored
        .values()
        .filter(|(confidence, _)| *confidence >= value);
    assert_eq!(
        known.count(),
        stored.values().filter(|(_, known)| *known).count()
    );
    place.run(
        "predict --model run --images images --threshold auto --output q.csv",
        0,
    );
}
