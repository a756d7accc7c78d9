//! Ranks that are processes of MPI.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use mpi::datatype::PartitionMut;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};
use ueo::exchange::{Alone, Exchange};

use super::RankEnd;
use crate::exit::FAILED;

/// Most bytes that a rank contributes at once: counts of MPI are 32 bits wide, and what arrives is held twice for a moment.
const PART_BYTES: usize = 64 << 20;

/// All processes that were started together.
#[derive(Debug)]
struct World {
    rank: usize,
    ranks: usize,
    /// MPI is called by one thread at a time.
    calling: Mutex<()>,
}

impl Exchange for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        let _calling = self.calling.lock().unwrap_or_else(PoisonError::into_inner);
        let world = SimpleCommunicator::world();
        let mut lengths = vec![0_u64; self.ranks];
        world.all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let mut gathered = vec![Vec::new(); self.ranks];
        let part_len = PART_BYTES.min(Count::MAX as usize / self.ranks);
        for start in (0..longest).step_by(part_len) {
            let end = start + part_len;
            let part = |len: usize| start.min(len)..end.min(len);
            let parts = lengths.iter().map(|&len| part(len as usize).len());
            let counts: Vec<Count> = parts.map(|len| len as Count).collect();
            let mut places = vec![0; self.ranks];
            for rank in 1..self.ranks {
                places[rank] = places[rank - 1] + counts[rank - 1];
            }
            let total: Count = counts.iter().sum();
            let mut received = vec![0_u8; total as usize];
            let mut partition = PartitionMut::new(&mut received[..], &counts[..], &places[..]);
            world.all_gather_varcount_into(&own[part(own.len())], &mut partition);
            let mut left = received.as_slice();
            for (all, &count) in gathered.iter_mut().zip(&counts) {
                let (of_rank, rest) = left.split_at(count as usize);
                all.extend_from_slice(of_rank);
                left = rest;
            }
        }
        gathered
    }
}

/// Runs the program as a rank of MPI; as the only one where nothing has started others.
pub fn run(program: impl FnOnce(Arc<dyn Exchange>) -> RankEnd) -> u8 {
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Serialized) else {
        unreachable!("MPI is initialized here only");
    };
    let world = universe.world();
    let (rank, ranks) = (world.rank() as usize, world.size() as usize);
    let exchange: Arc<dyn Exchange> = match ranks {
        1 => Arc::new(Alone),
        _ => Arc::new(World {
            rank,
            ranks,
            calling: Mutex::new(()),
        }),
    };
    // A panic has been told by now. It must not reach the end of MPI, where it would wait for the others.
    let end = catch_unwind(AssertUnwindSafe(|| program(exchange)));
    match end.unwrap_or(RankEnd::EndsOthers(FAILED)) {
        RankEnd::EndsOthers(code) if ranks > 1 => world.abort(code.into()),
        RankEnd::Together(_) if rank > 0 => 0,
        RankEnd::Together(code) | RankEnd::EndsOthers(code) => code,
    }
}
