//! Every number of ranks comes to the result of one process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{ADAPT, CLASSES, IMAGES, PER_CLASS, Workplace, copy_tree};
use crate::{mpirun, records, run_on};

/// Relative tolerance of what is trained.
const TOLERANCE: f64 = 1e-5;
const RANKS: usize = 3;

/// Nine epochs of two batches each.
fn adapt(output: &str, more: &str) -> String {
    ADAPT
        .replace("--epochs 2", "--epochs 9")
        .replace("--batch-size 10", "--batch-size 12")
        .replace("--output run", &format!("--output {output} {more}"))
}

fn tensors(place: &Workplace, run: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(place.path(run).join("adapted.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        let (numbers, _) = bytes.as_chunks();
        numbers
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect()
    };
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, tensor)| (name, numbers(tensor.data())))
        .collect()
}

#[track_caller]
fn assert_near(what: &str, found: f64, expected: f64, size: f64) {
    let difference = (found - expected).abs() / size;
    assert!(
        difference <= TOLERANCE,
        "{what}: found {found}, expected {expected}"
    );
}

/// Compares the records of all steps, the parameters, and which images are predicted in which order.
fn compare(place: &Workplace, run: &str, reference: &str) {
    let of = |run: &str| records(&place.path(run).join("metrics.jsonl"));
    assert_eq!(of(run).len(), of(reference).len());
    for (found, expected) in of(run).iter().zip(of(reference)) {
        for (quantity, expected) in expected.as_object().unwrap() {
            if let (Some(expected), Some(found)) = (expected.as_f64(), found[quantity].as_f64()) {
                // Some losses cancel to nearly nothing, whose terms do not.
                assert_near(
                    &format!("{run}: {quantity}"),
                    found,
                    expected,
                    expected.abs().max(0.1),
                );
            }
        }
    }
    let found = tensors(place, run);
    for (name, expected) in tensors(place, reference) {
        let size = expected
            .iter()
            .fold(1e-3_f32, |size, number| size.max(number.abs()));
        for (found, expected) in found[&name].iter().zip(expected) {
            assert_near(
                &format!("{run}: {name}"),
                (*found).into(),
                expected.into(),
                size.into(),
            );
        }
    }
    let paths = |run: &str| -> Vec<String> {
        let table = fs::read_to_string(place.path(run).join("predictions.csv")).unwrap();
        table
            .lines()
            .map(|line| line.split(',').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(paths(run), paths(reference));
    assert_eq!(paths(run).len(), 1 + IMAGES);
}

#[test]
fn one_to_four_ranks_adapt_as_one_process_does() {
    let place = Workplace::new();
    place.run(&adapt("alone", "--threads 1"), 0);
    for ranks in 1..=4 {
        let run = format!("ranks-{ranks}");
        let said = run_on(&place, ranks, &adapt(&run, ""), 0);
        compare(&place, &run, "alone");
        // One of them speaks.
        assert_eq!(
            said.stderr.matches("report.html").count(),
            1,
            "{}",
            said.stderr
        );
        assert!(place.path(run).join("report.html").exists());
    }
}

#[test]
fn methods_that_remember_or_look_at_all_images_adapt_as_one_process_does() {
    let place = Workplace::new();
    let seen = "--epochs 2 --overwrite --method";
    let commands = [
        "dance",
        "upl",
        "cliptta",
        "candidate-pseudo-labels",
        "pouf-half-centring",
        "half-centring",
        "ueo --keep best-by-soft-neighborhood-density --augmentation none --train-blocks last-1",
    ];
    for method in commands {
        let adapt = |run: &str| {
            ADAPT
                .replace("--epochs 2 ", "")
                .replace("--output run", &format!("--output {run} {seen} {method}"))
        };
        place.run(&adapt("alone"), 0);
        run_on(&place, RANKS, &adapt("run"), 0);
        compare(&place, "run", "alone");
    }
}

#[test]
fn passes_give_the_same_bytes_as_one_process() {
    let place = Workplace::new();
    // Several batches, and an image that cannot be read.
    for copy in 0..30 {
        let image = place.path(format!("images/cat/{}.png", copy % PER_CLASS));
        fs::copy(image, place.path(format!("images/cat/copy-{copy}.png"))).unwrap();
    }
    place.write("images/dog/broken.png", "no image");
    let commands = [
        (
            "predict --model model --images images --classes classes.txt --top-k 2 --output",
            "csv",
        ),
        (
            "evaluate --model model --images images --classes classes.txt --output",
            "json",
        ),
        (
            "embed --model model --images images --output",
            "safetensors",
        ),
    ];
    for (command, extension) in commands {
        let alone = format!("{command} alone.{extension}");
        place.run(&alone, 1);
        let said = run_on(&place, RANKS, &format!("{command} ranks.{extension}"), 1);
        assert_eq!(
            said.stderr.matches("broken.png").count(),
            1,
            "{}",
            said.stderr
        );
        let bytes = |name: &str| fs::read(place.path(format!("{name}.{extension}"))).unwrap();
        assert!(bytes("ranks") == bytes("alone"), "{command}");
    }
}

/// Two domains of the same images.
const SUITE: &str = r#"
name = "tiny"
about = "Stripes"
obtain = "make them"
roots = [""]
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

[published]
epochs = 1

[[domains]]
name = "light"
folders = ["light"]
images = 24

[[domains]]
name = "dark"
folders = ["dark"]
images = 24
"#;

/// All cells below a directory, without what the clock says.
fn cells(folder: &Path, found: &mut BTreeMap<PathBuf, Value>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => cells(&path, found),
            false => {
                let text = fs::read_to_string(&path).unwrap();
                let mut cell: Value = serde_json::from_str(&text).unwrap();
                cell.as_object_mut().unwrap().remove("timing");
                let name = path
                    .components()
                    .skip_while(|part| part.as_os_str() != "cells");
                found.insert(name.collect(), cell);
            }
        }
    }
}

#[test]
fn the_cells_of_a_benchmark_are_divided() {
    let place = Workplace::new();
    place.write("tiny.toml", SUITE);
    for domain in ["light", "dark"] {
        copy_tree(&place.path("images"), &place.path(domain));
        let folder = |class: &str| place.path(format!("{domain}/{class}"));
        fs::rename(folder("submarine"), folder("zoo")).unwrap();
    }
    let benchmark = |output: &str| {
        format!("benchmark --suite tiny.toml --data . --model model --output {output}")
    };
    place.run(&benchmark("alone"), 0);
    let said = run_on(&place, RANKS, &benchmark("ranks"), 0);
    said.says(&["12 cells done"]);
    let all = |output: &str| {
        let mut found = BTreeMap::new();
        cells(&place.path(output).join("cells"), &mut found);
        found
    };
    assert_eq!(all("ranks").len(), 12);
    assert_eq!(all("ranks"), all("alone"));
    assert!(place.path("ranks/tables").is_dir());
    // Nothing is left to do.
    run_on(&place, RANKS, &benchmark("ranks"), 0).says(&["12 done, 0 to do"]);
}

#[test]
fn what_all_ranks_meet_is_told_once_and_what_one_meets_with_its_name() {
    let place = Workplace::new();
    let predict = "predict --model model --images nowhere --classes classes.txt --output out.csv";
    let said = run_on(&place, RANKS, predict, 2);
    assert_eq!(said.stderr.matches("nowhere").count(), 1, "{}", said.stderr);
    said.says(&["error: rank 0 of 3 failed, so all of them end"]);
    let mistake = run_on(&place, RANKS, "predict --no-such-option", 2);
    assert_eq!(
        mistake.stderr.matches("Usage:").count(),
        1,
        "{}",
        mistake.stderr
    );

    // Rank 1 has a directory of its own, where the class list is missing.
    copy_tree(&place.path("model"), &place.path("other/model"));
    copy_tree(&place.path("images"), &place.path("other/images"));
    let predict = predict.replace("nowhere", "images");
    let apart = |place: &Workplace| {
        let mut command = mpirun(place, 1);
        let ueo = |command: &mut std::process::Command| {
            command
                .arg(place.program())
                .args(predict.split_whitespace());
        };
        ueo(&mut command);
        command
            .args([":", "-n", "1", "-wdir"])
            .arg(place.path("other"));
        ueo(&mut command);
        crate::support::Report::of(command.output().unwrap()).expect_code(2, &predict)
    };
    apart(&place).says(&["error: rank 1 of 2 failed", "classes.txt"]);
    // With a list, but other images.
    place.write("other/classes.txt", CLASSES.join("\n"));
    fs::remove_file(place.path(format!("other/images/cat/{}.png", PER_CLASS - 1))).unwrap();
    apart(&place).says(&["error: rank 0 of 2 failed", "the images that rank 1 sees"]);
    assert!(!place.path("out.csv").exists());
}
