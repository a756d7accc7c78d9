//! Models whose towers are not CLIP's own, from the command line to the files.

use std::fs;

use crate::support::{Workplace, copy_tree, fixture};

/// With a model of `tests/fixtures/towers` in place of the CLIP.
fn workplace(name: &str) -> Workplace {
    let place = Workplace::new();
    fs::remove_dir_all(place.path("model")).unwrap();
    copy_tree(&fixture(&format!("../towers/{name}")), &place.path("model"));
    place
}

#[test]
fn a_clipa_adapts_predicts_and_is_inspected() {
    let place = workplace("clipa");
    let said = place.run("inspect --model model", 0).stdout;
    for fact in [
        "the average of its patches",
        "16 tokens with padding",
        "whole image to 32 x 32",
    ] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    place.adapt("");
    let record = place.json("run/run.json");
    let config = &record["base"]["config"];
    assert_eq!(config["vision"]["architecture"], "modular-vit");
    assert_eq!(config["text"]["architecture"]["projection"], "linear");
    place.run("predict --model run --images images --output p.csv", 0);
    assert!(
        fs::read_to_string(place.path("p.csv"))
            .unwrap()
            .lines()
            .count()
            > 1
    );
    place
        .run("export run --to onnx --output exported.onnx", 2)
        .says(&["image tower", "cannot be exported yet", "hint:"]);
    for format in ["onnx-encoder", "open_clip", "hugging-face"] {
        place
            .run(&format!("export run --to {format} --output exported"), 2)
            .says(&["image tower", "cannot be exported yet", "hint:"]);
    }
    assert!(!place.path("exported").exists());
}

#[test]
fn other_vocabularies_are_exported_where_they_are_baked_in() {
    let place = workplace("worldwide-xlm");
    place.adapt("");
    place.run("export run --to onnx --output model.onnx", 0);
    assert!(place.path("model.onnx").is_file());
    for format in ["onnx-encoder", "open_clip", "hugging-face"] {
        place
            .run(&format!("export run --to {format} --output exported"), 2)
            .says(&["another vocabulary", "cannot be exported yet", "hint:"]);
    }
    assert!(!place.path("exported").exists());
}
