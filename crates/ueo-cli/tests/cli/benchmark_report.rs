//! `ueo benchmark --report`: that the page shows the numbers of the tables, and nothing that it must not.

use std::collections::BTreeMap;
use std::fs;

use crate::benchmark::{BENCHMARK, SUITE, cell_path, place};
use crate::page::Page;
use crate::support::Workplace;

/// Makes the page of what has been run.
fn report(place: &Workplace) -> Page {
    place
        .run(
            "benchmark --suite tiny.toml --tables-only --output out --report",
            0,
        )
        .says(&["report: out/report.html"]);
    let page = Page::read(place, "out/report.html");
    page.expect_self_contained();
    page
}

/// The lines of `results.csv` about the mean of the main settings over all domains and shifts, by method and metric.
fn means(place: &Workplace) -> BTreeMap<(String, String), BTreeMap<String, f64>> {
    let text = fs::read_to_string(place.path("out/tables/results.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let mut means = BTreeMap::new();
    for line in lines {
        let field: BTreeMap<&str, &str> =
            header.iter().copied().zip(line.iter().copied()).collect();
        if field["variant"] == "suite" && field["domain"] == "mean" && field["shift"] == "mean" {
            let numbers = field
                .iter()
                .filter_map(|(name, text)| Some(((*name).to_owned(), text.parse().ok()?)));
            let key = (field["method"].to_owned(), field["metric"].to_owned());
            means.insert(key, numbers.collect());
        }
    }
    means
}

/// A difference in percentage points, as the tables write it.
fn points(value: f64) -> String {
    let text = format!("{:.1}", 100.0 * value.abs());
    match value {
        _ if text == "0.0" => text,
        value if value < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// How much UEO is above zero-shot at a metric, with its interval.
fn gain(means: &BTreeMap<(String, String), BTreeMap<String, f64>>, metric: &str) -> [f64; 3] {
    let of_ueo = &means[&("ueo".to_owned(), metric.to_owned())];
    [
        "minus_zero_shot",
        "minus_zero_shot_low",
        "minus_zero_shot_high",
    ]
    .map(|name| of_ueo[name])
}

#[test]
fn the_page_shows_the_numbers_of_the_tables() {
    let place = place();
    let run = format!("{BENCHMARK} --methods zero-shot,ueo,info-max,ueo-oracle --report");
    place.run(&run, 0).says(&["report: out/report.html"]);
    place.run(
        &format!("{BENCHMARK} --methods ueo --domains light --variant sharp --set weight-temperature=0.01"),
        0,
    );
    let page = report(&place);
    assert_eq!(
        page.ids(),
        [
            "summary",
            "trade-off",
            "differences",
            "shifts",
            "domains",
            "seeds",
            "settings",
            "time",
            "origin"
        ]
    );

    // Every row of the main settings' tables; the one by domain stands on its side.
    let tables = fs::read_to_string(place.path("out/tables/results.md")).unwrap();
    let main = tables.split("\n# tiny, ").next().unwrap();
    let mut rows = 0;
    for table in main.split("\n## ").skip(1) {
        for line in table
            .lines()
            .filter(|line| line.starts_with("| ") && !line.contains("---"))
        {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if table.contains("by domain") {
                page.shows(&cells);
            } else {
                page.shows(&[&cells.join(" ")]);
            }
            rows += 1;
        }
    }
    assert!(rows > 15, "{main}");

    let means = means(&place);
    let mut verdict = Vec::new();
    for (metric, title) in [("per_class_accuracy", "accuracy"), ("auroc", "AUROC")] {
        let [difference, low, high] = gain(&means, metric).map(points);
        verdict.push(format!("{title} {difference} [{low}, {high}] points"));

        let ranked = ["zero-shot", "ueo", "info-max"];
        let mean = |method: &str| means[&(method.to_owned(), metric.to_owned())]["mean"];
        let best = ranked.iter().map(|method| mean(method));
        let best = best.fold(f64::NEG_INFINITY, f64::max);
        page.shows(&[&format!("Best {title} {:.1} %", 100.0 * best)]);
    }
    page.shows(&[
        &verdict.join(", "),
        "Stripes. 4 methods, 2 domains, 2 category shifts, 3 of 4 classes listed",
        "sees labels is an upper bound",
        "sharp: weight-temperature 0.01",
        "suite, sharp",
    ]);
    let cell =
        fs::read_to_string(place.path(cell_path(&place, "suite/light/closed/ueo-1.json"))).unwrap();
    let cell: serde_json::Value = serde_json::from_str(&cell).unwrap();
    page.shows(&[cell["request"]["model_sha256"].as_str().unwrap()]);

    // One plot; a dot for each method beside zero-shot and for each seed of the three that train, at two metrics.
    assert_eq!(page.count("svg"), 1);
    let dots = page.elements.iter().filter(|(name, attributes)| {
        name == "i" && attributes.get("class").is_some_and(|class| class == "dot")
    });
    assert_eq!(dots.count(), 2 * 3 + 2 * 2 * 3);

    let first = fs::read(place.path("out/report.html")).unwrap();
    report(&place);
    assert!(first == fs::read(place.path("out/report.html")).unwrap());
}

#[test]
fn the_summary_follows_the_intervals() {
    let place = place();
    place.run(BENCHMARK, 0);
    // The same cells with other answers: UEO names every known image, zero-shot none of them.
    for domain in ["light", "dark"] {
        for shift in ["closed", "open-partial"] {
            for name in ["ueo-1", "ueo-2", "zero-shot"] {
                let path = cell_path(&place, &format!("suite/{domain}/{shift}/{name}.json"));
                let mut cell = place.json(&path);
                let labels: Vec<u64> = cell["images"]["labels"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|label| label.as_u64().unwrap())
                    .collect();
                let answer = |label: &u64| match name {
                    "zero-shot" => (label + 1) % 3,
                    _ => label % 3,
                };
                cell["images"]["predictions"] = labels.iter().map(answer).collect();
                let equal: Vec<f64> = labels.iter().map(|_| 0.5).collect();
                cell["images"]["confidences"] = equal.into();
                place.write(&path, cell.to_string());
            }
        }
    }
    let page = report(&place);
    page.shows(&[
        "UEO clearly beats zero-shot at accuracy only: accuracy +100.0 [+100.0, +100.0] points, AUROC 0.0 [0.0, 0.0] points.",
    ]);
}

#[test]
fn names_are_text_whatever_they_say() {
    let place = place();
    let hostile = "<b a=x>\\\"&";
    let group = "<i b=y>";
    let about = "</p><script>alert(1)</script>";
    let suite = SUITE
        .replace("about = \"Stripes\"", &format!("about = \"{about}\""))
        .replace("name = \"light\"", &format!("name = \"{hostile}\""))
        .replace(
            "folders = [\"light\"]",
            &format!("folders = [\"light\"]\ngroup = \"{group}\""),
        );
    place.write("tiny.toml", suite);
    place.run(&format!("{BENCHMARK} --seeds 1,2 --shifts closed"), 0);
    let page = report(&place);
    page.shows(&[about, "<b a=x>\"&", group]);
    assert!(
        !page
            .elements
            .iter()
            .any(|(_, attributes)| attributes.contains_key("a") || attributes.contains_key("b"))
    );
}

#[test]
fn a_page_says_what_there_is_nothing_about() {
    let place = place();
    place.run(
        &format!("{BENCHMARK} --methods zero-shot --shifts all-known"),
        0,
    );
    let page = report(&place);
    page.shows(&[
        "no measurements under a category shift",
        "No method that trains was run.",
    ]);
    assert!(!page.ids().contains(&"differences") && !page.ids().contains(&"seeds"));

    place.run(
        &format!("{BENCHMARK} --methods ueo --domains light --shifts closed --seeds 1"),
        0,
    );
    let path = cell_path(&place, "suite/light/closed/ueo-1.json");
    let mut cell = place.json(&path);
    cell["results"] = serde_json::Value::Null;
    cell["failure"] = "the loss is NaN".into();
    for list in [
        "labels",
        "predictions",
        "confidences",
        "scaled_confidences",
        "maximum_cosines",
        "adapted_to",
    ] {
        cell["images"][list] = serde_json::json!([]);
    }
    place.write(&path, cell.to_string());
    let page = report(&place);
    page.shows(&[
        "The training of 1 cell ended in infinities",
        "3, 1 of them failed",
    ]);

    place
        .run(
            "benchmark --suite tiny.toml --model model --output out --list --report",
            2,
        )
        .says(&["--report"]);
}
