//! The features of a pass in a file from which they are read again batch by batch, so that memory does not grow with the images.
//!
//! The format is that of [`FeatureLog`](super::features::FeatureLog): a header that says what the features are of, then a
//! checked frame per batch. What a process that died has left half written is cut off.

use std::fs::{File, TryLockError};
use std::io::{BufReader, Write};
use std::path::Path;

use ueo::adapt::CallerError;
use ueo::disk::DiskFile;
use ueo::session::{FeatureStore, ImageFeatures, KeptFeatures};

use super::RunError;
use super::features::{BatchFile, FeatureKey, next_batch};
use super::frame::{frame, frame_length, read_frame};

/// Longest frame, in bytes: a batch of the widest features, and reasons why images cannot be read.
const MAX_FRAME_BYTES: u64 = 64 << 20;

/// Keeps the features of a pass.
pub(crate) struct FeatureFile {
    batches: BatchFile,
    key: FeatureKey,
    /// Which images an earlier pass has left, without their features.
    kept: ImageFeatures,
}

impl FeatureFile {
    /// Opens the file, which no other process may use. What it holds of another pass is dropped.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`], [`RunError::Io`].
    pub fn open(path: &Path, key: FeatureKey) -> Result<Self, RunError> {
        let io = |source| RunError::io("open", path, source);
        let mut file = DiskFile::open(path).map_err(io)?;
        match file.file().try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(RunError::InUse {
                    path: path.to_owned(),
                    process: None,
                });
            }
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut kept = ImageFeatures {
            embed_dim: key.embed_dim(),
            ..ImageFeatures::default()
        };
        let header = serde_json::to_vec(&key).map_err(|error| io(error.into()))?;
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let mut length = 0;
        if read_frame(&mut reader, MAX_FRAME_BYTES)
            .map_err(io)?
            .as_ref()
            == Some(&header)
        {
            length = frame_length(header.len());
            while let Some(data) = read_frame(&mut reader, MAX_FRAME_BYTES).map_err(io)? {
                let Some(mut batch) = next_batch(&data, kept.images(), &key) else {
                    break;
                };
                batch.features = Vec::new();
                kept.append(batch);
                length += frame_length(data.len());
            }
        }
        file.truncate(length).map_err(io)?;
        if length == 0 {
            file.write_all(&frame(&header)).map_err(io)?;
        }
        Ok(Self {
            batches: BatchFile::new(file),
            key,
            kept,
        })
    }
}

impl FeatureStore for FeatureFile {
    fn kept(&mut self) -> ImageFeatures {
        std::mem::take(&mut self.kept)
    }

    fn keep(&mut self, batch: &ImageFeatures) -> Result<(), CallerError> {
        Ok(self.batches.append(batch)?)
    }
}

impl KeptFeatures for FeatureFile {
    fn batches(
        &mut self,
    ) -> Result<Box<dyn Iterator<Item = Result<ImageFeatures, CallerError>> + '_>, CallerError>
    {
        let path = self.batches.path();
        let io = |source| RunError::io("read", path, source);
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        read_frame(&mut reader, MAX_FRAME_BYTES).map_err(io)?;
        let mut done = 0;
        let key = &self.key;
        Ok(Box::new(std::iter::from_fn(move || {
            let data = match read_frame(&mut reader, MAX_FRAME_BYTES) {
                Ok(data) => data?,
                Err(source) => return Some(Err(io(source).into())),
            };
            let batch = next_batch(&data, done, key)?;
            done += batch.images();
            Some(Ok(batch))
        })))
    }
}

#[cfg(test)]
mod tests {
    use ueo::adapt::UnreadableImage;
    use ueo::session::ENCODING_BATCH;

    use super::*;

    fn batch(first: usize, images: usize) -> ImageFeatures {
        ImageFeatures {
            indices: (first + 1..first + images).collect(),
            features: (2 * first + 2..2 * (first + images))
                .map(|value| value as f32)
                .collect(),
            embed_dim: 2,
            failures: vec![UnreadableImage {
                index: first,
                reason: "it is empty".to_owned(),
            }],
        }
    }

    #[test]
    fn batches_are_read_again_and_a_cut_one_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("features");
        let key = |digest| FeatureKey::for_tests(digest, ENCODING_BATCH + 3, 2);
        let batches = [batch(0, ENCODING_BATCH), batch(ENCODING_BATCH, 3)];
        let mut file = FeatureFile::open(&path, key("a")).unwrap();
        batches.iter().for_each(|batch| file.keep(batch).unwrap());
        let read: Vec<ImageFeatures> = file.batches().unwrap().map(Result::unwrap).collect();
        assert_eq!(read, batches);
        assert!(matches!(
            FeatureFile::open(&path, key("a")),
            Err(RunError::InUse { .. })
        ));
        drop(file);
        let length = std::fs::metadata(&path).unwrap().len();
        let cut = File::options().write(true).open(&path).unwrap();
        cut.set_len(length - 1).unwrap();
        let mut file = FeatureFile::open(&path, key("a")).unwrap();
        assert_eq!(file.kept.images(), ENCODING_BATCH);
        assert_eq!(file.kept().indices, batches[0].indices);
        file.keep(&batches[1]).unwrap();
        let read: Vec<ImageFeatures> = file.batches().unwrap().map(Result::unwrap).collect();
        assert_eq!(read, batches);
        drop(file);
        let other = FeatureFile::open(&path, key("b")).unwrap();
        assert_eq!(other.kept.images(), 0);
    }
}
