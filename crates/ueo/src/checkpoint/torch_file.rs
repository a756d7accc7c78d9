//! Lists the tensors of a file that PyTorch wrote: `torch.save` and `torch.jit.save` archives, and the older stream.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use crate::quote;

use zip::{CompressionMethod, ZipArchive};

use super::CheckpointError;
use super::pickle::{Machine, Source, StorageRef, Value};
use super::saved_object::{Named, SavedObject};
use super::store::{StoredTensor, TensorStore};

/// First value of the stream format that PyTorch wrote before 1.6, as a pickle of its own.
const STREAM_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Entries that an archive may have: one for each storage, and a few more.
const MAX_ENTRIES: u64 = 100_000;
/// Where an archive's end record may be: behind it are at most 65,535 bytes of comment.
const TAIL_BYTES: u64 = 66_000;
const LOCATOR_MAGIC: &[u8] = b"PK\x06\x07";
const END_RECORD_MAGIC: &[u8] = b"PK\x06\x06";
const END_RECORD_BYTES: u64 = 56;
/// Places that look like a locator; an archive has one.
const MAX_LOCATORS: usize = 16;

/// A listed PyTorch file.
pub(super) struct TorchFile {
    pub store: TensorStore,
    /// Whether it is a TorchScript archive.
    pub script: bool,
    /// Whether a trainer wrote it: the tensors are under `state_dict` (or the like), with other things beside it.
    pub training_checkpoint: bool,
    /// What was chosen and what was left out, one sentence each.
    pub decisions: Vec<String>,
}

/// Reads a zip archive of `torch.save` or `torch.jit.save`.
pub(super) fn open_archive(
    mut file: impl Read + Seek,
    path: &Path,
) -> Result<TorchFile, CheckpointError> {
    refuse_many_entries(&mut file).map_err(|error| match error {
        Some(source) => CheckpointError::io("read", path)(source),
        None => CheckpointError::too_large(path, format!("{MAX_ENTRIES} entries")),
    })?;
    let damaged = |error: zip::result::ZipError| {
        CheckpointError::malformed(path, "a complete zip archive", error.to_string())
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .collect();
    let root = names
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .min_by_key(|root| root.len())
        .ok_or_else(|| {
            CheckpointError::unrecognized(
                path,
                "a PyTorch archive with `data.pkl`",
                "a zip archive without it",
            )
        })?
        .to_owned();
    let script = names.iter().any(|name| {
        name.strip_prefix(&root)
            .is_some_and(|rest| rest == "constants.pkl" || rest.starts_with("code/"))
    });
    if let Ok(mut entry) = archive.by_name(&format!("{root}byteorder")) {
        let mut order = String::new();
        (&mut entry)
            .take(16)
            .read_to_string(&mut order)
            .map_err(CheckpointError::io("read", path))?;
        if order != "little" {
            return Err(CheckpointError::unsupported(
                path,
                format!("the byte order `{}`", quote::name(&order)),
            ));
        }
    }
    let pickle = {
        let entry = archive
            .by_name(&format!("{root}data.pkl"))
            .map_err(damaged)?;
        Machine::new(script)
            .run(&mut Source::new(BufReader::new(entry)))
            .map_err(|error| error.at(path))?
    };
    let object = SavedObject::read(&pickle, path)?;

    let mut storages = HashMap::new();
    for (name, tensor) in &object.tensors {
        let key = &tensor.storage.key;
        if storages.contains_key(key) {
            continue;
        }
        let entry = archive
            .by_name(&format!("{root}data/{key}"))
            .map_err(damaged)?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(CheckpointError::unsupported(
                path,
                "a compressed PyTorch archive (PyTorch itself never compresses)",
            ));
        }
        let start = entry.data_start().ok_or_else(|| {
            CheckpointError::malformed(
                path,
                format!("the place of `{}`", quote::name(name)),
                "no such entry",
            )
        })?;
        let bytes = entry.size();
        storages.insert(Rc::clone(key), StoragePlace { start, bytes });
    }
    Ok(TorchFile {
        store: TensorStore::single(path, place(object.tensors, &storages, path)?),
        script,
        training_checkpoint: object.wrapped,
        decisions: object.decisions,
    })
}

/// Reads the stream of `torch.save` before PyTorch 1.6, or with `_use_new_zipfile_serialization=False`.
///
/// After the magic number come the protocol version, the system's properties, the saved object and the list of storage
/// keys, each a pickle; then every storage in that order: its number of elements (8 bytes) and its bytes.
pub(super) fn open_stream(
    mut file: impl Read + Seek,
    path: &Path,
) -> Result<TorchFile, CheckpointError> {
    let length = file
        .seek(SeekFrom::End(0))
        .and_then(|length| file.rewind().map(|()| length))
        .map_err(CheckpointError::io("read", path))?;
    let mut source = Source::new(BufReader::new(file));
    let mut next = || {
        Machine::new(false)
            .run(&mut source)
            .map_err(|error| error.at(path))
    };
    let (_magic, _protocol, _system) = (next()?, next()?, next()?);
    let pickle = next()?;
    let keys = next()?;
    let object = SavedObject::read(&pickle, path)?;

    let mut sizes = HashMap::new();
    for storage in pickle.storages() {
        sizes.insert(Rc::clone(&storage.key), storage_bytes(storage, path)?);
    }
    let Value::List(keys_in_order) = keys.value(keys.root) else {
        return Err(CheckpointError::malformed(
            path,
            "a list of storages",
            keys.value(keys.root).type_name(),
        ));
    };
    let mut position = source.position();
    let mut storages = HashMap::new();
    for &key in keys_in_order {
        let key = match keys.value(key) {
            Value::Text(key) => key,
            other => {
                return Err(CheckpointError::malformed(
                    path,
                    "the name of a storage",
                    other.type_name(),
                ));
            }
        };
        let bytes = *sizes.get(key).ok_or_else(|| {
            CheckpointError::malformed(
                path,
                "storages that tensors use",
                format!("an unused storage `{}`", quote::name(key)),
            )
        })?;
        let start = position.saturating_add(8);
        position = start.saturating_add(bytes);
        if position > length {
            return Err(CheckpointError::malformed(
                path,
                format!("at least {position} bytes"),
                format!("{length} bytes: the file is truncated"),
            ));
        }
        storages.insert(Rc::clone(key), StoragePlace { start, bytes });
    }
    Ok(TorchFile {
        store: TensorStore::single(path, place(object.tensors, &storages, path)?),
        script: false,
        training_checkpoint: object.wrapped,
        decisions: object.decisions,
    })
}

/// Looks at the number of entries before anything is made for each of them. Only the 64-bit end record, which a locator
/// at the end of the file points to, can name more than 65,535. `None` as error says that there are too many.
fn refuse_many_entries(file: &mut (impl Read + Seek)) -> Result<(), Option<io::Error>> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    let locators = tail
        .windows(16)
        .filter(|window| window.starts_with(LOCATOR_MAGIC));
    for locator in locators.take(MAX_LOCATORS) {
        let place = locator[8..]
            .iter()
            .rev()
            .fold(0, |place, byte| (place << 8) | u64::from(*byte));
        let mut record = Vec::new();
        file.seek(SeekFrom::Start(place.min(length)))?;
        file.take(END_RECORD_BYTES).read_to_end(&mut record)?;
        let entries = record
            .get(32..40)
            .filter(|_| record.starts_with(END_RECORD_MAGIC));
        if let Some(Ok(entries)) = entries.map(<[u8; 8]>::try_from)
            && u64::from_le_bytes(entries) > MAX_ENTRIES
        {
            return Err(None);
        }
    }
    Ok(file.rewind()?)
}

/// Whether a file begins as the older stream format does.
pub(super) fn is_stream(beginning: &[u8]) -> bool {
    beginning.starts_with(STREAM_MAGIC)
}

/// Reads a pickle that is in no container, only to say what is wrong with it: no tensor can be in it.
pub(super) fn refuse_bare_pickle(file: impl Read, path: &Path) -> CheckpointError {
    match Machine::new(false).run(&mut Source::new(BufReader::new(file))) {
        Err(error) => error.at(path),
        Ok(pickle) => CheckpointError::unrecognized(
            path,
            "a PyTorch file with tensors",
            format!("a bare pickle of {}", pickle.value(pickle.root).type_name()),
        ),
    }
}

fn storage_bytes(storage: &StorageRef, path: &Path) -> Result<u64, CheckpointError> {
    storage
        .elements
        .checked_mul(storage.element.size_bytes())
        .map(|bytes| bytes as u64)
        .ok_or_else(|| {
            CheckpointError::malformed(
                path,
                "a storage that fits into memory",
                format!("{} elements", storage.elements),
            )
        })
}

/// Where the bytes of a storage are in the file.
struct StoragePlace {
    start: u64,
    bytes: u64,
}

/// Places every tensor in the file, after a check that its storage is as long as the pickle says.
fn place(
    named: Named<'_>,
    storages: &HashMap<Rc<str>, StoragePlace>,
    path: &Path,
) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    named
        .into_iter()
        .map(|(name, tensor)| {
            let declared = storage_bytes(&tensor.storage, path)?;
            let storage = storages
                .get(&tensor.storage.key)
                .filter(|storage| declared <= storage.bytes)
                .ok_or_else(|| {
                    CheckpointError::malformed(
                        path,
                        format!("{declared} bytes of data for `{}`", quote::name(&name)),
                        "a smaller storage",
                    )
                })?;
            let element = tensor.storage.element;
            let offset = (tensor.offset * element.size_bytes()) as u64;
            let stored = StoredTensor {
                element,
                shape: tensor.shape.clone(),
                strides: tensor.strides.clone(),
                file: 0,
                offset: storage.start.saturating_add(offset),
            };
            Ok((name, stored))
        })
        .collect()
}
