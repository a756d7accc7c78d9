//! The table of a paper: a block per category shift and model, a row per method, and for each domain accuracy, AUROC and their
//! harmonic mean, the average last. As LaTeX, Markdown and CSV.

mod latex;
mod published;
mod rank;
mod text;

use std::path::Path;

use super::BenchmarkError;
use super::measurements::Metric;
use super::protocol::Protocol;
use super::results::{Results, Series};
use super::shift::Shift;
use super::tables::{series, write};

pub use published::PublishedNumbers;
pub use rank::Rank;

/// What is shown of each domain, with the name over its column.
pub const PAPER_METRICS: [(Metric, &str); 3] = [
    (Metric::Accuracy, "ACC"),
    (Metric::Auroc, "AUC"),
    (Metric::HarmonicMean, "H"),
];

impl PaperTable {
    /// The suite, and the group of domains where it says something.
    pub fn title(&self) -> String {
        match self.group.as_str() {
            "domains" => self.suite.clone(),
            group => format!("{}, {}", self.suite, Results::group_title(group)),
        }
    }
}

/// One table: a group of domains under a protocol, all models.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperTable {
    /// Name of the suite.
    pub suite: String,
    /// Group of the domains.
    pub group: String,
    /// Which images were adapted to and tested.
    pub protocol: Protocol,
    /// How to read it.
    pub caption: String,
    /// Names of the domains, the average last.
    pub columns: Vec<String>,
    /// Blocks, shift by shift.
    pub blocks: Vec<PaperBlock>,
}

/// The methods on one model under one category shift.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperBlock {
    /// The category shift.
    pub shift: Shift,
    /// What the model is called.
    pub model: String,
    /// Name of the settings.
    pub variant: String,
    /// A row per method, published numbers last.
    pub rows: Vec<PaperRow>,
}

/// A method.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperRow {
    /// Name of the method.
    pub method: String,
    /// Where the numbers were published, if they are not from these results.
    pub source: Option<String>,
    /// Whether its training saw labels.
    pub sees_labels: bool,
    /// Values of each column: accuracy, AUROC, harmonic mean.
    pub values: Vec<[Option<PaperValue>; 3]>,
}

/// A number of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperValue {
    /// Mean over the seeds, a fraction.
    pub mean: f64,
    /// Standard deviation over the seeds.
    pub deviation: Option<f64>,
    /// Whether cells are missing that it should be taken over.
    pub partial: bool,
    /// Its place in its column of the block.
    pub rank: Rank,
}

impl PaperValue {
    fn new(mean: f64, deviation: Option<f64>, partial: bool) -> Self {
        Self {
            mean,
            deviation,
            partial,
            rank: Rank::Other,
        }
    }
}

/// The tables of a paper in the order of the results: one for each suite, protocol and group of domains.
pub fn paper_tables(all: &[Results], published: &PublishedNumbers) -> Vec<PaperTable> {
    let mut tables: Vec<PaperTable> = Vec::new();
    for results in all {
        for group in results.groups() {
            let same = |table: &PaperTable| {
                table.suite == results.suite
                    && table.protocol == results.protocol
                    && table.group == group
            };
            if !tables.iter().any(same) {
                let of_table = |other: &&Results| {
                    other.suite == results.suite && other.protocol == results.protocol
                };
                let models: Vec<&Results> = all.iter().filter(of_table).collect();
                tables.push(table(&models, group, published));
            }
        }
    }
    tables
}

/// The table of a group of domains, with the results of each model.
fn table(models: &[&Results], group: &str, published: &PublishedNumbers) -> PaperTable {
    let first = models[0];
    let mut columns: Vec<String> = Vec::new();
    let mut shifts: Vec<Shift> = Vec::new();
    for results in models {
        for &domain in &results.group(group).domains {
            let name = &results.domains[domain].name;
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        shifts.extend(&results.shifts);
    }
    shifts.sort_unstable();
    shifts.dedup();
    let mut blocks = Vec::new();
    for shift in shifts {
        for results in models {
            let mut rows = rows(results, &columns, shift);
            rows.extend(published.rows_of(results, shift, &columns));
            rank::rank(&mut rows);
            if !rows.is_empty() {
                blocks.push(PaperBlock {
                    shift,
                    model: results.model.clone(),
                    variant: results.main_variant().to_owned(),
                    rows,
                });
            }
        }
    }
    columns.push("average".to_owned());
    let mut table = PaperTable {
        suite: first.suite.clone(),
        group: group.to_owned(),
        protocol: first.protocol,
        caption: String::new(),
        columns,
        blocks,
    };
    table.caption = caption(&table, published);
    table
}

/// The methods of a model's main variant under a shift.
fn rows(results: &Results, domains: &[String], shift: Shift) -> Vec<PaperRow> {
    let place = |name: &String| {
        results
            .domains
            .iter()
            .position(|domain| domain.name == *name)
    };
    // A domain without any cells lies beyond the list, where no series has results.
    let places: Vec<usize> = domains
        .iter()
        .map(|name| place(name).unwrap_or(usize::MAX))
        .collect();
    let mut rows = Vec::new();
    for series in series(results, results.main_variant()) {
        let of = |domains: &[usize]| values(results, &series, domains, shift);
        let mut values: Vec<_> = places.iter().map(|&domain| of(&[domain])).collect();
        values.push(of(&places));
        if values.iter().flatten().any(Option::is_some) {
            rows.push(PaperRow {
                method: series.method.title().to_owned(),
                source: None,
                sees_labels: results.sees_labels(&series),
                values,
            });
        }
    }
    rows
}

fn values(
    results: &Results,
    series: &Series,
    domains: &[usize],
    shift: Shift,
) -> [Option<PaperValue>; 3] {
    let pairs: Vec<_> = domains.iter().map(|&domain| (domain, shift)).collect();
    let summary = results.summary(series, &pairs);
    PAPER_METRICS.map(|(metric, _)| {
        let value = summary.as_ref()?.values.get(&metric)?;
        Some(PaperValue::new(value.mean, value.deviation, value.partial))
    })
}

fn caption(table: &PaperTable, published: &PublishedNumbers) -> String {
    let cells = || table.blocks.iter().flat_map(|block| &block.rows);
    let values = || cells().flat_map(|row| &row.values).flatten().flatten();
    let mut variants: Vec<&str> = table
        .blocks
        .iter()
        .map(|block| block.variant.as_str())
        .collect();
    variants.dedup();
    let mut caption = format!(
        "Accuracy (ACC), AUROC (AUC) and their harmonic mean (H) in percent on {}, {} protocol, settings {}. The best value of a \
         block is bold, the second underlined.",
        table.title(),
        table.protocol,
        variants.join(", ")
    );
    if values().any(|value| value.deviation.is_some()) {
        caption += " ± is the standard deviation over seeds.";
    }
    if cells().any(|row| row.sees_labels) {
        caption += " Methods that see labels are not ranked.";
    }
    if values().any(|value| value.partial) {
        caption += " † Over a part of the cells only, and not ranked.";
    }
    if cells().any(|row| row.source.is_some()) {
        caption += &format!(" In italics: {}, not ranked.", published.source);
    }
    caption
}

/// A table of a paper in its three formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaperText {
    /// For LaTeX, with the packages booktabs and graphicx.
    pub latex: String,
    /// For GitHub.
    pub markdown: String,
    /// One line per number.
    pub csv: Vec<u8>,
}

impl PaperText {
    /// Some tables.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`].
    pub fn of(tables: &[PaperTable]) -> Result<Self, BenchmarkError> {
        Ok(Self {
            latex: latex::document_part(tables),
            markdown: text::markdown(tables),
            csv: text::csv(tables)?,
        })
    }

    /// Writes `paper.tex`, `paper.md` and `paper.csv` into `tables/` below an output directory.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Io`].
    pub fn write(&self, output: &Path) -> Result<(), BenchmarkError> {
        let folder = output.join("tables");
        ueo::disk::create_directories(&folder)
            .map_err(|source| BenchmarkError::io("create", &folder, source))?;
        write(&folder.join("paper.tex"), self.latex.as_bytes())?;
        write(&folder.join("paper.md"), self.markdown.as_bytes())?;
        write(&folder.join("paper.csv"), &self.csv)
    }
}

/// A number as it is printed, without its deviation: percent with one decimal.
fn printed(value: f64) -> String {
    super::table::percent(value)
}

#[cfg(test)]
mod tests;
