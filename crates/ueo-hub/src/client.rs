//! Requests to the hub: redirects, the token, and what refusals mean.

use std::fs;
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::environment::HubSettings;
use crate::error::HubError;
use crate::listing::{self, Listing};
use crate::name::ModelName;

/// A server that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time to connect.
const CONNECTING: Duration = Duration::from_secs(10);
/// Redirects in a row: the hub has one to its files, or two after a repository was renamed.
const MOST_REDIRECTS: usize = 8;
/// Bytes of a listing: repositories with tens of thousands of files stay below.
const LARGEST_LISTING: u64 = 32 << 20;
/// Characters of a server's own words in a message.
const LONGEST_MESSAGE: usize = 200;

/// Asks the hub.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    agent: Agent,
    settings: &'a HubSettings,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a HubSettings) -> Result<Self, HubError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.certificates {
            let pem = fs::read(path).map_err(HubError::read(path))?;
            let certificates = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            tls = tls.root_certs(RootCerts::from(certificates));
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // The token must not follow a redirect to another server.
            .max_redirects(0)
            .timeout_connect(Some(CONNECTING))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(concat!("ueo/", env!("CARGO_PKG_VERSION")))
            // Sizes and digests are those of the bytes as they are.
            .accept_encoding("identity")
            .build()
            .new_agent();
        Ok(Self { agent, settings })
    }

    /// The files of a model's revision.
    pub fn listing(&self, model: &ModelName) -> Result<Listing, HubError> {
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.settings.endpoint,
            model.repository(),
            model.revision().replace('/', "%2F")
        );
        let mut response = self.get(&url, model, "", 0)?;
        let body = response
            .body_mut()
            .with_config()
            .limit(LARGEST_LISTING)
            .read_to_vec();
        let body = body.map_err(|source| unreachable(&url, source))?;
        listing::parse_answer(&body).map_err(|found| HubError::Answer {
            url,
            expected: "a list of the repository's files".to_owned(),
            found,
        })
    }

    /// A file's bytes from `offset` on. The answer is 200 with the whole file, 206 with the rest, or 416 where there is
    /// no rest.
    pub fn file(
        &self,
        model: &ModelName,
        commit: &str,
        file: &str,
        offset: u64,
    ) -> Result<Response<Body>, HubError> {
        let url = format!(
            "{}/{}/resolve/{commit}/{file}",
            self.settings.endpoint,
            model.repository()
        );
        self.get(&url, model, file, offset)
    }

    fn get(
        &self,
        url: &str,
        model: &ModelName,
        file: &str,
        offset: u64,
    ) -> Result<Response<Body>, HubError> {
        let home = origin(&self.settings.endpoint);
        let mut address = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(&address);
            if let Some(token) = &self.settings.token
                && home.is_some()
                && origin(&address) == home
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if offset > 0 {
                request = request.header("range", format!("bytes={offset}-"));
            }
            let response = request.call().map_err(|source| unreachable(url, source))?;
            let status = response.status();
            if status.is_redirection() {
                let location = header(&response, "location");
                address = redirected(&address, location).ok_or_else(|| HubError::Answer {
                    url: url.to_owned(),
                    expected: "a redirect to an address".to_owned(),
                    found: format!("{location:?}"),
                })?;
                continue;
            }
            if status.is_success() || (status == 416 && offset > 0) {
                return Ok(response);
            }
            return Err(self.refusal(url, model, file, &response));
        }
        Err(HubError::Answer {
            url: url.to_owned(),
            expected: "a file".to_owned(),
            found: format!("more than {MOST_REDIRECTS} redirects"),
        })
    }

    /// What a refusal means; the hub says it in a header, other servers by the status alone.
    fn refusal(
        &self,
        url: &str,
        model: &ModelName,
        file: &str,
        response: &Response<Body>,
    ) -> HubError {
        let repository = model.repository();
        let with_token = self.settings.token.is_some();
        let status = response.status().as_u16();
        match (header(response, "x-error-code"), status) {
            ("GatedRepo", _) | ("", 403) => HubError::Gated {
                repository,
                with_token,
            },
            // The hub answers 401 to everybody else's private or missing repository where no token came.
            ("RepoNotFound", _) => HubError::NoRepository { repository },
            ("RevisionNotFound", _) => HubError::NoRevision {
                repository,
                revision: model.revision().to_owned(),
            },
            ("EntryNotFound", _) => HubError::NoFile {
                repository,
                file: file.to_owned(),
            },
            (_, 401) => HubError::Unauthorized {
                url: url.to_owned(),
                with_token,
            },
            (_, 404) if file.is_empty() => HubError::NoRepository { repository },
            (_, 404) => HubError::NoFile {
                repository,
                file: file.to_owned(),
            },
            _ => HubError::Status {
                url: url.to_owned(),
                status,
                message: header(response, "x-error-message")
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(LONGEST_MESSAGE)
                    .collect(),
            },
        }
    }
}

fn unreachable(url: &str, source: ureq::Error) -> HubError {
    HubError::Unreachable {
        url: url.to_owned(),
        source: Box::new(source),
    }
}

/// A header's text, empty where there is none.
pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Scheme, host and port: who gets the token.
fn origin(address: &str) -> Option<(String, String, Option<u16>)> {
    let address: Uri = address.parse().ok()?;
    let scheme = address.scheme_str()?.to_lowercase();
    let port = address.port_u16().or(match scheme.as_str() {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    });
    Some((scheme, address.host()?.to_lowercase(), port))
}

/// Where a redirect leads; a path alone stays on the same server.
fn redirected(from: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    if location.starts_with('/') && !location.starts_with("//") {
        let (scheme, authority) = (from.scheme_str()?, from.authority()?);
        return Some(format!("{scheme}://{authority}{location}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_or_name_another_server() {
        let from = "https://hub.example:8443/a/b?c";
        let to = |location| redirected(from, location);
        assert_eq!(to("/x/y").unwrap(), "https://hub.example:8443/x/y");
        assert_eq!(
            to("https://cdn.example/x").unwrap(),
            "https://cdn.example/x"
        );
        for wrong in ["", "x", "//cdn.example/x", "file:///etc/passwd"] {
            assert_eq!(to(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_token_is_for_one_server() {
        let home = origin("https://hub.example/mirror");
        assert_eq!(origin("https://HUB.example:443/x"), home);
        for other in [
            "http://hub.example/x",
            "https://hub.example:8443/x",
            "https://hub.example.evil/x",
            "https://hub.example@evil/x",
        ] {
            assert_ne!(origin(other), home, "{other}");
        }
    }
}
