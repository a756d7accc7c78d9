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
    use crate::support::{ADAPT, Report, Workplace};

    const STEPS: usize = 180;
    /// What is said where nothing had been done yet.
    const BEFORE_A_PASS: &str = "stopped; the same command begins again";

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

    /// Many images that take their time.
    fn add_photographs(place: &Workplace) {
        let photograph = place.path("photographs/0.png");
        fs::create_dir_all(photograph.parent().unwrap()).unwrap();
        let color =
            |x: u32, y: u32| image::Rgb([(x / 8) as u8, (y / 8) as u8, (x * y / 4096) as u8]);
        image::RgbImage::from_fn(2000, 1500, color)
            .save(&photograph)
            .unwrap();
        for number in 1..150 {
            let other = place.path(format!("photographs/{number}.png"));
            fs::hard_link(&photograph, other).unwrap();
        }
    }

    /// Sends a signal in the middle of a command, which is begun again where it had not begun or had ended already.
    fn interrupt_command(place: &Workplace, signal: &str, arguments: &str) -> Report {
        for moment in [500, 1000, 250, 2000, 4000, 100] {
            let mut child = place
                .ueo(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            sleep(Duration::from_millis(moment));
            let ended = child.try_wait().unwrap().is_some();
            if !ended {
                let id = child.id().to_string();
                Command::new("kill").args([signal, &id]).status().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            let begun = !String::from_utf8_lossy(&output.stderr).contains(BEFORE_A_PASS);
            if !ended && begun && output.status.code().is_some_and(|code| code != 0) {
                return Report::of(output);
            }
            let _ = fs::remove_dir_all(place.path("run"));
            let _ = fs::remove_file(place.path("output.csv"));
            let _ = fs::remove_file(place.path(".ueo-output.csv.features"));
            let _ = fs::remove_dir_all(place.path("output"));
        }
        panic!("`{arguments}` could not be interrupted in the middle");
    }

    #[test]
    fn every_pass_over_the_images_can_be_interrupted() {
        let place = Workplace::new();
        add_photographs(&place);
        let model = "--model model --images photographs";
        let commands = [
            format!("predict {model} --classes classes.txt --output output.csv"),
            format!("embed {model} --output output.safetensors"),
            format!("evaluate {model} --classes classes.txt --output output.json"),
            format!("discover {model} --classes classes.txt --output output"),
        ];
        for (command, signal) in commands.iter().zip(["-INT", "-TERM", "-INT", "-TERM"]) {
            interrupt_command(&place, signal, command)
                .expect_code(130, command)
                .says(&[
                    "stopping after this batch",
                    "interrupted after",
                    "of 150 images",
                ]);
            if command.starts_with("predict") {
                // It goes on where it was, and then leaves nothing behind.
                place.run(command, 0);
                fs::remove_file(place.path("output.csv")).unwrap();
            }
            let left = fs::read_dir(place.path("")).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                let name = name.to_str().unwrap();
                name.starts_with("output") || name.starts_with(".ueo-")
            });
            assert_eq!(left.count(), 0, "{command}");
        }
    }

    /// Names of three letters, which the tiny text encoder has room for.
    fn many_names() -> String {
        let letters = || 'a'..='z';
        letters()
            .flat_map(|a| letters().map(move |b| (a, b)))
            .flat_map(|(a, b)| letters().map(move |c| format!("{a}{b}{c}\n")))
            .collect()
    }

    #[test]
    fn texts_are_encoded_until_somebody_presses_ctrl_c() {
        let place = Workplace::new();
        let names = many_names();
        place.write("classes-many.txt", &names);
        place.write("texts.txt", names.repeat(20));
        let commands = [
            "embed --model model --texts texts.txt --output output.safetensors",
            "predict --model model --images images --classes classes-many.txt --output output.csv",
        ];
        'commands: for (command, signal) in commands.iter().zip(["-TERM", "-INT"]) {
            for moment in [250, 500, 1000, 2000, 100, 50] {
                let mut child = place.ueo(command).stderr(Stdio::piped()).spawn().unwrap();
                sleep(Duration::from_millis(moment));
                if child.try_wait().unwrap().is_some() {
                    let _ = fs::remove_file(place.path("output.csv"));
                    continue;
                }
                let asked = Instant::now();
                let id = child.id().to_string();
                Command::new("kill").args([signal, &id]).status().unwrap();
                let output = child.wait_with_output().unwrap();
                let ended = asked.elapsed();
                let said = String::from_utf8_lossy(&output.stderr);
                if output.status.code() == Some(130) && said.contains(BEFORE_A_PASS) {
                    assert!(ended < Duration::from_secs(2), "{command}: {ended:?}");
                    assert!(!place.path("output.csv").exists());
                    assert!(!place.path("output.safetensors").exists());
                    continue 'commands;
                }
            }
            panic!("`{command}` could not be interrupted in the middle");
        }
    }

    #[test]
    fn the_first_pass_of_a_run_goes_on_where_it_was() {
        let place = Workplace::new();
        add_photographs(&place);
        let adapt = ADAPT
            .replace("--images images", "--images photographs")
            .replace(
                "--epochs 2",
                "--epochs 1 --augmentation none --train context",
            );
        interrupt_command(&place, "-INT", &adapt)
            .expect_code(130, &adapt)
            .says(&[
                "interrupted after",
                "of 150 images",
                "to continue:",
                "ueo adapt --resume --output run",
            ]);
        assert!(!place.path("run/run.json").exists());
        place
            .run("predict --model run --images images --output p.csv", 2)
            .says(&["error: the run in run is not finished", "hint:"]);
        place.run("adapt --resume --output run", 0);
        place.run(&adapt.replace("--output run", "--output reference"), 0);
        for file in [
            "adapted.safetensors",
            "state.safetensors",
            "predictions.csv",
            "epochs.jsonl",
        ] {
            let read = |run: &str| fs::read(place.path(run).join(file)).unwrap();
            assert!(read("run") == read("reference"), "{file} differs");
        }
    }

    #[test]
    fn two_commands_do_not_write_one_run() {
        let place = Workplace::new();
        let mut child = place
            .ueo(&long_adapt("run"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&place.path("run/state.safetensors"));
        Command::new("kill")
            .args(["-STOP", &child.id().to_string()])
            .status()
            .unwrap();
        place.run("adapt --resume --output run", 2).says(&[
            &format!("error: run is in use by process {}", child.id()),
            "hint:",
        ]);
        // Whoever only reads need not wait.
        place.run("inspect --model run", 0);
        child.kill().unwrap();
        child.wait().unwrap();
        place.run("adapt --resume --output run", 0);
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
        .says(&["error: run is no run directory"]);
    // Settings without what they are settings of.
    place
        .run("adapt --resume --output run --batch-size 3", 2)
        .says(&["required arguments were not provided", "--model <PATH>"]);
    place
        .run("adapt --resume --output run --model model", 2)
        .says(&["required arguments were not provided", "--images <PATH>"]);
}

#[test]
fn a_command_with_resume_can_be_started_again_as_it_is() {
    let place = Workplace::new();
    let requeued = format!("{ADAPT} --resume");
    place.run(&requeued, 0);
    let file = |name: &str| fs::read(place.path("run").join(name)).unwrap();
    let (adapted, predictions) = (file("adapted.safetensors"), file("predictions.csv"));
    place.run(&format!("{requeued} --threads 1 --image-cache 0"), 0);
    assert!(file("adapted.safetensors") == adapted && file("predictions.csv") == predictions);

    place
        .run(&requeued.replace("--epochs 2", "--epochs 1"), 2)
        .says(&[
            "error: the run in run has 2 epochs, expected more than that, found 1",
            "hint:",
            "--output",
        ]);
    place
        .run(&requeued.replace("--batch-size 10", "--batch-size 9"), 2)
        .says(&[
            "error: the run in run was begun with another batch-size: expected 10, found 9",
            "hint:",
            "--output",
        ]);
    place.write("classes.txt", "cat\ndog\nwolf\n");
    place
        .run(&requeued, 2)
        .says(&["another classes: expected red_fox as number 3, found wolf as number 3"]);
    place.run(&format!("{ADAPT} --resume --overwrite"), 2);
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
