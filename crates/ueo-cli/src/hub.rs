//! Models by name: what `hf-hub:OWNER/NAME` stands for, with the download on the screen.

use std::borrow::Cow;
use std::path::Path;

use ueo::checkpoint::{CheckpointError, check_configuration};
use ueo_hub::{Hub, HubError, HubSettings, ModelName, Observer};

use crate::error::CliError;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::progress::{Progress, Unit};

/// Files below this size come too fast for a bar, in bytes.
const SHOWN_SIZE: u64 = 4 << 20;
/// Digits of a commit that people tell apart.
const COMMIT_DIGITS: usize = 12;

/// The path of what a user calls a model: of one of the hub, where the cache has it, after it was fetched if need be;
/// of anything else the argument itself.
///
/// # Errors
///
/// [`CliError::Hub`], [`CliError::Checkpoint`] for an architecture that is not known, which is found out before its
/// weights are fetched, and [`CliError::Interrupt`].
pub fn resolve<'a>(model: &'a Path, printer: &Printer) -> Result<Cow<'a, Path>, CliError> {
    let Some(name) = model.to_str().filter(|text| ModelName::recognizes(text)) else {
        return Ok(model.into());
    };
    let name: ModelName = name.parse()?;
    let hub = Hub::new(HubSettings::from_environment()?);
    let interrupt = Interrupt::listen(printer)?;
    let mut observer = OnTheScreen {
        printer,
        interrupt,
        name: name.to_string(),
        announced: false,
        bar: None,
        refused: None,
    };
    let fetched = hub.fetch(&name, &mut observer);
    if let Some(reason) = observer.refused {
        return Err(reason.into());
    }
    let model = fetched?;
    printer.detail(format_args!("{name} is {}", model.path.display()));
    Ok(model.path.into())
}

/// What tables call a model of the hub, if it is one.
pub fn shown_name(model: &Path) -> Option<String> {
    let text = model.to_str().filter(|text| ModelName::recognizes(text))?;
    let name: ModelName = text.parse().ok()?;
    Some(name.name().to_owned())
}

/// Shows a download.
struct OnTheScreen<'a> {
    printer: &'a Printer,
    interrupt: Interrupt,
    name: String,
    announced: bool,
    /// The bar of a large file, with the file's name.
    bar: Option<(Progress, String)>,
    /// Why the weights were not fetched.
    refused: Option<CheckpointError>,
}

impl Observer for OnTheScreen<'_> {
    fn begins(&mut self, file: &str, received: u64, size: u64) {
        if !self.announced {
            self.announced = true;
            self.printer.message(format_args!("fetching {}", self.name));
        }
        let beginning = if received > 0 { ", the rest of it" } else { "" };
        self.printer
            .detail(format_args!("  {file}: {size} bytes{beginning}"));
        self.bar = (size >= SHOWN_SIZE).then(|| {
            let bar = self
                .printer
                .progress("download", Unit::Bytes, received, size);
            (bar, file.to_owned())
        });
    }

    fn received(&mut self, bytes: u64) {
        if let Some((bar, file)) = &mut self.bar {
            bar.update(bytes, file);
        }
    }

    fn ends(&mut self) {
        if let Some((bar, _)) = self.bar.take() {
            bar.finish();
        }
    }

    fn waits_for_another_process(&mut self, file: &str) {
        self.printer.message(format_args!(
            "waiting for another process, which fetches {file}"
        ));
    }

    fn takes_the_cached(&mut self, model: &ModelName, commit: &str, reason: &HubError) {
        let commit = &commit[..COMMIT_DIGITS.min(commit.len())];
        self.printer.warning(format_args!(
            "{model} is taken from the cache as it is (commit {commit}), because the hub cannot say what is newest: {reason}"
        ));
    }

    fn wants_to_stop(&self) -> bool {
        self.interrupt.requested()
    }

    fn accepts(&mut self, configuration: &Path) -> bool {
        self.refused = check_configuration(configuration).err();
        self.refused.is_none()
    }
}
