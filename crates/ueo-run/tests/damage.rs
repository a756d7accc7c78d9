//! Files of a run directory that were cut, reordered, exchanged or locked between two commands.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Place, StopAfter, adapt, begin, content, copy_tree, model, resume, resume_as};
use ueo::Device;
use ueo_run::{AdaptRequest, EVENT_FILE, NewPlaces, OpenedModel, RunError, move_run};

/// A run that was interrupted after some steps, with what it would have become.
fn interrupted(place: &Place) -> (AdaptRequest, PathBuf, PathBuf) {
    let mut request = place.request();
    request.settings.batch_size = 5;
    let reference = place.path("reference");
    adapt(begin(&request, false), &reference).unwrap();
    let run = place.path("run");
    // One step into the second epoch of four steps.
    let mut stop = StopAfter::steps(5);
    ueo_run::adapt(begin(&request, false), &run, &Device::cpu(), &mut stop).unwrap();
    (request, run, reference)
}

fn edit(path: &Path, change: impl FnOnce(Vec<&str>) -> String) {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, change(text.lines().collect())).unwrap();
}

#[test]
fn records_that_do_not_match_the_state_are_refused_and_left_as_they_are() {
    type Change = fn(Vec<&str>) -> String;
    let cases: [(&str, Change, &str); 7] = [
        (
            "metrics.jsonl",
            |lines| lines[..1].join("\n") + "\n",
            "metrics.jsonl: expected 5 records, found 1",
        ),
        (
            "metrics.jsonl",
            |lines| [lines[1], lines[0], lines[2], lines[3], lines[4]].join("\n") + "\n",
            "metrics.jsonl: line 1: expected the record of step 1, found that of step 2",
        ),
        (
            "metrics.jsonl",
            |lines| lines.join("\n"),
            "metrics.jsonl: expected 5 records, found 4",
        ),
        (
            "epochs.jsonl",
            |lines| lines[1..].join("\n") + "\n",
            "epochs.jsonl: line 1: expected the record of epoch 0, found that of epoch 1",
        ),
        (
            "predictions.csv",
            |lines| lines[..9].join("\n") + "\n",
            "predictions.csv: expected the rows of 18 images, found 8",
        ),
        (
            "predictions.csv",
            |lines| lines.join("\n").replace("cat/0-0.png", "cat/9.png") + "\n",
            "predictions.csv: it has no row of image cat/0-0.png",
        ),
        (
            "predictions.csv",
            |lines| lines.join("\n"),
            "predictions.csv: the last line has been cut",
        ),
    ];
    let place = Place::new(2);
    let (_, run, reference) = interrupted(&place);
    for (name, change, expected) in cases {
        let before = fs::read(run.join(name)).unwrap();
        edit(&run.join(name), change);
        let damaged = fs::read(run.join(name)).unwrap();
        let error = adapt(resume(), &run).unwrap_err();
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message += &format!(": {source}");
        }
        assert!(message.contains(expected), "{message}");
        assert!(fs::read(run.join(name)).unwrap() == damaged, "{name}");
        fs::write(run.join(name), before).unwrap();
    }
    // A record that cannot be opened is an error and no reason to begin it anew.
    fs::rename(run.join("metrics.jsonl"), run.join("kept")).unwrap();
    let error = adapt(resume(), &run).unwrap_err().to_string();
    assert!(error.contains("expected 5 records, found 0"), "{error}");
    fs::create_dir(run.join("metrics.jsonl")).unwrap();
    let error = adapt(resume(), &run).unwrap_err().to_string();
    assert!(error.contains("cannot open"), "{error}");
    fs::remove_dir(run.join("metrics.jsonl")).unwrap();
    fs::rename(run.join("kept"), run.join("metrics.jsonl")).unwrap();

    adapt(resume(), &run).unwrap();
    assert!(content(&run) == content(&reference));
}

#[test]
fn what_can_be_repaired_is_repaired() {
    let place = Place::new(2);
    let (_, run, reference) = interrupted(&place);
    // Rows in another order, records of steps that the state does not know, events that were lost.
    edit(&run.join("predictions.csv"), |mut lines| {
        lines[1..].reverse();
        lines.join("\n") + "\n"
    });
    edit(&run.join("metrics.jsonl"), |lines| {
        lines.join("\n") + "\n{\"step\":6,\"loss\":0}\n{\"st"
    });
    fs::write(run.join(EVENT_FILE), "no events").unwrap();
    fs::write(run.join(".ueo-123-4"), "left").unwrap();
    adapt(resume(), &run).unwrap();
    assert!(content(&run) == content(&reference));
}

#[test]
fn an_interrupted_pass_goes_on_where_it_was() {
    let place = Place::new(8);
    let request = place.request();
    let reference = place.path("reference");
    adapt(begin(&request, false), &reference).unwrap();
    let run = place.path("run");
    let interrupt = |start, batches| {
        let mut stop = StopAfter::batches(batches);
        let result = ueo_run::adapt(start, &run, &Device::cpu(), &mut stop);
        (result, stop.encoded)
    };
    // 72 images in batches of 32.
    let (result, encoded) = interrupt(begin(&request, false), 1);
    let error = result.unwrap_err().to_string();
    assert_eq!(
        (error.as_str(), encoded),
        ("interrupted after 32 of 72 images", 32)
    );
    let error = OpenedModel::open(&run, None, &Device::cpu(), None).unwrap_err();
    assert!(matches!(error, RunError::Unfinished { .. }), "{error}");
    // The first event says what is there already, the second is the batch after it.
    let (result, encoded) = interrupt(resume(), 2);
    assert!(result.is_err());
    assert_eq!(encoded, 64);
    adapt(resume_as(&request), &run).unwrap();
    assert!(content(&run) == content(&reference));
}

#[test]
fn an_interrupted_last_pass_goes_on_where_it_was() {
    let place = Place::new(8);
    let request = place.request();
    let reference = place.path("reference");
    adapt(begin(&request, false), &reference).unwrap();
    let run = place.path("run");
    // Three batches before the training, one after it.
    let mut stop = StopAfter::batches(4);
    ueo_run::adapt(begin(&request, false), &run, &Device::cpu(), &mut stop).unwrap();
    assert_eq!(stop.encoded, 32);
    let mut stop = StopAfter::batches(2);
    ueo_run::adapt(resume(), &run, &Device::cpu(), &mut stop).unwrap();
    assert_eq!(stop.encoded, 64);
    adapt(resume(), &run).unwrap();
    assert!(content(&run) == content(&reference));
}

#[test]
fn an_interrupted_replacement_leaves_the_old_run_whole() {
    let place = Place::new(8);
    let request = place.request();
    let run = place.path("run");
    adapt(begin(&request, false), &run).unwrap();
    let before = content(&run);
    let mut other = request.clone();
    other.settings.seed += 1;
    other.standalone = false;
    let mut stop = StopAfter::batches(1);
    let result = ueo_run::adapt(begin(&other, true), &run, &Device::cpu(), &mut stop);
    result.unwrap_err();
    OpenedModel::open(&run, None, &Device::cpu(), None).unwrap();
    for (name, old) in &before {
        assert!(content(&run).get(name) == Some(old), "{name}");
    }
    // The old run's command continues the old run, and the new one is given up.
    adapt(resume_as(&request), &run).unwrap();
    assert!(content(&run) == before);

    adapt(begin(&other, true), &run).unwrap();
    let after = content(&run);
    assert!(after["adapted.safetensors"] != before["adapted.safetensors"]);
    let left = after.keys().find(|name| name.starts_with("standalone"));
    assert_eq!(left, None, "of the old run");
}

#[test]
fn mistakes_in_the_inputs_of_a_replacement_cost_nothing() {
    let place = Place::new(1);
    let request = place.request();
    let run = place.path("run");
    adapt(begin(&request, false), &run).unwrap();
    let before = content(&run);
    let mistakes: [fn(&mut AdaptRequest); 6] = [
        |request| request.model = "/nowhere".into(),
        |request| request.images = "/nowhere".into(),
        |request| request.classes[0] = "long ".repeat(100),
        |request| request.settings.epochs = 0.into(),
        |request| request.threshold_images = Some("/nowhere".into()),
        |request| {
            request.settings = request.settings.with_method(ueo::Method::UeoOracle);
            request.oracle_labels = Some("/nowhere".into());
        },
    ];
    for (number, mistake) in mistakes.into_iter().enumerate() {
        let mut request = request.clone();
        mistake(&mut request);
        adapt(begin(&request, true), &run).unwrap_err();
        for (name, old) in &before {
            assert!(
                content(&run).get(name) == Some(old),
                "mistake {number}: {name}"
            );
        }
        OpenedModel::open(&run, None, &Device::cpu(), None).unwrap();
    }
}

#[test]
fn a_run_is_written_by_one_process_at_a_time() {
    let place = Place::new(2);
    let (request, run, _) = interrupted(&place);
    let held = fs::File::options()
        .write(true)
        .open(run.join(".ueo-lock"))
        .unwrap();
    held.lock().unwrap();
    for start in [begin(&request, true), resume(), resume_as(&request)] {
        let error = adapt(start, &run).unwrap_err();
        let this = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&this), "{error}");
    }
    drop(held);
    adapt(resume(), &run).unwrap();
}

#[test]
fn a_base_that_computes_something_else_is_refused() {
    let place = Place::new(2);
    let (_, run, _) = interrupted(&place);
    let edits: [(&str, &[(&str, &str)]); 3] = [
        ("config.json", &[("quick_gelu", "gelu")]),
        ("preprocessor_config.json", &[("0.48145466", "0.5")]),
        // Two tokens exchange their numbers.
        (
            "tokenizer.json",
            &[
                ("\"a</w>\": 320", "\"a</w>\": 321"),
                ("\"b</w>\": 321", "\"b</w>\": 320"),
            ],
        ),
    ];
    for (name, edits) in edits {
        let base = place.path("edited");
        copy_tree(&model(), &base);
        let mut text = fs::read_to_string(base.join(name)).unwrap();
        for (from, to) in edits {
            assert!(text.contains(from), "{name}: {from}");
            text = text.replace(from, to);
        }
        fs::write(base.join(name), text).unwrap();
        let start = ueo_run::Start::Resume {
            request: None,
            base: Some(base.clone()),
            epochs: None,
        };
        let error = adapt(start, &run).unwrap_err();
        let edited = matches!(error, RunError::BaseEdited { .. });
        assert!(edited, "{name}: {error}");
        let places = NewPlaces {
            base: Some(base.clone()),
            ..NewPlaces::default()
        };
        let before = fs::read(run.join("run.json")).unwrap();
        let error = move_run(&run, &places).unwrap_err();
        let edited = matches!(error, RunError::BaseEdited { .. });
        assert!(edited, "{name}: {error}");
        assert!(fs::read(run.join("run.json")).unwrap() == before);
        fs::remove_dir_all(base).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn writing_follows_no_symbolic_link() {
    use std::os::unix::fs::symlink;

    let place = Place::new(1);
    let request = place.request();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();

    // The directory itself may be a link.
    let real = place.path("real");
    fs::create_dir(&real).unwrap();
    let run = place.path("run");
    symlink(&real, &run).unwrap();
    adapt(begin(&request, false), &run).unwrap();
    assert!(real.join("run.json").is_file());

    for name in ["standalone", ".ueo-next", ".ueo-ready", "report.html"] {
        let _ = fs::remove_dir_all(real.join(name));
        symlink(&outside, real.join(name)).unwrap();
    }
    for name in [
        "metrics.jsonl",
        EVENT_FILE,
        "adapted.safetensors",
        "predictions.csv",
    ] {
        fs::remove_file(real.join(name)).unwrap();
        symlink(outside.join("precious"), real.join(name)).unwrap();
    }
    adapt(begin(&request, true), &run).unwrap_err();
    fs::remove_file(real.join(".ueo-next")).unwrap();
    adapt(begin(&request, true), &run).unwrap();
    let names: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["precious"]);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");

    // A file that grows is not opened through a link.
    let run = place.path("second");
    let mut stop = StopAfter::steps(1);
    ueo_run::adapt(begin(&request, false), &run, &Device::cpu(), &mut stop).unwrap();
    fs::rename(run.join("metrics.jsonl"), outside.join("metrics")).unwrap();
    symlink(outside.join("metrics"), run.join("metrics.jsonl")).unwrap();
    let error = adapt(resume(), &run).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("symbolic link"), "{error}: {source}");
}

/// Lists 40 images, and makes two folders in which the same names are images of cats and of dogs.
fn two_folders(place: &Place) -> [PathBuf; 2] {
    let names: Vec<String> = (0..40).map(|number| format!("{number}.png")).collect();
    fs::write(place.path("list.txt"), names.join("\n") + "\n").unwrap();
    ["cat", "dog"].map(|kind| {
        let folder = place.path(format!("of-{kind}"));
        fs::create_dir(&folder).unwrap();
        for name in &names {
            let image = place.path(format!("images/{kind}/0-0.png"));
            fs::copy(image, folder.join(name)).unwrap();
        }
        folder
    })
}

#[test]
fn a_prediction_never_goes_on_with_features_of_other_images() {
    let place = Place::new(1);
    let [cats, dogs] = two_folders(&place);
    let opened = OpenedModel::open(&model(), None, &Device::cpu(), None).unwrap();
    let request = |folder: &Path| ueo_run::PredictRequest {
        images: place.path("list.txt"),
        image_root: Some(folder.to_owned()),
        columns: Default::default(),
        classes: Some(ueo::data::ClassList::from_names(place.request().classes)),
        labels: Default::default(),
        score: None,
        score_temperature: None,
        threshold: ueo_run::ThresholdRequest::At(0.4),
        top_k: 1,
        strict: false,
    };
    let predict = |folder: &Path, kept: &Path, stop: &mut StopAfter| {
        let mut confidences = Vec::new();
        let mut row = |row: &ueo::session::ImagePrediction| {
            confidences.push(row.confidence);
            Ok(())
        };
        let made = ueo_run::predict_rows(&opened, &request(folder), kept, &mut row, stop);
        made.map(|_| confidences)
    };
    let whole = |folder: &Path, name: &str| {
        predict(
            folder,
            &place.path(name),
            &mut StopAfter::batches(usize::MAX),
        )
        .unwrap()
    };
    let (of_cats, of_dogs) = (whole(&cats, "all-cats"), whole(&dogs, "all-dogs"));
    assert!(of_cats != of_dogs);
    let kept = place.path("kept");
    predict(&cats, &kept, &mut StopAfter::batches(1)).unwrap_err();
    assert!(whole(&dogs, "kept") == of_dogs);
}

#[test]
fn a_run_never_begins_with_features_of_other_images() {
    let place = Place::new(1);
    let [cats, dogs] = two_folders(&place);
    let mut request = place.request();
    request.images = place.path("list.txt");
    request.standalone = false;
    request.image_root = Some(dogs);
    let reference = place.path("reference");
    adapt(begin(&request, false), &reference).unwrap();
    let of_cats = AdaptRequest {
        image_root: Some(cats),
        ..request.clone()
    };
    let run = place.path("run");
    let mut stop = StopAfter::batches(1);
    ueo_run::adapt(begin(&of_cats, false), &run, &Device::cpu(), &mut stop).unwrap_err();
    adapt(begin(&request, false), &run).unwrap();
    let read = |run: &Path| fs::read(run.join("predictions.csv")).unwrap();
    assert!(read(&run) == read(&reference));
}

#[test]
fn the_parameters_of_another_run_are_refused() {
    let place = Place::new(1);
    let request = place.request();
    let (run, other, centred) = (
        place.path("run"),
        place.path("other"),
        place.path("centred"),
    );
    adapt(begin(&request, false), &run).unwrap();
    let mut seeded = request.clone();
    seeded.settings.seed += 1;
    adapt(begin(&seeded, false), &other).unwrap();
    let mut centring = request.clone();
    centring.settings = ueo::Settings::new(ueo::Method::HalfCentring);
    adapt(begin(&centring, false), &centred).unwrap();
    let open = |run: &Path| OpenedModel::open(run, None, &Device::cpu(), None);
    let refused = |run: &Path| matches!(open(run), Err(RunError::OtherAdapted { .. }));
    let name = "adapted.safetensors";
    let own = fs::read(run.join(name)).unwrap();
    fs::copy(other.join(name), run.join(name)).unwrap();
    assert!(refused(&run));
    // Runs of earlier versions do not say which are theirs; a method that centres or does not tells.
    let forget = |run: &Path| {
        edit(&run.join("run.json"), |lines| {
            let others = lines
                .into_iter()
                .filter(|line| !line.contains("adapted_sha256"));
            others.collect::<Vec<_>>().join("\n")
        });
    };
    forget(&run);
    assert!(!refused(&run));
    fs::copy(centred.join(name), run.join(name)).unwrap();
    assert!(refused(&run));
    forget(&centred);
    fs::write(centred.join(name), &own).unwrap();
    assert!(refused(&centred));
    fs::write(run.join(name), own).unwrap();
    open(&run).unwrap();
}
