//! Numbers that were published elsewhere, to stand beside one's own: a TOML file of the user's.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::{PaperRow, PaperValue};
use crate::BenchmarkError;
use crate::protocol::Protocol;
use crate::results::Results;
use crate::shift::Shift;
use ueo::evaluate::harmonic_mean;

/// Published numbers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedNumbers {
    /// Where they were published, as the caption names it.
    pub source: String,
    /// One method on one model under one shift each.
    #[serde(default)]
    pub rows: Vec<PublishedRow>,
}

/// What was published about a method.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedRow {
    /// Name of the suite.
    pub suite: String,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// The model as the results call it (`--model-name`).
    pub model: String,
    /// The category shift.
    pub shift: Shift,
    /// The method as it is to be called.
    pub method: String,
    /// Accuracy and AUROC in percent of each domain, and of their `average`, which is computed if it is not there.
    pub values: BTreeMap<String, [f64; 2]>,
}

/// Key of the average.
const AVERAGE: &str = "average";
/// Largest file, in bytes.
const LONGEST_FILE: u64 = 1 << 20;
/// Longest text of a row, in bytes.
const LONGEST_TEXT: usize = 200;

impl PublishedNumbers {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`] and [`BenchmarkError::Published`].
    pub fn open(path: &Path) -> Result<Self, BenchmarkError> {
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text))
            .map_err(|source| BenchmarkError::io("read", path, source))?;
        Self::parse(&text).map_err(|reason| BenchmarkError::Published {
            path: path.to_owned(),
            reason,
        })
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    ///
    /// What was expected and found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let numbers: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        for row in &numbers.rows {
            let texts = [&row.suite, &row.model, &row.method, &numbers.source];
            if texts.iter().any(|text| text.len() > LONGEST_TEXT) {
                return Err(format!("expected names of at most {LONGEST_TEXT} bytes"));
            }
            for (domain, values) in &row.values {
                if let Some(value) = values.iter().find(|value| !(0.0..=100.0).contains(*value)) {
                    return Err(format!(
                        "{domain:?}: expected percent between 0 and 100, found {value}"
                    ));
                }
            }
        }
        Ok(numbers)
    }

    /// The rows of a block.
    pub fn rows_of<'a>(
        &'a self,
        results: &'a Results,
        shift: Shift,
        domains: &'a [String],
    ) -> impl Iterator<Item = PaperRow> + 'a {
        let rows = self
            .rows
            .iter()
            .filter(move |row| row.is_about(results) && row.shift == shift);
        rows.map(|row| row.paper_row(&self.source, domains))
            .filter(|row| row.values.iter().flatten().any(Option::is_some))
    }

    /// Rows that stand in no table because there are no results of their suite, model, shift or domains.
    pub fn unused(&self, all: &[Results]) -> Vec<&PublishedRow> {
        let used = |row: &PublishedRow| {
            let mut about = all.iter().filter(|results| row.is_about(results));
            about.any(|results| {
                let mut domains = results.domains.iter();
                results.shifts.contains(&row.shift)
                    && domains.any(|domain| row.values.contains_key(&domain.name))
            })
        };
        self.rows.iter().filter(|row| !used(row)).collect()
    }
}

impl PublishedRow {
    fn is_about(&self, results: &Results) -> bool {
        self.suite == results.suite
            && self.model == results.model
            && self.protocol == results.protocol
    }

    fn paper_row(&self, source: &str, domains: &[String]) -> PaperRow {
        let found: Vec<Option<[f64; 2]>> = domains
            .iter()
            .map(|name| self.values.get(name).copied())
            .collect();
        let all: Option<Vec<[f64; 2]>> = found.iter().copied().collect();
        let computed = all.map(|all| {
            let mean =
                |of: usize| all.iter().map(|values| values[of]).sum::<f64>() / all.len() as f64;
            [mean(0), mean(1)]
        });
        let average = self.values.get(AVERAGE).copied().or(computed);
        PaperRow {
            method: self.method.clone(),
            source: Some(source.to_owned()),
            sees_labels: false,
            values: found.into_iter().chain([average]).map(values).collect(),
        }
    }
}

/// Accuracy, AUROC and harmonic mean from percent.
fn values(percent: Option<[f64; 2]>) -> [Option<PaperValue>; 3] {
    let Some([accuracy, auroc]) = percent.map(|values| values.map(|value| value / 100.0)) else {
        return [None; 3];
    };
    [accuracy, auroc, harmonic_mean(accuracy, auroc)]
        .map(|mean| Some(PaperValue::new(mean, None, false)))
}
