//! Files that appear completely or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file through a temporary one in the same directory, which takes its place once it is complete and on disk.
///
/// A crash or a full disk leaves the old content or none, never a part.
///
/// # Errors
///
/// What the operating system says.
pub fn write_atomically(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // Temporary files are private to the user; this one becomes an ordinary file, subject to the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = builder.prefix(".ueo-").tempfile_in(directory)?;
    let mut writer = BufWriter::new(temporary.as_file());
    content(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}
