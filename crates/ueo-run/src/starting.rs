//! What a call of `adapt` begins with: a new run, one that is continued, or one that was still in preparation.

use std::path::{Path, PathBuf};

use std::sync::Arc;

use serde_json::Value;
use ueo::Device;
use ueo::adapt::{Epochs, Settings};
use ueo::checkpoint::LoadOptions;
use ueo::exchange::Exchange;
use ueo::quote;
use ueo::session::Model;

use super::RunError;
use super::directory::RunDirectory;
use super::held::HeldDirectory;
use super::opening::{OpenedModel, open_base};
use super::record::{AdaptRequest, RunRecord, RunStatus};
use super::together::{RankDirectory, told};

/// Whether to begin or to go on.
#[derive(Clone, Debug)]
pub enum Start {
    /// A new run.
    New {
        /// What to do.
        request: Box<AdaptRequest>,
        /// Whether an older run in the same place may be replaced.
        overwrite: bool,
    },
    /// Continue what was begun last in this place, with the settings that it was begun with.
    Resume {
        /// What the caller would begin. It must agree with what was begun before, and is begun where nothing is there yet.
        request: Option<Box<AdaptRequest>>,
        /// Where the checkpoint is now, if it has moved.
        base: Option<PathBuf>,
        /// Epochs in all, to extend the run; it is as it was where it has as many.
        epochs: Option<usize>,
    },
}

/// The place of a run and what is to be done in it.
pub(super) struct Begun {
    pub request: AdaptRequest,
    /// The directory, once it may be written: a new one is made when the inputs have been looked at.
    pub place: Place,
    /// The record of the run that is continued.
    pub resumed: Option<RunRecord>,
    /// Whether the run gets more epochs than its record says.
    pub extended: bool,
    base: Option<PathBuf>,
}

/// Where a run is written.
pub(super) enum Place {
    Held(HeldDirectory),
    ToBeMade {
        path: PathBuf,
        overwrite: bool,
    },
    /// By another rank.
    Elsewhere,
}

impl Place {
    /// The directory for writing.
    pub fn hold(self) -> Result<RankDirectory, RunError> {
        Ok(RankDirectory(match self {
            Self::Held(held) => Some(held),
            Self::ToBeMade { path, overwrite } => Some(RunDirectory::create(&path, overwrite)?),
            Self::Elsewhere => None,
        }))
    }
}

/// [`begin`] on the first rank; the others hear what it has found, and the record of a run that is finished already.
pub(super) fn begin_together(
    start: Start,
    output: &Path,
    exchange: &dyn Exchange,
) -> Result<(Begun, Option<RunRecord>), RunError> {
    let own = match exchange.is_first() {
        true => Some(begin(start, output)?),
        false => None,
    };
    let finished = match &own {
        Some(begun) => begun.finished()?.cloned(),
        None => None,
    };
    let finished = told(finished, output, exchange)?;
    let heard = own.as_ref().map(|begun| {
        let Begun {
            request,
            resumed,
            extended,
            base,
            ..
        } = begun;
        (request.clone(), resumed.clone(), *extended, base.clone())
    });
    let heard: Option<(AdaptRequest, Option<RunRecord>, bool, Option<PathBuf>)> =
        told(heard, output, exchange)?;
    let begun = match (own, heard) {
        (None, Some((request, resumed, extended, base))) => Begun {
            request,
            place: Place::Elsewhere,
            resumed,
            extended,
            base,
        },
        (own, _) => own.ok_or_else(|| RunError::NotARun {
            path: output.to_owned(),
        })?,
    };
    Ok((begun, finished))
}

/// Finds out what is to be done. Nothing of a run is changed yet.
fn begin(start: Start, output: &Path) -> Result<Begun, RunError> {
    match start {
        Start::New { request, overwrite } => {
            let directory = RunDirectory::at(output);
            directory.check_vacant(overwrite)?;
            let place = match output.is_dir() {
                // Before hours of work, and before the inputs are read.
                true => Place::Held(RunDirectory::create(output, overwrite)?),
                false => Place::ToBeMade {
                    path: output.to_owned(),
                    overwrite,
                },
            };
            Ok(Begun {
                request: *request,
                place,
                resumed: None,
                extended: false,
                base: None,
            })
        }
        Start::Resume {
            request,
            base,
            epochs,
        } => resume(request.map(|request| *request), base, epochs, output),
    }
}

fn resume(
    mut request: Option<AdaptRequest>,
    base: Option<PathBuf>,
    epochs: Option<usize>,
    output: &Path,
) -> Result<Begun, RunError> {
    let held = match (HeldDirectory::open(output), request.clone()) {
        (Err(RunError::NotARun { .. }), Some(request)) => {
            let start = Start::New {
                request: Box::new(request),
                overwrite: false,
            };
            return begin(start, output);
        }
        (held, _) => held?,
    };
    let staged = held.staged_request();
    let mut extended = false;
    let agrees = |other: &AdaptRequest| {
        let asked = request.as_ref();
        asked.is_none_or(|asked| difference(other, asked).is_none())
    };
    let (stored, resumed) = match staged {
        Some(mut staged) if agrees(&staged) => {
            // Nothing has been trained yet.
            staged.settings.epochs = epochs.map_or(staged.settings.epochs, Epochs::Count);
            (staged, None)
        }
        // Nothing that could be lost has been done yet.
        _ if !held.has_run() => match request.clone() {
            Some(request) => (request, None),
            None => {
                let path = output.to_owned();
                return Err(RunError::NotARun { path });
            }
        },
        _ => {
            let mut record = held.read_record()?;
            extended = extend(&mut record, epochs, output)?;
            if let Some(asked) = &mut request {
                adopt_restarts(&record.request.settings, &mut asked.settings);
            }
            let differing = request
                .as_ref()
                .and_then(|asked| difference(&record.request, asked));
            if let Some(Difference {
                setting,
                expected,
                found,
            }) = differing
            {
                return Err(RunError::OtherSetting {
                    path: output.to_owned(),
                    setting,
                    expected,
                    found,
                });
            }
            (record.request.clone(), Some(record))
        }
    };
    let request = match request {
        Some(asked) => AdaptRequest {
            threads: asked.threads,
            image_cache_bytes: asked.image_cache_bytes,
            checkpoint_every: asked.checkpoint_every,
            ..stored
        },
        None => stored,
    };
    Ok(Begun {
        request,
        place: Place::Held(held),
        resumed,
        extended,
        base,
    })
}

/// Gives a run more epochs; the schedule of the learning rate starts anew where it would have ended. Whether there are more.
fn extend(record: &mut RunRecord, epochs: Option<usize>, output: &Path) -> Result<bool, RunError> {
    let begun = record.epoch_count();
    let settings = &mut record.request.settings;
    let Some(epochs) = epochs.filter(|&epochs| epochs != begun) else {
        return Ok(false);
    };
    if epochs < begun || !settings.method.trains() {
        return Err(RunError::NotExtended {
            path: output.to_owned(),
            method: (!settings.method.trains()).then_some(settings.method),
            done: begun,
            asked: epochs,
        });
    }
    Epochs::Count(epochs).validate()?;
    record.total_steps = (record.total_steps / begun.max(1)).saturating_mul(epochs);
    record.epochs = Some(epochs);
    settings.restart_after.push(begun);
    settings.epochs = Epochs::Count(epochs);
    record.status = RunStatus::Incomplete;
    // What was measured belongs to the shorter run.
    record.threshold = None;
    record.adapted = None;
    record.adapted_signs = None;
    record.kept_epoch = None;
    record.adapted_sha256 = None;
    record.warnings = Vec::new();
    Ok(true)
}

/// The command that began a run which was extended later does not know of its restarts.
fn adopt_restarts(begun: &Settings, asked: &mut Settings) {
    if asked.restart_after.is_empty() && asked.epochs == begun.epochs {
        asked.restart_after.clone_from(&begun.restart_after);
    }
}

impl Begun {
    /// The record of a run that has nothing left to do but to clean up.
    ///
    /// # Errors
    ///
    /// [`RunError::Io`].
    pub fn finished(&self) -> Result<Option<&RunRecord>, RunError> {
        let (Place::Held(held), Some(record)) = (&self.place, &self.resumed) else {
            return Ok(None);
        };
        if record.status != RunStatus::Finished || !held.has_result() {
            return Ok(None);
        }
        held.unstage()?;
        held.drop_features()?;
        Ok(Some(record))
    }

    /// The checkpoint that is adapted.
    ///
    /// # Errors
    ///
    /// As [`open_base`] for a run that is continued, else as [`OpenedModel::open`]; [`RunError::AlreadyAdapted`].
    pub fn open_model(
        &self,
        device: &Device,
        exchange: Arc<dyn Exchange>,
    ) -> Result<Model, RunError> {
        let request = &self.request;
        let mut model = match &self.resumed {
            Some(record) => open_base(
                &record.base,
                self.base.as_deref(),
                device,
                request.precision,
            )?,
            None => self.open_checkpoint(device)?,
        };
        model.preprocessing.exif_orientation = request.exif_orientation;
        let model = model.with_exchange(exchange);
        Ok(model.with_templates(&request.settings.templates)?)
    }

    fn open_checkpoint(&self, device: &Device) -> Result<Model, RunError> {
        let request = &self.request;
        let path = self.base.as_deref().unwrap_or(&request.model);
        let options = LoadOptions::new().activation(request.activation);
        let opened = OpenedModel::open_with(path, None, device, Some(request.precision), &options)?;
        match opened.run {
            None => Ok(opened.model),
            Some(_) => Err(RunError::AlreadyAdapted {
                path: path.to_owned(),
            }),
        }
    }
}

/// A setting in which two requests differ.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    setting: String,
    expected: String,
    found: String,
}

/// Settings that change no result, or like another machine its last digits only: a run may go on with others.
const FREE: [&str; 4] = ["threads", "image_cache_bytes", "checkpoint_every", "device"];
/// The group of settings whose names need no prefix.
const GROUP: &str = "settings";
/// The first setting in which a command differs from what was begun.
fn difference(begun: &AdaptRequest, asked: &AdaptRequest) -> Option<Difference> {
    // A request is always JSON.
    let values = |request: &AdaptRequest| {
        let mut values = serde_json::to_value(request).unwrap_or_default();
        // What files leave out at its default has a name.
        values["labels"] = serde_json::to_value(request.labels).unwrap_or_default();
        let step_size = serde_json::to_value(request.settings.step_size);
        values[GROUP]["step_size"] = step_size.unwrap_or_default();
        values
    };
    let (begun, asked) = (values(begun), values(asked));
    differing("", &begun, &asked)
}

fn differing(name: &str, begun: &Value, asked: &Value) -> Option<Difference> {
    match (begun, asked) {
        _ if begun == asked || FREE.contains(&name) => None,
        (Value::Object(begun_fields), Value::Object(asked_fields))
            if name.is_empty() || name == GROUP =>
        {
            let names = begun_fields.keys().chain(asked_fields.keys());
            let value = |fields: &serde_json::Map<_, _>, name: &str| {
                fields.get(name).cloned().unwrap_or_default()
            };
            names
                .filter_map(|name| {
                    differing(name, &value(begun_fields, name), &value(asked_fields, name))
                })
                .next()
        }
        (Value::Array(begun_items), Value::Array(asked_items)) => {
            let items = begun_items.iter().zip(asked_items);
            let place = items.take_while(|(begun, asked)| begun == asked).count();
            let item = |items: &[Value]| match items.get(place) {
                Some(item) => format!("{} as number {}", quoted(item), place + 1),
                None => format!("{place} in all"),
            };
            Some(Difference {
                setting: words(name),
                expected: item(begun_items),
                found: item(asked_items),
            })
        }
        _ => Some(Difference {
            setting: words(name),
            expected: quoted(begun),
            found: quoted(asked),
        }),
    }
}

/// A field's name as the command line has it.
fn words(name: &str) -> String {
    name.replace('_', "-")
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => quote::name(text).to_string(),
        other => quote::name(&other.to_string()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AdaptRequest {
        AdaptRequest {
            model: "/model".into(),
            images: "/images".into(),
            image_root: None,
            columns: ueo::data::ParquetColumns::default(),
            classes: vec!["cat".to_owned(), "dog".to_owned()],
            class_ids: None,
            labels: Default::default(),
            oracle_labels: None,
            settings: Settings::default(),
            score: Default::default(),
            score_temperature: 1.0,
            threshold_method: Default::default(),
            threshold_images: None,
            tensorboard: false,
            standalone: false,
            checkpoint_every: 50,
            image_cache_bytes: 0,
            strict: false,
            threads: 2,
            device: "cpu".to_owned(),
            precision: Default::default(),
            activation: None,
            exif_orientation: ueo::image::ExifOrientation::default(),
        }
    }

    fn changed(change: impl FnOnce(&mut AdaptRequest)) -> Option<[String; 3]> {
        let mut asked = request();
        change(&mut asked);
        difference(&request(), &asked).map(|found| [found.setting, found.expected, found.found])
    }

    #[test]
    fn the_setting_that_differs_is_named() {
        let expect = |change: fn(&mut AdaptRequest), expected: [&str; 3]| {
            assert_eq!(changed(change), Some(expected.map(str::to_owned)));
        };
        expect(|r| r.settings.epochs = 7.into(), ["epochs", "50", "7"]);
        expect(
            |r| r.settings.context_learning_rate = 0.5,
            ["context-learning-rate", "0.0001", "0.5"],
        );
        expect(
            |r| r.labels = ueo::data::LabelChoice::None,
            ["labels", "auto", "none"],
        );
        expect(
            |r| r.settings.step_size = ueo::adapt::StepSize::Relative,
            ["step-size", "gradient", "relative"],
        );
        expect(
            |r| r.images = "/photos".into(),
            ["images", "/images", "/photos"],
        );
        expect(
            |r| r.image_root = Some("/root".into()),
            ["image-root", "none", "/root"],
        );
        expect(
            |r| r.classes[1] = "fox".to_owned(),
            ["classes", "dog as number 2", "fox as number 2"],
        );
        expect(
            |r| r.classes[0] = "\u{1b}[2J".repeat(100),
            [
                "classes",
                "cat as number 1",
                &format!("{}\u{2026} as number 1", "\\u{1b}[2J".repeat(20)),
            ],
        );
        expect(
            |r| r.classes.truncate(1),
            ["classes", "dog as number 2", "1 in all"],
        );
    }

    #[test]
    fn what_changes_no_result_may_differ() {
        assert_eq!(changed(|_| {}), None);
        let other_machine = changed(|request| {
            request.threads = 16;
            request.image_cache_bytes = 1 << 30;
            request.checkpoint_every = 1;
        });
        assert_eq!(other_machine, None);
    }
}
