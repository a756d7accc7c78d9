//! Graphics processors through Vulkan, Metal or DirectX 12, and drivers that stand in for them.

use std::sync::{Mutex, PoisonError};

use burn::backend::wgpu::graphics::AutoGraphicsApi;
use burn::backend::wgpu::{RuntimeOptions, WgpuDevice, try_init_setup};
use burn::backend::{CubeDevice, DispatchDevice, WgpuDeviceKind};
use burn::tensor::{Device as BurnDevice, DeviceType};

use super::{Capacity, Device, DeviceChoice, DeviceError, DeviceFacts};

/// The devices that this process has opened; the tensor library opens each once.
static OPENED: Mutex<Vec<(WgpuDevice, Device)>> = Mutex::new(Vec::new());

/// The devices of this machine, not opened: fast ones first, drivers that compute on the processor last. The place in this list is
/// the number in `wgpu:N`.
fn all() -> Vec<WgpuDevice> {
    let mut all: Vec<WgpuDevice> = BurnDevice::enumerate(DeviceType::Wgpu)
        .into_iter()
        .filter_map(|device| match device.as_dispatch() {
            DispatchDevice::Cube(CubeDevice::Wgpu(device)) => Some(device.clone()),
            _ => None,
        })
        .collect();
    all.sort_by_key(|device| match device.kind {
        WgpuDeviceKind::DiscreteGpu(index) => (0, index),
        WgpuDeviceKind::IntegratedGpu(index) => (1, index),
        WgpuDeviceKind::VirtualGpu(index) => (2, index),
        WgpuDeviceKind::Other(index) => (3, index),
        _ => (4, 0),
    });
    all
}

fn is_software(device: &WgpuDevice) -> bool {
    device.kind == WgpuDeviceKind::Cpu
}

/// Opens `wgpu` or `wgpu:N`.
pub(super) fn open(choice: DeviceChoice) -> Result<Device, DeviceError> {
    let index = match choice {
        DeviceChoice::Wgpu(Some(index)) => index,
        _ => 0,
    };
    let all = all();
    match all.get(index) {
        Some(device) => open_at(index, device),
        None => Err(DeviceError::Missing {
            choice,
            found: facts()
                .into_iter()
                .map(|facts| format!("{} ({})", facts.name, facts.description))
                .collect(),
        }),
    }
}

/// The first device that is no driver on the processor and can be opened.
pub(super) fn first_graphics_processor() -> Option<Device> {
    let all = all();
    let real = all
        .iter()
        .enumerate()
        .filter(|(_, device)| !is_software(device));
    real.filter_map(|(index, device)| open_at(index, device).ok())
        .next()
}

/// All of them for people.
pub(super) fn facts() -> Vec<DeviceFacts> {
    let all = all();
    let facts = all.iter().enumerate().map(|(index, device)| DeviceFacts {
        name: name_of(index),
        description: match open_at(index, device) {
            Ok(device) => device.description,
            Err(error) => error.to_string(),
        },
    });
    facts.collect()
}

/// The words for a device that is open.
pub(super) fn description(device: &BurnDevice) -> Option<String> {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut opened = opened.iter().map(|(_, device)| device);
    let known = opened.find(|known| known.burn == *device)?;
    Some(known.description.clone())
}

/// What a device can hold.
pub(super) fn capacity(device: &BurnDevice) -> Option<Capacity> {
    match device.as_dispatch() {
        DispatchDevice::Cube(device) => {
            let client = device.client();
            let memory = &client.properties().memory;
            Some(Capacity {
                tensor_bytes: memory.max_page_size,
                total_bytes: memory.max_memory(),
            })
        }
        DispatchDevice::Autodiff(_) => capacity(&device.clone().inner()),
        _ => None,
    }
}

fn name_of(index: usize) -> String {
    DeviceChoice::Wgpu(Some(index)).to_string()
}

fn open_at(index: usize, device: &WgpuDevice) -> Result<Device, DeviceError> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(known, _)| known == device) {
        return Ok(device.clone());
    }
    let name = name_of(index);
    let refused = |reason: String| DeviceError::Refused {
        name: name.clone(),
        reason,
    };
    let options = RuntimeOptions::try_default().map_err(|error| refused(error.to_string()))?;
    let setup = try_init_setup::<AutoGraphicsApi>(device, options)
        .map_err(|error| refused(error.to_string()))?;
    let about = setup.adapter.get_info();
    let is_software = is_software(device);
    let burn = BurnDevice::new(device.clone());
    let mebibytes = capacity(&burn).map_or(0, |capacity| capacity.tensor_bytes >> 20);
    let driver = match about.driver_info.as_str() {
        "" => about.driver.as_str(),
        info => info,
    };
    let kind = match is_software {
        true => "a driver on the processor",
        false => "a graphics processor",
    };
    let device_and_name = Device {
        burn,
        description: format!(
            "{}: {kind}; {}, {driver}; tensors of up to {mebibytes} MiB",
            about.name, about.backend,
        ),
        name,
        is_software,
    };
    opened.push((device.clone(), device_and_name.clone()));
    Ok(device_and_name)
}
