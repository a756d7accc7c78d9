//! Scaled dot-product attention of one head of one sequence, forward and backward.
//!
//! Queries, keys and values lie interleaved as the QKV projection leaves them: row `i` is `[q | k | v]`, each `width` long, and a
//! head owns `head_width` columns of each. Queries may be those of some rows only: sequences attend to a shared prefix that does not
//! ask again, and in the last block a single token asks.

mod softmax;

use crate::Capability;
use crate::buffer::{count, fit};
use crate::gemm::{Left, Output, PackedMatrix, multiply};
use softmax::Scores;

/// The shape of one sequence's attention.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Width of the residual stream; rows of QKV are three times as long.
    pub width: usize,
    pub heads: usize,
    pub causal: bool,
    /// Rows of QKV.
    pub keys: usize,
    /// The first row that asks.
    pub first_query: usize,
    /// Consecutive rows that ask, at least one; all others are only attended to.
    pub queries: usize,
}

impl Shape {
    fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// The distance of rows of scores, a multiple of the longest vector.
    fn stride(&self) -> usize {
        self.keys.next_multiple_of(16)
    }

    fn scores(&self) -> Scores {
        Scores {
            keys: self.keys,
            stride: self.stride(),
            scale: 1.0 / (self.head_width() as f32).sqrt(),
            causal: self.causal,
            first_query: self.first_query,
        }
    }
}

/// Memory that attention needs for a while, kept between calls.
pub(crate) struct Scratch {
    capability: Capability,
    probabilities: Vec<f32>,
    gradient: Vec<f32>,
    first: PackedMatrix,
    second: PackedMatrix,
}

impl Scratch {
    pub fn new(capability: Capability) -> Self {
        Self {
            capability,
            probabilities: Vec::new(),
            gradient: Vec::new(),
            first: PackedMatrix::new(capability),
            second: PackedMatrix::new(capability),
        }
    }
}

fn replace(data: &mut [f32], row_stride: usize) -> Output<'_> {
    Output {
        data,
        row_stride,
        accumulate: false,
    }
}

/// `output = softmax(Q K^T / sqrt(head width)) V` for all heads of one sequence.
///
/// # Shapes
/// `qkv` `[keys, 3 width]`, `log_sum_exp` `[heads, queries]`, `output` `[queries, width]`.
pub(crate) fn forward(
    shape: Shape,
    qkv: &[f32],
    log_sum_exp: &mut [f32],
    output: &mut [f32],
    scratch: &mut Scratch,
) {
    let (width, head_width, keys, queries) =
        (shape.width, shape.head_width(), shape.keys, shape.queries);
    let (row, stride) = (3 * width, shape.stride());
    let scores = fit(&mut scratch.probabilities, count([queries, stride]));
    for (head, log_sum_exp) in log_sum_exp.chunks_exact_mut(queries).enumerate() {
        let column = head * head_width;
        scratch
            .first
            .pack_transposed(&qkv[width + column..], row, head_width, keys);
        let left = Left::rows(&qkv[shape.first_query * row + column..], queries, row);
        multiply(left, &scratch.first, None, replace(scores, stride));
        softmax::forward(scratch.capability, shape.scores(), scores, log_sum_exp);
        scratch
            .second
            .pack_rows(&qkv[2 * width + column..], row, keys, head_width);
        multiply(
            Left::rows(scores, queries, stride),
            &scratch.second,
            None,
            replace(&mut output[column..], width),
        );
    }
}

/// The gradient to queries, keys and values. Rows that do not ask get no query gradient: theirs is left as it is.
///
/// # Shapes
/// `qkv` and `d_qkv` `[keys, 3 width]`, `log_sum_exp` `[heads, queries]`, `d_output` `[queries, width]`.
pub(crate) fn backward(
    shape: Shape,
    qkv: &[f32],
    log_sum_exp: &[f32],
    d_output: &[f32],
    d_qkv: &mut [f32],
    scratch: &mut Scratch,
) {
    let (width, head_width, keys, queries) =
        (shape.width, shape.head_width(), shape.keys, shape.queries);
    let (row, stride, first_row) = (3 * width, shape.stride(), shape.first_query * 3 * width);
    let Scratch {
        capability,
        probabilities,
        gradient,
        first,
        second,
    } = scratch;
    let p = fit(probabilities, count([queries, stride]));
    let dp = fit(gradient, count([queries, stride]));
    for (head, log_sum_exp) in log_sum_exp.chunks_exact(queries).enumerate() {
        let (q, k, v) = (
            head * head_width,
            width + head * head_width,
            2 * width + head * head_width,
        );
        // P = softmax(Q K^T), from the saved log-sum-exp
        first.pack_transposed(&qkv[k..], row, head_width, keys);
        multiply(
            Left::rows(&qkv[first_row + q..], queries, row),
            first,
            None,
            replace(p, stride),
        );
        softmax::recompute(*capability, shape.scores(), p, log_sum_exp);
        // dV = P^T dO
        first.pack_rows(&d_output[q..], width, queries, head_width);
        multiply(
            Left::transposed(p, keys, stride),
            first,
            None,
            replace(&mut d_qkv[v..], row),
        );
        // dP = dO V^T, then dS
        second.pack_transposed(&qkv[v..], row, head_width, keys);
        multiply(
            Left::rows(&d_output[q..], queries, width),
            second,
            None,
            replace(dp, stride),
        );
        softmax::backward(*capability, shape.scores(), p, dp);
        // dQ = dS K
        first.pack_rows(&qkv[k..], row, keys, head_width);
        multiply(
            Left::rows(dp, queries, stride),
            first,
            None,
            replace(&mut d_qkv[first_row + q..], row),
        );
        // dK = dS^T Q
        second.pack_rows(&qkv[first_row + q..], row, queries, head_width);
        multiply(
            Left::transposed(dp, keys, stride),
            second,
            None,
            replace(&mut d_qkv[k..], row),
        );
    }
}

#[cfg(test)]
mod tests;
