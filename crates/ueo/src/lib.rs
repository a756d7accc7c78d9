//! Fine-tunes CLIP without labels under realistic category shift, after Liang et al.,
//! "Realistic Unsupervised CLIP Fine-tuning with Universal Entropy Optimization" (ICML 2024).
//!
//! Data flows from left to right, and so do the imports:
//!
//! ```text
//! checkpoint -> model -> objective -> method -> guard -> adapt -> session (adapt, predict, embed)
//!                 ^                                        ^          ^
//!          text (prompts)                       image, data (pixels)  evaluate (numbers)
//! ```

pub mod adapt;
mod atomic;
pub mod checkpoint;
pub mod data;
mod device;
pub mod evaluate;
pub mod guard;
pub mod image;
pub mod method;
pub mod model;
pub mod objective;
pub mod session;
mod spreadsheet;
pub mod tensor;
pub mod text;

pub use atomic::write_atomically;
pub use device::{Device, ParseDeviceError};
pub use spreadsheet::{csv_cell, from_csv_cell};
