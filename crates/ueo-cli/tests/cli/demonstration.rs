//! What the demonstration promises about unknown images, by the commands as a user types them.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use crate::support::Workplace;

/// One row of a run's table.
struct Row {
    confidence: f64,
    accepted: bool,
    verdict: String,
    correct: bool,
    known: bool,
}

fn rows(path: &Path) -> Vec<Row> {
    let mut table = csv::Reader::from_path(path).unwrap();
    let header = table.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|found| found == name).unwrap();
    let columns = [
        "confidence",
        "decision",
        "verdict",
        "predicted",
        "true_label",
        "true_decision",
    ]
    .map(column);
    let rows = table.records().map(|row| {
        let row = row.unwrap();
        let [confidence, decision, verdict, predicted, label, truth] = columns.map(|at| &row[at]);
        Row {
            confidence: confidence.parse().unwrap(),
            accepted: decision == "known",
            verdict: verdict.to_owned(),
            correct: predicted == label,
            known: truth == "known",
        }
    });
    rows.collect()
}

/// Harmonic mean of the known images that are accepted and named, and the unknown ones that are not.
fn h_score(rows: &[Row], accepted: impl Fn(&Row) -> bool) -> f64 {
    let share = |known: bool, good: &dyn Fn(&Row) -> bool| {
        let of: Vec<&Row> = rows.iter().filter(|row| row.known == known).collect();
        of.iter().filter(|row| good(row)).count() as f64 / of.len() as f64
    };
    let named = share(true, &|row| row.correct && accepted(row));
    let refused = share(false, &|row| !accepted(row));
    2.0 * named * refused / (named + refused)
}

#[test]
fn the_demonstration_cuts_almost_as_well_as_the_best_threshold() {
    let workplace = Workplace::new();
    workplace.run("demo --output demo", 0).says(&[
        "a second group found",
        "or        ueo discover demo --images demo-input/images.tar, for what the rejected images show",
    ]);
    let rows = rows(&workplace.path("demo/predictions.csv"));
    assert_eq!(rows.len(), 273);
    let chosen = h_score(&rows, |row| row.accepted);
    let best = rows
        .iter()
        .map(|cut| h_score(&rows, |row| row.confidence >= cut.confidence))
        .fold(0.0, f64::max);
    println!("H-score {chosen:.3}, of the best threshold {best:.3}");
    assert!(chosen >= 0.9 * best, "{chosen} of {best}");
    // Whoever looks at the images between decides better than without a look.
    for row in &rows {
        match row.verdict.as_str() {
            "accept" => assert!(row.accepted),
            "reject" => assert!(!row.accepted),
            verdict => assert_eq!(verdict, "review"),
        }
    }
    let page = fs::read_to_string(workplace.path("demo/report.html")).unwrap();
    assert!(page.contains("Found: a second group among 273 images"));
    assert!(page.contains("person should look at the"));
    let errors = &workplace.json("demo/run.json")["threshold"]["review"]["errors"];
    assert!(errors["known_rejected"].as_f64().unwrap() < 0.2, "{errors}");
    assert!(
        errors["unknown_accepted"].as_f64().unwrap() < 0.2,
        "{errors}"
    );
}

#[test]
fn where_all_images_are_known_almost_all_are_accepted() {
    let workplace = Workplace::new();
    let classes = str::from_utf8(ueo_demo_images::CLASSES).unwrap();
    let classes: HashSet<&str> = classes.lines().collect();
    let is_class = |folder: &str| classes.contains(folder.replace('_', " ").as_str());
    let mut images = 0;
    let mut archive = tar::Archive::new(ueo_demo_images::IMAGES);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let class = path.parent().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "png") || !is_class(class) {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        workplace.write(&format!("known/{}", path.display()), bytes);
        images += 1;
    }
    assert_eq!(images, 209);
    for (name, content) in ueo_iconclip_resnet::FILES {
        workplace.write(&format!("iconclip/{name}"), content);
    }
    workplace.write("demo-classes.txt", ueo_demo_images::CLASSES);
    workplace
        .run(
            "adapt --model iconclip --images known --classes demo-classes.txt --output run --epochs 15 \
             --context-learning-rate 5e-2 --affine-learning-rate 5e-2",
            0,
        )
        .says(&["no second group found"]);
    let rows = rows(&workplace.path("run/predictions.csv"));
    let rejected = rows.iter().filter(|row| !row.accepted).count();
    println!("{rejected} of {} known images rejected", rows.len());
    assert!(rejected as f64 <= 0.08 * rows.len() as f64, "{rejected}");
    assert!(fs::exists(workplace.path("run/report.html")).unwrap());
}
