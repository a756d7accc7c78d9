//! Sentences in which a class name stands.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::prompt::DEFAULT_CONTEXT;

/// Where the class name goes.
const PLACE: &str = "{}";
/// Longest template, in characters. CLIP reads 77 tokens.
const MAX_CHARS: usize = 300;

/// A sentence with one `{}`, where a class name goes: `a satellite photo of {}`.
///
/// Nothing is added to it; the default, `a photo of a {}.`, ends with a full stop because it says so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The class name has no place, or several.
    #[error(
        "expected one {{}} where the class name goes, as in \"a satellite photo of {{}}\", found {places} of them"
    )]
    Places {
        /// How often `{}` occurs.
        places: usize,
    },
    /// The class name would become a part of another word, with other tokens.
    #[error("expected a space in front of {{}}, as in \"a satellite photo of {{}}\"")]
    Joined,
    /// No sentence is that long.
    #[error("expected at most 300 characters, found {found}")]
    TooLong {
        /// Number of characters.
        found: usize,
    },
    /// A line break, a tab or another control character.
    #[error("expected one line of plain text, found a control character")]
    Control,
}

impl Template {
    /// The sentence about a class; underscores in its name become spaces.
    pub fn about(&self, class: &str) -> String {
        self.0.replacen(PLACE, &class.replace('_', " "), 1)
    }

    /// The words in front of the class name.
    pub fn context(&self) -> &str {
        let (context, _) = self.0.split_once(PLACE).unwrap_or_default();
        context.trim_end()
    }

    /// The sentence with `{}` in it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Template {
    fn default() -> Self {
        Self(format!("{DEFAULT_CONTEXT} {PLACE}."))
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let found = text.chars().count();
        let places = text.matches(PLACE).count();
        if places != 1 {
            return Err(TemplateError::Places { places });
        }
        if found > MAX_CHARS {
            return Err(TemplateError::TooLong { found });
        }
        if text.contains(char::is_control) {
            return Err(TemplateError::Control);
        }
        let (context, _) = text.split_once(PLACE).unwrap_or_default();
        if !context.is_empty() && !context.ends_with(char::is_whitespace) {
            return Err(TemplateError::Joined);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

impl Display for Template {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_name_has_one_place_and_is_a_word() {
        let template: Template = "a satellite photo of {}, from above".parse().unwrap();
        assert_eq!(template.context(), "a satellite photo of");
        assert_eq!(
            template.about("red_fox"),
            "a satellite photo of red fox, from above"
        );
        // A name that looks like a place is a name.
        assert_eq!(template.about("{}"), "a satellite photo of {}, from above");
        let refused = |text: &str| text.parse::<Template>().unwrap_err();
        assert_eq!(refused("a photo"), TemplateError::Places { places: 0 });
        assert_eq!(refused("{} or {}"), TemplateError::Places { places: 2 });
        assert_eq!(refused("a photo of{}"), TemplateError::Joined);
        assert_eq!(refused("a photo\nof {}"), TemplateError::Control);
        let long = format!("{}{{}}", "so ".repeat(100));
        assert_eq!(refused(&long), TemplateError::TooLong { found: 302 });
        assert_eq!(Template::default().as_str(), "a photo of a {}.");
    }
}
