//! Files of a run directory with seeded damage, and with values that lead out of the run: they are refused by name or read, and
//! nothing panics, whatever they hold.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use support::{Place, StopAfter, adapt, begin, copy_tree, model, resume};
use ueo::{Device, Method, Model};
use ueo_run::{AdaptRequest, EVENT_FILE, OpenedModel, RunDirectory, RunError, fuzzing};

/// What is put into a valid file.
const TOKENS: [&str; 16] = [
    "\n",
    ",",
    "\"",
    "}",
    "[",
    "-1",
    "0",
    "1e999",
    "1e-999",
    "NaN",
    "inf",
    "null",
    "true",
    "99999999999999999999",
    "\u{1b}",
    "=1+1",
];
/// Inputs per kind of file for the readers alone.
const INPUTS: usize = 1_000;
/// Inputs per file of a whole run.
const RUNS: usize = 60;
/// Longest time for one input, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn damaged(valid: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    let mut below = |end: usize| (rng.next_u64() % end.max(1) as u64) as usize;
    for _ in 0..1 + below(3) {
        let place = below(bytes.len());
        let end = (place + below(40)).min(bytes.len());
        let token = TOKENS[below(TOKENS.len())].bytes();
        match below(6) {
            0 => bytes[place..end]
                .iter_mut()
                .take(1)
                .for_each(|byte| *byte ^= 1 << (place % 8)),
            1 => bytes.truncate(place.max(1)),
            2 => drop(bytes.drain(place..end)),
            3 => {
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
            4 => drop(bytes.splice(place..place, token)),
            _ => {
                // A number is what leads out of an array.
                let digits = |from: usize| bytes[from..].iter().position(u8::is_ascii_digit);
                let Some(first) = digits(place).map(|after| place + after) else {
                    continue;
                };
                let number = bytes[first..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit());
                let end = first + number.count();
                bytes.splice(first..end, token);
            }
        }
    }
    bytes
}

fn quickly<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(started.elapsed() < PATIENCE, "{what}");
    result
}

/// A run that was interrupted after five of eight steps.
fn interrupted(request: &AdaptRequest, run: &Path) {
    let mut stop = StopAfter::steps(5);
    ueo_run::adapt(begin(request, false), run, &Device::cpu(), &mut stop).unwrap();
}

fn request(place: &Place) -> AdaptRequest {
    let mut request = place.request();
    request.settings.batch_size = 5;
    request.standalone = false;
    request
}

#[test]
fn the_readers_take_whatever_comes() {
    let place = Place::new(2);
    let request = request(&place);
    let run = place.path("run");
    interrupted(&request, &run);
    let model = Model::open(model()).unwrap();
    type Reader<'a> = &'a dyn Fn(&[u8]) -> bool;
    let readers: [(&str, Reader<'_>); 6] = [
        ("run.json", &fuzzing::record),
        ("metrics.jsonl", &fuzzing::records),
        ("epochs.jsonl", &fuzzing::records),
        ("predictions.csv", &|bytes| {
            fuzzing::predictions(bytes, &request.classes)
        }),
        ("state.safetensors", &|bytes| {
            fuzzing::state(bytes, &model.clip)
        }),
        (EVENT_FILE, &fuzzing::frames),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for (name, reader) in readers {
        let valid = fs::read(run.join(name)).unwrap();
        assert!(reader(&valid), "{name} is valid before");
        let accepted = (0..INPUTS)
            .filter(|_| quickly(name, || reader(&damaged(&valid, &mut rng))))
            .count();
        println!("{name}: {accepted} of {INPUTS} accepted");
        assert!((1..INPUTS).contains(&accepted), "{name}: {accepted}");
    }
}

#[test]
fn a_damaged_run_goes_on_or_is_refused() {
    let place = Place::new(2);
    let request = request(&place);
    let (begun, finished, run) = (
        place.path("begun"),
        place.path("finished"),
        place.path("run"),
    );
    interrupted(&request, &begun);
    adapt(begin(&request, false), &finished).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    for (whole, name) in [
        (&begun, "run.json"),
        (&begun, "metrics.jsonl"),
        (&begun, "epochs.jsonl"),
        (&begun, "predictions.csv"),
        (&begun, "state.safetensors"),
        (&begun, EVENT_FILE),
        (&finished, "run.json"),
        (&finished, "adapted.safetensors"),
    ] {
        let mut refused = 0;
        for _ in 0..RUNS {
            let _ = fs::remove_dir_all(&run);
            copy_tree(whole, &run);
            let bytes = damaged(&fs::read(run.join(name)).unwrap(), &mut rng);
            fs::write(run.join(name), bytes).unwrap();
            let result = quickly(name, || match whole == &finished {
                true => OpenedModel::open(&run, None, &Device::cpu(), None).map(drop),
                false => adapt(resume(), &run).map(drop),
            });
            if let Err(error) = result {
                refused += 1;
                let message = error.to_string();
                assert!(!message.contains('\u{1b}'), "{message:?}");
                assert!(message.len() < 2_000, "{message}");
            }
        }
        println!("{name}: {refused} of {RUNS} refused");
    }
}

/// Name, type, shape and bytes of a tensor.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Changes the tensors of a file.
fn edit(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone();
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let (shape, data) = (view.shape().to_vec(), view.data().to_vec());
            (name, (view.dtype(), shape, data))
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        let view = TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

fn put(tensors: &mut Tensors, name: &str, shape: &[usize], values: &[f64]) {
    let (dtype, ..) = tensors[name];
    let bytes = match dtype {
        Dtype::F64 => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        _ => values
            .iter()
            .flat_map(|value| (*value as f32).to_le_bytes())
            .collect(),
    };
    tensors.insert(name.to_owned(), (dtype, shape.to_vec(), bytes));
}

/// A run of a method that was interrupted, whose state is changed and then refused with `expected`.
fn refuse_state(place: &Place, begun: &Path, change: impl FnOnce(&mut Tensors), expected: &str) {
    let run: PathBuf = place.path("run");
    let _ = fs::remove_dir_all(&run);
    copy_tree(begun, &run);
    let state = run.join("state.safetensors");
    edit(&state, change);
    let before = fs::read(&state).unwrap();
    let error = adapt(resume(), &run).unwrap_err();
    assert!(matches!(error, RunError::State { .. }), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    assert!(fs::read(&state).unwrap() == before, "it is left as it is");
}

#[test]
fn states_with_values_of_another_run_are_refused() {
    type Change = fn(&mut Tensors);
    let of_ueo: [(Change, &str); 8] = [
        (
            |tensors| {
                let width = tensors["context"].1[1];
                put(tensors, "context", &[100, width], &vec![0.0; 100 * width]);
            },
            "expected a state of 7 context vectors, found 100",
        ),
        (
            |tensors| {
                let shape = tensors["context"].1.clone();
                let values = vec![f64::NAN; shape.iter().product()];
                put(tensors, "context", &shape, &values);
            },
            "tensor `context`: expected finite numbers",
        ),
        (
            |tensors| put(tensors, "watch.counts", &[2], &[1e300, 3.0]),
            "tensor `watch.counts`: expected a count, found 1",
        ),
        (
            |tensors| put(tensors, "watch.counts", &[2], &[0.5, 3.0]),
            "expected a count, found 0.5",
        ),
        (
            |tensors| {
                put(tensors, "watch.tally", &[7], &[0.0; 7]);
                put(tensors, "watch.counts", &[2], &[1.0, 2.0]);
            },
            "expected a state of 3 classes, found 2",
        ),
        (
            |tensors| put(tensors, "watch.zero_shot_classes", &[17], &[0.0; 17]),
            "expected a state of 18 images, found 17",
        ),
        (
            |tensors| {
                let values = [f64::INFINITY; 18];
                put(tensors, "watch.zero_shot_classes", &[18], &values);
            },
            "expected finite numbers",
        ),
        (
            |tensors| drop(tensors.remove("method.confidence_weights")),
            "confidence_weights",
        ),
    ];
    let of_upl: [(Change, &str); 3] = [
        (
            |tensors| put(tensors, "method.pseudo_labels", &[18], &[3.0; 18]),
            "expected indices below 3, found 3",
        ),
        (
            |tensors| put(tensors, "method.pseudo_labels", &[18], &[-1.0; 18]),
            "found -1 alone",
        ),
        (
            |tensors| put(tensors, "method.pseudo_labels", &[18], &[0.5; 18]),
            "expected indices below 3, found 0.5",
        ),
    ];
    let of_dance: [(Change, &str); 1] = [(
        |tensors| {
            let (name, shape) = tensors
                .iter()
                .find(|(name, (_, shape, _))| name.starts_with("method.") && shape.len() == 2)
                .map(|(name, (_, shape, _))| (name.clone(), shape.clone()))
                .unwrap();
            put(tensors, &name, &[shape[0], 1], &vec![1.0; shape[0]]);
        },
        "expected shape [18,",
    )];
    let place = Place::new(2);
    for (method, changes) in [
        (Method::Ueo, &of_ueo[..]),
        (Method::Upl, &of_upl[..]),
        (Method::Dance, &of_dance[..]),
    ] {
        let mut request = request(&place);
        request.settings = request.settings.with_method(method);
        let begun = place.path(format!("begun-{method}"));
        interrupted(&request, &begun);
        for (change, expected) in changes {
            refuse_state(&place, &begun, change, expected);
        }
    }
}

#[test]
fn results_with_values_that_make_no_sense_are_refused() {
    let place = Place::new(1);
    let finished = place.path("finished");
    adapt(begin(&request(&place), false), &finished).unwrap();
    let run = place.path("run");
    let again = || {
        let _ = fs::remove_dir_all(&run);
        copy_tree(&finished, &run);
    };
    again();
    edit(&run.join("adapted.safetensors"), |tensors| {
        let width = tensors["context"].1[1];
        put(tensors, "context", &[100, width], &vec![0.0; 100 * width]);
    });
    let error = OpenedModel::open(&run, None, &Device::cpu(), None).unwrap_err();
    assert!(
        error.to_string().contains("expected shape [7, ")
            && error.to_string().contains("found [100, "),
        "{error}"
    );
    let opened = OpenedModel::open(&finished, None, &Device::cpu(), None).unwrap();
    let saved = opened
        .model
        .with_saved(run.join("adapted.safetensors"), Method::Ueo);
    assert!(saved.is_err());

    for value in ["NaN", "inf", "-inf", "1e999"] {
        again();
        let path = run.join("predictions.csv");
        let text = fs::read_to_string(&path).unwrap();
        let confidence = text.lines().nth(1).unwrap().split(',').nth(2).unwrap();
        fs::write(&path, text.replacen(confidence, value, 1)).unwrap();
        let classes = &opened.run.as_ref().unwrap().request.classes;
        let error = RunDirectory::open(&run).unwrap().read_predictions(classes);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("expected a finite number"),
            "{value}: {error}"
        );
    }
}
