//! The product as it is defined; what the other paths are tested against.

use super::{Left, Output, PackedMatrix};

pub(super) fn multiply(
    left: Left<'_>,
    right: &PackedMatrix,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let (depth, columns) = (right.depth(), right.columns());
    let packed = right.data.as_slice();
    for i in 0..left.rows {
        let target = &mut output.data[i * output.row_stride..][..columns];
        for (j, value) in target.iter_mut().enumerate() {
            // In f64, because a sum in one chain of f32 has larger errors than the partial sums of the other paths.
            let mut sum = 0.0_f64;
            for p in 0..depth {
                let factor = left.data[i * left.row_stride + p * left.depth_stride];
                sum += f64::from(factor) * f64::from(packed[p * columns + j]);
            }
            let sum = sum as f32 + bias.map_or(0.0, |bias| bias[j]);
            *value = if output.accumulate { *value + sum } else { sum };
        }
    }
}
