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

/// The path of a cell of the one suite and model in `out`, from `VARIANT/DOMAIN/SHIFT/NAME.json`.
pub fn cell_path(place: &Workplace, cell: &str) -> String {
    let found = cells(place, "out");
    let path = found.keys().find(|path| short(path) == Path::new(cell));
    format!(
        "out/cells/{}",
        path.unwrap_or_else(|| panic!("no {cell}")).display()
    )
}

/// Without suite, model and the published protocol.
fn short(path: &Path) -> PathBuf {
    let mut parts = path.components().skip(2).peekable();
    parts.next_if(|part| part.as_os_str() == "published");
    parts.collect()
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
    let mut found = cells.iter();
    found
        .find(|(other, _)| short(other) == Path::new(path))
        .unwrap()
        .1
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

    fs::remove_file(place.path(cell_path(&place, "suite/dark/closed/ueo-2.json"))).unwrap();
    place.write(&cell_path(&place, "suite/dark/closed/zero-shot.json"), "{");
    let list = place.run(&format!("{BENCHMARK} --list"), 0);
    assert_eq!(list.stdout.lines().count(), 12);
    assert!(
        list.stdout.contains("to do\tsuite\tdark\tclosed\tueo\t2\n"),
        "{}",
        list.stdout
    );
    assert!(
        list.stdout
            .contains("damaged\tsuite\tdark\tclosed\tzero-shot\t-\n")
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
    assert!(!place.path("out/cells/suite").exists());
}

/// Everything below a folder but the lock, which names the last process.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".ueo-lock") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn results_of_other_settings_shifts_or_images_are_never_replaced() {
    let place = place();
    let small = format!("{BENCHMARK} --domains light --shifts closed");
    place.run(&small, 0);
    let before = files(&place.path("out"));
    let refused = |suite: String, expected: &[&str]| {
        place.write("tiny.toml", suite);
        // More cells than there are: those that would be new are not run either.
        place.run(BENCHMARK, 2).says(expected);
        assert_eq!(files(&place.path("out")), before);
        place.write("tiny.toml", SUITE);
    };
    refused(
        SUITE.replace("epochs = 2", "epochs = 3"),
        &[
            "were made with other settings",
            "ueo: epochs 2, now 3",
            "--variant NAME",
        ],
    );
    refused(
        SUITE.replace("closed = \"0-2\"", "closed = \"0-1\""),
        &[
            "about other data",
            "present classes under the closed shift: 0-2, now 0-1",
            "--output",
        ],
    );
    refused(
        SUITE.replace("known = \"0-2\"", "known = \"0-1\""),
        &["listed classes under the closed shift: 0-2, now 0-1"],
    );
    fs::copy(
        place.path("sets/light/cat/0.png"),
        place.path("sets/light/cat/9.png"),
    )
    .unwrap();
    refused(SUITE.to_owned(), &["images of light: 24, now 25"]);
    fs::remove_file(place.path("sets/light/cat/9.png")).unwrap();

    // The same settings under a name of their own stand beside; the old cells stay.
    place.write("tiny.toml", SUITE.replace("epochs = 2", "epochs = 3"));
    place.run(&format!("{small} --variant long"), 0);
    let after = files(&place.path("out/cells"));
    let kept = before
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "json"));
    assert!(
        kept.into_iter()
            .all(|(path, content)| after[path] == *content)
    );

    // A file of a later version is not replaced.
    let path = cell_path(&place, "suite/light/closed/ueo-1.json");
    let text = fs::read_to_string(place.path(&path)).unwrap();
    place.write("tiny.toml", SUITE);
    place.write(
        &path,
        text.replace("\"format_version\":2", "\"format_version\":99"),
    );
    place
        .run(&small, 2)
        .says(&["expected format version 1 to 2, found 99"]);
}

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
    place
        .run(
            &format!("{BENCHMARK} {more} --model-name RN50 --protocol held-out"),
            0,
        )
        .says(&["tiny, RN50, held-out protocol"]);
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
fn results_of_earlier_versions_are_read_and_their_cells_are_done() {
    let place = place();
    let small = format!("{BENCHMARK} --domains light");
    place.run(&small, 0);
    let csv = fs::read(place.path("out/tables/results.csv")).unwrap();
    // As they were written before protocols: other places, other fields.
    for (path, mut cell) in cells(&place, "out") {
        let old = place.path("out/cells").join(short(&path));
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        let object = cell.as_object_mut().unwrap();
        object["format_version"] = 1.into();
        object.remove("model");
        object["request"]
            .as_object_mut()
            .unwrap()
            .remove("protocol");
        object["results"]
            .as_object_mut()
            .unwrap()
            .remove("auroc_matched");
        for field in ["adapted_to", "halves"] {
            object["images"].as_object_mut().unwrap().remove(field);
        }
        fs::write(old, cell.to_string()).unwrap();
    }
    fs::remove_dir_all(place.path("out/cells/tiny")).unwrap();
    place.run(&small, 0).says(&["6 cells, 6 done, 0 to do"]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let again = text(&fs::read(place.path("out/tables/results.csv")).unwrap());
    // The model has no name any more; every number is the same.
    let digits = again
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .nth(1)
        .unwrap()
        .to_owned();
    assert_eq!(
        again.replace(&format!("tiny,{digits},"), "tiny,model,"),
        text(&csv)
    );
    place
        .run(
            &small.replace("tiny.toml", "tiny.toml --set epochs=5 --variant x"),
            0,
        )
        .says(&["6 cells done"]);

    // Both files of one cell would count twice.
    let path = cell_path(&place, "x/light/closed/ueo-1.json");
    fs::copy(place.path(&path), place.path("out/cells/copy.json")).unwrap();
    place
        .run("benchmark --suite tiny.toml --output out --tables-only", 2)
        .says(&["are about the same cell"]);
}

#[test]
fn hostile_suites_write_nothing_anywhere() {
    let place = place();
    for (suite, expected) in [
        (
            SUITE.replace("name = \"light\"", "name = \"../../../escape\""),
            "expected a name of a domain",
        ),
        (
            SUITE.replace("name = \"tiny\"", "name = \"t\\n\\\\input{x}\""),
            "expected a name of the suite",
        ),
    ] {
        place.write("tiny.toml", suite);
        place.run(BENCHMARK, 2).says(&[expected]);
    }
    place
        .run(&format!("{BENCHMARK} --variant ../x"), 2)
        .says(&["expected letters"]);
    assert!(!place.path("out").exists() && !place.path("escape").exists());
}

#[test]
fn no_suite_starts_on_a_folder_that_was_not_named() {
    let place = place();
    let unnamed = BENCHMARK.replace("--data . ", "");
    place.run(&unnamed, 2).says(&[
        "the suite `tiny` needs the folder of its images",
        "--data",
        "make them",
    ]);
    place.write(
        "tiny.toml",
        SUITE.replace("roots", "default-data = \".\"\nroots"),
    );
    place.run(&format!("{unnamed} --list"), 0).says(&[
        "images: ., where the suite `tiny` has them by default; --data names another folder",
    ]);
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

/// Paths of the finished cells below a folder, relative to it.
#[cfg(unix)]
fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(root).unwrap().to_owned()),
            }
        }
    }
    found
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
    let first = Path::new("suite/light/closed/ueo-1.json");
    let finished = |path: &PathBuf| short(path) == first;
    while !place.path("out/cells").exists() || !paths(&place.path("out/cells")).iter().any(finished)
    {
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

#[test]
fn one_process_at_a_time_runs_cells_into_a_directory() {
    let place = place();
    fs::create_dir(place.path("out")).unwrap();
    let held = ueo::disk::Lock::acquire(&place.path("out")).unwrap();
    let this = format!("out is in use by process {}", std::process::id());
    let small = format!("{BENCHMARK} --methods zero-shot --shifts closed");
    place.run(&small, 2).says(&[&this, "--jobs"]);
    assert!(!place.path("out/cells").exists());
    // Who only reads needs no lock.
    place.run(&format!("{small} --list"), 0);
    drop(held);
    place.run(&small, 0);
}
