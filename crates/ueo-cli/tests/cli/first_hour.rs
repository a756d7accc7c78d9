//! What a new user meets: what to do next, models side by side, streams, folders, shells, runs that move.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{ADAPT, IMAGES, Report, Workplace, copy_model};

/// Every line fits into a terminal of the usual width.
#[track_caller]
fn expect_columns(text: &str, columns: usize) {
    for line in text.lines() {
        let width = line.chars().count();
        assert!(width <= columns, "{width} columns: {line}");
    }
}

#[test]
fn an_adaptation_ends_with_what_changed_and_what_comes_next() {
    let place = Workplace::new();
    let report = place.adapt("");
    report.says(&[
        "accuracy  ",
        " % to ",
        "AUROC     ",
        "rejected  ",
        " of 24 images as unknown",
        "report    run/report.html",
        "next      ueo predict --model run --images images --output predictions.csv",
    ]);
    // Each change is said to be noise or not, and the table is for those who ask.
    let words = ["within noise", "more than noise"];
    for name in ["accuracy  ", "AUROC     "] {
        let line = report.stderr.lines().find(|line| line.starts_with(name));
        let line = line.unwrap();
        assert!(
            line.contains('[') && words.iter().any(|word| line.contains(word)),
            "{line}"
        );
    }
    assert_eq!(report.stdout, "");
    expect_columns(&report.stderr, 100);

    // What it tells to type works as it stands, also where names have spaces.
    let here = place.path("");
    fs::rename(place.path("images"), place.path("my images")).unwrap();
    let output = place
        .ueo("adapt --model model --classes classes.txt --epochs 1 --batch-size 12 --no-report")
        .args(["--images", "my images", "--output", "my run"])
        .output()
        .unwrap();
    let report = Report::of(output).expect_code(0, "adapt");
    report.says(&["report    none yet: ueo report 'my run'"]);
    let next = report.stderr.lines().find(|line| line.starts_with("next"));
    let command = next.unwrap().trim_start_matches("next").trim();
    let program = place.program().display().to_string();
    let command = command.replacen("ueo", &program, 1);
    let shell = std::process::Command::new("sh")
        .current_dir(&here)
        .args(["-c", &command])
        .output()
        .unwrap();
    Report::of(shell).expect_code(0, &command);
    assert!(place.path("predictions.csv").exists());
}

#[test]
fn without_labels_it_says_how_many_classes_changed() {
    let place = Workplace::new();
    fs::create_dir(place.path("flat")).unwrap();
    for kind in ["cat", "dog"] {
        for number in 0..6 {
            let from = place.path(format!("images/{kind}/{number}.png"));
            fs::copy(from, place.path(format!("flat/{kind}-{number}.png"))).unwrap();
        }
    }
    place
        .run(&ADAPT.replace("--images images", "--images flat"), 0)
        .says(&["changed   the class of", "of 12 images", "without labels"]);
    // Steps too small for the model change nothing, and somebody should say so.
    let still = ADAPT
        .replace("--images images", "--images flat --overwrite")
        .replace("learning-rate 0.05", "learning-rate 1e-9")
        .replace("learning-rate 0.02", "learning-rate 1e-9");
    place.run(&still, 0).says(&[
        "changed   the class of 0 of 12 images",
        "--method auto needs no learning rate",
    ]);
}

#[test]
fn models_stand_side_by_side() {
    let place = Workplace::new();
    place.adapt("");
    let report = place.run("evaluate model run --images images --output both.json", 0);
    let header = report.stdout.lines().nth(1).unwrap();
    for title in ["model", "run", "change, points"] {
        assert!(header.contains(title), "{header}");
    }
    expect_columns(&report.stdout, 80);
    let row = |name: &str| {
        let row = report.stdout.lines().find(|line| line.contains(name));
        row.unwrap_or_else(|| panic!("{name} in\n{}", report.stdout))
    };
    // The direction that is better, and the interval of the change.
    assert!(row("AUROC ↑").contains('['));
    assert!(row("FPR at 95 % TPR").contains('↓'));
    // What is said about the table goes where the table goes.
    for counts in ["model: 18 known and 6 unknown images", "run: 18 known"] {
        assert!(report.stdout.contains(counts), "{}", report.stdout);
        assert!(!report.stderr.contains(counts), "{}", report.stderr);
    }

    // The same numbers as one by one; the plain checkpoint has the classes of the run.
    let both = place.json("both.json");
    place.run("evaluate --model run --images images --output run.json", 0);
    assert_eq!(both[1]["evaluation"], place.json("run.json"));
    assert_eq!(both[0]["model"], "model");
    let record = place.json("run/run.json");
    assert_eq!(both[0]["evaluation"]["auroc"], record["zero_shot"]["auroc"]);

    let three = place
        .run("evaluate --model model run run --images images", 0)
        .stdout;
    expect_columns(&three, 80);
    assert!(!three.contains("change"));

    place.write("classes.txt", "cat\ndog\n");
    place.run(&ADAPT.replace("--output run", "--output other"), 0);
    place.run("evaluate run other --images images", 2).says(&[
        "error: run and other have different classes",
        "hint:",
        "--classes",
    ]);
}

#[test]
fn one_model_has_intervals_within_80_columns() {
    let place = Workplace::new();
    let evaluate = "evaluate --model model --classes classes.txt --images images";
    let table = place.run(evaluate, 0).stdout;
    expect_columns(&table, 80);
    assert!(
        table.contains("zero-shot") && table.contains('['),
        "{table}"
    );
}

#[test]
fn results_go_to_stdout_where_they_are_asked_to() {
    let place = Workplace::new();
    let predict = "predict --model model --classes classes.txt --images images --output -";
    let report = place.run(predict, 0);
    assert_eq!(report.stdout.lines().count(), 1 + IMAGES);
    assert!(report.stdout.starts_with("path,"));
    report.says(&["24 images,"]);
    let lines = place.run(&format!("{predict} --format jsonl --quiet"), 0);
    assert_eq!(lines.stderr, "");
    for line in lines.stdout.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    let evaluate = "evaluate --model model --classes classes.txt --images images --output -";
    let json: Value = serde_json::from_str(&place.run(evaluate, 0).stdout).unwrap();
    assert_eq!(json["n_known"], 18);
    let features = place
        .ueo("embed --model model --images images --output -")
        .output()
        .unwrap();
    safetensors::SafeTensors::deserialize(&features.stdout).unwrap();

    // A reader that has seen enough is no error.
    let mut child = place.ueo(predict).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!place.path("-").exists());
}

#[test]
fn folders_of_outputs_are_made() {
    let place = Workplace::new();
    place.run(&ADAPT.replace("--output run", "--output deep/er/run"), 0);
    let model = "--model deep/er/run --images images";
    place.run(&format!("predict {model} --output a/b/p.csv"), 0);
    place.run(&format!("evaluate {model} --output c/d/e.json"), 0);
    place.run(&format!("embed {model} --output e/f/f.safetensors"), 0);
    place.run("report deep/er/run --output g/h/report.html", 0);
    for file in [
        "a/b/p.csv",
        "c/d/e.json",
        "e/f/f.safetensors",
        "g/h/report.html",
    ] {
        assert!(place.path(file).is_file(), "{file}");
    }
}

#[test]
fn the_threshold_can_be_chosen_from_what_is_predicted() {
    let place = Workplace::new();
    place.adapt("");
    let predict = "predict --model run --images images --overwrite --output p.jsonl";
    place.run(
        &format!("{predict} --threshold target-rejection-rate=0.25"),
        0,
    );
    let lines = fs::read_to_string(place.path("p.jsonl")).unwrap();
    let rejected = lines
        .lines()
        .filter(|line| line.contains("\"decision\":\"unknown\""));
    assert_eq!(rejected.count(), IMAGES / 4);
    place
        .run(&format!("{predict} --threshold otsu --verbose"), 0)
        .says(&["threshold:", "(otsu)"]);
    // The default score ranges from -1 to 1.
    place
        .run(&format!("{predict} --threshold -0.1"), 0)
        .says(&["at a confidence of -0.100000"]);
    for wrong in ["median", "target-known-acceptance=0.9"] {
        place
            .run(&format!("{predict} --threshold {wrong}"), 2)
            .says(&["error:"]);
    }
}

#[test]
fn shells_complete_and_there_are_manual_pages() {
    let place = Workplace::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&format!("completions {shell}"), 0).stdout;
        for word in ["adapt", "weight-temperature", "info-max"] {
            assert!(
                script.contains(word),
                "{word} in the completions of {shell}"
            );
        }
    }
    let page = place.run("man", 0).stdout;
    assert!(page.contains(".TH ueo 1"), "{page}");
    place.run("man --output man/man1", 0);
    for name in ["ueo", "ueo-adapt", "ueo-predict", "ueo-run-move"] {
        let page = fs::read_to_string(place.path(format!("man/man1/{name}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    let adapt = fs::read_to_string(place.path("man/man1/ueo-adapt.1")).unwrap();
    assert!(
        adapt.contains("weight") && adapt.contains("run directory"),
        "{adapt}"
    );
}

#[test]
fn a_run_is_told_once_where_its_checkpoint_and_images_are() {
    let place = Workplace::new();
    place.adapt("");
    fs::rename(place.path("model"), place.path("elsewhere")).unwrap();
    fs::rename(place.path("images"), place.path("photos")).unwrap();
    place
        .run("predict --model run --images photos --output p.csv", 2)
        .says(&[
            "error: the base checkpoint",
            "hint:",
            "--base",
            "ueo run move",
        ]);
    place.run("run move run --base elsewhere --images photos", 0);
    place.run("predict --model run --images photos --output p.csv", 0);
    place.run("report run", 0);

    // Others are refused, and nothing is changed by that.
    let before = fs::read(place.path("run/run.json")).unwrap();
    fs::remove_file(place.path("photos/cat/0.png")).unwrap();
    place
        .run("run move run --images photos", 2)
        .says(&["error: the images in photos have changed"]);
    place.run("run move run", 2).says(&["--base"]);
    place
        .run("run move photos --base elsewhere", 2)
        .says(&["no run directory"]);
    assert_eq!(fs::read(place.path("run/run.json")).unwrap(), before);
}

#[test]
fn a_finished_run_is_extended() {
    let place = Workplace::new();
    place.adapt("");
    let extended = place.run("adapt --resume --epochs 4 --output run", 0);
    extended.says(&[
        "extending the run from 2 to 4 epochs; the learning rate starts anew",
        "accuracy  ",
        "next      ",
    ]);
    let settings = &place.json("run/run.json")["request"]["settings"];
    assert_eq!(settings["epochs"], 4);
    assert_eq!(settings["restart_after"][0], 2);
    // Three steps an epoch; the rate of the seventh is that of the first.
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let rates: Vec<f64> = metrics
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["learning_rate"]
                .as_f64()
                .unwrap()
        })
        .collect();
    assert_eq!(rates.len(), 12);
    assert_eq!((rates[6], rates[11]), (rates[0], rates[5]));
    assert!(rates[5] < rates[0] / 10.0);

    // The same as a run that was begun so; its settings can be given back.
    let whole = ADAPT.replace("--epochs 2", "--epochs 4 --restart-after 2");
    place.run(&whole.replace("--output run", "--output whole"), 0);
    let again = ADAPT.replace("--epochs 2", "--config run/run.json");
    place.run(&again.replace("--output run", "--output again"), 0);
    let adapted = |run: &str| fs::read(place.path(format!("{run}/adapted.safetensors"))).unwrap();
    assert_eq!(adapted("run"), adapted("whole"));
    assert_eq!(adapted("run"), adapted("again"));
    place.run("predict --model run --images images --output p.csv", 0);

    // As many epochs are nothing to do, fewer are refused, and the command that extends may be the whole one.
    place.run("adapt --resume --epochs 4 --output run", 0);
    place
        .run("adapt --resume --epochs 3 --output run", 2)
        .says(&["error: the run in run has 4 epochs", "hint:", "--output"]);
    let longer = ADAPT.replace("--epochs 2", "--epochs 5 --resume");
    place
        .run(&longer, 0)
        .says(&["extending the run from 4 to 5 epochs"]);
    place.run(&longer, 0);
    let settings = &place.json("run/run.json")["request"]["settings"];
    assert_eq!(settings["restart_after"], serde_json::json!([2, 4]));
}

#[test]
fn one_is_singular() {
    let place = Workplace::new();
    place.write("one.txt", "images/cat/0.png cat\n");
    let predict = "predict --model model --classes classes.txt --images one.txt --output p.csv";
    place
        .run(&format!("{predict} --threshold 0"), 0)
        .says(&["1 image, 1 known"]);
}

#[test]
fn a_directory_of_a_hubs_cache_is_a_model() {
    let place = Workplace::new();
    let cache = place.path("models--owner--clip");
    fs::create_dir_all(cache.join("snapshots")).unwrap();
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::rename(place.path("model"), cache.join("snapshots/0a1b2c")).unwrap();
    fs::write(cache.join("refs/main"), "0a1b2c").unwrap();
    let table = place.run("inspect --model models--owner--clip", 0).stdout;
    assert!(
        table.contains("snapshot: 0a1b2c") && table.contains("snapshots/0a1b2c"),
        "{table}"
    );
}

#[test]
fn a_model_that_is_not_there_comes_with_a_way_to_get_one() {
    let place = Workplace::new();
    place.run("inspect --model missing.pt", 2).says(&[
        "no such file or directory: missing.pt",
        "hint:",
        "--model hf-hub:",
        "ueo models",
    ]);
}

#[test]
fn an_activation_that_is_assumed_is_warned_of_until_it_is_named() {
    let place = Workplace::new();
    copy_model(
        "openai-vit-state-dict",
        "model.pt",
        true,
        &place.path("base"),
    );
    let assumed = "does not say its activation";
    let model = "--model base/model.pt --classes classes.txt --images images";
    place
        .run("inspect --model base/model.pt", 0)
        .says(&["warning:", assumed]);
    for command in [
        "evaluate",
        "adapt --epochs 1 --batch-size 12 --output assumed",
    ] {
        place
            .run(&format!("{command} {model}"), 0)
            .says(&["warning:", assumed]);
    }
    let named = "--activation gelu";
    let adapt = format!("adapt {model} {named} --epochs 1 --batch-size 12 --output run");
    let report = place.run(&adapt, 0);
    assert!(!report.stderr.contains(assumed), "{}", report.stderr);
    assert_eq!(place.json("run/run.json")["request"]["activation"], "gelu");

    // The run remembers it: without a word its model is the one that was adapted.
    let evaluate = |more: &str| {
        let command = format!("evaluate --images images --overwrite --output e.json {more}");
        let report = place.run(&command, 0);
        assert!(!report.stderr.contains(assumed), "{}", report.stderr);
        place.json("e.json")
    };
    assert_eq!(evaluate("run"), place.json("run/run.json")["adapted"]);
    for command in [
        "evaluate run --images images",
        "predict --model run --images images --output p.csv",
    ] {
        place.run(&format!("{command} {named}"), 2).says(&[
            "error: run is a run directory",
            "hint:",
            "--activation",
        ]);
    }
}

#[test]
fn photographs_of_phones_are_noticed_and_turned_where_asked() {
    let place = Workplace::new();
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../ueo/tests/fixtures/images");
    for name in ["jpeg_orientation_6.jpg", "png_orientation_6.png"] {
        let to = place.path(format!("images/cat/{name}"));
        fs::copy(format!("{images}/{name}"), to).unwrap();
    }
    place.adapt("").says(&[
        "warning: 2 images with an EXIF orientation",
        "--exif-orientation apply",
    ]);
    let turned = ADAPT.replace("--output run", "--output turned");
    let report = place.run(&format!("{turned} --exif-orientation apply"), 0);
    assert!(!report.stderr.contains("EXIF"), "{}", report.stderr);

    let cat = |more: &str| -> String {
        let predict = "predict --images images --output p.csv --overwrite";
        place.run(&format!("{predict} {more}"), 0);
        let table = fs::read_to_string(place.path("p.csv")).unwrap();
        let row = table.lines().find(|row| row.contains("png_orientation_6"));
        row.unwrap().to_owned()
    };
    // A run looks at images as it was told to, and can be told otherwise.
    let ignored = cat("--model run");
    assert_ne!(ignored, cat("--model run --exif-orientation apply"));
    assert_eq!(
        cat("--model turned"),
        cat("--model turned --exif-orientation apply")
    );
    assert_ne!(
        cat("--model turned"),
        cat("--model turned --exif-orientation ignore")
    );
}
