//! Result files: written whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::CliError;
use crate::target::directory_of;

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
        _ => replace(path, content),
    };
    written.map_err(|source| CliError::Write {
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    // Temporary files are private to the user; results get the permissions of any other new file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.prefix(".ueo-").tempfile_in(directory_of(path))?;
    fill(temporary.as_file(), content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

fn fill(
    file: impl Write,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::new(file);
    content(&mut writer)?;
    writer.flush()
}
