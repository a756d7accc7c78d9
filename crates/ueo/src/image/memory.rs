//! One budget of memory for decoding, shared by all threads: an image waits until there is room for it.

use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Most memory that decoding one image may take by default: a photograph of 108 megapixels (324 MB) is inside.
pub const DEFAULT_MAX_IMAGE_BYTES: u64 = 384 << 20;

/// What each core adds to the budget of the process: a photograph of 12 megapixels while it is decoded.
const BYTES_PER_CORE: u64 = 48 << 20;

/// A budget of bytes. Clones share it.
///
/// Who waits holds nothing, room is given in the order of asking, and an image that is larger than the whole budget is
/// admitted when it is alone. So nobody waits for ever, and the budget changes when an image is decoded, never whether:
/// that is what [`DecodeOptions::max_bytes`](super::DecodeOptions::max_bytes) says.
#[derive(Clone, Debug)]
pub struct DecodingMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used_bytes: u64,
    /// The number that the next one to ask draws.
    next_ticket: u64,
    /// The number whose turn it is.
    serving: u64,
    /// The most that was used at once.
    peak_bytes: u64,
}

impl DecodingMemory {
    /// A budget of its own.
    pub fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            limit_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// The budget of this process, for everything that has none of its own: 384 MiB, or 48 MiB per core where that is more.
    pub fn of_process() -> Self {
        static OF_PROCESS: LazyLock<DecodingMemory> = LazyLock::new(|| {
            let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
            DecodingMemory::new(DEFAULT_MAX_IMAGE_BYTES.max(BYTES_PER_CORE * cores))
        });
        OF_PROCESS.clone()
    }

    /// The budget in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }

    /// The most that was reserved at once so far, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.0.lock().peak_bytes
    }

    /// Waits for room. The caller must hold no other reservation, and must not wait for other threads while it holds
    /// this one: decoders run on one thread each.
    pub(super) fn reserve(&self, bytes: u64) -> Reservation {
        let mut state = self.0.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket
            || state.used_bytes > 0 && state.used_bytes.saturating_add(bytes) > self.0.limit_bytes
        {
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        state.used_bytes = state.used_bytes.saturating_add(bytes);
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        drop(state);
        self.0.changed.notify_all();
        Reservation {
            memory: self.clone(),
            bytes,
        }
    }
}

impl Shared {
    /// The state is valid after every statement, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room in a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: DecodingMemory,
    bytes: u64,
}

impl Reservation {
    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.memory.0.lock().used_bytes -= surplus;
        self.memory.0.changed.notify_all();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_kept_by_many_threads_and_all_of_them_end() {
        let memory = DecodingMemory::new(100);
        thread::scope(|scope| {
            for number in 0..16_u64 {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..200 {
                        let mut reservation = memory.reserve(1 + (number * 37 + round * 11) % 100);
                        thread::yield_now();
                        reservation.shrink_to(5);
                    }
                });
            }
        });
        assert!(memory.peak_bytes() <= 100, "{}", memory.peak_bytes());
        assert_eq!(memory.0.lock().used_bytes, 0);
    }

    #[test]
    fn what_is_larger_than_the_budget_is_admitted_alone() {
        let memory = DecodingMemory::new(10);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| drop(memory.reserve(1000))));
                scope.spawn(|| (0..50).for_each(|_| drop(memory.reserve(3))));
            }
        });
        assert_eq!(memory.peak_bytes(), 1000);
    }
}
