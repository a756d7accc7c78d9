//! Class lists: what is accepted, what is refused and how, and which class a label means.

use std::fs;

use tempfile::TempDir;
use ueo::data::{ClassList, ClassMatch, DataError, Dataset, DatasetOptions, resolve_labels};

fn read(bytes: impl AsRef<[u8]>) -> Result<ClassList, DataError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("classes.txt");
    fs::write(&path, bytes).unwrap();
    ClassList::read(&path)
}

/// The message, without the folder.
fn message(bytes: impl AsRef<[u8]>) -> String {
    let error = read(bytes).unwrap_err();
    assert!(!error.hint().is_empty());
    let text = error.to_string();
    let at = text.find("classes.txt").unwrap();
    let start = text[..at].rfind(' ').map_or(0, |space| space + 1);
    format!("{}{}", &text[..start], &text[at..])
}

#[test]
fn byte_order_mark_line_ends_and_surrounding_space_are_tolerated() {
    let classes = read("\u{FEFF}alarm clock\r\n ice_cream \t\r\ncafé\r\n").unwrap();
    assert_eq!(classes.names(), ["alarm clock", "ice_cream", "café"]);
    assert_eq!(read("one\ntwo").unwrap().len(), 2);
}

#[test]
fn a_blank_line_is_named() {
    assert_eq!(
        message("cat\n \ndog\n"),
        "classes.txt:2: expected a class name, found a blank line"
    );
    assert_eq!(
        message("cat\n\n"),
        "classes.txt:2: expected a class name, found a blank line"
    );
}

#[test]
fn a_duplicate_is_named() {
    assert_eq!(
        message("cat\ndog\ncat\n"),
        "classes.txt:3: expected every class once, found \"cat\" again (first on line 1)"
    );
}

#[test]
fn names_that_clip_cannot_tell_apart_are_refused() {
    assert_eq!(
        message("ice_cream\ndog\nIce cream\n"),
        "classes.txt:3: expected classes that differ, found \"Ice cream\", which CLIP reads like \"ice_cream\" on line 1 \
         (it takes underscores as spaces and ignores case)"
    );
}

#[test]
fn an_empty_file() {
    assert_eq!(
        message(""),
        "expected one class name per line in classes.txt, found an empty file"
    );
}

#[test]
fn other_encodings_are_named_with_line_and_byte() {
    assert_eq!(
        message(b"cat\ncaf\xe9\n"),
        "classes.txt:2: expected UTF-8 text, found 0xe9 (Latin-1, Windows-1252 or another encoding?) at byte 7 of the file"
    );
    assert_eq!(
        message(b"\xff\xfec\0a\0t\0"),
        "classes.txt:1: expected UTF-8 text, found UTF-16 (its byte order mark) at byte 0 of the file"
    );
    assert_eq!(
        message(b"c\0a\0t\0"),
        "classes.txt:1: expected UTF-8 text, found a zero byte (UTF-16, or not text) at byte 1 of the file"
    );
}

use ClassMatch::{Known, Unknown};

#[test]
fn folder_names_are_classes_also_with_underscores_and_spaces_exchanged() {
    let root = TempDir::new().unwrap();
    for name in [
        "alarm clock/1.jpg",
        "ice_cream/1.jpg",
        "zebra/1.jpg",
        "Dog/1.jpg",
        "0/1.jpg",
        "top.jpg",
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let dataset = Dataset::open(root.path(), &DatasetOptions::default()).unwrap();
    let classes = read("ice cream\nalarm_clock\ndog\n").unwrap();
    // Order of the samples: 0, Dog, alarm clock, ice_cream, top.jpg, zebra. A folder's name is never a position.
    assert_eq!(
        resolve_labels(&dataset, &classes),
        [
            Some(Unknown),
            Some(Unknown),
            Some(Known(1)),
            Some(Known(0)),
            None,
            Some(Unknown)
        ]
    );
}

fn list(lines: &[&str]) -> Dataset {
    let root = TempDir::new().unwrap();
    for number in 0..lines.len() {
        fs::write(root.path().join(format!("{number}.jpg")), "x").unwrap();
    }
    let text: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(number, label)| format!("{number}.jpg {label}"))
        .collect();
    let path = root.path().join("list.txt");
    fs::write(&path, text.join("\n")).unwrap();
    Dataset::open(&path, &DatasetOptions::default()).unwrap()
}

#[test]
fn integers_of_a_list_are_positions_when_all_labels_are_integers() {
    let classes = read("cat\ndog\n").unwrap();
    assert_eq!(
        resolve_labels(&list(&["1", "0", "344", ""]), &classes),
        [Some(Known(1)), Some(Known(0)), Some(Unknown), None]
    );
    assert_eq!(
        resolve_labels(&list(&["1", "cat"]), &classes),
        [Some(Unknown), Some(Known(0))]
    );
    // Digits as class names win over positions.
    let digits = read("7\n1\n").unwrap();
    assert_eq!(
        resolve_labels(&list(&["1", "7", "0"]), &digits),
        [Some(Known(1)), Some(Known(0)), Some(Unknown)]
    );
}
