use super::*;
use crate::reference::{Random, assert_close, wide};

/// `A B + bias + c` in f64; `B` row-major.
fn expected(a: &[f32], b: &[f32], bias: &[f32], c: &[f32], depth: usize) -> Vec<f64> {
    let (a, b, columns) = (wide(a), wide(b), bias.len());
    let mut sums: Vec<f64> = wide(c);
    for (a, sums) in a.chunks_exact(depth).zip(sums.chunks_exact_mut(columns)) {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum += f64::from(bias[j])
                + a.iter()
                    .enumerate()
                    .map(|(p, a)| a * b[p * columns + j])
                    .sum::<f64>();
        }
    }
    sums
}

fn transpose(x: &[f32], columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|j| x.chunks_exact(columns).map(move |row| row[j]))
        .collect()
}

#[test]
fn every_layout_and_direction_agrees_with_f64() {
    let mut random = Random::new(1);
    // One row and many, tails of the tile, of the vector, of the panel and of the depth block.
    let shapes = [
        (1, 1, 1),
        (5, 3, 17),
        (9, 64, 197),
        (17, 197, 64),
        (50, 96, 288),
        (3, 770, 50),
        (8, 1600, 96),
    ];
    // Every height of a tile, with whole panels of three, two and one vectors and without.
    let heights = (1..=9).flat_map(|rows| [48, 80, 16, 90].map(|columns| (rows, 7, columns)));
    for (rows, depth, columns) in shapes.into_iter().chain(heights) {
        let a = random.values(rows * depth, 1.0);
        let b = random.values(depth * columns, 1.0);
        let bias = random.values(columns, 1.0);
        let c = random.values(rows * columns, 1.0);
        let zeros = vec![0.0; rows * columns];
        let plain = expected(&a, &b, &vec![0.0; columns], &zeros, depth);
        let full = expected(&a, &b, &bias, &c, depth);
        let (a_transposed, b_transposed) = (transpose(&a, depth), transpose(&b, columns));
        for capability in Capability::available() {
            let what = format!("{capability:?} {rows} {depth} {columns}");
            let mut packed = PackedMatrix::new(capability);
            packed.pack_transposed(&b_transposed, depth, depth, columns);
            let mut y = c.clone();
            let output = Output {
                data: &mut y,
                row_stride: columns,
                accumulate: true,
            };
            multiply(Left::rows(&a, rows, depth), &packed, Some(&bias), output);
            assert_close(&what, &y, &full);

            // A larger matrix before: padding and stale values must not be seen.
            packed.pack_rows(
                &vec![f32::NAN; (depth + 9) * (columns + 40)],
                columns + 40,
                depth + 9,
                columns + 40,
            );
            packed.pack_rows(&b, columns, depth, columns);
            let mut y = vec![f32::NAN; rows * (columns + 2)];
            let output = Output {
                data: &mut y,
                row_stride: columns + 2,
                accumulate: false,
            };
            multiply(
                Left::transposed(&a_transposed, rows, rows),
                &packed,
                None,
                output,
            );
            let used: Vec<f32> = y
                .chunks_exact(columns + 2)
                .flat_map(|row| &row[..columns])
                .copied()
                .collect();
            assert_close(&what, &used, &plain);
            assert!(
                y.chunks_exact(columns + 2)
                    .all(|row| row[columns].is_nan() && row[columns + 1].is_nan()),
                "{what}: wrote past a row"
            );

            let back = packed.transposed().transposed();
            let mut again = zeros.clone();
            let output = Output {
                data: &mut again,
                row_stride: columns,
                accumulate: false,
            };
            multiply(Left::rows(&a, rows, depth), &back, None, output);
            assert_close(&what, &again, &plain);
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_neighbors() {
    let mut random = Random::new(2);
    // The second has several blocks of rows, where the second-level cache is no larger than most are.
    for (rows, depth, columns) in [(21, 100, 130), (1500, 800, 20)] {
        let (a, b) = (
            random.values(rows * depth, 1.0),
            random.values(depth * columns, 1.0),
        );
        for capability in Capability::available()
            .filter(|capability| capability.vectors() != InstructionSet::Portable)
        {
            let mut packed = PackedMatrix::new(capability);
            packed.pack_rows(&b, columns, depth, columns);
            let product = |a: &[f32]| {
                let rows = a.len() / depth;
                let mut y = vec![0.0; rows * columns];
                let output = Output {
                    data: &mut y,
                    row_stride: columns,
                    accumulate: false,
                };
                multiply(Left::rows(a, rows, depth), &packed, None, output);
                y
            };
            let whole = product(&a);
            for (a, expected) in a.chunks_exact(depth).zip(whole.chunks_exact(columns)) {
                assert_eq!(product(a), expected, "{capability:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "left operand has 5 values, its shape needs 6")]
fn short_operands_are_refused() {
    let mut packed = PackedMatrix::new(Capability::detect());
    packed.pack_rows(&[1.0; 6], 2, 3, 2);
    multiply(
        Left::rows(&[1.0; 5], 2, 3),
        &packed,
        None,
        Output {
            data: &mut [0.0; 4],
            row_stride: 2,
            accumulate: false,
        },
    );
}

/// What a product says when it refuses its operands.
fn refusal(product: impl FnOnce()) -> String {
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(product));
    let message = refused.expect_err("lengths that wrap around are refused");
    message
        .downcast_ref::<String>()
        .expect("a formatted message")
        .clone()
}

#[test]
fn lengths_that_wrap_around_are_refused() {
    /// Times four values it is four values more than the largest length.
    const ROWS: usize = (1 << (usize::BITS - 2)) + 1;
    fn output(data: &mut [f32]) -> Output<'_> {
        Output {
            data,
            row_stride: 4,
            accumulate: false,
        }
    }
    for capability in Capability::available() {
        let mut packed = PackedMatrix::new(capability);
        packed.pack_rows(&[1.0; 16], 4, 4, 4);
        let bf16 = PackedBf16::pack_transposed(capability, &[1.0; 16], 4, 4, 4);
        let values = [1.0; 4];
        let rounded = [crate::precision::Bf16::round(1.0); 4];
        let left = |stride| Left::rows(&values[..], ROWS, stride);
        let left_bf16 = |stride| Left::rows(&rounded[..], ROWS, stride);
        let mut y = [0.0; 4];
        for message in [
            refusal(|| multiply(left(4), &packed, None, output(&mut y))),
            refusal(|| multiply_bf16(left_bf16(4), &bf16, None, output(&mut [0.0; 4]))),
        ] {
            assert!(
                message.starts_with("left operand of"),
                "{capability:?}: {message}"
            );
        }
        // The same row again and again fits; there is no room for the results.
        for message in [
            refusal(|| multiply(left(0), &packed, None, output(&mut [0.0; 4]))),
            refusal(|| multiply_bf16(left_bf16(0), &bf16, None, output(&mut [0.0; 4]))),
        ] {
            assert!(
                message.starts_with("output of"),
                "{capability:?}: {message}"
            );
        }
        let deep = Left::transposed(&values[..], 4, usize::MAX / 3 + 2);
        let message = refusal(|| multiply(deep, &packed, None, output(&mut [0.0; 16])));
        assert!(
            message.starts_with("left operand of"),
            "{capability:?}: {message}"
        );
        let mut packed = PackedMatrix::new(capability);
        let message = refusal(|| packed.pack_rows(&[], 0, 1 << 60, 16));
        assert!(
            message.contains("larger than memory"),
            "{capability:?}: {message}"
        );
    }
}
