use super::*;
use crate::reference::{Parameters, Random, assert_close, wide};
use crate::{Capability, InstructionSet};

const WIDTH: usize = 96;

fn config(causal: bool, read: ReadToken, activation: Activation) -> StackConfig {
    StackConfig {
        width: WIDTH,
        heads: 3,
        hidden: 384,
        causal,
        read,
        activation,
        layer_norm_epsilon: 1e-5,
        precision: Precision::F32,
    }
}

fn stack(capability: Capability, parameters: &Parameters) -> ResidualStack {
    ResidualStack::new(capability, parameters.config, parameters.weights()).unwrap()
}

/// The numbers of the rows of `[rows, WIDTH]` that are read.
fn read_row(read: ReadToken, rows: usize) -> std::ops::Range<usize> {
    let read = match read {
        ReadToken::First => 0..1,
        ReadToken::Last => rows - 1..rows,
        ReadToken::All => 0..rows,
    };
    read.start * WIDTH..read.end * WIDTH
}

/// Input and output gradient of a batch, and what f64 says about them, computed for all tokens of all blocks.
struct Case {
    x: Vec<f32>,
    dy: Vec<f32>,
    y: Vec<f64>,
    dx: Vec<f64>,
    affine: Vec<[Vec<f64>; 4]>,
}

impl Case {
    fn new(parameters: &Parameters, sequences: usize, tokens: usize) -> Self {
        let mut random = Random::new(9);
        let (x, dy) = (
            random.values(sequences * tokens * WIDTH, 1.5),
            random.values(
                sequences * read_row(parameters.config.read, tokens).len(),
                1.0,
            ),
        );
        let read = read_row(parameters.config.read, tokens);
        let (mut y, mut dx) = (Vec::new(), Vec::new());
        let mut affine: Vec<[Vec<f64>; 4]> = parameters
            .affine
            .iter()
            .map(|block| block.each_ref().map(|v| vec![0.0; v.len()]))
            .collect();
        for (x, dy) in x
            .chunks_exact(tokens * WIDTH)
            .zip(dy.chunks_exact(read.len()))
        {
            let stream = parameters.forward(&wide(x), tokens);
            let mut whole_dy = vec![0.0; tokens * WIDTH];
            whole_dy[read.clone()].copy_from_slice(&wide(dy));
            let (d, gradients) = parameters.backward(&stream, tokens, &whole_dy);
            y.extend_from_slice(&stream.last().unwrap()[read.clone()]);
            dx.extend(d);
            for (sum, gradient) in affine.iter_mut().flatten().zip(gradients.iter().flatten()) {
                sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
            }
        }
        Self {
            x,
            dy,
            y,
            dx,
            affine,
        }
    }
}

#[test]
fn stacks_agree_with_f64_in_values_and_gradients() {
    for (sequences, tokens, blocks, causal, read, activation) in [
        (1, 1, 2, false, ReadToken::First, Activation::QuickGelu),
        (3, 5, 3, true, ReadToken::Last, Activation::QuickGelu),
        (40, 2, 1, true, ReadToken::First, Activation::Gelu),
        (1, 17, 2, true, ReadToken::Last, Activation::Gelu),
        (5, 17, 1, false, ReadToken::Last, Activation::Gelu),
        (3, 50, 3, false, ReadToken::First, Activation::Gelu),
        (1, 197, 2, false, ReadToken::First, Activation::QuickGelu),
        (3, 49, 2, false, ReadToken::All, Activation::GeluTanh),
        (5, 17, 2, false, ReadToken::Last, Activation::GeluTanh),
    ] {
        let parameters = Parameters::random(config(causal, read, activation), blocks, 7);
        let affine = parameters.block_affine();
        let case = Case::new(&parameters, sequences, tokens);
        for capability in Capability::available() {
            let what = format!("{capability:?} {sequences} x {tokens}");
            let stack = stack(capability, &parameters);
            let workspace = Workspace::new();
            // Twice, so that recycled buffers are seen too.
            for _ in 0..2 {
                let (y, saved) = stack.forward_training(
                    &affine,
                    &mut case.x.clone(),
                    sequences,
                    tokens,
                    &workspace,
                );
                assert_close(&format!("{what} y"), &y, &case.y);
                let mut x = case.x.clone();
                let inference = stack.forward(&affine, &mut x, sequences, tokens, &workspace);
                assert_eq!(inference, y, "{what}: inference differs from training");
                let gradients = stack.backward(&affine, &saved, &case.dy, &workspace);
                assert_close(&format!("{what} dx"), &gradients.x, &case.dx);
                for (found, expected) in gradients.affine.iter().zip(&case.affine) {
                    let found = [
                        &found.ln_1_weight,
                        &found.ln_1_bias,
                        &found.ln_2_weight,
                        &found.ln_2_bias,
                    ];
                    for (found, expected) in found.into_iter().zip(expected) {
                        assert_close(&format!("{what} affine"), found, expected);
                    }
                }
            }
        }
    }
}

#[test]
fn a_stack_in_two_parts_gives_the_bits_of_the_whole() {
    // Several groups, the last one shorter.
    let (sequences, tokens, blocks) = (19, 50, 3);
    for precision in Precision::ALL {
        let config = StackConfig {
            precision,
            ..config(false, ReadToken::First, Activation::QuickGelu)
        };
        let parameters = Parameters::random(config, blocks, 7);
        let affine = parameters.block_affine();
        let mut random = Random::new(9);
        let x = random.values(sequences * tokens * WIDTH, 1.5);
        let dy = random.values(sequences * WIDTH, 1.0);
        for capability in Capability::available() {
            let stack = stack(capability, &parameters);
            let workspace = Workspace::new();
            let train = |affine: &[BlockAffine<'_>], mut x: Vec<f32>| {
                let inference =
                    stack.forward(affine, &mut x.clone(), sequences, tokens, &workspace);
                let (y, saved) =
                    stack.forward_training(affine, &mut x, sequences, tokens, &workspace);
                assert_eq!(y, inference);
                (y, stack.backward(affine, &saved, &dy, &workspace))
            };
            let (y, gradients) = train(&affine, x.clone());
            for first in 0..blocks {
                let what = format!("{capability:?} {precision:?} from block {first}");
                let mut entering = x.clone();
                let before = &affine[..first];
                stack.forward_first(before, &mut entering, sequences, tokens, &workspace);
                let (found, of_last) = train(&affine[first..], entering);
                assert!(found == y, "{what}");
                assert!(of_last.affine == gradients.affine[first..], "{what}");
            }
        }
    }
}

/// Norm of the difference relative to the norm.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    crate::reference::relative_error(found, &wide(expected))
}

/// Output, input gradient and affine gradients of a batch.
fn train(
    stack: &ResidualStack,
    parameters: &Parameters,
    case: &Case,
    tokens: usize,
) -> Vec<Vec<f32>> {
    let workspace = Workspace::new();
    let affine = parameters.block_affine();
    let sequences = case.x.len() / (tokens * WIDTH);
    let mut x = case.x.clone();
    let (y, saved) = stack.forward_training(&affine, &mut x, sequences, tokens, &workspace);
    let gradients = stack.backward(&affine, &saved, &case.dy, &workspace);
    let affine = gradients.affine.into_iter().flat_map(|block| {
        [
            block.ln_1_weight,
            block.ln_1_bias,
            block.ln_2_weight,
            block.ln_2_bias,
        ]
    });
    [y, gradients.x].into_iter().chain(affine).collect()
}

#[test]
fn bf16_is_close_to_f64_and_closer_to_its_emulation() {
    for (sequences, tokens, causal, read, activation) in [
        (3, 5, true, ReadToken::Last, Activation::QuickGelu),
        (2, 50, false, ReadToken::First, Activation::Gelu),
        (2, 49, false, ReadToken::All, Activation::GeluTanh),
    ] {
        let config = StackConfig {
            precision: Precision::Bf16,
            ..config(causal, read, activation)
        };
        let parameters = Parameters::random(config, 2, 7);
        let case = Case::new(&parameters, sequences, tokens);
        let expected: Vec<&Vec<f64>> = [&case.y, &case.dx]
            .into_iter()
            .chain(case.affine.iter().flatten())
            .collect();
        let scalar = Capability::new(InstructionSet::Scalar).unwrap();
        let emulated = train(&stack(scalar, &parameters), &parameters, &case, tokens);
        for capability in Capability::available() {
            let found = train(&stack(capability, &parameters), &parameters, &case, tokens);
            for (index, found) in found.iter().enumerate() {
                let what = format!("{capability:?} {sequences} x {tokens}, result {index}");
                // Eight products with two roundings of at most 2^-9 each, most of them much smaller and independent.
                let error = crate::reference::relative_error(found, expected[index]);
                assert!(error < 1.5e-2, "{what}: {error:e} from f64");
                assert!(error > 1e-5, "{what}: {error:e} from f64 is not bf16");
                // Sums in another order move values across a rounding boundary now and then, by one step of 2^-8.
                let error = difference(found, &emulated[index]);
                assert!(error < 4e-3, "{what}: {error:e} from the emulation");
            }
        }
    }
}

#[test]
fn split_f32_is_nearly_as_close_to_f64_as_f32() {
    let config = StackConfig {
        precision: Precision::F32Split,
        ..config(false, ReadToken::First, Activation::QuickGelu)
    };
    let parameters = Parameters::random(config, 3, 23);
    let (sequences, tokens) = (3, 50);
    let case = Case::new(&parameters, sequences, tokens);
    let expected: Vec<&Vec<f64>> = [&case.y, &case.dx]
        .into_iter()
        .chain(case.affine.iter().flatten())
        .collect();
    for capability in Capability::available() {
        let found = train(&stack(capability, &parameters), &parameters, &case, tokens);
        for (index, found) in found.iter().enumerate() {
            let error = crate::reference::relative_error(found, expected[index]);
            assert!(error < 4e-5, "{capability:?} result {index}: {error:e}");
            // Split where there are tiles, f32 itself elsewhere.
            let is_split = error > 2e-6;
            assert_eq!(
                is_split,
                capability.has_tiles(),
                "{capability:?} {index}: {error:e}"
            );
        }
    }
}

/// Runs in a pool of its own.
fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(run)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for precision in Precision::ALL {
        let config = StackConfig {
            precision,
            ..config(false, ReadToken::First, Activation::QuickGelu)
        };
        check_threads(&Parameters::random(config, 2, 8));
    }
}

fn check_threads(parameters: &Parameters) {
    let affine = parameters.block_affine();
    let (sequences, tokens) = (7, 50);
    let mut random = Random::new(10);
    let (x, dy) = (
        random.values(sequences * tokens * WIDTH, 1.5),
        random.values(sequences * WIDTH, 1.0),
    );
    for capability in Capability::available()
        .filter(|capability| capability.instruction_set() != InstructionSet::Scalar)
    {
        let stack = stack(capability, parameters);
        let run = |threads| {
            with_threads(threads, || {
                let workspace = Workspace::new();
                let mut x = x.clone();
                let (y, saved) =
                    stack.forward_training(&affine, &mut x, sequences, tokens, &workspace);
                (y, stack.backward(&affine, &saved, &dy, &workspace))
            })
        };
        let one = run(1);
        assert_eq!(one, run(2), "{capability:?}");
        assert_eq!(one, run(3), "{capability:?}");
    }
}

/// Prompts of different lengths behind `prefix` common tokens.
struct Prompts {
    prefix_tokens: usize,
    offsets: Vec<usize>,
    prefix: Vec<f32>,
    own: Vec<f32>,
    /// Gradient to the outputs, `[sequences, WIDTH]`.
    dy: Vec<f32>,
}

impl Prompts {
    fn new(prefix_tokens: usize, lengths: &[usize]) -> Self {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        let mut random = Random::new(11);
        let mut values = |tokens: usize| random.values(tokens * WIDTH, 1.0);
        let total: usize = lengths.iter().sum();
        Self {
            prefix_tokens,
            offsets,
            prefix: values(prefix_tokens),
            own: values(total),
            dy: values(lengths.len()),
        }
    }

    fn shape(&self) -> PrefixShape<'_> {
        PrefixShape {
            prefix_tokens: self.prefix_tokens,
            offsets: &self.offsets,
        }
    }

    /// Outputs, gradients to own tokens and to the prefix, from whole sequences in f64.
    fn expected(&self, parameters: &Parameters) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let cut = self.prefix_tokens * WIDTH;
        let (mut y, mut d_own, mut d_prefix) = (Vec::new(), Vec::new(), vec![0.0; cut]);
        for (pair, dy) in self.offsets.windows(2).zip(self.dy.chunks_exact(WIDTH)) {
            let tokens = self.prefix_tokens + pair[1] - pair[0];
            let own = pair[0] * WIDTH..pair[1] * WIDTH;
            let stream = parameters.forward(
                &wide(&[&self.prefix, &self.own[own.clone()]].concat()),
                tokens,
            );
            let read = read_row(parameters.config.read, pair[1] - pair[0]);
            let read = cut + read.start..cut + read.end;
            let mut whole_dy = vec![0.0; tokens * WIDTH];
            whole_dy[read.clone()].copy_from_slice(&wide(dy));
            let (d, _) = parameters.backward(&stream, tokens, &whole_dy);
            y.extend_from_slice(&stream.last().unwrap()[read]);
            d_prefix.iter_mut().zip(&d).for_each(|(sum, d)| *sum += d);
            d_own.extend_from_slice(&d[cut..]);
        }
        (y, d_own, d_prefix)
    }
}

#[test]
fn shared_prefix_equals_whole_sequences() {
    for (prefix_tokens, read, lengths) in [
        (1, ReadToken::Last, vec![1]),
        (5, ReadToken::Last, vec![3, 1, 12, 4, 4]),
        (5, ReadToken::First, vec![1, 7, 2]),
        (17, ReadToken::Last, (0..40).map(|i| 1 + i % 9).collect()),
    ] {
        let config = config(true, read, Activation::QuickGelu);
        let parameters = Parameters::random(config, 2, 12);
        let affine = parameters.block_affine();
        let prompts = Prompts::new(prefix_tokens, &lengths);
        let (y, d_own, d_prefix) = prompts.expected(&parameters);
        for capability in Capability::available() {
            let stack = stack(capability, &parameters);
            let workspace = Workspace::new();
            let run = |budget_bytes| {
                let (output, saved) = stack.forward_with_prefix_training(
                    &affine,
                    prompts.shape(),
                    &prompts.prefix,
                    &mut prompts.own.clone(),
                    budget_bytes,
                    &workspace,
                );
                let found = stack.backward_with_prefix(&affine, &saved, &prompts.dy, &workspace);
                (output, found)
            };
            let what = format!(
                "{capability:?} prefix {prefix_tokens}, {} sequences",
                lengths.len()
            );
            let kept = run(usize::MAX);
            assert_close(&what, &kept.0, &y);
            assert_close(&what, &kept.1.own, &d_own);
            assert_close(&what, &kept.1.prefix, &d_prefix);
            let half = 60 * 2 * stack.config().saved_bytes_per_token();
            assert_eq!(
                run(half),
                kept,
                "{what}: a repeated forward pass changes the result"
            );
            assert_eq!(
                run(0),
                kept,
                "{what}: a repeated forward pass changes the result"
            );
            assert_eq!(with_threads(1, || run(half)), kept, "{what}: threads");
            assert_eq!(with_threads(3, || run(0)), kept, "{what}: threads");
            let inference = stack.forward_with_prefix(
                &affine,
                prompts.shape(),
                &prompts.prefix,
                &mut prompts.own.clone(),
                &workspace,
            );
            assert_eq!(inference, kept.0, "{what}: inference differs from training");
        }
    }
}

fn plain_config() -> StackConfig {
    config(false, ReadToken::First, Activation::Gelu)
}

#[test]
fn weights_of_a_wrong_shape_are_refused() {
    let parameters = Parameters::random(plain_config(), 1, 1);
    let error = ResidualStack::new(Capability::detect(), parameters.config, [])
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "blocks of a stack (at least 1): expected 1, found 0"
    );
    let mut wrong: Vec<BlockWeights<'_>> = parameters.weights().collect();
    wrong[0].fc_weight = &wrong[0].fc_weight[1..];
    let error = ResidualStack::new(Capability::detect(), parameters.config, wrong)
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "weight of a linear layer: expected 36864, found 36863"
    );
    let config = StackConfig {
        heads: 5,
        ..parameters.config
    };
    let error = ResidualStack::new(Capability::detect(), config, parameters.weights())
        .err()
        .unwrap();
    assert_eq!(error.expected, 100);
}

#[test]
#[should_panic(expected = "the residual stream is [sequences, tokens, width]")]
fn a_wrong_length_is_refused() {
    let parameters = Parameters::random(plain_config(), 1, 1);
    let stack = stack(Capability::detect(), &parameters);
    stack.forward(
        &parameters.block_affine(),
        &mut [0.0; 95],
        1,
        1,
        &Workspace::new(),
    );
}

#[test]
fn batches_that_wrap_around_are_refused() {
    let parameters = Parameters::random(plain_config(), 1, 1);
    let stack = stack(Capability::detect(), &parameters);
    let affine = parameters.block_affine();
    let refusal = |run: &dyn Fn()| {
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        *refused.unwrap_err().downcast::<String>().unwrap()
    };
    // 2^32 sequences of 2^32 tokens are none at all in 64 bits, and 2^62 rows of 96 numbers neither.
    for (sequences, tokens) in [(1 << 32, 1 << 32), (1, 1 << 62)] {
        let message = refusal(&|| {
            stack.forward(&affine, &mut [], sequences, tokens, &Workspace::new());
        });
        assert!(message.contains("larger than memory"), "{message}");
    }
    let causal = Parameters::random(config(true, ReadToken::Last, Activation::Gelu), 1, 1);
    let causal = self::stack(Capability::detect(), &causal);
    for (prefix_tokens, own_tokens) in [(1, 1 << 62), (1 << 62, 1)] {
        let message = refusal(&|| {
            let shape = PrefixShape {
                prefix_tokens,
                offsets: &[0, own_tokens],
            };
            let own = if own_tokens == 1 { WIDTH } else { 0 };
            let (prefix, mut own) = ([0.0; WIDTH], vec![0.0; own]);
            causal.forward_with_prefix(&affine, shape, &prefix, &mut own, &Workspace::new());
        });
        assert!(message.contains("larger than memory"), "{message}");
    }
}

#[test]
fn a_nan_reaches_the_output_of_its_sequence() {
    for (precision, activation) in [
        (Precision::F32, Activation::QuickGelu),
        (Precision::F32, Activation::Gelu),
        (Precision::Bf16, Activation::QuickGelu),
    ] {
        let config = StackConfig {
            precision,
            ..config(false, ReadToken::First, activation)
        };
        let parameters = Parameters::random(config, 2, 18);
        let affine = parameters.block_affine();
        let (sequences, tokens) = (3, 9);
        let mut x = Random::new(19).values(sequences * tokens * WIDTH, 1.0);
        // In a token that nobody reads.
        x[(tokens + 5) * WIDTH + 3] = f32::from_bits(0xffff_ffff);
        for capability in Capability::available() {
            let stack = stack(capability, &parameters);
            let workspace = Workspace::new();
            let y = stack.forward(&affine, &mut x.clone(), sequences, tokens, &workspace);
            for (sequence, y) in y.chunks_exact(WIDTH).enumerate() {
                let what = format!("{capability:?} {precision:?} sequence {sequence}");
                assert!(y.iter().all(|y| y.is_nan() == (sequence == 1)), "{what}");
            }
        }
    }
}
