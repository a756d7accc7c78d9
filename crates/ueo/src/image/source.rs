//! A data set's images as network inputs: read, decode (or take from the cache), view, normalize.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DecodeOptions, ImageError, Preprocessing, RgbImage, ViewKind, decode};
use crate::data::Dataset;

/// A data set together with everything that turns its bytes into pixels. Shared by all epochs and threads.
#[derive(Debug)]
pub struct ImageSource {
    dataset: Dataset,
    preprocessing: Preprocessing,
    decode_options: DecodeOptions,
    cache: DecodedCache,
}

impl ImageSource {
    /// A source whose cache keeps at most `cache_budget_bytes` of decoded RGB; 0 disables it.
    pub fn new(
        dataset: Dataset,
        preprocessing: Preprocessing,
        decode_options: DecodeOptions,
        cache_budget_bytes: usize,
    ) -> Self {
        Self {
            dataset,
            preprocessing,
            decode_options,
            cache: DecodedCache::new(cache_budget_bytes),
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

    /// Decoded pixels in the cache, in bytes.
    pub fn cached_bytes(&self) -> usize {
        self.cache.lock().used_bytes
    }

    /// The decoded image with this index.
    ///
    /// # Errors
    /// What is wrong with this image; others are not affected.
    pub fn decoded(&self, index: usize) -> Result<Arc<RgbImage>, ImageError> {
        if let Some(image) = self.cache.get(index) {
            return Ok(image);
        }
        let bytes = self
            .dataset
            .read_bytes(index)
            .map_err(|error| ImageError::Read {
                reason: error.to_string(),
            })?;
        let image = Arc::new(decode(&bytes, &self.decode_options)?);
        self.cache.insert(index, &image);
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
        let image = self.decoded(index)?;
        let view = self.preprocessing.view(&image, view, index)?;
        Ok(self.preprocessing.normalize(&view))
    }
}

/// Decoded images up to a budget. Nothing is evicted: every epoch visits every image once, in another order, so that
/// the share of images that fits is the share of hits, whereas the least recently used ones would be the next needed.
#[derive(Debug)]
struct DecodedCache {
    budget_bytes: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    images: HashMap<usize, Arc<RgbImage>>,
    used_bytes: usize,
}

impl DecodedCache {
    fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            state: Mutex::default(),
        }
    }

    /// The map is valid after every statement, so a panic elsewhere while it was locked does not matter.
    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, index: usize) -> Option<Arc<RgbImage>> {
        if self.budget_bytes == 0 {
            return None;
        }
        self.lock().images.get(&index).cloned()
    }

    fn insert(&self, index: usize, image: &Arc<RgbImage>) {
        let bytes = image.pixels().len();
        let mut state = self.lock();
        if state.used_bytes.saturating_add(bytes) > self.budget_bytes {
            return;
        }
        // Two threads may have decoded the same image at once; it is counted once.
        if state.images.insert(index, Arc::clone(image)).is_none() {
            state.used_bytes += bytes;
        }
    }
}
