//! Samples of any kind to 8-bit RGB, with Pillow's arithmetic.

/// Interleaved samples to RGB, in place where a pixel has at least three bytes, so that it takes no further memory.
pub(super) fn pack(
    mut samples: Vec<u8>,
    pixel_bytes: usize,
    rgb: impl Fn(&[u8]) -> [u8; 3],
) -> Vec<u8> {
    if pixel_bytes < 3 {
        return samples.chunks_exact(pixel_bytes).flat_map(rgb).collect();
    }
    let pixels = samples.len() / pixel_bytes;
    for number in 0..pixels {
        let color = rgb(&samples[number * pixel_bytes..(number + 1) * pixel_bytes]);
        samples[number * 3..(number + 1) * 3].copy_from_slice(&color);
    }
    samples.truncate(pixels * 3);
    samples.shrink_to_fit();
    samples
}

/// What [`pack`] takes beyond the samples themselves, per pixel.
pub(super) fn packing_bytes(pixel_bytes: u64) -> u64 {
    if pixel_bytes < 3 { 3 } else { 0 }
}

/// The high byte of a 16-bit sample in the machine's order.
pub(super) fn high_byte(sample: &[u8]) -> u8 {
    (u16::from_ne_bytes([sample[0], sample[1]]) >> 8) as u8
}

/// `a * b / 255`, rounded as Pillow does it (`MULDIV255` of Imaging.h).
fn multiply_255(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// Cyan, magenta, yellow and black without a profile (`cmyk2rgb` of Pillow's Convert.c).
pub(super) fn rgb_of_cmyk(cmyk: &[u8]) -> [u8; 3] {
    let white = 255 - cmyk[3];
    [0, 1, 2].map(|ink| white.saturating_sub(multiply_255(cmyk[ink], white)))
}

/// Full-range YCbCr of ITU-R BT.601, as libjpeg converts it while it decodes.
pub(super) fn rgb_of_jpeg_ycbcr(ycbcr: &[u8]) -> [u8; 3] {
    // Coefficients times 65,536.
    let [y, cb, cr] = [0, 1, 2].map(|at| i32::from(ycbcr[at]));
    let (cb, cr) = (cb - 128, cr - 128);
    let rounded = |sum: i32| (y + ((sum + 32_768) >> 16)).clamp(0, 255) as u8;
    [
        rounded(91_881 * cr),
        rounded(-22_554 * cb - 46_802 * cr),
        rounded(116_130 * cb),
    ]
}

/// The same as Pillow converts an image that is stored as YCbCr: in 64ths, rounded down (ConvertYCbCr.c).
pub(super) fn rgb_of_ycbcr(ycbcr: &[u8]) -> [u8; 3] {
    let [y, cb, cr] = [0, 1, 2].map(|at| i32::from(ycbcr[at]));
    let scaled = |factor: f64, color: i32| (factor * 64.0 * f64::from(color - 128) + 0.5) as i32;
    let shifted = |sum: i32| (y + (sum >> 6)).clamp(0, 255) as u8;
    [
        shifted(scaled(1.402, cr)),
        shifted(scaled(-0.344_14, cb) + scaled(-0.714_14, cr)),
        shifted(scaled(1.772, cb)),
    ]
}

/// A color that was multiplied by its alpha, before that (`unpackRGBa` of Pillow's Unpack.c).
pub(super) fn divided_by_alpha(color: [u8; 3], alpha: u8) -> [u8; 3] {
    color.map(|sample| {
        let divided = (u32::from(sample) * 255).checked_div(u32::from(alpha));
        divided.unwrap_or(0).min(255) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_in_place_equals_packing_into_another_buffer() {
        for pixel_bytes in 1..=8 {
            let samples: Vec<u8> = (0..pixel_bytes * 50).map(|at| (at * 7) as u8).collect();
            let color = |pixel: &[u8]| [pixel[0], pixel[pixel_bytes - 1], pixel[pixel_bytes / 2]];
            let expected: Vec<u8> = samples.chunks(pixel_bytes).flat_map(color).collect();
            assert_eq!(pack(samples, pixel_bytes, color), expected);
        }
    }

    #[test]
    fn corners_of_color_spaces() {
        assert_eq!(rgb_of_cmyk(&[0, 0, 0, 0]), [255; 3]);
        assert_eq!(rgb_of_cmyk(&[255, 0, 0, 0]), [0, 255, 255]);
        assert_eq!(rgb_of_cmyk(&[9, 99, 199, 255]), [0; 3]);
        for rgb in [rgb_of_ycbcr, rgb_of_jpeg_ycbcr] {
            assert_eq!(rgb(&[77, 128, 128]), [77; 3]);
            assert_eq!(rgb(&[76, 85, 255]), [254, 0, 0]);
        }
        assert_eq!(divided_by_alpha([10, 20, 200], 0), [0; 3]);
        assert_eq!(divided_by_alpha([10, 20, 200], 128), [19, 39, 255]);
    }
}
