//! The images of a data set in memory: 32 bytes each beside their names, so that lists of ten million images fit.
//!
//! Names lie one after the other in a single text. Labels, archives and folders are kept once and numbered. Where the
//! bytes of a file are is a function of its name; only of odd names the path is kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::interner::Interner;
use super::{Location, ParquetFile, Sample, Spool};

/// Stands for no label.
const NO_LABEL: u32 = u32::MAX;

/// Images with their labels and the places of their bytes.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    names: String,
    entries: Vec<Entry>,
    labels: Interner,
    stores: Vec<Store>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name_start: u64,
    /// Offset in an archive, or row of a file of rows; of an entry of a list, until the list is complete, its line.
    offset: u64,
    name_length: u32,
    label: u32,
    store: u32,
    length: u32,
}

/// Where the bytes of many images are, or those of one that has an odd name.
#[derive(Clone, Debug)]
pub(super) enum Store {
    /// Files below a folder, by name.
    Tree(PathBuf),
    /// One file.
    File(PathBuf),
    /// Decoded images in memory.
    Memory,
    /// An uncompressed tar archive.
    Tar(PathBuf),
    /// What compressed archives were unpacked to.
    Spool(Arc<Spool>),
    /// Rows of a Parquet file.
    Rows(Arc<ParquetFile>),
}

/// The number of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreId(u32);

/// An image that is about to be added.
pub(super) struct NewSample<'a> {
    pub id: &'a str,
    pub label: Option<&'a str>,
    pub store: StoreId,
    pub offset: u64,
    pub length: u64,
}

impl Samples {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The image with this index; `None` behind the last.
    pub fn get(&self, index: usize) -> Option<Sample<'_>> {
        self.entries.get(index).map(|entry| self.sample(entry))
    }

    /// The name of an image.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn id(&self, index: usize) -> &str {
        self.name(&self.entries[index])
    }

    /// The label of an image, as the data set spells it.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn label(&self, index: usize) -> Option<&str> {
        self.label_of(&self.entries[index])
    }

    /// The images in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Sample<'_>> {
        self.entries.iter().map(|entry| self.sample(entry))
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name_start as usize;
        &self.names[start..start + entry.name_length as usize]
    }

    fn sample(&self, entry: &Entry) -> Sample<'_> {
        let id = self.name(entry);
        let (offset, length) = (entry.offset, u64::from(entry.length));
        let location = match &self.stores[entry.store as usize] {
            Store::Tree(root) => Location::File(root.join(id)),
            Store::File(path) => Location::File(path.clone()),
            Store::Memory => Location::Memory,
            Store::Tar(archive) => Location::TarMember {
                archive,
                offset,
                length,
            },
            Store::Spool(spool) => Location::Spooled {
                spool,
                offset,
                length,
            },
            Store::Rows(file) => Location::Row { file, row: offset },
        };
        Sample {
            id,
            label: self.label_of(entry),
            location,
        }
    }

    fn label_of(&self, entry: &Entry) -> Option<&str> {
        (entry.label != NO_LABEL).then(|| self.labels.text(entry.label))
    }

    /// Adds a place in which images are.
    pub(super) fn add_store(&mut self, store: Store) -> StoreId {
        self.stores.push(store);
        StoreId((self.stores.len() - 1) as u32)
    }

    /// Adds an image.
    pub(super) fn push(&mut self, sample: &NewSample<'_>) {
        let name_start = self.names.len() as u64;
        self.names.push_str(sample.id);
        let label = sample.label.map(|label| self.labels.number(label));
        self.entries.push(Entry {
            name_start,
            offset: sample.offset,
            // No path of a system, and no name that is read, has this many bytes.
            name_length: u32::try_from(sample.id.len()).unwrap_or(u32::MAX),
            label: label.unwrap_or(NO_LABEL),
            store: sample.store.0,
            // Longer images are never taken.
            length: u32::try_from(sample.length).unwrap_or(u32::MAX),
        });
    }

    /// Adds an image file; `tree` is the store of the folder that its name is relative to.
    pub(super) fn push_file(
        &mut self,
        id: &str,
        label: Option<&str>,
        tree: StoreId,
        path: &Path,
        line: u64,
    ) {
        let store = match &self.stores[tree.0 as usize] {
            Store::Tree(root) if is_below(root, id, path) => tree,
            // A name that is not Unicode, for instance.
            _ => self.add_store(Store::File(path.to_path_buf())),
        };
        self.push(&NewSample {
            id,
            label,
            store,
            offset: line,
            length: 0,
        });
    }

    /// Gives an image a label in the place of its own.
    pub(super) fn set_label(&mut self, index: usize, label: &str) {
        self.entries[index].label = self.labels.number(label);
    }

    /// The line that an image of a list came from.
    pub(super) fn line(&self, index: usize) -> u64 {
        self.entries[index].offset
    }

    /// Puts the images into the order of their names' bytes; those of one name keep their order.
    pub(super) fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        // Folders and archives often come in order, and sorting what is sorted costs nothing.
        entries.sort_by(|a, b| self.name(a).as_bytes().cmp(self.name(b).as_bytes()));
        self.entries = entries;
    }

    /// Keeps the images of which `keep` says so, by index.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut index = 0;
        self.entries.retain(|_| {
            index += 1;
            keep(index - 1)
        });
    }

    /// Gives back memory that was taken in advance.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }
}

/// Whether a name leads to a file from a folder, be it written with or without `./`.
fn is_below(root: &Path, id: &str, path: &Path) -> bool {
    root.join(id) == path || root.join(".").join(id) == path
}

impl<'a> IntoIterator for &'a Samples {
    type Item = Sample<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        Iter {
            samples: self,
            next: 0,
        }
    }
}

/// The images of a data set in order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    samples: &'a Samples,
    next: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Sample<'a>;

    fn next(&mut self) -> Option<Sample<'a>> {
        let sample = self.samples.get(self.next)?;
        self.next += 1;
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_takes_32_bytes_beside_its_name() {
        assert_eq!(size_of::<Entry>(), 32);
    }
}
