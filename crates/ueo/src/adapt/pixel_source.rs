//! Where an adaptation gets its images from.

use crate::image::ViewKind;

/// Images ready for the vision tower.
#[derive(Clone, Debug, Default)]
pub struct PixelBatch {
    /// Which images these are.
    pub indices: Vec<usize>,
    /// `[indices, 3, image_size, image_size]`, row-major, normalized.
    pub pixels: Vec<f32>,
    /// Images of the batch that could not be read, and why.
    pub failures: Vec<UnreadableImage>,
}

/// An image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableImage {
    /// Which image it is.
    pub index: usize,
    /// What was wrong with it.
    pub reason: String,
}

/// Delivers images in a given order.
pub trait PixelSource {
    /// Number of images; indices are below it.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Side of the square images in pixels.
    fn image_size(&self) -> usize;

    /// What messages call an image.
    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }

    /// The images of `order` in batches of `batch_size`, the last one shorter if need be. A source may prepare them from this
    /// call on, before they are asked for.
    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a>;
}
