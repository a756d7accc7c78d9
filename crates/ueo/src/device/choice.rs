//! How users name devices.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A device as users name it: `cpu`, `wgpu`, `wgpu:1`, `cuda:0` or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// A graphics processor through Vulkan, Metal or DirectX, by its place in the list of them; the first one without.
    Wgpu(Option<usize>),
    /// A graphics processor through CUDA, which no build supports yet.
    Cuda(Option<usize>),
    /// A graphics processor if there is one, else the processor.
    Auto,
}

/// A name that is none of a device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected `cpu`, `wgpu`, `wgpu:N`, `cuda:N` or `auto`, found `{found}`")]
pub struct ParseDeviceError {
    /// What was given.
    pub found: String,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.pad("cpu"),
            Self::Wgpu(None) => formatter.pad("wgpu"),
            Self::Wgpu(Some(index)) => formatter.pad(&format!("wgpu:{index}")),
            Self::Cuda(None) => formatter.pad("cuda"),
            Self::Cuda(Some(index)) => formatter.pad(&format!("cuda:{index}")),
            Self::Auto => formatter.pad("auto"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        let (kind, index) = match text.split_once(':') {
            None => (text, None),
            Some((kind, index)) => (kind, Some(index.parse().map_err(|_| unknown(text))?)),
        };
        match (kind, index) {
            ("cpu", None) => Ok(Self::Cpu),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("cuda", index) => Ok(Self::Cuda(index)),
            ("auto", None) => Ok(Self::Auto),
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> ParseDeviceError {
    ParseDeviceError {
        found: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for name in ["cpu", "wgpu", "wgpu:0", "wgpu:12", "cuda", "cuda:1", "auto"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        for wrong in [
            "", "gpu", "cpu:0", "auto:1", "wgpu:", "wgpu:-1", "wgpu:a", "CPU",
        ] {
            let error = wrong.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("expected `cpu`"), "{error}");
        }
    }
}
