//! Where results go: files, written whole or not at all, and stdout where the user names `-`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::CliError;

/// Stands for stdout where a file is named.
const STDOUT: &str = "-";

/// Whether a name stands for stdout.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDOUT)
}

/// Writes a file through a temporary one beside it, so that a crash or a full disk leaves no half file; `-` is stdout.
///
/// # Errors
///
/// [`CliError::Write`] and [`CliError::Stdout`].
pub fn write_file(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    if is_stdout(path) {
        return to_stdout(content);
    }
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

/// Writes to stdout. A reader that has seen enough and closed it is no error.
///
/// # Errors
///
/// [`CliError::Stdout`].
pub fn to_stdout(content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    match fill(io::stdout().lock(), content) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Stdout(error)),
        _ => Ok(()),
    }
}

fn fill(
    file: impl Write,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    content(&mut writer)?;
    writer.flush()
}
