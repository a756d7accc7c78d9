//! What users type: `hf-hub:OWNER/NAME`, with `@REVISION` where another than the newest commit is meant.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;

/// What a model's name begins with.
pub const PREFIX: &str = "hf-hub:";
/// The revision that is meant where none is named.
const DEFAULT_REVISION: &str = "main";
/// Characters of a repository's name, as the hub has it.
const LONGEST_NAME: usize = 96;
/// Characters of a revision: git allows more, but nobody types more.
const LONGEST_REVISION: usize = 250;

/// A repository of the hub at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    owner: String,
    name: String,
    revision: String,
}

impl ModelName {
    /// Whether a command's argument names a model of the hub, well or badly; anything else is a path.
    pub fn recognizes(argument: &str) -> bool {
        argument.starts_with(PREFIX)
    }

    /// `OWNER/NAME`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The part behind the owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The directory of the cache that holds the repository.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}/{}", self.owner, self.name)?;
        if self.revision != DEFAULT_REVISION {
            write!(formatter, "@{}", self.revision)?;
        }
        Ok(())
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    /// Reads `hf-hub:OWNER/NAME` or `hf-hub:OWNER/NAME@REVISION`.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |found: &'static str| HubError::Name {
            text: text.to_owned(),
            found,
        };
        let rest = text.strip_prefix(PREFIX).unwrap_or(text);
        let (repository, revision) = match rest.split_once('@') {
            Some((repository, revision)) => (repository, revision),
            None => (rest, DEFAULT_REVISION),
        };
        let (owner, name) = repository.split_once('/').ok_or_else(|| wrong("no `/`"))?;
        if repository.len() > LONGEST_NAME {
            return Err(wrong("more than 96 characters"));
        }
        if !is_name(owner) || !is_name(name) {
            return Err(wrong("other characters or an empty part"));
        }
        if !is_revision(revision) {
            return Err(wrong("a revision that git does not allow"));
        }
        Ok(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

/// Whether the hub allows it as an owner or a name: it becomes part of a path, and `--` separates the parts there.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let at_end = |c: char| matches!(c, '-' | '.');
    !text.is_empty()
        && text.chars().all(allowed)
        && !text.starts_with(at_end)
        && !text.ends_with(at_end)
        && !text.contains("--")
        && !text.contains("..")
}

/// Whether it can name a branch, a tag or a commit: it becomes a path below `refs/`.
fn is_revision(text: &str) -> bool {
    let part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
        !part.is_empty()
            && part.chars().all(allowed)
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.contains("..")
    };
    text.len() <= LONGEST_REVISION && text.split('/').all(part)
}

/// Whether it is a whole commit, which never changes what it stands for.
pub(crate) fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

/// Whether it consists of so many lowercase hexadecimal digits.
pub(crate) fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_name_and_revision_are_read() {
        let name: ModelName = "hf-hub:laion/CLIP-ViT-B-32@refs/pr/4".parse().unwrap();
        assert_eq!(name.repository(), "laion/CLIP-ViT-B-32");
        assert_eq!(name.revision(), "refs/pr/4");
        assert_eq!(name.folder(), "models--laion--CLIP-ViT-B-32");
        assert_eq!(name.to_string(), "hf-hub:laion/CLIP-ViT-B-32@refs/pr/4");
        let name: ModelName = "hf-hub:timm/resnet50_clip.openai".parse().unwrap();
        assert_eq!(name.revision(), "main");
        assert_eq!(name.to_string(), "hf-hub:timm/resnet50_clip.openai");
    }

    #[test]
    fn nothing_leads_out_of_the_cache() {
        for wrong in [
            "hf-hub:",
            "hf-hub:clip",
            "hf-hub:/clip",
            "hf-hub:laion/",
            "hf-hub:laion/a/b",
            "hf-hub:../clip",
            "hf-hub:laion/..",
            "hf-hub:laion/a--b",
            "hf-hub:laion/a b",
            "hf-hub:laion/a\\b",
            "hf-hub:laion/clip@",
            "hf-hub:laion/clip@../x",
            "hf-hub:laion/clip@/x",
            "hf-hub:laion/clip@a//b",
            "hf-hub:laion/clip@.hidden",
        ] {
            assert!(wrong.parse::<ModelName>().is_err(), "{wrong}");
        }
    }
}
