//! A buffer that begins on a cache line, so that no vector load of a panel touches two lines.

/// One cache line, which is also the longest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<T>([T; LINE]);

const LINE: usize = 16;

/// Values of four bytes: f32, or a pair of bf16.
pub(super) struct AlignedBuffer<T>(Vec<Line<T>>);

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
        // are `LINE * len` consecutive values.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}
