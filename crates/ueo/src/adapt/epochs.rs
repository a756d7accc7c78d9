//! How many passes over the images an adaptation makes.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::method::InvalidSetting;

/// Steps that [`Epochs::Auto`] is after: both protocols of the publication, 50 epochs of small sets and 5 of DomainNet, take about as many.
const STEPS_WANTED: usize = 2_500;
/// Fewest and most epochs of [`Epochs::Auto`], those of the publication.
const FEWEST: usize = 5;
const MOST: usize = 50;
/// Most epochs that can be asked for: more than anybody waits for.
const LIMIT: usize = 1_000_000_000;

/// Passes over the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epochs {
    /// As many as make about 2,500 steps, between 5 and 50.
    Auto,
    /// This many.
    Count(usize),
}

impl Epochs {
    /// The number that was given; `None` where it follows from the images.
    pub fn given(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::Count(count) => Some(count),
        }
    }

    /// Checks the number.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] where it is 0 or so large that steps could not be counted.
    pub fn validate(self) -> Result<(), InvalidSetting> {
        match self {
            Self::Count(count) if !(1..=LIMIT).contains(&count) => Err(InvalidSetting::Range {
                setting: "epochs",
                expected: format!("at least 1 and at most {LIMIT}").into(),
                found: count.to_string(),
            }),
            Self::Auto | Self::Count(_) => Ok(()),
        }
    }

    /// The number of passes where each takes so many steps.
    pub fn count(self, steps_per_epoch: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Auto => {
                let steps = steps_per_epoch.max(1);
                ((STEPS_WANTED + steps / 2) / steps).clamp(FEWEST, MOST)
            }
        }
    }
}

impl From<usize> for Epochs {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

const AUTO: &str = "auto";

impl fmt::Display for Epochs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str(AUTO),
            Self::Count(count) => count.fmt(formatter),
        }
    }
}

/// A text that is no number of epochs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {AUTO} or a number of epochs")]
pub struct ParseEpochsError;

impl FromStr for Epochs {
    type Err = ParseEpochsError;

    fn from_str(text: &str) -> Result<Self, ParseEpochsError> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Count).map_err(|_| ParseEpochsError)
    }
}

impl Serialize for Epochs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Count(count) => count.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Epochs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Count(usize),
            Text(String),
        }
        let wrong = || D::Error::custom(ParseEpochsError);
        match Written::deserialize(deserializer).map_err(|_| wrong())? {
            Written::Count(count) => Ok(Self::Count(count)),
            Written::Text(text) => text.parse().map_err(|_| wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_many_steps_whatever_the_number_of_images() {
        for (steps_per_epoch, epochs) in [
            (1, 50),
            (16, 50),
            (50, 50),
            (51, 49),
            (157, 16),
            (499, 5),
            (501, 5),
            (1_563, 5),
        ] {
            assert_eq!(Epochs::Auto.count(steps_per_epoch), epochs);
        }
        assert_eq!(Epochs::Count(7).count(1), 7);
    }

    #[test]
    fn numbers_that_nobody_can_count_to_are_refused() {
        for wrong in [0, LIMIT + 1, 1 << 63, usize::MAX] {
            let error = Epochs::Count(wrong).validate().unwrap_err().to_string();
            assert!(
                error.contains("at least 1 and at most 1000000000"),
                "{error}"
            );
        }
        for right in [Epochs::Auto, 1.into(), LIMIT.into()] {
            right.validate().unwrap();
        }
    }

    #[test]
    fn files_and_command_lines_have_a_number_or_a_word() {
        for (epochs, text) in [(Epochs::Auto, "\"auto\""), (Epochs::Count(7), "7")] {
            assert_eq!(serde_json::to_string(&epochs).unwrap(), text);
            assert_eq!(serde_json::from_str::<Epochs>(text).unwrap(), epochs);
            assert_eq!(epochs.to_string().parse(), Ok(epochs));
        }
        for wrong in ["-1", "1.5", "many", ""] {
            assert_eq!(wrong.parse::<Epochs>(), Err(ParseEpochsError));
        }
        for wrong in ["\"many\"", "-1", "1.5", "[]"] {
            let error = serde_json::from_str::<Epochs>(wrong).unwrap_err();
            assert!(error.to_string().contains("expected auto or a number"));
        }
    }
}
