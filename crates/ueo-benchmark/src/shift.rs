//! Category shifts: which classes have a name, and which have unlabeled images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BenchmarkError;

/// How the listed classes L and the classes T of the unlabeled images lie to each other (Liang et al. 2024, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// L = T.
    Closed,
    /// T lies inside L.
    Partial,
    /// L lies inside T.
    Open,
    /// L and T overlap, and each has classes of its own.
    OpenPartial,
    /// Every class of the suite is listed and has images; nothing is unknown.
    AllKnown,
}

impl Shift {
    /// All shifts, in the order in which tables list them.
    pub const ALL: [Self; 5] = [
        Self::Closed,
        Self::Partial,
        Self::Open,
        Self::OpenPartial,
        Self::AllKnown,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Partial => "partial",
            Self::Open => "open",
            Self::OpenPartial => "open-partial",
            Self::AllKnown => "all-known",
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Shift {
    type Err = BenchmarkError;

    fn from_str(text: &str) -> Result<Self, BenchmarkError> {
        Self::ALL
            .into_iter()
            .find(|shift| shift.name() == text)
            .ok_or_else(|| BenchmarkError::Unknown {
                what: "category shift",
                found: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// Class indices, written as inclusive ranges: `0-34, 50-59`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassRanges(Vec<(usize, usize)>);

impl ClassRanges {
    /// The indices below `classes`.
    pub fn all(classes: usize) -> Self {
        Self(
            classes
                .checked_sub(1)
                .map(|last| (0, last))
                .into_iter()
                .collect(),
        )
    }

    /// The indices, ascending.
    pub fn indices(&self) -> Vec<usize> {
        self.0
            .iter()
            .flat_map(|&(first, last)| first..=last)
            .collect()
    }

    /// The largest index; no range is empty.
    pub fn last(&self) -> usize {
        self.0.last().map_or(0, |&(_, last)| last)
    }
}

impl FromStr for ClassRanges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected ascending ranges of class indices such as `0-34, 50-59`, found `{text}`"
            )
        };
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let index = |digits: &str| digits.trim().parse().map_err(|_| wrong());
            let (first, last) = (index(first)?, index(last)?);
            if first > last || ranges.last().is_some_and(|&(_, before)| before >= first) {
                return Err(wrong());
            }
            ranges.push((first, last));
        }
        Ok(Self(ranges))
    }
}

impl TryFrom<String> for ClassRanges {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ClassRanges> for String {
    fn from(ranges: ClassRanges) -> Self {
        ranges.to_string()
    }
}

impl fmt::Display for ClassRanges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            if first == last {
                write!(formatter, "{separator}{first}")?;
            } else {
                write!(formatter, "{separator}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_and_ascend() {
        let ranges: ClassRanges = "0-2, 5, 8-9".parse().unwrap();
        assert_eq!(ranges.indices(), [0, 1, 2, 5, 8, 9]);
        assert_eq!(ranges.last(), 9);
        assert_eq!(ranges.to_string(), "0-2, 5, 8-9");
        assert_eq!(ClassRanges::all(3).indices(), [0, 1, 2]);
        for wrong in ["", "3-1", "0-4, 4-6", "5-6, 0-1", "a-b", "1-2-3"] {
            assert!(wrong.parse::<ClassRanges>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shifts_have_the_same_name_everywhere() {
        for shift in Shift::ALL {
            assert_eq!(shift.name().parse::<Shift>().unwrap(), shift);
            assert_eq!(serde_json::to_value(shift).unwrap(), shift.name());
        }
    }
}
