//! Decoded images in memory for later epochs, up to a budget.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RgbImage;

/// What the cache of an [`ImageSource`](super::ImageSource) keeps of an image.
///
/// What is kept never changes a result: an image that did not fit is made again in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheContent {
    /// The decoded original, from which both views are made.
    #[default]
    Originals,
    /// The test view, `3 * crop * crop` bytes: for jobs that train on the test view too.
    TestViews,
    /// The decoded original, reduced once so that its shorter side is at most this long, in pixels. Training views are made
    /// of the reduced image, which changes their pixels a little; test views are always made of the original.
    Reduced {
        /// The longest shorter side that is kept as it is.
        shorter_side: usize,
    },
}

/// What may be kept, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheOptions {
    /// Most bytes of pixels that are kept; 0 keeps nothing.
    pub budget_bytes: usize,
    /// What is kept of an image.
    pub content: CacheContent,
}

/// How far the budget went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Images in memory.
    pub images: usize,
    /// Their pixels, in bytes.
    pub bytes: usize,
    /// Images that did not fit and are read and decoded again whenever they are needed.
    pub images_left_out: usize,
    /// Their pixels, in bytes: what the budget lacked.
    pub bytes_left_out: usize,
}

/// An image as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) image: Arc<RgbImage>,
    /// Whether these are the pixels of the file, not reduced ones.
    pub(super) is_original: bool,
}

impl Kept {
    pub(super) fn original(image: &Arc<RgbImage>) -> Self {
        Self {
            image: Arc::clone(image),
            is_original: true,
        }
    }

    /// A view or a reduced image.
    pub(super) fn derived(image: RgbImage) -> Self {
        Self {
            image: Arc::new(image),
            is_original: false,
        }
    }
}

/// Images up to a budget. Nothing is evicted: every epoch visits every image once, in another order, so that the share
/// of images that fits is the share of hits, whereas the least recently used ones would be the next needed.
#[derive(Debug)]
pub(super) struct ImageCache {
    budget_bytes: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    images: HashMap<usize, Kept>,
    used_bytes: usize,
    left_out: HashSet<usize>,
    left_out_bytes: usize,
}

impl ImageCache {
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            state: Mutex::default(),
        }
    }

    /// The counts are valid after every statement but one that cannot panic, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, index: usize) -> Option<Kept> {
        if self.budget_bytes == 0 {
            return None;
        }
        self.lock().images.get(&index).cloned()
    }

    pub(super) fn insert(&self, index: usize, kept: &Kept) {
        if self.budget_bytes == 0 {
            return;
        }
        let bytes = kept.image.pixels().len();
        let mut state = self.lock();
        // Two threads may have decoded the same image at once; it is counted once.
        if state.images.contains_key(&index) {
            return;
        }
        if state.used_bytes.saturating_add(bytes) <= self.budget_bytes {
            state.images.insert(index, kept.clone());
            state.used_bytes += bytes;
        } else if state.left_out.insert(index) {
            state.left_out_bytes = state.left_out_bytes.saturating_add(bytes);
        }
    }

    pub(super) fn usage(&self) -> CacheUse {
        let state = self.lock();
        CacheUse {
            images: state.images.len(),
            bytes: state.used_bytes,
            images_left_out: state.left_out.len(),
            bytes_left_out: state.left_out_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: usize) -> Kept {
        Kept::derived(RgbImage::new(bytes / 3, 1, vec![0; bytes]).unwrap())
    }

    #[test]
    fn the_budget_is_a_bound_and_what_is_left_out_is_counted_once() {
        let cache = ImageCache::new(100);
        for index in [0, 1, 2, 1, 2, 2] {
            cache.insert(index, &image(45));
        }
        assert!(cache.get(0).is_some() && cache.get(1).is_some() && cache.get(2).is_none());
        // A small one still fits.
        cache.insert(3, &image(9));
        let expected = CacheUse {
            images: 3,
            bytes: 99,
            images_left_out: 1,
            bytes_left_out: 45,
        };
        assert_eq!(cache.usage(), expected);
    }

    #[test]
    fn without_a_budget_nothing_is_kept_and_nothing_is_missed() {
        let cache = ImageCache::new(0);
        cache.insert(0, &image(3));
        assert!(cache.get(0).is_none());
        assert_eq!(cache.usage(), CacheUse::default());
    }
}
