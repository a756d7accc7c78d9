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
            let mut sum = 0.0;
            for p in 0..depth {
                sum += left.data[i * left.row_stride + p * left.depth_stride]
                    * packed[p * columns + j];
            }
            sum += bias.map_or(0.0, |bias| bias[j]);
            *value = if output.accumulate { *value + sum } else { sum };
        }
    }
}
