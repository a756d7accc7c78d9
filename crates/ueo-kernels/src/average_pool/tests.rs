use super::*;
use crate::Capability;
use crate::reference::{NANS, Random, assert_close};

/// Means of windows and the gradient they pass back, position by position in f64.
fn reference(x: &[f32], dy: &[f32], shape: MapShape) -> (Vec<f64>, Vec<f64>) {
    let output = output_shape(shape);
    let mut y = vec![0.0; output.len()];
    let mut dx = vec![0.0; shape.len()];
    for image in 0..shape.images {
        for top in 0..2 * output.height {
            for left in 0..2 * output.width {
                for channel in 0..shape.channels {
                    let at = |shape: MapShape, y: usize, x: usize| {
                        ((image * shape.height + y) * shape.width + x) * shape.channels + channel
                    };
                    let (from, to) = (at(shape, top, left), at(output, top / 2, left / 2));
                    y[to] += f64::from(x[from]) / 4.0;
                    dx[from] = f64::from(dy[to]) / 4.0;
                }
            }
        }
    }
    (y, dx)
}

#[test]
fn pools_agree_with_f64_in_values_and_gradients() {
    let mut random = Random::new(3);
    for (images, height, width, channels) in [(1, 2, 2, 1), (3, 6, 4, 12), (2, 5, 7, 33)] {
        let shape = MapShape {
            images,
            height,
            width,
            channels,
        };
        let x = random.values(shape.len(), 1.0);
        let dy = random.values(output_shape(shape).len(), 1.0);
        let expected = reference(&x, &dy, shape);
        for capability in Capability::available() {
            let mut y = vec![f32::NAN; dy.len()];
            forward(capability, &x, shape, &mut y);
            assert_close(&format!("{capability:?} {shape:?} y"), &y, &expected.0);
            let mut dx = vec![f32::NAN; x.len()];
            backward(capability, &dy, shape, &mut dx);
            assert_close(&format!("{capability:?} {shape:?} dx"), &dx, &expected.1);
        }
    }
}

#[test]
fn a_nan_reaches_the_mean_of_its_window() {
    let shape = MapShape {
        images: 1,
        height: 4,
        width: 4,
        channels: 19,
    };
    let x = Random::new(5).values(shape.len(), 1.0);
    for capability in Capability::available() {
        for (nan, position) in NANS.iter().flat_map(|nan| (0..16).map(move |p| (nan, p))) {
            let mut x = x.clone();
            x[position * 19 + 7] = *nan;
            let mut y = vec![0.0; output_shape(shape).len()];
            forward(capability, &x, shape, &mut y);
            let window = position / 8 * 2 + position % 4 / 2;
            let found: Vec<usize> = (0..y.len()).filter(|&i| y[i].is_nan()).collect();
            assert_eq!(found, [window * 19 + 7], "{capability:?} {position}");
        }
    }
}
