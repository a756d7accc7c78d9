//! The program as several processes that `mpirun` starts: the same results as one process, one voice, and one end.

mod crashes;
mod results;
#[allow(dead_code)]
#[path = "../cli/support.rs"]
mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use support::{Report, Workplace};

/// `mpirun` with so many ranks, which may be more than the machine has cores, and with the superuser in a container. The test's threads are
/// few, so each rank has one.
fn mpirun(place: &Workplace, ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command
        .current_dir(place.path(""))
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        // Ranks on one machine talk through its memory, without leave to read each other's.
        .args([
            "--oversubscribe",
            "--mca",
            "btl_vader_single_copy_mechanism",
            "none",
        ])
        .args(["-n", &ranks.to_string()]);
    command
}

fn ueo_on(place: &Workplace, ranks: usize, arguments: &str) -> Command {
    let mut command = mpirun(place, ranks);
    command
        .arg(place.program())
        .args(arguments.split_whitespace());
    command.args(["--threads", "1"]);
    command
}

/// Runs the program as so many ranks and expects an exit code.
#[track_caller]
fn run_on(place: &Workplace, ranks: usize, arguments: &str, code: i32) -> Report {
    let output = ueo_on(place, ranks, arguments).output().unwrap();
    Report::of(output).expect_code(code, arguments)
}

/// Starts the program as so many ranks.
fn start_on(place: &Workplace, ranks: usize, arguments: &str) -> Child {
    let mut command = ueo_on(place, ranks, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The processes that `mpirun` has started, in the order in which it did.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", mpirun.id()));
    let children = threads.into_iter().flatten().flatten().map(|thread| {
        let children = std::fs::read_to_string(thread.path().join("children"));
        children.unwrap_or_default()
    });
    let mut ids: Vec<u32> = children
        .flat_map(|ids| {
            ids.split_whitespace()
                .flat_map(str::parse)
                .collect::<Vec<_>>()
        })
        .collect();
    ids.sort_unstable();
    ids
}

fn send(signal: &str, process: u32) {
    let sent = Command::new("kill")
        .args([signal, &process.to_string()])
        .output();
    // It may have ended by itself.
    drop(sent.unwrap());
}

/// The lines of a file as JSON, without what the clock says.
fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("images_per_sec");
        record
    });
    records.collect()
}
