//! The best and the second best of each column of a block.

use super::{PaperRow, PaperValue, printed};

/// The place of a number among those that it can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// No larger number is printed.
    Best,
    /// One larger number is printed, however often.
    Second,
    /// All others, and what is not ranked.
    Other,
}

impl Rank {
    /// The name in files; none for [`Self::Other`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Second => "second",
            Self::Other => "",
        }
    }
}

/// Ranks the numbers of each column as they are printed, so that equal ones have equal places. Not ranked are methods that see
/// labels, means over a part of the cells, and published numbers.
pub fn rank(rows: &mut [PaperRow]) {
    let columns = rows.first().map_or(0, |row| row.values.len());
    for column in 0..columns {
        for metric in 0..3 {
            let mut numbers: Vec<&mut PaperValue> = rows
                .iter_mut()
                .filter(|row| row.source.is_none() && !row.sees_labels)
                .filter_map(|row| row.values[column][metric].as_mut())
                .filter(|value| !value.partial)
                .collect();
            if numbers.len() < 2 {
                continue;
            }
            let mut printed_numbers: Vec<f64> =
                numbers.iter().map(|value| as_printed(value)).collect();
            printed_numbers.sort_by(|a, b| b.total_cmp(a));
            printed_numbers.dedup();
            for value in &mut numbers {
                let place = printed_numbers
                    .iter()
                    .position(|other| *other == as_printed(value));
                value.rank = match place {
                    Some(0) => Rank::Best,
                    Some(1) => Rank::Second,
                    _ => Rank::Other,
                };
            }
        }
    }
}

fn as_printed(value: &PaperValue) -> f64 {
    printed(value.mean).parse().unwrap_or(value.mean)
}
