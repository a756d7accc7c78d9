//! `ueo._ueo`: what the Python package needs of ueo, in plain types. The package itself, with its shape, its documentation
//! and NumPy, is Python (`python/ueo`).

#![forbid(unsafe_code)]

mod adapting;
mod choices;
mod errors;
mod hub;
mod images;
mod model;
mod telling;
mod work;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use ueo::adapt::Epochs;
use ueo::data::ClassList;
use ueo_cli::DemoModel;

use errors::{error, python_error};

/// Functions and classes of the extension; `_ueo.pyi` describes them.
#[pymodule]
mod _ueo {
    #[pymodule_export]
    use super::adapting::adapt;
    #[pymodule_export]
    use super::model::{Model, Predicted};
    #[pymodule_export]
    use super::{check_classes, command, default_settings, read_classes, write_demo, write_report};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}

/// Runs the command line.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| ueo_cli::run(arguments))
}

/// The default settings of an adaptation, as JSON.
#[pyfunction]
fn default_settings() -> PyResult<String> {
    choices::to_json(&ueo::Settings::default().epochs(Epochs::Auto))
}

/// The class names of a file.
#[pyfunction]
fn read_classes(py: Python<'_>, path: PathBuf) -> PyResult<Vec<String>> {
    let classes = ClassList::read(&path).map_err(|failure| python_error(py, failure))?;
    Ok(classes.names().to_vec())
}

/// Class names, as far as they can be ones.
#[pyfunction]
fn check_classes(py: Python<'_>, names: Vec<String>) -> PyResult<Vec<String>> {
    if names.is_empty() {
        return Err(error(py, "expected at least one class, found none", None));
    }
    let classes = ClassList::of_names(&names).map_err(|failure| python_error(py, failure))?;
    Ok(classes.names().to_vec())
}

/// Writes the inputs of the demonstration into a directory and returns its settings, as JSON.
#[pyfunction]
fn write_demo(py: Python<'_>, directory: PathBuf, architecture: &str) -> PyResult<String> {
    let architecture = match architecture {
        "resnet" => DemoModel::Resnet,
        "vit" => DemoModel::Vit,
        other => {
            let message = format!("architecture: expected resnet or vit, found {other}");
            return Err(error(py, &message, None));
        }
    };
    let written = py.detach(|| ueo_cli::write_demo(&directory, architecture));
    written.map_err(|failure| python_error(py, failure))?;
    choices::to_json(&ueo_cli::demo_settings())
}

/// Writes the page of a run.
#[pyfunction]
fn write_report(py: Python<'_>, run: PathBuf, output: Option<PathBuf>) -> PyResult<PathBuf> {
    let written = py.detach(|| ueo_report::write_report(&run, output.as_deref()));
    let written = written.map_err(|failure| python_error(py, failure))?;
    Ok(written.path)
}
