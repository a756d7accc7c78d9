//! What the loop remembers to watch over an adaptation: the epoch in progress, and the best epoch so far.

use std::sync::Arc;

use crate::guard::Tally;

use super::TrainedParameters;

/// The part of the state that watching needs.
#[derive(Clone, Debug)]
pub struct WatchState {
    /// Epochs whose record has been made.
    pub epochs: usize,
    /// The class that the zero-shot model predicts for the test view of each image, `[images]`.
    pub zero_shot_classes: Arc<[usize]>,
    /// What the steps of the epoch in progress have predicted.
    pub tally: Tally,
    /// The parameters to end with, if they are not the last ones.
    pub best: Option<BestEpoch>,
}

/// The parameters of the best epoch so far.
#[derive(Clone, Debug)]
pub struct BestEpoch {
    /// Epoch, from 1; 0 is the zero-shot model.
    pub epoch: usize,
    /// Its criterion's value.
    pub value: f64,
    /// The parameters after the epoch.
    pub parameters: TrainedParameters,
}

impl WatchState {
    /// Nothing to watch, because nothing is trained.
    pub fn idle() -> Self {
        Self {
            epochs: 0,
            zero_shot_classes: Arc::default(),
            tally: Tally::new(0),
            best: None,
        }
    }

    /// The zero-shot classes of some images.
    pub(super) fn zero_shot_of(&self, images: &[usize]) -> Vec<usize> {
        images
            .iter()
            .map(|&image| self.zero_shot_classes[image])
            .collect()
    }

    /// Makes an epoch the best one if its criterion is higher than that of all before.
    pub(super) fn offer(&mut self, epoch: usize, value: f64, parameters: &TrainedParameters) {
        if self.best.as_ref().is_none_or(|best| value > best.value) {
            self.best = Some(BestEpoch {
                epoch,
                value,
                parameters: parameters.clone(),
            });
        }
    }
}
