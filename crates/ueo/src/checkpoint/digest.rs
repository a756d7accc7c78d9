//! SHA-256 of the weights, by which a run directory recognizes its base checkpoint.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::CheckpointError;

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
    let mut text = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
