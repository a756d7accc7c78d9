//! A repository in the cache that Hugging Face's programs download to.
//!
//! ```text
//! models--OWNER--NAME/refs/main              a commit, in hexadecimal
//! models--OWNER--NAME/snapshots/COMMIT/...   its files, links into blobs/
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::CheckpointError;

const SNAPSHOTS: &str = "snapshots";
const MAIN: &str = "refs/main";

/// The directory that holds the files of a cached repository, with how it was chosen; `None` for any other directory.
///
/// # Errors
///
/// [`CheckpointError`] when there is no snapshot, or several and nothing says which is meant.
pub(super) fn snapshot(path: &Path) -> Result<Option<(PathBuf, String)>, CheckpointError> {
    let snapshots = path.join(SNAPSHOTS);
    if !snapshots.is_dir() {
        return Ok(None);
    }
    let chosen = |commit: &str, by: &str| {
        let decision = format!("snapshot: {commit} of a hub's cache, by {by}");
        Ok(Some((snapshots.join(commit), decision)))
    };
    let main = fs::read_to_string(path.join(MAIN)).unwrap_or_default();
    let main = main.trim();
    // Nothing but a name of a directory right below.
    let is_name = !main.is_empty() && main.chars().all(|c| c.is_ascii_alphanumeric());
    if is_name && snapshots.join(main).is_dir() {
        return chosen(main, MAIN);
    }
    let mut commits: Vec<String> = fs::read_dir(&snapshots)
        .map_err(CheckpointError::io("read", &snapshots))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    commits.sort();
    match commits.as_slice() {
        [commit] => chosen(commit, "being the only one"),
        commits => Err(CheckpointError::unrecognized(
            path,
            format!("one directory in {SNAPSHOTS}, or {MAIN} to name one of several"),
            match commits.len() {
                0 => "none".to_owned(),
                count => format!("{count}"),
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_the_one_of_main_or_the_only_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        assert_eq!(snapshot(path).unwrap(), None);
        let expect = |commit: &str, by: &str| {
            let (found, decision) = snapshot(path).unwrap().unwrap();
            assert_eq!(found, path.join("snapshots").join(commit));
            assert!(decision.contains(by), "{decision}");
        };
        fs::create_dir_all(path.join("snapshots")).unwrap();
        assert!(
            snapshot(path)
                .unwrap_err()
                .to_string()
                .contains("found none")
        );
        fs::create_dir(path.join("snapshots/aa11")).unwrap();
        expect("aa11", "only one");
        fs::create_dir(path.join("snapshots/bb22")).unwrap();
        assert!(snapshot(path).unwrap_err().to_string().contains("found 2"));
        fs::create_dir(path.join("refs")).unwrap();
        fs::write(path.join("refs/main"), "bb22\n").unwrap();
        expect("bb22", "refs/main");
        // What is no name of a snapshot leads nowhere else.
        fs::write(path.join("refs/main"), "../..").unwrap();
        assert!(snapshot(path).is_err());
    }
}
