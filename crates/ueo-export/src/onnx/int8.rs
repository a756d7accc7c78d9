//! Weights as integers of 8 bits with a factor per output.

use ueo::tensor::HostTensor;

/// Largest integer; the range is symmetric, so that zero stays zero.
const LARGEST: f32 = 127.0;

/// `values * factors`, the factors along one axis.
#[derive(Debug, PartialEq)]
pub struct Quantized {
    /// In the order of the tensor.
    pub values: Vec<i8>,
    /// One per index of the axis.
    pub factors: Vec<f32>,
}

/// The nearest integers to the elements over the factor of their output, which is the largest of its elements over 127.
pub fn quantized(tensor: &HostTensor, axis: usize) -> Quantized {
    let outputs = tensor.shape[axis];
    let inner: usize = tensor.shape[axis + 1..].iter().product();
    let output_of = |index: usize| index / inner % outputs;
    let mut largest = vec![0.0_f32; outputs];
    for (index, value) in tensor.data.iter().enumerate() {
        let largest = &mut largest[output_of(index)];
        *largest = largest.max(value.abs());
    }
    // An output whose elements are all zero needs a factor that can be divided by.
    let factor = |largest: f32| {
        if largest > 0.0 {
            largest / LARGEST
        } else {
            1.0
        }
    };
    let factors: Vec<f32> = largest.into_iter().map(factor).collect();
    let values = tensor.data.iter().enumerate();
    let values = values
        .map(|(index, value)| {
            let scaled = (value / factors[output_of(index)]).round_ties_even();
            scaled.clamp(-LARGEST, LARGEST) as i8
        })
        .collect();
    Quantized { values, factors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_has_its_own_factor() {
        let tensor = HostTensor {
            shape: vec![2, 3],
            data: vec![1.0, -200.0, 0.0, -0.5, 100.0, 0.0],
        };
        let columns = quantized(&tensor, 1);
        assert_eq!(columns.factors, [1.0 / 127.0, 200.0 / 127.0, 1.0]);
        assert_eq!(columns.values, [127, -127, 0, -64, 64, 0]);
        let rows = quantized(&tensor, 0);
        assert_eq!(rows.factors, [200.0 / 127.0, 100.0 / 127.0]);
        assert_eq!(rows.values, [1, -127, 0, -1, 127, 0]);
    }
}
