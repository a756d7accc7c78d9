//! From a suite's settings to those of one method: defaults, then the profile, then what the command line says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::BenchmarkError;
use ueo::adapt::Settings;
use ueo::method::Method;
use ueo::text::Template;

/// Settings by name, with the names and values of the command line of `ueo adapt`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Overrides(Map<String, Value>);

/// One way to set all methods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Profile {
    /// Settings of single methods, which win over the others.
    #[serde(default)]
    pub methods: BTreeMap<Method, Overrides>,
    /// Settings of all methods that have them.
    #[serde(flatten)]
    pub all: Overrides,
}

impl Overrides {
    /// Adds `key=value` as given on the command line.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Override`] when there is no `=`.
    pub fn add(&mut self, text: &str) -> Result<(), BenchmarkError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| BenchmarkError::Override {
                place: format!("--set {text}"),
                reason: "expected KEY=VALUE".to_owned(),
            })?;
        // Numbers, true and false are themselves; everything else is text.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        self.0.insert(key.to_owned(), value);
        Ok(())
    }

    /// Sets the sentences that class names stand in.
    pub fn set_templates(&mut self, templates: &[Template]) {
        let templates = templates.iter().map(|template| template.as_str().into());
        self.0
            .insert(TEMPLATE.to_owned(), Value::Array(templates.collect()));
    }

    /// What a method can be told: one that brings its own templates takes no others, and one that does not train takes nothing
    /// else.
    fn for_method(&self, method: Method) -> Self {
        let of_method = |key: &str| match key == TEMPLATE {
            true => !method.has_templates(),
            false => method.trains(),
        };
        let settings = self.0.iter().filter(|(key, _)| of_method(key));
        Self(
            settings
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses names and types that do not exist, whichever methods are chosen, and settings that none of these methods has.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Override`].
    pub fn check(&self, methods: &[Method]) -> Result<(), BenchmarkError> {
        self.apply(&Settings::default(), "--set")?;
        let taken = |key: &String| {
            let mut methods = methods.iter();
            methods.any(|method| self.for_method(*method).0.contains_key(key))
        };
        match self.0.keys().find(|key| !taken(key)) {
            Some(key) => Err(BenchmarkError::Override {
                place: "--set".to_owned(),
                reason: format!("no method of those that run has the setting `{key}`"),
            }),
            None => Ok(()),
        }
    }

    /// The settings with these values in place of theirs; `place` names the source in messages.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Override`] for a name that does not exist and for a value of another type.
    pub fn apply(&self, settings: &Settings, place: &str) -> Result<Settings, BenchmarkError> {
        let wrong = |reason: String| BenchmarkError::Override {
            place: place.to_owned(),
            reason,
        };
        let mut object = match serde_json::to_value(settings) {
            Ok(Value::Object(object)) => object,
            _ => return Err(wrong("the settings have no fields".to_owned())),
        };
        let names = Settings::names();
        for (key, value) in &self.0 {
            let field = key.replace('-', "_");
            if !names.contains(&field) || NOT_SETTABLE.contains(&field.as_str()) {
                let known: Vec<String> = names
                    .iter()
                    .filter(|key| !NOT_SETTABLE.contains(&key.as_str()))
                    .map(|key| key.replace('_', "-"))
                    .collect();
                return Err(wrong(format!(
                    "expected one of {}, found `{key}`",
                    known.join(", ")
                )));
            }
            object.insert(field, value.clone());
        }
        serde_json::from_value(Value::Object(object)).map_err(|error| wrong(error.to_string()))
    }
}

/// The setting that methods without training have too.
const TEMPLATE: &str = "template";
/// Fields that the cell itself determines.
const NOT_SETTABLE: [&str; 2] = ["method", "seed"];

impl Profile {
    /// The settings of one method.
    ///
    /// Settings that a method does not have are left out where the profile gives them for all methods, and refused where
    /// `overrides` asks for them. A method that does not train has no settings of training at all, only templates.
    ///
    /// # Errors
    ///
    /// [`BenchmarkError::Override`] and [`BenchmarkError::Setting`].
    pub fn settings(
        &self,
        method: Method,
        seed: Option<u64>,
        overrides: &Overrides,
    ) -> Result<Settings, BenchmarkError> {
        let default = Settings::default();
        let mut settings = if method.trains() {
            self.all.apply(&default, "the suite's settings")?
        } else {
            default
        };
        settings = settings.with_method(method);
        if let Some(own) = self.methods.get(&method) {
            settings = own.apply(&settings, &format!("the suite's settings of {method}"))?;
        }
        settings = overrides.for_method(method).apply(&settings, "--set")?;
        if let Some(seed) = seed {
            settings.seed = seed;
        }
        settings
            .validate()
            .map_err(|source| BenchmarkError::Setting {
                method: method.to_string(),
                source,
            })?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Profile {
        toml::from_str(text).unwrap()
    }

    fn weight_temperature(settings: &Settings) -> f64 {
        settings
            .method_settings
            .universal_entropy
            .weight_temperature
    }

    #[test]
    fn the_more_special_setting_wins() {
        let profile = profile(
            "epochs = 7\ncontext-learning-rate = 1e-2\nweight-temperature = 0.5\n\
             [methods.info-max]\ncontext-learning-rate = 0.5",
        );
        let mut overrides = Overrides::default();
        let ueo = profile.settings(Method::Ueo, Some(3), &overrides).unwrap();
        assert_eq!(
            (ueo.epochs.count(1), ueo.seed, ueo.context_learning_rate),
            (7, 3, 1e-2)
        );
        assert_eq!((weight_temperature(&ueo), ueo.method), (0.5, Method::Ueo));
        let info_max = profile.settings(Method::InfoMax, None, &overrides).unwrap();
        assert_eq!(info_max.context_learning_rate, 0.5);
        assert_eq!(
            weight_temperature(&info_max),
            1.0,
            "InfoMax has no such setting"
        );

        overrides.add("epochs=2").unwrap();
        overrides.add("augmentation=none").unwrap();
        let ueo = profile.settings(Method::Ueo, None, &overrides).unwrap();
        assert_eq!(ueo.epochs.count(1), 2);
        assert_eq!(serde_json::to_value(ueo.augmentation).unwrap(), "none");
    }

    #[test]
    fn settings_that_do_not_exist_are_refused() {
        let refused = |key: &str, method| {
            let mut overrides = Overrides::default();
            overrides.add(key).unwrap();
            let settings = Profile::default().settings(method, None, &overrides);
            settings.unwrap_err().to_string()
        };
        assert!(refused("epoch=2", Method::Ueo).contains("epochs"));
        assert!(refused("epochs=many", Method::Ueo).contains("--set"));
        assert!(refused("seed=3", Method::Ueo).contains("`seed`"));
        assert!(refused("weight-temperature=0.1", Method::InfoMax).contains("info-max"));
        assert!(Overrides::default().add("epochs").is_err());
    }

    #[test]
    fn a_setting_that_nobody_takes_is_refused() {
        let check = |key: &str, methods: &[Method]| {
            let mut overrides = Overrides::default();
            overrides.add(key).unwrap();
            overrides
                .check(methods)
                .map_err(|refused| refused.to_string())
        };
        let untrained = [Method::ZeroShot, Method::HalfCentring];
        assert!(
            check("nonsense=abc", &untrained)
                .unwrap_err()
                .contains("epochs")
        );
        assert!(
            check("epochs=2", &untrained)
                .unwrap_err()
                .contains("`epochs`")
        );
        assert_eq!(check("epochs=2", &[Method::ZeroShot, Method::Ueo]), Ok(()));
    }

    #[test]
    fn templates_are_for_all_methods_without_their_own() {
        let mut overrides = Overrides::default();
        overrides.set_templates(&["an icon of {}".parse().unwrap()]);
        overrides.add("epochs=2").unwrap();
        let of = |method| {
            Profile::default()
                .settings(method, None, &overrides)
                .unwrap()
        };
        assert_eq!(of(Method::Ueo).templates.len(), 1);
        assert_eq!(of(Method::ZeroShot).templates, of(Method::Ueo).templates);
        assert_eq!(of(Method::ZeroShot).epochs, Settings::default().epochs);
        assert_eq!(of(Method::ZeroShotEnsemble).templates, []);
    }

    #[test]
    fn a_method_that_does_not_train_has_no_settings_of_training() {
        let profile = profile("epochs = 7");
        let settings = profile
            .settings(Method::ZeroShot, None, &Overrides::default())
            .unwrap();
        assert_eq!(settings, Settings::default().with_method(Method::ZeroShot));
    }
}
