//! Small pictures of a run's images, inside the page.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use ueo::data::{Dataset, DatasetOptions};
use ueo::image::{
    DecodeOptions, ExifOrientation, Interpolation, Region, RgbImage, decode, resize_region,
};

/// Longer side of a thumbnail in pixels. Smaller images are not enlarged.
const SIDE: usize = 96;
/// JPEG quality at which a thumbnail of this size has about 3 kB.
const QUALITY: u8 = 82;

/// Pictures by the path of their image.
#[derive(Clone, Debug, Default)]
pub struct Thumbnails {
    uris: BTreeMap<String, String>,
    missing: usize,
}

impl Thumbnails {
    /// Draws the thumbnails of some images of a data set. Images that are no longer there, or cannot be read, have none.
    pub fn draw(
        images: &Path,
        options: &DatasetOptions,
        exif_orientation: ExifOrientation,
        paths: &BTreeSet<&str>,
    ) -> Self {
        let decoding = DecodeOptions {
            exif_orientation,
            ..DecodeOptions::default()
        };
        let dataset = Dataset::open(images, options).ok();
        let positions: HashMap<&str, usize> = dataset
            .iter()
            .flat_map(|dataset| dataset.samples.iter().enumerate())
            .map(|(index, sample)| (sample.id, index))
            .collect();
        let uris: BTreeMap<String, String> = paths
            .into_par_iter()
            .filter_map(|path| {
                let bytes = dataset.as_ref()?.read_bytes(*positions.get(path)?).ok()?;
                let image = decode(&bytes, &decoding).ok()?;
                Some(((*path).to_owned(), data_uri(&image)?))
            })
            .collect();
        Self {
            missing: paths.len() - uris.len(),
            uris,
        }
    }

    /// The thumbnail of an image as a data URI.
    pub fn uri(&self, path: &str) -> Option<&str> {
        self.uris.get(path).map(String::as_str)
    }

    /// Images without a thumbnail.
    pub fn missing(&self) -> usize {
        self.missing
    }
}

/// A small JPEG of an image.
fn data_uri(image: &RgbImage) -> Option<String> {
    let (width, height) = fitting(image.width(), image.height());
    let whole = Region {
        left: 0,
        top: 0,
        width: image.width(),
        height: image.height(),
    };
    let small = resize_region(image, whole, width, height, Interpolation::Bilinear).ok()?;
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(
            small.pixels(),
            u32::try_from(width).ok()?,
            u32::try_from(height).ok()?,
            ExtendedColorType::Rgb8,
        )
        .ok()?;
    Some(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}

/// The largest size of the same shape with no side longer than [`SIDE`].
fn fitting(width: usize, height: usize) -> (usize, usize) {
    let longer = width.max(height);
    if longer <= SIDE {
        return (width, height);
    }
    let scaled = |side: usize| (side * SIDE).div_ceil(longer);
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_keep_their_shape() {
        assert_eq!(fitting(64, 40), (64, 40));
        assert_eq!(fitting(960, 480), (96, 48));
        assert_eq!(fitting(3, 100_000), (1, 96));
    }

    #[test]
    fn a_thumbnail_is_a_small_jpeg() {
        let image = RgbImage::new(400, 200, vec![200; 400 * 200 * 3]).unwrap();
        let uri = data_uri(&image).unwrap();
        let base64 = uri.strip_prefix("data:image/jpeg;base64,").unwrap();
        let jpeg = STANDARD.decode(base64).unwrap();
        let small = decode(&jpeg, &DecodeOptions::default()).unwrap();
        assert_eq!((small.width(), small.height()), (96, 48));
        assert!(small.pixels().iter().all(|value| value.abs_diff(200) < 4));
    }

    #[test]
    fn images_that_are_gone_are_counted() {
        let paths = BTreeSet::from(["a.png", "b.png"]);
        let thumbnails = Thumbnails::draw(
            Path::new("/nowhere/at/all"),
            &DatasetOptions::default(),
            ExifOrientation::default(),
            &paths,
        );
        assert_eq!(thumbnails.missing(), 2);
        assert_eq!(thumbnails.uri("a.png"), None);
    }
}
