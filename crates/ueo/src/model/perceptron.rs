//! A LayerNorm and the perceptron behind it, gated or not, with frozen matrices: the seam to its kernels.

use std::fmt;
use std::sync::Arc;

use burn::tensor::Tensor;
use ueo_kernels::{
    Capability, LinearWeights, NormedPerceptron, PerceptronAffine, PerceptronWeights,
    SavedPerceptron,
};

use crate::checkpoint::Activation;
use crate::tensor::HostTensor;

use super::activation::activate;
use super::fused::{BackwardPass, FlexTensor, Fused, Operation, axes, tensor};
use super::linear::Linear;
use super::weights::Weights;
use super::{Engine, ModelError, NormAffine, layer_norm};

/// The layers of a perceptron on the host, each a weight `[outputs, inputs]` and a bias `[outputs]`.
pub(super) struct Layers {
    pub(super) up: Layer,
    /// What the hidden layer is multiplied with behind its activation.
    pub(super) gate: Option<Layer>,
    pub(super) down: Layer,
}

/// A layer on the host.
pub(super) struct Layer {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Takes `{name}.weight` and `{name}.bias`.
    pub(super) fn take(
        weights: &mut Weights,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, ModelError> {
        let weight = weights.take_host(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = weights.take_host(&format!("{name}.bias"), &[outputs])?;
        Ok(Self {
            weight: weight.data,
            bias: bias.data,
        })
    }

    /// The same layer with its outputs multiplied by a factor each.
    pub(super) fn scaled(mut self, factors: &HostTensor) -> Self {
        let inputs = self.weight.len() / self.bias.len();
        let rows = self.weight.chunks_exact_mut(inputs).zip(&mut self.bias);
        for ((row, bias), factor) in rows.zip(&factors.data) {
            row.iter_mut().for_each(|value| *value *= factor);
            *bias *= factor;
        }
        self
    }

    fn as_weights(&self) -> LinearWeights<'_> {
        LinearWeights {
            weight: &self.weight,
            bias: &self.bias,
        }
    }

    fn into_linear(self, weights: &Weights) -> Linear {
        let outputs = self.bias.len();
        let inputs = self.weight.len() / outputs;
        let device = weights.device();
        Linear::from_tensors(
            Tensor::<1>::from_data(self.weight.as_slice(), device).reshape([outputs, inputs]),
            Tensor::from_data(self.bias.as_slice(), device),
        )
    }
}

/// A normalization, whose affine parameters come from outside, and a perceptron: `down(activation(up(n)) * gate(n))`.
#[derive(Debug)]
pub(super) enum Perceptron {
    Composed(Box<ComposedPerceptron>),
    Fused(FusedPerceptron),
}

/// The perceptron as a composition of ordinary Burn operations.
#[derive(Debug)]
pub(super) struct ComposedPerceptron {
    activation: Activation,
    epsilon: f64,
    up: Linear,
    gate: Option<Linear>,
    down: Linear,
}

/// The kernels' perceptron.
#[derive(Clone)]
pub(super) struct FusedPerceptron(Arc<NormedPerceptron>);

impl fmt::Debug for FusedPerceptron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FusedPerceptron").finish_non_exhaustive()
    }
}

impl Perceptron {
    pub(super) fn new(
        layers: Layers,
        width: usize,
        activation: Activation,
        epsilon: f64,
        weights: &Weights,
    ) -> Result<Self, ModelError> {
        let Layers { up, gate, down } = layers;
        if weights.engine() == Engine::Composed {
            return Ok(Self::Composed(Box::new(ComposedPerceptron {
                activation,
                epsilon,
                up: up.into_linear(weights),
                gate: gate.map(|gate| gate.into_linear(weights)),
                down: down.into_linear(weights),
            })));
        }
        let precision = weights.precision().into();
        let kernel = NormedPerceptron::new(
            Capability::for_precision(precision).map_err(ModelError::InstructionSet)?,
            precision,
            activation.into(),
            epsilon as f32,
            width,
            PerceptronWeights {
                up: up.as_weights(),
                gate: gate.as_ref().map(Layer::as_weights),
                down: down.as_weights(),
            },
        )
        .map_err(ModelError::Kernel)?;
        Ok(Self::Fused(FusedPerceptron(Arc::new(kernel))))
    }

    /// `[batch, tokens, width]` to `[batch, tokens, outputs]`.
    pub(super) fn forward(&self, x: Tensor<3>, norm: &NormAffine) -> Tensor<3> {
        match self {
            Self::Composed(layers) => layers.forward(x, norm),
            Self::Fused(kernel) => {
                let affine = vec![norm.weight.clone(), norm.bias.clone()];
                Fused::apply(kernel.clone(), x, Tensor::cat(affine, 0))
            }
        }
    }
}

impl ComposedPerceptron {
    fn forward(&self, x: Tensor<3>, norm: &NormAffine) -> Tensor<3> {
        let n = layer_norm(x, norm, self.epsilon);
        let mut hidden = activate(self.activation, self.up.forward(n.clone()));
        if let Some(gate) = &self.gate {
            hidden = hidden * gate.forward(n);
        }
        self.down.forward(hidden)
    }
}

/// What a forward pass leaves.
struct FusedBackward {
    perceptron: FusedPerceptron,
    saved: SavedPerceptron,
    affine: FlexTensor,
    /// Of the input.
    shape: [usize; 3],
}

fn affine_of(values: &[f32]) -> PerceptronAffine<'_> {
    let (weight, bias) = values.split_at(values.len() / 2);
    PerceptronAffine { weight, bias }
}

impl FusedPerceptron {
    fn output(&self, values: Vec<f32>, [batch, tokens, _]: [usize; 3]) -> FlexTensor {
        tensor(values, [batch, tokens, self.0.outputs()])
    }
}

/// `x` `[batch, tokens, width]`, weight and bias of the normalization one after the other.
impl Operation for FusedPerceptron {
    fn forward(&self, [x, affine]: [FlexTensor; 2]) -> FlexTensor {
        let values = self.0.forward(affine_of(affine.storage()), x.storage());
        self.output(values, axes(&x))
    }

    fn forward_training(
        &self,
        [x, affine]: [FlexTensor; 2],
    ) -> (FlexTensor, Arc<dyn BackwardPass>) {
        let shape = axes(&x);
        let x = x.storage::<f32>().to_vec();
        let (values, saved) = self.0.forward_training(affine_of(affine.storage()), x);
        let backward = FusedBackward {
            perceptron: self.clone(),
            saved,
            affine,
            shape,
        };
        (self.output(values, shape), Arc::new(backward))
    }
}

impl BackwardPass for FusedBackward {
    fn gradients(&self, gradient: &[f32], _wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let affine = affine_of(self.affine.storage());
        let found = self.perceptron.0.backward(affine, &self.saved, gradient);
        let affine = [found.weight, found.bias].concat();
        let len = affine.len();
        [
            Some(tensor(found.x, self.shape)),
            Some(tensor(affine, [len])),
        ]
    }
}
