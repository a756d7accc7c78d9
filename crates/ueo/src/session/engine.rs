//! What computes a model's products: part of what a result's last digits depend on.

use serde::{Deserialize, Serialize};
use ueo_kernels::Capability;

use crate::model::{ModelError, Precision};

use super::SessionError;

/// How products with frozen weights are computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The most capable instruction set in use, as `UEO_INSTRUCTION_SET` names it.
    pub instruction_set: String,
    /// That of the products: the fastest for the precision, by a measurement at first use.
    pub products: String,
}

impl EngineRecord {
    /// The engine of this machine for a precision.
    ///
    /// # Errors
    ///
    /// [`SessionError::Model`] when the user asks for an instruction set that the processor does not have.
    pub fn detect(precision: Precision) -> Result<Self, SessionError> {
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
