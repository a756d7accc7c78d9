//! What a Python program chooses, from JSON to the types of ueo. Wrong values are named as the program wrote them.

use pyo3::PyResult;
use pyo3::exceptions::PyValueError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use ueo::adapt::Epochs;
use ueo::{DeviceChoice, Settings};

/// Values by name. What is not asked for stays, and is found by [`Self::finish`].
pub struct Choices(Map<String, Value>);

impl Choices {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// In words.
    pub fn parse(json: &str) -> Result<Self, String> {
        let values = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Ok(Self(values))
    }

    /// The value of a name, `None` where there is none or null.
    ///
    /// # Errors
    ///
    /// In words, with the name.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => of_value(name, value).map(Some),
        }
    }

    /// The device, the processor where none is named.
    ///
    /// # Errors
    ///
    /// In words, with the name.
    pub fn device(&mut self) -> Result<DeviceChoice, String> {
        let text: Option<String> = self.take("device")?;
        let device = text.map(|text| text.parse::<DeviceChoice>());
        let device = device
            .transpose()
            .map_err(|error| format!("device: {error}"))?;
        Ok(device.unwrap_or_default())
    }

    /// The value of a name that is there always.
    ///
    /// # Errors
    ///
    /// In words, with the name.
    pub fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        self.take(name)?
            .ok_or_else(|| format!("{name}: expected a value, found none"))
    }

    /// All that is left as settings of an adaptation; epochs are chosen as on the command line where none are named.
    ///
    /// # Errors
    ///
    /// In words, with the name of the first setting that is wrong.
    pub fn settings(self) -> Result<Settings, String> {
        for (name, value) in &self.0 {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            of_value::<Settings>(name, Value::Object(alone))?;
        }
        let epochs = (!self.0.contains_key("epochs")).then_some(Epochs::Auto);
        let settings: Settings = of_value("settings", Value::Object(self.0))?;
        Ok(match epochs {
            Some(epochs) => settings.epochs(epochs),
            None => settings,
        })
    }
}

fn of_value<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))
}

/// A value as JSON.
pub fn to_json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}
