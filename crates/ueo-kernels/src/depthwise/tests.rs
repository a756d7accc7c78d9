use super::*;
use crate::reference::{Random, assert_close};

/// Outputs and the gradient of the inputs, tap by tap in f64.
fn reference(
    weight: &[f32],
    bias: &[f32],
    [images, input, output]: [usize; 3],
    [side, stride]: [usize; 2],
    x: &[f32],
    dy: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let channels = bias.len();
    let mut y: Vec<f64> = (0..dy.len())
        .map(|i| f64::from(bias[i % channels]))
        .collect();
    let mut dx = vec![0.0; x.len()];
    for image in 0..images {
        for place in 0..output * output * side * side * channels {
            let (place, channel) = (place / channels, place % channels);
            let (place, tap) = (place / (side * side), place % (side * side));
            let (row, column) = (place / output, place % output);
            let at = |place: usize, tap: usize| (place * stride + tap).checked_sub(side / 2);
            let (Some(top), Some(left)) = (at(row, tap / side), at(column, tap % side)) else {
                continue;
            };
            if top >= input || left >= input {
                continue;
            }
            let from = ((image * input + top) * input + left) * channels + channel;
            let to = ((image * output + row) * output + column) * channels + channel;
            let weight = f64::from(weight[channel * side * side + tap]);
            y[to] += weight * f64::from(x[from]);
            dx[from] += weight * f64::from(dy[to]);
        }
    }
    (y, dx)
}

#[test]
fn values_and_gradients_agree_with_f64() {
    let mut random = Random::new(11);
    for (images, input, channels, side, stride) in [
        (1, 1, 1, 3, 1),
        (2, 5, 33, 3, 1),
        (2, 6, 40, 3, 2),
        (1, 7, 3, 3, 2),
        (3, 4, 64, 7, 1),
        (1, 9, 32, 7, 1),
    ] {
        let weight = random.values(channels * side * side, 1.0);
        let bias = random.values(channels, 1.0);
        let output = usize::div_ceil(input, stride);
        let x = random.values(images * input * input * channels, 1.0);
        let dy = random.values(images * output * output * channels, 1.0);
        let shape = [images, input, output];
        let (y, dx) = reference(&weight, &bias, shape, [side, stride], &x, &dy);
        for capability in Capability::available() {
            let what = format!("{capability:?} {shape:?} {channels} {side} {stride}");
            let convolution =
                DepthwiseConvolution::new(capability, &weight, &bias, side, stride).unwrap();
            assert_close(&what, &convolution.forward(images, input, &x), &y);
            assert_close(&what, &convolution.backward(images, input, &dy), &dx);
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let capability = Capability::detect();
    let even = DepthwiseConvolution::new(capability, &[0.0; 4], &[0.0], 2, 1);
    assert!(even.is_err());
    let short = DepthwiseConvolution::new(capability, &[0.0; 17], &[0.0; 2], 3, 1);
    assert_eq!(short.err().map(|error| error.expected), Some(18));
}
