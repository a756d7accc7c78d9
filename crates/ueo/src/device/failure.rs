//! Failures of a device while it computes: lost, or out of memory.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device as BurnDevice;
use thiserror::Error;

use super::is_processor;

/// A device gave up while it computed; what it held is lost.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the device failed: {reason}")]
pub struct DeviceFailure {
    /// What its driver or the tensor library said.
    pub reason: String,
}

impl DeviceFailure {
    /// The failure behind a panic of the tensor library.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text,
            (None, Some(text)) => *text,
            (None, None) => "it does not say why",
        };
        Self {
            reason: text.trim().to_owned(),
        }
    }
}

/// Runs what computes on a device. The tensor library has no errors, it panics where a device fails, and that is what becomes one
/// here; a panic on the processor is a mistake in the program and goes on.
///
/// # Errors
///
/// [`DeviceFailure`].
pub fn guarded<T>(device: &BurnDevice, work: impl FnOnce() -> T) -> Result<T, DeviceFailure> {
    if is_processor(device) {
        return Ok(work());
    }
    // Values that a failed computation leaves half done are not looked at again: the caller gives up.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| DeviceFailure::of_panic(&*panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_panic_are_kept() {
        let reason = |panic: &(dyn Any + Send)| DeviceFailure::of_panic(panic).reason;
        assert_eq!(reason(&"lost"), "lost");
        assert_eq!(reason(&"out of memory\n".to_owned()), "out of memory");
        assert_eq!(reason(&7), "it does not say why");
    }
}
