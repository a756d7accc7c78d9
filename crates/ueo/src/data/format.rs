//! Which files are images, which are archives, and what the others are called. Of images, [`ImageFormat`] knows.

use std::path::Path;

use crate::image_format::ImageFormat;

/// Extensions of shards: tar archives, plain or compressed by gzip.
const SHARD_EXTENSIONS: [&str; 2] = ["tar", "tgz"];

/// Archives that are not read, by extension.
const UNREAD_ARCHIVES: [(&str, &[&str]); 7] = [
    ("ZIP", &["zip"]),
    ("7z", &["7z"]),
    ("RAR", &["rar"]),
    ("zstd-compressed", &["zst", "tzst"]),
    ("bzip2-compressed", &["bz2", "tbz", "tbz2"]),
    ("xz-compressed", &["xz", "txz"]),
    ("LZ4-compressed", &["lz4"]),
];

/// What a file is, by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An image that is read.
    Image,
    /// A picture of a format that is not read; its name.
    UnreadImage(&'static str),
    /// A tar archive, plain or compressed by gzip.
    Shard,
    /// A Parquet file, which may have a column of images.
    Rows,
    /// An archive that is not read; its name.
    UnreadArchive(&'static str),
    /// Anything else.
    Other,
}

impl FileKind {
    /// The kind of a file with this name, in any case.
    pub(super) fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.and_then(ImageFormat::from_extension) {
            Some(format) if format.is_read() => return Self::Image,
            Some(format) => return Self::UnreadImage(format.name()),
            None => {}
        }
        let doubled = path.file_stem().map(Path::new);
        let is_tar_gz = has_extension(path, &["gz"])
            && doubled.is_some_and(|stem| has_extension(stem, &["tar"]));
        if is_tar_gz || has_extension(path, &SHARD_EXTENSIONS) {
            return Self::Shard;
        }
        if has_extension(path, &["parquet"]) {
            return Self::Rows;
        }
        let mut archives = UNREAD_ARCHIVES.iter();
        match archives.find(|(_, extensions)| has_extension(path, extensions)) {
            Some((name, _)) => Self::UnreadArchive(name),
            None => Self::Other,
        }
    }

    /// Whether a list may name such a file: a picture, whether it can be read or not.
    pub(super) fn is_picture(self) -> bool {
        matches!(self, Self::Image | Self::UnreadImage(_))
    }
}

/// Whether a path ends in one of these extensions, in any case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|found| {
            extensions
                .iter()
                .any(|known| found.eq_ignore_ascii_case(known))
        })
}

/// Whether a part of a path is hidden: a name that begins with a dot, such as `.ipynb_checkpoints` or macOS's `._x.jpg`,
/// or the folder `__MACOSX` that its archives carry.
pub(super) fn is_hidden(part: &[u8]) -> bool {
    part == b"__MACOSX" || (part.starts_with(b".") && part != b"." && part != b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_name() {
        let cases = [
            ("a/b.JPG", FileKind::Image),
            ("a.HEIC", FileKind::UnreadImage("HEIC")),
            ("a.jxl", FileKind::Image),
            ("a.psd", FileKind::UnreadImage("Photoshop")),
            ("x.tar", FileKind::Shard),
            ("x.TAR.GZ", FileKind::Shard),
            ("x.tgz", FileKind::Shard),
            ("train-00000-of-00004.parquet", FileKind::Rows),
            ("x.csv.gz", FileKind::Other),
            ("x.tar.zst", FileKind::UnreadArchive("zstd-compressed")),
            ("tar", FileKind::Other),
            ("x", FileKind::Other),
        ];
        for (name, kind) in cases {
            assert_eq!(FileKind::of(Path::new(name)), kind, "{name}");
        }
    }
}
