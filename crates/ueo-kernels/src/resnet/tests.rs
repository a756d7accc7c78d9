use super::reference::Tower;
use super::*;
use crate::reference::{Random, assert_close, relative_error, wide};
use crate::{Capability, InstructionSet, Precision};

fn kernels(capability: Capability, tower: &Tower) -> ConvolutionalTower {
    kernels_in(capability, Precision::F32, tower)
}

fn kernels_in(capability: Capability, precision: Precision, tower: &Tower) -> ConvolutionalTower {
    let stem = tower.stem.each_ref().map(reference::Parameters::weights);
    ConvolutionalTower::new(capability, precision, stem, &tower.bottlenecks()).unwrap()
}

/// The gradient of `sum(output * d)` to each affine parameter, by central differences in f64 with fixed ReLU marks. The output is
/// piecewise a product of at most a few of them, so differences are exact but for rounding.
fn gradient(tower: &Tower, pixels: &[f32], side: usize, d: &[f64]) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let affine = wide(&tower.affine);
    let mut marks = Vec::new();
    tower.forward(&affine, pixels, side, &mut marks);
    (0..affine.len())
        .map(|index| {
            let mut moved = |step: f64| -> f64 {
                let mut affine = affine.clone();
                affine[index] += step;
                let output = tower.forward(&affine, pixels, side, &mut marks);
                output.iter().zip(d).map(|(y, d)| y * d).sum()
            };
            (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
        })
        .collect()
}

#[test]
fn towers_agree_with_f64_in_values_and_gradients() {
    // Inner channels that are odd, maps down to one position, blocks with and without a downsample convolution.
    for (width, blocks, images, train_downsample) in [
        (4, vec![(3, 1), (3, 1), (2, 2), (5, 2), (5, 2)], 2, false),
        (6, vec![(2, 1), (5, 2), (5, 1)], 1, true),
        // Enough channels for minimal filtering of all 3 x 3 convolutions but the first.
        (32, vec![(17, 2)], 1, false),
    ] {
        let tower = Tower::random(width, &blocks, train_downsample);
        let side = 32;
        let mut random = Random::new(6);
        let pixels = random.values(images * 3 * side * side, 1.0);
        let expected = tower.forward(&wide(&tower.affine), &pixels, side, &mut Vec::new());
        let d = random.values(expected.len(), 1.0);
        let mut d_affine = gradient(&tower, &pixels, side, &wide(&d));
        for (gradient, trained) in d_affine.iter_mut().zip(tower.is_trained()) {
            if !trained {
                *gradient = 0.0;
            }
        }
        for capability in Capability::available() {
            let what = format!("{capability:?} width {width}");
            let kernels = kernels(capability, &tower);
            let workspace = MapWorkspace::new();
            // Twice, so that recycled buffers are seen too.
            for _ in 0..2 {
                let inference = kernels.forward(&tower.affine, &pixels, side, &workspace);
                assert_close(&format!("{what}: output"), &inference, &expected);
                let (output, saved) =
                    kernels.forward_training(&tower.affine, &pixels, side, &workspace);
                assert_eq!(output, inference, "{what}: inference differs from training");
                let found = kernels.backward(&tower.affine, &saved, &d, &workspace);
                let error = relative_error(&found, &d_affine);
                assert!(error < 1e-5, "{what}: gradient, relative error {error:e}");
                for (found, trained) in found.iter().zip(tower.is_trained()) {
                    assert!(trained || *found == 0.0, "{what}: an untrained gradient");
                }
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    // Groups of several images and a shorter last one.
    let (images, side) = (19, 32);
    let pixels = Random::new(7).values(images * 3 * side * side, 1.0);
    // With products of patches, and with minimal filtering.
    let towers = [
        Tower::random(8, &[(4, 1), (6, 2)], false),
        Tower::random(32, &[(16, 1), (20, 2)], false),
    ];
    let capabilities: Vec<_> = Capability::available()
        .filter(|capability| capability.instruction_set() != InstructionSet::Scalar)
        .collect();
    for (tower, capability) in towers.iter().flat_map(|tower| {
        capabilities
            .iter()
            .map(move |&capability| (tower, capability))
    }) {
        let kernels = kernels(capability, tower);
        let run = |threads: usize| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| {
                    let workspace = MapWorkspace::new();
                    let (output, saved) =
                        kernels.forward_training(&tower.affine, &pixels, side, &workspace);
                    let gradient = kernels.backward(&tower.affine, &saved, &output, &workspace);
                    (output, gradient)
                })
        };
        let one = run(1);
        assert_eq!(one, run(2), "{capability:?}");
        assert_eq!(one, run(3), "{capability:?}");
    }
}

#[test]
fn a_tower_in_two_parts_gives_the_bits_of_the_whole() {
    // Groups of several images and a shorter last one; with products of patches, and with minimal filtering.
    let (images, side) = (19, 32);
    let pixels = Random::new(7).values(images * 3 * side * side, 1.0);
    for (tower, precision) in [
        (
            Tower::random(8, &[(4, 1), (6, 2), (6, 1)], true),
            Precision::F32,
        ),
        (
            Tower::random(32, &[(16, 1), (20, 2), (20, 2)], false),
            Precision::Bf16,
        ),
    ] {
        for capability in Capability::available() {
            let kernels = kernels_in(capability, precision, &tower);
            let workspace = MapWorkspace::new();
            let (y, saved) = kernels.forward_training(&tower.affine, &pixels, side, &workspace);
            let d = Random::new(8).values(y.len(), 1.0);
            let whole = kernels.backward(&tower.affine, &saved, &d, &workspace);
            for first in 0..kernels.blocks() {
                let what = format!("{capability:?} from block {first}");
                // Affine parameters of what comes before: all but those of the blocks from here on.
                let last = kernels.affine_len_from(first);
                let (before, after) = tower.affine.split_at(tower.affine.len() - last);
                let maps = kernels.forward_first(first, before, &pixels, side, &workspace);
                let [positions, channels] = kernels.block_input_shape(first, side);
                assert_eq!(maps.len(), images * positions * channels, "{what}");
                let found = kernels.forward_from(first, after, &maps, side, &workspace);
                assert!(found == y, "{what}");
                let (found, saved) =
                    kernels.forward_from_training(first, after, &maps, side, &workspace);
                assert!(found == y, "{what}");
                let gradient = kernels.backward(after, &saved, &d, &workspace);
                assert!(gradient == whole[whole.len() - last..], "{what}");
            }
        }
    }
}

/// Output and gradient of a batch.
fn train(
    capability: Capability,
    precision: Precision,
    tower: &Tower,
    pixels: &[f32],
    d: &[f32],
) -> [Vec<f32>; 2] {
    let kernels = kernels_in(capability, precision, tower);
    let workspace = MapWorkspace::new();
    let (output, saved) = kernels.forward_training(&tower.affine, pixels, 32, &workspace);
    let inference = kernels.forward(&tower.affine, pixels, 32, &workspace);
    assert_eq!(output, inference, "{capability:?}: inference differs");
    let gradient = kernels.backward(&tower.affine, &saved, d, &workspace);
    [output, gradient]
}

#[test]
fn rounded_towers_are_close_to_f64_and_closer_to_their_emulation() {
    let (side, images) = (32, 2);
    let tower = Tower::random(32, &[(16, 1), (17, 2)], false);
    let pixels = Random::new(20).values(images * 3 * side * side, 1.0);
    let output = tower.forward(&wide(&tower.affine), &pixels, side, &mut Vec::new());
    let d = Random::new(21).values(output.len(), 1.0);
    let mut d_affine = gradient(&tower, &pixels, side, &wide(&d));
    for (gradient, trained) in d_affine.iter_mut().zip(tower.is_trained()) {
        if !trained {
            *gradient = 0.0;
        }
    }
    let errors = |found: &[Vec<f32>; 2]| {
        [
            relative_error(&found[0], &output),
            relative_error(&found[1], &d_affine),
        ]
    };
    let scalar = Capability::new(InstructionSet::Scalar).unwrap();
    let emulated = train(scalar, Precision::Bf16, &tower, &pixels, &d);
    for capability in Capability::available() {
        let found = train(capability, Precision::Bf16, &tower, &pixels, &d);
        // Roundings of at most 2^-9. A few of them open or close a ReLU, and all that led through it is in the gradient or not.
        let of_bf16 = errors(&found);
        assert!(of_bf16[0] < 1e-2, "{capability:?}: {of_bf16:?}");
        assert!(of_bf16[1] < 0.2, "{capability:?}: {of_bf16:?}");
        assert!(of_bf16[0] > 5e-4, "{capability:?}: {of_bf16:?} is not bf16");
        for (found, emulated) in found.iter().zip(&emulated) {
            // Sums in another order move values across a rounding boundary now and then.
            let error = relative_error(found, &wide(emulated));
            assert!(error < 2e-2, "{capability:?}: {error:e} from the emulation");
        }
        let of_split = errors(&train(capability, Precision::F32Split, &tower, &pixels, &d));
        assert!(of_split[0] < 2e-5, "{capability:?}: {of_split:?}");
        assert!(of_split[1] < 2e-3, "{capability:?}: {of_split:?}");
        let is_split = of_split[0] > 2e-6;
        assert_eq!(
            is_split,
            capability.has_tiles(),
            "{capability:?}: {of_split:?}"
        );
    }
}

#[test]
fn memory_per_image_is_as_documented() {
    // RN50's shapes with its width of 64; the values do not matter.
    let mut blocks = Vec::new();
    for (stage, count) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..count {
            blocks.push((64 << stage, if stage > 0 && block == 0 { 2 } else { 1 }));
        }
    }
    let tower = Tower::random(64, &blocks, false);
    let bytes = kernels(Capability::detect(), &tower).saved_bytes_per_image(224);
    assert_eq!(bytes / 1_000_000, 49);
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let tower = Tower::random(8, &[(4, 2)], false);
    let stem = tower.stem.each_ref().map(reference::Parameters::weights);
    let refused = |blocks: &[BottleneckWeights<'_>]| {
        ConvolutionalTower::new(Capability::detect(), Precision::F32, stem, blocks)
            .err()
            .unwrap()
            .to_string()
    };
    let mut blocks = tower.bottlenecks();
    blocks[0].downsample = None;
    assert_eq!(
        refused(&blocks),
        "stride of a bottleneck without downsample convolution: expected 1, found 2"
    );
    let mut blocks = tower.bottlenecks();
    blocks[0].convolutions[0].inputs = 9;
    assert_eq!(
        refused(&blocks),
        "inputs of a bottleneck: expected 8, found 9"
    );
}

#[test]
fn a_nan_pixel_reaches_the_output_of_its_image() {
    // With products of patches, and with minimal filtering; without training and with it.
    for tower in [
        Tower::random(8, &[(4, 1), (6, 2)], false),
        Tower::random(32, &[(16, 1), (20, 2)], false),
    ] {
        let side = 32;
        let mut pixels = Random::new(17).values(2 * 3 * side * side, 1.0);
        pixels[5 * side * side + 16 * side + 16] = f32::NAN;
        for capability in Capability::available() {
            let kernels = kernels(capability, &tower);
            let workspace = MapWorkspace::new();
            let output = kernels.forward(&tower.affine, &pixels, side, &workspace);
            let (first, second) = output.split_at(output.len() / 2);
            assert!(first.iter().all(|y| y.is_finite()), "{capability:?}");
            let [_, channels] = kernels.output_shape(side);
            // The window in the middle of the image reaches every channel.
            let reached = second.chunks_exact(channels);
            let reached = reached.filter(|y| y.iter().all(|y| y.is_nan())).count();
            assert!(reached > 0, "{capability:?}");
            let (again, _) = kernels.forward_training(&tower.affine, &pixels, side, &workspace);
            assert!(
                output
                    .iter()
                    .zip(&again)
                    .all(|(a, b)| a.is_nan() == b.is_nan()),
                "{capability:?}: inference differs from training"
            );
        }
    }
}

#[test]
fn images_that_wrap_around_are_refused() {
    let tower = Tower::random(8, &[(4, 1)], false);
    let kernels = kernels(Capability::detect(), &tower);
    // The square of this side is one in 64 bits, so three numbers would pass for an image.
    let side = (1 << (usize::BITS - 1)) + 1;
    let refused = std::panic::catch_unwind(|| {
        kernels.forward(&tower.affine, &[0.0; 3], side, &MapWorkspace::new())
    });
    let message = *refused.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("larger than memory"), "{message}");
}
