//! Where tensors are computed.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device as BurnDevice;
use thiserror::Error;

/// A device that this build can compute on.
#[derive(Clone, Debug)]
pub struct Device {
    burn: BurnDevice,
    name: &'static str,
}

/// A name that is no device of this build.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected `cpu`, the only device of this build, found `{found}`")]
pub struct ParseDeviceError {
    /// What was given.
    pub found: String,
}

impl Device {
    /// The processor, with the fused kernels for the instruction sets that it has.
    pub fn cpu() -> Self {
        Self {
            burn: BurnDevice::flex(),
            name: "cpu",
        }
    }

    /// The name on the command line and in files.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The device as the tensor library knows it, for code that works with its tensors.
    pub fn burn(&self) -> &BurnDevice {
        &self.burn
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::cpu()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name)
    }
}

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        match text {
            "cpu" => Ok(Self::cpu()),
            _ => Err(ParseDeviceError {
                found: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!("cpu".parse::<Device>().unwrap().to_string(), "cpu");
        let error = "cuda".parse::<Device>().unwrap_err().to_string();
        assert!(error.contains("expected `cpu`"), "{error}");
    }
}
