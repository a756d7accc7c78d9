//! What a run says about its length, the number of epochs that it chooses, and runs that train the last blocks only.

use std::fs;

use serde_json::Value;

use crate::support::{ADAPT, Workplace};

fn record(place: &Workplace) -> Value {
    serde_json::from_slice(&fs::read(place.path("run/run.json")).unwrap()).unwrap()
}

#[test]
fn epochs_are_chosen_said_and_recorded() {
    let place = Workplace::new();
    let adapt = ADAPT.replace("--epochs 2 ", "");
    assert_ne!(adapt, ADAPT);
    place
        .run(&format!("{adapt} --verbose"), 0)
        .says(&["adapting will take about", "(50 epochs)"]);
    let record = record(&place);
    assert_eq!(record["request"]["settings"]["epochs"], "auto");
    assert_eq!(record["epochs"], 50);
    let shown = place.run("inspect --model run", 0);
    assert!(shown.stdout.contains("50 epochs"), "{}", shown.stdout);
    // The same command goes on with what it chose; a number is another command.
    place.run(&format!("{adapt} --resume"), 0);
    place.run("adapt --resume --output run --epochs 50", 0);
    place
        .run(&format!("{adapt} --resume --epochs 50"), 2)
        .says(&["begun with another epochs: expected auto, found 50"]);
    place
        .run("adapt --resume --output run --epochs 52", 0)
        .says(&["extending the run from 50 to 52 epochs"]);
    let longer = self::record(&place);
    assert_eq!(longer["epochs"], 52);
    assert_eq!(longer["request"]["settings"]["epochs"], 52);
    assert_eq!(longer["request"]["settings"]["restart_after"][0], 50);
}

#[test]
fn a_short_run_says_nothing_about_its_length() {
    let place = Workplace::new();
    let report = place.run(&format!("{ADAPT} --verbose"), 0);
    assert!(!report.stderr.contains("will take"), "{}", report.stderr);
}

#[test]
fn the_last_blocks_are_trained_from_kept_inputs_to_the_same_bytes() {
    let place = Workplace::new();
    let adapt = format!("{ADAPT} --overwrite --train-blocks last-1 --views 2");
    let adapt = adapt.replace("--epochs 2", "--epochs 12");
    place
        .run(&format!("{adapt} --verbose"), 0)
        .says(&["of what is computed once are kept"]);
    let adapted = || fs::read(place.path("run/adapted.safetensors")).unwrap();
    let in_memory = adapted();
    let files = || fs::read_dir(place.path("run")).unwrap().count();
    let usual = files();
    place.run(&format!("{adapt} --image-cache 0"), 0);
    assert!(adapted() == in_memory);
    assert_eq!(files(), usual, "nothing is left of the file");
    place
        .run(&adapt.replace("last-1", "last-99"), 2)
        .says(&["train-blocks: expected at most last-", "found last-99"]);
    place
        .run(&format!("{adapt} --train context"), 2)
        .says(&["train-blocks"]);
}
