//! List files: their lines, splits in JSON and tables.

use tempfile::TempDir;
use ueo::data::{DataError, Dataset, DatasetOptions, SkipReason, SourceKind};

use super::{ids, labels, message, open, skipped, write};

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
