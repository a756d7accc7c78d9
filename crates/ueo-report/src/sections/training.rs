//! Loss and entropies over the steps.

use maud::{Markup, html};

use crate::ReportError;
use crate::page::{Section, figure};
use crate::plot::{Axis, Ink, Line, LinePlot};
use crate::run_data::RunData;
use ueo::adapt::StepRecord;

type Quantity = fn(&StepRecord) -> f64;

/// What a step records and how to read it.
const CURVES: [(&str, Quantity, &str); 3] = [
    (
        "Loss",
        |step| step.loss,
        "What is minimized, in nats; comparable within a method only.",
    ),
    (
        "Conditional entropy",
        |step| step.conditional_entropy,
        "How undecided the model is about single images, in nats. Falls as predictions become sharper.",
    ),
    (
        "Marginal entropy",
        |step| step.marginal_entropy,
        "How evenly a batch spreads over the classes, in nats. A steep fall means that classes disappear.",
    ),
];

/// The section, unless nothing was trained.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn section(run: &RunData) -> Result<Option<Section>, ReportError> {
    if run.steps.len() < 2 {
        return Ok(None);
    }
    let figures = CURVES
        .iter()
        .map(|(name, quantity, note)| {
            let plot = plot(name, &run.steps, *quantity)?;
            Ok(figure(name, &[], &plot, &html! { (note) }))
        })
        .collect::<Result<Vec<Markup>, ReportError>>()?;
    let body = html! {
        p.quiet { "Thin: every step. Bold: the mean of each epoch." }
        div.plots { @for figure in &figures { (figure) } }
    };
    Ok(Some(Section {
        id: "training",
        title: "Training",
        body,
    }))
}

fn plot(name: &str, steps: &[StepRecord], quantity: Quantity) -> Result<Markup, ReportError> {
    let points: Vec<(f64, f64)> = steps
        .iter()
        .map(|step| (step.step as f64, quantity(step)))
        .collect();
    let last = points.last().map_or(1.0, |point| point.0);
    let description = format!("{name} over {} steps", steps.len());
    LinePlot {
        description: &description,
        horizontal: Axis::whole(1.0, last),
        vertical: Axis::around(points.iter().map(|point| point.1)),
        lines: vec![
            Line::faint(Ink::Adapted, points),
            Line::new(Ink::Adapted, epoch_means(steps, quantity)),
        ],
    }
    .draw()
}

/// The mean of each epoch at the middle of its steps.
fn epoch_means(steps: &[StepRecord], quantity: Quantity) -> Vec<(f64, f64)> {
    steps
        .chunk_by(|a, b| a.epoch == b.epoch)
        .map(|epoch| {
            let count = epoch.len() as f64;
            let middle = epoch.iter().map(|step| step.step as f64).sum::<f64>() / count;
            (middle, epoch.iter().map(quantity).sum::<f64>() / count)
        })
        .collect()
}
