//! A stack of residual blocks over whole sequences.
//!
//! One task takes a few sequences through all blocks, so activations stay in its core's cache and threads meet once per pass.

use super::group::{Group, collect_output, partition, place_gradient, split};
use super::layer::{BlockRows, Layer, Scratch, Sums};
use super::prefix::Prefix;
use super::read::{Read, ReadToken};
use super::workspace::{ActivationsLease, Workspace};
use super::{BlockAffine, BlockAffineGradient, BlockWeights, StackConfig};
use crate::buffer::count;
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

/// What [`ResidualStack::backward`] computes.
#[derive(Clone, Debug, PartialEq)]
pub struct StackGradients {
    /// With respect to the input, `[sequences, tokens, width]`.
    pub x: Vec<f32>,
    /// With respect to the affine parameters, one per block that was run.
    pub affine: Vec<BlockAffineGradient>,
}

/// A group of sequences that runs through all blocks.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub group: Group<'a>,
    /// What every sequence sees before itself.
    pub prefix: Prefix<'a>,
    /// The rows that are read behind the last block.
    pub read: Read,
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
    /// [`ShapeError`] when a weight does not have the shape that `config` asks for, the heads do not divide the width, or there is
    /// no block.
    pub fn new<'a>(
        capability: Capability,
        config: StackConfig,
        blocks: impl IntoIterator<Item = BlockWeights<'a>>,
    ) -> Result<Self, ShapeError> {
        config.check()?;
        let mut blocks = blocks.into_iter().peekable();
        let mut layers = Vec::new();
        while let Some(weights) = blocks.next() {
            let reads_one = blocks.peek().is_none() && config.read != ReadToken::All;
            layers.push(Layer::new(capability, config, &weights, reads_one)?);
        }
        ShapeError::check(
            "blocks of a stack (at least 1)",
            layers.len().max(1),
            layers.len(),
        )?;
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

    pub(super) fn check_forward(&self, affine: &[BlockAffine<'_>], rows: usize, x: &[f32]) {
        self.check_affine(affine);
        assert_eq!(
            x.len(),
            count([rows, self.config.width]),
            "the residual stream is [sequences, tokens, width]"
        );
    }

    pub(super) fn check_backward(
        &self,
        affine: &[BlockAffine<'_>],
        offsets: &[usize],
        gradient: &[f32],
    ) {
        self.check_affine(affine);
        let read = Read::from(self.config.read);
        assert_eq!(
            gradient.len(),
            count([read.rows(Group { offsets }), self.config.width]),
            "the output's gradient is [tokens that are read, width]"
        );
    }

    fn check_affine(&self, affine: &[BlockAffine<'_>]) {
        assert!(
            (1..=self.layers.len()).contains(&affine.len()),
            "one set of affine parameters per block, or per block of the last ones"
        );
        affine
            .iter()
            .for_each(|affine| affine.check(self.config.width));
    }

    /// The last `count` blocks with their positions in the stack.
    pub(super) fn last_layers(
        &self,
        count: usize,
    ) -> impl DoubleEndedIterator<Item = (usize, &Layer)> + ExactSizeIterator {
        let first = self.layers.len() - count;
        self.layers.iter().enumerate().skip(first)
    }

    /// The rows of one block in a task.
    pub(super) fn block_rows<'a>(&self, task: Task<'a>, index: usize) -> BlockRows<'a> {
        let is_last = index + 1 == self.layers.len();
        BlockRows {
            group: task.group,
            prefix_qkv: task.prefix.qkv(index),
            read: if is_last { task.read } else { Read::All },
        }
    }

    /// Runs the blocks that `affine` is of in place and keeps nothing; the rows that are read lie at the front of `x` afterwards.
    pub(super) fn task_inference(
        &self,
        affine: &[BlockAffine<'_>],
        task: Task<'_>,
        x: &mut [f32],
        workspace: &Workspace,
        scratch: &mut Scratch,
    ) {
        let mut activations = workspace.activations(1);
        for ((index, layer), affine) in self.last_layers(affine.len()).zip(affine) {
            let rows = self.block_rows(task, index);
            let kept = activations[0].prepare(&self.config, rows, false);
            layer.forward(affine, rows, x, kept, scratch);
        }
    }

    /// As [`ResidualStack::task_inference`], keeping what the backward pass needs.
    pub(super) fn task_training(
        &self,
        affine: &[BlockAffine<'_>],
        task: Task<'_>,
        x: &mut [f32],
        workspace: &Workspace,
        scratch: &mut Scratch,
    ) -> ActivationsLease {
        let mut activations = workspace.activations(affine.len());
        let layers = self.last_layers(affine.len()).zip(affine);
        for (((index, layer), affine), activations) in layers.zip(&mut *activations) {
            let rows = self.block_rows(task, index);
            let kept = activations.prepare(&self.config, rows, true);
            layer.forward(affine, rows, x, kept, scratch);
        }
        activations
    }

    /// A group of sequences that see nothing but themselves.
    fn whole_sequences<'a>(&self, group: Group<'a>) -> Task<'a> {
        Task {
            group,
            prefix: Prefix::NONE,
            read: self.config.read.into(),
        }
    }

    /// Runs the first blocks, as many as `affine` is of, in place and keeps nothing: `x` `[sequences, tokens, width]` becomes what
    /// enters the block behind them.
    ///
    /// # Panics
    /// When a length does not match, or when no block is left: the last one leaves single tokens.
    pub fn forward_first(
        &self,
        affine: &[BlockAffine<'_>],
        x: &mut [f32],
        sequences: usize,
        tokens: usize,
        workspace: &Workspace,
    ) {
        assert!(affine.len() < self.layers.len(), "a block is left");
        let width = self.config.width;
        affine.iter().for_each(|affine| affine.check(width));
        let offsets = uniform_offsets(sequences, tokens);
        let groups = partition(&offsets);
        assert_eq!(
            x.len(),
            count([sequences, tokens, width]),
            "the residual stream is [sequences, tokens, width]"
        );
        split(&groups, x, width)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    let rows = BlockRows {
                        group,
                        prefix_qkv: &[],
                        read: Read::All,
                    };
                    let mut activations = workspace.activations(1);
                    for (layer, affine) in self.layers.iter().zip(affine) {
                        let kept = activations[0].prepare(&self.config, rows, false);
                        layer.forward(affine, rows, x, kept, scratch.get());
                    }
                },
            );
    }

    /// Runs all blocks, or the last ones, keeps nothing and returns the tokens of each sequence that are read, `[sequences, width]`
    /// or, with [`ReadToken::All`], `[sequences, tokens, width]`.
    ///
    /// # Shapes
    /// `affine` one per block that is run: all of them, or the last ones; `x` `[sequences, tokens, width]` is what enters the first of
    /// these, and serves as memory.
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
    ) -> Vec<f32> {
        self.check_forward(affine, count([sequences, tokens]), x);
        let offsets = uniform_offsets(sequences, tokens);
        let groups = partition(&offsets);
        split(&groups, x, self.config.width)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    let task = self.whole_sequences(group);
                    self.task_inference(affine, task, x, workspace, scratch.get());
                },
            );
        collect_output(&groups, self.config.read.into(), self.config.width, x)
    }

    /// As [`ResidualStack::forward`]; returns also what the backward pass needs.
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
    ) -> (Vec<f32>, Saved) {
        self.check_forward(affine, count([sequences, tokens]), x);
        let offsets = uniform_offsets(sequences, tokens);
        let groups = partition(&offsets);
        let kept = split(&groups, x, self.config.width)
            .into_par_iter()
            .with_max_len(1)
            .map_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    let task = self.whole_sequences(group);
                    self.task_training(affine, task, x, workspace, scratch.get())
                },
            )
            .collect();
        let output = collect_output(&groups, self.config.read.into(), self.config.width, x);
        let saved = Saved {
            offsets,
            groups: kept,
        };
        (output, saved)
    }

    /// The gradients to the input and to the affine parameters.
    ///
    /// `affine` must hold the values of the forward pass that made `saved`.
    ///
    /// # Shapes
    /// `gradient` as the output, with respect to it.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn backward(
        &self,
        affine: &[BlockAffine<'_>],
        saved: &Saved,
        gradient: &[f32],
        workspace: &Workspace,
    ) -> StackGradients {
        self.check_backward(affine, &saved.offsets, gradient);
        let width = self.config.width;
        let mut x = vec![0.0; count([saved.rows(), width])];
        let groups = partition(&saved.offsets);
        place_gradient(&groups, self.config.read.into(), width, gradient, &mut x);
        let zeros = || vec![BlockAffineGradient::zeros(width); affine.len()];
        let sums: Vec<_> = split(&groups, &mut x, width)
            .into_par_iter()
            .zip(&saved.groups)
            .with_max_len(1)
            .map_init(
                || workspace.scratch(self.capability),
                |scratch, ((group, d), activations)| {
                    let task = self.whole_sequences(group);
                    let mut sums = zeros();
                    for (run, (index, layer)) in self.last_layers(affine.len()).enumerate().rev() {
                        let sums = Sums {
                            affine: Some(&mut sums[run]),
                            d_prefix_qkv: None,
                        };
                        layer.backward(
                            &affine[run],
                            self.block_rows(task, index),
                            &[],
                            d,
                            &activations[run],
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
        StackGradients { x, affine: total }
    }
}
