//! Times one adaptation step and image encoding on a CLIP of ViT-B/16's or RN50's shape with random weights.
//!
//! `cargo bench -p ueo --bench speed -- --classes 50 --batch 16` prints one JSON object per measurement.
//! With `--images DIR`, steps take their pixels from the loader instead of memory. `--mode kept` with `--train-blocks last-4` or
//! `--train context` times steps that have what is not trained from an earlier step.
//! `tools/benchmark/compare.py` runs it side by side with PyTorch and rewrites BENCHMARKS.md.

#[path = "speed/kept.rs"]
mod kept;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ueo::adapt::{GradientChoices, TrainedBlocks, TrainedParameters, batch_gradient};
use ueo::checkpoint::{
    Activation, ClipConfig, ResNetConfig, TextArchitecture, TextConfig, TransformerConfig,
    VisionConfig, VitConfig,
};
use ueo::data::{Dataset, DatasetOptions};
use ueo::image::{
    BatchLoader, CacheContent, CacheOptions, DecodeOptions, ImageSource, LoaderOptions,
    Preprocessing, ViewKind,
};
use ueo::method::TrainedPart;
use ueo::model::{Clip, Precision, Prompts};
use ueo::objective::mutual_information;
use ueo::tensor::{HostTensor, TensorMap};

fn main() {
    let options = Options::parse();
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()
        .expect("the global thread pool is built once");
    let device = Device::flex();
    let config = config(&options.model);
    let image_size = config.vision.image_size();
    let clip = Clip::with_precision(
        config.clone(),
        random_tensors(&config),
        &device,
        options.precision,
    )
    .expect("the tensors are made for the configuration");
    let own_tokens = (0..options.classes)
        .map(|class| {
            // One to four tokens for the name, as in tools/benchmark/pytorch.py, then the full stop and [EOS].
            let name: Vec<u32> = (0..1 + class % 4)
                .map(|place| 1000 + (class * 7 + place) as u32 % 30_000)
                .collect();
            [&name[..], &[269, 49407]].concat()
        })
        .collect();
    let prompts = Prompts::new(49406, 4, own_tokens);
    let mut parameters = TrainedParameters {
        context: clip
            .text()
            .context_from_tokens(&[320, 1125, 539, 320])
            .expect("the tokens are in the vocabulary"),
        affine: clip.zero_shot_affine().clone(),
        centring: None,
    };
    let shape = [options.batch, 3, image_size, image_size];
    let pixels = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let indices: Vec<usize> = (0..options.batch).collect();

    let mut files = options.images.as_deref().map(|path| {
        let steps = options.warmup + options.iterations + PREFETCH_BATCHES;
        Files::open(path, &options, image_size, steps)
    });
    let mut run = |iterations: usize| -> Vec<(f64, Option<f64>)> {
        if options.mode == "kept" {
            let pixels = kept::Pixels {
                values: pixels.clone().try_into_vec_as().expect("floats"),
                images: options.batch,
                image_size,
            };
            let model = (&clip, &prompts, &parameters);
            let trained = (options.train, options.train_blocks);
            let steps = kept::steps(model, trained, &pixels, iterations, processor_seconds);
            return steps[1..].to_vec();
        }
        (0..iterations)
            .map(|_| {
                let (started, before) = (Instant::now(), processor_seconds());
                let pixels = match &mut files {
                    Some(files) => files.next(&device),
                    None => pixels.clone(),
                };
                match options.mode.as_str() {
                    "step" => {
                        let choices = GradientChoices {
                            indices: &indices,
                            train: TrainedPart::Both,
                            blocks: TrainedBlocks::All,
                            micro_batch: options.micro_batch,
                        };
                        let gradient = batch_gradient(
                            &clip,
                            &prompts,
                            &parameters,
                            &pixels,
                            choices,
                            |features| mutual_information(features.probabilities()),
                        );
                        parameters = parameters.descend(&gradient, 1e-6, 1e-6);
                        let _ = parameters.context.clone().into_data();
                    }
                    "vision" => {
                        let affine = parameters.affine.tracked(0);
                        let loss = clip
                            .image_features(pixels.clone(), &affine)
                            .powi_scalar(2)
                            .mean();
                        let mut gradients = loss.backward();
                        let _ = affine.take_gradients(0, &mut gradients).norm();
                    }
                    "encode" => {
                        let features = clip.image_features(pixels.clone(), &parameters.affine);
                        let _ = features.into_data();
                    }
                    other => panic!("unknown mode {other}: expected step, kept, vision or encode"),
                }
                let processor = before.zip(processor_seconds());
                (
                    started.elapsed().as_secs_f64(),
                    processor.map(|(before, after)| after - before),
                )
            })
            .collect()
    };
    run(options.warmup);
    let (seconds, processor_seconds): (Vec<f64>, Vec<Option<f64>>) =
        run(options.iterations).into_iter().unzip();
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "implementation": "ueo",
        "version": env!("CARGO_PKG_VERSION"),
        "mode": options.mode,
        "model": options.model,
        "batch": options.batch,
        "classes": options.classes,
        "threads": options.threads,
        "precision": options.precision,
        "seconds": seconds,
        "cpu_seconds": processor_seconds,
        "median_seconds": sorted[sorted.len() / 2],
        "peak_memory_bytes": peak_memory_bytes(),
    });
    println!("{report}");
}

/// Batches that the loader prepares ahead, as in `ueo adapt`.
const PREFETCH_BATCHES: usize = 2;

/// Training views of the images in a directory, over and over again, loaded beside the computation as in `ueo adapt`.
struct Files {
    batches: BatchLoader,
    image_size: usize,
}

impl Files {
    fn open(path: &str, options: &Options, image_size: usize, steps: usize) -> Self {
        let dataset = Dataset::open(Path::new(path), &DatasetOptions::default())
            .expect("a directory of images");
        let cache = CacheOptions {
            budget_bytes: options.image_cache,
            content: match options.reduce_images {
                Some(shorter_side) => CacheContent::Reduced { shorter_side },
                None => CacheContent::Originals,
            },
        };
        let order = (0..dataset.len()).cycle();
        let order = order.take(steps * options.batch).collect();
        let source = ImageSource::new(
            dataset,
            Preprocessing::clip(image_size),
            DecodeOptions::default(),
            cache,
        );
        let loader = LoaderOptions {
            batch_size: options.batch,
            threads: options.threads,
            prefetch_batches: PREFETCH_BATCHES,
            view: ViewKind::Training {
                seed: 2023,
                epoch: 0,
            },
        };
        let batches = BatchLoader::start(Arc::new(source), order, loader).expect("a thread");
        Self {
            batches,
            image_size,
        }
    }

    fn next(&mut self, device: &Device) -> Tensor<4> {
        let batch = self.batches.next().expect("enough batches were ordered");
        assert!(batch.failures.is_empty(), "every image can be read");
        let shape = [batch.indices.len(), 3, self.image_size, self.image_size];
        Tensor::from_data(TensorData::new(batch.pixels, shape), device)
    }
}

struct Options {
    mode: String,
    model: String,
    batch: usize,
    micro_batch: Option<usize>,
    classes: usize,
    threads: usize,
    precision: Precision,
    iterations: usize,
    warmup: usize,
    images: Option<String>,
    /// Bytes of decoded images that may be kept.
    image_cache: usize,
    reduce_images: Option<usize>,
    train: TrainedPart,
    train_blocks: TrainedBlocks,
}

impl Options {
    fn parse() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |flag: &str| {
            let at = arguments.iter().position(|argument| argument == flag)?;
            arguments.get(at + 1).cloned()
        };
        let number = |flag: &str, default: usize| {
            value(flag).map_or(default, |text| {
                text.parse().expect("a number after the flag")
            })
        };
        Self {
            mode: value("--mode").unwrap_or_else(|| "step".to_owned()),
            model: value("--model").unwrap_or_else(|| "ViT-B-16".to_owned()),
            batch: number("--batch", 16),
            micro_batch: value("--micro-batch").map(|text| text.parse().expect("a number")),
            classes: number("--classes", 50),
            threads: number("--threads", 2),
            precision: match value("--precision").as_deref() {
                None | Some("f32") => Precision::F32,
                Some("bf16") => Precision::Bf16,
                Some(other) => panic!("unknown precision {other}: expected f32 or bf16"),
            },
            iterations: number("--iterations", 3),
            warmup: number("--warmup", 1),
            images: value("--images"),
            image_cache: number("--image-cache", 0),
            reduce_images: value("--reduce-images").map(|text| text.parse().expect("a number")),
            train: match value("--train").as_deref() {
                None | Some("both") => TrainedPart::Both,
                Some("context") => TrainedPart::Context,
                Some(other) => panic!("unknown part {other}: expected both or context"),
            },
            train_blocks: value("--train-blocks").map_or(TrainedBlocks::All, |text| {
                text.parse().expect("all or last-N")
            }),
        }
    }
}

fn config(model: &str) -> ClipConfig {
    let transformer = |width, layers| TransformerConfig {
        width,
        layers,
        heads: width / 64,
        mlp_width: 4 * width,
        activation: Activation::QuickGelu,
        layer_norm_epsilon: 1e-5,
    };
    let (embed_dim, vision) = match model {
        "ViT-B-16" => (
            512,
            VisionConfig::Vit(VitConfig {
                image_size: 224,
                patch_size: 16,
                transformer: transformer(768, 12),
            }),
        ),
        "RN50" => (
            1024,
            VisionConfig::ResNet(ResNetConfig {
                image_size: 224,
                layers: [3, 4, 6, 3],
                width: 64,
                heads: 32,
            }),
        ),
        other => panic!("unknown model {other}: expected ViT-B-16 or RN50"),
    };
    ClipConfig {
        embed_dim,
        vision,
        text: TextConfig {
            context_length: 77,
            vocab_size: 49408,
            transformer: transformer(512, 12),
            architecture: TextArchitecture::Causal,
        },
    }
}

/// Random weights of about the scale of trained ones, so that no activation overflows or becomes denormal.
fn random_tensors(config: &ClipConfig) -> TensorMap {
    let mut random = Random {
        rng: ChaCha8Rng::seed_from_u64(1),
        tensors: TensorMap::new(),
    };
    let embed = config.embed_dim;
    random.put("logit_scale", &[], 4.6, 0.0);
    let text = &config.text;
    let width = text.transformer.width;
    random.put(
        "token_embedding.weight",
        &[text.vocab_size, width],
        0.0,
        0.02,
    );
    random.put(
        "positional_embedding",
        &[text.context_length, width],
        0.0,
        0.01,
    );
    random.put("text_projection", &[width, embed], 0.0, 0.04);
    random.norm("ln_final", width);
    random.stack("transformer", &text.transformer);
    match &config.vision {
        VisionConfig::Vit(vit) => {
            let width = vit.transformer.width;
            let patch = vit.patch_size;
            let patches = (vit.image_size / patch).pow(2);
            random.put("visual.conv1.weight", &[width, 3, patch, patch], 0.0, 0.02);
            random.put("visual.class_embedding", &[width], 0.0, 0.04);
            random.put(
                "visual.positional_embedding",
                &[1 + patches, width],
                0.0,
                0.04,
            );
            random.put("visual.proj", &[width, embed], 0.0, 0.04);
            random.norm("visual.ln_pre", width);
            random.norm("visual.ln_post", width);
            random.stack("visual.transformer", &vit.transformer);
        }
        VisionConfig::ResNet(resnet) => random.resnet(resnet, embed),
        _ => unreachable!("the two models of this benchmark are CLIP's"),
    }
    random.tensors
}

struct Random {
    rng: ChaCha8Rng,
    tensors: TensorMap,
}

impl Random {
    fn put(&mut self, name: &str, shape: &[usize], mean: f32, spread: f32) {
        let data = (0..shape.iter().product())
            .map(|_| mean + spread * (self.rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0))
            .collect();
        let shape = shape.to_vec();
        self.tensors
            .insert(name.to_owned(), HostTensor { shape, data });
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.put(&format!("{name}.weight"), &[width], 1.0, 0.1);
        self.put(&format!("{name}.bias"), &[width], 0.0, 0.1);
    }

    fn linear(&mut self, weight: &str, bias: &str, inputs: usize, outputs: usize) {
        self.put(weight, &[outputs, inputs], 0.0, (inputs as f32).powf(-0.5));
        self.put(bias, &[outputs], 0.0, 0.01);
    }

    fn stack(&mut self, prefix: &str, config: &TransformerConfig) {
        let (width, mlp) = (config.width, config.mlp_width);
        for layer in 0..config.layers {
            let name = |part: &str| format!("{prefix}.resblocks.{layer}.{part}");
            self.norm(&name("ln_1"), width);
            self.norm(&name("ln_2"), width);
            self.linear(
                &name("attn.in_proj_weight"),
                &name("attn.in_proj_bias"),
                width,
                3 * width,
            );
            self.linear(
                &name("attn.out_proj.weight"),
                &name("attn.out_proj.bias"),
                width,
                width,
            );
            self.linear(&name("mlp.c_fc.weight"), &name("mlp.c_fc.bias"), width, mlp);
            self.linear(
                &name("mlp.c_proj.weight"),
                &name("mlp.c_proj.bias"),
                mlp,
                width,
            );
        }
    }

    fn conv_norm(&mut self, conv: &str, norm: &str, inputs: usize, outputs: usize, kernel: usize) {
        let fan_in = (inputs * kernel * kernel) as f32;
        let shape = [outputs, inputs, kernel, kernel];
        self.put(
            &format!("{conv}.weight"),
            &shape,
            0.0,
            (3.0 / fan_in).sqrt(),
        );
        self.norm(norm, outputs);
        self.put(&format!("{norm}.running_mean"), &[outputs], 0.0, 0.1);
        self.put(&format!("{norm}.running_var"), &[outputs], 1.0, 0.1);
    }

    fn resnet(&mut self, config: &ResNetConfig, embed: usize) {
        let width = config.width;
        self.conv_norm("visual.conv1", "visual.bn1", 3, width / 2, 3);
        self.conv_norm("visual.conv2", "visual.bn2", width / 2, width / 2, 3);
        self.conv_norm("visual.conv3", "visual.bn3", width / 2, width, 3);
        let mut inputs = width;
        for (stage, &count) in config.layers.iter().enumerate() {
            let planes = width << stage;
            for block in 0..count {
                let name = |part: &str| format!("visual.layer{}.{block}.{part}", stage + 1);
                self.conv_norm(&name("conv1"), &name("bn1"), inputs, planes, 1);
                self.conv_norm(&name("conv2"), &name("bn2"), planes, planes, 3);
                self.conv_norm(&name("conv3"), &name("bn3"), planes, 4 * planes, 1);
                if block == 0 {
                    let (conv, norm) = (name("downsample.0"), name("downsample.1"));
                    self.conv_norm(&conv, &norm, inputs, 4 * planes, 1);
                }
                inputs = 4 * planes;
            }
        }
        let positions = (config.image_size / 32).pow(2);
        let name = |part: &str| format!("visual.attnpool.{part}");
        self.put(
            &name("positional_embedding"),
            &[1 + positions, inputs],
            0.0,
            0.02,
        );
        for part in ["q_proj", "k_proj", "v_proj"] {
            let (weight, bias) = (
                name(&format!("{part}.weight")),
                name(&format!("{part}.bias")),
            );
            self.linear(&weight, &bias, inputs, inputs);
        }
        self.linear(&name("c_proj.weight"), &name("c_proj.bias"), inputs, embed);
    }
}

/// Time that all threads of this process have run, where the system tells: what remains comparable on a busy machine.
fn processor_seconds() -> Option<f64> {
    /// Linux counts in hundredths of a second for programs, whatever the kernel's own clock is.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may contain spaces; user and system time are the 12th and 13th fields after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Largest resident memory of this process so far, where the system tells.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
