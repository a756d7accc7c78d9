use super::*;
use crate::Capability;
use crate::reference::{self, Random, assert_close, wide};

#[test]
fn values_and_gradients_agree_with_f64() {
    const EPSILON: f32 = 1e-5;
    let mut random = Random::new(4);
    for (rows, width) in [(1, 1), (3, 17), (5, 96), (7, 200), (2, 768)] {
        let x: Vec<f32> = random
            .values(rows * width, 2.0)
            .iter()
            .map(|x| x + 1.0)
            .collect();
        let (weight, bias) = (random.values(width, 1.0), random.values(width, 1.0));
        let (dy, residual) = (
            random.values(rows * width, 1.0),
            random.values(rows * width, 1.0),
        );
        let expected = reference::layer_norm(&wide(&x), &weight, &bias, EPSILON);
        let (mut dx, d_weight, d_bias) =
            reference::layer_norm_backward(&wide(&x), &weight, EPSILON, &wide(&dy));
        dx.iter_mut()
            .zip(&residual)
            .for_each(|(dx, &residual)| *dx += f64::from(residual));
        for capability in Capability::available() {
            let what = format!("{capability:?} {rows} {width}");
            let mut statistics = vec![Statistics::default(); rows];
            let mut y = vec![0.0; rows * width];
            let operands = Forward {
                x: &x,
                weight: &weight,
                bias: &bias,
                epsilon: EPSILON,
                statistics: &mut statistics,
                y: OperandMut::F32(&mut y),
            };
            forward(capability, operands);
            assert_close(&what, &y, &expected);
            let (mut found, mut found_weight, mut found_bias) =
                (residual.clone(), vec![0.0; width], vec![0.0; width]);
            let operands = Backward {
                x: &x,
                statistics: &statistics,
                weight: &weight,
                dy: &dy,
                dx: &mut found,
                affine: Some((&mut found_weight, &mut found_bias)),
            };
            backward(capability, operands);
            assert_close(&what, &found, &dx);
            assert_close(&what, &found_weight, &d_weight);
            assert_close(&what, &found_bias, &d_bias);
        }
    }
}

#[test]
fn a_nan_makes_its_row_nan() {
    let (rows, width) = (3, 70);
    let x = Random::new(14).values(rows * width, 1.0);
    let (weight, bias) = (vec![1.0; width], vec![0.0; width]);
    for (capability, nan) in
        Capability::available().flat_map(|capability| reference::NANS.map(|nan| (capability, nan)))
    {
        let mut x = x.clone();
        x[width + 69] = nan;
        let mut y = vec![0.0; x.len()];
        let operands = Forward {
            x: &x,
            weight: &weight,
            bias: &bias,
            epsilon: 1e-5,
            statistics: &mut [Statistics::default(); 3],
            y: OperandMut::F32(&mut y),
        };
        forward(capability, operands);
        for (row, y) in y.chunks_exact(width).enumerate() {
            assert!(y.iter().all(|y| y.is_nan() == (row == 1)), "{capability:?}");
        }
    }
}
