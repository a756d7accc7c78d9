//! Limits on foreign files: bytes that are read, and values of JSON, counted before any of them is built.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::quote;

/// Why a file of JSON was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The operating system refused to read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is longer than anything of its kind.
    #[error("more than {limit} bytes")]
    Bytes {
        /// Bytes that a file of this kind may have.
        limit: u64,
    },
    /// The text holds more values than anything of its kind.
    #[error("more than {limit} values")]
    Values {
        /// Values that a file of this kind may hold.
        limit: usize,
    },
    /// The text is not JSON, or not of the expected form; with the line where that shows.
    #[error("{}", quote::line(reason))]
    Json {
        /// The parser's reason and the line that it stopped in.
        reason: String,
    },
}

/// What a JSON file may cost.
#[derive(Clone, Copy, Debug)]
pub struct JsonBudget {
    /// Longest file, in bytes.
    pub bytes: u64,
    /// Most values (of arrays and objects, at any depth). A parsed value takes 32 to 100 bytes of memory.
    pub values: usize,
}

impl JsonBudget {
    /// Reads and parses a file.
    ///
    /// # Errors
    ///
    /// [`BudgetError`].
    pub fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<T, BudgetError> {
        self.parse(&read_within(path, self.bytes)?)
    }

    /// Parses a text.
    ///
    /// # Errors
    ///
    /// [`BudgetError`], except for `Io`.
    pub fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, BudgetError> {
        if text.len() as u64 > self.bytes {
            return Err(BudgetError::Bytes { limit: self.bytes });
        }
        if values_at_most(text) > self.values {
            return Err(BudgetError::Values { limit: self.values });
        }
        serde_json::from_slice(text).map_err(|error| BudgetError::Json {
            reason: reason(text, &error),
        })
    }
}

/// Reads a whole file, unless it is longer than `limit` bytes.
///
/// # Errors
///
/// [`BudgetError::Io`] and [`BudgetError::Bytes`].
pub fn read_within(path: &Path, limit: u64) -> Result<Vec<u8>, BudgetError> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(BudgetError::Bytes { limit });
    }
    Ok(bytes)
}

/// An upper bound of the number of values in a JSON text: separators and openings outside of strings.
fn values_at_most(text: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

/// The parser's reason, and the line that it names: Python writes `NaN`, and the line shows under which key.
fn reason(text: &[u8], error: &serde_json::Error) -> String {
    let line = text
        .split(|&byte| byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .map(|line| String::from_utf8_lossy(&line[..line.len().min(1_000)]).into_owned())
        .unwrap_or_default();
    let reason = error.to_string();
    match line.trim() {
        "" => reason,
        line => format!("{} (`{}`)", quote::name(&reason), quote::name(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const BUDGET: JsonBudget = JsonBudget {
        bytes: 1_000,
        values: 10,
    };

    #[test]
    fn values_are_counted_before_they_are_built() {
        assert!(
            BUDGET
                .parse::<Value>(b"[1, 2, [3, {\"a\": 4}], \"[,[,[,[,[,[,\\\",[\"]")
                .is_ok()
        );
        let many = format!("[{}0]", "0,".repeat(10));
        assert!(matches!(
            BUDGET.parse::<Value>(many.as_bytes()),
            Err(BudgetError::Values { limit: 10 })
        ));
        let long = format!("\"{}\"", "x".repeat(1_000));
        assert!(matches!(
            BUDGET.parse::<Value>(long.as_bytes()),
            Err(BudgetError::Bytes { limit: 1_000 })
        ));
    }

    #[test]
    fn the_line_that_is_no_json_is_shown() {
        let error = BUDGET
            .parse::<Value>(b"{\n \"std\": [NaN, 1]\n}")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 2") && error.contains("\"std\": [NaN, 1]"),
            "{error}"
        );
    }
}
