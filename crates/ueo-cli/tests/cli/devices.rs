//! Graphics processors, or the driver that stands in for one: the same results as the processor's, to rounding.

use std::path::Path;

use serde_json::Value;

use crate::support::{ADAPT, Workplace};

/// Accuracy and AUROC may differ by this much, in points of a hundred.
const POINTS: f64 = 0.5;

fn measurement(run: &Value, pointer: &str) -> f64 {
    run.pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("run.json has no {pointer}"))
}

/// Classes of the images by path, in a column of a table.
fn labels(path: &Path, column: &str) -> Vec<(String, String)> {
    let mut table = csv::Reader::from_path(path).unwrap();
    let header = table.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|found| found == name).unwrap();
    let (path, column) = (place("path"), place(column));
    let rows = table.records().map(|row| {
        let row = row.unwrap();
        (row[path].to_owned(), row[column].to_owned())
    });
    rows.collect()
}

#[test]
fn the_demonstration_measures_the_same() {
    let workplace = Workplace::new();
    workplace.run("demo --output cpu", 0);
    workplace
        .run("demo --output wgpu --device wgpu", 0)
        .says(&["computing on wgpu:0, "]);
    let [cpu, wgpu] = ["cpu", "wgpu"].map(|run| workplace.json(&format!("{run}/run.json")));
    assert_eq!(wgpu["request"]["device"], "wgpu:0");
    for model in ["zero_shot", "adapted"] {
        for measure in ["overall_accuracy", "auroc"] {
            let pointer = format!("/{model}/{measure}");
            let [cpu, wgpu] = [&cpu, &wgpu].map(|run| 100.0 * measurement(run, &pointer));
            println!("{model} {measure}: cpu {cpu:.3}, wgpu {wgpu:.3}");
            assert!((cpu - wgpu).abs() <= POINTS, "{pointer}: {cpu}, {wgpu}");
        }
    }
    let [cpu, wgpu] = ["cpu", "wgpu"].map(|run| {
        let table = workplace.path(format!("{run}/predictions.csv"));
        labels(&table, "zero_shot_predicted")
    });
    assert_eq!(cpu.len(), 273);
    assert_eq!(cpu, wgpu);
}

#[test]
fn what_one_device_has_adapted_predicts_alike_on_another() {
    let workplace = Workplace::new();
    workplace.run("demo --architecture vit --output demo", 0);
    let predict = "predict --model demo --images demo-input/images.tar";
    workplace.run(&format!("{predict} --output cpu.csv"), 0);
    workplace.run(&format!("{predict} --output wgpu.csv --device wgpu"), 0);
    let [cpu, wgpu] =
        ["cpu.csv", "wgpu.csv"].map(|table| labels(&workplace.path(table), "predicted"));
    assert_eq!(cpu, wgpu);
    let images = "--model demo --images demo-input/images.tar --device wgpu --output";
    workplace.run(&format!("embed {images} features.safetensors"), 0);
    workplace.run(&format!("evaluate {images} evaluation.json"), 0);
    workplace.run(
        "discover demo --images demo-input/images.tar --device wgpu",
        0,
    );
}

#[test]
fn a_run_goes_on_on_another_device() {
    let workplace = Workplace::new();
    workplace.run(&ADAPT.replace("--epochs 2", "--epochs 1"), 0);
    workplace.run("adapt --resume --epochs 2 --output run --device wgpu", 0);
    let run = workplace.json("run/run.json");
    assert_eq!(run["status"], "finished");
    assert_eq!(run["request"]["device"], "wgpu:0");
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let workplace = Workplace::new();
    let adapt = format!("{ADAPT} --device wgpu:97");
    workplace.run(&adapt, 2).says(&[
        "there is no device `wgpu:97` on this machine, found wgpu:0 (",
        "hint: `ueo inspect --machine` lists devices",
    ]);
    assert!(!workplace.path("run").exists());
    let precision = format!("{ADAPT} --device wgpu --precision bf16");
    workplace.run(&precision, 2).says(&[
        "bf16 is available on the CPU only",
        "hint: leave --precision out",
    ]);
}

#[test]
fn the_devices_of_the_machine_are_listed() {
    let workplace = Workplace::new();
    let report = workplace.run("inspect --machine --json", 0);
    let machine: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(machine["devices"][0]["name"], "cpu");
    assert_eq!(machine["devices"][1]["name"], "wgpu:0");
    let report = workplace.run("inspect --machine --device auto", 0);
    assert!(report.stdout.contains("wgpu:0: "), "{}", report.stdout);
    report.says(&["computing on "]);
}
