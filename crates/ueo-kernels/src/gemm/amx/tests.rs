use super::*;
use crate::gemm::{PackedSplit, multiply_split};
use crate::reference::{Random, relative_error};

/// `c + A B + bias` in f64; `b` is `[columns, depth]`.
fn expected(a: &[f32], b: &[f32], bias: &[f32], c: &[f32], depth: usize) -> Vec<f64> {
    let columns = bias.len();
    let mut sums: Vec<f64> = c.iter().copied().map(f64::from).collect();
    for (a, sums) in a.chunks_exact(depth).zip(sums.chunks_exact_mut(columns)) {
        for ((sum, b), bias) in sums.iter_mut().zip(b.chunks_exact(depth)).zip(bias) {
            let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
            *sum += products.sum::<f64>() + f64::from(*bias);
        }
    }
    sums
}

/// Shapes with and without a remainder of every tile, panel, band and block.
const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (32, 32, 32),
    (33, 33, 33),
    (5, 3, 17),
    (9, 64, 197),
    (17, 198, 64),
    (50, 96, 288),
    (3, 1540, 50),
    (100, 31, 65),
    // More than one block of rows in most caches.
    (700, 3000, 3),
];

#[test]
fn split_products_agree_with_f64_nearly_as_f32_does() {
    let mut random = Random::new(41);
    let tiles = Capability::available().filter(|capability| capability.has_tiles());
    for capability in tiles {
        for (rows, depth, columns) in SHAPES {
            let what = format!("{capability:?} {rows} {depth} {columns}");
            let a = random.values(rows * depth, 1.0);
            let b = random.values(depth * columns, 1.0);
            let bias = random.values(columns, 1.0);
            let c = random.values(rows * columns, 1.0);
            let exact = expected(&a, &b, &bias, &c, depth);
            let packed = PackedSplit::pack_transposed(capability, &b, depth, depth, columns);
            for packed in [packed.transposed().transposed(), packed] {
                // Rows of the result have numbers behind them that belong to nobody.
                let stride = columns + 3;
                let mut y = vec![f32::NAN; rows * stride];
                for (y, c) in y.chunks_exact_mut(stride).zip(c.chunks_exact(columns)) {
                    y[..columns].copy_from_slice(c);
                }
                let output = Output {
                    data: &mut y,
                    row_stride: stride,
                    accumulate: true,
                };
                multiply_split(Left::rows(&a, rows, depth), &packed, Some(&bias), output);
                assert!(
                    y.chunks_exact(stride)
                        .all(|row| row[columns..].iter().all(|y| y.is_nan())),
                    "{what}: wrote past a row"
                );
                let found: Vec<f32> = y
                    .chunks_exact(stride)
                    .flat_map(|row| row[..columns].to_vec())
                    .collect();
                let error = relative_error(&found, &exact);
                assert!(error < 1e-5, "{what}: relative error {error:e}");
            }
        }
    }
}

#[test]
fn stale_tiles_are_not_seen() {
    let tiles = Capability::available().filter(|capability| capability.has_tiles());
    for capability in tiles {
        let product = |value: f32, rows: usize, depth: usize| {
            let packed =
                PackedSplit::pack_transposed(capability, &vec![1.0; 3 * depth], depth, depth, 3);
            let left = vec![value; rows * depth];
            let mut y = vec![0.0; rows * 3];
            let output = Output {
                data: &mut y,
                row_stride: 3,
                accumulate: false,
            };
            multiply_split(Left::rows(&left, rows, depth), &packed, None, output);
            y
        };
        product(f32::NAN, 70, 70);
        assert_eq!(product(2.0, 33, 5), [10.0; 99], "{capability:?}");
    }
}

#[test]
fn rows_of_split_products_do_not_depend_on_their_neighbors() {
    let mut random = Random::new(42);
    let (rows, depth, columns) = (69, 100, 70);
    let a = random.values(rows * depth, 1.0);
    let b = random.values(depth * columns, 1.0);
    for capability in Capability::available().filter(|capability| capability.has_tiles()) {
        let packed = PackedSplit::pack_transposed(capability, &b, depth, depth, columns);
        let product = |a: &[f32]| {
            let rows = a.len() / depth;
            let mut y = vec![0.0; rows * columns];
            let output = Output {
                data: &mut y,
                row_stride: columns,
                accumulate: false,
            };
            multiply_split(Left::rows(a, rows, depth), &packed, None, output);
            y
        };
        let whole = product(&a);
        for (a, expected) in a.chunks_exact(depth).zip(whole.chunks_exact(columns)) {
            assert_eq!(product(a), expected, "{capability:?}");
        }
    }
}

#[test]
#[should_panic(expected = "left operand has 5 values, its shape needs 6")]
fn short_operands_are_refused() {
    let emulated = Capability::new(InstructionSet::AmxEmulated).unwrap();
    let packed = PackedSplit::pack_transposed(emulated, &[1.0; 6], 3, 3, 2);
    let output = Output {
        data: &mut [0.0; 4],
        row_stride: 2,
        accumulate: false,
    };
    multiply_split(Left::rows(&[1.0; 5], 2, 3), &packed, None, output);
}
