//! One file from the hub into the cache: received in as many pieces as it takes, checked, and only then given its name.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::Observer;
use crate::cache::Repository;
use crate::client::{Client, header};
use crate::error::HubError;
use crate::listing::{Digest, RepositoryFile};
use crate::name::ModelName;

/// Connections in a row that bring nothing before the download is given up.
const MOST_FAILURES: u32 = 5;
/// Pause after the first of them; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// Time between two looks at a lock that another process has.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes between two looks at whether the user wants to stop.
const CHUNK_BYTES: usize = 256 << 10;

/// A file to fetch.
pub(crate) struct Download<'a> {
    pub client: &'a Client<'a>,
    pub model: &'a ModelName,
    pub repository: &'a Repository,
    pub commit: &'a str,
    pub name: &'a str,
    pub file: &'a RepositoryFile,
}

impl Download<'_> {
    /// Sees to it that the snapshot has the file.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<(), HubError> {
        let (repository, digest) = (self.repository, self.file.digest.hexadecimal());
        if repository.file(self.commit, self.name).is_some() {
            return Ok(());
        }
        let lock = repository.lock(digest)?;
        if !lock.take()? {
            observer.waits_for_another_process(self.name);
            while !lock.take()? {
                if observer.wants_to_stop() {
                    return Err(HubError::Stopped);
                }
                sleep(LOCK_INTERVAL);
            }
        }
        let blob = repository.blob(digest);
        // Who had the lock may have fetched it.
        if !blob.is_file() && repository.file(self.commit, self.name).is_none() {
            self.fetch(&blob, observer)?;
        }
        repository.link(self.commit, self.name, digest)
    }

    fn fetch(&self, blob: &Path, observer: &mut dyn Observer) -> Result<(), HubError> {
        let mut path = blob.as_os_str().to_owned();
        path.push(".incomplete");
        let mut partial = Partial::open(path.into(), self.file)?;
        let resumed = partial.received > 0;
        observer.begins(self.name, partial.received, self.file.size);
        let fetched = self.receive(&mut partial, observer).and_then(|()| {
            match partial.check(self.name) {
                // What an earlier call left may be damaged by a crash of the machine.
                Err(HubError::Digest { .. }) if resumed => {
                    partial.restart()?;
                    self.receive(&mut partial, observer)?;
                    partial.check(self.name)
                }
                checked => checked,
            }
        });
        observer.ends();
        match fetched {
            Err(HubError::Digest { .. }) => {
                let _ = fs::remove_file(&partial.path);
                fetched
            }
            Err(_) => fetched,
            Ok(()) => partial
                .file
                .sync_all()
                .and_then(|()| fs::rename(&partial.path, blob))
                .map_err(HubError::write(blob)),
        }
    }

    /// Receives what is missing, over as many connections as it takes.
    fn receive(
        &self,
        partial: &mut Partial<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), HubError> {
        let size = self.file.size;
        let mut failures = 0;
        while partial.received < size {
            if observer.wants_to_stop() {
                return Err(HubError::Stopped);
            }
            let before = partial.received;
            let source = match self.connect(partial, observer) {
                Ok(()) => io::ErrorKind::UnexpectedEof.into(),
                Err(Interruption::Connection(source)) => source,
                Err(Interruption::Final(error)) => return Err(error),
            };
            if partial.received > before {
                failures = 0;
                continue;
            }
            failures += 1;
            if failures == MOST_FAILURES {
                return Err(HubError::Broken {
                    file: self.name.to_owned(),
                    received: partial.received,
                    size,
                    source,
                });
            }
            sleep(PAUSE * 2_u32.pow(failures - 1));
        }
        Ok(())
    }

    /// One connection.
    fn connect(
        &self,
        partial: &mut Partial<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), Interruption> {
        let response = self
            .client
            .file(self.model, self.commit, self.name, partial.received)
            .map_err(|error| match error {
                HubError::Unreachable { source, .. } => Interruption::Connection(source.into_io()),
                // Overload and restarts of a server pass.
                HubError::Status { status, .. } if status >= 500 || status == 429 => {
                    Interruption::Connection(io::Error::other(error))
                }
                error => Interruption::Final(error),
            })?;
        let range = format!("bytes {}-", partial.received);
        let continues =
            response.status() == 206 && header(&response, "content-range").starts_with(&range);
        if partial.received > 0 && !continues {
            // The server does not give parts, or has no such part: from the beginning.
            partial.restart().map_err(Interruption::Final)?;
            if response.status() == 206 || response.status() == 416 {
                return Ok(());
            }
        }
        let mut body = response.into_body().into_reader();
        let copied = copy(&mut body, partial, self.file.size, observer);
        copied.map_err(|failure| match failure {
            Failure::Reading(source) => Interruption::Connection(source),
            Failure::Writing(source) => Interruption::Final(HubError::write(&partial.path)(source)),
            Failure::Stopped => Interruption::Final(HubError::Stopped),
        })
    }
}

/// Why a connection ended.
enum Interruption {
    /// Another may do better.
    Connection(io::Error),
    /// No other would.
    Final(HubError),
}

/// Why copying ended before the end.
#[derive(Debug)]
enum Failure {
    Reading(io::Error),
    Writing(io::Error),
    Stopped,
}

/// Copies until the source ends or `size` bytes have been received in all.
fn copy(
    source: &mut impl Read,
    target: &mut impl Target,
    size: u64,
    observer: &mut dyn Observer,
) -> Result<(), Failure> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while target.received() < size {
        if observer.wants_to_stop() {
            return Err(Failure::Stopped);
        }
        let room = usize::try_from(size - target.received()).unwrap_or(CHUNK_BYTES);
        let room = room.min(CHUNK_BYTES);
        let count = match source.read(&mut chunk[..room]) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Reading(error)),
        };
        target.append(&chunk[..count]).map_err(Failure::Writing)?;
        observer.received(target.received());
    }
    Ok(())
}

/// What bytes are copied to.
trait Target {
    /// Bytes that are there.
    fn received(&self) -> u64;
    /// Adds some; on failure none of them counts.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A file that is not complete yet, with the digest of what is there.
struct Partial<'a> {
    path: PathBuf,
    file: File,
    received: u64,
    hasher: Hasher,
    expected: &'a RepositoryFile,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier call left, or begins.
    fn open(path: PathBuf, expected: &'a RepositoryFile) -> Result<Self, HubError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(HubError::write(&path))?;
        let mut partial = Self {
            path,
            file,
            received: 0,
            hasher: Hasher::new(expected),
            expected,
        };
        let length = partial
            .file
            .metadata()
            .map_err(HubError::read(&partial.path))?;
        if length.len() > expected.size {
            partial.restart()?;
            return Ok(partial);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match partial.file.read(&mut chunk) {
                Ok(0) => return Ok(partial),
                Ok(count) if partial.received + count as u64 <= expected.size => {
                    partial.hasher.update(&chunk[..count]);
                    partial.received += count as u64;
                }
                // It grew, or is no file: a device has no end.
                Ok(_) => {
                    partial.restart()?;
                    return Ok(partial);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HubError::read(&partial.path)(error)),
            }
        }
    }

    /// Forgets what is there.
    fn restart(&mut self) -> Result<(), HubError> {
        self.received = 0;
        self.hasher = Hasher::new(self.expected);
        let emptied = match self.file.set_len(0) {
            // A device cannot be emptied.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        };
        emptied
            .and_then(|()| self.file.rewind())
            .map_err(HubError::write(&self.path))
    }

    /// Whether it is what the hub lists.
    fn check(&self, name: &str) -> Result<(), HubError> {
        let found = self.hasher.clone().finish();
        let expected = &self.expected.digest;
        if found == expected.hexadecimal() {
            return Ok(());
        }
        Err(HubError::Digest {
            file: name.to_owned(),
            algorithm: match expected {
                Digest::Sha256(_) => "SHA-256",
                Digest::GitBlob(_) => "git's SHA-1",
            },
            expected: expected.hexadecimal().to_owned(),
            found,
        })
    }
}

impl Target for Partial<'_> {
    fn received(&self) -> u64 {
        self.received
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }
}

/// The digest that the hub names a file by.
#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    fn new(file: &RepositoryFile) -> Self {
        match file.digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::GitBlob(_) => {
                let mut hasher = Sha1::new();
                hasher.update(format!("blob {}\0", file.size).as_bytes());
                Self::GitBlob(hasher)
            }
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Lowercase hexadecimal digits.
    fn finish(self) -> String {
        let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hasher) => digits(&hasher.finalize()),
            Self::GitBlob(hasher) => digits(&hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    /// A disk with room for some bytes.
    struct SmallDisk {
        room: usize,
        written: Vec<u8>,
    }

    impl Target for SmallDisk {
        fn received(&self) -> u64 {
            self.written.len() as u64
        }

        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            if self.written.len() + bytes.len() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Bytes that come one chunk at a time.
    fn content() -> Vec<u8> {
        (0..3 * CHUNK_BYTES).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_full_disk_is_told_and_what_was_written_before_goes_on() {
        let content = content();
        let size = content.len() as u64;
        let mut disk = SmallDisk {
            room: 2 * CHUNK_BYTES,
            written: Vec::new(),
        };
        let failure = copy(&mut content.as_slice(), &mut disk, size, &mut Silent).unwrap_err();
        assert!(
            matches!(&failure, Failure::Writing(error) if error.kind() == io::ErrorKind::StorageFull)
        );
        assert_eq!(disk.written, content[..2 * CHUNK_BYTES]);
        disk.room = usize::MAX;
        let mut rest = &content[disk.written.len()..];
        copy(&mut rest, &mut disk, size, &mut Silent).unwrap();
        assert_eq!(disk.written, content);
    }

    #[test]
    fn no_more_is_taken_than_the_hub_says() {
        let mut disk = SmallDisk {
            room: usize::MAX,
            written: Vec::new(),
        };
        copy(&mut io::repeat(1), &mut disk, 1000, &mut Silent).unwrap();
        assert_eq!(disk.written.len(), 1000);
    }

    #[test]
    fn the_digest_of_what_an_earlier_call_left_is_part_of_the_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("partial");
        // SHA-1 of git's object of "hello\n".
        let expected = RepositoryFile::of_git("ce013625030ba8dba906f756967f9e9ca394464a", 6);
        fs::write(&path, "hel").unwrap();
        let mut partial = Partial::open(path.clone(), &expected).unwrap();
        assert_eq!(partial.received, 3);
        partial.append(b"lo\n").unwrap();
        partial.check("greeting").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello\n");
        // What is too long, or wrong, is not.
        fs::write(&path, "hello, world\n").unwrap();
        assert_eq!(Partial::open(path.clone(), &expected).unwrap().received, 0);
        fs::write(&path, "jello\n").unwrap();
        let wrong = Partial::open(path, &expected).unwrap().check("greeting");
        assert!(matches!(wrong, Err(HubError::Digest { .. })));
    }
}
