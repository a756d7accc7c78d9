//! WebDataset shards: read in place, compressed, damaged, and what in them is not taken.

use tempfile::TempDir;
use ueo::data::{Dataset, SourceKind};

use super::{ids, labels, left_out, message, open, skipped, write};

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
