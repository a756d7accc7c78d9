//! Plots as SVG inside the page: crisp at every size, printable, and in the colors of the page's theme.
//!
//! A plot holds nothing but lines, areas and numbers. Its title and legend are HTML around it, where names that users chose
//! are escaped and wrapped like all other text.

mod bars;
mod lines;
mod points;
mod theme;

use maud::{Markup, PreEscaped, html};
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, DrawingArea, IntoDrawingArea, IntoFont, SVGBackend, TextStyle,
};
use plotters::style::Color as _;

use super::ReportError;

pub use bars::{Bars, Histogram};
pub use lines::{Line, LinePlot};
pub use points::{Mark, ScatterPlot};
pub use theme::Ink;

/// Size of the drawing in its own units. Plots are shown at about half of it, which leaves whole units, the finest that the
/// plotting library knows, below what an eye can see.
const WIDTH: u32 = 720;
/// As [`WIDTH`].
const HEIGHT: u32 = 450;
/// Height of the axis numbers in units: about 12 pixels on the page.
const TEXT_HEIGHT: f64 = 26.0;
/// Room for the numbers of the vertical axis.
const LEFT: u32 = 90;
/// Room for the numbers of the horizontal axis.
const BOTTOM: u32 = 48;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What numbers an axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Smallest value.
    pub from: f64,
    /// Largest value.
    pub to: f64,
    /// Whether fractions are shown as percentages.
    pub percent: bool,
    /// Whether only whole numbers mean something, as of epochs and steps.
    pub whole: bool,
}

/// Numbers that an axis has room for.
const LABELS: usize = 6;

impl Axis {
    /// Fractions from 0 to 1, shown as percentages.
    pub const SHARE: Self = Self {
        from: 0.0,
        to: 1.0,
        percent: true,
        whole: false,
    };

    /// Whole numbers from the first to the last, at least one apart.
    pub fn whole(first: f64, last: f64) -> Self {
        Self {
            from: first,
            to: last.max(first + 1.0),
            percent: false,
            whole: true,
        }
    }

    /// Just wide enough for some values, with a little room; never empty.
    pub fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (mut from, mut to) = finite
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| {
                (a.min(value), b.max(value))
            });
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        let room = match to - from {
            0.0 => from.abs().max(1.0) * 0.05,
            width => width * 0.04,
        };
        Self {
            from: from - room,
            to: to + room,
            percent: false,
            whole: false,
        }
    }

    /// Starting at zero and reaching a little past the largest of some counts.
    pub fn counts(largest: f64) -> Self {
        Self {
            from: 0.0,
            to: largest.max(1.0) * 1.06,
            percent: false,
            whole: false,
        }
    }

    /// How many numbers stand on the axis at most: never closer than whole ones, where only those mean something.
    fn labels(self) -> usize {
        let apart = (self.to - self.from).floor() as usize + 1;
        if self.whole {
            LABELS.min(apart)
        } else {
            LABELS
        }
    }

    /// A number of the axis, with as many decimals as its width asks for.
    fn label(self, value: f64) -> String {
        if self.whole {
            return match value.fract() == 0.0 {
                true => value.to_string(),
                false => String::new(),
            };
        }
        let (scale, unit) = if self.percent {
            (100.0, "%")
        } else {
            (1.0, "")
        };
        // Five to ten numbers on the axis differ in the digit after the width's first.
        let width = scale * (self.to - self.from);
        let decimals = (1.0 - width.log10()).ceil().clamp(0.0, 8.0);
        let text = format!("{:.*}", decimals as usize, scale * value);
        if text.trim_start_matches(['-', '0', '.']).is_empty() {
            format!("0{unit}")
        } else {
            text + unit
        }
    }
}

/// Draws on axes and returns the picture, described by `description` for those who cannot see it.
fn draw(
    description: &str,
    horizontal: Axis,
    vertical: Axis,
    content: impl FnOnce(&mut Chart<'_, '_>) -> Result<(), ReportError>,
) -> Result<Markup, ReportError> {
    let mut svg = String::new();
    {
        let area: Area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(14)
            .margin_right(30)
            .x_label_area_size(BOTTOM)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(horizontal.from..horizontal.to, vertical.from..vertical.to)
            .map_err(ReportError::plot)?;
        let quiet = Ink::Quiet.color();
        let text = TextStyle::from(("sans-serif", TEXT_HEIGHT).into_font()).color(&quiet);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(Ink::None.color().mix(0.0))
            .bold_line_style(Ink::Rule.color().stroke_width(2))
            .axis_style(Ink::Rule.color().stroke_width(2))
            .set_all_tick_mark_size(8)
            .x_labels(horizontal.labels())
            .y_labels(vertical.labels())
            .x_label_formatter(&|value| horizontal.label(*value))
            .y_label_formatter(&|value| vertical.label(*value))
            .label_style(text)
            .draw()
            .map_err(ReportError::plot)?;
        content(&mut chart)?;
        area.present().map_err(ReportError::plot)?;
    }
    // The page sets size, role and description; a namespace is not needed inside HTML.
    let shapes = svg
        .split_once('>')
        .and_then(|(_, rest)| rest.rsplit_once("</svg>"))
        .map(|(shapes, _)| theme::with_theme(shapes))
        .ok_or_else(|| ReportError::plot("no <svg> element"))?;
    Ok(html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(description) { (PreEscaped(shapes)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_numbers_have_the_decimals_they_need() {
        let axis = |from, to| Axis {
            from,
            to,
            percent: false,
            whole: false,
        };
        assert_eq!(axis(0.0200, 0.0215).label(0.0205), "0.0205");
        assert_eq!(axis(0.0, 1.0).label(0.5), "0.5");
        assert_eq!(axis(-1.0, 1.0).label(-1e-17), "0");
        assert_eq!(axis(0.0, 4000.0).label(1000.0), "1000");
        assert_eq!(Axis::SHARE.label(0.25), "25%");
        assert_eq!(Axis::SHARE.label(0.0), "0%");
        let narrow = Axis {
            percent: true,
            ..axis(0.62, 0.64)
        };
        assert_eq!(narrow.label(0.6253), "62.5%");
    }

    #[test]
    fn epochs_are_whole() {
        let axis = Axis::whole(0.0, 2.0);
        assert_eq!(axis.labels(), 3);
        assert_eq!(
            (axis.label(1.0), axis.label(0.5)),
            ("1".to_owned(), String::new())
        );
        assert_eq!(Axis::whole(0.0, 50.0).labels(), LABELS);
        assert_eq!(Axis::whole(1.0, 1.0).to, 2.0);
    }

    #[test]
    fn axes_are_never_empty() {
        for values in [vec![], vec![3.0, 3.0], vec![f64::NAN], vec![0.0]] {
            let axis = Axis::around(values);
            assert!(axis.from < axis.to && axis.from.is_finite());
        }
    }
}
