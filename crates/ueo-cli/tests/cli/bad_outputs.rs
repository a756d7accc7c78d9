//! Outputs that cannot be written, and adaptations that go wrong on the way.

use std::fs;

use crate::support::{ADAPT, Report, Workplace};

const PREDICT: &str = "predict --model model --classes classes.txt --images images";

#[test]
fn outputs_that_exist_are_kept() {
    let place = Workplace::new();
    place.write("p.csv", "precious");
    place.run(&format!("{PREDICT} --output p.csv"), 2).says(&[
        "error: p.csv already exists",
        "hint:",
        "--overwrite",
    ]);
    assert_eq!(fs::read(place.path("p.csv")).unwrap(), b"precious");
    place.run(&format!("{PREDICT} --output p.csv --overwrite"), 0);
    assert_ne!(fs::read(place.path("p.csv")).unwrap(), b"precious");
}

#[test]
fn run_directories_that_exist_are_kept() {
    let place = Workplace::new();
    place.adapt("");
    let first = fs::read(place.path("run/adapted.safetensors")).unwrap();
    place
        .run(ADAPT, 2)
        .says(&["error: run exists", "hint:", "--resume", "--overwrite"]);
    place.adapt("--overwrite --seed 1");
    assert_ne!(
        fs::read(place.path("run/adapted.safetensors")).unwrap(),
        first
    );

    // A directory that holds something else is never cleared.
    place.write("notes/diary.txt", "dear diary");
    let arguments = ADAPT.replace("--output run", "--output notes");
    place
        .run(&format!("{arguments} --overwrite"), 2)
        .says(&["error: notes exists", "hint:"]);
    assert!(place.path("notes/diary.txt").exists());
}

#[test]
fn a_report_that_cannot_be_written_does_not_spoil_the_run() {
    let place = Workplace::new();
    place.adapt("--no-report");
    fs::create_dir(place.path("run/report.html")).unwrap();
    place.run("adapt --resume --output run", 1).says(&[
        "warning: the run is finished, but its report cannot be written",
        "report    none yet: ueo report run",
    ]);
    assert_eq!(place.json("run/run.json")["status"], "finished");
    place.run("predict --model run --images images --output p.csv", 0);
}

#[test]
fn a_run_is_replaced_only_when_all_inputs_are_good() {
    let place = Workplace::new();
    place.adapt("--standalone");
    let files = [
        "adapted.safetensors",
        "run.json",
        "report.html",
        "metrics.jsonl",
    ];
    let read = || files.map(|file| fs::read(place.path("run").join(file)).unwrap());
    let before = read();
    place.write("empty.txt", "");
    place.write("not-images/notes.txt", "none");
    for (from, to) in [
        ("--model model", "--model nowhere"),
        ("--images images", "--images nowhere"),
        ("--images images", "--images not-images"),
        ("--classes classes.txt", "--classes empty.txt"),
        ("--epochs 2", "--epochs 2 --threshold-images nowhere"),
    ] {
        let arguments = format!("{ADAPT} --overwrite").replace(from, to);
        place.run(&arguments, 2);
        assert!(read() == before, "{to}");
    }
    place.adapt("--overwrite");
    assert!(!place.path("run/standalone").exists());
}

#[test]
fn outputs_need_a_directory_and_a_known_ending() {
    let place = Workplace::new();
    for (output, pieces) in [
        (
            "p.xlsx",
            &["p.xlsx: expected a name that ends in .csv, .jsonl or .parquet"][..],
        ),
        (
            "classes.txt/p.csv",
            &["classes.txt: expected a directory, found a file"],
        ),
    ] {
        place
            .run(&format!("{PREDICT} --output {output}"), 2)
            .says(pieces);
    }
    fs::create_dir(place.path("folder.csv")).unwrap();
    place
        .run(&format!("{PREDICT} --output folder.csv"), 2)
        .says(&["folder.csv: expected a file, found a directory"]);
    let arguments = ADAPT.replace("--output run", "--output classes.txt/run");
    place
        .run(&arguments, 2)
        .says(&["error:", "classes.txt/run"]);
}

#[cfg(unix)]
#[test]
fn outputs_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;

    let place = Workplace::new();
    fs::create_dir(place.path("locked")).unwrap();
    fs::set_permissions(place.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    place
        .run_unprivileged(&format!("{PREDICT} --output locked/p.csv"), 2)
        .says(&[
            "error: nothing can be written into locked",
            "caused by:",
            "ermission denied",
            "hint:",
        ]);
    place
        .run_unprivileged(&ADAPT.replace("--output run", "--output locked/run"), 2)
        .says(&[
            "error: cannot create locked/run",
            "caused by:",
            "ermission denied",
            "hint:",
        ]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let place = Workplace::new();
    // A device on which every write fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", place.path("p.csv")).unwrap();
    place
        .run(&format!("{PREDICT} --output p.csv --overwrite"), 2)
        .says(&[
            "error: p.csv cannot be written",
            "caused by: No space left on device",
            "hint: free some space",
        ]);
}

/// The limit on file sizes stands in for a disk that fills up: both make a write fail half-way through a run.
#[cfg(unix)]
#[test]
fn a_run_whose_metrics_cannot_grow_can_be_resumed() {
    let place = Workplace::new();
    let adapt = format!("{ADAPT} --epochs 30 --checkpoint-every 1").replace("--epochs 2 ", "");
    let limited = format!("trap '' XFSZ; ulimit -f 24; exec \"$0\" {adapt}");
    let output = std::process::Command::new("sh")
        .args(["-c", &limited])
        .arg(place.program())
        .current_dir(place.path(""))
        .output()
        .unwrap();
    Report::of(output).expect_code(2, &limited).says(&[
        "error:",
        "metrics.jsonl",
        "caused by:",
        "File too large",
    ]);
    place.run("adapt --resume --output run", 0);

    let resumed = fs::read(place.path("run/adapted.safetensors")).unwrap();
    place.run(&format!("{adapt} --overwrite"), 0);
    assert!(resumed == fs::read(place.path("run/adapted.safetensors")).unwrap());
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state() {
    let place = Workplace::new();
    let arguments = ADAPT.replace("0.05", "1e30").replace("0.02", "1e30");
    place.run(&arguments, 2).says(&[
        "error: step 1 of 6: the length of the context's step is",
        "expected a finite number of at most 1e6",
        "hint: lower --context-learning-rate",
        "begin again",
    ]);
    let state = place.path("run/state.safetensors");
    let bytes = fs::read(state).unwrap();
    let state = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (_, context) = state
        .iter()
        .find(|(name, _)| name.contains("context"))
        .unwrap();
    let values = context.data().chunks_exact(4);
    let mut values = values.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    assert!(
        values.all(|value| value.abs() < 1e3),
        "the state before the step is kept"
    );

    assert!(place.path("run/state.safetensors").exists());
    assert!(!place.path("run/adapted.safetensors").exists());
    assert_eq!(
        fs::read_to_string(place.path("run/metrics.jsonl"))
            .unwrap()
            .lines()
            .count(),
        0
    );
    let table = place.run("inspect --model run", 0).stdout;
    assert!(table.contains("not finished, 6 steps in all"), "{table}");
    place
        .run("predict --model run --images images --output p.csv", 2)
        .says(&["error: the run in run is not finished", "hint:", "--resume"]);
}

#[test]
fn no_output_replaces_what_the_command_reads() {
    let place = Workplace::new();
    place.adapt("--no-report");
    place.write("classes.csv", "id,name\nn1,cat\nn2,dog\n");
    place.write("list.csv", "cat/0.png,cat\ndog/0.png,dog\n");
    let of_classes = "predict --model model --classes classes.csv";
    for (command, file) in [
        (
            "embed --model model --images images",
            "model/model.safetensors",
        ),
        (
            "embed --model run --images images",
            "model/model.safetensors",
        ),
        (
            "embed --model run --images images",
            "run/adapted.safetensors",
        ),
        ("evaluate run --images images", "run/run.json"),
        ("evaluate run --images images", "model/config.json"),
        (
            "evaluate model --classes classes.txt --images images",
            "model/preprocessor_config.json",
        ),
        ("predict --model run --images images", "run/predictions.csv"),
        (
            &format!("{of_classes} --images list.csv --image-root images"),
            "list.csv",
        ),
        (&format!("{of_classes} --images images"), "classes.csv"),
        (
            &format!("{of_classes} --images images"),
            "model/../classes.csv",
        ),
    ] {
        let before = fs::read(place.path(file)).unwrap();
        place
            .run(&format!("{command} --output {file} --overwrite"), 2)
            .says(&["error: ", " is one of ", "hint: name another --output"]);
        assert!(fs::read(place.path(file)).unwrap() == before, "{file}");
    }
    // What lies beside the inputs is replaced as ever.
    for _ in 0..2 {
        place.run(
            "evaluate run --images images --output run/evaluation.json --overwrite",
            0,
        );
        place.run(
            "predict --model run --images images --output images/p.csv --overwrite",
            0,
        );
    }
}

#[test]
fn a_loss_that_is_no_number_before_any_rate_acts_is_the_settings_fault() {
    let place = Workplace::new();
    place.run(&format!("{ADAPT} --trade-off 1e300"), 2).says(&[
        "error: step 1 of 6: the",
        "expected a finite number",
        "hint: choose the settings of the loss, such as --trade-off",
    ]);
}
