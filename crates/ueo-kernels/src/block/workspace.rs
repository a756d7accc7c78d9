//! Memory that outlives a call. Fresh memory costs page faults, about a third of a step, so buffers go back to a pool.

use super::StackConfig;
use super::layer::BlockRows;
use crate::attention;
use crate::buffer::{count, fit};
use crate::layer_norm::Statistics;
use crate::{Capability, block::layer};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A pool of buffers, shared by its clones. Use one for each stack: buffers grow to the largest use that they have seen.
///
/// A call takes what it needs and gives it back; what [`crate::Saved`] holds comes back when that is dropped.
#[derive(Clone, Default)]
pub struct Workspace(Arc<Pools>);

#[derive(Default)]
struct Pools {
    scratch: Mutex<Vec<(Capability, layer::Scratch)>>,
    activations: Mutex<Vec<Activations>>,
}

impl Workspace {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn scratch(&self, capability: Capability) -> ScratchLease<'_> {
        let mut pool = self
            .0
            .scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = pool
            .iter()
            .rposition(|(made_for, _)| *made_for == capability)
            .map(|i| pool.swap_remove(i).1);
        let scratch =
            found.unwrap_or_else(|| layer::Scratch::new(attention::Scratch::new(capability)));
        ScratchLease {
            workspace: self,
            capability,
            scratch: Some(scratch),
        }
    }

    /// One set of activations for each of `blocks`.
    pub(super) fn activations(&self, blocks: usize) -> ActivationsLease {
        let mut pool = self
            .0
            .activations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let kept = pool.len().saturating_sub(blocks);
        let mut blocks_left = pool.split_off(kept);
        blocks_left.resize_with(blocks, Activations::default);
        ActivationsLease {
            workspace: self.clone(),
            activations: blocks_left,
        }
    }
}

/// Scratch memory of one worker, given back when dropped.
pub(super) struct ScratchLease<'w> {
    workspace: &'w Workspace,
    capability: Capability,
    scratch: Option<layer::Scratch>,
}

impl ScratchLease<'_> {
    pub fn get(&mut self) -> &mut layer::Scratch {
        self.scratch
            .get_or_insert_with(|| layer::Scratch::new(attention::Scratch::new(self.capability)))
    }
}

impl Drop for ScratchLease<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            let mut pool = self
                .workspace
                .0
                .scratch
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            pool.push((self.capability, scratch));
        }
    }
}

/// The activations of all blocks for one group, given back when dropped.
pub(super) struct ActivationsLease {
    workspace: Workspace,
    activations: Vec<Activations>,
}

impl Deref for ActivationsLease {
    type Target = [Activations];

    fn deref(&self) -> &[Activations] {
        &self.activations
    }
}

impl DerefMut for ActivationsLease {
    fn deref_mut(&mut self) -> &mut [Activations] {
        &mut self.activations
    }
}

impl Drop for ActivationsLease {
    fn drop(&mut self) {
        let mut pool = self
            .workspace
            .0
            .activations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pool.append(&mut self.activations);
    }
}

/// What the backward pass of one block needs of the forward pass, for the rows of one group. See
/// [`StackConfig::saved_bytes_per_token`].
///
/// In the last block what follows keys and values has the rows only that are read.
#[derive(Default)]
pub(super) struct Activations {
    x: Vec<f32>,
    x_mid: Vec<f32>,
    qkv: Vec<f32>,
    u: Vec<f32>,
    statistics_1: Vec<Statistics>,
    statistics_2: Vec<Statistics>,
    log_sum_exp: Vec<f32>,
}

/// [`Activations`] as slices of the right lengths. The two copies of the residual stream are empty when only inference is wanted.
pub(super) struct ActivationsMut<'a> {
    /// Input, `[rows, width]`.
    pub x: &'a mut [f32],
    /// After attention, `[rows that are read, width]`.
    pub x_mid: &'a mut [f32],
    /// `[rows, 3 width]`
    pub qkv: &'a mut [f32],
    /// The perceptron's pre-activation, `[rows that are read, hidden]`.
    pub u: &'a mut [f32],
    pub statistics_1: &'a mut [Statistics],
    pub statistics_2: &'a mut [Statistics],
    /// For each sequence `[heads, tokens that are read]`.
    pub log_sum_exp: &'a mut [f32],
}

impl Activations {
    /// Slices for a forward pass; `keep_stream` when a backward pass will follow.
    pub fn prepare(
        &mut self,
        config: &StackConfig,
        rows: BlockRows<'_>,
        keep_stream: bool,
    ) -> ActivationsMut<'_> {
        let (rows, read_rows) = (rows.group.rows(), rows.read.rows(rows.group));
        let stream_width = if keep_stream { config.width } else { 0 };
        ActivationsMut {
            x: fit(&mut self.x, count([rows, stream_width])),
            x_mid: fit(&mut self.x_mid, count([read_rows, stream_width])),
            qkv: fit(&mut self.qkv, count([rows, 3, config.width])),
            u: fit(&mut self.u, count([read_rows, config.hidden])),
            statistics_1: fit(&mut self.statistics_1, rows),
            statistics_2: fit(&mut self.statistics_2, read_rows),
            log_sum_exp: fit(&mut self.log_sum_exp, count([read_rows, config.heads])),
        }
    }

    pub fn x(&self) -> &[f32] {
        &self.x
    }

    pub fn x_mid(&self) -> &[f32] {
        &self.x_mid
    }

    pub fn qkv(&self) -> &[f32] {
        &self.qkv
    }

    pub fn u(&self) -> &[f32] {
        &self.u
    }

    pub fn statistics_1(&self) -> &[Statistics] {
        &self.statistics_1
    }

    pub fn statistics_2(&self) -> &[Statistics] {
        &self.statistics_2
    }

    pub fn log_sum_exp(&self) -> &[f32] {
        &self.log_sum_exp
    }
}
