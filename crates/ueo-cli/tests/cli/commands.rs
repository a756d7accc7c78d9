//! What each command does when all is well.

use std::collections::BTreeMap;
use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{ADAPT, CLASSES, IMAGES, MODELS, PER_CLASS, RATES, Workplace, copy_model};

#[test]
fn every_layout_goes_all_the_way() {
    for (name, model, needs_vocabulary) in MODELS {
        let place = Workplace::new();
        let model = copy_model(name, model, needs_vocabulary, &place.path("checkpoint"));
        let model = model
            .strip_prefix(place.path(""))
            .unwrap()
            .display()
            .to_string();
        place.run(&format!("inspect --model {model}"), 0);
        place.run(
            &format!(
                "adapt --model {model} --images images --classes classes.txt --output run --epochs 1 \
                 --batch-size 12 --augmentation none --context-learning-rate 0.01 --affine-learning-rate 0.01"
            ),
            0,
        );
        place.run(
            "predict --model run --images images --output predictions.csv",
            0,
        );
        place.run(
            "evaluate --model run --images images --output evaluation.json",
            0,
        );
        let lines = fs::read_to_string(place.path("predictions.csv"))
            .unwrap()
            .lines()
            .count();
        assert_eq!(lines, 1 + IMAGES, "{name}");
        assert_eq!(
            place.json("evaluation.json")["n_known"],
            3 * PER_CLASS,
            "{name}"
        );
    }
}

#[test]
fn inspect_shows_what_decides_the_features() {
    let place = Workplace::new();
    let table = place.run("inspect --model model", 0).stdout;
    for expected in [
        "Hugging Face",
        "ViT, 32 x 32 pixels, patches of 8",
        "QuickGELU",
        "SHA-256",
    ] {
        assert!(table.contains(expected), "{expected} in\n{table}");
    }
    let json: Value =
        serde_json::from_str(&place.run("inspect --model model --json", 0).stdout).unwrap();
    assert_eq!(json["kind"], "hugging-face");
    assert_eq!(json["config"]["vision"]["image_size"], 32);
    assert!(json.get("run").is_none());

    place.adapt("");
    let json: Value =
        serde_json::from_str(&place.run("inspect --model run --json", 0).stdout).unwrap();
    assert_eq!(json["run"]["status"], "finished");
    let table = place.run("inspect --model run", 0).stdout;
    assert!(table.contains("3: cat, dog, red_fox"), "{table}");
}

#[test]
fn adapt_writes_a_run_directory() {
    let place = Workplace::new();
    let report = place.adapt("--verbose");
    report.says(&["adapted", "24 images in 6 steps", "threshold:"]);
    assert!(report.stdout.contains("zero-shot") && report.stdout.contains("AUROC"));

    let record = place.json("run/run.json");
    assert_eq!(record["request"]["settings"]["epochs"], 2);
    assert_eq!(record["request"]["classes"], Value::from(CLASSES.to_vec()));
    assert_eq!(record["base"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(record["images"]["used"], IMAGES);
    assert!(record["threshold"]["value"].is_f64());
    assert!(record["adapted"]["auroc"].is_f64());

    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let keys = [
        "step",
        "epoch",
        "learning_rate",
        "loss",
        "conditional_entropy",
        "marginal_entropy",
        "context_grad_norm",
        "affine_grad_norm",
        "images_per_sec",
    ];
    for (index, line) in metrics.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
        assert_eq!(line["step"], index + 1);
        assert_eq!(line["epoch"], index / 3 + 1);
    }
    assert_eq!(metrics.lines().count(), 6);
}

#[test]
fn a_run_remembers_its_precision() {
    let place = Workplace::new();
    place.adapt("");
    let f32_record = place.json("run/run.json");
    assert_eq!(f32_record["request"]["precision"], "f32");
    place.adapt("--precision bf16 --overwrite");
    let record = place.json("run/run.json");
    assert_eq!(record["request"]["precision"], "bf16");
    assert_ne!(
        record["threshold"]["value"], f32_record["threshold"]["value"],
        "the precision changes nothing"
    );

    // The run's precision is the default of what comes after it.
    let predict = |more: &str| {
        let command = "predict --model run --images images --output p.csv --overwrite";
        place.run(&format!("{command} {more}"), 0);
        fs::read_to_string(place.path("p.csv")).unwrap()
    };
    assert_eq!(predict(""), predict("--precision bf16"));
    assert_ne!(predict(""), predict("--precision f32"));

    // Runs from before there was a choice were in f32.
    let mut old = record;
    old["request"]
        .as_object_mut()
        .unwrap()
        .shift_remove("precision");
    place.write("run/run.json", old.to_string());
    assert_eq!(predict(""), predict("--precision f32"));
}

#[test]
fn predictions_are_a_table_of_paths_labels_and_confidences() {
    let place = Workplace::new();
    place.adapt("");
    place.run(
        "predict --model run --images images --output p.csv --top-k 3",
        0,
    );
    let table = fs::read_to_string(place.path("p.csv")).unwrap();
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some(
            "path,predicted,confidence,decision,verdict,probability,predicted_2,probability_2,predicted_3,\
             probability_3,true_label,true_decision"
        )
    );
    let first: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(first[0], "cat/0.png");
    assert!(CLASSES.contains(&first[1]), "{first:?}");
    let probabilities: f64 = [5, 7, 9]
        .iter()
        .map(|&column| first[column].parse::<f64>().unwrap())
        .sum();
    assert!((probabilities - 1.0).abs() < 1e-9, "{first:?}");

    place.run(
        "predict --model run --images images --output p.jsonl --threshold=-1",
        0,
    );
    let lines = fs::read_to_string(place.path("p.jsonl")).unwrap();
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        line.as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "path",
            "predicted",
            "confidence",
            "decision",
            "verdict",
            "probability",
            "true_label",
            "true_decision"
        ]
    );
    assert_eq!(line["confidence"], first[2].parse::<f64>().unwrap());
    assert_eq!(line["probability"], first[5].parse::<f64>().unwrap());
    assert_eq!(
        (&line["decision"], &line["verdict"]),
        (&"known".into(), &"accept".into()),
        "every cosine reaches a threshold of -1"
    );
    // What is true stands apart from what is decided.
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let folder = line["path"].as_str().unwrap().split('/').next().unwrap();
        let truth = if folder == "submarine" {
            "unknown"
        } else {
            "known"
        };
        assert_eq!(
            (&line["true_label"], &line["true_decision"]),
            (&folder.into(), &truth.into())
        );
    }
}

#[test]
fn the_stored_threshold_decides_what_is_known() {
    let place = Workplace::new();
    place.adapt("--threshold target-rejection-rate=0.25");
    let stored = place.json("run/run.json")["threshold"]["value"]
        .as_f64()
        .unwrap();
    place.run("predict --model run --images images --output p.jsonl", 0);
    let lines = fs::read_to_string(place.path("p.jsonl")).unwrap();
    let mut unknown = 0;
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let known = line["confidence"].as_f64().unwrap() >= stored;
        assert_eq!(line["decision"], if known { "known" } else { "unknown" });
        unknown += usize::from(!known);
    }
    assert_eq!(unknown, IMAGES / 4);
}

#[test]
fn learned_context_moves_to_other_classes() {
    let place = Workplace::new();
    place.adapt("");
    place.write("others.txt", "owl\nbee\n");
    place.run(
        "predict --model run --images images --classes others.txt --output p.csv",
        0,
    );
    let table = fs::read_to_string(place.path("p.csv")).unwrap();
    for line in table.lines().skip(1) {
        assert!(
            ["owl", "bee"].contains(&line.split(',').nth(1).unwrap()),
            "{line}"
        );
    }
}

#[test]
fn a_plain_checkpoint_predicts_zero_shot() {
    let place = Workplace::new();
    place
        .run("predict --model model --images images --output p.csv", 2)
        .says(&["error:", "knows no classes", "hint:", "--classes"]);
    place.run(
        "predict --model model --images images --classes classes.txt --output p.csv",
        0,
    );
}

#[test]
fn evaluation_has_the_promised_measurements() {
    let place = Workplace::new();
    place.adapt("");
    let report = place.run("evaluate --model run --images images --output e.json", 0);
    assert!(report.stdout.contains("AUROC"), "{}", report.stdout);
    let evaluation = place.json("e.json");
    for key in [
        "overall_accuracy",
        "per_class_accuracy",
        "auroc",
        "fpr_at_95_tpr",
        "aupr_known",
        "aupr_unknown",
        "harmonic_mean_accuracy_auroc",
        "h_score",
        "oscr",
        "expected_calibration_error",
    ] {
        let rate = evaluation[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {evaluation}"));
        assert!((0.0..=1.0).contains(&rate), "{key} is {rate}");
    }
    assert_eq!(evaluation["n_known"], 3 * PER_CLASS);
    assert_eq!(evaluation["n_unknown"], PER_CLASS);
    assert_eq!(
        evaluation["per_class"].as_object().unwrap().len(),
        CLASSES.len()
    );
    // The same numbers that adapt reported, because it measured the same images.
    assert_eq!(evaluation, place.json("run/run.json")["adapted"]);
}

#[test]
fn images_without_labels_cannot_be_evaluated() {
    let place = Workplace::new();
    place.write("list.txt", "images/cat/0.png\nimages/dog/0.png\n");
    place
        .run(
            "evaluate --model model --classes classes.txt --images list.txt",
            2,
        )
        .says(&[
            "error:",
            "list.txt gives no labels",
            "hint:",
            "one folder per class",
        ]);
}

#[test]
fn lists_carry_labels_and_a_root() {
    let place = Workplace::new();
    place.write(
        "list.txt",
        "cat/0.png cat\ndog/1.png dog\nsubmarine/2.png boat\n",
    );
    place.run(
        "evaluate --model model --classes classes.txt --images list.txt --image-root images --output e.json",
        0,
    );
    let evaluation = place.json("e.json");
    assert_eq!(
        (&evaluation["n_known"], &evaluation["n_unknown"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn features_are_of_unit_length_and_named() {
    let place = Workplace::new();
    place.write("texts.txt", "a photo of a cat.\na dog\n");
    place.run(
        "embed --model model --images images --texts texts.txt --output f.safetensors",
        0,
    );
    let bytes = fs::read(place.path("f.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    for (tensor, names, rows) in [
        ("image_features", "paths", IMAGES),
        ("text_features", "texts", 2),
    ] {
        let tensor = file.tensor(tensor).unwrap();
        assert_eq!(tensor.shape(), [rows, 24]);
        for row in tensor.data().chunks_exact(24 * 4) {
            let squares = row
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).powi(2));
            assert!((squares.sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let names: Vec<String> = serde_json::from_str(&metadata[names]).unwrap();
        assert_eq!(names.len(), rows);
    }
}

#[test]
fn labels_reach_the_weights_only_when_they_are_allowed_to() {
    let place = Workplace::new();
    let oracle = "--confidence-weights oracle";
    let adapt = ADAPT;
    place
        .run(&format!("{adapt} {oracle}"), 2)
        .says(&["--labels-for-oracle"]);
    place.run(&format!("{adapt} {oracle} --labels-for-oracle images"), 0);
    let with_labels = fs::read(place.path("run/adapted.safetensors")).unwrap();
    place.adapt("--overwrite --confidence-weights uniform");
    let without = fs::read(place.path("run/adapted.safetensors")).unwrap();
    assert_ne!(with_labels, without);
}

#[test]
fn methods_that_are_one_equation_agree() {
    let place = Workplace::new();
    let result = |options: &str| {
        place.adapt(&format!("--overwrite {options}"));
        fs::read(place.path("run/adapted.safetensors")).unwrap()
    };
    let ueo = result("");
    let info_max = result("--method info-max");
    let minimization = result("--method entropy-minimization");
    let oracle = result("--method ueo-oracle --labels-for-oracle images");
    assert!(info_max == result("--confidence-weights uniform"));
    assert!(minimization == result("--confidence-weights uniform --trade-off 0"));
    assert!(oracle == result("--confidence-weights oracle --labels-for-oracle images"));
    let all = [ueo, info_max, minimization, oracle];
    for (index, one) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|other| other != one), "{index}");
    }
    assert_eq!(
        place.json("run/run.json")["request"]["settings"]["method"],
        "ueo"
    );
}

#[test]
fn only_the_chosen_part_is_trained() {
    let place = Workplace::new();
    place.adapt("--method zero-shot");
    let before = tensors(&place, "run");
    for (part, context_moves, affine_moves) in [
        ("context", true, false),
        ("affine", false, true),
        ("both", true, true),
    ] {
        place.adapt(&format!("--overwrite --train {part}"));
        for (name, values) in tensors(&place, "run") {
            let moves = if name == "context" {
                context_moves
            } else {
                affine_moves
            };
            assert_eq!(values != before[&name], moves, "--train {part}: {name}");
        }
    }
}

#[test]
fn zero_shot_trains_nothing_and_predicts_as_the_checkpoint() {
    let place = Workplace::new();
    place.adapt("--method zero-shot");
    let record = place.json("run/run.json");
    assert_eq!(record["total_steps"], 0);
    assert_eq!(record["trained_parameters"], 0);
    assert_eq!(record["zero_shot"], record["adapted"]);
    let predict = "predict --images images --classes classes.txt --threshold 0.5";
    place.run(&format!("{predict} --model run --output run.csv"), 0);
    place.run(&format!("{predict} --model model --output model.csv"), 0);
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("run.csv"), read("model.csv"));
}

#[test]
fn every_method_adapts_and_its_run_predicts() {
    let place = Workplace::new();
    let adapt = ADAPT.replace("--model model", &format!("--model {}", shipped_model()));
    let mut predictions = BTreeMap::new();
    for method in ueo::method::Method::ALL {
        let labels = match method.name() {
            "ueo-oracle" => "--labels-for-oracle images",
            _ => "",
        };
        let adapt = match method.path_lengths() {
            Some(_) => adapt.replace(RATES, ""),
            None => adapt.clone(),
        };
        place.run(
            &format!("{adapt} --method {method} {labels} --overwrite"),
            0,
        );
        let record = place.json("run/run.json");
        assert_eq!(record["request"]["settings"]["method"], method.name());
        let steps = record["total_steps"].as_u64().unwrap();
        assert_eq!(steps > 0, method.trains(), "{method}");
        let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count() as u64, steps, "{method}");
        place.run(
            "predict --model run --images images --output p.csv --overwrite",
            0,
        );
        let table = fs::read_to_string(place.path("p.csv")).unwrap();
        assert_eq!(table.lines().count(), 1 + IMAGES, "{method}");
        if let Some(other) = predictions.insert(table, method) {
            panic!("{method} predicts exactly as {other}");
        }
    }
}

#[test]
fn the_ensemble_is_the_mean_of_its_sentences() {
    let place = Workplace::new();
    let model = shipped_model();
    let adapt = ADAPT.replace("--model model", &format!("--model {model}"));
    place.run(
        &format!("{adapt} --method zero-shot-ensemble --score msp"),
        0,
    );
    place.run("predict --model run --images images --output p.csv", 0);
    let templates = ueo::method::TEMPLATES;
    let sentences = CLASSES.iter().flat_map(|class| {
        let class = class.replace('_', " ");
        templates.map(|template| template.replace("{}", &class))
    });
    place.write("texts.txt", sentences.collect::<Vec<_>>().join("\n") + "\n");
    let embed = "embed --images images --texts texts.txt --output f.safetensors";
    place.run(&format!("{embed} --model {model}"), 0);
    let bytes = fs::read(place.path("f.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let rows = |name: &str| -> Vec<Vec<f64>> {
        let view = file.tensor(name).unwrap();
        let values = view.data().chunks_exact(4);
        let values: Vec<f64> = values
            .map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())))
            .collect();
        values
            .chunks_exact(view.shape()[1])
            .map(<[f64]>::to_vec)
            .collect()
    };
    let classes: Vec<Vec<f64>> = rows("text_features")
        .chunks_exact(templates.len())
        .map(|sentences| {
            let sum: Vec<f64> = (0..sentences[0].len())
                .map(|column| sentences.iter().map(|row| row[column]).sum())
                .collect();
            let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
            sum.iter().map(|x| x / norm).collect()
        })
        .collect();
    let mut table = csv::Reader::from_path(place.path("p.csv")).unwrap();
    for (record, image) in table.records().zip(rows("image_features")) {
        let record = record.unwrap();
        let weights: Vec<f64> = classes
            .iter()
            .map(|class| {
                class
                    .iter()
                    .zip(&image)
                    .map(|(a, b)| a * b)
                    .sum::<f64>()
                    .exp()
            })
            .collect();
        let best = (0..weights.len())
            .max_by(|&a, &b| weights[a].total_cmp(&weights[b]))
            .unwrap();
        assert_eq!(&record[1], CLASSES[best]);
        let confidence: f64 = record[2].parse().unwrap();
        let expected = weights[best] / weights.iter().sum::<f64>();
        assert!(
            (confidence - expected).abs() < 1e-5,
            "{confidence}, {expected}"
        );
    }
}

#[test]
fn choices_about_the_weights_change_the_result() {
    let place = Workplace::new();
    let mut results = BTreeMap::new();
    for options in [
        "",
        "--unconfident-weights complement",
        "--unconfident-weights exponential",
        "--refresh-weights",
    ] {
        place.adapt(&format!("--overwrite --weight-temperature 0.05 {options}"));
        let bytes = fs::read(place.path("run/adapted.safetensors")).unwrap();
        if let Some(other) = results.insert(bytes, options) {
            panic!("{options:?} trains exactly as {other:?}");
        }
    }
}

#[test]
fn settings_that_a_method_does_not_have_are_refused() {
    let place = Workplace::new();
    let adapt = ADAPT;
    for (options, setting) in [
        (
            "--method info-max --confidence-weights oracle --labels-for-oracle images",
            "confidence-weights",
        ),
        ("--method entropy-minimization --trade-off 0.5", "trade-off"),
        (
            "--method info-max --weight-temperature 0.01",
            "weight-temperature",
        ),
        ("--method dance --refresh-weights", "refresh-weights"),
        (
            "--method upl --unconfident-weights complement",
            "unconfident-weights",
        ),
    ] {
        place.run(&format!("{adapt} {options}"), 2).says(&[
            "error:",
            setting,
            "no choice with the method",
            "hint:",
            "another --method",
        ]);
    }
    place
        .run(&format!("{adapt} --method ueo-oracle"), 2)
        .says(&["--labels-for-oracle"]);
    place
        .run(&format!("{adapt} --method tent"), 2)
        .says(&["invalid value 'tent'", "info-max"]);
    assert!(!place.path("run").exists());
}

#[test]
fn a_run_from_before_there_were_methods_is_one_of_ueo() {
    let place = Workplace::new();
    place.adapt("");
    let mut record = place.json("run/run.json");
    let settings = record["request"]["settings"].as_object_mut().unwrap();
    for setting in ["method", "train", "unconfident_weights", "refresh_weights"] {
        assert!(settings.remove(setting).is_some(), "{setting}");
    }
    place.write("run/run.json", record.to_string());
    place.run("predict --model run --images images --output p.csv", 0);
}

/// The embedded model: the fixtures' text towers are too short for the ensemble's sentences.
fn shipped_model() -> String {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
    format!("{models}/iconclip-resnet")
}

/// The bytes of each tensor of a run's result.
fn tensors(place: &Workplace, run: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(place.path(run).join("adapted.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}

#[test]
fn quiet_says_nothing() {
    let place = Workplace::new();
    let report = place.adapt("--quiet");
    assert_eq!((report.stdout.as_str(), report.stderr.as_str()), ("", ""));
    let report = place.run(
        "predict --model run --images images --output p.csv --quiet",
        0,
    );
    assert_eq!((report.stdout.as_str(), report.stderr.as_str()), ("", ""));
}

#[test]
fn every_command_explains_itself() {
    let place = Workplace::new();
    for command in [
        "inspect", "adapt", "predict", "evaluate", "embed", "export", "demo",
    ] {
        let help = place.run(&format!("{command} --help"), 0).stdout;
        assert!(help.contains("Exit codes: 0"), "{command}:\n{help}");
        assert!(
            help.contains(&format!("ueo {command}")),
            "{command}:\n{help}"
        );
    }
}

#[test]
fn a_run_keeps_what_both_models_say_about_every_image() {
    let place = Workplace::new();
    place.adapt("");
    let text = fs::read_to_string(place.path("run/predictions.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|found| *found == name).unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    assert_eq!(rows.len(), IMAGES);
    let run = place.json("run/run.json");
    for (model, evaluation) in [("zero_shot_", "zero_shot"), ("", "adapted")] {
        let class = column(&format!("{model}predicted"));
        let known = rows
            .iter()
            .filter(|row| row[column("true_decision")] == "known");
        let correct = known
            .filter(|row| row[class] == row[column("true_label")])
            .count();
        let accuracy = correct as f64 / (3 * PER_CLASS) as f64;
        assert_eq!(run[evaluation]["overall_accuracy"], accuracy, "{model}");
    }
    let foreign = rows
        .iter()
        .filter(|row| row[column("true_label")] == "submarine");
    assert_eq!(foreign.count(), PER_CLASS);

    // The table of `ueo predict` has the same columns first, and the same values in them.
    place.run(
        "predict --model run --images images --output p.csv --top-k 3",
        0,
    );
    let predicted = fs::read_to_string(place.path("p.csv")).unwrap();
    let columns = predicted.lines().next().unwrap().split(',').count();
    for (ours, theirs) in text.lines().zip(predicted.lines()) {
        let ours: Vec<&str> = ours.split(',').take(columns).collect();
        assert_eq!(ours.join(","), theirs);
    }
}
