//! How well confidence separates what is right from what is not: ROC and risk-coverage curves.

use maud::html;

use crate::ReportError;
use crate::numbers::percent;
use crate::page::{Section, figure, text};
use crate::plot::{Axis, Ink, Line, LinePlot};
use crate::run_data::{RunData, Side};
use ueo::evaluate::{risk_coverage, roc_points};

/// The two models in the colors of the report.
pub const LEGEND: [(Ink, &str); 2] = [(Ink::ZeroShot, "zero-shot"), (Ink::Adapted, "adapted")];

/// The section, when the images have labels.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn section(run: &RunData) -> Result<Option<Section>, ReportError> {
    if !run.labelled() {
        return Ok(None);
    }
    let inks = LEGEND.map(|(ink, _)| ink).into_iter().zip(Side::BOTH);
    let mut figures = Vec::new();
    let roc: Vec<Line> = inks
        .clone()
        .map(|(ink, side)| roc(run, side, ink))
        .collect();
    if roc.iter().all(|line| !line.points.is_empty()) {
        let area = Side::BOTH.map(|side| percent(run.evaluation(side).and_then(|e| e.auroc)));
        let note = format!(
            "Known images accepted over unknown images accepted, along all thresholds. Area (AUROC): {} to {}.",
            area[0], area[1]
        );
        figures.push(figure("ROC", &LEGEND, &roc_plot(roc)?, &text(note)));
    }
    let risk = inks.map(|(ink, side)| risk(run, side, ink)).collect();
    let note = "Share of wrong answers among the accepted images, over the share of all images accepted. An unknown image is \
        wrong wherever it is accepted. Lower is better.";
    figures.push(figure(
        "Risk and coverage",
        &LEGEND,
        &risk_plot(risk)?,
        &text(note),
    ));
    Ok(Some(Section {
        id: "separation",
        title: "Known and unknown",
        body: html! { div.plots { @for figure in &figures { (figure) } } },
    }))
}

/// The ROC curve of a model; no points where known or unknown images are missing.
pub fn roc(run: &RunData, side: Side, ink: Ink) -> Line {
    let (known, unknown) = (
        run.confidences_of(side, true),
        run.confidences_of(side, false),
    );
    let points = roc_points(&known, &unknown);
    Line::new(
        ink,
        points
            .iter()
            .map(|p| (p.unknown_accepted, p.known_accepted)),
    )
}

/// The risk-coverage curve of a model over all images.
pub fn risk(run: &RunData, side: Side, ink: Ink) -> Line {
    let confidences = |right: bool| -> Vec<f64> {
        let images = run.images.iter();
        images
            .filter(|image| (image.correct(side) == Some(true)) == right)
            .map(|image| image.answer(side).confidence)
            .collect()
    };
    let points = risk_coverage(&confidences(true), &confidences(false));
    Line::new(ink, points.iter().map(|p| (p.coverage, p.risk)))
}

/// ROC curves over the diagonal.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn roc_plot(curves: Vec<Line>) -> Result<maud::Markup, ReportError> {
    let mut lines = vec![Line::reference([(0.0, 0.0), (1.0, 1.0)])];
    lines.extend(curves);
    LinePlot {
        description: "ROC curves",
        horizontal: Axis::SHARE,
        vertical: Axis::SHARE,
        lines,
    }
    .draw()
}

/// Risk-coverage curves.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn risk_plot(lines: Vec<Line>) -> Result<maud::Markup, ReportError> {
    LinePlot {
        description: "risk over coverage",
        horizontal: Axis::SHARE,
        vertical: Axis::SHARE,
        lines,
    }
    .draw()
}
