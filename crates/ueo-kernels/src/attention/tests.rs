use super::*;
use crate::reference::{self, Random, assert_close, wide};
use crate::{Activation, Precision, ReadToken, StackConfig};

#[test]
fn values_and_gradients_agree_with_f64() {
    let mut random = Random::new(6);
    for (width, heads, tokens) in [
        (96, 3, 1),
        (96, 3, 5),
        (96, 3, 17),
        (80, 1, 50),
        (64, 2, 197),
    ] {
        for causal in [false, true] {
            let config = StackConfig {
                width,
                heads,
                hidden: 1,
                causal,
                read: ReadToken::Last,
                activation: Activation::Gelu,
                layer_norm_epsilon: 1e-5,
                precision: Precision::F32,
            };
            let qkv = random.values(tokens * 3 * width, 2.0);
            let dy = random.values(tokens * width, 1.0);
            let expected = reference::attention(&config, &wide(&qkv), tokens);
            let d_expected =
                reference::attention_backward(&config, &wide(&qkv), tokens, &wide(&dy));
            for capability in Capability::available() {
                let what = format!("{capability:?} {width} {heads} {tokens} causal {causal}");
                let shape = Shape {
                    width,
                    heads,
                    causal,
                    keys: tokens,
                    first_query: 0,
                    queries: tokens,
                };
                let mut scratch = Scratch::new(capability);
                let (mut lse, mut y) = (vec![0.0; heads * tokens], vec![0.0; tokens * width]);
                forward(shape, &qkv, &mut lse, &mut y, &mut scratch);
                assert_close(&what, &y, &expected);
                let mut d = vec![f32::NAN; qkv.len()];
                backward(shape, &qkv, &lse, &dy, &mut d, &mut scratch);
                assert_close(&what, &d, &d_expected);
            }
            for query in [0, tokens / 2, tokens - 1] {
                check_single_query(&config, &qkv, tokens, query, &dy[..width], &expected);
            }
        }
    }
}

/// One row asks: its output is that of full attention, and the gradient is that of full attention whose other outputs have none.
fn check_single_query(
    config: &StackConfig,
    qkv: &[f32],
    tokens: usize,
    query: usize,
    dy: &[f32],
    expected: &[f64],
) {
    let StackConfig {
        width,
        heads,
        causal,
        ..
    } = *config;
    let own = query * width..(query + 1) * width;
    let mut whole_dy = vec![0.0; tokens * width];
    whole_dy[own.clone()].copy_from_slice(&wide(dy));
    let d_expected = reference::attention_backward(config, &wide(qkv), tokens, &whole_dy);
    let shape = Shape {
        width,
        heads,
        causal,
        keys: tokens,
        first_query: query,
        queries: 1,
    };
    for capability in Capability::available() {
        let what = format!("{capability:?} {width} {heads} {tokens} causal {causal} query {query}");
        let mut scratch = Scratch::new(capability);
        let (mut lse, mut y) = (vec![0.0; heads], vec![0.0; width]);
        forward(shape, qkv, &mut lse, &mut y, &mut scratch);
        assert_close(&what, &y, &expected[own.clone()]);
        let mut d = vec![f32::NAN; qkv.len()];
        backward(shape, qkv, &lse, dy, &mut d, &mut scratch);
        for (row, d) in d.chunks_exact(3 * width).enumerate() {
            let untouched = d[..width].iter().all(|value| value.is_nan());
            assert_eq!(untouched, row != query, "{what}: row {row}");
        }
        // What was left as it was is zero in full attention.
        d.iter_mut().filter(|d| d.is_nan()).for_each(|d| *d = 0.0);
        assert_close(&what, &d, &d_expected);
    }
}

#[test]
fn a_nan_reaches_every_row_that_sees_it() {
    let (width, heads, tokens) = (64, 2, 21);
    let head_width = width / heads;
    let mut random = Random::new(15);
    let qkv = random.values(tokens * 3 * width, 1.0);
    for causal in [false, true] {
        let shape = Shape {
            width,
            heads,
            causal,
            keys: tokens,
            first_query: 0,
            queries: tokens,
        };
        // In a key, in either head: its scores are NaN for every query that sees it, and with them the query's whole distribution.
        for (capability, nan, head) in Capability::available()
            .flat_map(|c| reference::NANS.map(|nan| (c, nan)))
            .flat_map(|(c, nan)| [0, 1].map(|head| (c, nan, head)))
        {
            let token = 9;
            let mut qkv = qkv.clone();
            qkv[token * 3 * width + width + head * head_width + 4] = nan;
            let (mut lse, mut y) = (vec![0.0; heads * tokens], vec![0.0; tokens * width]);
            let mut scratch = Scratch::new(capability);
            forward(shape, &qkv, &mut lse, &mut y, &mut scratch);
            for (row, y) in y.chunks_exact(width).enumerate() {
                for (of, y) in y.chunks_exact(head_width).enumerate() {
                    let sees = of == head && (!causal || row >= token);
                    let what = format!("{capability:?} causal {causal}, row {row}, head {of}");
                    assert!(y.iter().all(|y| y.is_nan() == sees), "{what}");
                    assert_eq!(lse[of * tokens + row].is_nan(), sees, "{what}");
                }
            }
        }
    }
}
