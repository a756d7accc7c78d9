//! What users are told about images that are no images.

use std::fs;
use std::path::Path;

use ueo::image::{DecodeOptions, ImageError, Preprocessing, RgbImage, decode};

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
        "expected JPEG, PNG, WebP, GIF, BMP or TIFF, found content that begins with \"<!DOCTYPE html><\""
    );
}

#[test]
fn an_image_of_another_format() {
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miafMA1B";
    assert_eq!(
        error(avif).to_string(),
        "expected JPEG, PNG, WebP, GIF, BMP or TIFF with integer samples, found Avif"
    );
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

/// Every prefix and many single-byte changes of every fixture: an image or an error, never a panic.
#[test]
fn damaged_bytes_never_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let limits = DecodeOptions {
        max_pixels: 1 << 20,
        ..DecodeOptions::default()
    };
    let mut tried = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        if bytes.len() > 8000 {
            continue;
        }
        for step in 0..60 {
            let at = step * bytes.len() / 60;
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            for candidate in [&changed[..], &bytes[..at]] {
                tried += 1;
                if let Err(error) = decode(candidate, &limits) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(tried > 4000, "{tried}");
}

#[test]
fn an_extremely_thin_image_costs_no_more_than_another() {
    // Resized as a whole it would have 224 x 14,560,000 pixels.
    let image = RgbImage::new(1, 65_000, vec![77; 65_000 * 3]).unwrap();
    let view = Preprocessing::clip(224).test_view(&image).unwrap();
    assert_eq!((view.width(), view.height()), (224, 224));
    assert!(view.pixels().iter().all(|&sample| sample == 77));
}
