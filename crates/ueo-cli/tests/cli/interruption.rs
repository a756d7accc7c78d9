//! Interrupted and resumed runs end where an uninterrupted one does, byte for byte; so does every number of threads.

use std::fs;

use crate::support::{ADAPT, Workplace};

/// Long enough to be interrupted in the middle.
#[cfg(unix)]
fn long_adapt(output: &str) -> String {
    ADAPT
        .replace("--epochs 2", "--epochs 60")
        .replace("--output run", &format!("--output {output}"))
        + " --tensorboard --keep best-by-soft-neighborhood-density"
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = Workplace::new();
    let mut results = Vec::new();
    for threads in [1, 2, 3] {
        place.adapt(&format!("--threads {threads} --overwrite"));
        results.push(fs::read(place.path("run/adapted.safetensors")).unwrap());
    }
    assert!(results[0] == results[1] && results[0] == results[2]);
}

#[cfg(unix)]
mod signals {
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant, SystemTime};

    use ueo_run::{EVENT_FILE, read_events};

    use super::long_adapt;
    use crate::support::{Report, Workplace};

    const STEPS: usize = 180;

    /// Starts a long run and sends it a signal at some moment; again and earlier where the run was faster than that.
    fn interrupt(place: &Workplace, signal: &str, checkpoint_every: usize) -> Output {
        let adapt = long_adapt("run");
        let arguments = format!("{adapt} --overwrite --checkpoint-every {checkpoint_every}");
        for limit in [150, 75, 30, 10, 3] {
            let mut child = place
                .ueo(&arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            wait_for(&place.path("run/state.safetensors"));
            sleep(Duration::from_millis(random_below(limit)));
            if child.try_wait().unwrap().is_none() {
                let id = child.id().to_string();
                assert!(
                    Command::new("kill")
                        .args([signal, &id])
                        .status()
                        .unwrap()
                        .success()
                );
            }
            let output = child.wait_with_output().unwrap();
            if !place.path("run/adapted.safetensors").exists() {
                return output;
            }
            fs::remove_dir_all(place.path("run")).unwrap();
        }
        panic!("every run ended before it could be interrupted");
    }

    fn wait_for(path: &Path) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !path.exists() {
            assert!(
                Instant::now() < patience,
                "{} does not appear",
                path.display()
            );
            sleep(Duration::from_millis(1));
        }
    }

    /// A different moment in every run of the test.
    fn random_below(limit: u64) -> u64 {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        u64::from(now.subsec_nanos()) / 1000 % limit
    }

    fn expect_the_same_result_after_resuming(place: &Workplace) {
        place.run("adapt --resume --output run", 0);
        place.run(&long_adapt("reference"), 0);
        for file in [
            "adapted.safetensors",
            "state.safetensors",
            "predictions.csv",
            "epochs.jsonl",
        ] {
            let resumed = fs::read(place.path("run").join(file)).unwrap();
            let reference = fs::read(place.path("reference").join(file)).unwrap();
            assert!(resumed == reference, "{file} differs");
        }
        assert_eq!(events_of(place, "run"), events_of(place, "reference"));
        let steps = |run: &str| -> Vec<(u64, f64)> {
            let metrics = fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
            let records = metrics.lines().map(|line| {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                (
                    record["step"].as_u64().unwrap(),
                    record["loss"].as_f64().unwrap(),
                )
            });
            records.collect()
        };
        assert_eq!(steps("run"), steps("reference"));
        assert_eq!(steps("run").len(), STEPS);
        let measured = |run: &str| place.json(&format!("{run}/run.json"))["adapted"].clone();
        assert_eq!(measured("run"), measured("reference"));
    }

    /// Step and scalars of each event of the event file, but for the speed.
    fn events_of(place: &Workplace, run: &str) -> Vec<(u64, Vec<(String, f32)>)> {
        let events = read_events(&place.path(run).join(EVENT_FILE)).unwrap();
        let events = events.into_iter().map(|event| {
            let scalars = event.scalars.into_iter();
            let lasting = scalars.filter(|(tag, _)| tag != "step/images_per_sec");
            (event.step, lasting.collect())
        });
        events.collect()
    }

    #[test]
    fn a_killed_run_resumes_to_the_same_bytes() {
        let place = Workplace::new();
        let output = interrupt(&place, "-KILL", 7);
        assert_eq!(output.status.code(), None, "killed by the signal");
        expect_the_same_result_after_resuming(&place);
    }

    #[test]
    fn ctrl_c_stops_after_a_step_and_says_how_to_go_on() {
        let place = Workplace::new();
        let output = interrupt(&place, "-INT", 1000);
        Report::of(output)
            .expect_code(130, "adapt, interrupted")
            .says(&[
                "stopping after this batch",
                "stopped after step",
                "of 180",
                "ueo adapt --resume --output run",
            ]);
        expect_the_same_result_after_resuming(&place);
    }
}

#[test]
fn there_must_be_something_to_resume() {
    let place = Workplace::new();
    place
        .run("adapt --resume --output run", 2)
        .says(&["error: run is no run directory", "hint:"]);
    place
        .run("adapt --resume --output run --epochs 3", 2)
        .says(&["'--resume' cannot be used with"]);
}

#[test]
fn images_that_changed_meanwhile_are_noticed() {
    let place = Workplace::new();
    place.run(&ADAPT.replace("0.05", "1e30").replace("0.02", "1e30"), 2);
    fs::remove_file(place.path("images/cat/0.png")).unwrap();
    place.run("adapt --resume --output run", 2).says(&[
        "error: the images in",
        "have changed",
        "expected the same 24 images, found 23",
        "hint:",
    ]);
}
