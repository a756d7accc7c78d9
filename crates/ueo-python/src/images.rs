//! Images as a Python program names or holds them.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use ueo::image::{CacheContent, ImageError, Preprocessing, RgbImage};
use ueo::session::Images;
use ueo_run::RunError;

/// What the package hands over; it has told apart and checked what users may write.
#[derive(FromPyObject)]
pub enum Given {
    /// A directory, list file, tar shard, directory of shards or a single image.
    Path(PathBuf),
    /// Image files, one by one.
    Files(Vec<PathBuf>),
    /// Interleaved RGB samples, height and width of each image.
    Pixels(Vec<(PyBackedBytes, usize, usize)>),
}

/// The images of a call, away from the interpreter.
pub enum ImageInput {
    Path(PathBuf),
    Files(Vec<PathBuf>),
    Pixels(Vec<RgbImage>),
}

impl Given {
    /// Copies the pixels.
    ///
    /// # Errors
    ///
    /// What is wrong with an image.
    pub fn into_input(self) -> Result<ImageInput, ImageError> {
        Ok(match self {
            Self::Path(path) => ImageInput::Path(path),
            Self::Files(files) => ImageInput::Files(files),
            Self::Pixels(images) => {
                let images = images.into_iter();
                let images = images.map(|(samples, height, width)| {
                    RgbImage::new(width, height, samples.as_ref().to_vec())
                });
                ImageInput::Pixels(images.collect::<Result<_, _>>()?)
            }
        })
    }
}

impl ImageInput {
    /// Where the images are, as far as there is one place.
    pub fn place(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Files(_) | Self::Pixels(_) => Path::new(""),
        }
    }

    /// Opens the images for a model; files stay decoded in memory as far as `cache_bytes` go.
    ///
    /// # Errors
    ///
    /// As [`Images::open`].
    pub fn open(
        self,
        content: CacheContent,
        image_root: Option<&Path>,
        preprocessing: &Preprocessing,
        cache_bytes: u64,
    ) -> Result<Images, RunError> {
        Ok(match self {
            Self::Path(path) => {
                Images::open_keeping(content, &path, image_root, preprocessing, cache_bytes)?
            }
            Self::Files(files) => {
                Images::of_files_keeping(content, files, preprocessing, cache_bytes)
            }
            Self::Pixels(images) => {
                let named = images.into_iter().enumerate();
                let named = named.map(|(index, image)| (index.to_string(), image));
                Images::of_pixels(named, preprocessing)
            }
        })
    }
}
