//! The three kinds of data sets: what is found, in which order, with which labels, and what is said when it is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ueo::data::{DataError, Dataset, DatasetOptions, SkipReason, SourceKind};

fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn open(spec: &Path) -> Result<Dataset, DataError> {
    Dataset::open(spec, &DatasetOptions::default())
}

fn ids(dataset: &Dataset) -> Vec<&str> {
    dataset
        .samples
        .iter()
        .map(|sample| sample.id.as_str())
        .collect()
}

fn labels(dataset: &Dataset) -> Vec<Option<&str>> {
    dataset
        .samples
        .iter()
        .map(|sample| sample.label.as_deref())
        .collect()
}

/// The message, without the folder's random name.
fn message(error: &DataError, root: &Path) -> String {
    assert!(!error.hint().is_empty());
    error
        .to_string()
        .replace(&root.display().to_string(), "ROOT")
}

fn skipped(dataset: &Dataset) -> Vec<String> {
    dataset
        .skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.id, skipped.reason))
        .collect()
}

#[test]
fn a_tree_is_sorted_by_path_bytes_and_labelled_by_its_first_level() {
    let root = TempDir::new().unwrap();
    for name in [
        "b/2.JPG",
        "b/10.jpeg",
        "b-c/1.png",
        "Z/deep/er/1.webp",
        "top.gif",
        "b/notes.txt",
        "b/readme",
        ".hidden/1.png",
        "b/._2.jpg",
    ] {
        write(root.path(), name, name);
    }
    let dataset = open(root.path()).unwrap();
    assert_eq!(
        ids(&dataset),
        [
            "Z/deep/er/1.webp",
            "b-c/1.png",
            "b/10.jpeg",
            "b/2.JPG",
            "top.gif"
        ]
    );
    assert_eq!(
        labels(&dataset),
        [Some("Z"), Some("b-c"), Some("b"), Some("b"), None]
    );
    assert_eq!(dataset.read_bytes(3).unwrap(), b"b/2.JPG");
    let ignored: Vec<_> = dataset
        .ignored
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    assert_eq!(ignored, [("", 1), (".", 2), ("txt", 1)]);
    assert_eq!(dataset.skipped, []);
}

#[test]
fn a_single_image_is_a_data_set_of_one() {
    let root = TempDir::new().unwrap();
    let path = write(root.path(), "one.jpg", "x");
    assert_eq!(ids(&open(&path).unwrap()), ["one.jpg"]);
}

#[test]
fn a_folder_without_images() {
    let root = TempDir::new().unwrap();
    write(root.path(), "notes.txt", "x");
    assert_eq!(
        message(&open(root.path()).unwrap_err(), root.path()),
        "expected images in ROOT, found none (0 skipped, 1 files with other extensions)"
    );
}

#[test]
fn a_path_that_does_not_exist() {
    let root = TempDir::new().unwrap();
    let text = message(&open(&root.path().join("none")).unwrap_err(), root.path());
    assert!(
        text.starts_with(
            "expected a folder, a list file or a .tar shard at ROOT/none, but it cannot be opened: "
        ),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn symbolic_links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let root = TempDir::new().unwrap();
    write(root.path(), "a/1.png", "x");
    symlink(root.path().join("a"), root.path().join("b")).unwrap();
    symlink(root.path(), root.path().join("a/back")).unwrap();
    let dataset = open(root.path()).unwrap();
    assert_eq!(ids(&dataset), ["a/1.png", "b/1.png"]);
    let text = skipped(&dataset);
    assert!(
        text.contains(
            &"a/back: expected a folder tree, found a symbolic link back to the images' root"
                .into()
        ),
        "{text:?}"
    );
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_is_skipped_with_the_reason() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let root = TempDir::new().unwrap();
    write(root.path(), "a/1.png", "x");
    symlink("nowhere.png", root.path().join("a/broken.png")).unwrap();
    // A link to itself cannot be opened by anybody, the superuser included.
    symlink("self", root.path().join("self")).unwrap();
    let closed = root.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let superuser = fs::read_dir(&closed).is_ok();
    let dataset = open(root.path()).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();

    assert_eq!(ids(&dataset), ["a/1.png"]);
    let mut expected = vec!["a/broken.png", "closed", "self"];
    expected.retain(|id| !(superuser && *id == "closed"));
    let found: Vec<_> = dataset
        .skipped
        .iter()
        .map(|skipped| skipped.id.as_str())
        .collect();
    assert_eq!(found, expected);
    for text in skipped(&dataset) {
        assert!(
            text.contains(": expected to be able to read it, but "),
            "{text}"
        );
    }
}

#[test]
fn a_list_with_integer_labels_spaces_and_comments() {
    let root = TempDir::new().unwrap();
    for name in [
        "clipart/aircraft_carrier/x.jpg",
        "clipart/zebra/my cat.png",
        "clipart/a.jpg",
    ] {
        write(root.path(), name, name);
    }
    let list = write(
        root.path(),
        "lists/train.txt",
        "\u{FEFF}# DomainNet\r\nclipart/zebra/my cat.png 344\r\n\r\nclipart/aircraft_carrier/x.jpg 0\r\n./clipart/a.jpg\r\nclipart/gone.jpg 7\n",
    );
    let options = DatasetOptions {
        image_root: Some(root.path().to_path_buf()),
    };
    let dataset = Dataset::open(&list, &options).unwrap();
    assert_eq!(dataset.kind, SourceKind::List);
    assert_eq!(
        ids(&dataset),
        [
            "clipart/a.jpg",
            "clipart/aircraft_carrier/x.jpg",
            "clipart/zebra/my cat.png"
        ]
    );
    assert_eq!(labels(&dataset), [None, Some("0"), Some("344")]);
    assert_eq!(dataset.skipped[0].id, "clipart/gone.jpg");
    assert!(matches!(
        dataset.skipped[0].reason,
        SkipReason::Missing { .. }
    ));

    // Without the option the paths are relative to the list's folder, where none of these is.
    let text = message(&open(&list).unwrap_err(), root.path());
    assert_eq!(
        text,
        "expected images in ROOT/lists/train.txt, found none (4 skipped, 0 files with other extensions); \
         first skipped: clipart/a.jpg: expected a file, found nothing at ROOT/lists/./clipart/a.jpg"
    );
}

#[test]
fn list_lines_that_are_wrong() {
    let root = TempDir::new().unwrap();
    write(root.path(), "a.jpg", "x");
    let list = write(root.path(), "twice.txt", "a.jpg 0\n\n./a.jpg 1\n");
    assert_eq!(
        message(&open(&list).unwrap_err(), root.path()),
        "ROOT/twice.txt:3: expected every image once, found \"a.jpg\" again (first on line 1)"
    );
    let list = write(root.path(), "odd.txt", "a.jpg\nwhat is this\n");
    assert_eq!(
        message(&open(&list).unwrap_err(), root.path()),
        "ROOT/odd.txt:2: expected `path` or `path label`, found \"what is this\""
    );
    let list = write(root.path(), "latin.txt", b"a.jpg\ncaf\xe9.jpg\n");
    assert_eq!(
        message(&open(&list).unwrap_err(), root.path()),
        "ROOT/latin.txt:2: expected UTF-8 text, found 0xe9 (Latin-1, Windows-1252 or another encoding?) at byte 9 of the file"
    );
}

fn tar_bytes(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_shard_is_read_in_place() {
    let root = TempDir::new().unwrap();
    let long = format!("{}/long.png", "d".repeat(120));
    let shard = write(
        root.path(),
        "00.tar",
        tar_bytes(&[
            ("0002.cls", b"zebra\n"),
            ("./0002.jpg", b"second image"),
            ("0001.JPG", b"first image"),
            ("0001.json", br#"{"label": 7, "caption": "x"}"#),
            ("0001.txt", b"a caption"),
            ("0003.png", b"third"),
            ("0003.png", b"again"),
            (&long, b"long name"),
        ]),
    );
    let dataset = open(&shard).unwrap();
    assert_eq!(dataset.kind, SourceKind::Shards);
    let long_id = format!("00.tar/{long}");
    assert_eq!(
        ids(&dataset),
        [
            "00.tar/0001.JPG",
            "00.tar/0002.jpg",
            "00.tar/0003.png",
            &long_id
        ]
    );
    assert_eq!(labels(&dataset), [Some("7"), Some("zebra"), None, None]);
    let read: Vec<_> = (0..4)
        .map(|index| dataset.read_bytes(index).unwrap())
        .collect();
    assert_eq!(
        read,
        [&b"first image"[..], b"second image", b"third", b"long name"]
    );
    assert_eq!(
        skipped(&dataset),
        ["00.tar/0003.png: expected every name once in the archive, found it again"]
    );
    assert_eq!(dataset.ignored["txt"], 1);
}

#[test]
fn a_folder_of_shards_keeps_labels_apart() {
    let root = TempDir::new().unwrap();
    write(
        root.path(),
        "b.tar",
        tar_bytes(&[("1.png", b"b1"), ("1.cls", b"dog")]),
    );
    write(
        root.path(),
        "a.tar",
        tar_bytes(&[("1.png", b"a1"), ("1.cls", b"cat")]),
    );
    let dataset = open(root.path()).unwrap();
    assert_eq!(ids(&dataset), ["a.tar/1.png", "b.tar/1.png"]);
    assert_eq!(labels(&dataset), [Some("cat"), Some("dog")]);
    assert_eq!(dataset.read_bytes(1).unwrap(), b"b1");
    assert!(dataset.ignored.is_empty());
}

#[test]
fn damaged_shards() {
    let root = TempDir::new().unwrap();
    let whole = tar_bytes(&[("1.png", &[1; 100]), ("2.png", &[2; 3000])]);
    // Header and block of the first member, header of the second, 1,000 of its bytes.
    let cut = write(root.path(), "cut.tar", &whole[..3 * 512 + 1000]);
    let dataset = open(&cut).unwrap();
    assert_eq!(ids(&dataset), ["cut.tar/1.png"]);
    let text = skipped(&dataset).join("\n");
    assert!(
        text.contains(
            "cut.tar/2.png: expected 3000 bytes in the archive, found its end after 1000"
        ),
        "{text}"
    );

    let gzip = write(root.path(), "gzip.tar", b"\x1f\x8b\x08\0\0\0");
    assert_eq!(
        message(&open(&gzip).unwrap_err(), root.path()),
        "expected an uncompressed tar archive at ROOT/gzip.tar, found gzip-compressed data"
    );
    let noise = write(root.path(), "noise.tar", vec![7; 5000]);
    let text = message(&open(&noise).unwrap_err(), root.path());
    assert!(
        text.starts_with(
            "expected images in ROOT/noise.tar, found none (1 skipped, 0 files with other extensions); first skipped: \
             noise.tar: expected another archive entry or the archive's end, but "
        ),
        "{text}"
    );
}
