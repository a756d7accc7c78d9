//! How confident the models are, and where the threshold lies.

use maud::{Markup, html};

use crate::ReportError;
use crate::numbers::{counted, percent, significant};
use crate::page::{Section, figure, text};
use crate::plot::{Axis, Bars, Histogram, Ink};
use crate::run_data::{RunData, Side};
use ueo::evaluate::{Review, ScoreRule, Threshold, ThresholdMethod, Verdict};

/// The section.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn section(run: &RunData) -> Result<Section, ReportError> {
    let all = Side::BOTH
        .into_iter()
        .flat_map(|side| run.confidences(side));
    // One axis for both, so that a shift is seen as a shift.
    let axis = Axis::around(all);
    let figures = Side::BOTH
        .into_iter()
        .map(|side| histogram(run, side, axis))
        .collect::<Result<Vec<Markup>, ReportError>>()?;
    let record = &run.record;
    let rule = record.request.score_rule();
    let body = html! {
        p.quiet {
            "Confidence is what separates known from unknown images: " (rule.score.about())
            @if rule.score.has_temperature() { " (" (rule.temperature) ")" } "."
            @if rule == ScoreRule::msp(1.0) {
                " At temperature 1 all values lie a little above 1 / classes; only their order and spread matter."
            }
        }
        div.plots { @for figure in &figures { (figure) } }
        @if let Some(threshold) = &record.threshold {
            p.quiet {
                "The threshold of " (significant(threshold.value))
                @if let (ThresholdMethod::TargetKnownAcceptance(_), Some(images)) =
                    (threshold.method, &record.request.threshold_images)
                {
                    " was measured on the labelled images in " (images.display()) " by " (threshold.method)
                } @else {
                    " was chosen without labels by " (threshold.method)
                }
                @if let Some(reason) = &threshold.fallback { ", because " (reason) }
                "; " (percent(threshold.rejected_fraction)) " of the images lie below it."
                @if let Some(found) = threshold.finding_in_words() { " Found: " (found) "." }
            }
            @if let Some(band) = threshold.review { (review(run, threshold, band)) }
        }
    };
    Ok(Section {
        id: "confidence",
        title: "Confidence",
        body,
    })
}

/// What to do with the images: how many need no look, and how often that is wrong.
fn review(run: &RunData, threshold: &Threshold, band: Review) -> Markup {
    let count = |verdict| {
        let confidences = run.confidences(Side::Adapted);
        confidences
            .filter(|confidence| threshold.verdict(*confidence) == verdict)
            .count()
    };
    html! {
        p.quiet {
            (counted(count(Verdict::Accept), "image")) " can be accepted without a look (from " (significant(band.accept_from))
            " on), " (counted(count(Verdict::Reject), "image")) " rejected (below " (significant(band.reject_below)) "); a \
            person should look at the " (counted(count(Verdict::Review), "image")) " between."
            @if let Some(errors) = band.errors {
                @if let Some(share) = errors.known_rejected {
                    " By the labels, expect to reject " (percent(share)) " of the known images so."
                }
                @if let Some(share) = errors.unknown_accepted {
                    " By the labels, expect to accept " (percent(share)) " of the unknown ones."
                }
            }
        }
    }
}

fn histogram(run: &RunData, side: Side, axis: Axis) -> Result<Markup, ReportError> {
    let bars: Vec<Bars> = if run.labelled() {
        vec![
            Bars::count(Ink::Known, run.confidences_of(side, true), axis),
            Bars::count(Ink::Unknown, run.confidences_of(side, false), axis),
        ]
    } else {
        let ink = match side {
            Side::ZeroShot => Ink::ZeroShot,
            Side::Adapted => Ink::Adapted,
        };
        vec![Bars::count(ink, run.confidences(side), axis)]
    };
    let legend: &[(Ink, &str)] = if run.labelled() {
        &[
            (Ink::Known, "known, filled"),
            (Ink::Unknown, "unknown, outlined"),
            (Ink::Strong, "threshold"),
        ]
    } else {
        &[(Ink::Strong, "threshold")]
    };
    let threshold = run.threshold(side);
    let rejected = run.share(|image| run.rejects(side, image));
    let plot = Histogram {
        description: &format!("histogram of the {} model's confidences", side.name()),
        axis,
        highest: bars.iter().map(Bars::highest).max().unwrap_or_default(),
        bars,
        threshold: Some(threshold),
    }
    .draw()?;
    let title = match side {
        Side::ZeroShot => "Zero-shot",
        Side::Adapted => "Adapted",
    };
    let note = text(format!(
        "Images by confidence. {} lie below the threshold of {}.",
        percent(rejected),
        significant(threshold)
    ));
    Ok(figure(title, legend, &plot, &note))
}
