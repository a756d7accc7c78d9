//! Errors of ueo as exceptions, in the words of the command line.

use pyo3::prelude::*;
use ueo_cli::{CliError, explained};

/// The exception for an error, with what the user can do about it.
pub fn python_error(py: Python<'_>, failure: impl Into<CliError>) -> PyErr {
    let failure = failure.into();
    error(py, &explained(&failure), failure.hint())
}

/// The package's exception with these words.
pub fn error(py: Python<'_>, message: &str, hint: Option<String>) -> PyErr {
    let made = py
        .import("ueo._errors")
        .and_then(|module| module.getattr("Error"))
        .and_then(|class| class.call1((message, hint)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        // Without its own package there is no exception of its own.
        Err(import) => import,
    }
}
