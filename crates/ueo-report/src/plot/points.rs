//! Points with intervals, told apart by numbers.

use maud::Markup;
use plotters::element::{Circle, PathElement, Text};
use plotters::prelude::{IntoFont, TextStyle};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Axis, Ink, Line, TEXT_HEIGHT, draw};
use crate::ReportError;

/// Radius of a point in units of the drawing.
const RADIUS: f64 = 9.0;
/// Width of a digit in units of the drawing.
const DIGIT: f64 = 0.58 * TEXT_HEIGHT;

/// A point with the intervals of its coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// What it stands for.
    pub ink: Ink,
    /// Its number, which stands beside it.
    pub number: usize,
    /// Where it is.
    pub point: (f64, f64),
    /// Ends of the horizontal interval.
    pub horizontal: Option<(f64, f64)>,
    /// Ends of the vertical interval.
    pub vertical: Option<(f64, f64)>,
}

/// Points on axes, drawn in order over some lines.
#[derive(Clone, Debug)]
pub struct ScatterPlot<'a> {
    /// In words, for those who cannot see it.
    pub description: &'a str,
    /// Horizontal axis.
    pub horizontal: Axis,
    /// Vertical axis.
    pub vertical: Axis,
    /// Lines of reference.
    pub lines: Vec<Line>,
    /// The points.
    pub marks: Vec<Mark>,
}

impl ScatterPlot<'_> {
    /// The picture.
    ///
    /// # Errors
    ///
    /// [`ReportError::Plot`].
    pub fn draw(&self) -> Result<Markup, ReportError> {
        draw(self.description, self.horizontal, self.vertical, |chart| {
            for line in &self.lines {
                line.draw_on(chart)?;
            }
            let whiskers = self.marks.iter().flat_map(|mark| {
                let (x, y) = mark.point;
                let style = mark.ink.color().mix(0.6).stroke_width(3);
                let horizontal = mark.horizontal.map(|(low, high)| [(low, y), (high, y)]);
                let vertical = mark.vertical.map(|(low, high)| [(x, low), (x, high)]);
                let ends = horizontal.into_iter().chain(vertical);
                ends.map(move |ends| PathElement::new(ends.to_vec(), style))
            });
            chart.draw_series(whiskers).map_err(ReportError::plot)?;
            let dots = self.marks.iter();
            let dots =
                dots.map(|mark| Circle::new(mark.point, RADIUS as u32, mark.ink.color().filled()));
            chart.draw_series(dots).map_err(ReportError::plot)?;

            let (width, height) = chart.plotting_area().dim_in_pixel();
            let unit = (
                (self.horizontal.to - self.horizontal.from) / f64::from(width),
                (self.vertical.to - self.vertical.from) / f64::from(height),
            );
            let places: Vec<(f64, f64)> = self
                .marks
                .iter()
                .map(|mark| (mark.point.0 / unit.0, mark.point.1 / unit.1))
                .collect();
            let digits: Vec<usize> = self
                .marks
                .iter()
                .map(|mark| mark.number.to_string().len())
                .collect();
            let strong = Ink::Strong.color();
            let style = TextStyle::from(("sans-serif", TEXT_HEIGHT).into_font())
                .color(&strong)
                .pos(Pos::new(HPos::Center, VPos::Center));
            let numbers = number_places(&places, &digits).into_iter().zip(&self.marks);
            let numbers = numbers.map(|((x, y), mark)| {
                Text::new(
                    mark.number.to_string(),
                    (x * unit.0, y * unit.1),
                    style.clone(),
                )
            });
            chart.draw_series(numbers).map_err(ReportError::plot)?;
            Ok(())
        })
    }
}

/// Where the centers of numbers go, so that they cover no point and no other number if there is a free place; all in units of the
/// drawing.
fn number_places(points: &[(f64, f64)], digits: &[usize]) -> Vec<(f64, f64)> {
    let mut taken: Vec<((f64, f64), (f64, f64))> = points
        .iter()
        .map(|point| (*point, (RADIUS, RADIUS)))
        .collect();
    let mut places = Vec::with_capacity(points.len());
    for (&(x, y), &digits) in points.iter().zip(digits) {
        let half = (DIGIT * digits as f64 / 2.0, TEXT_HEIGHT / 2.0 - 3.0);
        let aside = (RADIUS + half.0 + 2.0, RADIUS + half.1);
        // Beside the lines through the point first, further away after that.
        let candidates = [1.0, 1.8, 2.6, 3.4].into_iter().flat_map(|far| {
            [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]
                .map(|(right, up)| (x + right * aside.0 * far, y + up * aside.1 * far))
        });
        let free = |place: &(f64, f64)| {
            taken.iter().all(|(center, size)| {
                (center.0 - place.0).abs() >= size.0 + half.0
                    || (center.1 - place.1).abs() >= size.1 + half.1
            })
        };
        let first = (x + aside.0, y + aside.1);
        let place = candidates.into_iter().find(free).unwrap_or(first);
        taken.push((place, half));
        places.push(place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_near_points_do_not_cover_each_other() {
        let points = [(0.0, 0.0), (4.0, 3.0), (20.0, 1.0), (300.0, 200.0)];
        let places = number_places(&points, &[1, 1, 2, 2]);
        for (first, a) in places.iter().enumerate() {
            for b in &places[first + 1..] {
                let (x, y) = ((a.0 - b.0).abs(), (a.1 - b.1).abs());
                assert!(x >= DIGIT || y >= TEXT_HEIGHT - 6.0, "{places:?}");
            }
            let covers = |p: &(f64, f64)| (p.0 - a.0).abs() < RADIUS && (p.1 - a.1).abs() < RADIUS;
            assert!(!points.iter().any(covers), "{places:?}");
        }
        let (x, y) = places[3];
        assert!((0.0..40.0).contains(&(x - 300.0)) && (0.0..40.0).contains(&(y - 200.0)));
    }
}
