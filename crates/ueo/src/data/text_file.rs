//! Text that users write: UTF-8, with or without a byte order mark.

use std::path::Path;

use super::DataError;
use super::dataset::open_error;

/// Reads a text file.
///
/// # Errors
/// [`DataError::Open`], or [`DataError::Encoding`] with line and byte of the first place that is not UTF-8 text.
pub fn read_utf8(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|error| open_error(path, &error))?;
    let wrong = |byte: usize, found: String| DataError::Encoding {
        path: path.to_path_buf(),
        line: 1 + bytes[..byte].iter().filter(|&&b| b == b'\n').count(),
        byte,
        found,
    };
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(wrong(0, "UTF-16 (its byte order mark)".into()));
    }
    // Valid UTF-8, but in text it means UTF-16 or UTF-32 without a mark, or no text at all.
    if let Some(byte) = bytes.iter().position(|&b| b == 0) {
        return Err(wrong(byte, "a zero byte (UTF-16, or not text)".into()));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text).to_string()),
        Err(error) => {
            let byte = error.valid_up_to();
            Err(wrong(
                byte,
                format!(
                    "0x{:02x} (Latin-1, Windows-1252 or another encoding?)",
                    bytes[byte]
                ),
            ))
        }
    }
}
