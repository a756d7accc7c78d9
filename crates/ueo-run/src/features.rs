//! The features of a pass in progress, as a file of the run directory from which the pass is continued.
//!
//! The file is a series of checked frames, as in an event file: a header that says what the features are of, and a frame per
//! batch. A frame that was being written when the process died is cut off.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ueo::adapt::{CallerError, TrainedParameters, UnreadableImage};
use ueo::data::DatasetOptions;
use ueo::disk::DiskFile;
use ueo::image::Preprocessing;
use ueo::model::Precision;
use ueo::session::{ENCODING_BATCH, FeatureStore, ImageFeatures, Model};

use super::RunError;
use super::frame::{frame, split_frame};

/// Batches between two points that survive a power loss.
const BATCHES_PER_SYNC: usize = 8;

/// What the features in a file are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeatureKey {
    /// SHA-256 over model, parameters, images and program: all that a feature depends on.
    digest: String,
    images: usize,
    embed_dim: usize,
}

/// What a frame says about its batch; the features follow after a newline.
#[derive(Serialize, Deserialize)]
struct Batch {
    indices: Vec<usize>,
    failures: Vec<(usize, String)>,
}

impl FeatureKey {
    /// The features of images, by their ids, under some parameters of a model.
    pub fn new<'a>(
        model: &Model,
        precision: Precision,
        parameters: &TrainedParameters,
        ids: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut hasher = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(env!("CARGO_PKG_VERSION").as_bytes());
        let base = &model.base;
        add(base
            .content_sha256
            .as_ref()
            .unwrap_or(&base.sha256)
            .as_bytes());
        add(precision.to_string().as_bytes());
        for (name, tensor) in parameters.affine.to_host() {
            add(name.as_bytes());
            add(bytemuck::cast_slice(&tensor.data));
        }
        let mut images = 0;
        for id in ids {
            add(id.as_bytes());
            images += 1;
        }
        let digest = hasher.finalize();
        Self {
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            images,
            embed_dim: model.base.config.embed_dim,
        }
    }
}

impl FeatureKey {
    /// The same features of images that lie there, are opened so and go into the model so: ids alone are relative to all that.
    pub fn of_images_at(
        self,
        path: &Path,
        options: &DatasetOptions,
        preprocessing: &Preprocessing,
    ) -> Self {
        // Both: a list's images lie beside the link to it, and a link may lead elsewhere later.
        let places = |path: &Path| (std::path::absolute(path).ok(), fs::canonicalize(path).ok());
        let DatasetOptions {
            image_root,
            columns,
        } = options;
        // The images of a shard or of a Parquet file lie in it. Files of their own are too many to ask for.
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        let file = file.map(|file| (file.len(), file.modified().ok()));
        let matters = [
            format!("{preprocessing:?}"),
            format!("{:?}", places(path)),
            format!("{:?}", image_root.as_deref().map(places)),
            format!("{columns:?}"),
            format!("{file:?}"),
        ];
        self.and(matters.into_iter())
    }

    /// The same features where something else matters for them too.
    fn and(mut self, matters: impl Iterator<Item = String>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.digest.as_bytes());
        for text in matters {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let digest = hasher.finalize();
        self.digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self
    }

    /// A key of some digest.
    #[cfg(test)]
    pub fn for_tests(digest: &str, images: usize, embed_dim: usize) -> Self {
        Self {
            digest: digest.to_owned(),
            images,
            embed_dim,
        }
    }

    /// Numbers of a feature.
    pub fn embed_dim(&self) -> usize {
        self.embed_dim
    }
}

/// Keeps the features of a pass in a file.
pub(crate) struct FeatureLog {
    batches: BatchFile,
    kept: ImageFeatures,
}

impl FeatureLog {
    /// Opens the file. What it holds of another pass is dropped.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn open(path: &Path, key: &FeatureKey) -> Result<Self, RunError> {
        let opened = || -> io::Result<Self> {
            let mut file = DiskFile::open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let header = frame(&serde_json::to_vec(key)?);
            let (kept, length) = match bytes.strip_prefix(header.as_slice()) {
                Some(frames) => {
                    let (kept, rest) = read_batches(frames, key);
                    (kept, bytes.len() - rest.len())
                }
                None => (ImageFeatures::default(), 0),
            };
            file.truncate(length as u64)?;
            if length == 0 {
                file.write_all(&header)?;
            }
            Ok(Self {
                batches: BatchFile::new(file),
                kept,
            })
        };
        opened().map_err(|source| RunError::io("open", path, source))
    }
}

impl FeatureStore for FeatureLog {
    fn kept(&mut self) -> ImageFeatures {
        std::mem::take(&mut self.kept)
    }

    fn keep(&mut self, batch: &ImageFeatures) -> Result<(), CallerError> {
        Ok(self.batches.append(batch)?)
    }
}

/// A file that batches are appended to.
pub(crate) struct BatchFile {
    file: DiskFile,
    unsynced: usize,
}

impl BatchFile {
    /// Goes on at the end of a file.
    pub fn new(file: DiskFile) -> Self {
        Self { file, unsynced: 0 }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes a batch's frame.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn append(&mut self, batch: &ImageFeatures) -> Result<(), RunError> {
        let written = self.write(batch);
        written.map_err(|source| RunError::io("write", self.file.path(), source))
    }

    fn write(&mut self, batch: &ImageFeatures) -> io::Result<()> {
        self.file.write_all(&frame(&encode_batch(batch)?))?;
        self.unsynced += 1;
        if self.unsynced == BATCHES_PER_SYNC {
            self.unsynced = 0;
            self.file.sync()?;
        }
        Ok(())
    }
}

/// The data of a batch's frame.
fn encode_batch(batch: &ImageFeatures) -> io::Result<Vec<u8>> {
    let failures = batch.failures.iter();
    let mut data = serde_json::to_vec(&Batch {
        indices: batch.indices.clone(),
        failures: failures
            .map(|failure| (failure.index, failure.reason.clone()))
            .collect(),
    })?;
    data.push(b'\n');
    data.extend(batch.features.iter().flat_map(|value| value.to_le_bytes()));
    Ok(data)
}

/// The batch of a frame, if it is the one that follows on `done` images.
pub(crate) fn next_batch(data: &[u8], done: usize, key: &FeatureKey) -> Option<ImageFeatures> {
    let batch = read_batch(data, key.embed_dim)?;
    let end = done.saturating_add(ENCODING_BATCH).min(key.images);
    let mut images: Vec<usize> = batch.indices.clone();
    images.extend(batch.failures.iter().map(|failure| failure.index));
    images.sort_unstable();
    (images.into_iter().eq(done..end) && done < end).then_some(batch)
}

/// The batches of some frames, as far as they are whole and follow on each other, and the bytes behind them.
fn read_batches<'a>(mut frames: &'a [u8], key: &FeatureKey) -> (ImageFeatures, &'a [u8]) {
    let mut kept = ImageFeatures {
        embed_dim: key.embed_dim,
        ..ImageFeatures::default()
    };
    while let Some((data, rest)) = split_frame(frames) {
        let Some(batch) = next_batch(data, kept.images(), key) else {
            break;
        };
        kept.append(batch);
        frames = rest;
    }
    (kept, frames)
}

/// Batches of some frames that belong to a pass over this many images, for fuzz targets.
pub(crate) fn read_frames(frames: &[u8], images: usize, embed_dim: usize) -> usize {
    let key = FeatureKey {
        digest: String::new(),
        images,
        embed_dim,
    };
    read_batches(frames, &key)
        .0
        .images()
        .div_ceil(ENCODING_BATCH)
}

fn read_batch(data: &[u8], embed_dim: usize) -> Option<ImageFeatures> {
    let newline = data.iter().position(|&byte| byte == b'\n')?;
    let batch: Batch = serde_json::from_slice(&data[..newline]).ok()?;
    let features: Vec<f32> = data[newline + 1..]
        .chunks(size_of::<f32>())
        .map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?)))
        .collect::<Option<_>>()?;
    // Such features are not kept, so these are none of ours.
    if !features.iter().all(|value| value.is_finite()) {
        return None;
    }
    (Some(features.len()) == batch.indices.len().checked_mul(embed_dim)).then_some(ImageFeatures {
        indices: batch.indices,
        features,
        embed_dim,
        failures: batch
            .failures
            .into_iter()
            .map(|(index, reason)| UnreadableImage { index, reason })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBED_DIM: usize = 2;

    fn key(digest: &str) -> FeatureKey {
        FeatureKey {
            digest: digest.to_owned(),
            images: ENCODING_BATCH + 3,
            embed_dim: EMBED_DIM,
        }
    }

    /// The second image of a batch cannot be read.
    fn batch(first: usize, images: usize) -> ImageFeatures {
        let indices: Vec<usize> = (first..first + images)
            .filter(|i| *i != first + 1)
            .collect();
        ImageFeatures {
            features: (0..indices.len() * EMBED_DIM)
                .map(|value| (first + value) as f32 / 3.0)
                .collect(),
            indices,
            embed_dim: EMBED_DIM,
            failures: vec![UnreadableImage {
                index: first + 1,
                reason: "it is empty".to_owned(),
            }],
        }
    }

    #[test]
    fn batches_come_back_up_to_the_first_damage() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("features");
        let batches = [batch(0, ENCODING_BATCH), batch(ENCODING_BATCH, 3)];
        let mut log = FeatureLog::open(&path, &key("a")).unwrap();
        assert_eq!(
            log.kept(),
            ImageFeatures {
                embed_dim: 0,
                ..log.kept()
            }
        );
        for batch in &batches {
            log.keep(batch).unwrap();
        }
        let mut all = batches[0].clone();
        all.append(batches[1].clone());
        let kept = || FeatureLog::open(&path, &key("a")).unwrap().kept();
        assert_eq!(kept(), all);

        let length = fs::metadata(&path).unwrap().len();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(length - 1).unwrap();
        assert_eq!(kept(), batches[0]);
        let mut log = FeatureLog::open(&path, &key("a")).unwrap();
        log.keep(&batches[1]).unwrap();
        assert_eq!(kept(), all);
    }

    #[test]
    fn another_pass_begins_anew() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("features");
        let mut log = FeatureLog::open(&path, &key("a")).unwrap();
        log.keep(&batch(0, ENCODING_BATCH)).unwrap();
        let mut log = FeatureLog::open(&path, &key("b")).unwrap();
        assert_eq!(log.kept().images(), 0);
        // What belongs somewhere else in the order is not taken.
        log.keep(&batch(ENCODING_BATCH, 3)).unwrap();
        let mut log = FeatureLog::open(&path, &key("b")).unwrap();
        assert_eq!(log.kept().images(), 0);
    }
}
