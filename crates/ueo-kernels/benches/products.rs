//! The rate of matrix products with frozen weights, in the shapes of ViT-B/16 with 16 images: these kernels in both precisions
//! beside the `gemm` crate, in GFLOP/s of one thread's own time, so that a busy machine disturbs little.
//!
//! `cargo bench -p ueo-kernels --bench products -- [--rounds 9]` prints one JSON object.
//! `tools/benchmark/matmul.py` measures the same shapes with other libraries.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use ueo_kernels::{Capability, FrozenLinear, Precision};

const IMAGES: usize = 16;
const TOKENS: usize = 197;
/// Name, outputs, inputs of a block's linear layers.
const PRODUCTS: [(&str, usize, usize); 4] = [
    ("qkv", 2304, 768),
    ("out", 768, 768),
    ("fc", 3072, 768),
    ("proj", 768, 3072),
];

/// A name, and a product into the given output.
type Contestant<'a> = (&'static str, &'a mut dyn FnMut(&mut [f32]));
type Rates = BTreeMap<&'static str, BTreeMap<&'static str, f64>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == flag);
        let value = at.and_then(|at| arguments.get(at + 1));
        value.map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number("--rounds", 9);

    let mut rates = Rates::new();
    for (name, outputs, inputs) in PRODUCTS {
        let x = values(IMAGES * TOKENS * inputs);
        let weight = values(outputs * inputs);
        let linear = |precision| {
            FrozenLinear::new(
                Capability::detect(),
                precision,
                &weight,
                None,
                inputs,
                outputs,
            )
            .expect("the shape is that of the weight")
        };
        let (f32, bf16) = (linear(Precision::F32), linear(Precision::Bf16));
        let mut y = vec![0.0; IMAGES * TOKENS * outputs];
        let mut contestants: [Contestant<'_>; 3] = [
            ("ueo f32", &mut |y| by_image(&f32, &x, y)),
            ("ueo bf16", &mut |y| by_image(&bf16, &x, y)),
            ("gemm crate f32", &mut |y| {
                gemm_crate(&x, &weight, y, inputs, outputs);
            }),
        ];
        let mut seconds = vec![Vec::new(); contestants.len()];
        for _ in 0..=rounds {
            for ((_, product), seconds) in contestants.iter_mut().zip(&mut seconds) {
                let started = thread_seconds();
                product(&mut y);
                seconds.push(thread_seconds() - started);
            }
        }
        let work = (2 * IMAGES * TOKENS * inputs * outputs) as f64;
        for ((contestant, _), seconds) in contestants.iter().zip(&mut seconds) {
            // The first one touches new memory.
            seconds.remove(0);
            seconds.sort_by(f64::total_cmp);
            let rate = work / seconds[seconds.len() / 2] / 1e9;
            let rates = rates.entry(contestant).or_default();
            rates.insert(name, (rate * 10.0).round() / 10.0);
        }
    }
    println!("{}", json(&rates));
}

/// Seconds that this thread has run; on systems that do not tell, seconds on the clock.
fn thread_seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = schedule.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    match nanoseconds {
        Some(nanoseconds) => nanoseconds * 1e-9,
        None => START.get_or_init(Instant::now).elapsed().as_secs_f64(),
    }
}

/// One product per image, as the blocks do it.
fn by_image(layer: &FrozenLinear, x: &[f32], y: &mut [f32]) {
    for (y, x) in y
        .chunks_mut(TOKENS * layer.outputs())
        .zip(x.chunks(TOKENS * layer.inputs()))
    {
        layer.forward(TOKENS, x, y);
    }
}

/// One product of all images.
fn gemm_crate(x: &[f32], weight: &[f32], y: &mut [f32], inputs: usize, outputs: usize) {
    let rows = IMAGES * TOKENS;
    assert!(x.len() == rows * inputs && weight.len() == outputs * inputs);
    assert_eq!(y.len(), rows * outputs);
    // SAFETY: the assertions above make every element that the shapes and strides name lie inside its slice, and `y` is
    // borrowed mutably, so that it overlaps neither of the others.
    unsafe {
        gemm::gemm(
            rows,
            outputs,
            inputs,
            y.as_mut_ptr(),
            1,
            outputs as isize,
            false,
            x.as_ptr(),
            1,
            inputs as isize,
            weight.as_ptr(),
            inputs as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Values that look random enough for a benchmark.
fn values(len: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

fn json(rates: &Rates) -> String {
    let of = |rates: &BTreeMap<&str, f64>| {
        let fields = rates
            .iter()
            .map(|(name, rate)| format!("\"{name}\": {rate}"));
        fields.collect::<Vec<_>>().join(", ")
    };
    let fields = rates
        .iter()
        .map(|(name, rates)| format!("\"{name}\": {{{}}}", of(rates)));
    format!(
        "{{\"program\": \"ueo\", \"threads\": 1, \"gflops_per_sec\": {{{}}}}}",
        fields.collect::<Vec<_>>().join(", ")
    )
}
