//! Decoding, resizing, cropping and normalizing against Pillow 13 and torchvision 0.24.1.
//!
//! The fixtures were made by `tools/fixtures/images.py`.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use ueo::image::{
    DecodeOptions, ExifOrientation, Interpolation, Orientation, Preprocessing, Region, ResizeRule,
    RgbImage, decode, random_region, resize_region, view_rng,
};

#[derive(Deserialize)]
struct Cases {
    decode: Vec<DecodeCase>,
    views: Vec<ViewCase>,
    squashed: Vec<ViewCase>,
    regions: Vec<RegionCase>,
    fallback: Vec<FallbackCase>,
    normalize: NormalizeCase,
}

#[derive(Deserialize)]
struct DecodeCase {
    file: String,
    expected: String,
}

#[derive(Deserialize)]
struct ViewCase {
    source: String,
    resize: usize,
    crop: usize,
    interpolation: Interpolation,
    expected: String,
}

#[derive(Deserialize)]
struct RegionCase {
    source: String,
    region: [usize; 4],
    size: usize,
    expected: String,
}

#[derive(Deserialize)]
struct FallbackCase {
    size: [usize; 2],
    region: [usize; 4],
}

#[derive(Deserialize)]
struct NormalizeCase {
    view: String,
    values: Vec<f32>,
}

fn bytes(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    fs::read(folder.join(name)).unwrap()
}

fn cases() -> Cases {
    serde_json::from_slice(&bytes("images.json")).unwrap()
}

fn image(name: &str) -> RgbImage {
    decode(&bytes(name), &DecodeOptions::default()).unwrap()
}

fn region([left, top, width, height]: [usize; 4]) -> Region {
    Region {
        left,
        top,
        width,
        height,
    }
}

/// Mean and maximum absolute difference, in levels of 255.
fn difference(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let differences = || {
        a.pixels()
            .iter()
            .zip(b.pixels())
            .map(|(a, b)| a.abs_diff(*b))
    };
    let sum: u64 = differences().map(u64::from).sum();
    (
        sum as f64 / a.pixels().len() as f64,
        differences().max().unwrap(),
    )
}

/// Lossless formats are exact. Lossy ones leave the inverse transform's rounding and the chroma upsampling to the
/// decoder; the limits are what was measured against libjpeg-turbo 3.2 and libwebp 1.6, rounded up.
fn decode_tolerance(file: &str) -> (f64, u8) {
    match file {
        "png_named.jpg" => (0.0, 0),
        _ if file.ends_with(".jpg") => (0.5, 3),
        "webp_lossy.webp" => (0.5, 3),
        "tiff_ycbcr_jpeg.tif" | "tiff_grey_jpeg.tif" => (0.5, 3),
        // Rounding of other implementations (libjxl 0.11, OpenJPEG 2.5).
        "jpegxl_lossy.jxl" | "jpeg2000_lossy.jp2" => (0.5, 1),
        _ => (0.0, 0),
    }
}

#[test]
fn every_format_and_mode_decodes_as_in_pillow() {
    let cases = cases().decode;
    assert!(cases.len() >= 130);
    for case in cases {
        let (mean, max) = difference(&image(&case.file), &image(&case.expected));
        let (mean_limit, max_limit) = decode_tolerance(&case.file);
        assert!(
            mean <= mean_limit && max <= max_limit,
            "{}: mean {mean:.3}, max {max}",
            case.file
        );
    }
}

#[test]
fn test_views_are_torchvisions_within_one_level() {
    let Cases {
        views, squashed, ..
    } = cases();
    assert_eq!(squashed.len(), 3);
    let views = views.iter().map(|case| (case, ResizeRule::Shortest));
    let squashed = squashed.iter().map(|case| (case, ResizeRule::Squash));
    for (case, resize_rule) in views.chain(squashed) {
        let preprocessing = Preprocessing {
            resize: case.resize,
            crop: case.crop,
            interpolation: case.interpolation,
            resize_rule,
            ..Preprocessing::clip(case.crop)
        };
        let view = preprocessing.test_view(&image(&case.source)).unwrap();
        let (mean, max) = difference(&view, &image(&case.expected));
        // Rounding of the filter's weights: rare and by one level.
        assert!(
            mean <= 0.02 && max <= 1,
            "{}: mean {mean:.3}, max {max}",
            case.expected
        );
    }
}

#[test]
fn resized_regions_are_torchvisions_within_one_level() {
    for case in cases().regions {
        let view = resize_region(
            &image(&case.source),
            region(case.region),
            case.size,
            case.size,
            Interpolation::Bicubic,
        )
        .unwrap();
        let (mean, max) = difference(&view, &image(&case.expected));
        // Rounding of the filter's weights: rare and by one level.
        assert!(
            mean <= 0.02 && max <= 1,
            "{}: mean {mean:.3}, max {max}",
            case.expected
        );
    }
}

#[test]
fn thin_images_fall_back_to_torchvisions_central_region() {
    for case in cases().fallback {
        let [width, height] = case.size;
        let found = random_region(width, height, &mut view_rng(1, 2, 3));
        assert_eq!(found, region(case.region), "{width} x {height}");
    }
}

#[test]
fn normalization_equals_torchvision_bit_for_bit() {
    let case = cases().normalize;
    assert_eq!(
        Preprocessing::clip(7).normalize(&image(&case.view)),
        case.values
    );
}

fn upright(name: &str) -> RgbImage {
    let options = DecodeOptions {
        exif_orientation: ExifOrientation::Apply,
        ..DecodeOptions::default()
    };
    decode(&bytes(name), &options).unwrap()
}

#[test]
fn exif_orientation_is_ignored_unless_asked_for() {
    for name in [
        "jpeg_orientation_6.jpg",
        "png_orientation_6.png",
        "webp_orientation_6.webp",
    ] {
        let stored = image(name);
        assert!(stored.width() > stored.height(), "{name}");
        // The tag's value 6: a quarter turn clockwise.
        let expected = stored.oriented(Orientation::QuarterTurn);
        assert_eq!(upright(name), expected, "{name}");
    }
}

#[test]
fn the_orientation_of_a_tiff_is_applied_once() {
    let stored = image("tiff_planar.tif");
    for value in 2..=8_u8 {
        let name = format!("tiff_orientation_{value}.tif");
        let expected = stored.clone().oriented(Orientation::from_tag(value.into()));
        assert_eq!(image(&name), expected, "{name}");
        assert_eq!(upright(&name), expected, "{name}");
    }
}

#[test]
fn a_region_that_is_not_resized_is_a_plain_crop() {
    let source = image("source_photo.png");
    for index in 0..200 {
        let region = random_region(source.width(), source.height(), &mut view_rng(5, 6, index));
        let mut expected = Vec::new();
        for row in region.top..region.top + region.height {
            let start = 3 * (row * source.width() + region.left);
            expected.extend_from_slice(&source.pixels()[start..start + 3 * region.width]);
        }
        for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
            let found =
                resize_region(&source, region, region.width, region.height, interpolation).unwrap();
            assert_eq!(found.pixels(), expected, "{region:?}");
        }
    }
}
