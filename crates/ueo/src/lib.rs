//! Fine-tunes CLIP without labels under realistic category shift, after Liang et al.,
//! "Realistic Unsupervised CLIP Fine-tuning with Universal Entropy Optimization" (ICML 2024).
//!
//! Data flows from left to right, and so do the imports:
//!
//! ```text
//! checkpoint -> model -> objective -> method -> guard -> adapt -> run (adapt, predict, embed) -> evaluate -> benchmark -> report
//!                 ^                                        ^
//!          text (prompts)                          image, data (pixels)
//! ```

pub mod adapt;
mod atomic;
pub mod benchmark;
pub mod budget;
pub mod checkpoint;
pub mod data;
pub mod evaluate;
pub mod guard;
pub mod image;
pub mod method;
pub mod model;
pub mod objective;
pub mod quote;
pub mod report;
pub mod run;
pub mod tensor;
pub mod text;

pub use atomic::write_atomically;
