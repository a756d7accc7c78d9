//! A buffer of floats that begins on a cache line, so that no vector load of a panel touches two lines.

/// One cache line, which is also the longest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

#[derive(Default)]
pub(super) struct AlignedBuffer(Vec<Line>);

impl AlignedBuffer {
    /// Makes room for `len` values; never shrinks.
    pub fn grow(&mut self, len: usize) {
        let lines = len.div_ceil(LINE);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; LINE]));
        }
    }

    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: a `Line` is exactly `LINE` floats without padding, so the vector's lines are `LINE * len` consecutive floats.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}
