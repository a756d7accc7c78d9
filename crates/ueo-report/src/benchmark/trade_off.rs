//! Accuracy against AUROC: a point per method.

use maud::{Markup, html};

use super::group::{Averages, Group};
use crate::ReportError;
use crate::page::{Section, figure, table, text};
use crate::plot::{Axis, Line, Mark, ScatterPlot};
use ueo::evaluate::Interval;
use ueo::method::Method;
use ueo_benchmark::{Metric, Value};

/// The section, unless no group has methods with both measurements.
///
/// # Errors
///
/// [`ReportError::Plot`].
pub fn section(groups: &[Group]) -> Result<Option<Section>, ReportError> {
    let mut parts = Vec::new();
    for group in groups {
        parts.extend(scatter(group)?);
    }
    Ok((!parts.is_empty()).then(|| Section {
        id: "trade-off",
        title: "Accuracy and AUROC",
        body: html! {
            p.quiet {
                "To the right: more images of the known classes get their name. Up: confidence tells known from unknown images \
                 better. The lines around a point are the 95 % intervals of the method's difference to zero-shot, whose own point \
                 is where the long lines cross: a method is clearly better or worse where its line does not reach the long one."
            }
            @for part in &parts { (part) }
        },
    }))
}

fn scatter(group: &Group) -> Result<Option<Markup>, ReportError> {
    // Means over other pairs would stand at places that cannot be compared.
    let comparable = group.methods.iter().filter(|method| group.has_all(method));
    let points: Vec<(&Averages, (&Value, &Value))> = comparable
        .filter_map(|method| {
            let value = |metric| method.summary.values.get(&metric);
            Some((method, (value(Metric::Accuracy)?, value(Metric::Auroc)?)))
        })
        .collect();
    if points.is_empty() {
        return Ok(None);
    }
    let marks: Vec<Mark> = points
        .iter()
        .map(|(method, (accuracy, auroc))| {
            let interval = |metric| method.over_zero_shot?.of(metric);
            Mark {
                ink: method.ink(),
                number: method.number,
                point: (accuracy.mean, auroc.mean),
                horizontal: interval(Metric::Accuracy).map(|i| placed(i, accuracy.mean)),
                vertical: interval(Metric::Auroc).map(|i| placed(i, auroc.mean)),
            }
        })
        .collect();
    let axis = |ends: fn(&Mark) -> [f64; 3]| Axis {
        percent: true,
        ..Axis::around(marks.iter().flat_map(ends))
    };
    let horizontal = axis(|mark| ends(mark.point.0, mark.horizontal));
    let vertical = axis(|mark| ends(mark.point.1, mark.vertical));
    let zero_shot = points
        .iter()
        .find(|(method, _)| method.series.method == Method::ZeroShot);
    let references = zero_shot.into_iter().flat_map(|(_, (accuracy, auroc))| {
        [
            Line::reference([(accuracy.mean, vertical.from), (accuracy.mean, vertical.to)]),
            Line::reference([(horizontal.from, auroc.mean), (horizontal.to, auroc.mean)]),
        ]
    });
    let plot = ScatterPlot {
        description: &format!(
            "AUROC over accuracy of {} methods, {}",
            points.len(),
            group.name
        ),
        horizontal,
        vertical,
        lines: references.collect(),
        marks,
    }
    .draw()?;
    let rows: Vec<Vec<Markup>> = points
        .iter()
        .map(|(method, (accuracy, auroc))| {
            let values = [accuracy, auroc].map(|value| text(ueo_benchmark::value(Some(value))));
            std::iter::once(method.label()).chain(values).collect()
        })
        .collect();
    let title = if group.alone {
        "All domains"
    } else {
        group.name
    };
    let note = text("AUROC over accuracy; the numbers are those of the table.");
    Ok(Some(html! {
        div.pair {
            (figure(title, &[], &plot, &note))
            div.texts { (table(&["method", Metric::Accuracy.title(), Metric::Auroc.title()], 1, &rows)) }
        }
    }))
}

/// The interval of a difference around the value that the difference leads to.
fn placed(interval: Interval, value: f64) -> (f64, f64) {
    let reference = value - interval.estimate;
    (reference + interval.lower, reference + interval.upper)
}

/// A value and the ends of the interval around it.
fn ends(value: f64, interval: Option<(f64, f64)>) -> [f64; 3] {
    let (low, high) = interval.unwrap_or((value, value));
    [low, value, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_differences_is_placed_where_the_reference_is() {
        // Zero-shot at 0.5, the method at 0.6.
        let interval = Interval {
            estimate: 0.1,
            lower: -0.05,
            upper: 0.2,
        };
        let (low, high) = placed(interval, 0.6);
        assert!((low - 0.45).abs() < 1e-12 && (high - 0.7).abs() < 1e-12);
    }
}
