//! What a cell measures: who is adapted to which images, and tested on which.

use std::fs;

use serde_json::Value;

use super::{BENCHMARK, cell, cells, place};
use crate::support::{Report, copy_tree};

#[test]
fn a_cell_is_an_adaptation_to_the_classes_that_are_present_tested_on_all_images() {
    let place = place();
    let report = place.run(BENCHMARK, 0);
    report.says(&[
        "warning: dark: expected 99 images",
        "found 16",
        "these are fewer",
        "12 cells, 0 done, 12 to do",
        "12 cells done",
    ]);
    // The title of a table goes where the table goes.
    let title = "tiny, model, published protocol; domains: means, settings `suite`.";
    assert!(report.stdout.contains(title), "{}", report.stdout);
    assert!(!report.stderr.contains(title), "{}", report.stderr);
    let cells = cells(&place, "out");
    assert_eq!(cells.len(), 12, "{:?}", cells.keys());

    let same = |cell: &Value, evaluation: &str| {
        let expected = place.json(evaluation);
        for (ours, theirs) in [
            ("per_class_accuracy", "per_class_accuracy"),
            ("overall_accuracy", "overall_accuracy"),
            ("auroc", "auroc"),
            ("fpr_at_95_tpr", "fpr_at_95_tpr"),
            ("harmonic_mean", "harmonic_mean_accuracy_auroc"),
        ] {
            let number = |value: &Value| value.as_f64().unwrap();
            let (found, expected) = (number(&cell["results"][ours]), number(&expected[theirs]));
            assert!(
                (found - expected).abs() < 1e-9,
                "{ours}: {found} and {expected}"
            );
        }
    };
    // What the publication measures, which benchmarks do whatever decisions are made by.
    let classes = "--score msp --classes classes.txt";
    place.run(
        &format!("evaluate --model model {classes} --images sets/light --output zero-shot.json"),
        0,
    );
    same(
        cell(&cells, "suite/light/closed/zero-shot.json"),
        "zero-shot.json",
    );

    // The last folder is the only one without a name, so the images before it keep their numbers and random views.
    copy_tree(&place.path("sets/light"), &place.path("present"));
    fs::remove_dir_all(place.path("present/zoo")).unwrap();
    place.run(
        &format!(
            "adapt --model model {classes} --images present --output run --seed 2 --epochs 2 --batch-size 10 \
             --context-learning-rate 0.05 --affine-learning-rate 0.02"
        ),
        0,
    );
    place.run(
        "evaluate --model run --images sets/light --output ueo.json",
        0,
    );
    let adapted = cell(&cells, "suite/light/closed/ueo-2.json");
    same(adapted, "ueo.json");
    assert_eq!(adapted["images"]["trained_on"], 18);
    assert!(adapted["timing"]["engine"]["products"].is_string());
    let zero_shot = cell(&cells, "suite/light/closed/zero-shot.json");
    assert_ne!(
        adapted["images"]["confidences"],
        zero_shot["images"]["confidences"]
    );
    let open_partial = cell(&cells, "suite/light/open-partial/ueo-2.json");
    assert_eq!(
        open_partial["request"]["present"],
        serde_json::json!([0, 1, 3])
    );
    assert_eq!(open_partial["images"]["trained_on"], 18);
    assert_eq!(
        open_partial["images"]["labels"].as_array().unwrap().len(),
        24
    );
}

#[test]
fn held_out_images_are_tested_once_by_a_model_that_has_not_seen_them() {
    let place = place();
    let more = "--domains light --seeds 1 --shifts closed,open-partial";
    place.run(&format!("{BENCHMARK} {more} --protocol held-out"), 0);
    place.run(&format!("{BENCHMARK} {more}"), 0);
    let cells = cells(&place, "out");
    let images = |path: &str| cell(&cells, path)["images"].clone();
    let flags =
        |images: &Value, name: &str| -> Vec<Value> { images[name].as_array().unwrap().clone() };
    for shift in ["closed", "open-partial"] {
        let held_out = images(&format!("held-out/suite/light/{shift}/ueo-1.json"));
        let published = images(&format!("suite/light/{shift}/ueo-1.json"));
        assert_eq!(
            held_out["labels"], published["labels"],
            "the same images in the same order"
        );
        assert_eq!(
            held_out["trained_on"], published["trained_on"],
            "both halves together"
        );
        assert_ne!(held_out["confidences"], published["confidences"]);
        assert!(
            flags(&held_out, "adapted_to")
                .iter()
                .all(|adapted_to| *adapted_to == false)
        );
        let second = flags(&held_out, "halves")
            .iter()
            .filter(|half| **half == 1)
            .count();
        assert_eq!(second, 12);
        let present = if shift == "closed" {
            [0, 1, 2]
        } else {
            [0, 1, 3]
        };
        for (label, adapted_to) in flags(&published, "labels")
            .iter()
            .zip(flags(&published, "adapted_to"))
        {
            assert_eq!(adapted_to, present.map(Value::from).contains(label));
        }
        // A method that does not train says the same under both protocols.
        let [a, b] = ["held-out/suite", "suite"]
            .map(|folder| images(&format!("{folder}/light/{shift}/zero-shot.json")));
        assert_eq!(a["confidences"], b["confidences"]);
    }
    let results = |path: &str| cell(&cells, path)["results"].clone();
    // Under closed shift every known image was adapted to and no unknown one was: no pair is alike.
    assert_eq!(
        results("suite/light/closed/ueo-1.json")["auroc_matched"],
        Value::Null
    );
    assert!(results("suite/light/open-partial/ueo-1.json")["auroc_matched"].is_f64());
    assert!(results("held-out/suite/light/closed/ueo-1.json")["auroc_matched"].is_f64());
}

#[test]
fn a_template_is_a_variant_of_all_methods_without_their_own() {
    let place = place();
    let run = format!("{BENCHMARK} --domains light --shifts closed --seeds 1");
    let with_template = |more: &str| {
        let mut command = place.ueo(&format!("{run} {more}"));
        let output = command.args(["--template", "icon {}"]).output();
        Report::of(output.unwrap())
    };
    // Another question needs a name of its own.
    with_template("")
        .expect_code(2, "--template")
        .says(&["--variant"]);
    place.run(&run, 0);
    with_template("--variant icon").expect_code(0, "--template");
    let cells = cells(&place, "out");
    assert_eq!(cells.len(), 4);
    for method in ["zero-shot", "ueo-1"] {
        let of = |variant: &str| cell(&cells, &format!("{variant}/light/closed/{method}.json"));
        let templates = &of("icon")["request"]["settings"]["template"];
        assert_eq!(*templates, serde_json::json!(["icon {}"]), "{method}");
        let said = |variant: &str| of(variant)["images"]["confidences"].clone();
        assert_ne!(said("icon"), said("suite"), "{method}");
    }
    // The same as a setting.
    place
        .run(
            &format!("{run} --list --variant icon --set template=icon"),
            2,
        )
        .says(&["error:", "`icon`", "expected one {}"]);
    let output = place
        .ueo(&format!("{run} --list --variant icon"))
        .args(["--set", "template=icon {}"])
        .output()
        .unwrap();
    let report = Report::of(output).expect_code(0, "--set template");
    report.says(&["2 cells, 0 to do"]);
}

#[test]
fn training_that_fails_is_a_result() {
    let place = place();
    let arguments = format!(
        "{BENCHMARK} --domains light --shifts closed --methods ueo --seeds 1 --variant wild \
         --set context-learning-rate=1e30 --set affine-learning-rate=1e30"
    );
    place.run(&arguments, 1).says(&[
        "training of 1 cell failed",
        "light closed ueo 1",
        "expected a finite",
    ]);
    let cells = cells(&place, "out");
    let cell = cell(&cells, "wild/light/closed/ueo-1.json");
    assert_eq!(cell["results"], Value::Null);
    assert!(cell["failure"].as_str().unwrap().contains("finite"));
    place.run(&arguments, 0).says(&["1 cell, 1 done, 0 to do"]);
}
