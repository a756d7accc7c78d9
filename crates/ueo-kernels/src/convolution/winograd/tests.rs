use super::*;
use crate::InstructionSet;
use crate::reference::{Random, relative_error, wide};
use crate::resnet::reference::{convolution, convolution_backward};

/// Maps with every remainder of tiles, in one tile and in many, with one image and several.
const MAPS: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 1, 9),
    (3, 2, 3),
    (2, 5, 3),
    (1, 4, 4),
    (2, 7, 7),
    (1, 14, 14),
    (3, 6, 13),
    // More than one chunk.
    (2, 41, 38),
];

fn shape((images, height, width): (usize, usize, usize), channels: usize) -> MapShape {
    MapShape {
        images,
        height,
        width,
        channels,
    }
}

/// Every instruction set with every side of a tile.
fn ways() -> impl Iterator<Item = (Capability, TileSide)> {
    Capability::available()
        .flat_map(|capability| [TileSide::Two, TileSide::Four].map(|side| (capability, side)))
}

/// A filter for a weight `[outputs, inputs, 3, 3]`, and the one of its input's gradient.
fn filters(
    capability: Capability,
    side: TileSide,
    weight: &[f32],
    inputs: usize,
    outputs: usize,
) -> [TransformedFilter; 2] {
    let taps = |input: usize, output: usize| -> [f32; 9] {
        weight[(output * inputs + input) * 9..][..9]
            .try_into()
            .unwrap()
    };
    let reversed = |output: usize, input: usize| {
        let mut taps = taps(input, output);
        taps.reverse();
        taps
    };
    [
        TransformedFilter::new(capability, side, inputs, outputs, taps),
        TransformedFilter::new(capability, side, outputs, inputs, reversed),
    ]
}

/// Adds the filtered map to `target`, or replaces what it holds.
fn apply(
    filter: &TransformedFilter,
    map: &[f32],
    input: MapShape,
    scratch: &mut FilterScratch,
    target: &mut [f32],
    accumulate: bool,
) {
    let mut start = 0;
    while start < input.positions() {
        let end = filter.chunk_end(input, start);
        assert!(end > start, "a chunk has positions");
        let target = &mut target[start * filter.outputs..end * filter.outputs];
        filter.apply(map, input, start..end, scratch, target, accumulate);
        start = end;
    }
    assert_eq!(start, input.positions(), "chunks end with the map");
}

#[test]
fn filters_agree_with_f64_in_values_and_gradients() {
    let mut random = Random::new(8);
    for map in MAPS {
        for (inputs, outputs) in [(1, 1), (3, 5), (16, 32), (40, 17)] {
            let input = shape(map, inputs);
            let weight = random.values(outputs * inputs * 9, 0.5);
            let x = random.values(input.len(), 1.0);
            let y = convolution(&wide(&x), input, &weight, 3, 1);
            let dy = random.values(y.len(), 1.0);
            let dx = convolution_backward(&wide(&dy), input, &weight, 3);
            for (capability, side) in ways() {
                let [forward, backward] = filters(capability, side, &weight, inputs, outputs);
                // Stale numbers of another call must not be seen.
                let mut scratch = FilterScratch {
                    positions: vec![f32::NAN; 100_000],
                    products: vec![f32::NAN; 100_000],
                };
                for (what, filter, map, shape, expected) in [
                    ("values", &forward, &x, input, &y),
                    (
                        "gradient",
                        &backward,
                        &dy,
                        MapShape {
                            channels: outputs,
                            ..input
                        },
                        &dx,
                    ),
                ] {
                    let what = format!(
                        "{capability:?} {side:?} {shape:?} to {}: {what}",
                        filter.outputs
                    );
                    let mut found = vec![f32::NAN; expected.len()];
                    apply(filter, map, shape, &mut scratch, &mut found, false);
                    let error = relative_error(&found, expected);
                    assert!(error < 3e-6, "{what}, relative error {error:e}");
                    apply(filter, map, shape, &mut scratch, &mut found, true);
                    let twice: Vec<f64> = expected.iter().map(|value| 2.0 * value).collect();
                    let error = relative_error(&found, &twice);
                    assert!(error < 3e-6, "{what} added, relative error {error:e}");
                }
            }
        }
    }
}

#[test]
fn errors_stay_small_with_many_channels() {
    let mut random = Random::new(9);
    let (inputs, outputs) = (512, 16);
    let input = shape((1, 7, 7), inputs);
    let weight = random.values(outputs * inputs * 9, 0.5);
    // As behind a ReLU.
    let mut x = random.values(input.len(), 1.0);
    x.iter_mut().for_each(|x| *x = x.max(0.0));
    let y = convolution(&wide(&x), input, &weight, 3, 1);
    for (capability, side) in ways() {
        let [filter, _] = filters(capability, side, &weight, inputs, outputs);
        let mut found = vec![f32::NAN; y.len()];
        let scratch = &mut FilterScratch::default();
        apply(&filter, &x, input, scratch, &mut found, false);
        let error = relative_error(&found, &y);
        assert!(
            error < 4e-6,
            "{capability:?} {side:?}: relative error {error:e}"
        );
    }
}

#[test]
fn images_do_not_depend_on_their_neighbors() {
    let mut random = Random::new(10);
    let (inputs, outputs) = (24, 20);
    let input = shape((5, 9, 6), inputs);
    let weight = random.values(outputs * inputs * 9, 0.5);
    let x = random.values(input.len(), 1.0);
    // The `gemm` crate may sum in another order for another number of rows.
    for (capability, side) in
        ways().filter(|(capability, _)| capability.vectors() != InstructionSet::Portable)
    {
        let [filter, _] = filters(capability, side, &weight, inputs, outputs);
        let scratch = &mut FilterScratch::default();
        let mut together = vec![f32::NAN; input.positions() * outputs];
        apply(&filter, &x, input, scratch, &mut together, false);
        let one = MapShape { images: 1, ..input };
        for (x, expected) in x
            .chunks_exact(one.len())
            .zip(together.chunks_exact(one.positions() * outputs))
        {
            let mut alone = vec![f32::NAN; expected.len()];
            apply(&filter, x, one, scratch, &mut alone, false);
            assert_eq!(alone, expected, "{capability:?} {side:?}");
        }
    }
}
