//! Row-wise softmax of attention scores, its recomputation from the saved log-sum-exp, and its derivative.

use crate::capability::{Arithmetic, multiversion};
use crate::elementary::{exp, maximum, sum, sum_pairs};

/// The shape of a matrix of scores: rows are queries, `stride` apart; the first `keys` columns of a row are used.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    pub keys: usize,
    pub stride: usize,
    /// `1 / sqrt(head width)`
    pub scale: f32,
    /// With a causal mask, query `i` sees keys `0 ..= first_query + i`.
    pub causal: bool,
    pub first_query: usize,
}

impl Scores {
    #[inline(always)]
    fn visible(self, query: usize) -> usize {
        if self.causal {
            self.keys.min(self.first_query + query + 1)
        } else {
            self.keys
        }
    }
}

#[inline(always)]
fn forward_generic<A: Arithmetic>(shape: Scores, scores: &mut [f32], log_sum_exp: &mut [f32]) {
    for (query, (row, log_sum_exp)) in scores
        .chunks_exact_mut(shape.stride)
        .zip(log_sum_exp)
        .enumerate()
    {
        let (row, hidden) = row[..shape.keys].split_at_mut(shape.visible(query));
        let largest = maximum(row);
        for value in row.iter_mut() {
            *value = exp::<A>((*value - largest) * shape.scale);
        }
        let total = sum(row, |x| x);
        let inverse = 1.0 / total;
        for value in row.iter_mut() {
            *value *= inverse;
        }
        hidden.fill(0.0);
        *log_sum_exp = largest * shape.scale + total.ln();
    }
}

multiversion! {
    /// Scores to probabilities in place; hidden keys get zero.
    pub(super) fn forward = forward_generic(shape: Scores, scores: &mut [f32], log_sum_exp: &mut [f32])
}

#[inline(always)]
fn recompute_generic<A: Arithmetic>(shape: Scores, scores: &mut [f32], log_sum_exp: &[f32]) {
    for (query, (row, &log_sum_exp)) in scores
        .chunks_exact_mut(shape.stride)
        .zip(log_sum_exp)
        .enumerate()
    {
        let (row, hidden) = row[..shape.keys].split_at_mut(shape.visible(query));
        for value in row.iter_mut() {
            *value = exp::<A>(A::mul_add(*value, shape.scale, -log_sum_exp));
        }
        hidden.fill(0.0);
    }
}

multiversion! {
    /// Scores to the probabilities of the forward pass, in place: `p = exp(scale s - log_sum_exp)`.
    pub(super) fn recompute = recompute_generic(shape: Scores, scores: &mut [f32], log_sum_exp: &[f32])
}

#[inline(always)]
fn backward_generic<A: Arithmetic>(shape: Scores, probabilities: &[f32], gradient: &mut [f32]) {
    let rows = probabilities
        .chunks_exact(shape.stride)
        .zip(gradient.chunks_exact_mut(shape.stride));
    for (p, g) in rows {
        let (p, g) = (&p[..shape.keys], &mut g[..shape.keys]);
        let mean = sum_pairs(p, g, |p, g| p * g);
        for (p, g) in p.iter().zip(g) {
            *g = p * (*g - mean) * shape.scale;
        }
    }
}

multiversion! {
    /// Gradient of the probabilities to that of the unscaled scores, in place: `scale p (g - sum p g)`.
    pub(super) fn backward = backward_generic(shape: Scores, probabilities: &[f32], gradient: &mut [f32])
}
