//! Devices that are not there, or fail.

use ueo::device::{DeviceError, DeviceFailure};

use super::Hint;

impl Hint for DeviceError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotBuilt { .. } => {
                "install it with `cargo install --path crates/ueo-cli --features wgpu`, or compute with --device cpu"
            }
            Self::NoCuda { .. } => {
                "name it with --device wgpu; `ueo inspect --machine` lists devices"
            }
            Self::Missing { .. } => {
                "`ueo inspect --machine` lists devices; a graphics processor needs a driver for Vulkan, Metal or DirectX 12"
            }
            Self::Refused { .. } => {
                "see whether another program holds the device, or compute with --device cpu"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl Hint for DeviceFailure {
    fn hint(&self) -> Option<String> {
        Some(
            "a smaller --micro-batch needs less memory; `ueo adapt --resume` continues a run from the state that was saved last, also \
             with another --device"
                .to_owned(),
        )
    }
}
