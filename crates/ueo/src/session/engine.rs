//! What computes a model's products: part of what a result's last digits depend on.

use serde::{Deserialize, Serialize};
use ueo_kernels::Capability;

use crate::device::description;
use crate::model::{Clip, ModelError, Precision};

use super::SessionError;

/// How products with frozen weights are computed; on another device than the processor, both are that device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The most capable instruction set in use, as `UEO_INSTRUCTION_SET` names it.
    pub instruction_set: String,
    /// That of the products: the fastest for the precision, by a measurement at first use.
    pub products: String,
}

impl EngineRecord {
    /// What computes a model.
    ///
    /// # Errors
    ///
    /// [`SessionError::Model`] when the user asks for an instruction set that the processor does not have.
    pub fn of(clip: &Clip) -> Result<Self, SessionError> {
        match description(clip.device()) {
            None => Self::detect(clip.precision()),
            Some(device) => Ok(Self {
                instruction_set: device.clone(),
                products: device,
            }),
        }
    }

    /// The processor's engine for a precision.
    fn detect(precision: Precision) -> Result<Self, SessionError> {
        let name = |capability: Capability| capability.instruction_set().name().to_owned();
        let chosen = Capability::chosen().map_err(ModelError::InstructionSet)?;
        let products =
            Capability::for_precision(precision.into()).map_err(ModelError::InstructionSet)?;
        Ok(Self {
            instruction_set: name(chosen),
            products: name(products),
        })
    }
}
