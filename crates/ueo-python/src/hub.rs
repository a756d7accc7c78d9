//! Models by name, as the command line has them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use ueo::checkpoint::{CheckpointError, check_configuration};
use ueo_hub::{Hub, HubError, HubSettings, ModelName, Observer};

use crate::errors::python_error;

/// The path of a model: of `hf-hub:OWNER/NAME` where the cache has it, fetched if need be; of anything else the path itself.
pub fn resolved(py: Python<'_>, model: PathBuf) -> PyResult<PathBuf> {
    let Some(name) = model.to_str().filter(|text| ModelName::recognizes(text)) else {
        return Ok(model);
    };
    let failed = |failure: HubError| python_error(py, failure);
    let name: ModelName = name.parse().map_err(failed)?;
    let hub = Hub::new(HubSettings::from_environment().map_err(failed)?);
    let mut observer = Quiet::default();
    let fetched = py.detach(|| hub.fetch(&name, &mut observer));
    if let Some(reason) = observer.refused {
        return Err(python_error(py, reason));
    }
    if let Some(interrupt) = observer.interrupt.take() {
        return Err(interrupt);
    }
    Ok(fetched.map_err(failed)?.path)
}

/// Shows nothing, and looks for Ctrl-C.
#[derive(Default)]
struct Quiet {
    refused: Option<CheckpointError>,
    /// What Ctrl-C raised while nobody was there to catch it.
    interrupt: RefCell<Option<PyErr>>,
}

impl Observer for Quiet {
    fn begins(&mut self, _file: &str, _received: u64, _size: u64) {}
    fn received(&mut self, _bytes: u64) {}
    fn ends(&mut self) {}
    fn waits_for_another_process(&mut self, _file: &str) {}
    fn takes_the_cached(&mut self, _model: &ModelName, _commit: &str, _reason: &HubError) {}

    fn wants_to_stop(&self) -> bool {
        let interrupt = Python::attach(|py| py.check_signals().err());
        let stop = interrupt.is_some();
        self.interrupt.replace(interrupt);
        stop
    }

    fn accepts(&mut self, configuration: &Path) -> bool {
        self.refused = check_configuration(configuration).err();
        self.refused.is_none()
    }
}
