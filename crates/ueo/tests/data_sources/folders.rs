//! Folders: what is found in them, in which order, and what is left out.

use std::fs;

use tempfile::TempDir;
use ueo::data::LeftOutReason;
use ueo::image::ImageFormat;

use super::{ids, labels, left_out, message, open, skipped, write};

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
            "expected a folder, a list file, a .tar shard, a .parquet file or an image at ROOT/none, but it cannot be opened: "
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
    let unread = |name: &str, format: &str| {
        let read = ImageFormat::read_names();
        format!("apple/{name}: expected {read}, found {format}, which is not read")
    };
    assert_eq!(
        skipped(&dataset),
        [
            unread("IMG_1.HEIC", "HEIC"),
            unread("IMG_2.heif", "HEIC"),
            "apple/empty.png: expected an image, found an empty file".to_owned(),
            unread("x.avif", "AVIF"),
            unread("x.psd", "Photoshop"),
            unread("x.tga", "TGA"),
        ]
    );
    let expected = [
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
