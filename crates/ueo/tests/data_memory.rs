//! What a data set takes in memory. One test, because memory is the process's.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::fs;

use ueo::data::{ClassList, Dataset, DatasetOptions, LabelChoice, Labelling};

/// Folders, of which every pair leads to the image by a path of its own.
const FOLDERS: usize = 450;
/// What an image may take beside its path, in bytes; docs/scale.md.
const LIMIT: u64 = 200;

fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_image_of_a_long_list_takes_less_than_200_bytes_beside_its_path() {
    let place = tempfile::tempdir().unwrap();
    let mut list = String::new();
    for folder in 0..FOLDERS {
        fs::create_dir(place.path().join(format!("folder-{folder:04}"))).unwrap();
        for other in 0..FOLDERS {
            let name = format!("folder-{folder:04}/../folder-{other:04}/../image.png");
            writeln!(list, "{name}\tclass {}", other % 100).unwrap();
        }
    }
    let images = (FOLDERS * FOLDERS) as u64;
    let path_bytes = list
        .lines()
        .map(|line| line.split('\t').next().unwrap().len() as u64);
    let path_bytes = path_bytes.sum::<u64>();
    fs::write(place.path().join("image.png"), b"png").unwrap();
    let path = place.path().join("list.txt");
    fs::write(&path, list).unwrap();

    let before = status_kib("VmRSS");
    let dataset = Dataset::open(&path, &DatasetOptions::default()).unwrap();
    let classes = (0..100).map(|class| format!("class {class}")).collect();
    let classes = ClassList::from_names(classes);
    let labelling = Labelling::of(&dataset, &classes, LabelChoice::Auto).unwrap();
    let taken = (status_kib("VmHWM") - before) << 10;
    assert_eq!(
        (dataset.len() as u64, labelling.labelled() as u64),
        (images, images)
    );
    let each = taken.saturating_sub(path_bytes) / images;
    assert!(
        each < LIMIT,
        "{each} bytes beside paths of {}",
        path_bytes / images
    );
    // What is measured is the data set, and not what was free before.
    assert!(taken > path_bytes, "{taken} bytes");
}
