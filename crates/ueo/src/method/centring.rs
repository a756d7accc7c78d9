//! Post-processing of features: half-centring, which draws images and texts out of their narrow cones, and mirrored views.

use serde::{Deserialize, Serialize};

use crate::model::ModelError;
use crate::tensor::{HostTensor, TensorMap};

use super::{Description, PathLengths, pouf};

pub(super) const DESCRIPTION: Description = Description {
    name: "half-centring",
    title: "half-centring",
    about: "Half of the mean image and text subtracted from each; nothing is trained",
    source: "ours (docs/what-to-expect.md)",
    centres: true,
    ..Description::NOTHING
};

pub(super) const POUF: Description = Description {
    name: "pouf-half-centring",
    title: "POUF, half-centred",
    about: "POUF, then half-centring with the means of the adapted features",
    source: "Tanwisuth et al., ICML 2023; the centring is ours (docs/what-to-expect.md)",
    centres: true,
    ..pouf::DESCRIPTION
};

pub(super) const AUTO: Description = Description {
    name: "auto",
    title: "auto",
    about: "POUF in steps of a set length, then half-centring; needs no learning rate",
    source: "Tanwisuth et al., ICML 2023; the steps and the centring are ours (docs/what-to-expect.md)",
    // Chosen on validation classes; docs/what-to-expect.md has the figures.
    path_lengths: Some(PathLengths {
        context: 0.075,
        affine: 0.04,
    }),
    ..POUF
};

/// Names of the tensors that a file keeps.
const IMAGE_MEAN: &str = "centring.image_mean";
const TEXT_MEAN: &str = "centring.text_mean";
const FACTOR: &str = "centring.factor";
/// All of them.
pub(crate) const NAMES: [&str; 3] = [IMAGE_MEAN, TEXT_MEAN, FACTOR];

/// Means that are subtracted from features, in part, before cosines are taken:
///
/// ```text
/// x' = unit(x - factor * m_x),    t' = unit(t - factor * m_t)
/// ```
///
/// for unit features x of an image and t of a class text, with m_x the mean over the images that a model was adapted to and
/// m_t that over the known classes. What all images have in common (style, corruption) and all texts have in common ("a
/// photo of") says nothing about classes. The means are kept with a run, so an image is centred in the same way whatever
/// other images are judged with it.
///
/// At factor one half accuracy and AUROC rose on the validation classes of IconNet; at one, AUROC rises further at the price of
/// accuracy, because the mean over few classes holds something of the classes (docs/what-to-expect.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Centring {
    /// Mean of the unit image features, `[embed_dim]`.
    pub image_mean: Vec<f32>,
    /// Mean of the unit class features, `[embed_dim]`.
    pub text_mean: Vec<f32>,
    /// Part of the means that is subtracted, the same for images and texts.
    pub factor: f32,
}

impl Centring {
    /// Part of the means that is subtracted by default.
    pub const HALF: f32 = 0.5;

    /// Half-centring by the means of features of unit norm.
    ///
    /// # Shapes
    ///
    /// - `image_features`: `[images, embed_dim]`, row-major, of the images that a model was adapted to
    /// - `text_features`: `[classes, embed_dim]`, row-major
    pub fn half(image_features: &[f32], text_features: &[f32], embed_dim: usize) -> Self {
        Self {
            image_mean: mean_row(image_features, embed_dim),
            text_mean: mean_row(text_features, embed_dim),
            factor: Self::HALF,
        }
    }

    /// The tensors that a file keeps, by name.
    pub fn to_tensors(&self) -> [(String, HostTensor); 3] {
        let vector = |data: &[f32]| HostTensor {
            shape: vec![data.len()],
            data: data.to_vec(),
        };
        [
            (IMAGE_MEAN, vector(&self.image_mean)),
            (TEXT_MEAN, vector(&self.text_mean)),
            (FACTOR, vector(&[self.factor])),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
    }

    /// The inverse of [`Self::to_tensors`] among other tensors; `None` where there are none of it.
    ///
    /// # Errors
    ///
    /// [`ModelError::MissingTensor`] or [`ModelError::Shape`] when only a part is there, or of another width.
    pub fn from_tensors(tensors: &TensorMap, embed_dim: usize) -> Result<Option<Self>, ModelError> {
        if NAMES.iter().all(|name| !tensors.contains_key(*name)) {
            return Ok(None);
        }
        let vector = |name: &str, width: usize| {
            let tensor = tensors.get(name).ok_or_else(|| ModelError::MissingTensor {
                name: name.to_owned(),
            })?;
            match tensor.shape[..] {
                [found] if found == width => Ok(tensor.data.clone()),
                _ => Err(ModelError::Shape {
                    name: name.to_owned(),
                    expected: vec![width],
                    found: tensor.shape.clone(),
                }),
            }
        };
        Ok(Some(Self {
            image_mean: vector(IMAGE_MEAN, embed_dim)?,
            text_mean: vector(TEXT_MEAN, embed_dim)?,
            factor: vector(FACTOR, 1)?[0],
        }))
    }

    /// Centred image features of unit norm, `[images, embed_dim]` to the same.
    pub fn images(&self, features: &[f32]) -> Vec<f32> {
        centred(features, &self.image_mean, self.factor)
    }

    /// Centred class features of unit norm, `[classes, embed_dim]` to the same. Texts of negative labels are centred as classes
    /// are, by the classes' mean.
    pub fn texts(&self, features: &[f32]) -> Vec<f32> {
        centred(features, &self.text_mean, self.factor)
    }

    /// Cosines of centred features, `[images, embed_dim]` and `[classes, embed_dim]` to `[images, classes]`, row-major.
    pub fn cosines(&self, image_features: &[f32], text_features: &[f32]) -> Vec<f32> {
        let (images, texts) = (self.images(image_features), self.texts(text_features));
        let width = self.image_mean.len().max(1);
        let rows = images.chunks_exact(width);
        rows.flat_map(|image| texts.chunks_exact(width).map(|text| dot(image, text)))
            .collect()
    }
}

/// The mean of unit features of images and of their mirror images, of unit norm again, `[images, embed_dim]` each.
///
/// A class is rarely told by left and right, and two views disagree in what is chance.
///
/// # Panics
///
/// When there is not one mirrored view per image.
pub fn mirrored_mean(features: &[f32], mirrored: &[f32], embed_dim: usize) -> Vec<f32> {
    assert_eq!(
        features.len(),
        mirrored.len(),
        "one mirrored view per image"
    );
    let sums: Vec<f32> = features.iter().zip(mirrored).map(|(a, b)| a + b).collect();
    centred(&sums, &vec![0.0; embed_dim], 0.0)
}

/// Mean over the rows, in f64; zero without any.
pub(crate) fn mean_row(rows: &[f32], width: usize) -> Vec<f32> {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let mut sums = vec![0.0_f64; width];
    for row in rows.chunks_exact(width.max(1)) {
        let pairs = sums.iter_mut().zip(row);
        pairs.for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Every row minus `factor` times the mean, of unit norm; a row that becomes zero stays zero.
pub(crate) fn centred(rows: &[f32], mean: &[f32], factor: f32) -> Vec<f32> {
    let mut centred = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(mean.len().max(1)) {
        let differences = row.iter().zip(mean);
        let row: Vec<f64> = differences
            .map(|(value, mean)| f64::from(*value) - f64::from(factor) * f64::from(*mean))
            .collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
        centred.extend(row.into_iter().map(|value| (value * scale) as f32));
    }
    centred
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_centred_the_same_way_whatever_is_beside_it() {
        let images = [0.6, 0.8, 0.8, 0.6, 1.0, 0.0];
        let centring = Centring::half(&images, &[1.0, 0.0, 0.0, 1.0], 2);
        let together = centring.images(&images);
        let apart: Vec<f32> = images
            .chunks_exact(2)
            .flat_map(|image| centring.images(image))
            .collect();
        assert_eq!(together, apart);
        let norms = together.chunks_exact(2).map(|row| dot(row, row));
        norms.for_each(|norm| assert!((norm - 1.0).abs() < 1e-6));
        let json = serde_json::to_string(&centring).unwrap();
        assert_eq!(serde_json::from_str::<Centring>(&json).unwrap(), centring);
    }

    #[test]
    fn a_row_at_the_mean_of_full_centring_is_zero() {
        let centring = Centring {
            factor: 1.0,
            ..Centring::half(&[0.6, 0.8], &[0.6, 0.8], 2)
        };
        assert_eq!(centring.cosines(&[0.6, 0.8], &[0.6, 0.8]), [0.0]);
    }
}
