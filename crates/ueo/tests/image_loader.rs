//! The loader's order, determinism, failures and early end; training views; the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use ueo::data::{Dataset, DatasetOptions};
use ueo::image::{
    Batch, BatchLoader, CacheContent, CacheOptions, DecodeOptions, DecodingMemory, ImageError,
    ImageSource, LoaderOptions, Preprocessing, ViewKind, random_region, view_rng,
};

const SIZE: usize = 16;
const BIG: usize = 1 << 30;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/images")
        .join(name)
}

/// Six images of different sizes; `c.jpg` is cut off and `e.jpg` is no image.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let copies = [
        ("a.png", "source_wide.png"),
        ("b.png", "source_tall.png"),
        ("d.png", "source_tiny.png"),
        ("f.png", "source_strip.png"),
    ];
    for (name, source) in copies {
        fs::copy(fixture(source), folder.path().join(name)).unwrap();
    }
    let whole = fs::read(fixture("jpeg_420.jpg")).unwrap();
    fs::write(folder.path().join("c.jpg"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.path().join("e.jpg"), "moved").unwrap();
    folder
}

fn source(folder: &TempDir, cache_budget_bytes: usize) -> Arc<ImageSource> {
    source_keeping(CacheContent::Originals, folder, cache_budget_bytes)
}

fn source_keeping(
    content: CacheContent,
    folder: &TempDir,
    budget_bytes: usize,
) -> Arc<ImageSource> {
    let dataset = Dataset::open(folder.path(), &DatasetOptions::default()).unwrap();
    Arc::new(ImageSource::new(
        dataset,
        Preprocessing::clip(SIZE),
        DecodeOptions::default(),
        CacheOptions {
            budget_bytes,
            content,
        },
    ))
}

fn options(threads: usize, view: ViewKind) -> LoaderOptions {
    LoaderOptions {
        batch_size: 2,
        threads,
        prefetch_batches: 1,
        view,
    }
}

const ORDER: [usize; 7] = [5, 0, 2, 3, 1, 4, 0];

fn batches(source: &Arc<ImageSource>, threads: usize, view: ViewKind) -> Vec<Batch> {
    BatchLoader::start(Arc::clone(source), ORDER.to_vec(), options(threads, view))
        .unwrap()
        .collect()
}

#[test]
fn batches_keep_the_order_and_failures_are_data() {
    let folder = folder();
    let source = source(&folder, 0);
    let batches = batches(&source, 3, ViewKind::Test);
    let indices: Vec<_> = batches.iter().map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, [vec![5, 0], vec![3], vec![1], vec![0]]);
    for batch in &batches {
        assert_eq!(batch.pixels.len(), batch.indices.len() * 3 * SIZE * SIZE);
    }
    assert!(matches!(
        batches[1].failures[..],
        [(2, ImageError::Truncated { format: "JPEG", .. })]
    ));
    assert!(matches!(
        batches[2].failures[..],
        [(4, ImageError::NotAnImage { .. })]
    ));
    // Row 1 of the first batch is image 0, and so is the last batch.
    assert_eq!(batches[0].pixels[3 * SIZE * SIZE..], batches[3].pixels[..]);
    assert_eq!(batches[3].pixels, source.load(0, ViewKind::Test).unwrap());
}

#[test]
fn neither_threads_nor_the_cache_change_a_training_view() {
    let folder = folder();
    let view = ViewKind::Training {
        seed: 2023,
        epoch: 4,
    };
    let expected = batches(&source(&folder, 0), 1, view);
    for threads in [2, 5] {
        for cache in [0, 30_000, BIG] {
            let source = source(&folder, cache);
            assert_eq!(batches(&source, threads, view), expected);
            // A second epoch over a filled cache.
            assert_eq!(batches(&source, threads, view), expected);
            assert!(source.cache_use().bytes <= cache);
            assert_eq!(source.cache_use().bytes > 0, cache > 0);
        }
    }
}

/// Pixels of the four readable images, 3 bytes each: wide, tall, tiny and the strip.
fn decoded_bytes(source: &ImageSource) -> Vec<usize> {
    [0, 1, 3, 5]
        .map(|index| source.decoded(index).unwrap().pixels().len())
        .to_vec()
}

#[test]
fn a_memory_budget_for_decoding_changes_no_result() {
    let folder = folder();
    fs::copy(
        fixture("jpeg_orientation_6.jpg"),
        folder.path().join("g.jpg"),
    )
    .unwrap();
    let order: Vec<usize> = (0..40).map(|position| position % 7).collect();
    let load = |limit_bytes, threads| {
        let memory = DecodingMemory::new(limit_bytes);
        let source = Arc::new(ImageSource::new(
            Dataset::open(folder.path(), &DatasetOptions::default()).unwrap(),
            Preprocessing::clip(SIZE),
            DecodeOptions {
                memory: memory.clone(),
                ..DecodeOptions::default()
            },
            CacheOptions::default(),
        ));
        let options = options(threads, ViewKind::Test);
        let batches: Vec<_> = BatchLoader::start(Arc::clone(&source), order.clone(), options)
            .unwrap()
            .collect();
        assert_eq!(source.exif_oriented_images(), 1);
        (batches, memory.peak_bytes())
    };
    let (expected, largest) = load(0, 1);
    for threads in [1, 2, 8] {
        // Room for one image at a time, for two, for all.
        for limit in [0, largest, 2 * largest, u64::MAX] {
            let (batches, peak) = load(limit, threads);
            assert_eq!(batches, expected, "{threads} threads, {limit} bytes");
            assert!(peak <= limit.max(largest), "{peak}");
        }
    }
}

#[test]
fn a_budget_that_is_too_small_says_what_it_lacks() {
    let folder = folder();
    let sizes = decoded_bytes(&source(&folder, 0));
    let all: usize = sizes.iter().sum();
    let source = source(&folder, all - 1);
    for _ in 0..2 {
        batches(&source, 2, ViewKind::Test);
        let used = source.cache_use();
        assert_eq!((used.images, used.images_left_out), (3, 1));
        assert_eq!(used.bytes + used.bytes_left_out, all);
        assert!(sizes.contains(&used.bytes_left_out));
    }
}

#[test]
fn kept_test_views_are_the_same_and_small() {
    let folder = folder();
    let expected = batches(&source(&folder, 0), 1, ViewKind::Test);
    let source = source_keeping(CacheContent::TestViews, &folder, BIG);
    for _ in 0..2 {
        assert_eq!(batches(&source, 2, ViewKind::Test), expected);
        assert_eq!(source.cache_use().images, 4);
        assert_eq!(source.cache_use().bytes, 4 * 3 * SIZE * SIZE);
    }
    // The views in memory do not stand in for the images.
    assert_eq!(
        decoded_bytes(&source),
        decoded_bytes(&self::source(&folder, 0))
    );
}

#[test]
fn reduced_images_serve_training_views_only_and_do_not_depend_on_the_budget() {
    let folder = folder();
    let (exact, reduced) = (
        source(&folder, 0),
        CacheContent::Reduced {
            shorter_side: 2 * SIZE,
        },
    );
    let training = ViewKind::Training { seed: 1, epoch: 2 };
    let expected = batches(&source_keeping(reduced, &folder, 0), 1, training);
    for budget in [0, 5_000, BIG] {
        let source = source_keeping(reduced, &folder, budget);
        for _ in 0..2 {
            assert_eq!(
                batches(&source, 2, ViewKind::Test),
                batches(&exact, 1, ViewKind::Test)
            );
            assert_eq!(batches(&source, 2, training), expected);
        }
        assert!(source.cache_use().bytes <= budget);
    }
    // Less memory than the originals, and another result.
    let full = source(&folder, BIG);
    assert_ne!(batches(&full, 1, training), expected);
    let source = source_keeping(reduced, &folder, BIG);
    batches(&source, 1, training);
    assert!(source.cache_use().bytes < full.cache_use().bytes);
}

#[test]
fn an_image_that_is_small_already_is_not_reduced() {
    let folder = TempDir::new().unwrap();
    fs::copy(fixture("source_wide.png"), folder.path().join("a.png")).unwrap();
    let content = CacheContent::Reduced { shorter_side: 4096 };
    let reduced = source_keeping(content, &folder, BIG);
    let exact = source(&folder, 0);
    for view in [ViewKind::Test, ViewKind::Training { seed: 1, epoch: 2 }] {
        assert_eq!(reduced.load(0, view), exact.load(0, view));
    }
    assert_eq!(reduced.cache_use(), {
        let full = source(&folder, BIG);
        full.load(0, ViewKind::Test).unwrap();
        full.cache_use()
    });
}

#[test]
fn seed_epoch_and_index_each_change_the_view() {
    let folder = folder();
    let source = source(&folder, BIG);
    let load = |index, seed, epoch| {
        source
            .load(index, ViewKind::Training { seed, epoch })
            .unwrap()
    };
    let one = load(0, 1, 1);
    assert_eq!(one, load(0, 1, 1));
    assert_ne!(one, load(0, 2, 1));
    assert_ne!(one, load(0, 1, 2));
    let regions = [0, 1].map(|index| random_region(97, 61, &mut view_rng(1, 1, index)));
    assert_ne!(regions[0], regions[1]);
}

#[test]
fn random_regions_cover_the_stated_range() {
    let (width, height) = (400, 300);
    let mut areas = Vec::new();
    for index in 0..2000 {
        let region = random_region(width, height, &mut view_rng(7, 0, index));
        assert!(region.left + region.width <= width && region.top + region.height <= height);
        let aspect = region.width as f64 / region.height as f64;
        assert!((0.74..1.35).contains(&aspect), "{aspect}");
        areas.push((region.width * region.height) as f64 / (width * height) as f64);
    }
    let (least, most) = (
        areas.iter().copied().fold(1.0, f64::min),
        areas.iter().copied().fold(0.0, f64::max),
    );
    assert!((0.495..0.52).contains(&least), "{least}");
    assert!((0.97..=1.0).contains(&most), "{most}");
}

#[test]
fn about_half_of_the_training_views_are_flipped() {
    // An image this thin has one allowed region, the central one, so views differ by the flip alone.
    let folder = TempDir::new().unwrap();
    fs::copy(fixture("source_strip.png"), folder.path().join("a.png")).unwrap();
    let source = source(&folder, BIG);
    let views: Vec<_> = (0..400)
        .map(|epoch| {
            source
                .load(0, ViewKind::Training { seed: 3, epoch })
                .unwrap()
        })
        .collect();
    let same = views.iter().filter(|view| **view == views[0]).count();
    // Five standard deviations of a fair coin.
    assert!((150..=250).contains(&same), "{same}");
    let other = views.iter().find(|view| **view != views[0]).unwrap();
    assert!(views.iter().all(|view| *view == views[0] || view == other));
    let mirrored = (0..SIZE).all(|column| views[0][column] == other[SIZE - 1 - column]);
    assert!(mirrored);
}

#[test]
fn a_consumer_may_stop_early() {
    let folder = folder();
    let source = source(&folder, 0);
    for taken in 0..3 {
        let order = ORDER.repeat(20);
        let mut loader =
            BatchLoader::start(Arc::clone(&source), order, options(4, ViewKind::Test)).unwrap();
        assert_eq!(loader.batch_count(), 70);
        assert_eq!(loader.by_ref().take(taken).count(), taken);
        // Dropping joins the workers: this returns only if none of them hangs.
        drop(loader);
        assert_eq!(Arc::strong_count(&source), 1);
    }
}

#[test]
fn an_empty_order_has_no_batches() {
    let folder = folder();
    let mut loader =
        BatchLoader::start(source(&folder, 0), Vec::new(), options(2, ViewKind::Test)).unwrap();
    assert_eq!(loader.next(), None);
}

#[test]
fn an_index_outside_the_data_set_is_a_failure_of_that_entry() {
    let folder = folder();
    let mut loader =
        BatchLoader::start(source(&folder, 0), vec![99], options(1, ViewKind::Test)).unwrap();
    let batch = loader.next().unwrap();
    assert!(
        matches!(batch.failures[..], [(99, ImageError::Read { .. })]),
        "{:?}",
        batch.failures
    );
}
