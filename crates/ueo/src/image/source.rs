//! A data set's images as network inputs: read, decode (or take from the cache), view, normalize.

use std::sync::Arc;

use super::cache::{ImageCache, Kept};
use super::{
    CacheContent, CacheOptions, CacheUse, DecodeOptions, ImageError, Preprocessing, RgbImage,
    ViewKind, decode,
};
use crate::data::Dataset;

/// A data set together with everything that turns its bytes into pixels. Shared by all epochs and threads.
#[derive(Debug)]
pub struct ImageSource {
    dataset: Dataset,
    preprocessing: Preprocessing,
    decode_options: DecodeOptions,
    content: CacheContent,
    cache: ImageCache,
}

impl ImageSource {
    /// A source that keeps images in memory as `cache` says.
    pub fn new(
        dataset: Dataset,
        preprocessing: Preprocessing,
        decode_options: DecodeOptions,
        cache: CacheOptions,
    ) -> Self {
        Self {
            dataset,
            preprocessing,
            decode_options,
            content: cache.content,
            cache: ImageCache::new(cache.budget_bytes),
        }
    }

    /// A source of images that are in memory already, by name and in this order.
    pub fn in_memory(
        images: impl IntoIterator<Item = (String, RgbImage)>,
        preprocessing: Preprocessing,
    ) -> Self {
        let cache = ImageCache::new(usize::MAX);
        let names = images
            .into_iter()
            .enumerate()
            .map(|(index, (name, image))| {
                cache.insert(index, &Kept::original(&Arc::new(image)));
                name
            });
        Self {
            dataset: Dataset::in_memory(names),
            preprocessing,
            decode_options: DecodeOptions::default(),
            content: CacheContent::Originals,
            cache,
        }
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// How images become inputs.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// What is in memory so far, and what did not fit.
    pub fn cache_use(&self) -> CacheUse {
        self.cache.usage()
    }

    /// The decoded image with this index, as large as it is in the file.
    ///
    /// # Errors
    /// What is wrong with this image; others are not affected.
    pub fn decoded(&self, index: usize) -> Result<Arc<RgbImage>, ImageError> {
        // Test views are never original, so that a source that keeps those finds none here.
        let kept = self.cache.get(index);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_original) {
            return Ok(Arc::clone(&kept.image));
        }
        let image = self.read(index)?;
        match self.content {
            CacheContent::Originals => self.cache.insert(index, &Kept::original(&image)),
            // The test pass comes before the training views; it fills the cache for them.
            CacheContent::Reduced { shorter_side } if kept.is_none() => {
                self.keep_reduced(index, &image, shorter_side)?;
            }
            CacheContent::Reduced { .. } | CacheContent::TestViews => {}
        }
        Ok(image)
    }

    /// The normalized view of the image with this index.
    ///
    /// # Shapes
    /// Returns `[3, crop, crop]`.
    ///
    /// # Errors
    /// What is wrong with this image; others are not affected.
    pub fn load(&self, index: usize, view: ViewKind) -> Result<Vec<f32>, ImageError> {
        let view = match (self.content, view) {
            (CacheContent::TestViews, ViewKind::Test) => self.kept_test_view(index)?,
            (CacheContent::Reduced { shorter_side }, ViewKind::Training { .. }) => {
                let image = self.reduced(index, shorter_side)?;
                Arc::new(self.preprocessing.view(&image, view, index)?)
            }
            _ => {
                let image = self.decoded(index)?;
                Arc::new(self.preprocessing.view(&image, view, index)?)
            }
        };
        Ok(self.preprocessing.normalize(&view))
    }

    fn kept_test_view(&self, index: usize) -> Result<Arc<RgbImage>, ImageError> {
        if let Some(kept) = self.cache.get(index) {
            return Ok(kept.image);
        }
        let image = self.read(index)?;
        let view = self.preprocessing.test_view(&image)?;
        let kept = Kept::derived(view);
        self.cache.insert(index, &kept);
        Ok(kept.image)
    }

    fn reduced(&self, index: usize, shorter_side: usize) -> Result<Arc<RgbImage>, ImageError> {
        if let Some(kept) = self.cache.get(index) {
            return Ok(kept.image);
        }
        let image = self.read(index)?;
        self.keep_reduced(index, &image, shorter_side)
    }

    fn keep_reduced(
        &self,
        index: usize,
        image: &Arc<RgbImage>,
        shorter_side: usize,
    ) -> Result<Arc<RgbImage>, ImageError> {
        let kept = if image.width().min(image.height()) <= shorter_side {
            Kept::original(image)
        } else {
            Kept::derived(self.preprocessing.reduced(image, shorter_side)?)
        };
        self.cache.insert(index, &kept);
        Ok(kept.image)
    }

    fn read(&self, index: usize) -> Result<Arc<RgbImage>, ImageError> {
        let bytes = self
            .dataset
            .read_bytes(index)
            .map_err(|error| ImageError::Read {
                reason: error.to_string(),
            })?;
        Ok(Arc::new(decode(&bytes, &self.decode_options)?))
    }
}
