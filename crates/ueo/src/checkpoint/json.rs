//! Configuration files: bounded reading, and values with a path for messages.

use std::path::Path;

use serde_json::{Map, Value};

use crate::budget::{JsonBudget, read_within};
use crate::quote;

use super::CheckpointError;

/// What a configuration may cost: real ones have a few kilobytes, an index of shards up to 300.
const BUDGET: JsonBudget = JsonBudget {
    bytes: 4 << 20,
    values: 100_000,
};

/// Reads a JSON object.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, CheckpointError> {
    let text = read_within(path, BUDGET.bytes)
        .map_err(|error| CheckpointError::budget(path, "JSON", error))?;
    parse_object(&text, path)
}

/// As [`read_object`], from memory; `path` is for messages.
pub(super) fn parse_object(
    text: &[u8],
    path: &Path,
) -> Result<Map<String, Value>, CheckpointError> {
    match BUDGET.parse(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(CheckpointError::malformed(
            path,
            "a JSON object",
            "another JSON value",
        )),
        Err(error) => Err(CheckpointError::budget(path, "JSON", error)),
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
        let numbers = value
            .as_array()
            .and_then(|items| {
                let numbers: Option<Vec<f32>> = items
                    .iter()
                    .map(|item| item.as_f64().map(|number| number as f32))
                    .collect();
                <[f32; 3]>::try_from(numbers?).ok()
            })
            .ok_or_else(|| self.wrong(key, "three numbers", value))?;
        match numbers.iter().all(|number| number.is_finite()) {
            true => Ok(numbers),
            false => Err(self.bad(key, "three finite numbers", value)),
        }
    }

    /// Three standard deviations, which are above 0.
    pub(super) fn deviation(
        &self,
        key: &str,
        default: [f32; 3],
    ) -> Result<[f32; 3], CheckpointError> {
        let deviations = self.rgb(key, default)?;
        match self.get(key) {
            Some(value) if deviations.iter().any(|deviation| *deviation <= 0.0) => {
                Err(self.bad(key, "three numbers above 0", value))
            }
            _ => Ok(deviations),
        }
    }

    /// The error for a value with which nothing can be computed.
    fn bad(&self, key: &str, expected: &str, found: &Value) -> CheckpointError {
        CheckpointError::bad_value(self.path, self.full_name(key), expected, found)
    }

    /// A finite number above 0, or `default` when the key is not there.
    pub(super) fn positive(&self, key: &str, default: f64) -> Result<f64, CheckpointError> {
        let number = self.number(key, default)?;
        if number.is_finite() && number > 0.0 {
            return Ok(number);
        }
        Err(CheckpointError::bad_value(
            self.path,
            self.full_name(key),
            "a number above 0",
            number,
        ))
    }

    /// The side of a square: an integer, or two equal ones.
    pub(super) fn square(&self, key: &str, default: usize) -> Result<usize, CheckpointError> {
        match self.get(key) {
            Some(value @ Value::Array(sides)) => match sides.as_slice() {
                [height, width] if height == width => height
                    .as_u64()
                    .and_then(|side| usize::try_from(side).ok())
                    .filter(|&side| side > 0)
                    .ok_or_else(|| self.wrong(key, "a positive integer", value)),
                _ => Err(self.unsupported(key, value)),
            },
            _ => self.size(key, default),
        }
    }

    /// Refuses any other text than `needed` under `key`; a key that is not there is an empty text.
    pub(super) fn must_be(&self, key: &str, needed: &str) -> Result<(), CheckpointError> {
        match self.text(key, "")? {
            found if found == needed => Ok(()),
            found => Err(self.unsupported(key, &Value::from(found))),
        }
    }

    /// Refuses a size that differs from the one that the image tower's name means.
    pub(super) fn must_equal(
        &self,
        key: &str,
        found: usize,
        expected: usize,
    ) -> Result<(), CheckpointError> {
        if found == expected {
            return Ok(());
        }
        Err(self.wrong(
            key,
            &format!("{expected}, as the image tower has it,"),
            &Value::from(found),
        ))
    }

    /// Refuses, by name, every key that is not in `known` and says something (not null, false or empty): who knows it
    /// may compute something else because of it.
    pub(super) fn refuse_unknown(&self, known: &[&str]) -> Result<(), CheckpointError> {
        let unknown = self.object.iter().find(|(key, value)| {
            let says_something = match value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(object) => !object.is_empty(),
                _ => true,
            };
            says_something && !known.contains(&key.as_str())
        });
        match unknown {
            Some((key, value)) => Err(self.unsupported(key, value)),
            None => Ok(()),
        }
    }

    /// The whole name of a key, as messages show it.
    pub(super) fn full_name(&self, key: &str) -> String {
        format!("{}{}", self.prefix, quote::name(key))
    }

    /// The error for a value of the wrong kind.
    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> CheckpointError {
        CheckpointError::malformed(
            self.path,
            format!("{expected} in `{}`", self.full_name(key)),
            quote::name(&found.to_string()).to_string(),
        )
    }

    /// The error for a value that asks for something that is not implemented.
    pub(super) fn unsupported(&self, key: &str, found: &Value) -> CheckpointError {
        let found = found.to_string();
        CheckpointError::unsupported(
            self.path,
            format!("`{}`: {}", self.full_name(key), quote::name(&found)),
        )
    }
}
