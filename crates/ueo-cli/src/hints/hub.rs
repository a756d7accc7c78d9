//! Models of the hub that cannot be had.

use std::io;

use ueo_hub::HubError;

use super::Hint;

/// How a token is given.
const TOKEN: &str = "make a token at the hub (Settings, Access Tokens) and give it in HF_TOKEN, or log in once with `hf auth login`";

impl Hint for HubError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Name { .. } => "`ueo models` lists names that work",
            Self::Offline { .. } => {
                "unset HF_HUB_OFFLINE once to fetch it, or check HF_HOME and HF_HUB_CACHE if it was fetched before"
            }
            Self::Incomplete { .. } => "unset HF_HUB_OFFLINE once to fetch the rest",
            Self::Unreachable { .. } => {
                "check the connection, HTTPS_PROXY and HF_ENDPOINT; what is in the cache works without"
            }
            Self::Unauthorized {
                with_token: true, ..
            } => {
                "the token has expired or was typed wrongly: check HF_TOKEN, or log in again with `hf auth login`"
            }
            Self::Unauthorized { .. } => TOKEN,
            Self::Gated {
                repository,
                with_token,
            } => {
                let accept = format!("ask for access on the page of {repository} at the hub");
                return Some(match with_token {
                    true => format!("{accept}, with the account of the token"),
                    false => format!("{accept}, then {TOKEN}"),
                });
            }
            Self::NoRepository { .. } => {
                "check the spelling; `ueo models` lists names that work. A private repository needs HF_TOKEN"
            }
            Self::NoRevision { .. } => "name a branch, tag or commit of it, or none for the newest",
            Self::NoFile { .. } => {
                "the repository is not complete; name another revision, or tell its owner"
            }
            Self::NoModel { .. } => {
                "it must hold a CLIP model in open_clip's or transformers' layout; `ueo models` lists names that work"
            }
            Self::Status { .. } => "try again later; what is in the cache works without the hub",
            Self::Answer { .. } => {
                "check HF_ENDPOINT and the proxy: this does not answer as a hub does"
            }
            Self::Broken { .. } | Self::Digest { .. } => {
                "run the same command again; it goes on where it was, and a damaged file is fetched anew"
            }
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space and run the same command again, which goes on where it was, or name a cache on another \
                     disk with HF_HUB_CACHE"
                }
                _ => "check the permissions, or name another cache with HF_HUB_CACHE",
            },
            Self::Read { .. } => "check the permissions",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
