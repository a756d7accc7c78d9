//! `ueo benchmark` on two tiny domains: the protocol, resuming, interruption, and tables.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Report, Workplace, copy_tree};

/// Classes in byte order; the first three are listed. `dark` holds the same images without the last two of each class.
pub const SUITE: &str = r#"
name = "tiny"
about = "Stripes"
obtain = "make them"
roots = ["sets", ""]
classes = 4
known = "0-2"
methods = ["zero-shot", "ueo"]
seeds = [1, 2]

[shifts]
closed = "0-2"
open-partial = "0-1, 3"

[settings]
epochs = 2
batch-size = 10
context-learning-rate = 0.05
affine-learning-rate = 0.02

[published]
epochs = 1

[[domains]]
name = "light"
folders = ["light"]
images = 24

[[domains]]
name = "dark"
folders = ["dark", "images"]
images = 99
other-counts = [{ images = 16, hint = "these are fewer" }]
"#;

pub const BENCHMARK: &str = "benchmark --suite tiny.toml --data . --model model --output out";

/// A place with a model, the suite and the images of its two domains.
pub fn place() -> Workplace {
    let place = Workplace::new();
    place.write("tiny.toml", SUITE);
    copy_tree(&place.path("images"), &place.path("sets/light"));
    copy_tree(&place.path("images"), &place.path("sets/dark"));
    for domain in ["light", "dark"] {
        // A name that the tiny text encoder has room for, and the last in byte order.
        let folder = |class: &str| place.path(format!("sets/{domain}/{class}"));
        fs::rename(folder("submarine"), folder("zoo")).unwrap();
    }
    for class in ["cat", "dog", "red_fox", "zoo"] {
        for number in [4, 5] {
            fs::remove_file(place.path(format!("sets/dark/{class}/{number}.png"))).unwrap();
        }
    }
    place
}

/// All cells of an output directory by path.
fn cells(place: &Workplace, output: &str) -> BTreeMap<PathBuf, Value> {
    let mut found = BTreeMap::new();
    let root = place.path(output).join("cells");
    collect(&root, &root, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Value>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let cell = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            found.insert(path.strip_prefix(root).unwrap().to_owned(), cell);
        }
    }
}

/// Cells without what depends on the machine.
fn without_timing(mut cells: BTreeMap<PathBuf, Value>) -> BTreeMap<PathBuf, Value> {
    for cell in cells.values_mut() {
        cell.as_object_mut().unwrap().remove("timing");
    }
    cells
}

fn cell<'a>(cells: &'a BTreeMap<PathBuf, Value>, path: &str) -> &'a Value {
    &cells[Path::new(path)]
}

#[test]
fn a_cell_is_an_adaptation_to_the_classes_that_are_present_tested_on_all_images() {
    let place = place();
    place.run(BENCHMARK, 0).says(&[
        "warning: dark: expected 99 images",
        "found 16",
        "these are fewer",
        "12 cells, 0 done, 12 to do",
        "12 cells done",
    ]);
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
    let classes = "--classes classes.txt";
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
fn finished_cells_are_kept_and_only_new_ones_run() {
    let place = place();
    let two_jobs = "benchmark --suite tiny.toml --data . --model model --output two --jobs 2";
    place.run(two_jobs, 0);
    place.run(BENCHMARK, 0);
    let first = cells(&place, "out");
    assert_eq!(
        without_timing(first.clone()),
        without_timing(cells(&place, "two")),
        "jobs"
    );

    place
        .run(BENCHMARK, 0)
        .says(&["12 cells, 12 done, 0 to do"]);
    assert_eq!(cells(&place, "out"), first, "not even the timing changes");

    let all = place.run(&format!("{BENCHMARK} --methods all --list"), 0);
    for method in ueo::method::Method::ALL {
        assert!(
            all.stdout.contains(&format!("\tlight\tclosed\t{method}\t")),
            "{method}"
        );
    }

    fs::remove_file(place.path("out/cells/suite/dark/closed/ueo-2.json")).unwrap();
    place.write("out/cells/suite/dark/closed/zero-shot.json", "{");
    let list = place.run(&format!("{BENCHMARK} --list"), 0);
    assert_eq!(list.stdout.lines().count(), 12);
    assert!(
        list.stdout.contains("to do\tsuite\tdark\tclosed\tueo\t2\n"),
        "{}",
        list.stdout
    );
    assert!(
        list.stdout
            .contains("outdated\tsuite\tdark\tclosed\tzero-shot\t-\n")
    );
    list.says(&["12 cells, 2 to do"]);
    place
        .run(BENCHMARK, 0)
        .says(&["12 cells, 10 done, 2 to do, 1 of them because"]);
    assert_eq!(
        without_timing(cells(&place, "out")),
        without_timing(first.clone())
    );

    place
        .run(&format!("{BENCHMARK} --seeds 1,2,3"), 0)
        .says(&["16 cells, 12 done, 4 to do"]);
    // Other settings are another request.
    place.write("tiny.toml", SUITE.replace("epochs = 2", "epochs = 3"));
    let arguments = format!("{BENCHMARK} --domains light --methods ueo --shifts closed");
    place
        .run(&arguments, 0)
        .says(&["2 cells, 0 done, 2 to do, 2 of them because"]);
    let again = cells(&place, "out");
    let path = Path::new("suite/light/closed/ueo-1.json");
    assert_eq!(again[path]["request"]["settings"]["epochs"], 3);
    assert_ne!(again[path]["images"], first[path]["images"]);
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
    let line = "suite,ueo,domains,mean,mean,per_class_accuracy,4,2,0,";
    let found = csv
        .lines()
        .find_map(|text| text.strip_prefix(line))
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

#[test]
fn training_that_fails_is_a_result() {
    let place = place();
    let arguments = format!(
        "{BENCHMARK} --domains light --shifts closed --methods ueo --seeds 1 --variant wild \
         --set context-learning-rate=1e30 --set affine-learning-rate=1e30"
    );
    place.run(&arguments, 1).says(&[
        "training of 1 cells failed",
        "light closed ueo 1",
        "expected a finite",
    ]);
    let cells = cells(&place, "out");
    let cell = cell(&cells, "wild/light/closed/ueo-1.json");
    assert_eq!(cell["results"], Value::Null);
    assert!(cell["failure"].as_str().unwrap().contains("finite"));
    place.run(&arguments, 0).says(&["1 cells, 1 done, 0 to do"]);
}

#[test]
fn mistakes_are_explained_before_anything_runs() {
    let place = place();
    for (arguments, expected) in [
        (
            "--domains night",
            "expected a domain or group of domains (domains, light, dark), found `night`",
        ),
        ("--shifts closed,wide", "found `wide`"),
        ("--methods magic", "magic"),
        ("--set epochs=3", "--variant"),
        ("--set epoch=3 --variant a", "found `epoch`"),
        (
            "--set trade-off=2 --variant a --methods entropy-minimization",
            "settings of entropy-minimization",
        ),
        ("--variant published", "profile"),
        ("--shifts open", "found `open`"),
    ] {
        place
            .run(&format!("{BENCHMARK} {arguments}"), 2)
            .says(&[expected]);
    }
    place
        .run(
            "benchmark --suite tiny.toml --data model --model model --output out",
            2,
        )
        .says(&[
            "expected the images of the suite `tiny` in model",
            "hint: make them",
        ]);
    place
        .run("benchmark --suite office-99 --model model --output out", 2)
        .says(&["office-31"]);
    place
        .run("benchmark --suite tiny.toml --output out --tables-only", 2)
        .says(&["there are no results in out", "hint:"]);
    assert!(!place.path("out/cells").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_finished_cells_and_the_same_command_goes_on() {
    use std::process::{Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let place = place();
    place.write("tiny.toml", SUITE.replace("epochs = 2", "epochs = 40"));
    let child = place
        .ueo(BENCHMARK)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    let first = place.path("out/cells/suite/light/closed/ueo-1.json");
    while !first.exists() {
        assert!(Instant::now() < patience, "no cell is finished");
        sleep(Duration::from_millis(1));
    }
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    Report::of(child.wait_with_output().unwrap())
        .expect_code(130, BENCHMARK)
        .says(&["of 12 cells done; the same command continues"]);
    let kept = cells(&place, "out");
    assert!((2..12).contains(&kept.len()), "{:?}", kept.keys());
    place
        .run(BENCHMARK, 0)
        .says(&[&format!("12 cells, {} done", kept.len())]);
    let resumed = cells(&place, "out");
    assert!(kept.iter().all(|(path, cell)| resumed[path] == *cell));
    place.run(&BENCHMARK.replace("--output out", "--output whole"), 0);
    assert_eq!(
        without_timing(resumed),
        without_timing(cells(&place, "whole"))
    );
}
