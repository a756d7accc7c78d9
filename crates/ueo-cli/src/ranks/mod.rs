//! The processes of a job: one, or several that `mpirun` or SLURM has started (cargo feature `mpi`).

#[cfg(feature = "mpi")]
mod mpi;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
#[cfg(not(feature = "mpi"))]
use ueo::exchange::Alone;
use ueo::exchange::Exchange;

use crate::error::CliError;

/// How long a rank waits with its error: one that all ranks meet is the first one's to tell, which ends the others.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A rank has failed, and all end with it.
#[derive(Debug, Error)]
#[error("rank {rank} of {ranks} failed, so all of them end")]
pub struct RankError {
    /// Which one.
    pub rank: usize,
    /// How many there are.
    pub ranks: usize,
    /// Why.
    #[source]
    pub source: CliError,
}

/// How a rank ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankEnd {
    /// As all others do, with this exit code.
    Together(u8),
    /// Alone, where others may wait for it: they are ended, with this exit code.
    EndsOthers(u8),
}

/// Runs the program as one of the ranks that were started, and returns its exit code. Of several ranks the first one's counts.
#[cfg(feature = "mpi")]
pub fn run(program: impl FnOnce(Arc<dyn Exchange>) -> RankEnd) -> u8 {
    mpi::run(program)
}

/// Runs the program, and returns its exit code.
#[cfg(not(feature = "mpi"))]
pub fn run(program: impl FnOnce(Arc<dyn Exchange>) -> RankEnd) -> u8 {
    match program(Arc::new(Alone)) {
        RankEnd::Together(code) | RankEnd::EndsOthers(code) => code,
    }
}
