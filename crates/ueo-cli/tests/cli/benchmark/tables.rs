//! Tables and pages: that they show the numbers of the cells, and of which suites, models and variants.

use std::fs;

use serde_json::Value;

use super::{BENCHMARK, SUITE, cell, cells, files, place};
use crate::support::{Workplace, copy_tree};

#[test]
fn models_suites_and_protocols_share_a_directory_and_its_tables() {
    let place = place();
    let more = "--shifts closed,open-partial --seeds 1";
    place.run(&format!("{BENCHMARK} {more} --model-name RN50"), 0);
    let first = cells(&place, "out");
    // Another model: the same with an edited configuration would do, other weights are clearer.
    copy_tree(
        &crate::support::fixture("openclip-vit/model"),
        &place.path("other"),
    );
    let other = BENCHMARK.replace("--model model", "--model other");
    place.run(&format!("{other} {more} --model-name ViT-B/16"), 0);
    let held_out = place.run(
        &format!("{BENCHMARK} {more} --model-name RN50 --protocol held-out"),
        0,
    );
    assert!(held_out.stdout.contains("tiny, RN50, held-out protocol"));
    place.write(
        "second.toml",
        SUITE.replace("name = \"tiny\"", "name = \"second\""),
    );
    place.run(
        &format!(
            "{} {more} --model-name RN50",
            BENCHMARK.replace("tiny.toml", "second.toml")
        ),
        0,
    );
    let all = cells(&place, "out");
    assert_eq!(all.len(), 4 * first.len());
    assert!(first.iter().all(|(path, cell)| all[path] == *cell));

    let csv = fs::read_to_string(place.path("out/tables/results.csv")).unwrap();
    let setup = |line: &str| line.split(',').take(5).collect::<Vec<_>>().join(",");
    let mut setups: Vec<String> = csv.lines().skip(1).map(setup).collect();
    setups.dedup();
    assert_eq!(setups.len(), 4, "{setups:?}");
    place.write(
        "published.toml",
        "source = \"Somebody 2024\"\n[[rows]]\nsuite = \"tiny\"\nmodel = \"ViT-B/16\"\nshift = \"closed\"\nmethod = \"UEO\"\n\
         values = { light = [61.5, 70.0] }\n[[rows]]\nsuite = \"tiny\"\nmodel = \"RN101\"\nshift = \"closed\"\nmethod = \"UEO\"\n\
         values = { light = [61.5, 70.0] }\n",
    );
    place
        .run(
            "benchmark --tables-only --output out --suite tiny.toml --latex paper.tex --markdown paper.md --csv paper.csv --report \
             --beside published.toml --page page.md",
            0,
        )
        .says(&["published numbers of UEO (tiny, RN101, closed) stand in no table"]);
    let latex = fs::read_to_string(place.path("paper.tex")).unwrap();
    assert_eq!(
        latex.matches("\\begin{table*}").count(),
        2,
        "one for each protocol\n{latex}"
    );
    for expected in [
        "\\emph{closed, ViT-B/16}",
        "\\emph{open-partial, RN50}",
        "\\textit{61.5}",
        "\\toprule",
    ] {
        assert!(latex.contains(expected), "{expected}\n{latex}");
    }
    assert!(!latex.contains("tab:second"), "{latex}");
    let page = fs::read_to_string(place.path("page.md")).unwrap();
    assert!(
        page.contains("## Tiny, ViT-B/16, published protocol") && page.contains("### Harm"),
        "{page}"
    );
    let report = fs::read_to_string(place.path("out/report.html")).unwrap();
    let pages = files(&place.path("out"));
    let links = pages.keys().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("report-") && report.contains(&format!("href=\"{name}\""))
    });
    assert_eq!(links.count(), 4);
}

#[test]
fn variants_stand_beside_each_other_and_tables_equal_their_cells() {
    let place = place();
    place.run(BENCHMARK, 0);
    place.run(
        &format!("{BENCHMARK} --methods ueo --variant sharp --set weight-temperature=0.01 --domains light"),
        0,
    );
    place.run(
        &format!("{BENCHMARK} --settings published --shifts all-known --domains light"),
        0,
    );
    let cells = cells(&place, "out");
    assert_eq!(cells.len(), 12 + 4 + 3);
    let sharp = cell(&cells, "sharp/light/closed/ueo-1.json");
    assert_eq!(sharp["request"]["settings"]["weight_temperature"], 0.01);
    let published = cell(&cells, "published/light/all-known/ueo-1.json");
    assert_eq!(published["request"]["settings"]["epochs"], 1);
    assert_eq!(published["results"]["auroc"], Value::Null);
    assert_eq!(
        published["request"]["known"],
        serde_json::json!([0, 1, 2, 3])
    );

    place.run(
        "benchmark --suite tiny.toml --tables-only --output out --page page.md",
        0,
    );
    let accuracy = |method: &str, seed: &str| -> f64 {
        let of_cell = |domain: &str, shift: &str| {
            let path = format!("suite/{domain}/{shift}/{method}{seed}.json");
            cell(&cells, &path)["results"]["per_class_accuracy"]
                .as_f64()
                .unwrap()
        };
        let mut sum = 0.0;
        for domain in ["light", "dark"] {
            for shift in ["closed", "open-partial"] {
                sum += of_cell(domain, shift);
            }
        }
        sum / 4.0
    };
    let (one, two) = (accuracy("ueo", "-1"), accuracy("ueo", "-2"));
    let (mean, zero_shot) = ((one + two) / 2.0, accuracy("zero-shot", ""));
    let deviation = (one - two).abs() / 2.0_f64.sqrt();
    let csv = fs::read_to_string(place.path("out/tables/results.csv")).unwrap();
    let line = ",f32,published,suite,ueo,domains,mean,mean,per_class_accuracy,4,4,2,2,0,";
    let found = csv
        .lines()
        .find_map(|text| Some(text.split_once(line)?.1))
        .unwrap();
    let numbers: Vec<f64> = found
        .split(',')
        .map_while(|text| text.parse().ok())
        .collect();
    for (found, expected) in numbers.iter().zip([mean, deviation, mean - zero_shot]) {
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }
    assert_eq!(
        numbers.len(),
        5,
        "mean, deviation, difference and its interval: {found}"
    );
    assert!(
        numbers[3] <= numbers[2] && numbers[2] <= numbers[4],
        "{found}"
    );

    let percent = format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * deviation);
    let markdown = fs::read_to_string(place.path("out/tables/results.md")).unwrap();
    assert!(
        markdown.contains(&format!("| UEO | {percent} |")),
        "{percent}\n{markdown}"
    );
    let latex = fs::read_to_string(place.path("out/tables/results.tex")).unwrap();
    assert!(
        latex.contains(&format!("UEO & {}", percent.replace('±', "$\\pm$"))),
        "{latex}"
    );
    let page = fs::read_to_string(place.path("page.md")).unwrap();
    assert!(
        page.contains("# Results on tiny") && page.contains("## Flat and sharp weights"),
        "{page}"
    );
}

#[test]
fn tables_of_some_of_the_cells() {
    let place = place();
    place.run(&format!("{BENCHMARK} --methods zero-shot"), 0);
    place.run(
        &format!("{BENCHMARK} --methods zero-shot --protocol held-out --domains light"),
        0,
    );
    let tables = |more: &str, code| {
        let command = format!("benchmark --suite tiny.toml --tables-only --output out {more}");
        place.run(&command, code)
    };
    let all = tables("", 0).stdout;
    assert!(all.contains("published protocol") && all.contains("held-out protocol"));
    let some = tables("--protocol published --domains dark --shifts closed", 0).stdout;
    assert!(
        some.contains("1 of 2 domains and 1 of 2 category shifts"),
        "{some}"
    );
    assert!(!some.contains("held-out protocol"), "{some}");
    let text = fs::read_to_string(place.path("out/tables/results.md")).unwrap();
    assert!(text.contains("dark") && !text.contains("light"), "{text}");
    let same = "--methods all --variant suite";
    assert_eq!(tables(same, 0).stdout, all);
    for (wrong, said) in [
        (
            "--methods ueo",
            "expected a method of these results (zero-shot), found `ueo`",
        ),
        ("--domains night", "(dark, domains, light), found `night`"),
        ("--variant long", "(suite), found `long`"),
        ("--shifts open", "found `open`"),
    ] {
        tables(wrong, 2).says(&[said]);
    }
    tables("--protocol held-out --domains dark", 2).says(&["found none", "hint: ask for less"]);
}

#[test]
fn the_help_names_every_embedded_suite() {
    let place = Workplace::new();
    let help = place.run("benchmark --help", 0).stdout;
    for name in ueo_benchmark::Suite::embedded() {
        let about = ueo_benchmark::Suite::open(name).unwrap().about;
        let line = help
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{help}"));
        let begun = line.trim_start().strip_prefix(name).unwrap().trim();
        assert!(about.starts_with(begun) && !begun.is_empty(), "{line}");
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn tables_are_of_the_suite_of_the_results() {
    let place = place();
    place.run(
        &format!("{BENCHMARK} --methods zero-shot --shifts closed"),
        0,
    );
    let page = |more: &str| {
        let tables = format!("benchmark --tables-only --output out --page page.md {more}");
        let report = place.run(&tables, 0);
        (
            fs::read_to_string(place.path("page.md")).unwrap(),
            report.stderr,
        )
    };
    let default = ueo_benchmark::Suite::open("iconnet").unwrap().about;

    let (text, warnings) = page("");
    assert!(
        text.contains("# Results on tiny") && !text.contains(&default),
        "{text}"
    );
    assert!(
        warnings.contains("warning: the suite `tiny` is no part of this program"),
        "{warnings}"
    );
    let (text, warnings) = page("--suite tiny.toml");
    assert!(
        text.contains("Stripes. 3 of 4 classes") && !text.contains(&default),
        "{text}"
    );
    assert!(!warnings.contains("warning"), "{warnings}");
    place
        .run("benchmark --suite iconnet --tables-only --output out", 2)
        .says(&[
            "expected results of the suite `iconnet` in out, found those of `tiny`",
            "hint: leave --suite out",
        ]);

    // The same cells under the name of a suite that the program has.
    for cell in cells(&place, "out").keys() {
        let path = place.path("out/cells").join(cell);
        let renamed = fs::read_to_string(&path).unwrap();
        let renamed = renamed.replace("\"suite\":\"tiny\"", "\"suite\":\"office-31\"");
        fs::write(path, renamed).unwrap();
    }
    let about = ueo_benchmark::Suite::open("office-31").unwrap().about;
    let (text, warnings) = page("");
    assert!(
        text.contains(&format!("{about}. 3 of 4 classes")) && !text.contains(&default),
        "{text}"
    );
    assert!(!warnings.contains("warning"), "{warnings}");
}
