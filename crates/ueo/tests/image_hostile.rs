//! Mutated images of every format: an image within the limits or a clear error, never a panic, in bounded time and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ueo::image::decode_hostile;

/// Mutations of each file; more can be asked for.
const MUTATIONS: usize = 80;
const MUTATIONS_VARIABLE: &str = "UEO_IMAGE_MUTATIONS";
/// Files that are longer are left to fuzz targets.
const MAX_FILE_BYTES: usize = 6000;
/// Most time for one input; usual are microseconds.
const MAX_TIME: Duration = Duration::from_secs(2);
/// Most memory of this process, far above what the decoders may take here.
const MAX_PROCESS_KIB: u64 = 256 << 10;

/// All encoded fixtures, in the order of their names.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let is_result = |name: &str| {
        name.contains(".expected.")
            || ["view_", "region_", "source_", "images.json"]
                .iter()
                .any(|start| name.starts_with(start))
    };
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !is_result(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    files.sort();
    files
}

fn below(rng: &mut ChaCha8Rng, end: usize) -> usize {
    (rng.next_u64() % end as u64) as usize
}

/// A few changes, half of them among the first bytes, where headers are.
fn mutate(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    const HEADER: usize = 200;
    for _ in 0..1 + below(rng, 4) {
        let reach = if below(rng, 2) == 0 {
            bytes.len().min(HEADER)
        } else {
            bytes.len()
        };
        let at = below(rng, reach);
        let room = bytes.len() - at;
        match below(rng, 6) {
            0 => bytes[at] = rng.next_u64() as u8,
            1 => bytes[at] ^= 1 << below(rng, 8),
            2 => bytes[at] = [0, 1, 127, 128, 255][below(rng, 5)],
            3 => bytes.truncate(at + 1),
            4 => bytes[at..at + 8.min(room)].fill(255),
            _ => {
                let from = below(rng, bytes.len());
                let length = below(rng, 16).min(room).min(bytes.len() - from);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
}

/// The most memory that this process has used, in KiB, where the system tells.
fn peak_process_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn mutated_images_are_images_or_errors() {
    let mutations = std::env::var(MUTATIONS_VARIABLE)
        .map_or(MUTATIONS, |number| number.parse().expect("a number"));
    let (mut tried, mut decoded) = (0, 0);
    let mut slowest = (Duration::ZERO, String::new());
    for (number, path) in files().iter().enumerate() {
        let whole = fs::read(path).unwrap();
        if whole.len() > MAX_FILE_BYTES {
            continue;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        for mutation in 0..mutations {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut rng);
            let start = Instant::now();
            decoded += usize::from(decode_hostile(&bytes));
            tried += 1;
            let name = format!("{path:?}, mutation {mutation}");
            slowest = slowest.max((start.elapsed(), name));
        }
    }
    println!("{tried} mutated images, {decoded} of them still images; slowest {slowest:?}");
    assert!(tried > 130 * mutations && decoded > 0 && decoded < tried);
    assert!(slowest.0 < MAX_TIME, "{slowest:?}");
    if let Some(peak) = peak_process_kib() {
        assert!(peak < MAX_PROCESS_KIB, "{peak} KiB");
    }
}

#[test]
fn every_prefix_of_a_file_is_an_image_or_an_error() {
    for path in files() {
        let whole = fs::read(&path).unwrap();
        if whole.len() <= MAX_FILE_BYTES {
            for step in 0..20 {
                decode_hostile(&whole[..step * whole.len() / 20]);
            }
        }
    }
}
