//! `--config`: a TOML or JSON file whose keys are the command's own options, or the `run.json` of a run.
//!
//! The file is turned into arguments in front of the parser, so that its values pass through the same checks as those of
//! the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value as Json};
use thiserror::Error;

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigFileError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is no valid TOML", path.display())]
    Syntax {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    /// The file is not JSON.
    #[error("the configuration file {} is no valid JSON: expected an object", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A key that is no option of the command.
    #[error("the configuration file {} has the key `{key}`, which `ueo {command}` does not know", path.display())]
    UnknownKey {
        path: PathBuf,
        command: String,
        key: String,
        nearest: Option<String>,
    },
    /// A value that no option can have.
    #[error("the configuration file {}: `{key}`: expected {expected}, found {found}", path.display())]
    Type {
        path: PathBuf,
        key: String,
        expected: &'static str,
        found: &'static str,
    },
}

impl ConfigFileError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKey { command, .. } => {
                Some(format!("`ueo {command} --help` lists all options"))
            }
            Self::Syntax { .. } => Some(
                "write one `option = value` per line, with text in quotes: confidence-weights = \"uniform\""
                    .to_owned(),
            ),
            Self::Json { .. } | Self::Read { .. } | Self::Type { .. } => None,
        }
    }
}

/// Options that make no sense in a file.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];

/// The arguments with those of the configuration file, if one is named, at their end.
///
/// Options that are given on the command line are left out: they win.
///
/// # Errors
///
/// [`ConfigFileError`] when the file cannot be read or has keys or types that the command does not know.
pub fn with_config_file(
    mut arguments: Vec<OsString>,
    command: &Command,
) -> Result<Vec<OsString>, ConfigFileError> {
    // Errors of the command line are left to the real parse, which sees the file's options too.
    let lenient = command.clone().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(&arguments) else {
        return Ok(arguments);
    };
    let Some((name, given)) = matches.subcommand() else {
        return Ok(arguments);
    };
    let Ok(Some(path)) = given.try_get_one::<PathBuf>("config") else {
        return Ok(arguments);
    };
    let mut built = command.clone();
    built.build();
    if let Some(subcommand) = built.find_subcommand(name) {
        arguments.extend(arguments_of_file(path, subcommand, given)?);
    }
    Ok(arguments)
}

fn arguments_of_file(
    path: &Path,
    command: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, ConfigFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let options: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| Some((argument.get_long()?, argument)))
        .filter(|(long, _)| !NOT_IN_A_FILE.contains(long))
        .collect();
    let mut arguments = Vec::new();
    for (key, value) in values(path, &text)? {
        let Some((long, option, inverted)) = find(&options, &key) else {
            return Err(ConfigFileError::UnknownKey {
                path: path.to_owned(),
                command: command.get_name().to_owned(),
                nearest: nearest(&key, options.iter().map(|(long, _)| *long)),
                key,
            });
        };
        let wrong_type = |expected, found| ConfigFileError::Type {
            path: path.to_owned(),
            key: key.clone(),
            expected,
            found,
        };
        let of_option = match (is_switch(option), value) {
            (true, ConfigValue::Switch(on)) if on == inverted => continue,
            (true, ConfigValue::Switch(_)) => vec![format!("--{long}")],
            (true, other) => return Err(wrong_type("true or false", other.kind())),
            (false, ConfigValue::List(values)) if is_repeatable(option) => values
                .iter()
                .map(|value| format!("--{long}={value}"))
                .collect(),
            (false, ConfigValue::Text(text) | ConfigValue::Number(text)) => {
                vec![format!("--{long}={text}")]
            }
            (false, other) => return Err(wrong_type("text or a number", other.kind())),
        };
        if given.value_source(option.get_id().as_str()) != Some(ValueSource::CommandLine) {
            arguments.extend(of_option.into_iter().map(OsString::from));
        }
    }
    Ok(arguments)
}

/// A value of either format.
enum ConfigValue {
    Text(String),
    /// As it is written.
    Number(String),
    Switch(bool),
    /// Texts or numbers, for an option that may be given several times.
    List(Vec<String>),
    /// What no option takes.
    Other(&'static str),
}

impl ConfigValue {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Number(_) => "number",
            Self::Switch(_) => "boolean",
            Self::List(_) => "array",
            Self::Other(kind) => kind,
        }
    }

    fn of_toml(value: toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Self::Text(text),
            toml::Value::Integer(number) => Self::Number(number.to_string()),
            toml::Value::Float(number) => Self::Number(number.to_string()),
            toml::Value::Boolean(on) => Self::Switch(on),
            toml::Value::Array(values) => Self::of_list(values.into_iter().map(Self::of_toml)),
            other => Self::Other(other.type_str()),
        }
    }

    fn of_list(values: impl Iterator<Item = Self>) -> Self {
        let texts = values.map(|value| match value {
            Self::Text(text) | Self::Number(text) => Some(text),
            _ => None,
        });
        let texts: Option<Vec<String>> = texts.collect();
        texts.map_or(Self::Other("array"), Self::List)
    }

    /// `None` for null, which stands for the default.
    fn of_json(value: Json) -> Option<Self> {
        Some(match value {
            Json::Null => return None,
            Json::Bool(on) => Self::Switch(on),
            Json::Number(number) => Self::Number(number.to_string()),
            Json::String(text) => Self::Text(text),
            Json::Array(values) => Self::of_list(values.into_iter().filter_map(Self::of_json)),
            Json::Object(_) => Self::Other("object"),
        })
    }
}

/// The keys and values of a file.
fn values(path: &Path, text: &str) -> Result<Vec<(String, ConfigValue)>, ConfigFileError> {
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let object: Map<String, Json> =
            serde_json::from_str(text).map_err(|source| ConfigFileError::Json {
                path: path.to_owned(),
                source,
            })?;
        let values = settings_of_run(&object).unwrap_or(object).into_iter();
        return Ok(values
            .filter_map(|(key, value)| Some((key, ConfigValue::of_json(value)?)))
            .collect());
    }
    let table: toml::Table = toml::from_str(text).map_err(|source| ConfigFileError::Syntax {
        path: path.to_owned(),
        source,
    })?;
    let values = table.into_iter();
    Ok(values
        .map(|(key, value)| (key, ConfigValue::of_toml(value)))
        .collect())
}

/// What can be asked for again of the content of a `run.json`, if it is one: not the inputs, which a new run names itself.
fn settings_of_run(record: &Map<String, Json>) -> Option<Map<String, Json>> {
    let request = record.get("request")?.as_object()?;
    let mut settings = request.get("settings")?.as_object()?.clone();
    for (name, option) in [
        ("score", "score"),
        ("score_temperature", "score-temperature"),
        ("threshold_method", "threshold"),
        ("precision", "precision"),
    ] {
        if let Some(value) = request.get(name) {
            settings.insert(option.to_owned(), value.clone());
        }
    }
    Some(settings)
}

/// The option that a key names, by its long name or by its field in `run.json`, and whether the key says the opposite of the
/// option, as `shuffle` does of `--no-shuffle`.
fn find<'a>(options: &[(&'a str, &'a Arg)], key: &str) -> Option<(&'a str, &'a Arg, bool)> {
    let spelled = key.replace('_', "-");
    let by_name = options.iter().find(|(long, _)| *long == spelled);
    let by_name = by_name.map(|(long, option)| (*long, *option, false));
    by_name.or_else(|| {
        let turned_off = options.iter().find(|(_, option)| {
            matches!(option.get_action(), ArgAction::SetFalse) && option.get_id().as_str() == key
        });
        turned_off.map(|(long, option)| (*long, *option, true))
    })
}

fn is_switch(option: &Arg) -> bool {
    matches!(
        option.get_action(),
        ArgAction::SetTrue | ArgAction::SetFalse
    )
}

fn is_repeatable(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Append)
}

/// The known name with the fewest edits, if it is close enough to be a slip.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let spelled = key.replace('_', "-").to_lowercase();
    known
        .map(|name| (edits(&spelled, name), name))
        .min()
        .filter(|(edits, name)| *edits <= name.len().max(spelled.len()) / 2)
        .map(|(_, name)| name.to_owned())
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("epoch", "epochs"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn the_nearest_option_is_close() {
        let known = ["epochs", "batch-size", "micro-batch"];
        assert_eq!(
            nearest("batch_size", known.into_iter()).as_deref(),
            Some("batch-size")
        );
        assert_eq!(
            nearest("epoch", known.into_iter()).as_deref(),
            Some("epochs")
        );
        assert_eq!(nearest("zzzzzzzz", known.into_iter()), None);
    }
}
