//! When the signs are a reason to warn.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{EpochRecord, Signs};

/// An adapted model whose predictions use fewer effective classes than this share of what the zero-shot model's use has
/// collapsed. Anything between 0.4 and 0.7 answers the same in docs/guard.md.
const COLLAPSE_SHARE: f64 = 0.6;

/// A way in which an adaptation does harm, as seen without labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Ever more images are predicted as ever fewer classes.
    Collapse,
}

/// The effective number of predicted classes below which predictions have collapsed, given the signs of the zero-shot model.
pub fn collapse_limit(zero_shot: &Signs) -> f64 {
    COLLAPSE_SHARE * zero_shot.effective_classes
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 1] = [Self::Collapse];

    /// Whether the signs of an adapted model, against those of the zero-shot model, are a reason to warn.
    pub fn fires(self, zero_shot: &Signs, adapted: &Signs) -> bool {
        match self {
            Self::Collapse => adapted.effective_classes < collapse_limit(zero_shot),
        }
    }
}

/// What the user should know about an adaptation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// Why.
    pub rule: Rule,
    /// The first epoch for which it is true; 0 when it is true of the result only.
    pub first_epoch: usize,
    /// Number of epochs for which it is true.
    pub epochs: usize,
    /// Whether it is true of the parameters that are kept, on the test view; `None` while the run goes on.
    pub concerns_result: Option<bool>,
    /// Effective number of predicted classes before the adaptation.
    pub effective_classes_before: f64,
    /// The same in the first epoch for which the warning is true, or of the result.
    pub effective_classes: f64,
}

/// All warnings about an adaptation, one per rule that ever fired.
///
/// `records` begin with the zero-shot model's; `result` are the signs of the parameters that are kept, on the test view, once
/// they are known.
pub fn warnings(records: &[EpochRecord], result: Option<&Signs>) -> Vec<Warning> {
    let Some((zero_shot, epochs)) = records.split_first() else {
        return Vec::new();
    };
    let before = &zero_shot.signs;
    Rule::ALL
        .into_iter()
        .filter_map(|rule| {
            let mut fired = epochs
                .iter()
                .filter(|record| rule.fires(before, &record.signs));
            let first = fired.next();
            let concerns_result = result.map(|result| rule.fires(before, result));
            let (first_epoch, signs) = match (first, result) {
                (Some(first), _) => (first.epoch, &first.signs),
                (None, Some(result)) if concerns_result == Some(true) => (0, result),
                _ => return None,
            };
            Some(Warning {
                rule,
                first_epoch,
                epochs: usize::from(first.is_some()) + fired.count(),
                concerns_result,
                effective_classes_before: before.effective_classes,
                effective_classes: signs.effective_classes,
            })
        })
        .collect()
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first_epoch,
            effective_classes_before: before,
            effective_classes: after,
            ..
        } = self;
        match self.rule {
            Rule::Collapse => write!(
                formatter,
                "adaptation seems to do harm: the predictions of {} use {after:.1} effective classes, \
                 those of the checkpoint {before:.1}",
                match first_epoch {
                    0 => "the adapted model".to_owned(),
                    epoch => format!("epoch {epoch}"),
                }
            )?,
        }
        if self.concerns_result == Some(false) {
            write!(
                formatter,
                "; the parameters that were kept are not affected"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::WatchedView;

    fn record(epoch: usize, effective_classes: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: epoch,
            view: WatchedView::Training,
            signs: Signs {
                images: 100,
                effective_classes,
                marginal_entropy: 0.8,
                conditional_entropy: 0.4,
                mean_confidence: 0.6,
                changed_fraction: 0.2,
                threshold: 0.5,
                rejected_fraction: 0.3,
            },
            criterion: None,
        }
    }

    #[test]
    fn a_collapse_is_noticed_when_it_begins() {
        let records = [
            record(0, 20.0),
            record(1, 18.0),
            record(2, 9.0),
            record(3, 4.0),
        ];
        let found = warnings(&records, None);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].first_epoch, found[0].epochs), (2, 2));
        assert_eq!(found[0].concerns_result, None);
        let text = found[0].to_string();
        assert!(text.contains("epoch 2 use 9.0 effective classes"), "{text}");
        assert!(text.contains("20.0"), "{text}");
    }

    #[test]
    fn more_classes_than_before_are_no_harm() {
        let records = [record(0, 10.0), record(1, 14.0), record(2, 20.0)];
        assert_eq!(warnings(&records, Some(&record(2, 21.0).signs)), []);
        assert_eq!(warnings(&[], None), []);
    }

    #[test]
    fn a_warning_says_whether_it_concerns_the_result() {
        let records = [record(0, 20.0), record(1, 19.0), record(2, 4.0)];
        let kept = &warnings(&records, Some(&record(1, 19.5).signs))[0];
        assert_eq!(kept.concerns_result, Some(false));
        assert!(kept.to_string().contains("are not affected"));
        let collapsed = &warnings(&records[..2], Some(&record(2, 3.0).signs))[0];
        assert_eq!((collapsed.first_epoch, collapsed.epochs), (0, 0));
        assert_eq!(collapsed.concerns_result, Some(true));
        assert!(collapsed.to_string().contains("the adapted model use 3.0"));
    }
}
