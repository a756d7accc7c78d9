//! The product by the `gemm` crate, which has kernels for every common CPU and chooses among them itself.

use super::{Left, Output, PackedMatrix};

pub(super) fn multiply(
    left: Left<'_>,
    right: &PackedMatrix,
    bias: Option<&[f32]>,
    output: Output<'_>,
) {
    let (depth, columns) = (right.depth(), right.columns());
    let stride = |value: usize| isize::try_from(value).expect("slices are shorter than isize::MAX");
    // SAFETY: `super::multiply` has checked that every element these shapes and strides name lies inside its slice; the output is
    // borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            left.rows,
            columns,
            depth,
            output.data.as_mut_ptr(),
            1,
            stride(output.row_stride),
            output.accumulate,
            left.data.as_ptr(),
            stride(left.depth_stride),
            stride(left.row_stride),
            right.data.as_slice().as_ptr(),
            1,
            stride(columns),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
    if let Some(bias) = bias {
        for row in output.data.chunks_mut(output.row_stride).take(left.rows) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}
