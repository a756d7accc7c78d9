//! Digests by which a run directory recognizes its base checkpoint: of the weights, and of all that it computes with.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::image::Preprocessing;
use crate::text::TokenizerContent;

use super::{CheckpointError, ClipConfig};

const BUFFER_BYTES: usize = 1 << 20;

/// SHA-256 of a file in lowercase hexadecimal.
///
/// # Errors
///
/// [`CheckpointError::Io`] when the file cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String, CheckpointError> {
    sha256_of_files(&[path.to_owned()])
}

/// SHA-256 of several files one after the other (the shards of one checkpoint, in order).
pub(super) fn sha256_of_files(paths: &[PathBuf]) -> Result<String, CheckpointError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    for path in paths {
        let mut file = File::open(path).map_err(CheckpointError::io("read", path))?;
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(CheckpointError::io("read", path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
    }
    Ok(hexadecimal(hasher))
}

/// SHA-256 of everything that decides what a checkpoint computes: equal for two checkpoints exactly when they give the
/// same features for the same pixels and texts.
///
/// The digest is that of one JSON text: an object with the keys `format` (1), `configuration` ([`ClipConfig`]),
/// `preprocessing` ([`Preprocessing`]), `tokenizer` ([`TokenizerContent::canonical`]) and `weights` (the SHA-256 of the
/// weights' files); keys of every object sorted by code point, no white space, numbers and texts as serde_json writes
/// them. A field that a later version adds is left out while it has the value that it had before it was there, so that
/// a digest holds across versions.
pub(super) fn content_sha256(
    config: &ClipConfig,
    preprocessing: &Preprocessing,
    tokenizer: &TokenizerContent,
    weights_sha256: &str,
) -> String {
    let mut text = String::new();
    write_canonically(
        &json!({
            "format": 1,
            "configuration": config,
            "preprocessing": preprocessing,
            "tokenizer": tokenizer.canonical(),
            "weights": weights_sha256,
        }),
        &mut text,
    );
    let mut hasher = Sha256::new();
    hasher.update(text);
    hexadecimal(hasher)
}

fn write_canonically(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonically(&Value::from(key.as_str()), text);
                text.push(':');
                write_canonically(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonically(item, text);
            }
            text.push(']');
        }
        // Writing into a string cannot fail.
        scalar => drop(write!(text, "{scalar}")),
    }
}

fn hexadecimal(hasher: Sha256) -> String {
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_text_sorts_keys_at_every_depth() {
        let value = json!({"b": [1, 0.5, {"z": null, "a": "\u{e9}\n"}], "a": true});
        let mut text = String::new();
        write_canonically(&value, &mut text);
        assert_eq!(
            text,
            "{\"a\":true,\"b\":[1,0.5,{\"a\":\"\u{e9}\\n\",\"z\":null}]}"
        );
    }

    #[test]
    fn equals_the_published_test_vector() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            sha256_of_file(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
