//! Protocols: which images a model adapts to before which images are tested.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::BenchmarkError;

/// Whether images that are tested may have been adapted to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// As in Liang et al. 2024: all images of a domain are tested, those among them that were adapted to as well.
    #[default]
    Published,
    /// A stratified half of a domain is adapted to and the other half tested, and the reverse: every image is tested once,
    /// by a model that has not seen it.
    HeldOut,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 2] = [Self::Published, Self::HeldOut];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::HeldOut => "held-out",
        }
    }

    /// What is adapted to and what is tested, in a sentence or two.
    pub fn about(self) -> &'static str {
        match self {
            Self::Published => {
                "Training sees the images of the classes that are present under a shift, without labels (but for the oracle); \
                 all images of a domain are tested, among them those that were adapted to where a domain has one list."
            }
            Self::HeldOut => {
                "Each domain is cut into two halves, class by class. Training sees those images of a half whose class is present \
                 under a shift, without labels (but for the oracle); the other half is tested, and the reverse. What both models \
                 say is put together: every image is tested once, by a model that has not seen it."
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = BenchmarkError;

    fn from_str(text: &str) -> Result<Self, BenchmarkError> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == text)
            .ok_or_else(|| BenchmarkError::Unknown {
                what: "protocol",
                found: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// The half, 0 or 1, that each image belongs to; a function of the labels and the seed.
///
/// Both halves have as many images of each class, or one more or less, and as many in all, or one more or less.
pub fn halves(labels: &[usize], seed: u64) -> Vec<u8> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for place in (1..order.len()).rev() {
        // Written out, so that the halves do not change with a later version of the `rand` crate.
        let other = (u128::from(rng.next_u64()) * (place as u128 + 1)) >> 64;
        order.swap(place, other as usize);
    }
    // Stable, so the images of a class stay in random order; counting on over the classes deals odd ones to both sides.
    order.sort_by_key(|&image| labels[image]);
    let mut halves = vec![0; labels.len()];
    for (place, image) in order.into_iter().enumerate() {
        halves[image] = u8::from(place % 2 == 1);
    }
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_equally_many_images_of_every_class() {
        let labels: Vec<usize> = (0..101).map(|image| (image * image) % 7).collect();
        let halves_of = |seed| halves(&labels, seed);
        let halves = halves_of(1);
        for class in 0..7 {
            let of_class = |half: u8| {
                let pairs = labels.iter().zip(&halves);
                pairs
                    .filter(|&(&label, &of)| label == class && of == half)
                    .count()
            };
            assert!(of_class(0).abs_diff(of_class(1)) <= 1, "class {class}");
        }
        let second = halves.iter().filter(|&&half| half == 1).count();
        assert_eq!(second, 50);
        assert_eq!(halves, halves_of(1));
        assert_ne!(halves, halves_of(2));
        assert!(super::halves(&[], 1).is_empty());
    }

    #[test]
    fn protocols_have_the_same_name_everywhere() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse::<Protocol>().unwrap(), protocol);
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.name());
        }
    }
}
