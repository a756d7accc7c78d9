//! WebDataset shards as a data set: images and labels of tar archives. Plain archives are indexed once and read in place;
//! of those that gzip compressed, the images are copied to a temporary file ([`Spool`] says why).
//!
//! Members with the same name up to the first dot of the file name belong together: `0001.jpg` is labelled by
//! `0001.cls` (its text) or by `label`, `class` or `cls` of `0001.json`. More may stand before those extensions, as in
//! `0001.input.jpg` and `0001.output.cls`.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::dataset::{MAX_ENCODED_BYTES, id_of, open_error, text_of_bytes};
use super::format::{FileKind, is_hidden};
use super::interner::HashIndex;
use super::samples::{NewSample, Store, StoreId};
use super::spool::SpoolError;
use super::tar_reader::{
    ArchiveSource, BLOCK_BYTES, Member, MemberKind, PlainSource, StreamSource, TarReader,
};
use super::{DataError, Dataset, LeftOutReason, SkipReason, SourceKind, Spool};

/// Longest label entry that is read, in bytes. Descriptions of images are longer than labels, and may hold one.
const MAX_LABEL_ENTRY_BYTES: u64 = 1 << 20;

/// Longest label, in characters; longer texts are captions or something else.
const MAX_LABEL_CHARS: usize = 300;

/// Most bytes of names and labels that are kept of an archive.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// Bytes that any compressed shard may unpack to, and how often its own length beyond that. Images are compressed already;
/// what unpacks to more is not worth the time.
const UNPACKED_BYTES: u64 = 64 << 20;
const UNPACKED_RATIO: u64 = 100;

/// A single shard.
pub(super) fn open(archive: &Path) -> Result<Dataset, DataError> {
    let root = archive.parent().unwrap_or(Path::new(""));
    let dataset = Dataset::empty(root, SourceKind::Shards);
    open_all(dataset, vec![archive.to_path_buf()])
}

/// Adds the members of all archives to a data set without samples.
pub(super) fn open_all(
    mut dataset: Dataset,
    mut archives: Vec<PathBuf>,
) -> Result<Dataset, DataError> {
    dataset.kind = SourceKind::Shards;
    archives.sort();
    let mut spool: SpoolOf = None;
    for path in &archives {
        let file = File::open(path).map_err(|error| open_error(path, &error))?;
        let length = file
            .metadata()
            .map_err(|error| open_error(path, &error))?
            .len();
        let id = id_of(path.strip_prefix(&dataset.root).unwrap_or(path));
        index(&mut dataset, Archive { path, id }, file, length, &mut spool)?;
    }
    Ok(dataset)
}

/// The data set of one shard's bytes, which are a file's in every other use; for tests with bytes that were made up.
///
/// # Errors
/// As [`Dataset::open`] has for a shard. Images of a plain archive cannot be read, because they are nowhere.
pub fn index_shard_bytes(bytes: &[u8]) -> Result<Dataset, DataError> {
    let mut dataset = Dataset::empty(Path::new(""), SourceKind::Shards);
    let path = Path::new("memory.tar");
    let archive = Archive {
        path,
        id: id_of(path),
    };
    index(
        &mut dataset,
        archive,
        Cursor::new(bytes),
        bytes.len() as u64,
        &mut None,
    )?;
    dataset.sort();
    Ok(dataset)
}

/// The temporary file of all compressed archives, once there is one.
type SpoolOf = Option<(StoreId, Arc<Spool>)>;

struct Archive<'a> {
    path: &'a Path,
    id: String,
}

fn index<R: Read + Seek>(
    dataset: &mut Dataset,
    archive: Archive<'_>,
    mut bytes: R,
    length: u64,
    spool: &mut SpoolOf,
) -> Result<(), DataError> {
    let path = archive.path;
    let compression = recognize(&mut bytes, path)?;
    bytes
        .seek(SeekFrom::Start(0))
        .map_err(|error| open_error(path, &error))?;
    match compression {
        Compression::None => {
            let reader = TarReader::new(PlainSource::new(bytes, length));
            let store = dataset.samples.add_store(Store::Tar(path.to_path_buf()));
            ShardIndex::new(dataset, archive, reader, (store, None)).run()
        }
        Compression::Gzip => {
            let (store, spool) = match spool {
                Some(spool) => spool,
                None => {
                    let created = Spool::create().map_err(|error| spool_error(path, &error))?;
                    let created = Arc::new(created);
                    let store = Store::Spool(Arc::clone(&created));
                    spool.insert((dataset.samples.add_store(store), created))
                }
            };
            let allowance = UNPACKED_BYTES.saturating_add(length.saturating_mul(UNPACKED_RATIO));
            let unpacked = BufReader::new(MultiGzDecoder::new(BufReader::new(bytes)));
            let reader = TarReader::new(StreamSource::new(unpacked, allowance));
            let store = (*store, Some(Arc::clone(spool)));
            ShardIndex::new(dataset, archive, reader, store).run()
        }
    }
}

enum Compression {
    None,
    Gzip,
}

/// A first look, because any other file would only appear as an empty or damaged tar.
fn recognize(bytes: &mut impl Read, path: &Path) -> Result<Compression, DataError> {
    let mut start = Vec::with_capacity(BLOCK_BYTES);
    bytes
        .take(BLOCK_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(|error| open_error(path, &error))?;
    let found = match start.as_slice() {
        [] => "an empty file",
        [0x1F, 0x8B, ..] => return Ok(Compression::Gzip),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd-compressed data",
        [b'B', b'Z', b'h', ..] => "bzip2-compressed data",
        [0xFD, b'7', b'z', b'X', b'Z', ..] => "xz-compressed data",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "a ZIP archive",
        [b'7', b'z', 0xBC, 0xAF, ..] => "a 7z archive",
        [b'R', b'a', b'r', b'!', ..] => "a RAR archive",
        start if start.len() < BLOCK_BYTES => "a file shorter than one tar block",
        _ => return Ok(Compression::None),
    };
    Err(DataError::Shard {
        path: path.to_path_buf(),
        found: found.into(),
    })
}

fn spool_error(path: &Path, error: &std::io::Error) -> DataError {
    DataError::Unpack {
        path: path.to_path_buf(),
        folder: std::env::temp_dir(),
        reason: error.to_string(),
    }
}

/// A label entry, until all images of the archive are known.
struct LabelEntry {
    id: Box<str>,
    /// Length of the part of the name that it shares with its image.
    key_length: usize,
    /// `cls` before `json`, and short extensions before longer ones.
    rank: (bool, usize),
    label: Option<Box<str>>,
}

struct ShardIndex<'a, S> {
    dataset: &'a mut Dataset,
    archive: Archive<'a>,
    reader: TarReader<S>,
    store: StoreId,
    /// Where images are copied to, unless they can be read where they are.
    spool: Option<Arc<Spool>>,
    seen: HashIndex,
    labels: Vec<LabelEntry>,
    first_sample: usize,
    kept_bytes: usize,
}

/// Whether the archive is read on.
enum Next {
    Member,
    Stop,
}

impl<'a, S: ArchiveSource> ShardIndex<'a, S> {
    fn new(
        dataset: &'a mut Dataset,
        archive: Archive<'a>,
        reader: TarReader<S>,
        (store, spool): (StoreId, Option<Arc<Spool>>),
    ) -> Self {
        let first_sample = dataset.samples.len();
        Self {
            dataset,
            archive,
            reader,
            store,
            spool,
            seen: HashIndex::default(),
            labels: Vec::new(),
            first_sample,
            kept_bytes: 0,
        }
    }

    fn run(mut self) -> Result<(), DataError> {
        loop {
            match self.reader.next_member() {
                Ok(Some(member)) => {
                    if let Next::Stop = self.take(&member)? {
                        break;
                    }
                }
                Ok(None) => {
                    if self.reader.has_more_after_end() {
                        self.skip_rest("something follows it (are these several archives in one?)");
                    }
                    break;
                }
                Err(reason) => {
                    self.skip_rest(reason);
                    break;
                }
            }
        }
        self.join_labels();
        Ok(())
    }

    fn take(&mut self, member: &Member) -> Result<Next, DataError> {
        if member.kind == MemberKind::Folder {
            return Ok(Next::Member);
        }
        let parts: Vec<&[u8]> = member
            .name
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        let name = text_of_bytes(&parts.join(&b'/'));
        let id = format!("{}/{name}", self.archive.id);
        self.kept_bytes += id.len();
        if self.kept_bytes > MAX_KEPT_BYTES {
            self.skip_rest(format!(
                "its names and labels take more than {MAX_KEPT_BYTES} bytes"
            ));
            return Ok(Next::Stop);
        }
        let path = Path::new(&name);
        let left_out = &mut self.dataset.left_out;
        let (file, folders) = parts.split_last().unwrap_or((&(b"" as &[u8]), &[]));
        if folders.iter().any(|folder| is_hidden(folder)) {
            left_out.add(LeftOutReason::HiddenFolder, &id);
        } else if is_hidden(file) {
            left_out.add(LeftOutReason::HiddenFile, &id);
        } else if member.kind == MemberKind::Link {
            left_out.add(LeftOutReason::ArchiveLink, &id);
        } else if member.kind == MemberKind::Special {
            left_out.add(LeftOutReason::ArchiveSpecial, &id);
        } else if let Some((key, rank)) = label_key(&name) {
            let key_length = key.len();
            return self.take_label(member, id, key_length, rank);
        } else {
            match FileKind::of(path) {
                FileKind::Image => {
                    let leaves_tree = parts.iter().any(|part| *part == b"..");
                    return self.take_image(member, id, leaves_tree);
                }
                FileKind::UnreadImage(format) => {
                    self.dataset.skip(id, SkipReason::UnreadFormat { format });
                }
                kind => left_out.add(LeftOutReason::of_member(path, kind), &id),
            }
        }
        Ok(Next::Member)
    }

    fn take_image(
        &mut self,
        member: &Member,
        id: String,
        leaves_tree: bool,
    ) -> Result<Next, DataError> {
        let length = member.length;
        let reason = if leaves_tree {
            Some(SkipReason::OutsideArchive)
        } else if member.kind == MemberKind::Sparse {
            Some(SkipReason::SparseMember)
        } else if length == 0 {
            Some(SkipReason::Empty)
        } else if length > MAX_ENCODED_BYTES {
            Some(SkipReason::TooLarge { length })
        } else if self.is_again(&id) {
            Some(SkipReason::DuplicateMember)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.dataset.skip(id, reason);
            return Ok(Next::Member);
        }
        match self.locate(member)? {
            Ok(offset) => {
                self.dataset.samples.push(&NewSample {
                    id: &id,
                    label: None,
                    store: self.store,
                    offset,
                    length,
                });
                Ok(Next::Member)
            }
            Err(reason) => {
                self.dataset.skip(id, reason);
                Ok(Next::Stop)
            }
        }
    }

    /// Whether an image of this name came before; from now on one did. Who calls takes the image or reads no other.
    fn is_again(&mut self, id: &str) -> bool {
        let samples = &self.dataset.samples;
        let next = samples.len() as u32;
        let is_it = |index: u32| samples.id(index as usize) == id;
        self.seen.find_or_insert(id, next, is_it) != next
    }

    /// Where an image's bytes begin where they can be read later, or why they cannot, nor anything behind them.
    fn locate(&mut self, member: &Member) -> Result<Result<u64, SkipReason>, DataError> {
        let length = member.length;
        let (offset, found) = match &self.spool {
            None => (member.offset, self.reader.remaining().unwrap_or(length)),
            Some(spool) => match spool.append(&mut self.reader.content(), length) {
                Ok(copied) => copied,
                Err(SpoolError::Read(error)) => {
                    return Ok(Err(SkipReason::DamagedArchive {
                        reason: error.to_string(),
                    }));
                }
                Err(SpoolError::Write(error)) => {
                    return Err(spool_error(self.archive.path, &error));
                }
            },
        };
        Ok(if found < length {
            Err(SkipReason::TruncatedMember {
                expected: length,
                found,
            })
        } else {
            Ok(offset)
        })
    }

    fn take_label(
        &mut self,
        member: &Member,
        id: String,
        key_length: usize,
        rank: (bool, usize),
    ) -> Result<Next, DataError> {
        let is_readable = member.kind == MemberKind::File && member.length <= MAX_LABEL_ENTRY_BYTES;
        let label = if is_readable {
            match self.reader.read(member.length) {
                Ok(bytes) => label_of(&bytes, rank.0),
                Err(error) => {
                    self.skip_rest(error.to_string());
                    return Ok(Next::Stop);
                }
            }
        } else {
            None
        };
        self.kept_bytes += label.as_ref().map_or(0, String::len);
        self.labels.push(LabelEntry {
            id: id.into(),
            key_length,
            rank,
            label: label.map(Into::into),
        });
        Ok(Next::Member)
    }

    /// Labels may come after their images, so they are joined at the end.
    fn join_labels(self) {
        let archive = self.archive.id.len() + 1;
        let mut best: HashMap<&str, &LabelEntry> = HashMap::new();
        for entry in self.labels.iter().filter(|entry| entry.label.is_some()) {
            let key = &entry.id[archive..archive + entry.key_length];
            let chosen = best.entry(key).or_insert(entry);
            // Not the order of the archive decides between two of the same kind.
            if (entry.rank, &entry.id) < (chosen.rank, &chosen.id) {
                *chosen = entry;
            }
        }
        let mut used = HashSet::new();
        let samples = &mut self.dataset.samples;
        for index in self.first_sample..samples.len() {
            let key = key_of(&samples.id(index)[archive..]);
            if let Some((entry, label)) =
                key.and_then(|key| Some((*best.get(key)?, best.get(key)?.label.as_ref()?)))
            {
                samples.set_label(index, label);
                used.insert(std::ptr::from_ref(entry));
            }
        }
        for entry in &self.labels {
            if used.contains(&std::ptr::from_ref(entry)) {
                self.dataset.label_entries += 1;
            } else {
                self.dataset
                    .left_out
                    .add(LeftOutReason::UnusedLabel, &entry.id);
            }
        }
    }

    fn skip_rest(&mut self, reason: impl Into<String>) {
        let reason = SkipReason::DamagedArchive {
            reason: reason.into(),
        };
        self.dataset.skip(self.archive.id.clone(), reason);
    }
}

/// The name of a member up to the first dot of its file name, when there is one.
fn key_of(name: &str) -> Option<&str> {
    let file_start = name.rfind('/').map_or(0, |at| at + 1);
    let dot = file_start + name[file_start..].find('.')?;
    (dot > file_start).then(|| &name[..dot])
}

/// The key of a label entry, whether it is JSON, and the length of its extension.
fn label_key(name: &str) -> Option<(&str, (bool, usize))> {
    let key = key_of(name)?;
    let extension = &name[key.len() + 1..];
    let last = extension.rsplit('.').next()?;
    let is_json = last.eq_ignore_ascii_case("json");
    (is_json || last.eq_ignore_ascii_case("cls")).then_some((key, (is_json, extension.len())))
}

fn label_of(bytes: &[u8], is_json: bool) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let label = if is_json {
        json_label(text)?
    } else {
        text.trim().to_owned()
    };
    let is_label = !label.is_empty() && label.chars().count() <= MAX_LABEL_CHARS;
    is_label.then_some(label)
}

fn json_label(text: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    ["label", "class", "cls"]
        .iter()
        .find_map(|key| match object.get(key)? {
            serde_json::Value::String(label) => Some(label.trim().to_owned()),
            serde_json::Value::Number(label) => Some(label.to_string()),
            _ => None,
        })
}
