//! What users are told about images that are no images.

use std::fs;
use std::path::Path;

use ueo::image::{
    DecodeOptions, ImageError, ImageFormat, Preprocessing, RgbImage, ViewKind, decode,
};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/images")
            .join(name),
    )
    .unwrap()
}

fn error(bytes: &[u8]) -> ImageError {
    let error = decode(bytes, &DecodeOptions::default()).unwrap_err();
    assert!(!error.hint().is_empty());
    error
}

#[test]
fn an_empty_file() {
    assert_eq!(
        error(b"").to_string(),
        "expected an image, found an empty file (0 bytes)"
    );
}

#[test]
fn a_file_that_is_no_image() {
    assert_eq!(
        error(b"<!DOCTYPE html><title>404</title>").to_string(),
        "expected JPEG, PNG, WebP, GIF, BMP, TIFF, Netpbm, JPEG 2000 or JPEG XL, \
         found content that begins with \"<!DOCTYPE html><\""
    );
}

#[test]
fn formats_that_are_not_read_are_named() {
    let heic = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic";
    assert_eq!(
        error(heic).to_string(),
        "expected JPEG, PNG, WebP, GIF, BMP, TIFF, Netpbm, JPEG 2000 or JPEG XL, found HEIC, which is not read"
    );
    let files: [(&[u8], &str); 6] = [
        (&fixture("refused.avif"), "AVIF"),
        (b"II*\0\x10\0\0\0CR\x02\0", "camera raw"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"II\xbc\x01", "JPEG XR"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
    ];
    for (bytes, format) in files {
        assert_eq!(error(bytes), ImageError::UnreadFormat { format });
    }
}

#[test]
fn kinds_of_jpeg_that_are_not_read_are_named() {
    let fine = "color that is sampled more finely than brightness";
    let mut cases = vec![
        (fixture("jpeg_refused_arithmetic.jpg"), "arithmetic coding"),
        (
            fixture("jpeg_refused_arithmetic_progressive.jpg"),
            "arithmetic coding",
        ),
        (
            fixture("jpeg_refused_sampling_3x1.jpg"),
            "a sampling factor of 3",
        ),
        (fixture("jpeg_refused_fine_color_1x1_2x1_2x1.jpg"), fine),
        (fixture("jpeg_refused_fine_color_1x1_2x2_2x2.jpg"), fine),
        (fixture("jpeg_refused_fine_color_2x2_4x1_1x1.jpg"), fine),
    ];
    // The same file under other markers, and with 12 bits.
    let frame = |marker: u8, bits: u8| {
        let mut bytes = fixture("jpeg_444.jpg");
        let at = bytes
            .windows(2)
            .position(|pair| pair == [0xFF, 0xC0])
            .unwrap();
        bytes[at + 1] = marker;
        bytes[at + 4] = bits;
        bytes
    };
    cases.extend([
        (frame(0xC3, 8), "lossless coding"),
        (frame(0xC5, 8), "hierarchical coding"),
        (frame(0xF7, 8), "JPEG-LS coding"),
        (frame(0xC1, 12), "12 bits per sample"),
    ]);
    for (bytes, kind) in cases {
        let expected = ImageError::Unsupported {
            format: "JPEG",
            kind: kind.into(),
        };
        assert_eq!(error(&bytes), expected);
    }
}

/// A classic little-endian TIFF with another value of a tag whose value stands in the directory.
fn tiff_with(name: &str, tag: u16, value: u16) -> Vec<u8> {
    let mut bytes = fixture(name);
    let directory = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let entry = (directory + 2..)
        .step_by(12)
        .find(|&at| bytes[at..at + 2] == tag.to_le_bytes())
        .unwrap();
    bytes[entry + 8..entry + 10].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn kinds_of_tiff_that_are_not_read_are_named() {
    const BITS: u16 = 258;
    const COMPRESSION: u16 = 259;
    const PHOTOMETRIC: u16 = 262;
    let (rgb, grey) = ("tiff_strips.tif", "tiff_grey8_black_is_zero.tif");
    let cases = [
        (
            tiff_with(rgb, COMPRESSION, 2),
            "CCITT run-length compression",
        ),
        (
            tiff_with(rgb, COMPRESSION, 3),
            "CCITT Group 3 fax compression",
        ),
        (tiff_with(rgb, COMPRESSION, 6), "old-style JPEG compression"),
        (tiff_with(rgb, COMPRESSION, 50_000), "Zstandard compression"),
        (tiff_with(rgb, COMPRESSION, 34_925), "LZMA compression"),
        (tiff_with(rgb, COMPRESSION, 50_001), "WebP compression"),
        (
            tiff_with(rgb, COMPRESSION, 12_345),
            "unknown (12345) compression",
        ),
        (tiff_with(rgb, PHOTOMETRIC, 8), "CIE L*a*b* colors"),
        (
            tiff_with(rgb, PHOTOMETRIC, 6),
            "subsampled YCbCr that is not JPEG-compressed",
        ),
        (
            tiff_with(rgb, PHOTOMETRIC, 4),
            "a transparency mask instead of a picture",
        ),
        (tiff_with(grey, BITS, 12), "12 bits per sample"),
        (tiff_with(grey, BITS, 32), "32 bits per sample"),
        (
            fixture("tiff_refused_tiles_planar.tif"),
            "planes of tiles that end below the picture",
        ),
    ];
    for (bytes, kind) in cases {
        let expected = ImageError::Unsupported {
            format: "TIFF",
            kind: kind.into(),
        };
        assert_eq!(error(&bytes), expected);
    }
}

#[test]
fn every_fixture_is_of_the_format_that_its_name_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let mut found = std::collections::HashSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().unwrap().to_str().unwrap();
        if extension == "json" || path.ends_with("png_named.jpg") {
            continue;
        }
        let format = ImageFormat::from_content(&fs::read(&path).unwrap());
        assert_eq!(format, ImageFormat::from_extension(extension), "{path:?}");
        found.extend(format);
    }
    for format in ImageFormat::ALL {
        assert!(found.contains(&format) || !format.is_read(), "{format:?}");
    }
}

#[test]
fn an_image_that_takes_too_much_memory_is_refused_before_it_is_decoded() {
    assert_eq!(
        error(&fixture("refused_memory.png")).to_string(),
        "expected an image that takes at most 403 MB while it is decoded, \
         found 13377 x 13377 pixels that take 1432 MB"
    );
    let strict = DecodeOptions {
        max_bytes: 53 * 37 * 3,
        ..DecodeOptions::default()
    };
    for name in [
        "jpeg_444.jpg",
        "png_rgb.png",
        "webp_lossy.webp",
        "gif_palette.gif",
        "bmp_rgb.bmp",
        "tiff_rgb_lzw.tiff",
    ] {
        let error = decode(&fixture(name), &strict).unwrap_err();
        assert!(
            matches!(error, ImageError::TooMuchMemory { .. }),
            "{name}: {error}"
        );
    }
    for name in ["netpbm_rgb.ppm", "jpeg2000_rgb.jp2", "jpegxl_rgb.jxl"] {
        let strict = DecodeOptions {
            max_bytes: 29 * 19 * 3,
            ..DecodeOptions::default()
        };
        let error = decode(&fixture(name), &strict).unwrap_err();
        assert!(
            matches!(error, ImageError::TooMuchMemory { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_decompression_bomb() {
    assert_eq!(
        error(&fixture("bomb.png")).to_string(),
        "expected at most 178956970 pixels, found 60000 x 60000"
    );
    let strict = DecodeOptions {
        max_pixels: 53 * 37 - 1,
        ..DecodeOptions::default()
    };
    for name in [
        "jpeg_444.jpg",
        "png_rgb.png",
        "webp_lossy.webp",
        "gif_palette.gif",
        "bmp_rgb.bmp",
        "tiff_rgb_lzw.tiff",
    ] {
        let error = decode(&fixture(name), &strict).unwrap_err();
        let expected = ImageError::TooManyPixels {
            width: 53,
            height: 37,
            limit: 1960,
        };
        assert_eq!(error, expected, "{name}");
    }
}

#[test]
fn truncated_images_of_every_format() {
    let names = [
        "jpeg_420.jpg",
        "jpeg_progressive.jpg",
        "png_rgb.png",
        "webp_lossy.webp",
        "webp_lossless_alpha.webp",
        "gif_palette.gif",
        "bmp_rgb.bmp",
        "tiff_rgb_lzw.tiff",
        "tiff_strips.tif",
        "netpbm_rgb.ppm",
        "jpeg2000_rgb.jp2",
        "jpeg2000_lossy.jp2",
        "jpeg2000_codestream.j2k",
        "jpegxl_rgb.jxl",
        "jpegxl_lossy.jxl",
    ];
    for name in names {
        let whole = fixture(name);
        for length in [whole.len() / 2, whole.len() * 9 / 10] {
            let error = error(&whole[..length]);
            let told = matches!(
                error,
                ImageError::Truncated { .. } | ImageError::Corrupt { .. }
            );
            assert!(told, "{name} cut to {length}: {error}");
        }
    }
    let whole = fixture("jpeg_420.jpg");
    assert_eq!(
        error(&whole[..700]).to_string(),
        "expected a complete JPEG image, but the data end after 700 bytes"
    );
    let whole = fixture("png_rgb.png");
    assert_eq!(
        error(&whole[..700]).to_string(),
        "expected a complete PNG image, but the data end after 700 bytes"
    );
}

#[test]
fn a_corrupt_image() {
    let mut bytes = fixture("png_rgb.png");
    // Inside the compressed data: the checksum no longer fits.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    let message = error(&bytes).to_string();
    assert!(
        message.starts_with("expected a valid PNG image, but it cannot be decoded: "),
        "{message}"
    );
}

#[test]
fn preprocessing_that_makes_no_finite_input_is_refused() {
    let image = RgbImage::new(4, 4, vec![7; 48]).unwrap();
    let mut hostile = Preprocessing::clip(8);
    hostile.std[1] = 0.0;
    let error = hostile.test_view(&image).unwrap_err();
    assert!(matches!(error, ImageError::Preprocessing(_)), "{error}");
    hostile.std[1] = f32::NAN;
    for kind in [ViewKind::Test, ViewKind::Training { seed: 1, epoch: 1 }] {
        let error = hostile.view(&image, kind, 0).unwrap_err();
        assert!(matches!(error, ImageError::Preprocessing(_)), "{error}");
    }
}

#[test]
fn an_extremely_thin_image_costs_no_more_than_another() {
    // Resized as a whole it would have 224 x 14,560,000 pixels.
    let image = RgbImage::new(1, 65_000, vec![77; 65_000 * 3]).unwrap();
    let view = Preprocessing::clip(224).test_view(&image).unwrap();
    assert_eq!((view.width(), view.height()), (224, 224));
    assert!(view.pixels().iter().all(|&sample| sample == 77));
}
