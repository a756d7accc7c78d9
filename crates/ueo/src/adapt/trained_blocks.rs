//! Which residual blocks of the image tower an adaptation trains.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::method::InvalidSetting;
use crate::model::Clip;

/// Residual blocks of the image tower whose affine parameters are trained: a transformer's blocks, or the ResNet's bottlenecks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrainedBlocks {
    /// All, and everything in front of them.
    #[default]
    All,
    /// The last ones and what follows on them, a transformer's final normalization. What comes before them stays as it is, so it is
    /// computed once for each view that comes again.
    Last(NonZeroUsize),
}

impl TrainedBlocks {
    /// The last blocks, as many as a number that is not zero says.
    pub fn last(count: usize) -> Option<Self> {
        NonZeroUsize::new(count).map(Self::Last)
    }

    /// The first block that is trained, unless all are.
    pub(crate) fn first(self, clip: &Clip) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Last(count) => Some(clip.image_blocks().saturating_sub(count.get())),
        }
    }

    /// Position of the first normalization layer that is trained.
    pub(crate) fn first_norm(self, clip: &Clip) -> usize {
        self.first(clip).map_or(0, |block| clip.first_norm(block))
    }

    /// Whether a model has so many.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Range`].
    pub fn check(self, clip: &Clip) -> Result<(), InvalidSetting> {
        let blocks = clip.image_blocks();
        match self {
            Self::Last(count) if count.get() > blocks => Err(InvalidSetting::Range {
                setting: "train-blocks",
                expected: format!("at most last-{blocks}, the blocks of this image tower").into(),
                found: self.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

const ALL: &str = "all";
const LAST: &str = "last-";

impl fmt::Display for TrainedBlocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str(ALL),
            Self::Last(count) => write!(formatter, "{LAST}{count}"),
        }
    }
}

/// A text that names no blocks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {ALL}, or {LAST}N for the last N blocks, such as {LAST}4")]
pub struct ParseTrainedBlocksError;

impl FromStr for TrainedBlocks {
    type Err = ParseTrainedBlocksError;

    fn from_str(text: &str) -> Result<Self, ParseTrainedBlocksError> {
        if text == ALL {
            return Ok(Self::All);
        }
        let count = text.strip_prefix(LAST).ok_or(ParseTrainedBlocksError)?;
        let count = count.parse().map_err(|_| ParseTrainedBlocksError)?;
        Ok(Self::Last(count))
    }
}

impl Serialize for TrainedBlocks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrainedBlocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let last = |count| TrainedBlocks::last(count).unwrap();
        for (blocks, text) in [
            (TrainedBlocks::All, "all"),
            (last(1), "last-1"),
            (last(12), "last-12"),
        ] {
            assert_eq!(blocks.to_string(), text);
            assert_eq!(text.parse(), Ok(blocks));
        }
        for wrong in ["", "last", "last-", "last-0", "last--1", "4", "first-4"] {
            assert_eq!(wrong.parse::<TrainedBlocks>(), Err(ParseTrainedBlocksError));
        }
        assert_eq!(TrainedBlocks::last(0), None);
    }
}
