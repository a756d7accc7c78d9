//! A data set's images as network inputs: read, decode (or take from the cache), view, normalize.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{ImageCache, Kept};
use super::decode::decode_reserved;
use super::memory::Reservation;
use super::{
    CacheContent, CacheOptions, CacheUse, DecodeOptions, ImageError, Orientation, Preprocessing,
    RgbImage, ViewKind,
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
    /// Images that a camera held in another way than upright, of those decoded so far.
    turned: Mutex<HashSet<usize>>,
}

/// A decoded image, and its part of the memory for decoding until a view was made of it.
struct Held {
    image: Arc<RgbImage>,
    /// None where the image comes from the cache, which has a budget of its own.
    _reservation: Option<Reservation>,
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
            turned: Mutex::default(),
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
            turned: Mutex::default(),
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

    /// How many of the images decoded so far have EXIF data that ask for another orientation than the stored one, whether
    /// that was applied or not.
    pub fn exif_oriented_images(&self) -> usize {
        let turned = self.turned.lock();
        turned.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The decoded image with this index, as large as it is in the file.
    ///
    /// # Errors
    /// What is wrong with this image; others are not affected.
    pub fn decoded(&self, index: usize) -> Result<Arc<RgbImage>, ImageError> {
        Ok(self.held(index)?.image)
    }

    fn held(&self, index: usize) -> Result<Held, ImageError> {
        // Test views are never original, so that a source that keeps those finds none here.
        let kept = self.cache.get(index);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_original) {
            return Ok(Held {
                image: Arc::clone(&kept.image),
                _reservation: None,
            });
        }
        let held = self.read(index)?;
        match self.content {
            CacheContent::Originals => self.cache.insert(index, &Kept::original(&held.image)),
            // The test pass comes before the training views; it fills the cache for them.
            CacheContent::Reduced { shorter_side } if kept.is_none() => {
                self.keep_reduced(index, &held.image, shorter_side)?;
            }
            CacheContent::Reduced { .. } | CacheContent::TestViews => {}
        }
        Ok(held)
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
                let held = self.held(index)?;
                Arc::new(self.preprocessing.view(&held.image, view, index)?)
            }
        };
        Ok(self.preprocessing.normalize(&view))
    }

    fn kept_test_view(&self, index: usize) -> Result<Arc<RgbImage>, ImageError> {
        if let Some(kept) = self.cache.get(index) {
            return Ok(kept.image);
        }
        let held = self.read(index)?;
        let view = self.preprocessing.test_view(&held.image)?;
        let kept = Kept::derived(view);
        self.cache.insert(index, &kept);
        Ok(kept.image)
    }

    fn reduced(&self, index: usize, shorter_side: usize) -> Result<Arc<RgbImage>, ImageError> {
        if let Some(kept) = self.cache.get(index) {
            return Ok(kept.image);
        }
        let held = self.read(index)?;
        self.keep_reduced(index, &held.image, shorter_side)
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

    fn read(&self, index: usize) -> Result<Held, ImageError> {
        let bytes = self
            .dataset
            .read_bytes(index)
            .map_err(|error| ImageError::Read {
                reason: error.to_string(),
            })?;
        let decoded = decode_reserved(&bytes, &self.decode_options)?;
        if decoded.exif != Orientation::Upright {
            let mut turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
            turned.insert(index);
        }
        Ok(Held {
            image: Arc::new(decoded.image),
            _reservation: Some(decoded.reservation),
        })
    }
}
