//! A rank that dies ends all; what is on the disk goes on to the same result.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{ADAPT, Workplace};
use crate::{ranks_of, records, run_on, send, start_on};

const RANKS: usize = 3;
const KILLS: u64 = 20;

fn adapt(output: &str) -> String {
    ADAPT
        .replace("--epochs 2", "--epochs 30")
        .replace("--output run", &format!("--output {output}"))
        + " --tensorboard --keep best-by-soft-neighborhood-density --checkpoint-every 7 --no-report"
}

/// Numbers that follow from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Everything of a finished run that has to be the same, but for what the clock says.
fn assert_same(run: &Path, reference: &Path, what: &str) {
    for name in [
        "adapted.safetensors",
        "state.safetensors",
        "predictions.csv",
        "epochs.jsonl",
    ] {
        let bytes = |run: &Path| fs::read(run.join(name)).unwrap();
        assert!(bytes(run) == bytes(reference), "{what}: {name} differs");
    }
    let metrics = |run: &Path| records(&run.join("metrics.jsonl"));
    assert_eq!(metrics(run), metrics(reference), "{what}");
    let record = |run: &Path| -> Value {
        let text = fs::read_to_string(run.join("run.json")).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        for timed in ["adaptation_secs", "engine"] {
            record.as_object_mut().unwrap().remove(timed);
        }
        record
    };
    assert_eq!(record(run), record(reference), "{what}");
}

/// The undisturbed run, and how long it took.
fn reference(place: &Workplace) -> Duration {
    let started = Instant::now();
    run_on(place, RANKS, &adapt("reference"), 0);
    started.elapsed()
}

#[test]
fn a_rank_that_dies_ends_all_and_the_run_goes_on_to_the_same_bytes() {
    let place = Workplace::new();
    let whole = reference(&place);
    let mut random = Random(18);
    let mut disturbed = 0;
    for kill in 0..KILLS {
        let run = format!("run-{kill}");
        let command = adapt(&run) + " --resume";
        let moment = whole * (random.below(1000) as u32) / 1000;
        let victim = random.below(RANKS as u64) as usize;
        let mut mpirun = start_on(&place, RANKS, &command);
        sleep(moment);
        if let Some(&process) = ranks_of(&mpirun).get(victim) {
            send("-KILL", process);
        }
        // All of them end, soon.
        let patience = Instant::now() + 4 * whole + Duration::from_secs(60);
        while mpirun.try_wait().unwrap().is_none() {
            assert!(Instant::now() < patience, "kill {kill}: the others stay");
            sleep(Duration::from_millis(5));
        }
        let output = mpirun.wait_with_output().unwrap();
        if !output.status.success() {
            disturbed += 1;
            run_on(&place, RANKS, &command, 0);
        }
        let what = format!("kill {kill}, of rank {victim} after {moment:?}");
        assert_same(&place.path(&run), &place.path("reference"), &what);
    }
    assert!(disturbed > KILLS / 2, "{disturbed} runs were disturbed");
}

#[test]
fn a_request_to_stop_on_any_rank_stops_all_after_the_step() {
    let place = Workplace::new();
    reference(&place);
    let mut mpirun = start_on(&place, RANKS, &adapt("run"));
    let metrics = place.path("run/metrics.jsonl");
    let patience = Instant::now() + Duration::from_secs(120);
    while fs::metadata(&metrics).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < patience && mpirun.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(1));
    }
    send("-INT", ranks_of(&mpirun)[1]);
    let output = mpirun.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped after step"), "{said}");
    // Another number of ranks goes on too.
    let one = place.path("one");
    crate::support::copy_tree(&place.path("run"), &one);
    run_on(&place, RANKS, "adapt --resume --output run --no-report", 0);
    assert_same(&place.path("run"), &place.path("reference"), "stopped");
    place.run("adapt --resume --output one", 0);
    assert_eq!(
        records(&one.join("metrics.jsonl")).len(),
        records(&metrics).len()
    );
}
