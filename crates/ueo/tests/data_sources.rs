//! The three kinds of data sets: what is found, in which order, with which labels, and what is said when it is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ueo::data::{DataError, Dataset, DatasetOptions, LeftOutReason, SkipReason, SourceKind};

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
    dataset.samples.iter().map(|sample| sample.id).collect()
}

fn labels(dataset: &Dataset) -> Vec<Option<&str>> {
    dataset.samples.iter().map(|sample| sample.label).collect()
}

/// The message, without the folder's random name.
fn message(error: &DataError, root: &Path) -> String {
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

/// Number of files, reason and examples.
fn left_out(dataset: &Dataset) -> Vec<(usize, String)> {
    dataset
        .left_out
        .counts()
        .into_iter()
        .map(|count| {
            (
                count.files,
                format!("{}: {}", count.reason, count.examples.join(", ")),
            )
        })
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
    assert_eq!(
        left_out(&dataset),
        [
            (1, "hidden file: b/._2.jpg".into()),
            (1, "file in a hidden folder: .hidden/1.png".into()),
            (1, "file without a known extension: b/readme".into()),
            (1, "file with the extension .txt: b/notes.txt".into()),
        ]
    );
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
        "expected images in ROOT, found none (0 skipped, 1 left out: 1 x file with the extension .txt)"
    );
}

#[test]
fn a_path_that_does_not_exist() {
    let root = TempDir::new().unwrap();
    let text = message(&open(&root.path().join("none")).unwrap_err(), root.path());
    assert!(
        text.starts_with(
            "expected a folder, a list file, a .tar shard or a .parquet file at ROOT/none, but it cannot be opened: "
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
        ..DatasetOptions::default()
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
        "expected images in ROOT/lists/train.txt, found none (4 skipped, 0 left out); \
         first skipped: clipart/a.jpg: expected a file, found nothing at ROOT/lists/clipart/a.jpg"
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
    assert_eq!(
        left_out(&dataset),
        [(1, "file with the extension .txt: 00.tar/0001.txt".into())]
    );
    assert_eq!(dataset.label_entries, 2);
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
    assert!(dataset.left_out.is_empty());
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

    let zstd = write(root.path(), "zstd.tar", b"\x28\xb5\x2f\xfd\0\0\0");
    assert_eq!(
        message(&open(&zstd).unwrap_err(), root.path()),
        "expected a tar archive at ROOT/zstd.tar, plain or compressed by gzip, found zstd-compressed data"
    );
    let noise = write(root.path(), "noise.tar", vec![7; 5000]);
    let text = message(&open(&noise).unwrap_err(), root.path());
    assert!(
        text.starts_with(
            "expected images in ROOT/noise.tar, found none (1 skipped, 0 left out); first skipped: \
             noise.tar: expected another archive entry or the archive's end, but "
        ),
        "{text}"
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What stands in a data set, whatever the shard's file is called.
fn contents(dataset: &Dataset) -> Vec<(String, Option<String>, Vec<u8>)> {
    let inside = |id: &str| id.split_once('/').unwrap().1.to_owned();
    (0..dataset.len())
        .map(|index| {
            let sample = dataset.samples.get(index).unwrap();
            let bytes = dataset.read_bytes(index).unwrap();
            (inside(sample.id), sample.label.map(str::to_owned), bytes)
        })
        .collect()
}

#[test]
fn a_compressed_shard_holds_what_the_plain_one_does() {
    let root = TempDir::new().unwrap();
    let large: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let plain = tar_bytes(&[
        ("b.jpg", &large),
        ("b.cls", b"dog"),
        ("a.jpg", b"first"),
        ("a.cls", b"cat"),
        ("notes.txt", &[7; 70_000]),
        ("c.jpg", b"last"),
    ]);
    let (head, tail) = plain.split_at(2_000);
    let files = [
        ("x.tar", plain.clone()),
        ("x.tar.gz", gzip(&plain)),
        ("x.TGZ", gzip(&plain)),
        // The contents tell, not the name; and several streams in one file are one.
        ("wrong.tgz", plain.clone()),
        ("wrong.tar", gzip(&plain)),
        ("members.tgz", [gzip(head), gzip(tail)].concat()),
    ];
    let sets = files.map(|(name, bytes)| open(&write(root.path(), name, bytes)).unwrap());
    assert_eq!(sets[0].len(), 3);
    for set in &sets {
        assert_eq!(contents(set), contents(&sets[0]), "{:?}", set.samples.id(0));
        assert_eq!((set.left_out.total(), set.label_entries), (1, 2));
        assert_eq!(set.skipped, []);
    }
    // All of them as one folder, read from several threads.
    let all = open(root.path()).unwrap();
    assert_eq!(all.len(), 18);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (all, large) = (&all, &large);
            scope.spawn(move || {
                for index in (0..all.len()).map(|index| (index * 7 + thread) % all.len()) {
                    let expected: &[u8] = match all.samples.id(index).rsplit('/').next() {
                        Some("a.jpg") => b"first",
                        Some("c.jpg") => b"last",
                        _ => large,
                    };
                    assert_eq!(all.read_bytes(index).unwrap(), expected);
                }
            });
        }
    });

    let cut = gzip(&plain);
    let cut = write(root.path(), "cut.tgz", &cut[..cut.len() / 2]);
    let text = message(&open(&cut).unwrap_err(), root.path());
    assert!(
        text.contains("(1 skipped, 0 left out); first skipped: cut.tgz/b.jpg: "),
        "{text}"
    );
}

#[test]
fn every_file_that_is_not_taken_is_counted_by_reason() {
    let root = TempDir::new().unwrap();
    for name in [
        "apple/1.png",
        "apple/IMG_1.HEIC",
        "apple/IMG_2.heif",
        "apple/x.avif",
        "apple/x.psd",
        "apple/x.tga",
        "apple/noextension",
        "apple/a.docx",
        "shard.tar",
        "old.tar.gz",
        "new.zip",
        ".git/config",
        ".git/objects/ab.png",
        ".DS_Store",
        "apple/._1.png",
        "__MACOSX/._1.png",
    ] {
        write(root.path(), name, "x");
    }
    write(root.path(), "apple/empty.png", "");
    let dataset = open(root.path()).unwrap();
    assert_eq!(ids(&dataset), ["apple/1.png"]);
    assert_eq!(
        skipped(&dataset),
        ["apple/empty.png: expected an image, found an empty file"]
    );
    let expected = [
        (1, "AVIF picture, a format that is not read: apple/x.avif"),
        (
            2,
            "HEIC picture, a format that is not read: apple/IMG_1.HEIC, apple/IMG_2.heif",
        ),
        (
            1,
            "Photoshop picture, a format that is not read: apple/x.psd",
        ),
        (1, "TGA picture, a format that is not read: apple/x.tga"),
        (2, "shard beside pictures: old.tar.gz, shard.tar"),
        (1, "ZIP archive, which is not read: new.zip"),
        (2, "hidden file: .DS_Store, apple/._1.png"),
        (
            3,
            "file in a hidden folder: .git/config, .git/objects/ab.png, __MACOSX/._1.png",
        ),
        (1, "file without a known extension: apple/noextension"),
        (1, "file with the extension .docx: apple/a.docx"),
    ];
    assert_eq!(
        left_out(&dataset),
        expected.map(|(files, text)| (files, text.to_owned()))
    );
    assert_eq!(dataset.left_out.files(&LeftOutReason::HiddenFile), 2);

    let heic = root.path().join("apple/IMG_1.HEIC");
    assert_eq!(
        message(&open(&heic).unwrap_err(), root.path()),
        "expected an image at ROOT/apple/IMG_1.HEIC, found the extension of HEIC, a format that is not read"
    );
}

#[test]
fn hidden_links_and_unused_members_of_a_shard_are_counted() {
    use tar::EntryType::{Block, Directory, Fifo, Regular, Symlink};
    let root = TempDir::new().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if kind == Symlink {
            header.set_link_name("../../etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    };
    add(Directory, "apple/", b"");
    add(Regular, "apple/a.input.png", b"picture");
    add(Regular, "apple/a.output.cls", b"apple");
    add(Regular, "apple/a.json", br#"{"label": "second choice"}"#);
    add(Regular, "b.cls", b"nothing to label");
    add(Regular, "c.json", br#"{"caption": "x"}"#);
    add(Regular, ".cache/x.png", b"hidden");
    add(Regular, ".cache/x.cls", b"apple");
    add(Regular, "._a.png", b"hidden");
    add(Symlink, "link.png", b"");
    add(Fifo, "pipe.png", b"");
    add(Block, "device", b"");
    add(Regular, "../../leaves.png", b"x");
    add(Regular, "/absolute.png", b"x");
    add(Regular, "empty.png", b"");
    add(Regular, "inner.tar", b"x");
    let shard = write(root.path(), "h.tar", builder.into_inner().unwrap());
    let dataset = open(&shard).unwrap();
    assert_eq!(
        ids(&dataset),
        ["h.tar/absolute.png", "h.tar/apple/a.input.png"]
    );
    assert_eq!(labels(&dataset), [None, Some("apple")]);
    assert_eq!(dataset.label_entries, 1);
    assert_eq!(
        skipped(&dataset),
        [
            "h.tar/../../leaves.png: expected a name inside the archive, found one with `..`",
            "h.tar/empty.png: expected an image, found an empty file",
        ]
    );
    let expected = [
        (1, "nested tar archive, which is not read: h.tar/inner.tar"),
        (1, "link inside an archive: h.tar/link.png"),
        (
            2,
            "special entry of an archive: h.tar/device, h.tar/pipe.png",
        ),
        (
            3,
            "label of no image: h.tar/apple/a.json, h.tar/b.cls, h.tar/c.json",
        ),
        (1, "hidden file: h.tar/._a.png"),
        (
            2,
            "file in a hidden folder: h.tar/.cache/x.cls, h.tar/.cache/x.png",
        ),
    ];
    assert_eq!(
        left_out(&dataset),
        expected.map(|(files, text)| (files, text.to_owned()))
    );
}

#[test]
fn coop_splits_are_lists_when_it_is_certain_which_is_meant() {
    let root = TempDir::new().unwrap();
    for name in ["a.jpg", "b.jpg"] {
        write(root.path(), name, name);
    }
    let images =
        r#"[["a.jpg", 0, "abyssinian"], ["b.jpg", 1, "beagle"], ["gone.jpg", 1, "beagle"]]"#;
    let one = write(
        root.path(),
        "split.json",
        format!(r#"{{"train": {images}, "val": []}}"#),
    );
    let dataset = open(&one).unwrap();
    assert_eq!(labels(&dataset), [Some("abyssinian"), Some("beagle")]);
    assert_eq!(skipped(&dataset).len(), 1);

    let more = r#"{"train": IMAGES, "val": IMAGES, "test": IMAGES}"#.replace("IMAGES", images);
    let more = write(root.path(), "split_zhou.json", more);
    let error = open(&more).unwrap_err();
    assert_eq!(
        message(&error, root.path()),
        "expected a list of images in ROOT/split_zhou.json, found several splits in one file, \"val\", \"test\" among them"
    );
    assert!(
        matches!(&error, DataError::Format { fix, .. } if fix.contains("jq -r '.test[]")),
        "{error:?}"
    );

    // A form that nobody knows is quoted by a line at most, with nothing that steers a terminal.
    let other = format!("{{\"images\": [\"\u{1b}[2J{}\"]}}", "x".repeat(500_000));
    let other = write(root.path(), "other.txt", other);
    let text = message(&open(&other).unwrap_err(), root.path());
    assert!(text.len() < 400 && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn tables_are_lists_with_the_columns_that_they_name() {
    let root = TempDir::new().unwrap();
    for name in ["a.jpg", "b, c.jpg", "d.jpg"] {
        write(root.path(), name, name);
    }
    let tables = [
        (
            "kaggle.csv",
            "filename,label\na.jpg,cat\n\"b, c.jpg\",dog\nd.jpg,\n",
        ),
        ("plain.csv", "a.jpg,cat\n\"b, c.jpg\",dog\nd.jpg,\n"),
        (
            "excel.csv",
            "\u{FEFF}Class;Image Path\r\ncat;a.jpg\r\ndog;b, c.jpg\r\n;d.jpg\r\n",
        ),
        (
            "tabs.tsv",
            "image\tsize\tcategory\na.jpg\t1\tcat\nb, c.jpg\t2\tdog\nd.jpg\t3\t\n",
        ),
    ];
    for (name, text) in tables {
        let dataset = open(&write(root.path(), name, text)).unwrap();
        assert_eq!(ids(&dataset), ["a.jpg", "b, c.jpg", "d.jpg"], "{name}");
        assert_eq!(labels(&dataset), [Some("cat"), Some("dog"), None], "{name}");
    }
    let odd = write(root.path(), "odd.csv", "what,where\n1,2\n");
    assert_eq!(
        message(&open(&odd).unwrap_err(), root.path()),
        "expected a list of images in ROOT/odd.csv, found a table whose first line, \"what,where\", does not say where \
         the paths are"
    );
}

#[test]
fn names_keep_their_control_characters_and_messages_escape_them() {
    let root = TempDir::new().unwrap();
    let list = write(
        root.path(),
        "bad\u{1b}[31m.txt",
        "x\u{1b}]0;title\u{7} and nothing else\n",
    );
    let text = message(&open(&list).unwrap_err(), root.path());
    assert_eq!(
        text,
        "ROOT/bad\\u{1b}[31m.txt:1: expected `path` or `path label`, found \"x\\u{1b}]0;title\\u{7} and nothing else\""
    );
    write(root.path(), "a\u{1b}[2J.png", "x");
    let dataset = open(root.path()).unwrap();
    assert_eq!(ids(&dataset), ["a\u{1b}[2J.png"]);
    assert_eq!(ueo::quote::whole(dataset.samples.id(0)), "a\\u{1b}[2J.png");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_stay_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = TempDir::new().unwrap();
    for name in [&b"\xe9.png"[..], b"\xe8.png"] {
        fs::write(root.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    assert_eq!(ids(&open(root.path()).unwrap()), ["\\xE8.png", "\\xE9.png"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    use std::os::unix::net::UnixListener;

    let place = tempfile::tempdir().unwrap();
    let _sockets = ["a.png", "b.tar"].map(|name| {
        let path = place.path().join(name);
        let socket = UnixListener::bind(&path).unwrap();
        // Opening a pipe would wait for ever.
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("another kind of entry"), "{error}");
        socket
    });
    let error = open(place.path()).unwrap_err().to_string();
    assert!(error.contains("2 skipped"), "{error}");
}
