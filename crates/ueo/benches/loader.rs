//! Times what stands between files and the vision tower: decoding, views, normalization, and the loader as a whole.
//!
//! `cargo bench -p ueo --bench loader -- [photo-12mp|photo-vga|drawing-64]` prints one JSON object per kind of image. The images
//! are made up: smooth shades with fine grain, so that JPEG's entropy coding has about the work of a photograph.
//! `--write DIR --count N` leaves the files of one kind in a directory, for measurements of whole jobs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ueo::data::{Dataset, DatasetOptions};
use ueo::image::{
    BatchLoader, CacheContent, CacheOptions, DecodeOptions, ImageSource, LoaderOptions,
    Preprocessing, ViewKind, decode,
};

/// A kind of image that people adapt to.
struct Kind {
    name: &'static str,
    width: usize,
    height: usize,
    jpeg: bool,
    /// Files that are made and loaded.
    count: usize,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "photo-12mp",
        width: 4000,
        height: 3000,
        jpeg: true,
        count: 8,
    },
    Kind {
        name: "photo-vga",
        width: 640,
        height: 480,
        jpeg: true,
        count: 128,
    },
    Kind {
        name: "drawing-64",
        width: 64,
        height: 64,
        jpeg: false,
        count: 1024,
    },
];

/// Quality of cameras' and photo libraries' files.
const JPEG_QUALITY: u8 = 90;

/// Side of the vision tower's input in pixels, as of ViT-B/16 and RN50.
const INPUT_SIZE: usize = 224;

const TRAINING: ViewKind = ViewKind::Training {
    seed: 2023,
    epoch: 0,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).cloned()
    };
    let chosen = |kind: &&Kind| {
        let named = |kind: &Kind| arguments.iter().any(|argument| argument == kind.name);
        named(kind) || !KINDS.iter().any(named)
    };
    for kind in KINDS.iter().filter(chosen) {
        if let Some(directory) = value("--write") {
            let count = value("--count").map_or(kind.count, |n| n.parse().expect("a number"));
            fs::create_dir_all(&directory).expect("the directory can be made");
            write_files(kind, count, Path::new(&directory));
        } else {
            println!("{}", measure(kind));
        }
    }
}

fn measure(kind: &Kind) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a temporary directory");
    write_files(kind, kind.count, folder.path());
    let source = |budget_bytes, content| {
        let dataset = Dataset::open(folder.path(), &DatasetOptions::default())
            .expect("the directory was just written");
        let cache = CacheOptions {
            budget_bytes,
            content,
        };
        Arc::new(ImageSource::new(
            dataset,
            Preprocessing::clip(INPUT_SIZE),
            DecodeOptions::default(),
            cache,
        ))
    };
    let without_cache = source(0, CacheContent::Originals);
    let preprocessing = without_cache.preprocessing();
    let bytes = without_cache.dataset().read_bytes(0).expect("a file");
    let image = decode(&bytes, &DecodeOptions::default()).expect("an image");
    let view = preprocessing.test_view(&image).expect("a view");

    let loader = |source: &Arc<ImageSource>, view, threads| {
        let options = LoaderOptions {
            batch_size: 16,
            threads,
            prefetch_batches: 2,
            view,
        };
        let order = (0..kind.count).collect();
        let started = Instant::now();
        let batches = BatchLoader::start(Arc::clone(source), order, options).expect("a thread");
        let images: usize = batches.map(|batch| batch.indices.len()).sum();
        assert_eq!(images, kind.count, "all images can be read");
        images as f64 / started.elapsed().as_secs_f64()
    };
    let cached = |content| {
        let source = source(1 << 30, content);
        // The first pass fills the cache.
        loader(&source, TRAINING, 2);
        loader(&source, TRAINING, 2)
    };
    serde_json::json!({
        "kind": kind.name,
        "file_bytes": bytes.len(),
        "milliseconds": {
            "decode": milliseconds(|| { decode(&bytes, &DecodeOptions::default()).expect("an image"); }),
            "test_view": milliseconds(|| { preprocessing.test_view(&image).expect("a view"); }),
            "training_view": milliseconds(|| { preprocessing.view(&image, TRAINING, 0).expect("a view"); }),
            "normalize": milliseconds(|| { preprocessing.normalize(&view); }),
        },
        "images_per_sec": {
            "test_1_thread": loader(&without_cache, ViewKind::Test, 1),
            "test_2_threads": loader(&without_cache, ViewKind::Test, 2),
            "training_2_threads": loader(&without_cache, TRAINING, 2),
            "training_2_threads_cached": cached(CacheContent::Originals),
            "training_2_threads_cached_reduced": cached(CacheContent::Reduced { shorter_side: 2 * INPUT_SIZE }),
        },
    })
}

/// Median of several runs, as many as fit in about half a second.
fn milliseconds(mut run: impl FnMut()) -> f64 {
    let mut samples = Vec::new();
    let started = Instant::now();
    while samples.len() < 3 || started.elapsed().as_secs_f64() < 0.5 {
        let before = Instant::now();
        run();
        samples.push(before.elapsed().as_secs_f64() * 1e3);
    }
    samples.sort_by(f64::total_cmp);
    (samples[samples.len() / 2] * 1e3).round() / 1e3
}

fn write_files(kind: &Kind, count: usize, directory: &Path) {
    // Large images differ in nothing that matters, and making one takes longer than reading it.
    let distinct: Vec<Vec<u8>> = (0..count.min(4)).map(|seed| encode(kind, seed)).collect();
    let extension = if kind.jpeg { "jpg" } else { "png" };
    for number in 0..count {
        let path = directory.join(format!("{number:05}.{extension}"));
        fs::write(path, &distinct[number % distinct.len()]).expect("the file can be written");
    }
}

fn encode(kind: &Kind, seed: usize) -> Vec<u8> {
    let (width, height) = (kind.width, kind.height);
    let mut grain = ChaCha8Rng::seed_from_u64(seed as u64);
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f32 / width as f32, row as f32 / height as f32);
            let shade = 110.0 + 70.0 * (9.0 * x + seed as f32).sin() * (7.0 * y).cos();
            let noise = grain.next_u32();
            for channel in 0..3 {
                let grain = (noise >> (8 * channel) & 15) as f32;
                pixels.push((shade + 12.0 * channel as f32 + grain) as u8);
            }
        }
    }
    let (width, height) = (width as u32, height as u32);
    let mut bytes = Vec::new();
    let result = if kind.jpeg {
        JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).write_image(
            &pixels,
            width,
            height,
            ExtendedColorType::Rgb8,
        )
    } else {
        PngEncoder::new(&mut bytes).write_image(&pixels, width, height, ExtendedColorType::Rgb8)
    };
    result.expect("encoding into memory");
    bytes
}
