//! The files of a repository at a commit, as the hub tells and as the cache remembers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{is_commit, is_hexadecimal};

/// Version of the format of a remembered listing, that of `huggingface_hub` 2.4 (`_tree_cache.py`).
const FORMAT_VERSION: u32 = 1;

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryFile {
    /// Bytes.
    pub size: u64,
    /// Digest that names the file in the cache.
    pub digest: Digest,
    /// Name of the file's object in git, which for a large file is that of its pointer.
    blob_id: String,
}

#[cfg(test)]
impl RepositoryFile {
    pub fn of_git(blob_id: &str, size: u64) -> Self {
        file(blob_id.to_owned(), size, None).unwrap()
    }
}

/// What the content of a file must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    /// Of a large file: SHA-256 of its bytes.
    Sha256(String),
    /// Of a file in git itself: SHA-1 of its object.
    GitBlob(String),
}

impl Digest {
    /// Lowercase hexadecimal digits.
    pub fn hexadecimal(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::GitBlob(digits) => digits,
        }
    }
}

/// The files of a repository by path.
pub(crate) type Files = BTreeMap<String, RepositoryFile>;

/// A commit and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub commit: String,
    pub files: Files,
}

/// `GET api/models/OWNER/NAME/revision/REVISION?blobs=true`.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// `trees/COMMIT.json` of a repository in the cache.
#[derive(Deserialize, Serialize)]
struct Remembered {
    format_version: u32,
    files: BTreeMap<String, RememberedFile>,
}

#[derive(Deserialize, Serialize)]
struct RememberedFile {
    size: u64,
    blob_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
}

/// Reads what the hub answers; the error says what was found instead.
pub(crate) fn parse_answer(json: &[u8]) -> Result<Listing, String> {
    let answer: Answer = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if !is_commit(&answer.sha) {
        return Err("a commit that is no SHA-1".to_owned());
    }
    let mut files = Files::new();
    for sibling in answer.siblings {
        let path = sibling.rfilename;
        let missing = |what: &str| format!("{path:?} without {what}");
        let blob_id = sibling.blob_id.ok_or_else(|| missing("its blob"))?;
        let file = match sibling.lfs {
            Some(lfs) => file(blob_id, lfs.size, Some(lfs.sha256)),
            None => file(
                blob_id,
                sibling.size.ok_or_else(|| missing("its size"))?,
                None,
            ),
        };
        let file = file.ok_or_else(|| missing("a digest in hexadecimal"))?;
        files.insert(path, file);
    }
    Ok(Listing {
        commit: answer.sha,
        files,
    })
}

/// Reads a remembered listing; `None` for one of another version and for what is no listing.
pub(crate) fn parse_remembered(json: &[u8]) -> Option<Files> {
    let remembered: Remembered = serde_json::from_slice(json).ok()?;
    if remembered.format_version != FORMAT_VERSION {
        return None;
    }
    remembered
        .files
        .into_iter()
        .map(|(path, entry)| {
            let size = entry.lfs_size.unwrap_or(entry.size);
            Some((path, file(entry.blob_id, size, entry.lfs_sha256)?))
        })
        .collect()
}

/// What is remembered of a listing.
pub(crate) fn remembered(files: &Files) -> Vec<u8> {
    let files = files.iter().map(|(path, file)| {
        let sha256 = match &file.digest {
            Digest::Sha256(digits) => Some(digits.clone()),
            Digest::GitBlob(_) => None,
        };
        let entry = RememberedFile {
            size: file.size,
            blob_id: file.blob_id.clone(),
            lfs_size: sha256.is_some().then_some(file.size),
            lfs_sha256: sha256,
        };
        (path.clone(), entry)
    });
    let remembered = Remembered {
        format_version: FORMAT_VERSION,
        files: files.collect(),
    };
    // A map of texts and numbers is always JSON.
    serde_json::to_vec_pretty(&remembered).unwrap_or_default()
}

/// `None` for a digest that is none: it becomes the name of a file.
fn file(blob_id: String, size: u64, sha256: Option<String>) -> Option<RepositoryFile> {
    let digest = match sha256 {
        Some(sha256) if is_hexadecimal(&sha256, 64) => Digest::Sha256(sha256),
        None if is_commit(&blob_id) => Digest::GitBlob(blob_id.clone()),
        _ => return None,
    };
    Some(RepositoryFile {
        size,
        digest,
        blob_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn answer(sibling: &str) -> Result<Listing, String> {
        parse_answer(format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{sibling}]}}").as_bytes())
    }

    #[test]
    fn an_answer_is_remembered_as_it_is() {
        let large = "a".repeat(64);
        let small = "b".repeat(40);
        let listing = answer(&format!(
            "{{\"rfilename\": \"w.safetensors\", \"size\": 9, \"blobId\": \"{small}\", \
             \"lfs\": {{\"sha256\": \"{large}\", \"size\": 9, \"pointerSize\": 134}}}}, \
             {{\"rfilename\": \"sub/config.json\", \"size\": 2, \"blobId\": \"{small}\"}}"
        ))
        .unwrap();
        assert_eq!(listing.commit, COMMIT);
        assert_eq!(listing.files["w.safetensors"].digest.hexadecimal(), large);
        assert_eq!(listing.files["sub/config.json"].digest.hexadecimal(), small);
        let again = parse_remembered(&remembered(&listing.files)).unwrap();
        assert_eq!(again, listing.files);
    }

    #[test]
    fn what_could_be_no_name_of_a_file_is_refused() {
        for wrong in [
            "{\"rfilename\": \"a\", \"size\": 1}",
            "{\"rfilename\": \"a\", \"size\": 1, \"blobId\": \"../../x\"}",
            "{\"rfilename\": \"a\", \"blobId\": \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}",
            "{\"rfilename\": \"a\", \"size\": 1, \"blobId\": \"\", \"lfs\": {\"sha256\": \"..\", \"size\": 1}}",
        ] {
            assert!(answer(wrong).is_err(), "{wrong}");
        }
        assert!(parse_answer(b"{\"sha\": \"..\", \"siblings\": []}").is_err());
        assert!(parse_answer(b"<html>").is_err());
        assert_eq!(
            parse_remembered(b"{\"format_version\": 2, \"files\": {}}"),
            None
        );
        assert_eq!(parse_remembered(b"not JSON"), None);
    }
}
