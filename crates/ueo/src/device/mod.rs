//! Where tensors are computed: the processor or, with the feature `wgpu`, a graphics processor.

#[cfg(feature = "wgpu")]
mod adapters;
mod choice;
mod failure;

use std::fmt;

use burn::backend::DispatchDevice;
use burn::tensor::Device as BurnDevice;
use thiserror::Error;

pub use choice::{DeviceChoice, ParseDeviceError};
pub use failure::{DeviceFailure, guarded};

/// Name of the processor on the command line and in files.
const CPU: &str = "cpu";

/// A device that this process can compute on.
#[derive(Clone, Debug)]
pub struct Device {
    burn: BurnDevice,
    name: String,
    description: String,
    is_software: bool,
}

/// Why a device cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The program was built without it.
    #[error(
        "this build computes on the CPU only, expected one with graphics processors for `{choice}`"
    )]
    NotBuilt {
        /// What was asked for.
        choice: DeviceChoice,
    },
    /// No version of this program has it.
    #[error(
        "`{choice}` is not supported: graphics processors of NVIDIA are reached through Vulkan, as `wgpu`"
    )]
    NoCuda {
        /// What was asked for.
        choice: DeviceChoice,
    },
    /// The machine has no such device.
    #[error(
        "there is no device `{choice}` on this machine, found {}",
        listed(found)
    )]
    Missing {
        /// What was asked for.
        choice: DeviceChoice,
        /// What there is instead.
        found: Vec<String>,
    },
    /// The driver does not hand the device out.
    #[error("the driver does not open `{name}`: {reason}")]
    Refused {
        /// Name of the device.
        name: String,
        /// What the driver said.
        reason: String,
    },
}

/// What there is to compute on, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Name on the command line and in files: `cpu`, `wgpu:0`.
    pub name: String,
    /// What it is, or why it cannot be opened.
    pub description: String,
}

impl Device {
    /// The processor, with the fused kernels for the instruction sets that it has.
    pub fn cpu() -> Self {
        Self {
            burn: BurnDevice::flex(),
            name: CPU.to_owned(),
            description: "the processor".to_owned(),
            is_software: false,
        }
    }

    /// Opens a device. [`DeviceChoice::Auto`] is the first graphics processor that can be opened, else the processor.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub fn open(choice: DeviceChoice) -> Result<Self, DeviceError> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::cpu()),
            DeviceChoice::Cuda(_) => Err(DeviceError::NoCuda { choice }),
            DeviceChoice::Wgpu(_) => Self::open_wgpu(choice),
            DeviceChoice::Auto => Ok(Self::first_graphics_processor().unwrap_or_default()),
        }
    }

    /// The devices of this machine that this build can compute on, the processor first. Opens them.
    pub fn all() -> Vec<DeviceFacts> {
        let cpu = Self::cpu();
        let cpu = DeviceFacts {
            name: cpu.name,
            description: cpu.description,
        };
        #[cfg(feature = "wgpu")]
        let others = adapters::facts();
        #[cfg(not(feature = "wgpu"))]
        let others = [];
        std::iter::once(cpu).chain(others).collect()
    }

    /// The name on the command line and in files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whether it is a driver that stands in for a graphics processor, and computes on the processor.
    pub fn is_software(&self) -> bool {
        self.is_software
    }

    /// Whether it is the processor itself.
    pub fn is_cpu(&self) -> bool {
        is_processor(&self.burn)
    }

    /// The device as the tensor library knows it, for code that works with its tensors.
    pub fn burn(&self) -> &BurnDevice {
        &self.burn
    }

    #[cfg(feature = "wgpu")]
    fn open_wgpu(choice: DeviceChoice) -> Result<Self, DeviceError> {
        adapters::open(choice)
    }

    #[cfg(not(feature = "wgpu"))]
    fn open_wgpu(choice: DeviceChoice) -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt { choice })
    }

    #[cfg(feature = "wgpu")]
    fn first_graphics_processor() -> Option<Self> {
        adapters::first_graphics_processor()
    }

    #[cfg(not(feature = "wgpu"))]
    fn first_graphics_processor() -> Option<Self> {
        None
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::cpu()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name)
    }
}

fn listed(found: &[String]) -> String {
    match found {
        [] => "no graphics processor and no driver that stands in for one".to_owned(),
        found => found.join(", "),
    }
}

/// Whether tensors of this device are in the memory of the processor.
pub(crate) fn is_processor(device: &BurnDevice) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(_) => is_processor(&device.clone().inner()),
        #[allow(unreachable_patterns, reason = "other devices are optional features")]
        _ => false,
    }
}

/// What people call a device that is not the processor, once it is open.
pub(crate) fn description(device: &BurnDevice) -> Option<String> {
    #[cfg(feature = "wgpu")]
    return adapters::description(device);
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = device;
        None
    }
}

/// What a device can hold, for devices that bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Of one tensor, in bytes.
    pub tensor_bytes: u64,
    /// Of all that is held at once, in bytes, where the driver states it.
    pub total_bytes: Option<u64>,
}

/// What a device can hold; `None` for the processor.
pub(crate) fn capacity(device: &BurnDevice) -> Option<Capacity> {
    #[cfg(feature = "wgpu")]
    return adapters::capacity(device);
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = device;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(Device::open(DeviceChoice::Cpu).unwrap().name(), "cpu");
        assert_eq!(Device::all()[0].name, "cpu");
        assert!(Device::default().is_cpu() && capacity(Device::cpu().burn()).is_none());
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let error = Device::open(DeviceChoice::Cuda(Some(0))).unwrap_err();
        assert!(error.to_string().contains("`cuda:0`"), "{error}");
        if cfg!(not(feature = "wgpu")) {
            let error = Device::open(DeviceChoice::Wgpu(None)).unwrap_err();
            assert!(matches!(error, DeviceError::NotBuilt { .. }), "{error}");
            assert!(Device::open(DeviceChoice::Auto).unwrap().is_cpu());
        }
    }
}
