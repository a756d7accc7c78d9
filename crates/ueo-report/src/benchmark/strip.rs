//! Strips: values of one row of a table as dots on an axis that all rows share.
//!
//! They are HTML, not SVG: a row's name wraps like other text, and the numbers stay beside the dots at every width.

use maud::{Markup, html};

use super::group::HEADLINES;
use crate::page::table;
use crate::plot::Ink;
use ueo_benchmark::Metric;

/// Marks of an axis that are wanted: more than half of it, at most all.
const TICKS: f64 = 5.0;

/// A row of strips: one cell for each of the headline metrics.
#[derive(Clone, Debug)]
pub struct StripRow {
    /// What stands before the strips.
    pub name: Markup,
    /// Color of the dots.
    pub ink: Ink,
    /// What is shown, where there is something.
    pub cells: [Option<Dots>; HEADLINES.len()],
}

/// The values of one strip.
#[derive(Clone, Debug, PartialEq)]
pub struct Dots {
    /// Where dots are, in percentage points.
    pub values: Vec<f64>,
    /// Ends of a line, in percentage points.
    pub interval: Option<(f64, f64)>,
    /// The same in numbers.
    pub text: String,
}

/// A table of strips; those of a column share an axis, which is its last row.
pub fn strip_table(rows: &[StripRow]) -> Markup {
    let scales: Vec<Scale> = (0..HEADLINES.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.cells[column].as_ref());
            Scale::around(cells.flat_map(|dots| {
                let ends = dots
                    .interval
                    .into_iter()
                    .flat_map(|(low, high)| [low, high]);
                dots.values.iter().copied().chain(ends)
            }))
        })
        .collect();
    let measured = |strip: Markup, text: &str| {
        html! { span.measured { (strip) span.number { (text) } } }
    };
    let mut lines: Vec<Vec<Markup>> = rows
        .iter()
        .map(|row| {
            let cells = row
                .cells
                .iter()
                .zip(&scales)
                .map(|(cell, scale)| match cell {
                    Some(dots) => measured(scale.strip(row.ink, dots), &dots.text),
                    None => html! { "–" },
                });
            std::iter::once(row.name.clone()).chain(cells).collect()
        })
        .collect();
    let axes = scales.iter().map(|scale| measured(scale.axis(), ""));
    let unit = html! { span.quiet { "points" } };
    lines.push(std::iter::once(unit).chain(axes).collect());
    let titles = HEADLINES.map(Metric::title);
    let head: Vec<&str> = std::iter::once("method").chain(titles).collect();
    html! { div.strips { (table(&head, head.len(), &lines)) } }
}

/// An axis of percentage points around zero.
#[derive(Clone, Debug, PartialEq)]
struct Scale {
    from: f64,
    to: f64,
    step: f64,
}

impl Scale {
    /// Wide enough for zero and some values, and from mark to mark.
    fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (low, high) = finite.fold((0.0_f64, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        // A tenth of a point is the finest that the page shows.
        let rough = ((high - low) / TICKS).max(0.1);
        let unit = 10_f64.powf(rough.log10().floor());
        let step = unit
            * [1.0, 2.0, 5.0]
                .into_iter()
                .find(|m| m * unit >= rough)
                .unwrap_or(10.0);
        Self {
            from: (low / step).floor() * step,
            to: ((high / step).ceil() * step).max((low / step).floor() * step + step),
            step,
        }
    }

    /// Place of a value in percent of the width.
    fn place(&self, value: f64) -> String {
        let share = (value - self.from) / (self.to - self.from);
        format!("{:.2}%", 100.0 * share.clamp(0.0, 1.0))
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        let count = ((self.to - self.from) / self.step).round() as usize;
        (0..=count).map(|mark| self.from + mark as f64 * self.step)
    }

    /// The numbers below the strips.
    fn axis(&self) -> Markup {
        // A step has one digit other than zero.
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        html! {
            span.strip.axis {
                @for mark in self.marks() {
                    span style={ "left:" (self.place(mark)) } {
                        @let text = format!("{:.*}", decimals, mark.abs());
                        @if mark < -self.step / 2.0 { "−" (text) }
                        @else if mark > self.step / 2.0 { "+" (text) }
                        @else { "0" }
                    }
                }
            }
        }
    }

    /// The line and the dots of a row.
    fn strip(&self, ink: Ink, dots: &Dots) -> Markup {
        let color = format!("background:var(--{})", ink.name());
        html! {
            span.strip aria-hidden="true" {
                @for mark in self.marks() {
                    i.mark.zero[mark.abs() < self.step / 2.0] style={ "left:" (self.place(mark)) } {}
                }
                @if let Some((low, high)) = dots.interval {
                    i.whisker style={ "left:" (self.place(low)) ";right:calc(100% - " (self.place(high)) ");" (color) } {}
                }
                @for value in &dots.values { i.dot style={ "left:" (self.place(*value)) ";" (color) } {} }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_zero_and_all_values_and_have_few_marks() {
        for values in [
            vec![],
            vec![0.0],
            vec![-43.2, 11.0],
            vec![3.1, 4.2],
            vec![-0.02],
            vec![-100.0, 100.0],
            vec![0.5],
        ] {
            let scale = Scale::around(values.iter().copied());
            let marks: Vec<f64> = scale.marks().collect();
            assert!((2..=7).contains(&marks.len()), "{values:?}: {marks:?}");
            assert!(marks.iter().any(|mark| mark.abs() < 1e-9), "{marks:?}");
            let (first, last) = (marks[0], marks[marks.len() - 1]);
            assert!(
                values
                    .iter()
                    .all(|v| (first - 1e-9..=last + 1e-9).contains(v)),
                "{marks:?}"
            );
        }
    }

    #[test]
    fn marks_and_dots_are_where_their_values_are() {
        let scale = Scale::around([-10.0, 30.0]);
        assert_eq!((scale.from, scale.to, scale.step), (-10.0, 30.0, 10.0));
        let dots = Dots {
            values: vec![20.0],
            interval: Some((-5.0, 30.0)),
            text: String::new(),
        };
        let strip = scale.strip(Ink::Adapted, &dots).into_string();
        assert!(
            strip.contains("class=\"dot\" style=\"left:75.00%;background:var(--adapted)\""),
            "{strip}"
        );
        assert!(
            strip.contains("left:12.50%;right:calc(100% - 100.00%);"),
            "{strip}"
        );
        assert_eq!(strip.matches("mark zero").count(), 1);
        let axis = scale.axis().into_string();
        for number in ["left:0.00%\">−10<", ">0<", "left:100.00%\">+30<"] {
            assert!(axis.contains(number), "{number} in {axis}");
        }
    }
}
