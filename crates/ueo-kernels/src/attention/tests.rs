use super::*;
use crate::reference::{self, Random, assert_close, wide};
use crate::{Activation, Precision, StackConfig};

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
                };
                let mut scratch = Scratch::new(capability);
                let (mut lse, mut y) = (vec![0.0; heads * tokens], vec![0.0; tokens * width]);
                forward(shape, &qkv, &mut lse, &mut y, &mut scratch);
                assert_close(&what, &y, &expected);
                let mut d = vec![f32::NAN; qkv.len()];
                backward(shape, &qkv, &lse, &dy, &mut d, &mut scratch);
                assert_close(&what, &d, &d_expected);
            }
        }
    }
}
