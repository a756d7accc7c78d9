//! What the guard saw after every epoch, without labels, and what it warned of.

use maud::{Markup, html};

use crate::ReportError;
use crate::numbers::{counted, percent, significant};
use crate::page::{Section, figure, folded, table, text};
use crate::plot::{Axis, Ink, Line, LinePlot};
use crate::run_data::RunData;
use ueo::guard::{EpochRecord, WatchedView, collapse_limit};

/// A sign that has a curve.
struct Curve {
    title: &'static str,
    note: &'static str,
    percent: bool,
    of: fn(&EpochRecord) -> f64,
    /// A value that the sign should not reach, given that of the zero-shot model.
    limit: Option<fn(&EpochRecord) -> f64>,
}

const CURVES: [Curve; 3] = [
    Curve {
        title: "Effective classes",
        note: "How many classes of equal size would be as diverse as the predictions. Below the line, the guard warns of a collapse.",
        percent: false,
        of: |record| record.signs.effective_classes,
        limit: Some(|zero_shot| collapse_limit(&zero_shot.signs)),
    },
    Curve {
        title: "Marginal entropy",
        note: "Of the mean prediction, as a share of ln(classes): how evenly the images spread over the classes.",
        percent: true,
        of: |record| record.signs.marginal_entropy,
        limit: None,
    },
    Curve {
        title: "Threshold",
        note: "The confidence from which on an image would count as known, chosen without labels.",
        percent: false,
        of: |record| record.signs.threshold,
        limit: None,
    },
];

/// The section, unless nothing was trained.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn section(run: &RunData) -> Result<Option<Section>, ReportError> {
    let epochs = &run.epochs;
    if epochs.len() < 2 {
        return Ok(None);
    }
    let figures = CURVES
        .iter()
        .map(|curve| draw(curve, epochs))
        .collect::<Result<Vec<Markup>, ReportError>>()?;
    let title = format!(
        "The checkpoint and {} in numbers",
        counted(epochs.len() - 1, "epoch")
    );
    let body = html! {
        @for warning in &run.record.warnings {
            p.notice {
                "The guard warns: " (warning) ". "
                (counted(warning.epochs, "epoch")) " of " (epochs.len() - 1) " below the limit. "
                span.quiet { "What can be done: lower both learning rates, train fewer epochs, or choose another method." }
            }
        }
        p.quiet {
            @if run.record.warnings.is_empty() { "The guard saw no reason to warn. " }
            "No label is read here. Epoch 0 is the checkpoint, on the test views of the images; the others are "
            (views(epochs)) "."
        }
        div.plots { @for figure in &figures { (figure) } }
        (folded(&title, &numbers(run)))
    };
    Ok(Some(Section {
        id: "epochs",
        title: "Epoch by epoch",
        body,
    }))
}

/// Which images the epochs after the first record were looked at on.
fn views(epochs: &[EpochRecord]) -> &'static str {
    // A run looks at all of its epochs in the same way.
    match epochs[1].view {
        WatchedView::Training => {
            "on the augmented views of their training steps, so that the step from 0 to 1 is a change of views too"
        }
        WatchedView::Test => "on the same views",
    }
}

fn draw(curve: &Curve, epochs: &[EpochRecord]) -> Result<Markup, ReportError> {
    let points: Vec<(f64, f64)> = epochs
        .iter()
        .map(|record| (record.epoch as f64, (curve.of)(record)))
        .collect();
    let last = points.last().map_or(1.0, |point| point.0);
    let limit = curve.limit.map(|limit| limit(&epochs[0]));
    let description = format!(
        "{} over {}",
        curve.title,
        counted(epochs.len() - 1, "epoch")
    );
    let mut lines = Vec::new();
    lines.extend(limit.map(|limit| Line::limit([(0.0, limit), (last, limit)])));
    lines.push(Line::new(Ink::Adapted, points.iter().copied()).with_dots());
    let values = points.iter().map(|point| point.1).chain(limit);
    let plot = LinePlot {
        description: &description,
        horizontal: Axis::whole(0.0, last),
        vertical: Axis {
            percent: curve.percent,
            ..Axis::around(values)
        },
        lines,
    }
    .draw()?;
    let legend: &[(Ink, &str)] = match limit {
        Some(_) => &[(Ink::Strong, "limit")],
        None => &[],
    };
    Ok(figure(curve.title, legend, &plot, &text(curve.note)))
}

/// Every sign of every epoch; the epoch that was kept is marked.
fn numbers(run: &RunData) -> Markup {
    let criterion = run.epochs.iter().any(|record| record.criterion.is_some());
    let mut head = vec![
        "epoch",
        "effective classes",
        "marginal entropy",
        "conditional entropy",
        "mean confidence",
        "other class than the checkpoint",
        "threshold",
        "below it",
    ];
    if criterion {
        head.push("criterion");
    }
    let rows: Vec<Vec<Markup>> = run
        .epochs
        .iter()
        .map(|record| {
            let signs = &record.signs;
            let kept = run.record.kept_epoch == Some(record.epoch);
            let mut row = vec![html! { (record.epoch) @if kept { " " span.quiet { "kept" } } }];
            row.extend(
                [
                    format!("{:.1}", signs.effective_classes),
                    percent(signs.marginal_entropy),
                    percent(signs.conditional_entropy),
                    percent(signs.mean_confidence),
                    percent(signs.changed_fraction),
                    significant(signs.threshold),
                    percent(signs.rejected_fraction),
                ]
                .map(text),
            );
            if criterion {
                row.push(text(
                    record.criterion.map_or_else(|| "–".to_owned(), significant),
                ));
            }
            row
        })
        .collect();
    table(&head, 1, &rows)
}
