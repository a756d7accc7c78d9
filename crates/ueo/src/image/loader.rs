//! Batches in order, decoded and resized by threads while the consumer computes.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::{ImageError, ImageSource, ViewKind};

/// How a [`BatchLoader`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Images per batch (the last batch may be shorter); at least 1.
    pub batch_size: usize,
    /// Worker threads; at least 1. The batches do not depend on it.
    pub threads: usize,
    /// Batches that may be prepared before they are asked for; at least 1. Bounds the memory.
    pub prefetch_batches: usize,
    /// Which view of the images.
    pub view: ViewKind,
}

/// Images of consecutive entries of the order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Data set indices of the rows of `pixels`; images that failed have no row.
    pub indices: Vec<usize>,
    /// Normalized pixels, `[indices.len(), 3, crop, crop]`.
    pub pixels: Vec<f32>,
    /// Data set indices of the images that failed, with the reason, in order.
    pub failures: Vec<(usize, ImageError)>,
}

/// An iterator over batches in the given order.
///
/// The content is a function of the source, the order and the view: neither the number of threads nor timing changes
/// it. Dropping the loader before its end stops the workers after the image that each has in hand.
#[derive(Debug)]
pub struct BatchLoader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Position in the order of the next image to hand out.
    next: usize,
}

/// What consumer and workers share.
#[derive(Debug)]
struct Shared {
    source: Arc<ImageSource>,
    order: Vec<usize>,
    options: LoaderOptions,
    state: Mutex<State>,
    /// A worker finished an image.
    image_ready: Condvar,
    /// The consumer moved on (or went away), so that workers may.
    room_ahead: Condvar,
}

#[derive(Debug)]
struct State {
    /// Position of the next image that no worker has taken.
    claimed: usize,
    /// Workers take no position from here on: the consumer's plus what may be prepared ahead.
    horizon: usize,
    /// Finished images by position.
    done: HashMap<usize, Result<Vec<f32>, ImageError>>,
    /// The consumer is gone.
    stopped: bool,
}

impl BatchLoader {
    /// Starts the workers on `order`, a list of data set indices.
    ///
    /// # Errors
    /// When the operating system gives no thread at all. With fewer threads than asked for, the loader works on.
    pub fn start(
        source: Arc<ImageSource>,
        order: Vec<usize>,
        options: LoaderOptions,
    ) -> std::io::Result<Self> {
        let options = LoaderOptions {
            batch_size: options.batch_size.max(1),
            threads: options.threads.clamp(1, order.len().max(1)),
            prefetch_batches: options.prefetch_batches.max(1),
            view: options.view,
        };
        let shared = Arc::new(Shared {
            source,
            order,
            options,
            state: Mutex::new(State {
                claimed: 0,
                horizon: options.batch_size.saturating_mul(options.prefetch_batches),
                done: HashMap::new(),
                stopped: false,
            }),
            image_ready: Condvar::new(),
            room_ahead: Condvar::new(),
        });
        let mut loader = Self {
            shared,
            workers: Vec::with_capacity(options.threads),
            next: 0,
        };
        for number in 0..options.threads {
            let shared = Arc::clone(&loader.shared);
            let worker = thread::Builder::new()
                .name(format!("image-{number}"))
                .spawn(move || shared.work());
            match worker {
                Ok(worker) => loader.workers.push(worker),
                Err(error) if loader.workers.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(loader)
    }

    /// Number of batches in total.
    pub fn batch_count(&self) -> usize {
        self.shared
            .order
            .len()
            .div_ceil(self.shared.options.batch_size)
    }
}

impl Iterator for BatchLoader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let LoaderOptions {
            batch_size,
            prefetch_batches,
            ..
        } = self.shared.options;
        let end = self
            .next
            .saturating_add(batch_size)
            .min(self.shared.order.len());
        if self.next == end {
            return None;
        }
        let mut images = Vec::with_capacity(end - self.next);
        {
            let mut state = self.shared.lock();
            // While this batch is waited for, the ones after it may be prepared.
            state.horizon = end.saturating_add(batch_size.saturating_mul(prefetch_batches));
            self.shared.room_ahead.notify_all();
            for position in self.next..end {
                loop {
                    if let Some(image) = state.done.remove(&position) {
                        images.push((self.shared.order[position], image));
                        break;
                    }
                    state = wait(&self.shared.image_ready, state);
                }
            }
        }
        self.next = end;
        Some(collect(images))
    }
}

impl Drop for BatchLoader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room_ahead.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its images and has nothing else to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(position) = self.claim() {
            let index = self.order[position];
            // A position that never becomes done would block the consumer for ever.
            let image = catch_unwind(AssertUnwindSafe(|| {
                self.source.load(index, self.options.view)
            }))
            .unwrap_or_else(|_| {
                Err(ImageError::Resize {
                    reason: "a check inside the program failed".into(),
                })
            });
            self.lock().done.insert(position, image);
            self.image_ready.notify_one();
        }
    }

    /// The next position to work on; `None` when there is none or nobody waits for it.
    fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.claimed == self.order.len() {
                return None;
            }
            if state.claimed < state.horizon {
                state.claimed += 1;
                return Some(state.claimed - 1);
            }
            state = wait(&self.room_ahead, state);
        }
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition
        .wait(state)
        .unwrap_or_else(PoisonError::into_inner)
}

fn collect(images: Vec<(usize, Result<Vec<f32>, ImageError>)>) -> Batch {
    let mut batch = Batch {
        indices: Vec::with_capacity(images.len()),
        pixels: Vec::new(),
        failures: Vec::new(),
    };
    for (index, image) in images {
        match image {
            Ok(pixels) => {
                batch.indices.push(index);
                if batch.pixels.is_empty() {
                    batch.pixels = pixels;
                } else {
                    batch.pixels.extend_from_slice(&pixels);
                }
            }
            Err(error) => batch.failures.push((index, error)),
        }
    }
    batch
}
