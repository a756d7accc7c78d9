//! UEO and what it becomes with other weights: InfoMax, entropy minimization, the oracle.
//!
//! ```text
//! loss = sum_x w~(x) H(p(x)) - trade_off * H(sum_x u~(x) p(x))
//! ```
//!
//! | method | weights w | trade_off |
//! |---|---|---|
//! | UEO | zero-shot confidence | setting |
//! | UEO, oracle weights | from labels | setting |
//! | InfoMax | equal | setting |
//! | entropy minimization | equal | 0 |
//!
//! `u~` falls with the weight, by a function that can be chosen. Zero-shot weights can be refreshed: every epoch but the
//! first then begins with the confidences of the model as it is. The equation is that of Liang et al. 2024, section 3.2; `objective` has it.

use serde::{Deserialize, Serialize};

use crate::objective::{
    ConfidenceWeights, LossTerms, UnconfidentWeights, confidence_weights, universal_entropy,
};

use super::{
    BatchFeatures, Description, Extent, InvalidSetting, Memory, MethodError, MethodSettings,
    Objective, ZeroShotPass, builders, non_negative, positive,
};

const UEO_SOURCE: &str = "Liang et al., Realistic unsupervised CLIP fine-tuning with universal entropy optimization, ICML 2024";

pub(super) const UEO: Description = Description {
    name: "ueo",
    title: "UEO",
    about: "Universal entropy: confident images become sharper, unconfident ones stay uncertain",
    source: UEO_SOURCE,
    objective: Some(objective),
    settings: &[
        "trade_off",
        "confidence_weights",
        "weight_temperature",
        "unconfident_weights",
        "refresh_weights",
    ],
    ..Description::NOTHING
};

pub(super) const UEO_ORACLE: Description = Description {
    name: "ueo-oracle",
    title: "UEO, oracle weights",
    about: "Universal entropy with weights from true labels: an upper bound for experiments",
    source: UEO_SOURCE,
    objective: Some(objective),
    settings: &["trade_off", "unconfident_weights"],
    fix: |settings| {
        settings.universal_entropy.confidence_weights = ConfidenceWeights::Oracle;
    },
    ..Description::NOTHING
};

pub(super) const INFO_MAX: Description = Description {
    name: "info-max",
    title: "InfoMax",
    about: "Mutual information: universal entropy with equal weights",
    source: "Krause et al., Discriminative clustering by regularized information maximization, NeurIPS 2010",
    objective: Some(objective),
    settings: &["trade_off"],
    fix: |settings| {
        settings.universal_entropy.confidence_weights = ConfidenceWeights::Uniform;
    },
    ..Description::NOTHING
};

pub(super) const ENTROPY_MINIMIZATION: Description = Description {
    name: "entropy-minimization",
    title: "entropy minimization",
    about: "Entropy minimization without a diversity term",
    source: "Grandvalet and Bengio, Semi-supervised learning by entropy minimization, NeurIPS 2004",
    objective: Some(objective),
    fix: |settings| {
        settings.universal_entropy.confidence_weights = ConfidenceWeights::Uniform;
        settings.universal_entropy.trade_off = 0.0;
    },
    ..Description::NOTHING
};

fn objective(settings: &MethodSettings) -> Box<dyn Objective> {
    Box::new(UniversalEntropy::new(settings.universal_entropy))
}

/// Name of the weight of each image in the memory, `[images]`.
const CONFIDENCE_WEIGHTS: &str = "confidence_weights";

/// The choices of the universal entropy objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(default)]
#[non_exhaustive]
pub struct UniversalEntropySettings {
    /// Weight of the diversity term (marginal entropy) in the loss.
    #[cfg_attr(feature = "clap", arg(
        long, value_name = "FACTOR", default_value_t = Self::default().trade_off
    ))]
    pub trade_off: f64,
    /// How much each image counts as probably known.
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, value_name = "SOURCE", default_value_t)
    )]
    pub confidence_weights: ConfidenceWeights,
    /// t in the softmax(cosines / t) that gives the zero-shot weights; 0.01 makes them sharp.
    #[cfg_attr(feature = "clap", arg(
        long, value_name = "T", default_value_t = Self::default().weight_temperature
    ))]
    pub weight_temperature: f64,
    /// How the weight of an image in the diversity term falls with its confidence weight w.
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, value_name = "FUNCTION", default_value_t)
    )]
    pub unconfident_weights: UnconfidentWeights,
    /// Take the weights from the adapted model again before every epoch but the first.
    ///
    /// Costs a pass over the images each time. Without it the weights stay those of the checkpoint.
    #[cfg_attr(feature = "clap", arg(long))]
    pub refresh_weights: bool,
}

impl Default for UniversalEntropySettings {
    fn default() -> Self {
        Self {
            trade_off: 1.0,
            confidence_weights: ConfidenceWeights::default(),
            weight_temperature: 1.0,
            unconfident_weights: UnconfidentWeights::default(),
            refresh_weights: false,
        }
    }
}

impl UniversalEntropySettings {
    builders! {
        trade_off: f64,
        confidence_weights: ConfidenceWeights,
        weight_temperature: f64,
        unconfident_weights: UnconfidentWeights,
        refresh_weights: bool,
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the first that makes no sense.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        non_negative("trade-off", self.trade_off)?;
        positive("weight-temperature", self.weight_temperature)?;
        if self.refresh_weights && self.confidence_weights != ConfidenceWeights::ZeroShot {
            return Err(InvalidSetting::Conflict {
                setting: "refresh-weights",
                other: "confidence-weights",
                found: self.confidence_weights.to_string(),
                reason: "only zero-shot weights can change",
            });
        }
        Ok(())
    }
}

/// The universal entropy objective.
#[derive(Clone, Copy, Debug)]
pub struct UniversalEntropy {
    settings: UniversalEntropySettings,
}

impl UniversalEntropy {
    /// The objective with its choices.
    pub fn new(settings: UniversalEntropySettings) -> Self {
        Self { settings }
    }
}

impl Objective for UniversalEntropy {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        let source = self.settings.confidence_weights;
        let known = match (source, &pass.known) {
            (ConfidenceWeights::Oracle, None) => return Err(MethodError::NeedsLabels),
            (_, known) => known.as_deref().unwrap_or_default(),
        };
        let weights = confidence_weights(
            source,
            &pass.cosine_logits,
            pass.classes,
            self.settings.weight_temperature,
            known,
        );
        Ok(Memory::default().with(CONFIDENCE_WEIGHTS, &[weights.len()], weights))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        memory.check(CONFIDENCE_WEIGHTS, &[extent.images])
    }

    fn refreshes(&self) -> bool {
        self.settings.refresh_weights
            && self.settings.confidence_weights == ConfidenceWeights::ZeroShot
    }

    fn refresh(&self, _memory: &Memory, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        self.begin(pass)
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let all = memory.values(CONFIDENCE_WEIGHTS);
        let weights: Vec<f32> = batch.indices.iter().map(|&image| all[image]).collect();
        let terms = universal_entropy(
            batch.probabilities(),
            &weights,
            self.settings.unconfident_weights,
            self.settings.trade_off,
        );
        (terms, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;

    fn pass(known: Option<Vec<bool>>) -> ZeroShotPass {
        ZeroShotPass {
            cosine_logits: vec![0.4, 0.1, 0.2, 0.2],
            classes: 2,
            known,
            ..ZeroShotPass::default()
        }
    }

    fn extent(images: usize) -> Extent {
        Extent {
            images,
            classes: 2,
            embed_dim: 3,
        }
    }

    fn weights(method: Method, known: Option<Vec<bool>>) -> Vec<f32> {
        let objective = method.objective(&MethodSettings::default()).unwrap();
        let memory = objective.begin(&pass(known)).unwrap();
        objective.check(&memory, extent(2)).unwrap();
        memory.values(CONFIDENCE_WEIGHTS).to_vec()
    }

    #[test]
    fn each_method_has_its_weights() {
        let ueo = weights(Method::Ueo, None);
        assert!((ueo[0] - 1.0 / (1.0 + (-0.3_f32).exp())).abs() < 1e-6);
        assert_eq!(ueo[1], 0.5);
        assert_eq!(weights(Method::InfoMax, None), [1.0, 1.0]);
        assert_eq!(weights(Method::EntropyMinimization, None), [1.0, 1.0]);
        let oracle = weights(Method::UeoOracle, Some(vec![false, true]));
        assert_eq!(oracle, [1e-3, 1.001]);
    }

    #[test]
    fn the_oracle_needs_labels() {
        let objective = Method::UeoOracle
            .objective(&MethodSettings::default())
            .unwrap();
        assert_eq!(objective.begin(&pass(None)), Err(MethodError::NeedsLabels));
    }

    #[test]
    fn entropy_minimization_has_no_trade_off() {
        let settings = MethodSettings::default();
        let trade_off = |method: Method| method.fixed(&settings).universal_entropy.trade_off;
        assert_eq!(trade_off(Method::EntropyMinimization), 0.0);
        assert_eq!(trade_off(Method::InfoMax), 1.0);
    }

    #[test]
    fn a_memory_of_other_images_is_refused() {
        let objective = UniversalEntropy::new(UniversalEntropySettings::default());
        let memory = objective.begin(&pass(None)).unwrap();
        assert!(objective.check(&memory, extent(3)).is_err());
        assert!(objective.check(&Memory::default(), extent(2)).is_err());
    }
}
