//! Histograms: how many images have which value.

use maud::Markup;
use plotters::element::{PathElement, Rectangle};
use plotters::style::Color as _;

use super::lines::vertical_line;
use super::{Axis, Ink, draw};
use crate::ReportError;

/// Bins of a histogram.
pub const BINS: usize = 40;

/// How many of some values fall into each of [`BINS`] equal parts of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What the images have in common.
    pub ink: Ink,
    /// Images per bin, `[BINS]`.
    pub counts: Vec<usize>,
}

impl Bars {
    /// Counts values. Those outside of the axis go into its first or last bin, so that no image is missing.
    pub fn count(ink: Ink, values: impl IntoIterator<Item = f64>, axis: Axis) -> Self {
        let mut counts = vec![0; BINS];
        for value in values {
            let position = (value - axis.from) / (axis.to - axis.from) * BINS as f64;
            // A negative number becomes 0.
            counts[(position as usize).min(BINS - 1)] += 1;
        }
        Self { ink, counts }
    }

    /// The upper edges of neighbouring bins that hold images, from zero up and down to zero again.
    fn outlines(&self, edge: impl Fn(usize) -> f64) -> impl Iterator<Item = Vec<(f64, f64)>> {
        let bins: Vec<(usize, f64)> = self
            .counts
            .iter()
            .map(|count| *count as f64)
            .enumerate()
            .collect();
        let occupied: Vec<Vec<(usize, f64)>> = bins
            .split(|(_, count)| *count == 0.0)
            .filter(|run| !run.is_empty())
            .map(<[_]>::to_vec)
            .collect();
        occupied.into_iter().map(move |run| {
            let (first, last) = (run[0].0, run[run.len() - 1].0);
            let tops = run
                .iter()
                .flat_map(|(bin, count)| [(edge(*bin), *count), (edge(bin + 1), *count)]);
            std::iter::once((edge(first), 0.0))
                .chain(tops)
                .chain(std::iter::once((edge(last + 1), 0.0)))
                .collect()
        })
    }

    /// The largest count.
    pub fn highest(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or_default()
    }
}

/// Overlaid histograms with a threshold.
#[derive(Clone, Debug)]
pub struct Histogram<'a> {
    /// In words, for those who cannot see it.
    pub description: &'a str,
    /// Horizontal axis.
    pub axis: Axis,
    /// Highest count that is shown, so that several plots can share it.
    pub highest: usize,
    /// One or more groups of images, drawn in order.
    pub bars: Vec<Bars>,
    /// Where a line is drawn.
    pub threshold: Option<f64>,
}

impl Histogram<'_> {
    /// The picture. Besides their color, groups after the first differ by an outline instead of a filled area.
    ///
    /// # Errors
    ///
    /// [`ReportError::Plot`].
    pub fn draw(&self) -> Result<Markup, ReportError> {
        let vertical = Axis::counts(self.highest as f64);
        let edge = |bin: usize| {
            self.axis.from + (self.axis.to - self.axis.from) * bin as f64 / BINS as f64
        };
        draw(self.description, self.axis, vertical, |chart| {
            for (number, bars) in self.bars.iter().enumerate() {
                let color = bars.ink.color();
                let filled = color.mix(if number == 0 { 0.75 } else { 0.16 }).filled();
                let occupied = bars
                    .counts
                    .iter()
                    .enumerate()
                    .filter(|(_, count)| **count > 0);
                let boxes = occupied.map(|(bin, count)| {
                    Rectangle::new([(edge(bin), 0.0), (edge(bin + 1), *count as f64)], filled)
                });
                chart.draw_series(boxes).map_err(ReportError::plot)?;
                if number > 0 {
                    let paths = bars.outlines(edge);
                    let paths = paths.map(|path| PathElement::new(path, color.stroke_width(4)));
                    chart.draw_series(paths).map_err(ReportError::plot)?;
                }
            }
            if let Some(threshold) = self.threshold {
                chart
                    .draw_series(std::iter::once(vertical_line(threshold, vertical)))
                    .map_err(ReportError::plot)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted() {
        let axis = Axis {
            from: 0.0,
            to: 1.0,
            percent: false,
            whole: false,
        };
        let bars = Bars::count(Ink::Known, [-0.5, 0.0, 0.024, 0.5, 1.0, 7.0], axis);
        assert_eq!(bars.counts.iter().sum::<usize>(), 6);
        assert_eq!(bars.counts[0], 3);
        assert_eq!(bars.counts[BINS / 2], 1);
        assert_eq!(bars.counts[BINS - 1], 2);
        assert_eq!(bars.highest(), 3);
    }

    #[test]
    fn outlines_leave_empty_bins_out() {
        let mut counts = vec![0; BINS];
        (counts[1], counts[2], counts[5]) = (4, 7, 1);
        let bars = Bars {
            ink: Ink::Unknown,
            counts,
        };
        let outlines: Vec<Vec<(f64, f64)>> = bars.outlines(|bin| bin as f64).collect();
        let first = [
            (1.0, 0.0),
            (1.0, 4.0),
            (2.0, 4.0),
            (2.0, 7.0),
            (3.0, 7.0),
            (3.0, 0.0),
        ];
        assert_eq!(
            outlines,
            [
                first.to_vec(),
                vec![(5.0, 0.0), (5.0, 1.0), (6.0, 1.0), (6.0, 0.0)]
            ]
        );
    }
}
