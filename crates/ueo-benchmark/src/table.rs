//! Tables as text: Markdown and LaTeX from the same rows.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::escape::{latex_text, markdown_text};
use super::measurements::Metric;
use super::results::{Comparison, Value};
use ueo::evaluate::Interval;

/// A table of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// As many texts per row as there are columns.
    pub rows: Vec<Vec<String>>,
    /// Row and column of the cells that are the best of their columns, where that is known; text formats do not show it.
    pub best: BTreeSet<(usize, usize)>,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self {
            title: title.into(),
            header: header.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }

    /// The table, whose note says what the mark of partial means is where one has it.
    pub fn explained(mut self) -> Self {
        let cells = self.rows.iter().flatten();
        if cells.into_iter().any(|cell| cell.contains(PARTIAL)) || self.note.contains(PARTIAL) {
            self.note = format!("{} {PARTIAL_MEANS}", self.note).trim().to_owned();
        }
        self
    }

    /// Whether a column holds numbers, which are aligned to the right.
    pub fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().all(|row| {
            let cell = row[column].as_str();
            cell == NOTHING
                || cell.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '−')
        })
    }

    /// The table on its side: columns become rows.
    pub fn transposed(&self) -> Self {
        let column = |place: usize| self.rows.iter().map(move |row| row[place].clone());
        let names = self.header.iter().enumerate();
        let mut lines = names.map(|(place, name)| {
            let line = std::iter::once(name.clone()).chain(column(place));
            line.collect::<Vec<String>>()
        });
        Self {
            title: self.title.clone(),
            note: self.note.clone(),
            header: lines.next().unwrap_or_default(),
            rows: lines.collect(),
            best: BTreeSet::new(),
        }
    }

    /// The table as GitHub shows it.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| markdown_text(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        text += &row(&self.header);
        let rule: Vec<String> = (0..self.header.len())
            .map(|column| {
                if self.is_numeric(column) {
                    "---:"
                } else {
                    "---"
                }
                .to_owned()
            })
            .collect();
        text += &row(&rule);
        for cells in &self.rows {
            text += &row(cells);
        }
        text
    }

    /// The table below its title and its note.
    pub fn markdown_section(&self) -> String {
        let note = markdown_text(&self.note);
        format!(
            "\n## {}\n\n{note}\n\n{}",
            markdown_text(&self.title),
            self.markdown()
        )
    }

    /// The table as a `tabular` of LaTeX with the rules of booktabs.
    pub fn latex(&self) -> String {
        let mut text = String::new();
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| latex_text(cell)).collect();
            format!("{} \\\\\n", cells.join(" & "))
        };
        let columns: String = (0..self.header.len())
            .map(|column| if self.is_numeric(column) { 'r' } else { 'l' })
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\\begin{{table}}\n\\caption{{{}. {}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n",
            latex_text(&self.title),
            latex_text(&self.note)
        );
        text += &row(&self.header);
        text += "\\midrule\n";
        for cells in &self.rows {
            text += &row(cells);
        }
        text += "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
        text
    }
}

/// What stands where there is no value.
pub const NOTHING: &str = "–";

/// A fraction in percent.
pub fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

/// A mean with its deviation, in percent.
pub fn value(value: Option<&Value>) -> String {
    match value {
        Some(Value {
            mean,
            deviation: Some(deviation),
            partial,
            ..
        }) => marked(
            format!("{} ± {}", percent(*mean), percent(*deviation)),
            *partial,
        ),
        Some(Value { mean, partial, .. }) => marked(percent(*mean), *partial),
        None => NOTHING.to_owned(),
    }
}

/// Stands beside what is taken over a part of the cells only.
const PARTIAL: char = '†';

/// What the mark means.
const PARTIAL_MEANS: &str = "† Over a part of the cells only.";

/// A number, with a mark where cells are missing that it should be taken over.
pub fn marked(text: String, partial: bool) -> String {
    match partial {
        true => format!("{text} {PARTIAL}"),
        false => text,
    }
}

/// A difference in percentage points, always with its sign.
pub fn points(value: f64) -> String {
    let text = format!("{:.1}", 100.0 * value.abs());
    match value {
        _ if text == "0.0" => text,
        value if value < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// A difference with its interval, in percentage points.
pub fn interval(interval: Option<Interval>) -> String {
    match interval {
        Some(interval) => format!("{} {}", points(interval.estimate), range(interval)),
        None => NOTHING.to_owned(),
    }
}

/// A difference with its interval, with a mark where cells are missing.
pub fn difference(comparison: &Comparison, metric: Metric) -> String {
    match comparison.of(metric) {
        Some(found) => marked(interval(Some(found)), comparison.partial),
        None => NOTHING.to_owned(),
    }
}

/// The ends of an interval, in percentage points.
pub fn range(interval: Interval) -> String {
    format!("[{}, {}]", points(interval.lower), points(interval.upper))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn numbers_read_as_percent_and_points() {
        let with = |deviation| Value {
            mean: 0.7968,
            by_seed: BTreeMap::new(),
            deviation,
            partial: false,
        };
        assert_eq!(value(Some(&with(Some(0.0042)))), "79.7 ± 0.4");
        assert_eq!(value(Some(&with(None))), "79.7");
        assert_eq!(value(None), NOTHING);
        let mut part = with(Some(0.0042));
        part.partial = true;
        assert_eq!(value(Some(&part)), "79.7 ± 0.4 †");
        let difference = Interval {
            estimate: 0.0134,
            lower: -0.021,
            upper: 0.0002,
        };
        assert_eq!(interval(Some(difference)), "+1.3 [−2.1, 0.0]");
    }

    #[test]
    fn both_formats_have_all_cells() {
        let mut table = Table::new("A_table", &["method", "accuracy"]);
        table.note = "In %".to_owned();
        table
            .rows
            .push(vec!["a | b & c".to_owned(), "1.0 ± 0.1".to_owned()]);
        assert_eq!(
            table.markdown(),
            "| method | accuracy |\n| --- | ---: |\n| a \\| b & c | 1.0 ± 0.1 |\n"
        );
        let latex = table.latex();
        assert!(latex.contains("\\caption{A\\_table. In \\%}"), "{latex}");
        assert!(
            latex.contains("a \\textbar{} b \\& c & 1.0 $\\pm$ 0.1 \\\\\n"),
            "{latex}"
        );
        assert!(latex.contains("\\begin{tabular}{lr}"), "{latex}");
        table.rows[0][1].push_str(" †");
        let explained = table.clone().explained();
        assert_eq!(explained.note, "In % † Over a part of the cells only.");
        assert!(explained.is_numeric(1));
        table.rows[0][1] = "1.0 ± 0.1".to_owned();
        assert_eq!(table.clone().explained(), table);
        let sideways = table.transposed();
        assert_eq!(sideways.header, ["method", "a | b & c"]);
        assert_eq!(sideways.rows, [["accuracy", "1.0 ± 0.1"]]);
    }
}
