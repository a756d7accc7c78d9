//! Configuration files: bounded reading, and values with a path for messages.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::CheckpointError;

/// Largest configuration that is read; real ones have a few kilobytes.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a JSON object.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("read", path))?;
    let mut text = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut text)
        .map_err(CheckpointError::io("read", path))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(CheckpointError::malformed(
            path,
            "a JSON object",
            "another JSON value",
        )),
        Err(error) => Err(CheckpointError::malformed(path, "JSON", error.to_string())),
    }
}

/// One object of a configuration file, and the names that lead to it.
pub(super) struct Section<'a> {
    object: &'a Map<String, Value>,
    path: &'a Path,
    prefix: &'a str,
}

impl<'a> Section<'a> {
    /// `prefix` is empty or ends with a dot.
    pub(super) fn new(object: &'a Map<String, Value>, path: &'a Path, prefix: &'a str) -> Self {
        Self {
            object,
            path,
            prefix,
        }
    }

    /// A value that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// All keys and values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }

    /// The object under `key`, if it is there.
    pub(super) fn section(
        &self,
        key: &str,
        prefix: &'a str,
    ) -> Result<Option<Section<'a>>, CheckpointError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Section::new(object, self.path, prefix))),
            Some(other) => Err(self.wrong(key, "an object", other)),
        }
    }

    /// A positive integer, or `default` when the key is not there.
    pub(super) fn size(&self, key: &str, default: usize) -> Result<usize, CheckpointError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .filter(|&size| size > 0)
                .ok_or_else(|| self.wrong(key, "a positive integer", value)),
        }
    }

    /// A number, or `default` when the key is not there.
    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, CheckpointError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.wrong(key, "a number", value)),
        }
    }

    /// True or false, or `default` when the key is not there.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, CheckpointError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    /// A string, or `default` when the key is not there.
    pub(super) fn text(&self, key: &str, default: &'a str) -> Result<&'a str, CheckpointError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(key, "text", value)),
        }
    }

    /// Three numbers, one per color channel.
    pub(super) fn rgb(&self, key: &str, default: [f32; 3]) -> Result<[f32; 3], CheckpointError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value
            .as_array()
            .and_then(|items| {
                let numbers: Option<Vec<f32>> = items
                    .iter()
                    .map(|item| item.as_f64().map(|number| number as f32))
                    .collect();
                <[f32; 3]>::try_from(numbers?).ok()
            })
            .ok_or_else(|| self.wrong(key, "three numbers", value))
    }

    /// The error for a value of the wrong kind.
    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> CheckpointError {
        CheckpointError::malformed(
            self.path,
            format!("{expected} in `{}{key}`", self.prefix),
            found.to_string(),
        )
    }

    /// The error for a value that asks for something that is not implemented.
    pub(super) fn unsupported(&self, key: &str, found: &Value) -> CheckpointError {
        CheckpointError::unsupported(self.path, format!("`{}{key}`: {found}", self.prefix))
    }
}
