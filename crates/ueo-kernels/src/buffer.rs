//! Memory that is kept from one use to the next, and the lengths that it must have.

/// The number of values of an array with these axes.
///
/// # Panics
/// When it passes the largest `usize`: a length that wrapped around would pass for a small one.
#[track_caller]
pub(crate) fn count<const AXES: usize>(axes: [usize; AXES]) -> usize {
    let Some(count) = checked_count(axes) else {
        panic!("an array of {axes:?} values is larger than memory");
    };
    count
}

/// As [`count`], `None` when it passes the largest `usize`.
pub(crate) fn checked_count<const AXES: usize>(axes: [usize; AXES]) -> Option<usize> {
    if axes.contains(&0) {
        return Some(0);
    }
    axes.into_iter().try_fold(1_usize, usize::checked_mul)
}

/// A buffer of at least `len` values, of which the first `len` are returned with whatever was there.
pub(crate) fn fit<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

/// One cache line, which is also the longest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<T>([T; LINE]);

const LINE: usize = 16;

/// A buffer that begins on a cache line, so that no vector load of a panel touches two lines. Its values have four bytes: f32, or a
/// pair of bf16.
pub(crate) struct AlignedBuffer<T>(Vec<Line<T>>);

impl<T> Default for AlignedBuffer<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Default> AlignedBuffer<T> {
    /// Makes room for `len` values; never shrinks.
    pub fn grow(&mut self, len: usize) {
        const { assert!(size_of::<Line<T>>() == LINE * size_of::<T>()) };
        let lines = len.div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, Line([T::default(); LINE]));
        }
    }

    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `grow`, the only way to get lines, checks that a `Line` is `LINE` values without padding, so the vector's lines
        // are `LINE * len` consecutive values; their number does not overflow because they are in memory.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_wrap_around() {
        assert_eq!(count([3, 4, 5]), 60);
        assert_eq!(checked_count([usize::MAX, 1]), Some(usize::MAX));
        assert_eq!(checked_count([1 << 33, 1 << 31]), None);
        // Zero wherever it stands: an array without values has a length however long its other axes are.
        assert_eq!(checked_count([usize::MAX, usize::MAX, 0]), Some(0));
    }

    #[test]
    #[should_panic(expected = "larger than memory")]
    fn a_count_past_the_largest_is_refused() {
        count([1 << 33, 1 << 31]);
    }
}
