//! Measurements and settings as tables on the screen.

use comfy_table::presets::{NOTHING, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use ueo::evaluate::{ClassIntervals, Evaluation, Interval, Review, Threshold};

use crate::words::{counted, percent, points};

/// Where tables of measurements end: what is sent by mail or read in a log has no other width.
pub const COLUMNS: u16 = 80;

/// Models by name, one a row: repository, pixels, millions of parameters, accuracy, licence, whether it is cached.
pub fn models(rows: impl Iterator<Item = [String; 6]>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "name",
        "pixels",
        "parameters, M",
        "ImageNet, %",
        "licence",
        "cached",
    ]);
    for row in rows {
        table.add_row(row);
    }
    for column in 1..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The measurements of one or more models on the same images, one column each; of two models also how much the second differs
/// from the first.
pub fn measurements(columns: &[(&str, &Evaluation)], changes: Option<&ClassIntervals>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS);
    let mut header = vec![String::new()];
    header.extend(columns.iter().map(|(title, _)| (*title).to_owned()));
    if columns.len() == 2 {
        header.push("change, points".to_owned());
    }
    table.set_header(header);
    for measure in &MEASURES {
        let mut row = vec![format!("{} {}", measure.name, measure.better())];
        row.extend(columns.iter().map(|(_, evaluation)| {
            let value = percent((measure.of)(evaluation));
            match (columns, measure.interval(evaluation.intervals.as_ref())) {
                ([_], Some(interval)) => format!(
                    "{value} [{:.1}, {:.1}]",
                    100.0 * interval.lower,
                    100.0 * interval.upper
                ),
                _ => value,
            }
        }));
        if let [(_, before), (_, after)] = columns {
            let values = (measure.of)(before).zip((measure.of)(after));
            row.push(values.map_or_else(
                || "-".to_owned(),
                |(before, after)| points(after - before, measure.interval(changes)),
            ));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Texts in columns, all but the first aligned to the right.
pub fn rows(header: &[String], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS);
    table.set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Texts in columns that wrap where the screen ends.
pub fn texts<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS);
    table.set_header(header);
    table.add_rows(rows.iter().map(|row| row.iter()));
    table
}

/// A row of the table of measurements.
struct Measure {
    name: &'static str,
    of: fn(&Evaluation) -> Option<f64>,
    lower_is_better: bool,
    /// Its interval over classes, where it has one.
    interval: fn(&ClassIntervals) -> Option<Interval>,
}

impl Measure {
    const fn new(name: &'static str, of: fn(&Evaluation) -> Option<f64>) -> Self {
        Self {
            name,
            of,
            lower_is_better: false,
            interval: |_| None,
        }
    }

    /// The direction that is better.
    fn better(&self) -> char {
        if self.lower_is_better { '↓' } else { '↑' }
    }

    fn interval(&self, intervals: Option<&ClassIntervals>) -> Option<Interval> {
        (self.interval)(intervals?)
    }
}

/// In the order in which people read them: recognition, separation, both.
const MEASURES: [Measure; 12] = [
    Measure::new("accuracy, overall", |e| e.overall_accuracy),
    Measure {
        interval: |intervals| intervals.per_class_accuracy,
        ..Measure::new("accuracy, mean over classes", |e| e.per_class_accuracy)
    },
    Measure {
        interval: |intervals| intervals.auroc,
        ..Measure::new("AUROC", |e| e.auroc)
    },
    Measure {
        lower_is_better: true,
        ..Measure::new("FPR at 95 % TPR, known positive", |e| e.fpr_at_95_tpr)
    },
    Measure::new("AUPR, known positive", |e| e.aupr_known),
    Measure::new("AUPR, unknown positive", |e| e.aupr_unknown),
    Measure::new("accuracy, AUROC: harmonic mean", |e| {
        e.harmonic_mean_accuracy_auroc
    }),
    Measure::new("OSCR", |e| e.oscr),
    Measure {
        lower_is_better: true,
        ..Measure::new("expected calibration error", |e| {
            e.expected_calibration_error
        })
    },
    Measure::new("known accuracy at the threshold", |e| {
        e.known_accuracy_at_threshold
    }),
    Measure::new("unknown recall at the threshold", |e| {
        e.unknown_recall_at_threshold
    }),
    Measure::new("H-score at the threshold", |e| e.h_score),
];

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
    let found = threshold
        .finding_in_words()
        .map_or_else(String::new, |words| format!("; {words}"));
    let review = threshold.review.map_or_else(String::new, review);
    format!(
        "{:.6} ({}{because}), with {:.1} % of {} below it{found}{review}",
        threshold.value,
        threshold.method,
        100.0 * threshold.rejected_fraction,
        counted(threshold.images, "image")
    )
}

/// The band in which a person should look, and how often images outside of it are judged wrongly.
fn review(review: Review) -> String {
    let errors = review.errors.map_or_else(String::new, |errors| {
        let side = |share: Option<f64>, what: &str| {
            share.map(|share| format!("{:.1} % of {what}", 100.0 * share))
        };
        let sides = [
            side(errors.known_rejected, "known images below it"),
            side(errors.unknown_accepted, "unknown images above it"),
        ];
        let sides: Vec<String> = sides.into_iter().flatten().collect();
        match sides.is_empty() {
            true => String::new(),
            false => format!("; expected errors: {}", sides.join(", ")),
        }
    });
    format!(
        "; review from {:.6} to {:.6}{errors}",
        review.reject_below, review.accept_from
    )
}
