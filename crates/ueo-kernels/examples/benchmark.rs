//! Measures the engine on this machine: products with the shapes of ViT-B/16, forward plus backward of its 12 blocks and of the
//! convolutional part of RN50. Everything is interleaved and medians are printed, because shared machines are noisy.
//!
//! `cargo run --release -p ueo-kernels --example benchmark -- [rounds]`

use rayon::prelude::*;
use std::time::Instant;
use ueo_kernels::{
    Activation, BlockAffine, BlockWeights, BottleneckWeights, Capability, ConvolutionWeights,
    ConvolutionalTower, FrozenLinear, InstructionSet, MapWorkspace, Precision, PrefixShape,
    ReadToken, ResidualStack, StackConfig, Workspace,
};

const IMAGES: usize = 16;
const TOKENS: usize = 197;
const WIDTH: usize = 768;
const BLOCKS: usize = 12;

/// Values that look random enough for a benchmark.
fn values(len: usize, scale: f32) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 - 0.5) * 2.0 * scale
    };
    (0..len).map(|_| next()).collect()
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Time that all threads of this process have run, where the system says so.
fn processor_seconds() -> Option<f64> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    Some(nanoseconds.sum::<f64>() * 1e-9)
}

/// Seconds that `run` takes: the threads' own time divided by their number where the system counts it, so that
/// other processes disturb less, else wall time.
fn seconds(run: impl FnOnce()) -> f64 {
    let (start, before) = (Instant::now(), processor_seconds());
    run();
    let wall = start.elapsed().as_secs_f64();
    match before.zip(processor_seconds()) {
        Some((before, after)) => (after - before) / rayon::current_num_threads() as f64,
        None => wall,
    }
}

/// One product per image, all images in parallel, as the stack does it; several times so that it is long enough to measure.
fn products(rounds: usize, engines: &[(Capability, Precision)]) {
    const REPEATS: usize = 4;
    println!("products in GFLOP/s: {engines:?}");
    for (name, outputs, inputs) in [
        ("qkv", 3 * WIDTH, WIDTH),
        ("out", WIDTH, WIDTH),
        ("fc", 4 * WIDTH, WIDTH),
        ("proj", WIDTH, 4 * WIDTH),
    ] {
        let weight = values(outputs * inputs, 0.02);
        let layers: Vec<FrozenLinear> = engines
            .iter()
            .map(|&(capability, precision)| {
                FrozenLinear::new(capability, precision, &weight, None, inputs, outputs)
                    .expect("the shape is that of the weight")
            })
            .collect();
        let x = values(IMAGES * TOKENS * inputs, 1.0);
        let mut y = vec![0.0; IMAGES * TOKENS * outputs];
        let mut samples = vec![Vec::new(); layers.len()];
        for _ in 0..=rounds {
            for (layer, samples) in layers.iter().zip(&mut samples) {
                samples.push(seconds(|| {
                    for _ in 0..REPEATS {
                        y.par_chunks_mut(TOKENS * outputs)
                            .zip(x.par_chunks(TOKENS * inputs))
                            .with_max_len(1)
                            .for_each(|(y, x)| layer.forward(TOKENS, x, y));
                    }
                }));
            }
        }
        let work = (REPEATS * 2 * IMAGES * TOKENS * inputs * outputs) as f64;
        print!("{:<24}", format!("{name} ({outputs}, {inputs})"));
        for samples in &mut samples {
            print!(" {:>8.0}", work / median(&mut samples[1..]) / 1e9);
        }
        println!();
    }
}

fn stack(
    (capability, precision): (Capability, Precision),
    width: usize,
    causal: bool,
) -> ResidualStack {
    let config = StackConfig {
        width,
        heads: width / 64,
        hidden: 4 * width,
        causal,
        read: if causal {
            ReadToken::Last
        } else {
            ReadToken::First
        },
        activation: Activation::QuickGelu,
        layer_norm_epsilon: 1e-5,
        precision,
    };
    let square = values(4 * width * width, 0.5 / (width as f32).sqrt());
    let bias = vec![0.01; 4 * width];
    let weights = BlockWeights {
        qkv_weight: &square[..3 * width * width],
        qkv_bias: &bias[..3 * width],
        out_weight: &square[..width * width],
        out_bias: &bias[..width],
        fc_weight: &square,
        fc_bias: &bias,
        proj_weight: &square,
        proj_bias: &bias[..width],
    };
    ResidualStack::new(capability, config, std::iter::repeat_n(weights, BLOCKS))
        .expect("the shapes are those of the configuration")
}

/// Forward and backward of ViT-B/16's blocks.
fn vision(rounds: usize, engine: (Capability, Precision)) {
    let stack = stack(engine, WIDTH, false);
    let (ones, zeros) = (vec![1.0; WIDTH], vec![0.0; WIDTH]);
    let affine = vec![
        BlockAffine {
            ln_1_weight: &ones,
            ln_1_bias: &zeros,
            ln_2_weight: &ones,
            ln_2_bias: &zeros
        };
        BLOCKS
    ];
    let workspace = Workspace::new();
    let input = values(IMAGES * TOKENS * WIDTH, 1.0);
    let mut x = input.clone();
    let (mut inference, mut forward, mut backward) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        x.copy_from_slice(&input);
        inference.push(seconds(|| {
            stack.forward(&affine, &mut x, IMAGES, TOKENS, &workspace);
        }));
        x.copy_from_slice(&input);
        let mut trained = None;
        forward.push(seconds(|| {
            trained = Some(stack.forward_training(&affine, &mut x, IMAGES, TOKENS, &workspace))
        }));
        let (output, saved) = trained.expect("the forward pass has run");
        backward.push(seconds(|| {
            stack.backward(&affine, &saved, &output, &workspace);
        }));
    }
    // 24 width^2 per token for the linear layers, 4 tokens width for attention, twice that backward with P computed again. In the last
    // block one token per image has all of it, the others keys and values only.
    let whole = BLOCKS - 1;
    let linear = (IMAGES * ((whole * TOKENS + 1) * 24 + (TOKENS - 1) * 4) * WIDTH * WIDTH) as f64;
    let attention = (IMAGES * (whole * TOKENS + 1) * 4 * TOKENS * WIDTH) as f64;
    let [inference, forward, backward] =
        [inference, forward, backward].map(|mut samples| median(&mut samples[1..]));
    println!(
        "{engine:?}, {BLOCKS} blocks, {IMAGES} x {TOKENS} x {WIDTH}: inference {inference:.3} s, forward {forward:.3} s, backward {backward:.3} s, \
         together {:.3} s = {:.0} GFLOP/s",
        forward + backward,
        (2.0 * linear + 3.5 * attention) / (forward + backward) / 1e9
    );
}

/// The text tower of ViT-B/16 at 345 classes of six own tokens behind a prefix of five.
fn text(rounds: usize, engine: (Capability, Precision)) {
    const TEXT_WIDTH: usize = 512;
    let stack = stack(engine, TEXT_WIDTH, true);
    let (ones, zeros) = (vec![1.0; TEXT_WIDTH], vec![0.0; TEXT_WIDTH]);
    let affine = vec![
        BlockAffine {
            ln_1_weight: &ones,
            ln_1_bias: &zeros,
            ln_2_weight: &ones,
            ln_2_bias: &zeros
        };
        BLOCKS
    ];
    let offsets: Vec<usize> = (0..=345).map(|class| class * 6).collect();
    let (prefix, own) = (
        values(5 * TEXT_WIDTH, 1.0),
        values(345 * 6 * TEXT_WIDTH, 1.0),
    );
    let workspace = Workspace::new();
    let mut samples = Vec::new();
    for _ in 0..=rounds {
        let mut x = own.clone();
        samples.push(seconds(|| {
            let shape = PrefixShape {
                prefix_tokens: 5,
                offsets: &offsets,
            };
            let (output, saved) = stack.forward_with_prefix_training(
                &affine,
                shape,
                &prefix,
                &mut x,
                usize::MAX,
                &workspace,
            );
            stack.backward_with_prefix(&affine, &saved, &output, &workspace);
        }));
    }
    println!(
        "{engine:?}, text, 345 classes: forward and backward {:.3} s",
        median(&mut samples[1..])
    );
}

/// Forward and backward of RN50's convolutional part.
fn convolutional(rounds: usize, capability: Capability) {
    const WIDTH: usize = 64;
    const SIDE: usize = 224;
    // The largest weight of all; every convolution takes its values from the beginning.
    let weight = values(9 * 512 * 512, 1.0);
    let (zeros, ones) = (vec![0.0; 2048], vec![1.0; 2048]);
    // Variances that keep the activations near one, by taps and inputs: a uniform value has a variance of 1/3, and ReLU halves the
    // mean square.
    let variances: Vec<Vec<f32>> = [1, 9]
        .iter()
        .flat_map(|taps| (0..12).map(move |log| vec![(taps << log) as f32 / 6.0; 2048]))
        .collect();
    let convolution = |inputs: usize, outputs: usize, kernel: usize| ConvolutionWeights {
        weight: &weight[..inputs * outputs * kernel * kernel],
        mean: &zeros[..outputs],
        variance: &variances[(kernel / 2) * 12 + inputs.ilog2() as usize][..outputs],
        inputs,
        kernel,
        trained: true,
    };
    let stem = [
        convolution(3, WIDTH / 2, 3),
        convolution(WIDTH / 2, WIDTH / 2, 3),
        convolution(WIDTH / 2, WIDTH, 3),
    ];
    let mut inputs = WIDTH;
    let mut blocks = Vec::new();
    for (stage, count) in [3, 4, 6, 3].into_iter().enumerate() {
        let planes = WIDTH << stage;
        for block in 0..count {
            blocks.push(BottleneckWeights {
                convolutions: [
                    convolution(inputs, planes, 1),
                    convolution(planes, planes, 3),
                    convolution(planes, 4 * planes, 1),
                ],
                // As `ueo` adapts it: the norms of these are left alone.
                downsample: (block == 0).then(|| ConvolutionWeights {
                    trained: false,
                    ..convolution(inputs, 4 * planes, 1)
                }),
                stride: if stage > 0 && block == 0 { 2 } else { 1 },
            });
            inputs = 4 * planes;
        }
    }
    let tower = ConvolutionalTower::new(capability, Precision::F32, stem, &blocks)
        .expect("the shapes are those of the architecture");
    // A weight, then a bias of each layer.
    let affine: Vec<f32> = stem
        .iter()
        .chain(
            blocks
                .iter()
                .flat_map(|block| block.convolutions.iter().chain(&block.downsample)),
        )
        .flat_map(|layer| {
            let outputs = layer.mean.len();
            [&ones[..outputs], &zeros[..outputs]].concat()
        })
        .collect();
    let pixels = values(IMAGES * 3 * SIDE * SIDE, 1.0);
    let workspace = MapWorkspace::new();
    let (mut inference, mut forward, mut backward) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        inference.push(seconds(|| {
            tower.forward(&affine, &pixels, SIDE, &workspace);
        }));
        let mut result = None;
        forward.push(seconds(|| {
            result = Some(tower.forward_training(&affine, &pixels, SIDE, &workspace));
        }));
        let (output, saved) = result.expect("the forward pass has run");
        backward.push(seconds(|| {
            tower.backward(&affine, &saved, &output, &workspace);
        }));
    }
    let [inference, forward, backward] =
        [inference, forward, backward].map(|mut samples| median(&mut samples[1..]));
    println!(
        "{capability:?}, RN50, {IMAGES} x {SIDE} x {SIDE}: inference {inference:.3} s, forward {forward:.3} s, backward {backward:.3} s, \
         together {:.3} s",
        forward + backward
    );
}

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(5);
    println!(
        "{} threads, {:?}, median of {rounds}",
        rayon::current_num_threads(),
        Capability::detect()
    );
    let engines: Vec<(Capability, Precision)> = Capability::available()
        .filter(|capability| capability.instruction_set() > InstructionSet::Portable)
        .map(|capability| (capability, Precision::F32))
        .chain([(Capability::detect(), Precision::Bf16)])
        .collect();
    convolutional(rounds, Capability::detect());
    products(rounds, &engines);
    for precision in [Precision::F32, Precision::Bf16] {
        vision(rounds, (Capability::detect(), precision));
        text(rounds, (Capability::detect(), precision));
    }
}
