//! The images of a job: a data set on disk, decoded and turned into batches beside the computation.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::adapt::{PixelBatch, PixelSource, UnreadableImage};
use crate::data::{ClassList, ClassMatch, Dataset, DatasetOptions, resolve_labels};
use crate::image::{DecodeOptions, Preprocessing, ViewKind, decode};

use super::adapting::skipped_image;
use super::record::{AdaptRequest, SkippedImage};
use super::RunError;

/// A data set with the preprocessing of a model.
#[derive(Debug)]
pub struct ImageSet {
    path: PathBuf,
    dataset: Dataset,
    preprocessing: Preprocessing,
}

/// Which known class each image of a set shows.
#[derive(Clone, Debug)]
pub struct Labels(Vec<Option<usize>>);

impl Labels {
    /// The classes of some images, `None` for images of unknown classes.
    pub fn of(&self, indices: &[usize]) -> Vec<Option<usize>> {
        indices.iter().map(|&index| self.0[index]).collect()
    }
}

impl ImageSet {
    /// Opens a directory, list file, tar shard or directory of shards.
    ///
    /// # Errors
    ///
    /// [`RunError::Data`].
    pub fn open(
        path: &Path,
        image_root: Option<&Path>,
        preprocessing: &Preprocessing,
        _cache_bytes: u64,
    ) -> Result<Self, RunError> {
        let options = DatasetOptions {
            image_root: image_root.map(Path::to_owned),
        };
        Ok(Self {
            path: path.to_owned(),
            dataset: Dataset::open(path, &options)?,
            preprocessing: preprocessing.clone(),
        })
    }

    /// Where the images are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of an image relative to the images' root.
    pub fn id(&self, index: usize) -> &str {
        &self.dataset.samples[index].id
    }

    /// The labels, if every image has one and at least one of them is a known class.
    ///
    /// Folders that sort images by anything else than the known classes are therefore no labels.
    pub fn labels(&self, classes: &[String]) -> Option<Labels> {
        let classes = ClassList::from_names(classes.to_vec());
        let labels = resolve_labels(&self.dataset, &classes)
            .into_iter()
            .map(|label| match label? {
                ClassMatch::Known(class) => Some(Some(class)),
                ClassMatch::Unknown => Some(None),
            })
            .collect::<Option<Vec<_>>>()?;
        labels.iter().any(Option::is_some).then_some(Labels(labels))
    }

    /// Whether each of some images shows a known class, from the labels that the request allows to be used.
    pub(super) fn oracle(
        &self,
        request: &AdaptRequest,
        indices: &[usize],
    ) -> Result<Vec<bool>, RunError> {
        let path = request.oracle_labels.as_ref().unwrap_or(&request.images);
        let options = DatasetOptions {
            image_root: request.image_root.clone(),
        };
        let labelled = Dataset::open(path, &options)?;
        let classes = ClassList::from_names(request.classes.clone());
        let labels = resolve_labels(&labelled, &classes);
        let by_id: HashMap<&str, ClassMatch> = labelled
            .samples
            .iter()
            .zip(labels)
            .filter_map(|(sample, label)| Some((sample.id.as_str(), label?)))
            .collect();
        indices
            .iter()
            .map(|&index| match by_id.get(self.id(index)) {
                Some(label) => Ok(matches!(label, ClassMatch::Known(_))),
                None => Err(RunError::MissingLabel {
                    path: path.clone(),
                    id: self.id(index).to_owned(),
                }),
            })
            .collect()
    }

    /// Everything that was left out: entries of the data set, and images that could not be decoded.
    pub(super) fn skipped_with(&self, failures: &[UnreadableImage]) -> Vec<SkippedImage> {
        let entries = self
            .dataset
            .skipped
            .iter()
            .map(|entry| skipped_image(&entry.id, &entry.reason.to_string()));
        let images = failures
            .iter()
            .map(|failure| skipped_image(self.id(failure.index), &failure.reason));
        let mut skipped: Vec<SkippedImage> = entries.chain(images).collect();
        skipped.sort_by(|a, b| a.id.cmp(&b.id));
        skipped
    }

    /// Indices of the images that are not among `skipped`.
    pub(super) fn without(&self, skipped: &[SkippedImage]) -> Vec<usize> {
        let skipped: std::collections::HashSet<&str> =
            skipped.iter().map(|image| image.id.as_str()).collect();
        (0..self.len())
            .filter(|&index| !skipped.contains(self.id(index)))
            .collect()
    }

    fn pixels(&self, index: usize, view: ViewKind) -> Result<Vec<f32>, String> {
        let bytes = self.dataset.read_bytes(index).map_err(|error| error.to_string())?;
        let image = decode(&bytes, &DecodeOptions::default()).map_err(|error| error.to_string())?;
        let view = self
            .preprocessing
            .view(&image, view, index)
            .map_err(|error| error.to_string())?;
        Ok(self.preprocessing.normalize(&view))
    }
}

impl PixelSource for ImageSet {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn image_size(&self) -> usize {
        self.preprocessing.crop
    }

    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        let batches: Vec<Vec<usize>> = order.chunks(batch_size).map(<[usize]>::to_vec).collect();
        Box::new(batches.into_iter().map(move |indices| {
            let images: Vec<Result<Vec<f32>, String>> = indices
                .par_iter()
                .map(|&index| self.pixels(index, view))
                .collect();
            let mut batch = PixelBatch::default();
            for (index, image) in indices.into_iter().zip(images) {
                match image {
                    Ok(pixels) => {
                        batch.indices.push(index);
                        batch.pixels.extend(pixels);
                    }
                    Err(reason) => batch.failures.push(UnreadableImage { index, reason }),
                }
            }
            batch
        }))
    }
}
