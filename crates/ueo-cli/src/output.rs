//! Result files: written whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::CliError;

/// Writes a file through a temporary one beside it, so that a crash or a full disk leaves no half file.
///
/// # Errors
///
/// [`CliError::Write`].
pub fn write_file(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    let written = match std::fs::metadata(path) {
        // A pipe or a device is written to, not replaced.
        Ok(metadata) if !metadata.is_file() => File::options()
            .write(true)
            .open(path)
            .and_then(|file| fill(file, content)),
        _ => ueo::write_atomically(path, |file| content(file)),
    };
    written.map_err(|source| CliError::Write {
        path: path.to_owned(),
        source,
    })
}

fn fill(
    file: impl Write,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    content(&mut writer)?;
    writer.flush()
}
