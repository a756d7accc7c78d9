//! Lines over a common axis.

use maud::Markup;
use plotters::element::{Circle, PathElement};
use plotters::series::LineSeries;
use plotters::style::Color as _;

use super::{Axis, Chart, Ink, draw};
use crate::ReportError;

/// Points that a line keeps; more cannot be told apart on the page.
const MOST_POINTS: usize = 240;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it stands for.
    pub ink: Ink,
    /// Width in units of the drawing.
    pub width: u32,
    /// Opacity, 0 to 1.
    pub opacity: f64,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Radius of a dot at each point in units of the drawing, 0 for none.
    pub dots: u32,
}

impl Line {
    /// A line that is meant to be seen. Points that the page cannot show are left out.
    pub fn new(ink: Ink, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            ink,
            width: 5,
            opacity: 1.0,
            points: thinned(points.into_iter().collect()),
            dots: 0,
        }
    }

    /// A line in the background.
    pub fn faint(ink: Ink, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            width: 2,
            opacity: 0.35,
            ..Self::new(ink, points)
        }
    }

    /// A thin line of reference, such as a diagonal.
    pub fn reference(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            width: 2,
            ..Self::new(Ink::Quiet, points)
        }
    }

    /// A line that others should stay on one side of.
    pub fn limit(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            width: 3,
            ..Self::new(Ink::Strong, points)
        }
    }

    /// Draws it on a chart.
    pub(super) fn draw_on(&self, chart: &mut Chart<'_, '_>) -> Result<(), ReportError> {
        let style = self.ink.color().mix(self.opacity);
        let points = self.points.iter().copied();
        chart
            .draw_series(LineSeries::new(points, style.stroke_width(self.width)))
            .map_err(ReportError::plot)?;
        if self.dots > 0 {
            let dots = self.points.iter();
            chart
                .draw_series(dots.map(|point| Circle::new(*point, self.dots, style.filled())))
                .map_err(ReportError::plot)?;
        }
        Ok(())
    }

    /// The same with a dot at each point.
    pub fn with_dots(self) -> Self {
        Self { dots: 8, ..self }
    }
}

/// Lines on axes, drawn in order.
#[derive(Clone, Debug)]
pub struct LinePlot<'a> {
    /// In words, for those who cannot see it.
    pub description: &'a str,
    /// Horizontal axis.
    pub horizontal: Axis,
    /// Vertical axis.
    pub vertical: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

impl LinePlot<'_> {
    /// The picture.
    ///
    /// # Errors
    ///
    /// [`ReportError::Plot`].
    pub fn draw(&self) -> Result<Markup, ReportError> {
        draw(self.description, self.horizontal, self.vertical, |chart| {
            self.lines.iter().try_for_each(|line| line.draw_on(chart))
        })
    }
}

/// A vertical line across a chart, as an element.
pub(super) fn vertical_line(at: f64, axis: Axis) -> PathElement<(f64, f64)> {
    let style = Ink::Strong.color().stroke_width(3);
    PathElement::new(vec![(at, axis.from), (at, axis.to)], style)
}

/// At most [`MOST_POINTS`] of some points, evenly by number, the first and the last among them.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let count = points.len();
    if count <= MOST_POINTS {
        return points;
    }
    (0..MOST_POINTS)
        .map(|index| points[index * (count - 1) / (MOST_POINTS - 1)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_keep_their_ends() {
        let points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        let kept = thinned(points.clone());
        assert_eq!(kept.len(), MOST_POINTS);
        assert_eq!(kept.first(), points.first());
        assert_eq!(kept.last(), points.last());
        assert_eq!(thinned(points[..7].to_vec()), points[..7]);
    }
}
