//! Models by name: a repository of the Hugging Face Hub becomes a directory of the cache that its Python client keeps.
//!
//! ```no_run
//! use ueo_hub::{Hub, HubSettings, ModelName, Silent};
//!
//! let settings = HubSettings::from_environment()?;
//! let name: ModelName = "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K".parse()?;
//! let model = Hub::new(settings).fetch(&name, &mut Silent)?;
//! println!("{}", model.path.display());
//! # Ok::<(), ueo_hub::HubError>(())
//! ```
//!
//! What is in the cache is not fetched again, whoever put it there; what is put there is found by the Python client.
//! Nothing that a repository holds is executed.

#![forbid(unsafe_code)]

mod cache;
mod catalog;
mod choice;
mod client;
mod download;
mod environment;
mod error;
mod listing;
mod name;

use std::fs;
use std::path::{Path, PathBuf};

pub use catalog::{KnownModel, known_models};
pub use environment::HubSettings;
pub use error::HubError;
pub use name::{ModelName, PREFIX};

use cache::Repository;
use choice::Weights;
use client::Client;
use download::Download;
use listing::Files;

/// Is told how a download goes, and asked whether to go on.
pub trait Observer {
    /// A file is fetched from now on; `received` of its `size` bytes are there from an earlier call.
    fn begins(&mut self, file: &str, received: u64, size: u64);
    /// So many of its bytes are there.
    fn received(&mut self, bytes: u64);
    /// The file is complete, or the download has ended otherwise.
    fn ends(&mut self);
    /// Another process fetches the file; its result will do.
    fn waits_for_another_process(&mut self, file: &str);
    /// The hub cannot be asked what is newest, so the copy in the cache is taken as it is.
    fn takes_the_cached(&mut self, model: &ModelName, commit: &str, reason: &HubError);
    /// Whether the user wants to stop.
    fn wants_to_stop(&self) -> bool;
    /// Whether weights with this configuration file are of use; asked before they are fetched.
    fn accepts(&mut self, _configuration: &Path) -> bool {
        true
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn begins(&mut self, _file: &str, _received: u64, _size: u64) {}
    fn received(&mut self, _bytes: u64) {}
    fn ends(&mut self) {}
    fn waits_for_another_process(&mut self, _file: &str) {}
    fn takes_the_cached(&mut self, _model: &ModelName, _commit: &str, _reason: &HubError) {}
    fn wants_to_stop(&self) -> bool {
        false
    }
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedModel {
    /// What to open: the file of weights, which stays the same whatever else another program puts beside it, or the
    /// directory where the weights are several files.
    pub path: PathBuf,
    /// The directory that holds its files.
    pub directory: PathBuf,
    /// The commit that it is of.
    pub commit: String,
}

/// The hub and the cache.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
}

/// The files that may be had, and from where.
struct Source<'a> {
    model: &'a ModelName,
    repository: &'a Repository,
    commit: String,
    /// `None` where the cache does not remember them and the hub cannot be asked.
    files: Option<Files>,
    /// `None` where nothing may or can be fetched.
    client: Option<Client<'a>>,
}

impl Hub {
    /// A hub at the place that the settings name.
    pub fn new(settings: HubSettings) -> Self {
        Self { settings }
    }

    /// Where everything is kept.
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// Sees to it that a model is in the cache.
    ///
    /// The hub is asked what the revision stands for, unless that is a commit whose files are known. Where it cannot be
    /// asked, or refuses, what the cache has is taken, and the observer is told.
    ///
    /// # Errors
    ///
    /// [`HubError`]; what was received before is kept and the next call goes on from there.
    pub fn fetch(
        &self,
        model: &ModelName,
        observer: &mut dyn Observer,
    ) -> Result<CachedModel, HubError> {
        let repository = Repository::new(&self.settings.cache, model);
        let in_cache = |offline: HubError| match repository.commit_of(model.revision()) {
            Some(commit) if repository.snapshot(&commit).is_dir() => Source {
                model,
                repository: &repository,
                files: repository.remembered(&commit),
                commit,
                client: None,
            }
            .model(&mut Silent),
            _ => Err(offline),
        };
        if self.settings.offline {
            return in_cache(HubError::Offline {
                model: model.to_string(),
                cache: self.settings.cache.clone(),
            });
        }
        let client = Client::new(&self.settings)?;
        match self.ask(model, &repository, client) {
            Ok(source) => source.model(observer),
            Err(error) if error.leaves_the_cache() => match in_cache(HubError::Stopped) {
                Ok(cached) => {
                    observer.takes_the_cached(model, &cached.commit, &error);
                    Ok(cached)
                }
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// What the revision stands for, and what it holds.
    fn ask<'a>(
        &self,
        model: &'a ModelName,
        repository: &'a Repository,
        client: Client<'a>,
    ) -> Result<Source<'a>, HubError> {
        let revision = model.revision();
        let known = name::is_commit(revision)
            .then(|| repository.remembered(revision))
            .flatten();
        let (commit, files) = match known {
            Some(files) => (revision.to_owned(), files),
            None => {
                let listing = client.listing(model)?;
                (listing.commit, listing.files)
            }
        };
        // A cache that may not be written can have everything that is needed.
        let _ = repository.remember(revision, &commit, &files, choice::all_names());
        Ok(Source {
            model,
            repository,
            commit,
            files: Some(files),
            client: Some(client),
        })
    }
}

impl Source<'_> {
    /// Gets the settings, decides for weights, gets those.
    fn model(&self, observer: &mut dyn Observer) -> Result<CachedModel, HubError> {
        let settings = choice::SETTINGS.into_iter().filter(|name| self.has(name));
        self.get(settings.map(str::to_owned).collect(), observer)?;
        let whole_model = match self.repository.file(&self.commit, choice::CONFIG) {
            Some(path) => choice::is_whole_model(&fs::read(&path).map_err(HubError::read(&path))?),
            None => false,
        };
        let offered = choice::offered(|name| self.has(name), whole_model);
        // Hundreds of megabytes that are there already are as good as others in a better format.
        let there = |weights: &Weights| self.repository.file(&self.commit, weights.name).is_some();
        let chosen = offered.iter().copied().find(there);
        let Some(weights) = chosen.or_else(|| offered.first().copied()) else {
            return Err(HubError::NoModel {
                model: self.model.to_string(),
                expected: choice::EXPECTED,
                found: self.found(),
            });
        };
        let directory = self.repository.snapshot(&self.commit);
        if !there(&weights) && !observer.accepts(&directory.join(weights.config)) {
            return Err(HubError::Refused {
                model: self.model.to_string(),
            });
        }
        self.get(vec![weights.name.to_owned()], observer)?;
        let mut path = directory.join(weights.name);
        if weights.is_index() {
            let index = fs::read(&path).map_err(HubError::read(&path))?;
            let shards = choice::shards(&index).ok_or_else(|| HubError::NoModel {
                model: self.model.to_string(),
                expected: "an index that names files of the same directory",
                found: weights.name.to_owned(),
            })?;
            self.get(shards, observer)?;
            path.clone_from(&directory);
        }
        Ok(CachedModel {
            path,
            directory,
            commit: self.commit.clone(),
        })
    }

    /// Whether the repository has a file; without a listing, what the cache has must do.
    fn has(&self, name: &str) -> bool {
        match &self.files {
            Some(files) => files.contains_key(name),
            None => self.repository.file(&self.commit, name).is_some(),
        }
    }

    /// Sees to it that files are in the snapshot.
    fn get(&self, names: Vec<String>, observer: &mut dyn Observer) -> Result<(), HubError> {
        let missing = names
            .into_iter()
            .filter(|name| self.repository.file(&self.commit, name).is_none());
        let missing: Vec<String> = missing.collect();
        let (Some(client), Some(files)) = (&self.client, &self.files) else {
            return match missing.is_empty() {
                true => Ok(()),
                false => Err(HubError::Incomplete {
                    model: self.model.to_string(),
                    missing,
                }),
            };
        };
        if !missing.is_empty() {
            self.repository.prepare(&self.commit)?;
        }
        for name in &missing {
            let file = files.get(name).ok_or_else(|| HubError::NoFile {
                repository: self.model.repository(),
                file: name.clone(),
            })?;
            Download {
                client,
                model: self.model,
                repository: self.repository,
                commit: &self.commit,
                name,
                file,
            }
            .run(observer)?;
        }
        Ok(())
    }

    /// What the repository holds instead of a model, in words.
    fn found(&self) -> String {
        /// Names that are listed before "and so on".
        const LISTED: usize = 8;
        let names: Vec<&str> = match &self.files {
            Some(files) => files.keys().map(String::as_str).collect(),
            None => return "none of them in the cache".to_owned(),
        };
        let shown: Vec<String> = names
            .iter()
            .take(LISTED)
            .map(|name| name.escape_debug().to_string())
            .collect();
        match names.len() {
            0 => "no files".to_owned(),
            count if count > LISTED => format!("{count} files ({}, ...)", shown.join(", ")),
            _ => shown.join(", "),
        }
    }
}
