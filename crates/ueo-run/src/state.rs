//! The state from which an adaptation can be resumed, as a file.

use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use ueo::adapt::{AdaptState, BestEpoch, TrainedParameters, WatchState};
use ueo::guard::Tally;
use ueo::method::Memory;
use ueo::model::Clip;
use ueo::quote;
use ueo::tensor::{HostTensor, TensorMap};

use super::RunError;

/// What the names of the method's tensors begin with in the state.
const MEMORY_PREFIX: &str = "method.";
/// What the names of the best epoch's parameters begin with in the state.
const BEST_PREFIX: &str = "best.";
/// Name of the zero-shot class of each image in the state.
const ZERO_SHOT_CLASSES: &str = "watch.zero_shot_classes";
/// Name of the sums over the epoch in progress in the state, in f64.
const TALLY: &str = "watch.tally";
/// Name of epoch and criterion of the best epoch in the state, in f64.
const BEST: &str = "watch.best";
/// Name of the number of epochs whose record has been made and of the number of classes in the state, in f64.
const COUNTS: &str = "watch.counts";
/// Metadata key of the number of steps done, the only one: of several, the order in the file would be random.
const STEP: &str = "step";

/// The content of `state.safetensors`.
pub(crate) fn encode_state(state: &AdaptState) -> Result<Vec<u8>, RunError> {
    let mut tensors = state.parameters.to_host();
    for (name, tensor) in state.memory.to_tensors() {
        tensors.insert(format!("{MEMORY_PREFIX}{name}"), tensor);
    }
    let watch = &state.watch;
    let zero_shot = watch.zero_shot_classes.iter();
    tensors.insert(
        ZERO_SHOT_CLASSES.to_owned(),
        HostTensor {
            shape: vec![watch.zero_shot_classes.len()],
            // Exact up to 16 million classes.
            data: zero_shot.map(|&class| class as f32).collect(),
        },
    );
    let counts = [watch.epochs, watch.tally.classes()].map(|count| count as f64);
    let mut sums = BTreeMap::from([(COUNTS, counts.to_vec()), (TALLY, watch.tally.to_numbers())]);
    if let Some(best) = &watch.best {
        sums.insert(BEST, vec![best.epoch as f64, best.value]);
        for (name, tensor) in best.parameters.to_host() {
            tensors.insert(format!("{BEST_PREFIX}{name}"), tensor);
        }
    }
    let metadata = HashMap::from([(STEP.to_owned(), state.step.to_string())]);
    encode(&tensors, &sums, Some(metadata))
}

/// The inverse of [`encode_state`] for a model.
pub(crate) fn decode_state(bytes: &[u8], clip: &Clip) -> Result<AdaptState, String> {
    let (tensors, sums, metadata) = decode(bytes)?;
    let step = metadata
        .get(STEP)
        .and_then(|step| step.parse().ok())
        .ok_or("it does not say how many steps are done")?;
    let Some(&[epochs, classes]) = sums.get(COUNTS).map(Vec::as_slice) else {
        return Err(format!("it has no tensor `{COUNTS}` of 2 numbers"));
    };
    let (epochs, classes) = (count(COUNTS, epochs)?, count(COUNTS, classes)?);
    let under = |prefix: &str| -> TensorMap {
        let tensors = tensors.iter();
        tensors
            .filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            })
            .collect()
    };
    let best = match sums.get(BEST).map(Vec::as_slice) {
        Some(&[epoch, value]) => Some(BestEpoch {
            epoch: count(BEST, epoch)?,
            value,
            parameters: parameters(&under(BEST_PREFIX), clip)?,
        }),
        Some(_) => return Err(format!("tensor `{BEST}`: expected 2 numbers")),
        None => None,
    };
    let zero_shot = tensors
        .get(ZERO_SHOT_CLASSES)
        .ok_or_else(|| format!("it has no tensor `{ZERO_SHOT_CLASSES}`"))?;
    let tally = sums
        .get(TALLY)
        .and_then(|sums| Tally::from_numbers(sums, classes))
        .ok_or_else(|| format!("it has no tensor `{TALLY}` for its number of classes"))?;
    Ok(AdaptState {
        step,
        parameters: parameters(&tensors, clip)?,
        memory: Memory::from_tensors(under(MEMORY_PREFIX)),
        watch: WatchState {
            epochs,
            zero_shot_classes: zero_shot
                .data
                .iter()
                .map(|&class| count(ZERO_SHOT_CLASSES, class.into()))
                .collect::<Result<_, _>>()?,
            tally,
            best,
        },
    })
}

/// Largest count that is read; f64 holds all whole numbers up to it.
const LARGEST_COUNT: f64 = (1_u64 << 32) as f64;

/// A number of a tensor that counts something.
fn count(name: &str, number: f64) -> Result<usize, String> {
    match (0.0..=LARGEST_COUNT).contains(&number) && number.fract() == 0.0 {
        true => Ok(number as usize),
        false => Err(format!("tensor `{name}`: expected a count, found {number}")),
    }
}

fn parameters(tensors: &TensorMap, clip: &Clip) -> Result<TrainedParameters, String> {
    TrainedParameters::from_host(tensors, clip).map_err(|error| error.to_string())
}

/// Vectors in f64 by name.
type Sums = BTreeMap<String, Vec<f64>>;

fn encode(
    tensors: &TensorMap,
    sums: &BTreeMap<&str, Vec<f64>>,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, RunError> {
    let tensors = tensors.iter().map(|(name, tensor)| {
        let bytes = bytemuck::cast_slice(&tensor.data);
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?;
        Ok((name.as_str(), view))
    });
    let sums = sums.iter().map(|(&name, sums)| {
        let view = TensorView::new(Dtype::F64, vec![sums.len()], bytemuck::cast_slice(sums))?;
        Ok((name, view))
    });
    let views = tensors
        .chain(sums)
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, metadata))
        .map_err(RunError::Encode)
}

/// Most axes of a tensor; ours have two.
const MAX_AXES: usize = 8;

fn decode(bytes: &[u8]) -> Result<(TensorMap, Sums, HashMap<String, String>), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let (mut tensors, mut sums) = (TensorMap::new(), Sums::new());
    for (name, view) in file.tensors() {
        let shown = quote::name(&name);
        let not_finite = || format!("tensor `{shown}`: expected finite numbers");
        if view.shape().len() > MAX_AXES {
            let axes = view.shape().len();
            return Err(format!(
                "tensor `{shown}`: expected at most {MAX_AXES} axes, found {axes}"
            ));
        }
        match view.dtype() {
            Dtype::F64 => {
                let data: Vec<f64> = bytemuck::pod_collect_to_vec(view.data());
                if !data.iter().all(|number| number.is_finite()) {
                    return Err(not_finite());
                }
                sums.insert(name, data);
            }
            Dtype::F32 => {
                let data: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
                if !data.iter().all(|number| number.is_finite()) {
                    return Err(not_finite());
                }
                let shape = view.shape().to_vec();
                tensors.insert(name, HostTensor { shape, data });
            }
            other => {
                return Err(format!(
                    "tensor `{shown}`: expected F32 or F64, found {other:?}"
                ));
            }
        }
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok((tensors, sums, metadata))
}
