//! Trained parameters as files: the result of an adaptation, and the state from which it can be resumed.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::adapt::{AdaptState, TrainedParameters};
use crate::checkpoint::{Adapted, HostTensor, TensorMap};
use crate::method::Memory;
use crate::model::{Clip, to_host};

use super::RunError;

/// Name of the context vectors in the state.
const CONTEXT: &str = "context";
/// What the names of the method's tensors begin with in the state.
const MEMORY_PREFIX: &str = "method.";
/// Metadata key of the number of steps done.
const STEP: &str = "step";

/// The trained parameters by name: `context` and OpenAI's names of the affine parameters.
fn tensors(parameters: &TrainedParameters) -> TensorMap {
    let mut tensors: TensorMap = parameters.affine.to_host().into_iter().collect();
    tensors.insert(CONTEXT.to_owned(), to_host(&parameters.context));
    tensors
}

/// The inverse of [`tensors`] for a model.
fn parameters(tensors: &TensorMap, clip: &Clip) -> Result<TrainedParameters, String> {
    let context = tensors
        .get(CONTEXT)
        .ok_or_else(|| format!("it has no tensor `{CONTEXT}`"))?;
    let width = clip.config().text.transformer.width;
    if context.shape.len() != 2 || context.shape[1] != width {
        return Err(format!(
            "tensor `{CONTEXT}`: expected shape [tokens, {width}], found {:?}",
            context.shape
        ));
    }
    Ok(TrainedParameters {
        context: Tensor::from_data(
            TensorData::new(context.data.clone(), context.shape.clone()),
            clip.device(),
        ),
        affine: clip
            .zero_shot_affine()
            .with_values(tensors)
            .map_err(|error| error.to_string())?,
    })
}

/// The content of `adapted.safetensors`.
pub(super) fn adapted(parameters: &TrainedParameters) -> Adapted {
    Adapted {
        context: to_host(&parameters.context),
        affine: parameters.affine.to_host().into_iter().collect(),
        metadata: BTreeMap::new(),
    }
}

/// The inverse of [`adapted`] for a model.
pub(super) fn from_adapted(adapted: Adapted, clip: &Clip) -> Result<TrainedParameters, String> {
    let mut tensors = adapted.affine;
    tensors.insert(CONTEXT.to_owned(), adapted.context);
    parameters(&tensors, clip)
}

/// The content of `state.safetensors`.
pub(super) fn encode_state(state: &AdaptState) -> Result<Vec<u8>, RunError> {
    let mut tensors = tensors(&state.parameters);
    for (name, tensor) in state.memory.to_tensors() {
        tensors.insert(format!("{MEMORY_PREFIX}{name}"), tensor);
    }
    let metadata = HashMap::from([(STEP.to_owned(), state.step.to_string())]);
    encode(&tensors, Some(metadata))
}

/// The inverse of [`encode_state`] for a model.
pub(super) fn decode_state(bytes: &[u8], clip: &Clip) -> Result<AdaptState, String> {
    let (tensors, metadata) = decode(bytes)?;
    let step = metadata
        .get(STEP)
        .and_then(|step| step.parse().ok())
        .ok_or("it does not say how many steps are done")?;
    let parameters = parameters(&tensors, clip)?;
    let memory = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(MEMORY_PREFIX)?.to_owned(), tensor)))
        .collect();
    Ok(AdaptState {
        step,
        parameters,
        memory: Memory::from_tensors(memory),
    })
}

fn encode(
    tensors: &TensorMap,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, RunError> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| {
            let bytes = bytemuck::cast_slice(&tensor.data);
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?;
            Ok((name, view))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    views
        .and_then(|views| safetensors::serialize(views, metadata))
        .map_err(RunError::Encode)
}

fn decode(bytes: &[u8]) -> Result<(TensorMap, HashMap<String, String>), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = TensorMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!(
                "tensor `{name}`: expected F32, found {:?}",
                view.dtype()
            ));
        }
        tensors.insert(
            name,
            HostTensor {
                shape: view.shape().to_vec(),
                data: bytemuck::pod_collect_to_vec(view.data()),
            },
        );
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}
