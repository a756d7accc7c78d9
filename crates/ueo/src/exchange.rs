//! Several processes that do one job together: what each of them computes is exchanged, so that all of them know the same.
//!
//! Each process is a rank. All ranks do the same steps in the same order and divide what takes long: the images of a batch, the texts of
//! classes. What follows from all of it, such as a loss or an update, every rank computes by itself from the same numbers.

use std::fmt::Debug;
use std::ops::Range;

/// The way from a rank to the others. Every method that exchanges something is called by all ranks, in the same order of calls.
///
/// A rank that fails does not call; whoever started the ranks ends them all then.
pub trait Exchange: Debug + Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn ranks(&self) -> usize;

    /// What each rank contributes, in the order of the ranks. They may contribute different lengths.
    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>>;

    /// Whether this is the rank that writes files and speaks to the user.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there are no others.
    fn is_alone(&self) -> bool {
        self.ranks() == 1
    }

    /// Which of `len` items in a row are this rank's, so that all have about as many.
    fn share(&self, len: usize) -> Range<usize> {
        let (rank, each, more) = (self.rank(), len / self.ranks(), len % self.ranks());
        let start = rank * each + rank.min(more);
        start..start + each + usize::from(rank < more)
    }

    /// Which of items that are dealt in turn is this rank's.
    fn is_dealt(&self, item: usize) -> bool {
        item % self.ranks() == self.rank()
    }

    /// The numbers of all ranks, one rank after the other.
    fn gather_numbers(&self, own: &[f32]) -> Vec<f32> {
        if self.is_alone() {
            return own.to_vec();
        }
        let gathered = self.gather(bytemuck::cast_slice(own));
        gathered
            .iter()
            .flat_map(|bytes| bytemuck::pod_collect_to_vec::<u8, f32>(bytes))
            .collect()
    }

    /// Adds up the numbers of all ranks, as many from each, in the order of the ranks.
    fn sum(&self, numbers: &mut [f32]) {
        if self.is_alone() {
            return;
        }
        let gathered = self.gather_numbers(numbers);
        let (first, others) = gathered.split_at(numbers.len());
        numbers.copy_from_slice(first);
        for other in others.chunks_exact(numbers.len().max(1)) {
            for (sum, number) in numbers.iter_mut().zip(other) {
                *sum += number;
            }
        }
    }

    /// Whether it is so on any rank.
    fn any(&self, own: bool) -> bool {
        if self.is_alone() {
            return own;
        }
        self.gather(&[u8::from(own)]).concat().contains(&1)
    }

    /// The largest of the ranks' numbers, such as the time that the slowest one took.
    fn largest(&self, own: f64) -> f64 {
        if self.is_alone() {
            return own;
        }
        let gathered = self.gather(&own.to_ne_bytes()).concat();
        let numbers = bytemuck::pod_collect_to_vec::<u8, f64>(&gathered);
        numbers.into_iter().fold(own, f64::max)
    }

    /// What the first rank has; the others' own is not looked at.
    fn of_first(&self, own: Vec<u8>) -> Vec<u8> {
        if self.is_alone() {
            return own;
        }
        let own = if self.is_first() { own } else { Vec::new() };
        self.gather(&own).swap_remove(0)
    }

    /// The first rank that has something else than the first one; `None` where all have the same.
    fn first_to_differ(&self, own: &[u8]) -> Option<usize> {
        let gathered = self.gather(own);
        gathered.iter().position(|other| *other != gathered[0])
    }
}

/// One process that does everything itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Exchange for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        vec![own.to_vec()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rank that nobody answers.
    #[derive(Debug)]
    struct Rank(usize, usize);

    impl Exchange for Rank {
        fn rank(&self) -> usize {
            self.0
        }

        fn ranks(&self) -> usize {
            self.1
        }

        fn gather(&self, _own: &[u8]) -> Vec<Vec<u8>> {
            unreachable!("nothing is exchanged here")
        }
    }

    #[test]
    fn shares_are_even_follow_on_each_other_and_grow_with_the_whole() {
        for ranks in 1..6 {
            let mut before = vec![0; ranks];
            for len in 0..23 {
                let shares: Vec<_> = (0..ranks).map(|r| Rank(r, ranks).share(len)).collect();
                let all: Vec<usize> = shares.iter().cloned().flatten().collect();
                assert_eq!(all, (0..len).collect::<Vec<_>>());
                let sizes: Vec<usize> = shares.iter().map(|share| share.len()).collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
                // A shorter batch has no larger share than a longer one, so a loader cuts where the ranks do.
                assert!(sizes.iter().zip(&before).all(|(now, before)| now >= before));
                before = sizes;
            }
        }
    }
}
