//! A run that several processes make together: the first rank reads and writes the directory, the others hear what it holds.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ueo::exchange::Exchange;
use ueo::guard::EpochRecord;

use super::RunError;
use super::adapting::Task;
use super::directory::STATE;
use super::features::{FeatureKey, FeatureLog};
use super::held::HeldDirectory;
use super::preparing::Prepared;
use super::record::RunRecord;
use super::state::{decode_state, encode_state};

/// The run directory as a rank has it: only the first one does.
#[derive(Debug)]
pub struct RankDirectory(pub Option<HeldDirectory>);

impl RankDirectory {
    /// Writes, on the first rank.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn write(
        &self,
        write: impl FnOnce(&HeldDirectory) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        self.0.as_ref().map_or(Ok(()), write)
    }

    /// The file in which the features of a pass in progress are kept, on the first rank.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub(crate) fn features(&self, key: &FeatureKey) -> Result<Option<FeatureLog>, RunError> {
        let held = self.0.as_ref();
        held.map(|held| held.features(key)).transpose()
    }
}

/// What the first rank knows of a run in `directory`, told to all.
///
/// # Errors
///
/// [`RunError::Record`] when it has no form in JSON.
pub(super) fn told<T: Serialize + DeserializeOwned>(
    own: T,
    directory: &Path,
    exchange: &dyn Exchange,
) -> Result<T, RunError> {
    if exchange.is_alone() {
        return Ok(own);
    }
    let wrong = |error: serde_json::Error| RunError::record(directory, error.to_string());
    let text = match exchange.is_first() {
        true => serde_json::to_vec(&own).map_err(wrong)?,
        false => Vec::new(),
    };
    let text = exchange.of_first(text);
    match exchange.is_first() {
        true => Ok(own),
        false => serde_json::from_slice(&text).map_err(wrong),
    }
}

impl Task<'_> {
    /// [`Self::continued`] by the first rank; the others hear what it has found.
    pub(super) fn continued_together(
        &self,
        directory: &RankDirectory,
        record: RunRecord,
        output: &Path,
    ) -> Result<Option<Prepared>, RunError> {
        let exchange = self.job.model.exchange();
        let own = match &directory.0 {
            Some(held) => self.continued(held, record)?,
            None => None,
        };
        if exchange.is_alone() {
            return Ok(own);
        }
        let own_heads = own
            .as_ref()
            .map(|own| (own.record.clone(), own.epochs.clone()));
        let heads: Option<(RunRecord, Vec<EpochRecord>)> = told(own_heads, output, exchange)?;
        let Some((record, epochs)) = heads else {
            return Ok(None);
        };
        let state = own.as_ref().map(|own| encode_state(&own.state));
        let state = exchange.of_first(state.transpose()?.unwrap_or_default());
        let classes = own.as_ref().map(|own| own.zero_shot_classes.clone());
        let zero_shot_classes = told(classes.unwrap_or_default(), output, exchange)?;
        if own.is_some() {
            return Ok(own);
        }
        let state = decode_state(&state, &self.job.model.clip);
        Ok(Some(Prepared {
            state: state.map_err(|reason| RunError::State {
                path: output.join(STATE),
                reason,
            })?,
            features: Vec::new(),
            used: self.images.without(&record.images.skipped),
            results: Vec::new(),
            zero_shot_classes,
            record,
            epochs,
        }))
    }
}
