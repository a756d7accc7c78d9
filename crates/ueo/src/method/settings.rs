//! The settings of all methods, which of them a method has, and how their values are checked.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Method, MethodSettings};

impl Method {
    /// The settings with those that the method determines itself.
    pub(super) fn fixed(self, settings: &MethodSettings) -> MethodSettings {
        let mut settings = settings.clone();
        (self.description().fix)(&mut settings);
        settings
    }

    /// The settings as the objective gets them: what the method does not have is at its default or determined by it.
    pub fn effective(self, settings: &MethodSettings) -> MethodSettings {
        self.fixed(&self.own(settings))
    }

    /// Refuses settings that the method does not have, which would otherwise be ignored in silence.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::NotOfMethod`] names the first.
    pub fn check_settings(self, settings: &MethodSettings) -> Result<(), InvalidSetting> {
        match self.foreign(settings).next() {
            Some((name, found)) => Err(InvalidSetting::NotOfMethod {
                setting: name.replace('_', "-"),
                method: self,
                found: match found {
                    Value::String(text) => text,
                    other => other.to_string(),
                },
            }),
            None => Ok(()),
        }
    }

    /// The settings without those that the method does not have: these return to their defaults.
    pub fn own(self, settings: &MethodSettings) -> MethodSettings {
        let (mut own, default) = (fields(settings), fields(&MethodSettings::default()));
        for (name, _) in self.foreign(settings) {
            own.insert(name.clone(), default[&name].clone());
        }
        // Only a number that is none (NaN) is not read back; it is left for the checks to name.
        serde_json::from_value(Value::Object(own)).unwrap_or_else(|_| settings.clone())
    }

    /// Settings with another value than the default and than the one that the method itself determines, which the method
    /// does not have.
    fn foreign(self, settings: &MethodSettings) -> impl Iterator<Item = (String, Value)> {
        let default = MethodSettings::default();
        let (fixed, default) = (fields(&self.fixed(&default)), fields(&default));
        let own = self.description().settings;
        fields(settings).into_iter().filter(move |(name, value)| {
            !own.contains(&name.as_str())
                && default.get(name) != Some(value)
                && fixed.get(name) != Some(value)
        })
    }
}

/// The values of settings by the names of their fields.
fn fields(settings: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The names of the fields of some settings, as files have them.
pub(crate) fn field_names(settings: &impl Serialize) -> Vec<String> {
    fields(settings).into_iter().map(|(name, _)| name).collect()
}

/// A setting with a value that makes no sense, or that the method does not have. Names are as on the command line, without
/// leading dashes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// A value outside of the allowed range.
    #[error("{setting}: expected {expected}, found {found}")]
    Range {
        /// Name of the setting.
        setting: &'static str,
        /// What would be accepted.
        expected: Cow<'static, str>,
        /// What was given.
        found: String,
    },
    /// A setting that the method does not have.
    #[error(
        "{setting}: expected no choice with the method {method}, which does not have this setting, found {found}"
    )]
    NotOfMethod {
        /// Name of the setting.
        setting: String,
        /// The method.
        method: Method,
        /// What was given.
        found: String,
    },
    /// A setting that means nothing beside the value of another one.
    #[error("{setting}: expected no choice with {other} {found}: {reason}")]
    Conflict {
        /// Name of the setting.
        setting: &'static str,
        /// Name of the other one.
        other: &'static str,
        /// Value of the other one.
        found: String,
        /// Why the two do not go together.
        reason: &'static str,
    },
}

impl InvalidSetting {
    fn range(
        setting: &'static str,
        expected: impl Into<Cow<'static, str>>,
        found: impl ToString,
    ) -> Self {
        Self::Range {
            setting,
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}

/// Checks a number that must be above zero.
pub(crate) fn positive(setting: &'static str, value: f64) -> Result<(), InvalidSetting> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(InvalidSetting::range(setting, "a number above 0", value))
    }
}

/// Checks a number that must be zero or above.
pub(crate) fn non_negative(setting: &'static str, value: f64) -> Result<(), InvalidSetting> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        let expected = "a number that is not negative";
        Err(InvalidSetting::range(setting, expected, value))
    }
}

/// Checks a count that must not be zero.
pub(crate) fn at_least_one(setting: &'static str, value: usize) -> Result<(), InvalidSetting> {
    if value >= 1 {
        Ok(())
    } else {
        Err(InvalidSetting::range(setting, "at least 1", value))
    }
}

/// Methods that change one field each: `builders! { field: Type, ... }` inside of an `impl` block.
macro_rules! builders {
    ($($setting:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!(
                "The same settings with another value of the field `", stringify!($setting), "`, which says what it is."
            )]
            #[must_use]
            pub fn $setting(mut self, $setting: $type) -> Self {
                self.$setting = $setting;
                self
            }
        )*
    };
}
pub(crate) use builders;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_belongs_to_a_method_and_every_method_names_settings_that_exist() {
        let fields = field_names(&MethodSettings::default());
        let named: Vec<&str> = Method::ALL
            .iter()
            .flat_map(|method| method.description().settings)
            .copied()
            .collect();
        for name in &named {
            assert!(fields.iter().any(|field| field == name), "{name}");
        }
        for field in &fields {
            assert!(named.contains(&field.as_str()), "{field}");
        }
    }

    #[test]
    fn a_value_that_the_method_determines_anyway_is_accepted() {
        use crate::objective::ConfidenceWeights::{Oracle, Uniform};
        for (method, weights, accepted) in [
            (Method::InfoMax, Uniform, true),
            (Method::InfoMax, Oracle, false),
            (Method::UeoOracle, Oracle, true),
            (Method::UeoOracle, Uniform, false),
            (Method::Dance, Uniform, false),
        ] {
            let mut settings = MethodSettings::default();
            settings.universal_entropy.confidence_weights = weights;
            assert_eq!(method.check_settings(&settings).is_ok(), accepted);
            let own = method.own(&settings);
            assert_eq!(own == settings, accepted);
            method.check_settings(&own).unwrap();
        }
    }

    #[test]
    fn a_number_that_is_none_is_left_for_the_checks_to_name() {
        let mut settings = MethodSettings::default();
        settings.universal_entropy.trade_off = f64::NAN;
        let error = Method::Ueo.own(&settings).validate().unwrap_err();
        assert!(error.to_string().contains("trade-off"), "{error}");
        assert_eq!(Method::Dance.own(&settings), MethodSettings::default());
    }
}
