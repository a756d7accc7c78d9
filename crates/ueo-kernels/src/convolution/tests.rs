use super::*;
use crate::precision::Bf16;
use crate::reference::{Random, assert_close, relative_error, wide};
use crate::resnet::reference::{convolution, convolution_backward};

fn shape(images: usize, height: usize, width: usize, channels: usize) -> MapShape {
    MapShape {
        images,
        height,
        width,
        channels,
    }
}

#[test]
fn convolutions_agree_with_f64_in_values_and_gradients() {
    let mut random = Random::new(4);
    for (input, outputs, kernel, stride) in [
        (shape(1, 1, 1, 1), 1, 1, 1),
        (shape(1, 1, 1, 5), 3, 3, 1),
        (shape(2, 2, 3, 7), 13, 3, 1),
        (shape(1, 7, 5, 3), 12, 3, 2),
        (shape(3, 8, 8, 3), 17, 3, 2),
        (shape(2, 9, 9, 24), 50, 1, 1),
        // More than one chunk.
        (shape(1, 41, 37, 33), 20, 3, 1),
    ] {
        let weight = random.values(outputs * input.channels * kernel * kernel, 0.5);
        let x = random.values(input.len(), 1.0);
        let y = convolution(&wide(&x), input, &weight, kernel, stride);
        let dz = random.values(y.len(), 1.0);
        for capability in Capability::available() {
            let what = format!("{capability:?} {input:?} to {outputs}, kernel {kernel}");
            let layer = FrozenConvolution::new(
                capability,
                Precision::F32,
                &weight,
                input.channels,
                outputs,
                kernel,
                stride,
            )
            .unwrap();
            let mut scratch = ConvolutionScratch::default();
            let mut found = vec![f32::NAN; y.len()];
            for range in layer.chunks(layer.output_shape(input)) {
                let z = &mut found[range.start * outputs..range.end * outputs];
                layer.forward(&x, input, range, &mut scratch, z);
            }
            assert_close(&what, &found, &y);
            if stride > 1 {
                continue;
            }
            let expected = convolution_backward(&wide(&dz), input, &weight, kernel);
            let mut dx = vec![f32::NAN; x.len()];
            layer.backward(&dz, input, &mut scratch, &mut dx, false);
            assert_close(&format!("{what}: dx"), &dx, &expected);
            layer.backward(&dz, input, &mut scratch, &mut dx, true);
            let twice: Vec<f64> = expected.iter().map(|dx| 2.0 * dx).collect();
            assert_close(&format!("{what}: dx added"), &dx, &twice);
        }
    }
}

#[test]
fn products_of_patches_are_those_of_operands_in_the_precision() {
    let mut random = Random::new(25);
    for (input, outputs, kernel, stride) in [
        (shape(2, 9, 9, 24), 50, 1, 1),
        (shape(1, 5, 7, 33), 19, 1, 1),
        (shape(2, 4, 3, 7), 13, 3, 1),
        (shape(3, 8, 8, 3), 17, 3, 2),
    ] {
        let weight = random.values(outputs * input.channels * kernel * kernel, 0.5);
        let x = random.values(input.len(), 1.0);
        for precision in [Precision::Bf16, Precision::F32Split] {
            // What is left of a number in the precision; a split one is all but 2^-16 of itself.
            let rounded = |values: &[f32]| -> Vec<f32> {
                let of = |&value: &f32| match precision {
                    Precision::Bf16 => Bf16::round(value).to_f32(),
                    Precision::F32 | Precision::F32Split => value,
                };
                values.iter().map(of).collect()
            };
            let tolerance = if precision == Precision::Bf16 {
                2e-6
            } else {
                1e-5
            };
            let w = rounded(&weight);
            let y = convolution(&wide(&rounded(&x)), input, &w, kernel, stride);
            let dz = random.values(y.len(), 1.0);
            for capability in Capability::available() {
                let what = format!("{capability:?} {precision:?} {input:?}, kernel {kernel}");
                let layer = FrozenConvolution::new(
                    capability,
                    precision,
                    &weight,
                    input.channels,
                    outputs,
                    kernel,
                    stride,
                )
                .unwrap();
                let mut scratch = ConvolutionScratch::default();
                let mut found = vec![f32::NAN; y.len()];
                for range in layer.chunks(layer.output_shape(input)) {
                    let z = &mut found[range.start * outputs..range.end * outputs];
                    layer.forward(&x, input, range, &mut scratch, z);
                }
                let error = relative_error(&found, &y);
                assert!(error < tolerance, "{what}: {error:e}");
                if stride > 1 {
                    continue;
                }
                let expected = convolution_backward(&wide(&rounded(&dz)), input, &w, kernel);
                let mut dx = vec![f32::NAN; x.len()];
                layer.backward(&dz, input, &mut scratch, &mut dx, false);
                let error = relative_error(&dx, &expected);
                assert!(error < tolerance, "{what}: dx {error:e}");
            }
        }
    }
}

#[test]
fn weights_of_a_wrong_shape_are_refused() {
    let new = |weight: usize, kernel| {
        FrozenConvolution::new(
            Capability::detect(),
            Precision::F32,
            &vec![0.0; weight],
            2,
            3,
            kernel,
            1,
        )
        .err()
        .unwrap()
        .to_string()
    };
    assert_eq!(new(53, 3), "weight of a convolution: expected 54, found 53");
    assert_eq!(
        new(150, 5),
        "kernel of a convolution (1 or 3): expected 3, found 5"
    );
}
