//! Measurements and settings as tables on the screen.

use comfy_table::presets::{NOTHING, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use ueo::evaluate::{Evaluation, Interval, Threshold};

/// The measurements of one or more models on the same images, one column each.
pub fn measurements(columns: &[(&str, &Evaluation)]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    let titles = columns.iter().map(|(title, _)| *title);
    table.set_header(std::iter::once("").chain(titles));
    for (name, value) in RATES {
        let values = columns.iter().map(|(_, evaluation)| {
            let interval = interval(name, evaluation).map_or_else(String::new, |interval| {
                format!(
                    " [{:.1}, {:.1}]",
                    100.0 * interval.lower,
                    100.0 * interval.upper
                )
            });
            rate(value(evaluation)) + &interval
        });
        table.add_row(std::iter::once(name.to_owned()).chain(values));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Texts in columns, all but the first aligned to the right.
pub fn rows(header: &[String], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

type Rate = fn(&Evaluation) -> Option<f64>;

/// In the order in which people read them: recognition, separation, both.
const RATES: [(&str, Rate); 12] = [
    ("accuracy, overall", |e| e.overall_accuracy),
    (PER_CLASS_ACCURACY, |e| e.per_class_accuracy),
    (AUROC, |e| e.auroc),
    ("FPR at 95 % TPR (known positive)", |e| e.fpr_at_95_tpr),
    ("AUPR, known positive", |e| e.aupr_known),
    ("AUPR, unknown positive", |e| e.aupr_unknown),
    ("harmonic mean of accuracy and AUROC", |e| {
        e.harmonic_mean_accuracy_auroc
    }),
    ("OSCR", |e| e.oscr),
    ("expected calibration error", |e| {
        e.expected_calibration_error
    }),
    ("known accuracy at the threshold", |e| {
        e.known_accuracy_at_threshold
    }),
    ("unknown recall at the threshold", |e| {
        e.unknown_recall_at_threshold
    }),
    ("H-score at the threshold", |e| e.h_score),
];

const PER_CLASS_ACCURACY: &str = "accuracy, mean over classes";
const AUROC: &str = "AUROC";

/// The interval over classes of a rate that has one.
fn interval(name: &str, evaluation: &Evaluation) -> Option<Interval> {
    let intervals = evaluation.intervals?;
    match name {
        PER_CLASS_ACCURACY => intervals.per_class_accuracy,
        AUROC => intervals.auroc,
        _ => None,
    }
}

fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// Names and values, aligned, with long values wrapped where the screen ends.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for (name, value) in facts {
        table.add_row([name.to_owned(), value]);
    }
    table.trim_fmt()
}

/// A threshold and how it came about, in words.
pub fn threshold(threshold: &Threshold) -> String {
    let because = threshold
        .fallback
        .map_or_else(String::new, |reason| format!(", because {reason}"));
    format!(
        "{:.6} ({}{because}), with {:.1} % of {} images below it",
        threshold.value,
        threshold.method,
        100.0 * threshold.rejected_fraction,
        threshold.images
    )
}
