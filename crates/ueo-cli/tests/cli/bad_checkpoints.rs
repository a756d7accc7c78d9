//! Checkpoints that cannot be used: each says what was expected, what was found and what to do.

use std::fs;

use crate::support::{ADAPT, Workplace, copy_tree, fixture};

/// Refused files of the fixtures, with what is said about each.
const REFUSED: [(&str, &[&str]); 7] = [
    ("truncated.pt", &["truncated.pt", "expected", "found"]),
    (
        "malicious.pt",
        &["asks Python for", "system", "nothing was executed"],
    ),
    (
        "malicious-plain-pickle.pt",
        &["asks Python for", "system", "nothing was executed"],
    ),
    (
        "not-a-clip.safetensors",
        &["is not a CLIP model", "expected", "found"],
    ),
    (
        "missing-tensor",
        &["1 missing tensor:", "vision_model.post_layernorm.bias"],
    ),
    (
        "wrong-shape",
        &[
            "1 wrongly shaped tensor",
            "mlp.fc1.weight: expected [16, 8], found [16, 7]",
        ],
    ),
    (
        "unexpected-tensor",
        &["1 unexpected tensor", "adapter.weight"],
    ),
];

#[test]
fn refused_checkpoints_say_why() {
    let place = Workplace::new();
    copy_tree(&fixture("refused"), &place.path("refused"));
    for (name, pieces) in REFUSED {
        let report = place.run(&format!("inspect --model refused/{name}"), 2);
        report.says(&["error:"]).says(pieces).says(&["hint:"]);
        assert_eq!(report.stdout, "", "{name}");
    }
}

#[test]
fn models_of_the_hub_are_recognized_without_their_prefix() {
    let place = Workplace::new();
    let known = ueo_hub::known_models()[0].repository;
    for name in [known, "somebody/some-clip"] {
        let hint =
            format!("hint: a model of the Hugging Face Hub is named `--model hf-hub:{name}`");
        place
            .run(&format!("inspect --model {name}"), 2)
            .says(&["error: no such file or directory", &hint]);
        let adapt = ADAPT.replace("--model model", &format!("--model {name}"));
        place
            .run(&adapt, 2)
            .says(&["error: no such file or directory", &hint]);
    }
    place
        .run("inspect --model images/model.pt", 2)
        .says(&["hint: check the spelling of the path"]);
}

#[test]
fn adapt_refuses_them_before_it_makes_a_directory() {
    let place = Workplace::new();
    copy_tree(&fixture("refused"), &place.path("refused"));
    let arguments = ADAPT.replace("--model model", "--model refused/missing-tensor");
    place.run(&arguments, 2).says(&["error:", "missing tensor"]);
    assert!(!place.path("run").exists());
}

#[test]
fn things_that_are_no_checkpoint() {
    let place = Workplace::new();
    place.write("empty.pt", b"");
    place.write("text.safetensors", b"hello");
    fs::create_dir(place.path("folder")).unwrap();
    for name in [
        "missing",
        "empty.pt",
        "text.safetensors",
        "folder",
        "images",
        "classes.txt",
    ] {
        place
            .run(&format!("inspect --model {name}"), 2)
            .says(&["error:", name, "hint:"]);
    }
}

#[test]
fn truncated_weights() {
    let place = Workplace::new();
    let weights = place.path("model/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    place.run("inspect --model model", 2).says(&[
        "error:",
        "model.safetensors",
        "expected",
        "found",
        "hint:",
    ]);
}

#[test]
fn a_run_finds_its_checkpoint_or_says_where_it_was() {
    let place = Workplace::new();
    place.adapt("");
    let predict = "predict --model run --images images --output p.csv --overwrite";
    fs::rename(place.path("model"), place.path("moved")).unwrap();
    place
        .run(predict, 2)
        .says(&["error: the base checkpoint", "model", "hint:", "--base"]);
    place.run(&format!("{predict} --base moved"), 0);

    let weights = place.path("moved/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    place.run(&format!("{predict} --base moved"), 2).says(&[
        "is not the one that was adapted: expected SHA-256",
        "found",
        "hint:",
    ]);
}

#[test]
fn damaged_run_directories() {
    let place = Workplace::new();
    place.adapt("");
    let inspect = "inspect --model run";
    let record = fs::read_to_string(place.path("run/run.json")).unwrap();
    place.write(
        "run/run.json",
        record.replace("\"format_version\": 1", "\"format_version\": 99"),
    );
    place
        .run(inspect, 2)
        .says(&["error:", "run.json", "format version 1, found 99", "hint:"]);
    place.write("run/run.json", &record[..record.len() / 2]);
    place.run(inspect, 2).says(&["error:", "run.json", "hint:"]);
    place.write("run/run.json", &record);
    let adapted = fs::read(place.path("run/adapted.safetensors")).unwrap();
    place.write("run/adapted.safetensors", &adapted[..adapted.len() - 8]);
    place
        .run(inspect, 2)
        .says(&["error:", "adapted.safetensors", "hint:"]);
}

#[test]
fn a_run_is_no_checkpoint_to_adapt() {
    let place = Workplace::new();
    place.adapt("");
    let arguments = ADAPT
        .replace("--model model", "--model run")
        .replace("--output run", "--output again");
    place.run(&arguments, 2).says(&[
        "error:",
        "is a run directory, expected a checkpoint",
        "hint:",
    ]);
}
