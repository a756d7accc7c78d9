//! Several ranks do what one process does: the same losses, gradients and parameters up to the rounding of sums, and the same passes to the
//! bit. The ranks are threads here; the program's are processes.

mod fixtures;

use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ueo::Settings;
use ueo::adapt::{
    ActivationCache, AdaptState, Adaptation, Augmentation, CallerError, Observer, Outcome,
    StepRecord, TrainedBlocks,
};
use ueo::exchange::Exchange;
use ueo::guard::{Criterion, Keep, Scoring};
use ueo::method::{Method, TrainedPart};
use ueo::session::{Classifier, Model, Stage, encode_images_keeping};
use ueo::tensor::TensorMap;
use ueo::text::Overlong;

use fixtures::noise::Noise;

/// Relative tolerance of everything that is compared.
const TOLERANCE: f64 = 1e-5;
/// Of how far a parameter has moved, which gradients of all steps have added up to.
const MOVEMENT_TOLERANCE: f64 = 1e-3;
/// Batches of 7, 7 and 6 images, six times: 18 steps.
const IMAGES: usize = 20;
const BATCH_SIZE: usize = 7;
const EPOCHS: usize = 6;
const CLASSES: [&str; 5] = ["cat", "dog", "red_fox", "old dog", "zoo"];
/// A rank that waits longer than this waits for one that has failed.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Where ranks that are threads meet.
#[derive(Debug, Default)]
struct Meeting {
    state: Mutex<Contributions>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Contributions {
    slots: Vec<Option<Vec<u8>>>,
    /// Ranks that have taken what all contributed.
    taken: usize,
    /// Bytes that were contributed so far, by all ranks.
    bytes: usize,
}

#[derive(Debug)]
struct Rank {
    rank: usize,
    ranks: usize,
    meeting: Arc<Meeting>,
}

impl Rank {
    fn all(ranks: usize) -> Vec<Arc<Self>> {
        let meeting = Arc::new(Meeting::default());
        meeting.state.lock().unwrap().slots = vec![None; ranks];
        let rank = |rank| {
            let meeting = Arc::clone(&meeting);
            Arc::new(Self {
                rank,
                ranks,
                meeting,
            })
        };
        (0..ranks).map(rank).collect()
    }
}

impl Exchange for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        let Meeting { state, changed } = &*self.meeting;
        let wait = |state, until: &dyn Fn(&Contributions) -> bool| {
            let waited = changed.wait_timeout_while(state, LONGEST_WAIT, |state| !until(state));
            let (state, timeout) = waited.unwrap();
            assert!(!timeout.timed_out(), "rank {} waits in vain", self.rank);
            state
        };
        // What was contributed before has to be taken first.
        let mut state = wait(state.lock().unwrap(), &|state| {
            state.slots[self.rank].is_none()
        });
        state.slots[self.rank] = Some(own.to_vec());
        state.bytes += own.len();
        changed.notify_all();
        let mut state = wait(state, &|state| state.slots.iter().all(Option::is_some));
        let all = state.slots.iter().flatten().cloned().collect();
        state.taken += 1;
        if state.taken == self.ranks {
            state.taken = 0;
            state.slots.fill(None);
            changed.notify_all();
        } else {
            drop(wait(state, &|state| {
                state.slots[self.rank].is_none() || state.taken == 0
            }));
        }
        all
    }
}

/// Keeps the records of all steps.
#[derive(Default)]
struct Records(Vec<StepRecord>);

impl Observer for Records {
    fn on_step(
        &mut self,
        record: &StepRecord,
        _: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        self.0.push(record.clone());
        Ok(ControlFlow::Continue(()))
    }
}

/// What a rank knows in the end.
struct Adapted {
    records: Vec<StepRecord>,
    /// The parameters before and after, tensor by tensor.
    parameters: Vec<[Vec<f32>; 2]>,
    features: Vec<f32>,
}

/// The adaptation as one of the ranks makes it.
fn adapt(model: &Model, settings: &Settings, rank: &Arc<Rank>) -> Adapted {
    let exchange: Arc<dyn Exchange> = Arc::clone(rank) as Arc<dyn Exchange>;
    let model = &model.clone().with_exchange(exchange);
    let prompts = model.prompts(&CLASSES.map(str::to_owned)).unwrap();
    let images = Noise::new(IMAGES, model);
    let (clip, parameters) = (&*model.clip, &model.parameters);
    let (affine, stage) = (&parameters.affine, Stage::ZeroShot);
    let encoded = encode_images_keeping(&mut (), model, affine, &images, stage, &mut ()).unwrap();
    let classifier = Classifier::new(clip, &prompts, parameters);
    let mut pass = encoded.zero_shot(clip, &classifier);
    pass.known = Some((0..IMAGES).map(|image| image % 3 != 0).collect());
    let objective = settings.objective().unwrap();
    let adaptation = Adaptation {
        clip,
        prompts: &prompts,
        objective: &*objective,
        settings,
        scoring: Scoring::new(clip.logit_scale()),
        activation_cache: ActivationCache::default(),
        exchange: model.exchange(),
    };
    let state = adaptation.begin(parameters.clone(), &pass).unwrap();
    let mut records = Records::default();
    let outcome = adaptation.run_knowing(&encoded.features, state, &images, &mut records);
    let Outcome::Finished(state) = outcome.unwrap() else {
        panic!("nobody has interrupted");
    };
    let data = |tensors: TensorMap| tensors.into_values().map(|tensor| tensor.data);
    let pairs = data(parameters.to_host()).zip(data(state.parameters.to_host()));
    Adapted {
        records: records.0,
        parameters: pairs.map(|(before, after)| [before, after]).collect(),
        features: encoded.features,
    }
}

/// The adaptation by so many ranks, as each of them knows it.
fn adapt_by(ranks: usize, model: &Model, settings: &Settings) -> Vec<Adapted> {
    let ranks = Rank::all(ranks);
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .iter()
            .map(|rank| scope.spawn(|| adapt(model, settings, rank)))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

fn assert_near(what: &str, found: f64, expected: f64) {
    // Some losses cancel to nearly nothing, whose terms do not.
    let difference = (found - expected).abs() / expected.abs().max(0.1);
    assert!(
        difference <= TOLERANCE,
        "{what}: found {found}, expected {expected}"
    );
}

/// Checks that a tensor is what it should be, and has moved as far as it should, up to the rounding of its own numbers.
fn assert_alike(what: &str, found: &[Vec<f32>; 2], expected: &[Vec<f32>; 2]) {
    let largest = |numbers: &mut dyn Iterator<Item = f32>| {
        numbers.fold(0.0_f64, |largest, number| largest.max(number.abs().into()))
    };
    let [before, after] = expected;
    let movement = largest(
        &mut after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before),
    );
    let size = largest(&mut after.iter().copied());
    // Each of 18 steps rounds once.
    let rounding = 18.0 * f64::from(f32::EPSILON) * size;
    let allowed = (TOLERANCE * size).min(MOVEMENT_TOLERANCE * movement + rounding);
    let difference = largest(&mut after.iter().zip(&found[1]).map(|(a, b)| a - b));
    assert!(
        difference <= allowed,
        "{what}: parameters differ by {difference}, allowed are {allowed}"
    );
}

fn compare(what: &str, model: &Model, settings: &Settings, numbers_of_ranks: &[usize]) {
    let alone = adapt_by(1, model, settings).swap_remove(0);
    assert!(!alone.records.is_empty());
    for &ranks in numbers_of_ranks {
        let what = format!("{what}, {ranks} ranks");
        let all = adapt_by(ranks, model, settings);
        let found = &all[0];
        assert_eq!(found.records.len(), alone.records.len(), "{what}");
        for (found, expected) in found.records.iter().zip(&alone.records) {
            let what = |quantity: &str| format!("{what}, step {}: {quantity}", expected.step);
            assert_near(&what("loss"), found.loss, expected.loss);
            let marginal = (found.marginal_entropy, expected.marginal_entropy);
            assert_near(&what("marginal entropy"), marginal.0, marginal.1);
            let context = (found.context_grad_norm, expected.context_grad_norm);
            assert_near(&what("context gradient"), context.0, context.1);
            let affine = (found.affine_grad_norm, expected.affine_grad_norm);
            assert_near(&what("affine gradient"), affine.0, affine.1);
        }
        for (found, expected) in found.parameters.iter().zip(&alone.parameters) {
            assert_alike(&what, found, expected);
        }
        // Every rank has made the same updates, to the bit.
        for other in &all {
            assert!(other.parameters == found.parameters, "{what}: ranks differ");
            assert!(other.features == alone.features, "{what}: features differ");
        }
    }
}

/// A tiny vision transformer.
fn transformer() -> Model {
    Model::open(fixtures::path("checkpoints").join("hf-vit/model")).unwrap()
}

/// A small ResNet.
fn resnet() -> Model {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/iconclip-resnet");
    Model::open(shipped).unwrap()
}

fn settings(method: Method) -> Settings {
    let mut settings = Settings::new(method);
    settings.epochs = EPOCHS.into();
    settings.batch_size = BATCH_SIZE;
    if method.path_lengths().is_none() {
        settings.context_learning_rate = 0.001;
        settings.affine_learning_rate = 0.0005;
    }
    settings
}

#[test]
fn every_method_trains_the_same_whatever_the_number_of_ranks() {
    let model = transformer();
    for &method in Method::ALL.iter().filter(|method| method.trains()) {
        compare(method.name(), &model, &settings(method), &[2, 3, 4]);
    }
    let model = resnet();
    compare("ResNet", &model, &settings(Method::Ueo), &[3]);
}

#[test]
fn batches_and_classes_may_be_fewer_than_ranks() {
    let model = transformer();
    for method in [Method::Ueo, Method::Dance, Method::Cliptta] {
        let mut settings = settings(method);
        // Batches of 3 images and one of 2; of one image alone.
        for (batch_size, epochs) in [(3, 2), (1, 1)] {
            settings.batch_size = batch_size;
            settings.epochs = epochs.into();
            compare(method.name(), &model, &settings, &[2, 4, 7]);
        }
    }
}

#[test]
fn what_is_computed_once_and_passes_between_epochs_are_divided_too() {
    for model in [transformer(), resnet()] {
        let mut fixed = settings(Method::Ueo);
        fixed.augmentation = Augmentation::None;
        fixed.keep = Keep::BestBy(Criterion::SoftNeighborhoodDensity);
        compare("fixed views", &model, &fixed, &[2, 3]);
        fixed.micro_batch = Some(2);
        compare("micro-batches", &model, &fixed, &[2, 3]);
        fixed.train = Some(TrainedPart::Context);
        compare("context alone", &model, &fixed, &[2, 3]);
        fixed.train = Some(TrainedPart::Affine);
        compare("affine parameters alone", &model, &fixed, &[2, 3]);
        fixed.train_blocks = TrainedBlocks::last(1).unwrap();
        if fixed.train_blocks.check(&model.clip).is_ok() {
            compare("last block", &model, &fixed, &[2, 3]);
        }
    }
}

#[test]
fn texts_are_the_same_to_the_bit() {
    let model = transformer();
    // More than go through the tower at once.
    let texts: Vec<String> = (0..3_000).map(|text| format!("text {text}")).collect();
    let features = |model: &Model| {
        let features = model.text_features(&texts, Overlong::Error).unwrap();
        features.try_into_vec_as::<f32>().unwrap()
    };
    let expected = features(&model);
    let ranks = Rank::all(3);
    std::thread::scope(|scope| {
        for rank in &ranks {
            let exchange = Arc::clone(rank) as Arc<dyn Exchange>;
            let model = model.clone().with_exchange(exchange);
            let (features, expected) = (&features, &expected);
            scope.spawn(move || assert!(features(&model) == *expected));
        }
    });
    let exchanged = ranks[0].meeting.state.lock().unwrap().bytes;
    assert_eq!(exchanged, 4 * expected.len(), "each rank encodes its part");
}

/// Bytes that all ranks together contribute to an adaptation of so many epochs.
fn bytes_of(ranks: usize, model: &Model, settings: &Settings, epochs: usize) -> usize {
    let mut settings = settings.clone();
    settings.epochs = epochs.into();
    let ranks = Rank::all(ranks);
    std::thread::scope(|scope| {
        for rank in &ranks {
            let settings = &settings;
            scope.spawn(move || adapt(model, settings, rank));
        }
    });
    ranks[0].meeting.state.lock().unwrap().bytes
}

#[test]
fn a_step_exchanges_what_the_documentation_says() {
    let model = transformer();
    let mut settings = settings(Method::Ueo);
    settings.batch_size = IMAGES / 2;
    let embed_dim = model.clip.config().embed_dim;
    let trained: usize = {
        let tensors = model.parameters.to_host().into_values();
        tensors.map(|tensor| tensor.data.len()).sum()
    };
    for ranks in [2, 3] {
        let features = (settings.batch_size + CLASSES.len()) * embed_dim;
        // And a byte per rank that says whether somebody wants to stop.
        let step = 4 * (features + ranks * trained) + ranks;
        let [few, more] = [1, 3].map(|epochs| bytes_of(ranks, &model, &settings, epochs));
        assert_eq!(more - few, 4 * step, "two epochs of two steps");
    }
}
