//! Pages: what they show, what they must never do, and that the same run gives the same bytes.

use std::collections::BTreeMap;
use std::fs;

use crate::page::Page;
use crate::support::{ADAPT, PER_CLASS, Workplace};

/// One decimal and a narrow space, as the page writes rates.
fn percent(rate: &serde_json::Value) -> String {
    format!("{:.1}\u{202f}%", 100.0 * rate.as_f64().unwrap())
}

#[test]
fn a_run_ends_with_a_page_of_its_numbers() {
    let place = Workplace::new();
    place.adapt("").says(&["report    run/report.html"]);
    let page = Page::read(&place, "run/report.html");
    page.expect_self_contained();
    assert_eq!(
        page.ids(),
        [
            "summary",
            "training",
            "epochs",
            "confidence",
            "separation",
            "classes",
            "confusions",
            "calibration",
            "images",
            "provenance"
        ]
    );
    let run = place.json("run/run.json");
    for model in ["zero_shot", "adapted"] {
        for measure in [
            "per_class_accuracy",
            "auroc",
            "h_score",
            "fpr_at_95_tpr",
            "oscr",
        ] {
            // Spaces of all kinds are one space in the page's text.
            let expected = percent(&run[model][measure]).replace('\u{202f}', " ");
            page.shows(&[&expected]);
        }
    }
    page.shows(&[
        "18 images of known classes and 6 of others have labels.",
        "used for measuring only",
        "red_fox",
        "unknown: submarine",
        run["base"]["sha256"].as_str().unwrap(),
        "seed 2023",
        // The number that decides, and which image it is.
        "confidence 0.",
        "0.png",
    ]);
    // A change within its interval is no rise.
    assert!(
        page.text.contains("no more than noise") || page.text.contains("rose from"),
        "{}",
        page.text
    );
    // Wide tables scroll in a frame of their own, so that they never run out of the page.
    let class = |at: usize| page.elements[at].1.get("class").map(String::as_str);
    let tables = (0..page.elements.len()).filter(|&at| page.elements[at].0 == "table");
    let unframed: Vec<_> = tables
        .filter(|&at| class(at - 1).is_none_or(|class| !class.contains("wide")))
        .map(|at| &page.elements[at - 1])
        .collect();
    assert!(unframed.is_empty(), "{unframed:?}");
    // Loss and two entropies, three signs of the guard, two histograms, ROC, risk and coverage, reliability.
    assert_eq!(page.count("svg"), 11);
    assert!(page.count("img") >= 12);
}

#[test]
fn every_epoch_is_shown_with_what_the_guard_saw() {
    let place = Workplace::new();
    place.adapt("");
    let page = Page::read(&place, "run/report.html");
    let epochs = fs::read_to_string(place.path("run/epochs.jsonl")).unwrap();
    let mut records: Vec<serde_json::Value> = epochs
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 3);
    page.shows(&["Epoch by epoch", "The checkpoint and 2 epochs in numbers"]);
    for record in &records {
        let number = |sign: &str| record[sign].as_f64().unwrap();
        let kept = if record["epoch"] == 2 { " kept" } else { "" };
        let row = format!(
            "{}{kept} {:.1} {} {}",
            record["epoch"],
            number("effective_classes"),
            percent(&record["marginal_entropy"]),
            percent(&record["conditional_entropy"]),
        );
        page.shows(&[&row.replace('\u{202f}', " ")]);
    }
    page.shows(&["saw no reason to warn"]);

    // A run that warned, as its files say.
    let mut run = place.json("run/run.json");
    run["warnings"] = serde_json::json!([{
        "rule": "collapse", "first_epoch": 2, "epochs": 1, "concerns_result": true,
        "effective_classes_before": 3.5, "effective_classes": 1.25
    }]);
    place.write("run/run.json", run.to_string());
    records[2]["effective_classes"] = 1.25.into();
    let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
    place.write("run/epochs.jsonl", lines.join("\n") + "\n");
    place.run("report run", 0);
    let page = Page::read(&place, "run/report.html");
    page.shows(&[
        "The guard warns: adaptation seems to do harm: the predictions of epoch 2 use 1.2 effective classes, those of the \
         checkpoint 3.5. 1 epoch of 2 below the limit.",
        "What can be done: lower both learning rates",
    ]);
    assert!(!page.text.contains("no reason to warn"));
    page.expect_self_contained();

    // A run from before there were such records.
    run.as_object_mut().unwrap().remove("zero_shot_signs");
    place.write("run/run.json", run.to_string());
    fs::remove_file(place.path("run/epochs.jsonl")).unwrap();
    place.run("report run", 0);
    let page = Page::read(&place, "run/report.html");
    assert!(!page.ids().contains(&"epochs"));
}

#[test]
fn the_same_run_gives_the_same_page_by_itself_or_again() {
    let place = Workplace::new();
    place.adapt("--no-report");
    assert!(!place.path("run/report.html").exists());
    place.run("report run", 0);
    let first = fs::read(place.path("run/report.html")).unwrap();
    place.run("report run", 0);
    assert!(first == fs::read(place.path("run/report.html")).unwrap());
    place.run("report run --output elsewhere.html --threads 1", 0);
    assert!(first == fs::read(place.path("elsewhere.html")).unwrap());
    place
        .run("report run --output elsewhere.html", 2)
        .says(&["already exists", "--overwrite"]);
}

#[test]
fn names_and_paths_are_text_whatever_they_say() {
    let place = Workplace::new();
    // The tiny model has room for a few characters only.
    let hostile = "<b a=x>";
    let folder = "\"><script>alert(2)<&";
    place.write("classes.txt", format!("cat\ndog\n{hostile}\n</dl>\n"));
    fs::rename(
        place.path("images/submarine"),
        place.path(format!("images/{folder}")),
    )
    .unwrap();
    fs::rename(
        place.path("images/red_fox"),
        place.path(format!("images/{hostile}")),
    )
    .unwrap();
    place.adapt("");
    let page = Page::read(&place, "run/report.html");
    page.expect_self_contained();
    page.shows(&[hostile, "</dl>", folder]);
    let injected =
        |(_, attributes): &&(String, BTreeMap<String, String>)| attributes.contains_key("a");
    assert_eq!(page.elements.iter().find(injected), None);
}

#[test]
fn images_without_labels_have_a_page_that_does_not_judge() {
    let place = Workplace::new();
    fs::create_dir(place.path("flat")).unwrap();
    for number in 0..PER_CLASS {
        for kind in ["cat", "dog", "submarine"] {
            let from = place.path(format!("images/{kind}/{number}.png"));
            fs::copy(from, place.path(format!("flat/{kind}-{number}.png"))).unwrap();
        }
    }
    place.run(&ADAPT.replace("--images images", "--images flat"), 0);
    let page = Page::read(&place, "run/report.html");
    page.expect_self_contained();
    page.shows(&["no labels", "not whether it is right", "Effective classes"]);
    assert!(!page.ids().contains(&"separation") && !page.ids().contains(&"calibration"));
    assert!(!page.text.contains("AUROC"));
}

#[test]
fn images_that_have_gone_are_counted_and_marked() {
    let place = Workplace::new();
    place.adapt("");
    let before = Page::read(&place, "run/report.html").count("img");
    fs::rename(place.path("images"), place.path("moved")).unwrap();
    place
        .run("report run", 1)
        .says(&["warning", "could not be read again"]);
    let page = Page::read(&place, "run/report.html");
    assert_eq!(page.count("img"), 0);
    assert_eq!(page.text.matches("not found").count(), before);
    page.shows(&["could not be shown"]);
}

#[test]
fn skipped_inputs_are_listed() {
    let place = Workplace::new();
    place.write("images/cat/broken.png", "no image");
    place.run(ADAPT, 1);
    let page = Page::read(&place, "run/report.html");
    page.shows(&["1 input could not be used", "cat/broken.png"]);
}

#[test]
fn runs_are_compared_side_by_side() {
    let place = Workplace::new();
    place.adapt("");
    place.run(
        &ADAPT.replace("--output run", "--output other --trade-off 0.25"),
        0,
    );
    place
        .run("report run other", 0)
        .says(&["comparison: comparison.html"]);
    let page = Page::read(&place, "comparison.html");
    page.expect_self_contained();
    page.shows(&["2 runs compared", "run", "other", "0.25", "★"]);
    for run in ["run", "other"] {
        let auroc = percent(&place.json(&format!("{run}/run.json"))["adapted"]["auroc"]);
        page.shows(&[&auroc.replace('\u{202f}', " ")]);
    }
    assert!(!page.text.contains("not comparable"));
    let settings = page.text.rsplit_once("What was set differently").unwrap().1;
    let settings = settings.split_once("Curves").unwrap().0;
    assert!(
        settings.contains("trade off") && !settings.contains("batch size"),
        "{settings}"
    );

    fs::remove_file(place.path("images/cat/0.png")).unwrap();
    place.run(&ADAPT.replace("--output run", "--output fewer"), 0);
    place.run("report run fewer --output fewer.html", 0);
    Page::read(&place, "fewer.html").shows(&["different images", "not comparable"]);
}

#[test]
fn there_must_be_a_finished_run() {
    let place = Workplace::new();
    place
        .run("report images", 2)
        .says(&["no run directory", "hint:"]);
    place.run(&ADAPT.replace("0.05", "1e30").replace("0.02", "1e30"), 2);
    place
        .run("report run", 2)
        .says(&["not finished", "hint:", "--resume"]);
}

#[test]
fn a_run_that_lacks_a_file_is_told_what_to_do() {
    let place = Workplace::new();
    place.adapt("--no-report");
    for file in ["predictions.csv", "metrics.jsonl"] {
        let path = place.path("run").join(file);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        place.run("report run", 2).says(&[
            "error: cannot read",
            file,
            "hint: the run is not whole",
        ]);
        fs::write(path, content).unwrap();
    }
    place.run("report run", 0);
}
