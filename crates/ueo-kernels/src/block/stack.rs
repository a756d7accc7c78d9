//! A stack of residual blocks over whole sequences.
//!
//! One task takes a few sequences through all blocks, so activations stay in its core's cache and threads meet once per pass.

use super::group::{Group, partition, split};
use super::layer::{Layer, Scratch, Sums};
use super::prefix::Prefix;
use super::workspace::{ActivationsLease, Workspace};
use super::{BlockAffine, BlockAffineGradient, BlockWeights, StackConfig};
use crate::{Capability, ShapeError};
use rayon::prelude::*;

/// Residual blocks with frozen, packed weights.
///
/// Share it through an `Arc`: all methods take `&self`. They run on the rayon pool of the calling thread.
pub struct ResidualStack {
    pub(super) capability: Capability,
    pub(super) config: StackConfig,
    pub(super) layers: Vec<Layer>,
}

/// What [`ResidualStack::backward`] needs of [`ResidualStack::forward_training`]; dropping it gives the memory back to the
/// [`Workspace`]. See [`StackConfig::saved_bytes_per_token`] for its size.
pub struct Saved {
    offsets: Vec<usize>,
    groups: Vec<ActivationsLease>,
}

impl Saved {
    /// Tokens of all sequences.
    pub fn rows(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }
}

fn uniform_offsets(sequences: usize, tokens: usize) -> Vec<usize> {
    assert!(
        tokens > 0 || sequences == 0,
        "a sequence has at least one token"
    );
    (0..=sequences).map(|sequence| sequence * tokens).collect()
}

impl ResidualStack {
    /// Packs the weights of all blocks, first to last. Nothing borrowed is kept.
    ///
    /// # Errors
    /// [`ShapeError`] when a weight does not have the shape that `config` asks for, or the heads do not divide the width.
    pub fn new<'a>(
        capability: Capability,
        config: StackConfig,
        blocks: impl IntoIterator<Item = BlockWeights<'a>>,
    ) -> Result<Self, ShapeError> {
        config.check()?;
        let layers = blocks
            .into_iter()
            .map(|weights| Layer::new(capability, config, &weights))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            capability,
            config,
            layers,
        })
    }

    /// The configuration that all blocks share.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn check(&self, affine: &[BlockAffine<'_>], rows: usize, x: &[f32]) {
        assert_eq!(
            affine.len(),
            self.layers.len(),
            "one set of affine parameters per block"
        );
        affine
            .iter()
            .for_each(|affine| affine.check(self.config.width));
        assert_eq!(
            x.len(),
            rows * self.config.width,
            "the residual stream is [sequences, tokens, width]"
        );
    }

    pub(super) fn group_inference(
        &self,
        affine: &[BlockAffine<'_>],
        group: Group<'_>,
        prefix: Prefix<'_>,
        x: &mut [f32],
        workspace: &Workspace,
        scratch: &mut Scratch,
    ) {
        let mut activations = workspace.activations(1);
        for (index, (layer, affine)) in self.layers.iter().zip(affine).enumerate() {
            let kept = activations[0].prepare(&self.config, group, false);
            layer.forward(affine, group, prefix.qkv(index), x, kept, scratch);
        }
    }

    pub(super) fn group_training(
        &self,
        affine: &[BlockAffine<'_>],
        group: Group<'_>,
        prefix: Prefix<'_>,
        x: &mut [f32],
        workspace: &Workspace,
        scratch: &mut Scratch,
    ) -> ActivationsLease {
        let mut activations = workspace.activations(self.layers.len());
        for (index, (layer, affine)) in self.layers.iter().zip(affine).enumerate() {
            let kept = activations[index].prepare(&self.config, group, true);
            layer.forward(affine, group, prefix.qkv(index), x, kept, scratch);
        }
        activations
    }

    /// Runs all blocks in place and keeps nothing.
    ///
    /// # Shapes
    /// `x` `[sequences, tokens, width]`; `affine` one per block.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn forward(
        &self,
        affine: &[BlockAffine<'_>],
        x: &mut [f32],
        sequences: usize,
        tokens: usize,
        workspace: &Workspace,
    ) {
        self.check(affine, sequences * tokens, x);
        let offsets = uniform_offsets(sequences, tokens);
        split(&partition(&offsets), x, self.config.width)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    self.group_inference(affine, group, Prefix::NONE, x, workspace, scratch.get())
                },
            );
    }

    /// Runs all blocks in place and returns what the backward pass needs.
    ///
    /// # Shapes
    /// `x` `[sequences, tokens, width]`; `affine` one per block.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn forward_training(
        &self,
        affine: &[BlockAffine<'_>],
        x: &mut [f32],
        sequences: usize,
        tokens: usize,
        workspace: &Workspace,
    ) -> Saved {
        self.check(affine, sequences * tokens, x);
        let offsets = uniform_offsets(sequences, tokens);
        let groups = split(&partition(&offsets), x, self.config.width)
            .into_par_iter()
            .with_max_len(1)
            .map_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    self.group_training(affine, group, Prefix::NONE, x, workspace, scratch.get())
                },
            )
            .collect();
        Saved { offsets, groups }
    }

    /// Replaces the output's gradient by the input's and returns the affine parameters' gradients, one per block.
    ///
    /// `affine` must hold the values of the forward pass that made `saved`.
    ///
    /// # Shapes
    /// `gradient` `[sequences, tokens, width]` as in the forward pass.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn backward(
        &self,
        affine: &[BlockAffine<'_>],
        saved: &Saved,
        gradient: &mut [f32],
        workspace: &Workspace,
    ) -> Vec<BlockAffineGradient> {
        self.check(affine, saved.rows(), gradient);
        let zeros = || vec![BlockAffineGradient::zeros(self.config.width); self.layers.len()];
        let sums: Vec<_> = split(&partition(&saved.offsets), gradient, self.config.width)
            .into_par_iter()
            .zip(&saved.groups)
            .with_max_len(1)
            .map_init(
                || workspace.scratch(self.capability),
                |scratch, ((group, d), activations)| {
                    let mut sums = zeros();
                    for (index, layer) in self.layers.iter().enumerate().rev() {
                        let sums = Sums {
                            affine: Some(&mut sums[index]),
                            d_prefix_qkv: None,
                        };
                        layer.backward(
                            &affine[index],
                            group,
                            &[],
                            &[],
                            d,
                            &activations[index],
                            sums,
                            scratch.get(),
                        );
                    }
                    sums
                },
            )
            .collect();
        // In the order of the groups, whatever thread computed them.
        let mut total = zeros();
        for group in &sums {
            total
                .iter_mut()
                .zip(group)
                .for_each(|(total, sums)| total.add(sums));
        }
        total
    }
}
