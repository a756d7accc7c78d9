//! The entries of a tar archive, one after the other, within bounds: no header makes this reader keep, or unpack, more
//! than a limit that does not depend on the file.
//!
//! The `tar` crate parses the headers. Its iterator over entries is not used, because it reads long names, attributes and
//! sparse maps of any length into memory.

use std::io::{self, BufRead, BufReader, Error, Read, Seek};

use tar::{EntryType, Header};

/// Length of a tar block, in bytes.
pub(super) const BLOCK_BYTES: usize = 512;

/// Longest entry that describes the next one (a long name, or POSIX attributes), in bytes.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 10;

/// Longest name of an entry, in bytes: the longest path of common systems.
const MAX_NAME_BYTES: usize = 4 << 10;

/// Most entries of an archive, those that describe others included.
const MAX_ENTRIES: usize = 4 << 20;

/// Most blocks that go on with the map of a sparse entry.
const MAX_MAP_BLOCKS: usize = 1 << 10;

/// Zero blocks that may follow the end of an archive: `tar` fills up to 20 blocks by default, and more on request.
const MAX_END_BLOCKS: usize = 2 << 10;

/// Where an archive comes from.
pub(super) trait ArchiveSource: Read {
    /// Passes over some bytes; returns how many there were.
    fn skip(&mut self, bytes: u64) -> io::Result<u64>;

    /// Bytes that are left, where that is known without reading them.
    fn remaining(&self) -> Option<u64>;
}

/// A file, or bytes in memory, that can be read at any place.
pub(super) struct PlainSource<R> {
    reader: BufReader<R>,
    remaining: u64,
}

impl<R: Read + Seek> PlainSource<R> {
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self {
            reader: BufReader::new(reader),
            remaining: length,
        }
    }
}

impl<R: Read> Read for PlainSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.remaining = self.remaining.saturating_sub(read as u64);
        Ok(read)
    }
}

impl<R: Read + Seek> ArchiveSource for PlainSource<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        let bytes = bytes.min(self.remaining);
        // The length of a file fits a signed number on every system.
        self.reader.seek_relative(bytes as i64)?;
        self.remaining -= bytes;
        Ok(bytes)
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.remaining)
    }
}

/// A stream that can only be read from its start, and may not grow without end.
pub(super) struct StreamSource<R> {
    reader: R,
    allowance: u64,
}

impl<R: BufRead> StreamSource<R> {
    /// `allowance` is the most bytes that the stream may have.
    pub(super) fn new(reader: R, allowance: u64) -> Self {
        Self { reader, allowance }
    }
}

impl<R: Read> Read for StreamSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.allowance = self.allowance.checked_sub(read as u64).ok_or_else(|| {
            Error::other("it unpacks to more than a hundred times its length, which images do not")
        })?;
        Ok(read)
    }
}

impl<R: Read> ArchiveSource for StreamSource<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<u64> {
        io::copy(&mut self.take(bytes), &mut io::sink())
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    /// A file whose bytes are stored in one piece.
    File,
    /// A file that is stored with holes.
    Sparse,
    /// A folder.
    Folder,
    /// A symbolic or hard link.
    Link,
    /// Anything else.
    Special,
}

/// An entry that stands for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The name as stored.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Offset of its bytes in the archive.
    pub offset: u64,
    /// Length of its bytes.
    pub length: u64,
}

/// Reads entries.
pub(super) struct TarReader<S> {
    source: S,
    /// Bytes that were read or passed over.
    position: u64,
    /// Bytes of the current entry that were not read, and the rest of its last block.
    unread: u64,
    padding: u64,
    entries: usize,
    /// The name of the current entry, for messages.
    inside: String,
}

/// What the entries before an entry say about it.
#[derive(Default)]
struct Description {
    long_name: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl<S: ArchiveSource> TarReader<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            position: 0,
            unread: 0,
            padding: 0,
            entries: 0,
            inside: String::new(),
        }
    }

    /// The next entry; `None` at the end of the archive.
    ///
    /// # Errors
    /// Why the rest of the archive cannot be read.
    pub(super) fn next_member(&mut self) -> Result<Option<Member>, String> {
        let mut description = Description::default();
        let mut is_described = false;
        loop {
            self.leave_entry()?;
            let Some(block) = self.header_block()? else {
                return if is_described {
                    Err("the archive ends after the description of an entry".into())
                } else {
                    Ok(None)
                };
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(format!("it has more than {MAX_ENTRIES} entries"));
            }
            let header = Header::from_byte_slice(&block);
            let stored = header.entry_size().map_err(|error| error.to_string())?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let mut name = self.describing(stored)?;
                    let end = name.iter().position(|&byte| byte == 0);
                    name.truncate(end.unwrap_or(name.len()));
                    description.long_name = Some(name);
                }
                EntryType::GNULongLink | EntryType::XGlobalHeader => {
                    self.describing(stored)?;
                    continue;
                }
                EntryType::XHeader => {
                    let attributes = self.describing(stored)?;
                    description.take_attributes(&attributes)?;
                }
                kind => return self.member(header, kind, stored, description).map(Some),
            }
            is_described = true;
        }
    }

    /// Up to `limit` bytes of the current entry that were not read yet.
    pub(super) fn read(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.content().take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of the current entry that were not read yet.
    pub(super) fn content(&mut self) -> Content<'_, S> {
        Content { reader: self }
    }

    /// Bytes that are left of the archive, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.source.remaining()
    }

    /// Whether something other than zeros follows the archive's end within the blocks that a writer may fill.
    pub(super) fn has_more_after_end(&mut self) -> bool {
        for _ in 0..MAX_END_BLOCKS {
            match self.block() {
                Ok(Some(block)) if block.iter().all(|&byte| byte == 0) => {}
                Ok(Some(_)) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
        false
    }

    fn member(
        &mut self,
        header: &Header,
        kind: EntryType,
        stored: u64,
        description: Description,
    ) -> Result<Member, String> {
        let has_more_map =
            kind == EntryType::GNUSparse && header.as_gnu().is_some_and(|gnu| gnu.is_extended());
        if has_more_map {
            self.pass_sparse_map()?;
        }
        let name = description
            .path
            .or(description.long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        if name.len() > MAX_NAME_BYTES {
            return Err(format!(
                "an entry's name has {} bytes, more than the limit of {MAX_NAME_BYTES}",
                name.len()
            ));
        }
        let kind = match kind {
            _ if description.is_sparse => MemberKind::Sparse,
            EntryType::GNUSparse => MemberKind::Sparse,
            // Archives from before 1988 mark folders by a slash alone.
            EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => {
                MemberKind::Folder
            }
            EntryType::Regular | EntryType::Continuous => MemberKind::File,
            EntryType::Directory => MemberKind::Folder,
            EntryType::Symlink | EntryType::Link => MemberKind::Link,
            _ => MemberKind::Special,
        };
        // Links and the like have no bytes, whatever their header says; GNU tar and Python read them so.
        let length = match kind {
            MemberKind::Link => 0,
            _ => description.size.unwrap_or(stored),
        };
        self.enter(length)?;
        self.inside = super::dataset::text_of_bytes(&name);
        Ok(Member {
            name,
            kind,
            offset: self.position,
            length,
        })
    }

    /// Begins an entry of this many bytes.
    fn enter(&mut self, length: u64) -> Result<(), String> {
        let block = BLOCK_BYTES as u64;
        let padding = (block - length % block) % block;
        let end = length
            .checked_add(padding)
            .and_then(|whole| self.position.checked_add(whole));
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(format!("an entry claims {length} bytes"));
        }
        (self.unread, self.padding) = (length, padding);
        Ok(())
    }

    /// Passes over what was not read of the current entry.
    fn leave_entry(&mut self) -> Result<(), String> {
        let unread = std::mem::take(&mut self.unread);
        if unread > 0 {
            let skipped = self.skip(unread)?;
            if skipped < unread {
                return Err(format!(
                    "the archive ends inside {}",
                    crate::quote::quotation(&self.inside)
                ));
            }
        }
        // The last block of a cut archive may be short; nothing is lost with it.
        let padding = std::mem::take(&mut self.padding);
        self.skip(padding).map(|_| ())
    }

    fn skip(&mut self, bytes: u64) -> Result<u64, String> {
        let skipped = self.source.skip(bytes).map_err(|error| error.to_string())?;
        self.position += skipped;
        Ok(skipped)
    }

    /// The bytes of an entry that describes the next one.
    fn describing(&mut self, length: u64) -> Result<Vec<u8>, String> {
        if length > MAX_DESCRIPTION_BYTES {
            return Err(format!(
                "an entry's long name or attributes claim {length} bytes, more than the limit of {MAX_DESCRIPTION_BYTES}"
            ));
        }
        self.enter(length)?;
        let bytes = self.read(length).map_err(|error| error.to_string())?;
        if (bytes.len() as u64) < length {
            return Err("the archive ends inside the description of an entry".into());
        }
        Ok(bytes)
    }

    fn pass_sparse_map(&mut self) -> Result<(), String> {
        for _ in 0..MAX_MAP_BLOCKS {
            let block = self
                .block()?
                .ok_or("the archive ends inside the map of a sparse entry")?;
            let is_extended = block[504] == 1;
            if !is_extended {
                return Ok(());
            }
        }
        Err(format!(
            "the map of a sparse entry has more than {MAX_MAP_BLOCKS} blocks"
        ))
    }

    /// The next header; `None` at the end of the archive.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, String> {
        let start = self.position;
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        let stated = header.cksum().ok();
        // The checksum's own eight bytes count as spaces.
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
            .sum();
        if stated != Some(sum) {
            return Err(format!("the header at byte {start} has a wrong checksum"));
        }
        Ok(Some(block))
    }

    /// A block; `None` at the end of the file.
    fn block(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>, String> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err("it ends inside a block".into()),
                Ok(read) => {
                    filled += read;
                    self.position += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(Some(block))
    }
}

/// The bytes of an entry.
pub(super) struct Content<'a, S> {
    reader: &'a mut TarReader<S>,
}

impl<S: ArchiveSource> Read for Content<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.reader;
        let wanted = usize::try_from(reader.unread)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = reader.source.read(&mut buffer[..wanted])?;
        reader.unread -= read as u64;
        reader.position += read as u64;
        Ok(read)
    }
}

impl Description {
    /// Takes what matters from POSIX attributes: records `LENGTH KEY=VALUE\n`, where the length counts the whole record.
    fn take_attributes(&mut self, mut attributes: &[u8]) -> Result<(), String> {
        let wrong = || "an entry's attributes are no `LENGTH KEY=VALUE` records".to_owned();
        while !attributes.is_empty() {
            let space = attributes
                .iter()
                .position(|&byte| byte == b' ')
                .ok_or_else(wrong)?;
            let length: usize = std::str::from_utf8(&attributes[..space])
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(wrong)?;
            let record = attributes.get(space + 1..length).ok_or_else(wrong)?;
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value)
                        .ok()
                        .and_then(|digits| digits.parse().ok());
                    self.size = Some(size.ok_or_else(wrong)?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
            attributes = &attributes[length..];
        }
        Ok(())
    }
}
