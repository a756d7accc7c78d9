//! Fine-tunes CLIP without labels under realistic conditions, after Liang et al., "Realistic Unsupervised CLIP Fine-tuning
//! with Universal Entropy Optimization" (ICML 2024): from a checkpoint, the names of the known classes and unlabeled images,
//! of which some may show something else, to a model that names the known classes better and tells the other images apart.
//!
//! # Open, adapt, predict, save
//!
//! ```
//! use ueo::{Method, Model, Settings};
//!
//! # fn main() -> Result<(), ueo::Error> {
//! # let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
//! # if !std::path::Path::new(shipped).exists() { return Ok(()); }
//! # std::env::set_current_dir(shipped).unwrap();
//! # let place = tempfile::tempdir().unwrap();
//! # let file = place.path().join("adapted.safetensors");
//! let model = Model::open("iconclip-resnet")?;
//! let images = model.images("demo/images.tar")?;
//! let classes = ["apple", "car", "dog", "house", "umbrella"];
//!
//! let settings = Settings::new(Method::Ueo).epochs(1);
//! let adapted = model.adapt(&images, &classes, &settings)?;
//! let predictions = adapted.predict(&images, &classes)?;
//! for image in predictions.images.iter().filter(|image| image.known) {
//!     println!("{}: {} ({:.2})", image.path, image.label, image.confidence);
//! }
//! adapted.save(&file)?;
//! # assert_eq!(predictions.images.len(), images.len());
//! # let again = model.with_saved(&file, Method::Ueo)?;
//! # assert_eq!(again.predict(&images, &classes)?.images, predictions.images);
//! # Ok(())
//! # }
//! ```
//!
//! [`Model::image_files`] takes paths and [`Model::pixels`] decoded images. [`Model::builder`] chooses device and precision,
//! [`session`] reports progress and stops when asked to, [`adapt`] is the loop for programs with one of their own
//! (`examples/own_loop.rs`).
//!
//! # How it is laid out
//!
//! Imports go down only:
//!
//! ```text
//! session       a model, its images and its predictions: what a program calls
//! discover      groups of images that show none of the classes, and names for them
//! adapt         the loop and its events
//! method        what each method minimizes and remembers
//! guard, evaluate, objective   numbers: signs of harm, scores and metrics, entropies
//! model         both towers
//! checkpoint    layouts of three ecosystems to one configuration and one set of tensors
//! image, text, data, tensor, exchange
//! ```
//!
//! Jobs on files, with a run directory that can be resumed, are in the crate `ueo-run`.

#![forbid(unsafe_code)]

pub mod adapt;
pub mod budget;
pub mod checkpoint;
#[cfg(feature = "clap")]
mod command_line;
pub mod data;
pub mod device;
pub mod discover;
pub mod disk;
pub mod evaluate;
pub mod exchange;
pub mod guard;
pub mod image;
mod image_format;
pub mod method;
pub mod model;
pub mod objective;
pub mod quote;
pub mod session;
mod spreadsheet;
pub mod tensor;
pub mod text;

pub use adapt::Settings;
pub use device::{Device, DeviceChoice};
pub use disk::write_atomically;
pub use method::Method;
pub use session::{Images, Model, SessionError as Error};
pub use spreadsheet::{csv_cell, from_csv_cell};
