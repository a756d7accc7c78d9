//! Where the cache and the hub are, as the environment variables of the Python client say.
//!
//! Names and meanings are those of `huggingface_hub` 2.4 (`constants.py`, `utils/_auth.py`). A variable that is set to
//! nothing counts as not set.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::HubError;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where to look and whom to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// Address of the hub, without a `/` at its end.
    pub endpoint: String,
    /// Directory of the cache.
    pub cache: PathBuf,
    /// Sent to the hub, and to nobody else.
    pub token: Option<String>,
    /// Whether nothing may be fetched.
    pub offline: bool,
    /// File of certificates to trust in place of the built-in ones.
    pub certificates: Option<PathBuf>,
}

/// Says nothing about the token but whether there is one.
impl std::fmt::Debug for HubSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("certificates", &self.certificates)
            .finish()
    }
}

impl HubSettings {
    /// What the environment of this process says.
    ///
    /// # Errors
    ///
    /// [`HubError::Environment`] and, of the file that holds the token, [`HubError::Read`].
    pub fn from_environment() -> Result<Self, HubError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// What given variables say.
    ///
    /// # Errors
    ///
    /// As [`Self::from_environment`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let is_true = |name: &str| {
            let value = variable(name).unwrap_or_default().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let path = |name: &str| variable(name).map(|value| expanded(&value, &variable));
        let home = || match path("HF_HOME") {
            Some(home) => home,
            None => path("XDG_CACHE_HOME")
                .unwrap_or_else(|| user_home(&variable).join(".cache"))
                .join("huggingface"),
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(HubError::Environment {
                variable: "HF_ENDPOINT",
                expected: "an address that begins with https:// or http://",
                found: endpoint,
            });
        }
        let in_environment = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let token = match in_environment.and_then(|token| clean(&token)) {
            _ if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(token) => Some(token),
            None => token_of_file(&path("HF_TOKEN_PATH").unwrap_or_else(|| home().join("token")))?,
        };
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        Ok(Self {
            endpoint,
            cache: cache.unwrap_or_else(|| home().join("hub")),
            token,
            offline: match variable("HF_HUB_OFFLINE") {
                Some(_) => is_true("HF_HUB_OFFLINE"),
                None => is_true("TRANSFORMERS_OFFLINE"),
            },
            certificates: path("SSL_CERT_FILE"),
        })
    }
}

fn token_of_file(path: &Path) -> Result<Option<String>, HubError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(clean(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HubError::read(path)(error)),
    }
}

/// Without line breaks and blanks around it, which editors and shells leave there.
fn clean(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

fn user_home(variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let home = variable("HOME").map(PathBuf::from);
    home.or_else(std::env::home_dir).unwrap_or_default()
}

/// A path with `~`, `$NAME` and `${NAME}` replaced; a variable that is not set stays as it is written.
fn expanded(text: &str, variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let mut path = String::new();
    let mut rest = text;
    if let Some(below) = text.strip_prefix('~')
        && (below.is_empty() || below.starts_with('/'))
    {
        path += &user_home(variable).to_string_lossy();
        rest = below;
    }
    while let Some(at) = rest.find('$') {
        let behind = &rest[at + 1..];
        let (name, length) = match behind.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some((name, _)) => (name, name.len() + 2),
                None => ("", 0),
            },
            None => {
                let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = &behind[..end.unwrap_or(behind.len())];
                (name, name.len())
            }
        };
        path += &rest[..at];
        path += &variable(name).unwrap_or_else(|| rest[at..at + 1 + length].to_owned());
        rest = &behind[length..];
    }
    path += rest;
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::from_variables(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .unwrap()
    }

    #[test]
    fn the_cache_is_where_the_python_client_has_it() {
        let cache = |variables: &[(&str, &str)]| {
            let all = [&[("HOME", "/home/me")], variables].concat();
            settings(&all).cache
        };
        assert_eq!(cache(&[]), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "")]), cache(&[]));
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/var/cache")]),
            Path::new("/var/cache/huggingface/hub")
        );
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), Path::new("/home/me/hf/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/a"), ("HUGGINGFACE_HUB_CACHE", "/b")]),
            Path::new("/b")
        );
        assert_eq!(
            cache(&[
                ("HUGGINGFACE_HUB_CACHE", "/b"),
                ("HF_HUB_CACHE", "${SCRATCH}/c-$USER"),
                ("SCRATCH", "/scratch"),
            ]),
            Path::new("/scratch/c-$USER")
        );
    }

    #[test]
    fn the_token_is_that_of_the_environment_or_of_the_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", path)]).token, None);
        fs::write(home.path().join("token"), " of-file\r\n").unwrap();
        let of_file = settings(&[("HF_HOME", path)]);
        assert_eq!(of_file.token.as_deref(), Some("of-file"));
        assert!(!format!("{of_file:?}").contains("of-file"));
        let named = settings(&[("HF_HOME", path), ("HF_TOKEN", "named\n")]);
        assert_eq!(named.token.as_deref(), Some("named"));
        let disabled = settings(&[("HF_HOME", path), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert_eq!(disabled.token, None);
        fs::write(home.path().join("other"), "other").unwrap();
        let elsewhere = format!("{path}/other");
        let elsewhere = settings(&[("HF_HOME", path), ("HF_TOKEN_PATH", &elsewhere)]);
        assert_eq!(elsewhere.token.as_deref(), Some("other"));
    }

    #[test]
    fn endpoint_and_offline_are_read() {
        assert!(settings(&[("HF_HUB_OFFLINE", "yes")]).offline);
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!settings(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline);
        let mirror = settings(&[("HF_ENDPOINT", "https://mirror.example/hf/")]);
        assert_eq!(mirror.endpoint, "https://mirror.example/hf");
        let wrong = HubSettings::from_variables(|name| {
            (name == "HF_ENDPOINT").then(|| "mirror".to_owned())
        });
        assert!(matches!(wrong, Err(HubError::Environment { .. })));
    }
}
