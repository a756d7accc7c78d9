//! The images of a job: a data set on disk, decoded and turned into batches beside the computation.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapt::{PixelBatch, PixelSource, UnreadableImage};
use crate::data::{
    Dataset, DatasetOptions, ImageLabel, LabelChoice, Labelling, LeftOutCount, SourceKind,
};
use crate::image::{
    BatchLoader, CacheContent, CacheOptions, CacheUse, DecodeOptions, ExifOrientation, ImageSource,
    LoaderOptions, Preprocessing, RgbImage, ViewKind,
};

use super::labels::OracleLabels;
use super::model::Model;
use super::{Event, Reporter, SessionError, SkippedImage};

/// Batches that the loader may prepare before the computation asks for them.
const PREFETCH_BATCHES: usize = 2;

/// Memory for decoded images where a program does not choose, in bytes.
const IMAGE_CACHE_BYTES: u64 = 2 << 30;

/// A data set with the preprocessing of a model.
#[derive(Debug)]
pub struct Images {
    path: PathBuf,
    source: Arc<ImageSource>,
    label_choice: LabelChoice,
    class_ids: Option<Vec<String>>,
}

impl Model {
    /// Opens a directory, list file, tar shard, Parquet file or directory of these for this model.
    ///
    /// # Errors
    ///
    /// [`SessionError::Data`].
    pub fn images(&self, path: impl AsRef<Path>) -> Result<Images, SessionError> {
        Images::open(
            path.as_ref(),
            DatasetOptions::default(),
            &self.preprocessing,
            IMAGE_CACHE_BYTES,
        )
    }

    /// Image files for this model, in the order in which they are named.
    pub fn image_files(&self, files: impl IntoIterator<Item = PathBuf>) -> Images {
        Images::of_files(files, &self.preprocessing)
    }

    /// Decoded images for this model; their names are their positions.
    pub fn pixels(&self, images: impl IntoIterator<Item = RgbImage>) -> Images {
        let named = images.into_iter().enumerate();
        let named = named.map(|(index, image)| (index.to_string(), image));
        Images::of_pixels(named, &self.preprocessing)
    }
}

impl Images {
    /// Opens a directory, list file, tar shard, Parquet file or directory of these; of the options, the folder of a list's
    /// paths will do.
    ///
    /// Up to `cache_bytes` of decoded images stay in memory for later epochs.
    ///
    /// # Errors
    ///
    /// [`SessionError::Data`].
    pub fn open(
        path: &Path,
        options: impl Into<DatasetOptions>,
        preprocessing: &Preprocessing,
        cache_bytes: u64,
    ) -> Result<Self, SessionError> {
        let content = CacheContent::Originals;
        Self::open_keeping(content, path, options, preprocessing, cache_bytes)
    }

    /// [`Self::open`], with a choice of what stays in memory.
    ///
    /// # Errors
    ///
    /// [`SessionError::Data`].
    pub fn open_keeping(
        content: CacheContent,
        path: &Path,
        options: impl Into<DatasetOptions>,
        preprocessing: &Preprocessing,
        cache_bytes: u64,
    ) -> Result<Self, SessionError> {
        let cache = caching(content, cache_bytes);
        let source = ImageSource::new(
            Dataset::open(path, &options.into())?,
            preprocessing.clone(),
            decoding(preprocessing),
            cache,
        );
        Ok(Self {
            path: path.to_owned(),
            ..Self::of_source(source)
        })
    }

    /// Image files in the order in which a program names them, for a model with this preprocessing.
    pub fn of_files(
        files: impl IntoIterator<Item = PathBuf>,
        preprocessing: &Preprocessing,
    ) -> Self {
        Self::of_files_keeping(CacheContent::default(), files, preprocessing, 0)
    }

    /// [`Self::of_files`], with a choice of what stays in memory, and up to how many bytes.
    pub fn of_files_keeping(
        content: CacheContent,
        files: impl IntoIterator<Item = PathBuf>,
        preprocessing: &Preprocessing,
        cache_bytes: u64,
    ) -> Self {
        let source = ImageSource::new(
            Dataset::of_files(files),
            preprocessing.clone(),
            decoding(preprocessing),
            caching(content, cache_bytes),
        );
        Self::of_source(source)
    }

    /// Decoded images by name, in this order, for a model with this preprocessing.
    pub fn of_pixels(
        images: impl IntoIterator<Item = (String, RgbImage)>,
        preprocessing: &Preprocessing,
    ) -> Self {
        Self::of_source(ImageSource::in_memory(images, preprocessing.clone()))
    }

    fn of_source(source: ImageSource) -> Self {
        Self {
            path: source.dataset().root.clone(),
            source: Arc::new(source),
            label_choice: LabelChoice::default(),
            class_ids: None,
        }
    }

    /// The same images with labels from there; without a choice, from a list or shards, else from folders that are classes.
    #[must_use]
    pub fn with_label_choice(mut self, choice: LabelChoice) -> Self {
        self.label_choice = choice;
        self
    }

    /// The same images, whose labels may also be ids of classes, one for each class name in its order.
    #[must_use]
    pub fn with_class_ids(mut self, ids: Option<Vec<String>>) -> Self {
        self.class_ids = ids;
        self
    }

    /// Number of images, readable or not.
    pub fn len(&self) -> usize {
        self.dataset().len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is in memory so far, and what did not fit.
    pub fn cache_use(&self) -> CacheUse {
        self.source.cache_use()
    }

    /// How many of the images read so far carry an EXIF orientation other than upright, whether it was applied or not.
    pub fn exif_oriented_images(&self) -> usize {
        self.source.exif_oriented_images()
    }

    /// Tells how many of the images read so far carry an EXIF orientation other than upright, if any do.
    pub fn tell_orientation(&self, reporter: &mut dyn Reporter) {
        let images = self.exif_oriented_images();
        if images > 0 {
            let orientation = self.source.preprocessing().exif_orientation;
            reporter.report(Event::ExifOriented {
                images,
                applied: orientation == ExifOrientation::Apply,
            });
        }
    }

    /// Where the images are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of an image relative to the images' root.
    pub fn id(&self, index: usize) -> &str {
        self.dataset().samples.id(index)
    }

    /// Tells about the files beside the images that were not taken.
    pub fn tell_left_out(&self, reporter: &mut dyn Reporter) {
        for count in self.left_out() {
            reporter.report(Event::LeftOut(&count));
        }
    }

    /// The files beside the images that were not taken, counted by reason.
    pub fn left_out(&self) -> Vec<LeftOutCount> {
        self.dataset().left_out.counts()
    }

    /// Whether each of some images shows a known class, according to `labels`.
    ///
    /// # Errors
    ///
    /// [`SessionError::MissingLabel`] names an image without a label; [`SessionError::Data`] when there are none to read.
    pub fn oracle(
        &self,
        labels: OracleLabels<'_>,
        classes: &[String],
        indices: &[usize],
    ) -> Result<Vec<bool>, SessionError> {
        let labelled = Dataset::open(labels.path, &labels.options)?;
        let classes = self.class_list(classes);
        // Who asks for labels means those that are there, however many of them are known classes.
        let choice = match labelled.kind {
            SourceKind::Directory => LabelChoice::Folders,
            SourceKind::List | SourceKind::Shards | SourceKind::Rows | SourceKind::Given => {
                LabelChoice::List
            }
        };
        let labelling = Labelling::of(&labelled, &classes, choice)?;
        let by_id: HashMap<&str, ImageLabel> = labelled
            .samples
            .iter()
            .map(|sample| sample.id)
            .zip(labelling.images)
            .collect();
        indices
            .iter()
            .map(|&index| match by_id.get(self.id(index)) {
                Some(ImageLabel::Known(_)) => Ok(true),
                Some(ImageLabel::Unknown(_)) => Ok(false),
                Some(ImageLabel::Unlabelled(_)) | None => Err(SessionError::MissingLabel {
                    path: labels.path.to_owned(),
                    id: self.id(index).to_owned(),
                }),
            })
            .collect()
    }

    /// Everything that was left out: entries of the data set, and images that could not be decoded.
    pub fn skipped_with(&self, failures: &[UnreadableImage]) -> Vec<SkippedImage> {
        let entries = self.dataset().skipped.iter().map(|entry| SkippedImage {
            id: entry.id.clone(),
            reason: entry.reason.to_string(),
        });
        let images = failures.iter().map(|failure| SkippedImage {
            id: self.id(failure.index).to_owned(),
            reason: failure.reason.clone(),
        });
        let mut skipped: Vec<SkippedImage> = entries.chain(images).collect();
        skipped.sort_by(|a, b| a.id.cmp(&b.id));
        skipped
    }

    /// Indices of the images that are not among `skipped`.
    pub fn without(&self, skipped: &[SkippedImage]) -> Vec<usize> {
        let skipped: HashSet<&str> = skipped.iter().map(|image| image.id.as_str()).collect();
        (0..self.len())
            .filter(|&index| !skipped.contains(self.id(index)))
            .collect()
    }

    pub(super) fn label_choice(&self) -> LabelChoice {
        self.label_choice
    }

    pub(super) fn class_ids(&self) -> Option<&[String]> {
        self.class_ids.as_deref()
    }

    pub(super) fn dataset(&self) -> &Dataset {
        self.source.dataset()
    }
}

/// What stays in memory.
fn caching(content: CacheContent, cache_bytes: u64) -> CacheOptions {
    CacheOptions {
        budget_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
        content,
    }
}

/// How the files of a data set become pixels.
fn decoding(preprocessing: &Preprocessing) -> DecodeOptions {
    DecodeOptions {
        exif_orientation: preprocessing.exif_orientation,
        ..DecodeOptions::default()
    }
}

impl PixelSource for Images {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn image_size(&self) -> usize {
        self.source.preprocessing().crop
    }

    fn name(&self, index: usize) -> String {
        self.id(index).to_owned()
    }

    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        let options = LoaderOptions {
            batch_size,
            threads: rayon::current_num_threads(),
            prefetch_batches: PREFETCH_BATCHES,
            view,
        };
        let loader = BatchLoader::start(Arc::clone(&self.source), order.clone(), options);
        match loader {
            Ok(loader) => Box::new(loader.map(|batch| {
                PixelBatch {
                    indices: batch.indices,
                    pixels: batch.pixels,
                    failures: batch
                        .failures
                        .into_iter()
                        .map(|(index, error)| UnreadableImage {
                            index,
                            reason: error.to_string(),
                        })
                        .collect(),
                }
            })),
            // Without a single thread nothing can be read: every image says so.
            Err(error) => Box::new(std::iter::once(PixelBatch {
                failures: order
                    .into_iter()
                    .map(|index| UnreadableImage {
                        index,
                        reason: format!("no thread could be started: {error}"),
                    })
                    .collect(),
                ..PixelBatch::default()
            })),
        }
    }
}
