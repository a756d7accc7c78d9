//! Residual blocks as one fused operation per stack, on slices of `ueo-kernels`.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use ueo_kernels::{
    BlockAffine, BlockWeights, Capability, PrefixShape, ReadToken, Saved, SavedWithPrefix,
    StackConfig, Workspace,
};

use crate::checkpoint::TransformerConfig;
use crate::model::fused::{BackwardPass, FlexTensor, Fused, Operation, axes, tensor};
use crate::model::weights::Weights;
use crate::model::{ModelError, NormAffine};

use super::{BlockNames, StackKind};

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

impl FusedStack {
    /// Packs the blocks `{prefix}.resblocks.{layer}` of `weights`.
    pub(super) fn new(
        config: &TransformerConfig,
        prefix: &str,
        kind: StackKind,
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
            Capability::for_precision(precision).map_err(ModelError::InstructionSet)?,
            StackConfig {
                width,
                heads: config.heads,
                hidden: mlp_width,
                causal: kind == StackKind::Causal,
                read: match kind {
                    StackKind::ClassToken => ReadToken::First,
                    StackKind::LastToken | StackKind::Causal => ReadToken::Last,
                    StackKind::AllTokens => ReadToken::All,
                },
                activation: config.activation.into(),
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
        Fused::apply(WholeSequences(self.clone()), x, packed_affine(norms))
    }

    /// As [`super::ResidualStack::last_tokens`].
    pub(super) fn last_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<2> {
        Fused::apply(WholeSequences(self.clone()), x, packed_affine(norms))
    }

    /// As [`super::ResidualStack::all_tokens`].
    pub(super) fn all_tokens(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        let shape = x.dims();
        let tokens: Tensor<2> = Fused::apply(WholeSequences(self.clone()), x, packed_affine(norms));
        tokens.reshape(shape)
    }

    /// As [`super::ResidualStack::whole_tokens_per_pass`]: what fits into the text tower's budget.
    pub(super) fn whole_tokens_per_pass(&self) -> usize {
        let stack = &self.0.stack;
        let bytes = stack.config().saved_bytes_per_token() * stack.blocks();
        TEXT_BUDGET_BYTES / bytes
    }

    /// As [`super::ResidualStack::first_blocks`].
    pub(super) fn first_blocks(&self, x: Tensor<3>, norms: &[NormAffine]) -> Tensor<3> {
        let shape = x.dims();
        let [batch, tokens, _] = shape;
        let device = x.device();
        let mut values = crate::model::to_host(&x).data;
        if !norms.is_empty() {
            let affine = crate::model::to_host(&packed_affine(norms)).data;
            let affine = self.affine_of(&affine);
            let Kernels { stack, workspace } = &*self.0;
            stack.forward_first(&affine, &mut values, batch, tokens, workspace);
        }
        Tensor::from_data(TensorData::new(values, shape), &device)
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
        let operation = AfterPrefix {
            stack: self.clone(),
            affine: Arc::new(crate::model::to_host(&packed_affine(norms)).data),
            offsets: Arc::new(std::iter::once(0).chain(ends).collect()),
        };
        Fused::apply(operation, prefix, own)
    }

    fn width(&self) -> usize {
        self.0.stack.config().width
    }

    fn affine_of<'a>(&self, values: &'a [f32]) -> Vec<BlockAffine<'a>> {
        let width = self.width();
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

/// `values` `[rows, width]` as a tensor.
fn matrix(values: Vec<f32>, width: usize) -> FlexTensor {
    let rows = values.len() / width;
    tensor(values, [rows, width])
}

/// Blocks over `[batch, tokens, width]`, with affine parameters `[layers * 4 * width]` of all of them or of the last ones: the token
/// of each sequence that is read, `[batch, width]`, or all of them, `[batch * tokens, width]`.
struct WholeSequences(FusedStack);

/// What a forward pass over whole sequences leaves.
struct WholeSequencesBackward {
    saved: Saved,
    /// Of the input.
    shape: [usize; 3],
    affine: FlexTensor,
    stack: FusedStack,
}

impl Operation for WholeSequences {
    fn forward(&self, [mut x, affine]: [FlexTensor; 2]) -> FlexTensor {
        let [batch, tokens] = axes(&x);
        let affine = self.0.affine_of(affine.storage());
        let Kernels { stack, workspace } = &*self.0.0;
        let output = stack.forward(&affine, x.storage_mut(), batch, tokens, workspace);
        matrix(output, self.0.width())
    }

    fn forward_training(
        &self,
        [mut x, affine]: [FlexTensor; 2],
    ) -> (FlexTensor, Arc<dyn BackwardPass>) {
        let shape = axes(&x);
        let [batch, tokens, width] = shape;
        let (output, saved) = {
            let affine = self.0.affine_of(affine.storage());
            let Kernels { stack, workspace } = &*self.0.0;
            stack.forward_training(&affine, x.storage_mut(), batch, tokens, workspace)
        };
        let backward = WholeSequencesBackward {
            saved,
            shape,
            affine,
            stack: self.0.clone(),
        };
        (matrix(output, width), Arc::new(backward))
    }
}

impl BackwardPass for WholeSequencesBackward {
    fn gradients(&self, gradient: &[f32], _wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let affine = self.stack.affine_of(self.affine.storage());
        let Kernels { stack, workspace } = &*self.stack.0;
        let found = stack.backward(&affine, &self.saved, gradient, workspace);
        let affine: Vec<f32> = found
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
        let len = affine.len();
        [
            Some(tensor(found.x, self.shape)),
            Some(tensor(affine, [len])),
        ]
    }
}

/// All blocks over own tokens `[rows, width]` behind a shared prefix `[prefix tokens, width]`: the last token of each sequence,
/// `[sequences, width]`.
#[derive(Clone)]
struct AfterPrefix {
    stack: FusedStack,
    /// `[layers, 4, width]`, constant: the text tower is frozen.
    affine: Arc<Vec<f32>>,
    /// Where each sequence's own tokens begin, and at the end their number.
    offsets: Arc<Vec<usize>>,
}

/// What a forward pass behind a prefix leaves.
struct AfterPrefixBackward {
    saved: SavedWithPrefix,
    operation: AfterPrefix,
}

impl AfterPrefix {
    fn shape(&self, prefix: &FlexTensor) -> PrefixShape<'_> {
        let [prefix_tokens] = axes(prefix);
        PrefixShape {
            prefix_tokens,
            offsets: &self.offsets,
        }
    }
}

impl Operation for AfterPrefix {
    fn forward(&self, [prefix, mut own]: [FlexTensor; 2]) -> FlexTensor {
        let affine = self.stack.affine_of(&self.affine);
        let Kernels { stack, workspace } = &*self.stack.0;
        let output = stack.forward_with_prefix(
            &affine,
            self.shape(&prefix),
            prefix.storage(),
            own.storage_mut(),
            workspace,
        );
        matrix(output, self.stack.width())
    }

    fn forward_training(
        &self,
        [prefix, mut own]: [FlexTensor; 2],
    ) -> (FlexTensor, Arc<dyn BackwardPass>) {
        let affine = self.stack.affine_of(&self.affine);
        let Kernels { stack, workspace } = &*self.stack.0;
        let (output, saved) = stack.forward_with_prefix_training(
            &affine,
            self.shape(&prefix),
            prefix.storage(),
            own.storage_mut(),
            TEXT_BUDGET_BYTES,
            workspace,
        );
        let backward = AfterPrefixBackward {
            saved,
            operation: self.clone(),
        };
        (matrix(output, self.stack.width()), Arc::new(backward))
    }
}

impl BackwardPass for AfterPrefixBackward {
    fn gradients(&self, gradient: &[f32], _wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let AfterPrefix { stack, affine, .. } = &self.operation;
        let width = stack.width();
        let affine = stack.affine_of(affine);
        let Kernels { stack, workspace } = &*stack.0;
        let found = stack.backward_with_prefix(&affine, &self.saved, gradient, workspace);
        [
            Some(matrix(found.prefix, width)),
            Some(matrix(found.own, width)),
        ]
    }
}
