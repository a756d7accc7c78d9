//! Why a model cannot be had from the hub.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a model cannot be had from the hub.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name has another form.
    #[error("{text}: expected hf-hub:OWNER/NAME or hf-hub:OWNER/NAME@REVISION, found {found}")]
    Name {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        found: &'static str,
    },
    /// The environment says something that cannot be used.
    #[error("the environment variable {variable}: expected {expected}, found {found}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Nothing may be fetched, and the cache does not have it.
    #[error("{model} is not in the cache {}, and HF_HUB_OFFLINE forbids to fetch it", cache.display())]
    Offline {
        /// What was asked for.
        model: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The cache has a part of it, and the rest cannot be fetched.
    #[error("{model} is in the cache in part: {} {} missing", missing.join(", "), if missing.len() == 1 { "is" } else { "are" })]
    Incomplete {
        /// What was asked for.
        model: String,
        /// Names of the files that are not there.
        missing: Vec<String>,
    },
    /// The server does not answer.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server wants to know who asks.
    #[error("{url}: not authorized (401): {}", if *with_token { "the token is not accepted" } else { "no token was sent" })]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// Whether there was a token.
        with_token: bool,
    },
    /// The owner of the repository wants to know who downloads it, or forbids it.
    #[error("{repository}: access denied (403): its owner decides who may have it, and {}", if *with_token { "the token's account may not" } else { "no token was sent" })]
    Gated {
        /// `OWNER/NAME`.
        repository: String,
        /// Whether there was a token.
        with_token: bool,
    },
    /// There is no such repository, or it is hidden from who asks.
    #[error("the hub has no repository {repository}, or it is private")]
    NoRepository {
        /// `OWNER/NAME`.
        repository: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("the repository {repository} has no revision {revision}")]
    NoRevision {
        /// `OWNER/NAME`.
        repository: String,
        /// What was asked for.
        revision: String,
    },
    /// The repository lists a file that it does not give.
    #[error("the repository {repository} has no file {file}, although it lists or names it")]
    NoFile {
        /// `OWNER/NAME`.
        repository: String,
        /// Its path in the repository.
        file: String,
    },
    /// The repository holds no model in a layout that is known.
    #[error("{model}: expected {expected}, found {found}")]
    NoModel {
        /// What was asked for.
        model: String,
        /// Files that make a model.
        expected: &'static str,
        /// Files that are there.
        found: String,
    },
    /// The server answers with an error of its own.
    #[error("{url}: the server answers {status}{}", if message.is_empty() { String::new() } else { format!(" ({message})") })]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it says about it.
        message: String,
    },
    /// The server answers something else than a hub would.
    #[error("{url}: expected {expected}, found {found}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What a hub answers.
        expected: String,
        /// What came.
        found: String,
    },
    /// The connection breaks again and again.
    #[error(
        "the download of {file} broke off at {received} of {size} bytes; what was received is kept"
    )]
    Broken {
        /// Its path in the repository.
        file: String,
        /// Bytes that are there.
        received: u64,
        /// Bytes that there should be.
        size: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was received is not what the hub lists.
    #[error("{file} is damaged: expected {algorithm} {expected}, found {found}")]
    Digest {
        /// Its path in the repository.
        file: String,
        /// Name of the digest.
        algorithm: &'static str,
        /// What the hub says.
        expected: String,
        /// What the received bytes have.
        found: String,
    },
    /// The cache cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cache or the token cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The observer does not accept the model's configuration.
    #[error("{model} was not fetched: its configuration is refused")]
    Refused {
        /// What was asked for.
        model: String,
    },
    /// The user asked to stop.
    #[error("stopped; what was received is kept, and the same command goes on from there")]
    Stopped,
}

impl HubError {
    /// Turns a failure to write into an error, for `map_err`.
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }

    /// Turns a failure to read into an error, for `map_err`.
    pub(crate) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    /// Whether a copy in the cache is as good as one can get now: the hub did not say that there is nothing of that
    /// name.
    pub(crate) fn leaves_the_cache(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Unauthorized { .. }
                | Self::Gated { .. }
                | Self::NoRepository { .. }
                | Self::Status { .. }
                | Self::Answer { .. }
        )
    }
}
