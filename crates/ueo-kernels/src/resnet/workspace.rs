//! Memory that outlives a call. Fresh memory costs page faults, so buffers go back to a pool.

use super::layer::ChunkScratch;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A pool of buffers, shared by its clones. Use one for each tower: buffers grow to the largest use that they have seen.
///
/// A call takes what it needs and gives it back; what [`super::SavedMaps`] holds comes back when that is dropped.
#[derive(Clone, Default)]
pub struct MapWorkspace(Arc<Pools>);

#[derive(Default)]
struct Pools {
    scratch: Mutex<Vec<Scratch>>,
    activations: Mutex<Vec<Activations>>,
}

/// What one worker needs while it runs a group.
#[derive(Default)]
pub(super) struct Scratch {
    pub chunk: ChunkScratch,
    /// Maps, each as large as the largest of the group.
    pub maps: [Vec<f32>; 4],
}

/// What the backward pass of one group needs; see [`super::plan::Plan`].
#[derive(Default)]
pub(super) struct Activations {
    pub z: Vec<f32>,
    pub mask: Vec<u8>,
}

/// Something of a pool, given back when dropped.
pub(super) struct Lease<T: Default> {
    workspace: MapWorkspace,
    pool: fn(&Pools) -> &Mutex<Vec<T>>,
    value: T,
}

impl MapWorkspace {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    fn lease<T: Default>(&self, pool: fn(&Pools) -> &Mutex<Vec<T>>) -> Lease<T> {
        let value = pool(&self.0)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default();
        Lease {
            workspace: self.clone(),
            pool,
            value,
        }
    }

    pub(super) fn scratch(&self) -> Lease<Scratch> {
        self.lease(|pools| &pools.scratch)
    }

    pub(super) fn activations(&self) -> Lease<Activations> {
        self.lease(|pools| &pools.activations)
    }
}

impl<T: Default> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Default> Drop for Lease<T> {
    fn drop(&mut self) {
        (self.pool)(&self.workspace.0)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(std::mem::take(&mut self.value));
    }
}
