//! A stack of causal blocks over sequences that begin with the same tokens, as the prompts of all classes do.
//!
//! With a causal mask the prefix's activations do not depend on what follows. It runs once; every sequence then runs its own
//! tokens only and attends to the prefix's keys and values. The backward pass adds up the gradient to those keys and values over all
//! sequences, block by block, and takes the sum through the prefix's own blocks: the exact gradient of the full computation.

use super::group::{Group, collect_output, partition, place_gradient, split};
use super::layer::Sums;
use super::read::Read;
use super::stack::{ResidualStack, Task};
use super::workspace::{Activations, ActivationsLease, Workspace};
use super::{BlockAffine, add};
use crate::buffer::count;
use rayon::prelude::*;

/// The lengths of a batch of sequences with a shared prefix.
#[derive(Clone, Copy, Debug)]
pub struct PrefixShape<'a> {
    /// Tokens that all sequences begin with, at least one.
    pub prefix_tokens: usize,
    /// Where each sequence's own tokens begin among all own tokens, and at the end their number; starts with zero and increases.
    pub offsets: &'a [usize],
}

impl PrefixShape<'_> {
    fn rows(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    fn check(&self) {
        assert!(
            self.prefix_tokens > 0,
            "a shared prefix has at least one token"
        );
        assert_eq!(self.offsets.first(), Some(&0), "offsets start with zero");
        assert!(
            self.offsets.windows(2).all(|pair| pair[0] < pair[1]),
            "every sequence has at least one token of its own"
        );
    }
}

/// The activations of a prefix that has run; none where sequences share nothing.
#[derive(Clone, Copy)]
pub(super) struct Prefix<'a> {
    activations: &'a [Activations],
    /// `[tokens, 3 width]` values of queries, keys and values per block.
    qkv_len: usize,
}

impl<'a> Prefix<'a> {
    pub const NONE: Prefix<'static> = Prefix {
        activations: &[],
        qkv_len: 0,
    };

    /// Queries, keys and values in one block, `[tokens, 3 width]`.
    pub fn qkv(&self, index: usize) -> &'a [f32] {
        self.activations
            .get(index)
            .map_or(&[], |activations| &activations.qkv()[..self.qkv_len])
    }
}

/// What a group of sequences left for the backward pass.
enum GroupSaved {
    Activations(ActivationsLease),
    /// Its input `[rows, width]` only: the forward pass is repeated during the backward pass.
    Input(Vec<f32>),
}

/// What [`ResidualStack::backward_with_prefix`] needs of [`ResidualStack::forward_with_prefix_training`].
pub struct SavedWithPrefix {
    prefix_tokens: usize,
    offsets: Vec<usize>,
    prefix: ActivationsLease,
    groups: Vec<GroupSaved>,
}

/// What [`ResidualStack::backward_with_prefix`] computes.
#[derive(Clone, Debug, PartialEq)]
pub struct PrefixGradients {
    /// With respect to the prefix's embeddings, `[prefix tokens, width]`, through the keys and values of all blocks.
    pub prefix: Vec<f32>,
    /// With respect to the embeddings of the sequences' own tokens, `[all own tokens, width]`.
    pub own: Vec<f32>,
}

impl ResidualStack {
    fn prefix<'a>(&self, activations: &'a [Activations], tokens: usize) -> Prefix<'a> {
        Prefix {
            activations,
            qkv_len: count([tokens, 3, self.config.width]),
        }
    }

    fn check_prefix(
        &self,
        affine: &[BlockAffine<'_>],
        shape: PrefixShape<'_>,
        prefix: &[f32],
        own: &[f32],
    ) {
        assert!(
            self.config.causal,
            "a prefix can be shared under a causal mask only"
        );
        shape.check();
        assert_eq!(affine.len(), self.blocks(), "all blocks run");
        self.check_forward(affine, shape.rows(), own);
        assert_eq!(
            prefix.len(),
            count([shape.prefix_tokens, self.config.width]),
            "the prefix is [prefix tokens, width]"
        );
    }

    fn run_prefix(
        &self,
        affine: &[BlockAffine<'_>],
        prefix: &[f32],
        workspace: &Workspace,
    ) -> ActivationsLease {
        let offsets = [0, prefix.len() / self.config.width];
        let mut scratch = workspace.scratch(self.capability);
        self.task_training(
            affine,
            prefix_alone(&offsets),
            &mut prefix.to_vec(),
            workspace,
            scratch.get(),
        )
    }

    /// Sequences behind a prefix.
    fn own_tokens<'a>(&self, group: Group<'a>, prefix: Prefix<'a>) -> Task<'a> {
        Task {
            group,
            prefix,
            read: self.config.read.into(),
        }
    }

    /// Runs every sequence's own tokens, keeps nothing and returns the token of each that is read, `[sequences, width]`.
    ///
    /// # Shapes
    /// `prefix` `[prefix tokens, width]` and `own` `[all own tokens, width]`, both as embedded (position included); `own` serves as
    /// memory.
    ///
    /// # Panics
    /// When a length does not match or the stack is not causal.
    pub fn forward_with_prefix(
        &self,
        affine: &[BlockAffine<'_>],
        shape: PrefixShape<'_>,
        prefix: &[f32],
        own: &mut [f32],
        workspace: &Workspace,
    ) -> Vec<f32> {
        self.check_prefix(affine, shape, prefix, own);
        let activations = self.run_prefix(affine, prefix, workspace);
        let prefix = self.prefix(&activations, shape.prefix_tokens);
        let groups = partition(shape.offsets);
        split(&groups, own, self.config.width)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    let task = self.own_tokens(group, prefix);
                    self.task_inference(affine, task, x, workspace, scratch.get());
                },
            );
        collect_output(&groups, self.config.read.into(), self.config.width, own)
    }

    /// As [`ResidualStack::forward_with_prefix`]; returns also what the backward pass needs.
    ///
    /// Activations are kept for the first sequences, as many as fit into `budget_bytes`
    /// ([`crate::StackConfig::saved_bytes_per_token`] per own token and block). Of the others only the input is kept, `4 width`
    /// bytes per token, and their forward pass is repeated in the backward pass. Results are the same, bit for bit.
    ///
    /// # Panics
    /// When a length does not match or the stack is not causal.
    pub fn forward_with_prefix_training(
        &self,
        affine: &[BlockAffine<'_>],
        shape: PrefixShape<'_>,
        prefix: &[f32],
        own: &mut [f32],
        budget_bytes: usize,
        workspace: &Workspace,
    ) -> (Vec<f32>, SavedWithPrefix) {
        self.check_prefix(affine, shape, prefix, own);
        let activations = self.run_prefix(affine, prefix, workspace);
        let prefix = self.prefix(&activations, shape.prefix_tokens);
        let bytes_per_row = self
            .layers
            .len()
            .saturating_mul(self.config.saved_bytes_per_token());
        let groups = partition(shape.offsets);
        let kept = split(&groups, own, self.config.width)
            .into_par_iter()
            .with_max_len(1)
            .map_init(
                || workspace.scratch(self.capability),
                |scratch, (group, x)| {
                    let task = self.own_tokens(group, prefix);
                    let end = group.offsets[group.offsets.len() - 1];
                    if end.saturating_mul(bytes_per_row) <= budget_bytes {
                        let kept = self.task_training(affine, task, x, workspace, scratch.get());
                        GroupSaved::Activations(kept)
                    } else {
                        let input = x.to_vec();
                        self.task_inference(affine, task, x, workspace, scratch.get());
                        GroupSaved::Input(input)
                    }
                },
            )
            .collect();
        let output = collect_output(&groups, self.config.read.into(), self.config.width, own);
        let saved = SavedWithPrefix {
            prefix_tokens: shape.prefix_tokens,
            offsets: shape.offsets.to_vec(),
            prefix: activations,
            groups: kept,
        };
        (output, saved)
    }

    /// The gradients to the embeddings.
    ///
    /// `affine` must hold the values of the forward pass that made `saved`.
    ///
    /// # Shapes
    /// `gradient` `[sequences, width]`, with respect to the output.
    ///
    /// # Panics
    /// When a length does not match.
    pub fn backward_with_prefix(
        &self,
        affine: &[BlockAffine<'_>],
        saved: &SavedWithPrefix,
        gradient: &[f32],
        workspace: &Workspace,
    ) -> PrefixGradients {
        self.check_backward(affine, &saved.offsets, gradient);
        let width = self.config.width;
        let mut own = vec![0.0; saved.offsets[saved.offsets.len() - 1] * width];
        let groups = partition(&saved.offsets);
        place_gradient(&groups, self.config.read.into(), width, gradient, &mut own);
        let prefix = self.prefix(&saved.prefix, saved.prefix_tokens);
        let zeros = || vec![vec![0.0; saved.prefix_tokens * 3 * width]; self.layers.len()];
        let sums: Vec<Vec<Vec<f32>>> = split(&groups, &mut own, width)
            .into_par_iter()
            .zip(&saved.groups)
            .with_max_len(1)
            .map_init(
                || workspace.scratch(self.capability),
                |scratch, ((group, d), kept)| {
                    let task = self.own_tokens(group, prefix);
                    let again;
                    let activations: &[Activations] = match kept {
                        GroupSaved::Activations(activations) => activations,
                        GroupSaved::Input(input) => {
                            let mut x = input.clone();
                            again =
                                self.task_training(affine, task, &mut x, workspace, scratch.get());
                            &again
                        }
                    };
                    let mut sums = zeros();
                    for (index, layer) in self.layers.iter().enumerate().rev() {
                        let sums = Sums {
                            affine: None,
                            d_prefix_qkv: Some(&mut sums[index]),
                        };
                        layer.backward(
                            &affine[index],
                            self.block_rows(task, index),
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
        let mut total = zeros();
        for group in &sums {
            total
                .iter_mut()
                .zip(group)
                .for_each(|(total, sums)| add(total, sums));
        }
        // Nothing reads the prefix's output, so its own backward pass is fed by keys and values only.
        let mut d_prefix = vec![0.0; saved.prefix_tokens * width];
        let offsets = [0, saved.prefix_tokens];
        let mut scratch = workspace.scratch(self.capability);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            layer.backward(
                &affine[index],
                self.block_rows(prefix_alone(&offsets), index),
                &total[index],
                &mut d_prefix,
                &saved.prefix[index],
                Sums::default(),
                scratch.get(),
            );
        }
        PrefixGradients {
            prefix: d_prefix,
            own,
        }
    }
}

/// A prefix as a sequence of its own, of which nothing is read behind the last block.
fn prefix_alone(offsets: &[usize; 2]) -> Task<'_> {
    Task {
        group: Group { offsets },
        prefix: Prefix::NONE,
        read: Read::Nothing,
    }
}
