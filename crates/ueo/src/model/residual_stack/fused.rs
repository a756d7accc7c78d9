//! Residual blocks as one fused operation per stack: a Burn back-end extension around `ueo-kernels`.
//!
//! The kernels see slices. This file turns Flex tensors into slices, and makes the hand-written backward pass a node of
//! Burn's autodiff graph. Frozen, packed weights are no tensors as far as Burn is concerned.

use std::fmt;
use std::sync::Arc;

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};
use ueo_kernels::{
    Activation as KernelActivation, BlockAffine, BlockWeights, Capability, PrefixShape, ReadToken,
    Saved, SavedWithPrefix, StackConfig, Workspace,
};

use crate::checkpoint::{Activation, TransformerConfig};
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine};

use super::BlockNames;

/// Bytes of activations that the text tower may keep for its backward pass; beyond that it computes them again.
const TEXT_BUDGET_BYTES: usize = 1 << 30;

/// Affine vectors per block: weight and bias of `ln_1`, weight and bias of `ln_2`.
const AFFINE_VECTORS: usize = 4;

/// A stack of residual blocks with packed weights and the memory that its calls share.
#[derive(Clone)]
pub struct FusedStack(Arc<Kernels>);

struct Kernels {
    stack: ueo_kernels::ResidualStack,
    workspace: Workspace,
}

impl fmt::Debug for FusedStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FusedStack")
            .field(self.0.stack.config())
            .finish()
    }
}

/// A stack over sequences with a shared prefix: what a call needs besides its two differentiable inputs.
#[derive(Clone, Debug)]
pub struct PrefixCall {
    stack: FusedStack,
    /// `[layers, 4, width]`, constant: the text tower is frozen.
    affine: Arc<Vec<f32>>,
    /// Where each sequence's own tokens begin, and at the end their number.
    offsets: Arc<Vec<usize>>,
}

/// The fused operations as Burn sees them.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// All blocks over `[batch, tokens, width]`; `affine` is `[layers * 4 * width]`. The first token of each sequence, `[batch, width]`.
    fn residual_stack(
        x: FloatTensor<Self>,
        affine: FloatTensor<Self>,
        stack: FusedStack,
    ) -> FloatTensor<Self>;

    /// All blocks over own tokens `[rows, width]` behind a shared prefix `[prefix tokens, width]`. The last token of each sequence,
    /// `[sequences, width]`.
    fn residual_stack_after_prefix(
        prefix: FloatTensor<Self>,
        own: FloatTensor<Self>,
        call: PrefixCall,
    ) -> FloatTensor<Self>;
}

impl FusedStack {
    /// Packs the blocks `{prefix}.resblocks.{layer}` of `weights`.
    pub(super) fn new(
        config: &TransformerConfig,
        prefix: &str,
        causal: bool,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let (width, mlp_width) = (config.width, config.mlp_width);
        let precision = weights.precision().into();
        let mut take = |(weight, bias): (String, String), inputs, outputs| {
            let weight = weights.take_host(&weight, &[outputs, inputs])?.data;
            let bias = weights.take_host(&bias, &[outputs])?.data;
            Ok::<_, ModelError>((weight, bias))
        };
        let blocks = (0..config.layers)
            .map(|layer| {
                let names = BlockNames::new(prefix, layer);
                Ok([
                    take(names.qkv, width, 3 * width)?,
                    take(names.out, width, width)?,
                    take(names.up, width, mlp_width)?,
                    take(names.down, mlp_width, width)?,
                ])
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        let stack = ueo_kernels::ResidualStack::new(
            Capability::chosen().map_err(ModelError::InstructionSet)?,
            StackConfig {
                width,
                heads: config.heads,
                hidden: mlp_width,
                causal,
                // With a causal mask the last token is the only one that sees all; without one, the class token stands first.
                read: if causal {
                    ReadToken::Last
                } else {
                    ReadToken::First
                },
                activation: match config.activation {
                    Activation::QuickGelu => KernelActivation::QuickGelu,
                    Activation::Gelu => KernelActivation::Gelu,
                },
                layer_norm_epsilon: config.layer_norm_epsilon as f32,
                precision,
            },
            blocks.iter().map(|[qkv, out, up, down]| BlockWeights {
                qkv_weight: &qkv.0,
                qkv_bias: &qkv.1,
                out_weight: &out.0,
                out_bias: &out.1,
                fc_weight: &up.0,
                fc_bias: &up.1,
                proj_weight: &down.0,
                proj_bias: &down.1,
            }),
        )
        .map_err(ModelError::Kernel)?;
        Ok(Self(Arc::new(Kernels {
            stack,
            workspace: Workspace::new(),
        })))
    }

    /// As [`super::ResidualStack::first_tokens`].
    pub(super) fn first_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        Tensor::from_dispatch(Dispatch::residual_stack(
            x.into_dispatch(),
            packed_affine(norms).into_dispatch(),
            self.clone(),
        ))
    }

    /// As [`super::ResidualStack::last_after_prefix`].
    pub(super) fn last_after_prefix(
        &self,
        prefix: Tensor<2>,
        own: Tensor<2>,
        lengths: &[usize],
        norms: &[NormAffine],
    ) -> Tensor<2> {
        let ends = lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        let call = PrefixCall {
            stack: self.clone(),
            affine: Arc::new(crate::model::to_host(&packed_affine(norms)).data),
            offsets: Arc::new(std::iter::once(0).chain(ends).collect()),
        };
        Tensor::from_dispatch(Dispatch::residual_stack_after_prefix(
            prefix.into_dispatch(),
            own.into_dispatch(),
            call,
        ))
    }

    fn affine_of<'a>(&self, values: &'a [f32]) -> Vec<BlockAffine<'a>> {
        let width = self.0.stack.config().width;
        values
            .chunks_exact(AFFINE_VECTORS * width)
            .map(|block| {
                let vector = |index: usize| &block[index * width..(index + 1) * width];
                BlockAffine {
                    ln_1_weight: vector(0),
                    ln_1_bias: vector(1),
                    ln_2_weight: vector(2),
                    ln_2_bias: vector(3),
                }
            })
            .collect()
    }
}

/// All affine vectors of a stack as one tensor, so that the operation has two inputs whatever the number of layers.
fn packed_affine(norms: &[NormAffine]) -> Tensor<1> {
    let vectors = norms
        .iter()
        .flat_map(|norm| [norm.weight.clone(), norm.bias.clone()]);
    Tensor::cat(vectors.collect(), 0)
}

type FlexTensor = FloatTensor<Flex>;

/// `values` `[rows, width]` as a tensor.
fn matrix(values: Vec<f32>, width: usize) -> FlexTensor {
    let rows = values.len() / width;
    FlexTensor::from_data(TensorData::new(values, [rows, width]))
}

/// Batch and tokens of `[batch, tokens, width]`.
fn sequences(x: &FlexTensor) -> (usize, usize) {
    let shape = x.layout().shape();
    (shape[0], shape[1])
}

impl FusedOps for Flex {
    fn residual_stack(x: FlexTensor, affine: FlexTensor, stack: FusedStack) -> FlexTensor {
        let (batch, tokens) = sequences(&x);
        let (mut x, affine) = (x.to_contiguous(), affine.to_contiguous());
        let affine = stack.affine_of(affine.storage());
        let Kernels { stack, workspace } = &*stack.0;
        let output = stack.forward(&affine, x.storage_mut(), batch, tokens, workspace);
        matrix(output, stack.config().width)
    }

    fn residual_stack_after_prefix(
        prefix: FlexTensor,
        own: FlexTensor,
        call: PrefixCall,
    ) -> FlexTensor {
        let (prefix, mut own) = (prefix.to_contiguous(), own.to_contiguous());
        let affine = call.stack.affine_of(&call.affine);
        let shape = prefix_shape(&prefix, &call);
        let Kernels { stack, workspace } = &*call.stack.0;
        let output = stack.forward_with_prefix(
            &affine,
            shape,
            prefix.storage(),
            own.storage_mut(),
            workspace,
        );
        matrix(output, stack.config().width)
    }
}

fn prefix_shape<'a>(prefix: &FlexTensor, call: &'a PrefixCall) -> PrefixShape<'a> {
    PrefixShape {
        prefix_tokens: prefix.layout().shape()[0],
        offsets: &call.offsets,
    }
}

/// Backward pass of [`FusedOps::residual_stack`].
#[derive(Debug)]
struct StackBackward;

/// What the backward pass of a stack needs: the forward pass's activations and affine parameters.
#[derive(Clone)]
struct StackState {
    saved: Arc<Saved>,
    /// Sequences and tokens of each.
    shape: (usize, usize),
    affine: FlexTensor,
    stack: FusedStack,
}

impl fmt::Debug for StackState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackState").finish_non_exhaustive()
    }
}

impl Backward<Flex, 2> for StackBackward {
    type State = StackState;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let StackState {
            saved,
            shape: (batch, tokens),
            affine,
            stack,
        } = ops.state;
        let affine = stack.affine_of(affine.storage());
        let Kernels { stack, workspace } = &*stack.0;
        let found = stack.backward(&affine, &saved, gradient.storage(), workspace);
        let [x, affine] = ops.parents;
        if let Some(x) = x {
            let shape = [batch, tokens, stack.config().width];
            let tensor = FlexTensor::from_data(TensorData::new(found.x, shape));
            gradients.register::<Flex>(x.id, tensor);
        }
        if let Some(affine) = affine {
            let values: Vec<f32> = found
                .affine
                .into_iter()
                .flat_map(|block| {
                    [
                        block.ln_1_weight,
                        block.ln_1_bias,
                        block.ln_2_weight,
                        block.ln_2_bias,
                    ]
                    .concat()
                })
                .collect();
            let len = values.len();
            let tensor = FlexTensor::from_data(TensorData::new(values, [len]));
            gradients.register::<Flex>(affine.id, tensor);
        }
    }
}

/// Backward pass of [`FusedOps::residual_stack_after_prefix`].
#[derive(Debug)]
struct PrefixBackward;

#[derive(Clone)]
struct PrefixState {
    saved: Arc<SavedWithPrefix>,
    call: PrefixCall,
}

impl fmt::Debug for PrefixState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefixState").finish_non_exhaustive()
    }
}

impl Backward<Flex, 2> for PrefixBackward {
    type State = PrefixState;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let PrefixState { saved, call } = ops.state;
        let affine = call.stack.affine_of(&call.affine);
        let Kernels { stack, workspace } = &*call.stack.0;
        let found = stack.backward_with_prefix(&affine, &saved, gradient.storage(), workspace);
        let width = stack.config().width;
        let [prefix, own] = ops.parents;
        if let Some(prefix) = prefix {
            gradients.register::<Flex>(prefix.id, matrix(found.prefix, width));
        }
        if let Some(own) = own {
            gradients.register::<Flex>(own.id, matrix(found.own, width));
        }
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn residual_stack(
        x: FloatTensor<Self>,
        affine: FloatTensor<Self>,
        stack: FusedStack,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), affine.node()];
        match StackBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let affine = affine.into_primitive().to_contiguous();
                let (batch, tokens) = sequences(x.primitive());
                let mut x = x.into_primitive().to_contiguous();
                let (output, saved) = {
                    let affine = stack.affine_of(affine.storage());
                    let Kernels { stack, workspace } = &*stack.0;
                    stack.forward_training(&affine, x.storage_mut(), batch, tokens, workspace)
                };
                let output = matrix(output, stack.0.stack.config().width);
                let state = StackState {
                    saved: Arc::new(saved),
                    shape: (batch, tokens),
                    affine,
                    stack,
                };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(Flex::residual_stack(
                x.into_primitive(),
                affine.into_primitive(),
                stack,
            )),
        }
    }

    fn residual_stack_after_prefix(
        prefix: FloatTensor<Self>,
        own: FloatTensor<Self>,
        call: PrefixCall,
    ) -> FloatTensor<Self> {
        let nodes = [prefix.node(), own.node()];
        match PrefixBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let prefix = prefix.into_primitive().to_contiguous();
                let mut own = own.into_primitive().to_contiguous();
                let (output, saved) = {
                    let affine = call.stack.affine_of(&call.affine);
                    let Kernels { stack, workspace } = &*call.stack.0;
                    stack.forward_with_prefix_training(
                        &affine,
                        prefix_shape(&prefix, &call),
                        prefix.storage(),
                        own.storage_mut(),
                        TEXT_BUDGET_BYTES,
                        workspace,
                    )
                };
                let output = matrix(output, call.stack.0.stack.config().width);
                let state = PrefixState {
                    saved: Arc::new(saved),
                    call,
                };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(Flex::residual_stack_after_prefix(
                prefix.into_primitive(),
                own.into_primitive(),
                call,
            )),
        }
    }
}
