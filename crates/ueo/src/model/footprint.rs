//! What an image, or a token of a text, takes in the memory of a device that bounds it.
//!
//! Estimated from the shapes of what enters the blocks: the composition keeps what each of its operations was given until the
//! backward pass.

use crate::device::Capacity;

use super::ModelError;

/// Bytes of a number.
const NUMBER_BYTES: u64 = 4;
/// Width of an attention head in all models of this kind, nearly.
const HEAD_WIDTH: u64 = 64;
/// Numbers that a transformer's block keeps for each that enters it: those of the feed-forward layer are four times as many.
const KEPT_BY_ATTENTION: u64 = 32;
/// Numbers that a bottleneck keeps for each that enters it.
const KEPT_BY_CONVOLUTIONS: u64 = 10;
/// Copies of the attention weights that a block keeps.
const KEPT_WEIGHTS: u64 = 4;
/// Width of the feed-forward layer, in widths of a block.
const HIDDEN: u64 = 4;
/// What is taken of a device whose driver does not say how much memory it has.
const ASSUMED_BYTES: u64 = 4 << 30;
/// Share of a device's memory that activations may take, in hundredths; the rest is for weights, gradients and other programs.
const SHARE_PERCENT: u64 = 60;

/// Bytes per image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// Of the largest tensor.
    largest: u64,
    /// Of all that a backward pass needs.
    kept: u64,
}

impl Footprint {
    /// Of a transformer, from the tokens and the width of each block.
    pub(super) fn of_attention(blocks: impl Iterator<Item = [usize; 2]>) -> Self {
        Self::sum(blocks, |tokens, width| {
            let weights = tokens * tokens * width.div_ceil(HEAD_WIDTH);
            let kept = KEPT_BY_ATTENTION * tokens * width + KEPT_WEIGHTS * weights;
            (weights.max(HIDDEN * tokens * width), kept)
        })
    }

    /// Of a convolutional network, from the positions and the channels of each block.
    pub(super) fn of_convolutions(blocks: impl Iterator<Item = [usize; 2]>) -> Self {
        Self::sum(blocks, |positions, channels| {
            let entering = positions * channels;
            (HIDDEN * entering, KEPT_BY_CONVOLUTIONS * entering)
        })
    }

    fn sum(
        blocks: impl Iterator<Item = [usize; 2]>,
        of_block: impl Fn(u64, u64) -> (u64, u64),
    ) -> Self {
        blocks.fold(Self::default(), |sum, [rows, width]| {
            let (largest, kept) = of_block(rows as u64, width as u64);
            Self {
                largest: sum.largest.max(largest * NUMBER_BYTES),
                kept: sum.kept + kept * NUMBER_BYTES,
            }
        })
    }

    /// Images that go through the tower together, at least one.
    pub(super) fn images_at_once(self, capacity: Capacity) -> Result<usize, ModelError> {
        let limit = capacity.tensor_bytes;
        if self.largest > limit {
            return Err(ModelError::TooLargeForDevice {
                what: "the largest activation of one image".to_owned(),
                bytes: self.largest,
                limit,
            });
        }
        let by_tensor = limit / self.largest.max(1);
        let by_memory = activation_bytes(capacity) / self.kept.max(1);
        Ok(usize::try_from(by_tensor.min(by_memory).max(1)).unwrap_or(usize::MAX))
    }
}

/// Tokens of texts that go through a transformer together.
pub(super) fn tokens_at_once(capacity: Capacity, layers: usize, width: usize) -> usize {
    let kept = KEPT_BY_ATTENTION * NUMBER_BYTES * (layers * width).max(1) as u64;
    let hidden = HIDDEN * NUMBER_BYTES * width.max(1) as u64;
    let tokens = (activation_bytes(capacity) / kept).min(capacity.tensor_bytes / hidden);
    usize::try_from(tokens.max(1)).unwrap_or(usize::MAX)
}

fn activation_bytes(capacity: Capacity) -> u64 {
    let total = capacity.total_bytes.unwrap_or(ASSUMED_BYTES);
    total / 100 * SHARE_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn capacity(tensor: u64, total: Option<u64>) -> Capacity {
        Capacity {
            tensor_bytes: tensor,
            total_bytes: total,
        }
    }

    #[test]
    fn a_larger_device_takes_more_images() {
        // ViT-B/16: measured with the composition, about 0.3 GB per image.
        let vit = || Footprint::of_attention((0..12).map(|_| [197, 768]));
        let images = |total| {
            vit()
                .images_at_once(capacity(2 * GIB, Some(total * GIB)))
                .unwrap()
        };
        assert_eq!([4, 8, 24, 80].map(images), [8, 16, 48, 160]);
        // A driver that says nothing is taken for a small card, and one that bounds tensors bounds the batch.
        assert_eq!(vit().images_at_once(capacity(2 * GIB, None)).unwrap(), 8);
        let small = capacity(16 << 20, Some(24 * GIB));
        assert_eq!(vit().images_at_once(small).unwrap(), 6);
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused() {
        let vit = Footprint::of_attention(std::iter::once([577, 1024]));
        let error = vit.images_at_once(capacity(1 << 20, None)).unwrap_err();
        assert!(matches!(error, ModelError::TooLargeForDevice { limit, .. } if limit == 1 << 20));
    }

    #[test]
    fn texts_are_bounded_as_images_are() {
        let tokens = |total| tokens_at_once(capacity(2 * GIB, Some(total * GIB)), 12, 512);
        assert!(tokens(8) > 2 * tokens(3) && tokens(8) < 3 * tokens(3));
    }
}
