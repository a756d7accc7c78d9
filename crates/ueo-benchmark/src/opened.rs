//! The domains that are in use, in memory: images, labels, and what the checkpoint makes of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::BenchmarkError;
use super::cell::CellRequest;
use super::protocol::{Protocol, halves};
use super::run::lock;
use ueo::method::ZeroShotPass;
use ueo::session::{Classifier, ImageFeatures, Images, Model};
use ueo::text::Template;

/// A domain in memory.
pub struct OpenDomain {
    /// Images that may be adapted to.
    pub train: OpenImages,
    /// `None` if these are the training images.
    test: Option<OpenImages>,
    /// Zero-shot passes over all readable training images, by listed classes and the first of their templates.
    passes: Mutex<HashMap<Asked, Arc<ZeroShotPass>>>,
}

/// Listed classes, and the sentence that their names stand in.
type Asked = (Vec<usize>, Template);

/// Images with the features that the checkpoint gives them.
pub struct OpenImages {
    /// The images.
    pub set: Images,
    /// Index of the class of every image, unreadable ones included.
    pub labels: Vec<usize>,
    /// Features of the readable images.
    pub zero_shot: ImageFeatures,
}

/// A model of a cell: what it adapts to and what it is tested on.
pub struct Part {
    /// Rows of the training images' features.
    pub adapted_to: Vec<usize>,
    /// Rows of the test images' features.
    pub tested: Vec<usize>,
    /// The half that is tested; `None` where there is one model for all.
    pub half: Option<u8>,
}

impl OpenDomain {
    /// A domain whose test images are `test`, or else the training images.
    pub fn new(train: OpenImages, test: Option<OpenImages>) -> Self {
        Self {
            train,
            test,
            passes: Mutex::default(),
        }
    }

    /// The images that are tested.
    pub fn tested(&self) -> &OpenImages {
        self.test.as_ref().unwrap_or(&self.train)
    }

    /// The models of a cell. Where a domain has test images of its own, no tested image is ever adapted to, and one model
    /// follows both protocols.
    pub fn parts(&self, request: &CellRequest) -> Vec<Part> {
        let labels = self.train.row_labels();
        let present = |row: &usize| request.present.contains(&labels[*row]);
        let rows = || 0..labels.len();
        if request.protocol == Protocol::Published || self.test.is_some() {
            return vec![Part {
                adapted_to: rows().filter(present).collect(),
                tested: (0..self.tested().zero_shot.indices.len()).collect(),
                half: None,
            }];
        }
        let halves = halves(&labels, request.seed.unwrap_or(0));
        let of = |half: u8| Part {
            adapted_to: rows()
                .filter(|&row| halves[row] != half)
                .filter(present)
                .collect(),
            tested: rows().filter(|&row| halves[row] == half).collect(),
            half: Some(half),
        };
        vec![of(0), of(1)]
    }

    /// Whether the images that a part tests, with these labels, are among those that it adapts to.
    pub fn adapted_to(&self, request: &CellRequest, part: &Part, labels: &[usize]) -> Vec<bool> {
        let same = self.test.is_none() && part.half.is_none();
        let adapted_to = |class: &usize| same && request.present.contains(class);
        labels.iter().map(adapted_to).collect()
    }

    /// The zero-shot pass over all readable training images.
    pub fn pass(
        &self,
        model: &Model,
        request: &CellRequest,
    ) -> Result<Arc<ZeroShotPass>, BenchmarkError> {
        let mut passes = lock(&self.passes);
        let key = (request.known.clone(), model.templates()[0].clone());
        if let Some(pass) = passes.get(&key) {
            return Ok(Arc::clone(pass));
        }
        let prompts = model.prompts(&request.known_names())?;
        let classifier = Classifier::new(&model.clip, &prompts, &model.parameters);
        let pass = Arc::new(self.train.zero_shot.zero_shot(&model.clip, &classifier));
        passes.insert(key, Arc::clone(&pass));
        Ok(pass)
    }
}

impl OpenImages {
    /// Index of the class of every readable image.
    fn row_labels(&self) -> Vec<usize> {
        let indices = self.zero_shot.indices.iter();
        indices.map(|&image| self.labels[image]).collect()
    }
}

/// Some rows of features.
pub fn rows_of(features: &ImageFeatures, rows: &[usize]) -> ImageFeatures {
    let width = features.embed_dim;
    let row = |&row: &usize| &features.features[row * width..(row + 1) * width];
    ImageFeatures {
        indices: rows.iter().map(|&row| features.indices[row]).collect(),
        features: rows.iter().flat_map(row).copied().collect(),
        embed_dim: width,
        failures: Vec::new(),
    }
}
