//! How sequences are divided into tasks.

use super::read::Read;
use std::ops::Range;

/// Rows that a task has where there are enough: so many that each panel of weights is used often while it is in the cache, so few
/// that activations stay there too.
const ROWS_WANTED: usize = 256;
/// Below this a product is bound by reading the weights.
const ROWS_LEAST: usize = 64;
/// Tasks wanted before they grow past `ROWS_LEAST`, so that a few cores have work.
const TASKS_WANTED: usize = 8;

/// Consecutive sequences that one task runs through all blocks. `offsets` are rows within the whole batch, one more than sequences.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub offsets: &'a [usize],
}

impl Group<'_> {
    pub fn rows(self) -> usize {
        self.offsets[self.offsets.len() - 1] - self.offsets[0]
    }

    /// The rows of each sequence, counted from the group's first.
    pub fn sequences(self) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator {
        let base = self.offsets[0];
        self.offsets
            .windows(2)
            .map(move |pair| pair[0] - base..pair[1] - base)
    }
}

/// Collects what lies at the front of each group's part of `x` `[rows, width]`, the rows that are read: the output behind the last
/// block.
pub(super) fn collect_output(
    groups: &[Group<'_>],
    read: Read,
    width: usize,
    x: &[f32],
) -> Vec<f32> {
    let front = |group: &Group<'_>| &x[group.offsets[0] * width..][..read.rows(*group) * width];
    groups.iter().map(front).collect::<Vec<_>>().concat()
}

/// Puts the gradient to the output `[rows that are read, width]` where [`collect_output`] takes the output from.
pub(super) fn place_gradient(
    groups: &[Group<'_>],
    read: Read,
    width: usize,
    mut gradient: &[f32],
    d: &mut [f32],
) {
    for group in groups {
        let (own, rest) = gradient.split_at(read.rows(*group) * width);
        d[group.offsets[0] * width..][..own.len()].copy_from_slice(own);
        gradient = rest;
    }
}

/// Divides sequences into groups by their lengths alone, so that results do not depend on the number of threads.
pub(super) fn partition(offsets: &[usize]) -> Vec<Group<'_>> {
    let Some((&first, &last)) = offsets.first().zip(offsets.last()) else {
        return Vec::new();
    };
    let wanted = ((last - first) / TASKS_WANTED).clamp(ROWS_LEAST, ROWS_WANTED);
    let mut groups = Vec::new();
    let mut start = 0;
    for end in 1..offsets.len() {
        let is_last = end + 1 == offsets.len();
        if is_last || offsets[end + 1] - offsets[start] > wanted {
            groups.push(Group {
                offsets: &offsets[start..=end],
            });
            start = end;
        }
    }
    groups
}

/// Cuts `[rows, width]` into the groups' parts.
pub(super) fn split<'g, 'x>(
    groups: &[Group<'g>],
    mut x: &'x mut [f32],
    width: usize,
) -> Vec<(Group<'g>, &'x mut [f32])> {
    let mut parts = Vec::with_capacity(groups.len());
    for &group in groups {
        let (part, rest) = x.split_at_mut(group.rows() * width);
        parts.push((group, part));
        x = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_all_sequences_in_order() {
        for (sequences, tokens) in [(1, 1), (1, 1000), (3, 5), (16, 197), (64, 50), (345, 6)] {
            let offsets: Vec<usize> = (0..=sequences).map(|i| i * tokens).collect();
            let groups = partition(&offsets);
            let mut next = 0;
            for group in &groups {
                assert_eq!(group.offsets[0], next);
                assert!(group.rows() <= ROWS_WANTED || group.offsets.len() == 2);
                next = group.offsets[group.offsets.len() - 1];
            }
            assert_eq!(next, sequences * tokens);
        }
        assert!(partition(&[0]).is_empty());
    }
}
