//! Turning an image upright, as the orientation tag of TIFF and EXIF asks for.

use super::RgbImage;

/// The eight values of the orientation tag (TIFF 6.0, tag 274): what has to be done to see the image upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orientation {
    /// 1: nothing.
    #[default]
    Upright,
    /// 2: exchange left and right.
    FlipHorizontally,
    /// 3: half a turn.
    HalfTurn,
    /// 4: exchange top and bottom.
    FlipVertically,
    /// 5: exchange rows and columns.
    Transpose,
    /// 6: a quarter turn clockwise.
    QuarterTurn,
    /// 7: exchange rows and columns along the other diagonal.
    Transverse,
    /// 8: a quarter turn anticlockwise.
    ThreeQuarterTurn,
}

impl Orientation {
    /// All of them, in the order of the tag's values 1 to 8.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::FlipHorizontally,
        Self::HalfTurn,
        Self::FlipVertically,
        Self::Transpose,
        Self::QuarterTurn,
        Self::Transverse,
        Self::ThreeQuarterTurn,
    ];

    /// What a value of the tag means; every other value means upright, as for Pillow.
    pub fn from_tag(value: u64) -> Self {
        let position = usize::try_from(value).unwrap_or(0).wrapping_sub(1);
        Self::ALL.get(position).copied().unwrap_or_default()
    }

    /// Whether width and height are exchanged.
    fn exchanges_sides(self) -> bool {
        matches!(
            self,
            Self::Transpose | Self::QuarterTurn | Self::Transverse | Self::ThreeQuarterTurn
        )
    }
}

impl RgbImage {
    /// The image as `orientation` asks for, as `PIL.ImageOps.exif_transpose` makes it.
    pub fn oriented(self, orientation: Orientation) -> Self {
        if orientation == Orientation::Upright {
            return self;
        }
        let (stored_width, stored_height) = (self.width, self.height);
        let (right, bottom) = (stored_width - 1, stored_height - 1);
        let (width, height) = if orientation.exchanges_sides() {
            (stored_height, stored_width)
        } else {
            (stored_width, stored_height)
        };
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..height {
            for x in 0..width {
                let (column, row) = match orientation {
                    Orientation::Upright => (x, y),
                    Orientation::FlipHorizontally => (right - x, y),
                    Orientation::HalfTurn => (right - x, bottom - y),
                    Orientation::FlipVertically => (x, bottom - y),
                    Orientation::Transpose => (y, x),
                    Orientation::QuarterTurn => (y, bottom - x),
                    Orientation::Transverse => (right - y, bottom - x),
                    Orientation::ThreeQuarterTurn => (right - y, x),
                };
                let at = 3 * (row * stored_width + column);
                pixels.extend_from_slice(&self.pixels[at..at + 3]);
            }
        }
        Self {
            width,
            height,
            pixels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel its own color.
    fn image(width: usize, height: usize) -> RgbImage {
        let pixels = (0..width * height)
            .flat_map(|at| [at as u8, (at >> 8) as u8, 7])
            .collect();
        RgbImage::new(width, height, pixels).unwrap()
    }

    /// One turn clockwise: the left column, from below, becomes the first row.
    fn turned(image: &RgbImage) -> RgbImage {
        let mut pixels = Vec::new();
        for column in 0..image.width() {
            for row in (0..image.height()).rev() {
                let at = 3 * (row * image.width() + column);
                pixels.extend_from_slice(&image.pixels()[at..at + 3]);
            }
        }
        RgbImage::new(image.height(), image.width(), pixels).unwrap()
    }

    #[test]
    fn every_orientation_is_made_of_a_turn_and_a_flip() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 3), (7, 5), (16, 31)] {
            let stored = image(width, height);
            let turn = |times: usize| (0..times).fold(stored.clone(), |image, _| turned(&image));
            let expected = [
                turn(0),
                turn(0).flipped(),
                turn(2),
                turn(2).flipped(),
                turn(1).flipped(),
                turn(1),
                turn(3).flipped(),
                turn(3),
            ];
            for (orientation, expected) in Orientation::ALL.into_iter().zip(expected) {
                let found = stored.clone().oriented(orientation);
                assert_eq!(found, expected, "{orientation:?} of {width} x {height}");
            }
        }
    }

    #[test]
    fn values_beyond_eight_mean_upright() {
        for value in [0, 1, 9, 255, u64::MAX] {
            assert_eq!(Orientation::from_tag(value), Orientation::Upright);
        }
        assert_eq!(Orientation::from_tag(6), Orientation::QuarterTurn);
    }
}
