//! Runs that version 0.1.0 wrote are opened, predicted with and resumed to what that version gave
//! (tools/fixtures/version_0_1_0.py).

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use support::{Place, adapt, begin, copy_tree, fixture, model, resume};
use ueo::Device;
use ueo_run::{OpenedModel, PredictRequest, RunDirectory, RunStatus, ThresholdRequest, predict};

/// What sums in another order may change on another processor.
const TOLERANCE: f32 = 1e-4;

/// A copy of a run whose paths lead to a checkpoint that has moved and to the images of the fixture.
fn run_of_0_1_0(place: &Place, name: &str) -> PathBuf {
    let run = place.path(name);
    copy_tree(&fixture(name), &run);
    let record = fs::read_to_string(run.join("run.json")).unwrap();
    let images = place.path("fixture-images");
    if !images.exists() {
        copy_tree(&fixture("images"), &images);
    }
    let record = record.replace("/fixture/images", images.to_str().unwrap());
    fs::write(run.join("run.json"), record).unwrap();
    run
}

/// The largest difference between the numbers of two files with the same tensors.
fn distance(left: &Path, right: &Path) -> f32 {
    let (left, right) = (fs::read(left).unwrap(), fs::read(right).unwrap());
    let tensors = |bytes| {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        let values: Vec<f32> = names
            .iter()
            .flat_map(|name| file.tensor(name).unwrap().data().chunks(4))
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        (names, values)
    };
    let ((left_names, left), (right_names, right)) = (tensors(&left), tensors(&right));
    assert_eq!(left_names, right_names);
    assert_eq!(left.len(), right.len());
    let pairs = left.iter().zip(&right);
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn a_finished_run_opens_and_predicts() {
    let place = Place::new(1);
    let run = run_of_0_1_0(&place, "finished");
    let opened = OpenedModel::open(&run, Some(&model()), &Device::cpu(), None).unwrap();
    let record = opened.run.as_ref().unwrap();
    assert_eq!(record.ueo_version, "0.1.0");
    assert_eq!(record.status, RunStatus::Finished);
    let directory = RunDirectory::open(&run).unwrap();
    assert_eq!(directory.read_metrics().unwrap().len(), record.total_steps);
    assert_eq!(directory.read_epochs().unwrap().len(), 3);
    let classes = &record.request.classes;
    assert_eq!(directory.read_predictions(classes).unwrap().len(), 9);

    let request = PredictRequest {
        images: place.path("fixture-images"),
        image_root: None,
        columns: ueo::data::ParquetColumns::default(),
        classes: None,
        labels: Default::default(),
        score: None,
        score_temperature: None,
        threshold: ThresholdRequest::Stored,
        top_k: 1,
        strict: true,
    };
    let predicted = predict(&opened, &request, &mut ()).unwrap();
    let expected = fs::read_to_string(fixture("predicted.csv")).unwrap();
    let expected: Vec<Vec<&str>> = expected
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    assert_eq!(predicted.images.len(), expected.len());
    for (image, row) in predicted.images.iter().zip(expected) {
        let found = [&image.path, &image.label, &image.known.to_string()];
        assert_eq!(found, [row[0], row[1], row[3]]);
        let confidence: f64 = row[2].parse().unwrap();
        assert!((image.confidence - confidence).abs() < f64::from(TOLERANCE));
    }
}

#[test]
fn a_killed_run_resumes_to_the_result_of_that_version() {
    let place = Place::new(1);
    let run = run_of_0_1_0(&place, "interrupted");
    let base = Some(model());
    let start = ueo_run::Start::Resume {
        request: None,
        base,
        epochs: None,
    };
    let report = adapt(start, &run).unwrap();
    assert_eq!(report.record.status, RunStatus::Finished);
    let file = "adapted.safetensors";
    let (resumed, expected) = (run.join(file), fixture("finished").join(file));
    assert!(distance(&resumed, &expected) < TOLERANCE);

    // Where this processor computes as the one that made the fixture, all bytes are the same.
    let fresh = place.path("fresh");
    adapt(begin(&report.record.request, false), &fresh).unwrap_err();
    let mut request = report.record.request.clone();
    request.model = model();
    adapt(begin(&request, false), &fresh).unwrap();
    assert!(distance(&fresh.join(file), &expected) < TOLERANCE);
    let same = |file| {
        fs::read(fresh.join(file)).unwrap() == fs::read(fixture("finished").join(file)).unwrap()
    };
    let exact = same(file);
    println!("this processor gives the bytes of the fixture: {exact}");
    for file in [file, "state.safetensors", "epochs.jsonl"] {
        assert_eq!(same(file), exact, "{file} of a new run");
        let resumed = fs::read(run.join(file)).unwrap();
        let expected = fs::read(fixture("finished").join(file)).unwrap();
        assert!(!exact || resumed == expected, "{file}");
    }
    // The table has other names of columns now, and says the same.
    let table = |run: &Path| {
        let directory = RunDirectory::open(run).unwrap();
        directory
            .read_predictions(&report.record.request.classes)
            .unwrap()
    };
    let expected = table(&fixture("finished"));
    assert_eq!(table(&fresh) == expected, exact);
    assert!(!exact || table(&run) == expected);
}

#[test]
fn what_version_0_1_0_left_before_the_first_state_can_be_continued() {
    let place = Place::new(1);
    let reference = place.path("reference");
    let request = place.request();
    adapt(begin(&request, false), &reference).unwrap();
    let expected = support::content(&reference);

    // It wrote the record first, then predictions, epochs and the state, each through a temporary file.
    let run = place.path("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join(".probe"), "ueo").unwrap();
    fs::write(run.join(".ueo-Xc3df1"), "{\"format").unwrap();
    adapt(begin(&request, false), &run).unwrap();
    assert!(support::content(&run) == expected);

    let early = RunDirectory::open(&reference)
        .unwrap()
        .read_record()
        .unwrap();
    let early = ueo_run::RunRecord {
        status: RunStatus::Incomplete,
        ..early
    };
    for name in ["adapted.safetensors", "state.safetensors", "metrics.jsonl"] {
        fs::remove_file(run.join(name)).unwrap();
    }
    RunDirectory::open(&run)
        .unwrap()
        .write_record(&early)
        .unwrap();
    adapt(resume(), &run).unwrap();
    assert!(support::content(&run) == expected);
}
