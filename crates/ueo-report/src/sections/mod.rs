//! The sections of a run's report, one file each. A section that has nothing to say is `None`.

pub mod calibration;
pub mod classes;
pub mod confidence;
pub mod confusion;
pub mod discovered;
pub mod epochs;
pub mod gallery;
pub mod provenance;
pub mod remarks;
pub mod separation;
pub mod summary;
pub mod training;
