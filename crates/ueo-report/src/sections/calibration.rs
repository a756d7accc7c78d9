//! Whether a probability of 80 % is right in 80 % of the cases.

use maud::html;

use crate::ReportError;
use crate::numbers::percent;
use crate::page::{Section, figure, text};
use crate::plot::{Axis, Ink, Line, LinePlot};
use crate::run_data::{RunData, Side};
use ueo::evaluate::{
    CALIBRATION_BINS, ReliabilityBin, expected_calibration_error, reliability_bins,
};

use super::separation::LEGEND;

/// The section, when there are labelled images of known classes.
///
/// # Errors
///
/// [`ReportError::Plot`] and [`ReportError::Evaluate`].
pub fn section(run: &RunData) -> Result<Option<Section>, ReportError> {
    if run.images.iter().all(|image| image.known_class().is_none()) {
        return Ok(None);
    }
    let bins = [bins(run, Side::ZeroShot)?, bins(run, Side::Adapted)?];
    let errors = bins
        .each_ref()
        .map(|bins| percent(expected_calibration_error(bins)));
    let mut lines = vec![Line::reference([(0.0, 0.0), (1.0, 1.0)])];
    lines.extend(
        bins.iter()
            .zip(LEGEND)
            .map(|(bins, (ink, _))| line(bins, ink)),
    );
    let plot = LinePlot {
        description: "reliability diagram",
        horizontal: Axis::SHARE,
        vertical: Axis::SHARE,
        lines,
    }
    .draw()?;
    let note = format!(
        "Accuracy over mean probability in {CALIBRATION_BINS} bins of equal width, images of known classes. Below the diagonal \
         the model is too sure. Expected calibration error: {} zero-shot, {} adapted.",
        errors[0], errors[1]
    );
    Ok(Some(Section {
        id: "calibration",
        title: "Calibration",
        body: html! {
            p.quiet { "Probabilities are those of the softmax at the checkpoint's own logit scale, the ones that training sees." }
            div.plots { (figure("Reliability", &LEGEND, &plot, &text(note))) }
        },
    }))
}

fn bins(run: &RunData, side: Side) -> Result<Vec<ReliabilityBin>, ReportError> {
    let (probabilities, correct): (Vec<f64>, Vec<bool>) = run
        .images
        .iter()
        // Summed exponentials may pass 1 by a rounding.
        .filter_map(|image| {
            Some((
                image.answer(side).probability().min(1.0),
                image.correct(side)?,
            ))
        })
        .unzip();
    Ok(reliability_bins(
        &probabilities,
        &correct,
        CALIBRATION_BINS,
    )?)
}

fn line(bins: &[ReliabilityBin], ink: Ink) -> Line {
    let points = bins
        .iter()
        .filter_map(|bin| Some((bin.mean_confidence?, bin.accuracy?)));
    Line::new(ink, points).with_dots()
}
