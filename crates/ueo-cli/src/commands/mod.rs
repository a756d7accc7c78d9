//! One file per command: its arguments and what it does with them.

pub mod adapt;
pub mod demo;
pub mod embed;
pub mod evaluate;
pub mod inspect;
pub mod predict;
