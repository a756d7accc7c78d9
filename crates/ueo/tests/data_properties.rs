//! Order and counts of random trees and shards: the same whatever the order in which files were made, and every file
//! taken or counted, once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use ueo::data::{Dataset, DatasetOptions, LeftOutCount, SourceKind, index_shard_bytes};

/// Parts of names: hidden and plain, with every kind of extension.
const FOLDERS: [&str; 9] = ["a", "B", "b", "b-c", "b c", ".hidden", "__MACOSX", "é", "1"];
const FILES: [&str; 18] = [
    "1.jpg",
    "10.jpg",
    "2.PNG",
    "x.webp",
    "x.heic",
    "x.avif",
    "x.txt",
    "x",
    ".x.jpg",
    "._1.jpg",
    "z.zip",
    "x.cls",
    "1.cls",
    "10.json",
    "2.y.cls",
    "x.y.gif",
    "x.tar.zst",
    "\u{1b}[2J.bmp",
];

/// Distinct paths; some files are empty.
fn random_files(rng: &mut ChaCha8Rng) -> Vec<(String, Vec<u8>)> {
    let count = 1 + rng.next_u64() % 40;
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let mut name = String::new();
        for _ in 0..rng.next_u64() % 4 {
            name += FOLDERS[(rng.next_u64() % FOLDERS.len() as u64) as usize];
            name += "/";
        }
        name += FILES[(rng.next_u64() % FILES.len() as u64) as usize];
        names.insert(name);
    }
    names
        .into_iter()
        .map(|name| {
            let bytes = match rng.next_u64() % 8 {
                0 => Vec::new(),
                _ if name.ends_with(".json") => br#"{"label": "cat"}"#.to_vec(),
                _ => name.clone().into_bytes(),
            };
            (name, bytes)
        })
        .collect()
}

/// What a data set says, without the places of its bytes.
type Summary = (
    Vec<(String, Option<String>)>,
    Vec<(String, String)>,
    Vec<LeftOutCount>,
    usize,
);

fn summary(dataset: &Dataset) -> Summary {
    (
        dataset
            .samples
            .iter()
            .map(|sample| (sample.id.to_owned(), sample.label.map(str::to_owned)))
            .collect(),
        dataset
            .skipped
            .iter()
            .map(|skipped| (skipped.id.clone(), skipped.reason.to_string()))
            .collect(),
        dataset.left_out.counts(),
        dataset.label_entries,
    )
}

fn counted(dataset: &Dataset) -> usize {
    dataset.samples.len() + dataset.skipped.len() + dataset.left_out.total() + dataset.label_entries
}

fn assert_sorted(dataset: &Dataset) {
    let is_sorted = dataset
        .samples
        .iter()
        .is_sorted_by(|a, b| a.id.as_bytes() < b.id.as_bytes());
    assert!(is_sorted, "{:?}", summary(dataset));
}

#[test]
fn trees() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut opened = 0;
    for round in 0..40 {
        let mut files = random_files(&mut rng);
        let mut found: Vec<Option<Dataset>> = Vec::new();
        for _ in 0..2 {
            files.shuffle(&mut rng);
            let root = TempDir::new().unwrap();
            for (name, bytes) in &files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            found.push(Dataset::open(root.path(), &DatasetOptions::default()).ok());
        }
        let [first, second] = found.as_slice() else {
            unreachable!()
        };
        assert_eq!(
            first.as_ref().map(summary),
            second.as_ref().map(summary),
            "{round}"
        );
        let taken = |name: &str| {
            let is_image = [".jpg", ".PNG", ".webp", ".gif", ".bmp"]
                .iter()
                .any(|end| name.ends_with(end));
            is_image
                && !name
                    .split('/')
                    .any(|part| part.starts_with('.') || part == "__MACOSX")
        };
        let expected: Vec<&str> = {
            let taken = files
                .iter()
                .filter(|(name, bytes)| taken(name) && !bytes.is_empty());
            let mut names: Vec<&str> = taken.map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            names
        };
        let Some(dataset) = first else {
            assert_eq!(expected, [""; 0], "{round}");
            continue;
        };
        opened += 1;
        let ids: Vec<&str> = dataset.samples.iter().map(|sample| sample.id).collect();
        assert_eq!(ids, expected, "{round}");
        assert_eq!(
            counted(dataset),
            files.len(),
            "{round}: {:?}",
            summary(dataset)
        );
        assert_sorted(dataset);
    }
    assert!(opened > 25, "{opened}");
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, Path::new(name), bytes.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn shards() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for round in 0..600 {
        let mut files = random_files(&mut rng);
        let first = index_shard_bytes(&tar_of(&files)).unwrap();
        files.shuffle(&mut rng);
        let shuffled = tar_of(&files);
        let second = index_shard_bytes(&shuffled).unwrap();
        assert_eq!(first.kind, SourceKind::Shards);
        assert_eq!(summary(&first), summary(&second), "{round}");
        assert_eq!(
            counted(&first),
            files.len(),
            "{round}: {:?}",
            summary(&first)
        );
        assert_sorted(&first);
        if round % 20 == 0 {
            use std::io::Write as _;
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&shuffled).unwrap();
            let compressed = index_shard_bytes(&encoder.finish().unwrap()).unwrap();
            assert_eq!(summary(&first), summary(&compressed), "{round}");
            for (index, sample) in compressed.samples.iter().enumerate() {
                let name = sample.id.strip_prefix("memory.tar/").unwrap();
                assert_eq!(
                    compressed.read_bytes(index).unwrap(),
                    name.as_bytes(),
                    "{round}"
                );
            }
        }
    }
}

#[test]
fn lists() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for round in 0..40 {
        let mut files = random_files(&mut rng);
        files.retain(|(name, _)| name.ends_with(".jpg") || name.ends_with(".PNG"));
        let root = TempDir::new().unwrap();
        // A third of the images is missing.
        for (name, bytes) in files.iter().filter(|(name, _)| name.len() % 3 != 0) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let mut found = Vec::new();
        for _ in 0..2 {
            files.shuffle(&mut rng);
            let lines: Vec<String> = files
                .iter()
                .map(|(name, _)| format!("{name} {}", name.len()))
                .collect();
            let list = root.path().join("list.txt");
            fs::write(&list, lines.join("\n")).unwrap();
            found.push(Dataset::open(&list, &DatasetOptions::default()).ok());
        }
        assert_eq!(
            found[0].as_ref().map(summary),
            found[1].as_ref().map(summary),
            "{round}"
        );
        if let Some(dataset) = &found[0] {
            assert_eq!(counted(dataset), files.len(), "{round}");
            assert_sorted(dataset);
            for sample in &dataset.samples {
                let expected = sample.id.len().to_string();
                assert_eq!(sample.label, Some(expected.as_str()), "{round}");
            }
        }
    }
}
