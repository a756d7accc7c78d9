//! Colors by what they mean. The page's style sheet says how they look, in light, in dark and on paper.

use plotters::style::RGBColor;

/// What a color stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Nothing; for what the plotting library insists on drawing.
    None,
    /// Numbers of the axes.
    Quiet,
    /// Axes and grid.
    Rule,
    /// A line that must be seen, such as the threshold.
    Strong,
    /// The checkpoint as it was.
    ZeroShot,
    /// The adapted model.
    Adapted,
    /// Images of known classes.
    Known,
    /// Images of unknown classes.
    Unknown,
    /// The runs of a comparison, in order.
    Series(u8),
}

/// Runs that a comparison can tell apart by color.
pub const SERIES: u8 = 8;

/// All values, in the order of their codes.
const ALL: [(Ink, &str); 16] = [
    (Ink::None, "none"),
    (Ink::Quiet, "quiet"),
    (Ink::Rule, "rule"),
    (Ink::Strong, "ink"),
    (Ink::ZeroShot, "zero-shot"),
    (Ink::Adapted, "adapted"),
    (Ink::Known, "known"),
    (Ink::Unknown, "unknown"),
    (Ink::Series(0), "series-1"),
    (Ink::Series(1), "series-2"),
    (Ink::Series(2), "series-3"),
    (Ink::Series(3), "series-4"),
    (Ink::Series(4), "series-5"),
    (Ink::Series(5), "series-6"),
    (Ink::Series(6), "series-7"),
    (Ink::Series(7), "series-8"),
];

impl Ink {
    /// The color of the run at a position; the colors repeat after [`SERIES`] runs.
    pub fn series(position: usize) -> Self {
        Self::Series((position % usize::from(SERIES)) as u8)
    }

    /// Name of the custom property in the style sheet, without the leading dashes.
    pub fn name(self) -> &'static str {
        ALL[usize::from(self.code())].1
    }

    /// The plotting library knows numbers only, so a color travels through it as its code.
    pub(super) fn color(self) -> RGBColor {
        RGBColor(0, 0, self.code())
    }

    fn code(self) -> u8 {
        // Every value is in the table, whose test says so.
        ALL.iter()
            .position(|(ink, _)| *ink == self)
            .unwrap_or_default() as u8
    }
}

/// Replaces the codes in an SVG by the page's custom properties.
pub(super) fn with_theme(svg: &str) -> String {
    let mut themed = svg.replace(" opacity=\"1\"", "");
    for (ink, name) in ALL {
        let color = if ink == Ink::None {
            "none".to_owned()
        } else {
            format!("var(--{name})")
        };
        themed = themed.replace(
            &format!("\"#0000{:02X}\"", ink.code()),
            &format!("\"{color}\""),
        );
    }
    themed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_color_has_its_own_code() {
        for (code, (ink, _)) in ALL.iter().enumerate() {
            assert_eq!(usize::from(ink.code()), code);
        }
        assert_eq!(Ink::series(9), Ink::Series(1));
        assert_eq!(ALL.len(), 8 + usize::from(SERIES));
    }

    #[test]
    fn codes_become_custom_properties() {
        let svg = r##"<line opacity="1" stroke="#000005" fill="none"/><text opacity="0.5">#000005</text>"##;
        let expected =
            r##"<line stroke="var(--adapted)" fill="none"/><text opacity="0.5">#000005</text>"##;
        assert_eq!(with_theme(svg), expected);
    }
}
