//! A Parquet file with a column of encoded images, read row by row in any order.
//!
//! Opening reads the file's own table of contents and the labels; the images stay where they are. An image is in a
//! page with some others, and reading it unpacks that page, so the last pages are kept for the images beside it:
//! rows in order unpack every page once. Nothing is copied to a temporary file, as the images of compressed tar archives
//! are: a page can be found without what stands before it.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;

use super::MAX_ENCODED_BYTES;
use super::parquet_pages::{Chunk, Codec, PageInfo, PageKind, check_content, pages_of};

/// Most bytes of unpacked pages that a data set keeps. The page in hand is kept whatever its length.
const KEPT_PAGE_BYTES: usize = 64 << 20;

/// A Parquet file as images are read from it.
#[derive(Debug)]
pub struct ParquetFile {
    source: Source,
    /// Its number among the files of its data set.
    number: usize,
    images: Column,
    /// The pages of those chunks that were read.
    pages: Mutex<HashMap<usize, Arc<[PageInfo]>>>,
    kept: Arc<KeptPages>,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

/// A column of a file: its type and its parts, in the order of the rows.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub description: ColumnDescPtr,
    pub chunks: Vec<Chunk>,
}

/// Unpacked pages of all files of a data set, the oldest first.
#[derive(Debug, Default)]
pub(super) struct KeptPages {
    pages: Mutex<VecDeque<(PageKey, Page)>>,
}

/// A page: number of the file, of the chunk in it, and of the page in that.
type PageKey = (usize, usize, usize);

impl ParquetFile {
    pub(super) fn new(number: usize, source: Source, images: Column, kept: Arc<KeptPages>) -> Self {
        Self {
            source,
            number,
            images,
            pages: Mutex::default(),
            kept,
        }
    }

    /// The encoded image of a row.
    pub(super) fn read(&self, row: u64) -> io::Result<Vec<u8>> {
        // The decoders of the format are large, and a damaged page may take one of them by surprise.
        let read = catch_unwind(AssertUnwindSafe(|| self.value(row)));
        let read = read.unwrap_or_else(|_| Err("a check inside the reader failed".into()));
        let value = read.map_err(|reason| Error::new(ErrorKind::InvalidData, reason))?;
        match value {
            Some(bytes) if bytes.len() as u64 > MAX_ENCODED_BYTES => Err(Error::new(
                ErrorKind::FileTooLarge,
                format!(
                    "the image has {} bytes, more than {MAX_ENCODED_BYTES}",
                    bytes.len()
                ),
            )),
            Some(bytes) => Ok(bytes.data().to_vec()),
            None => Err(Error::new(
                ErrorKind::InvalidData,
                "its row has no bytes (a path alone is not followed)",
            )),
        }
    }

    fn value(&self, row: u64) -> Result<Option<ByteArray>, String> {
        let chunks = &self.images.chunks;
        let number = chunks.partition_point(|chunk| chunk.first_row + chunk.rows <= row);
        let chunk = chunks.get(number).ok_or("there is no such row")?;
        let row = row - chunk.first_row;
        let pages = self.pages(number, chunk)?;
        let at = pages.partition_point(|page| page.first_row + u64::from(page.rows) <= row);
        let page = pages.get(at).ok_or("no page holds this row")?;
        let data = self.page(number, chunk, at, page)?;
        let mut queue = VecDeque::new();
        if needs_dictionary(&data) {
            let first = pages.first();
            let first = first.filter(|page| page.kind == PageKind::Dictionary);
            let first = first.ok_or("a page needs a dictionary, and there is none")?;
            queue.push_back(self.page(number, chunk, 0, first)?);
        }
        queue.push_back(data);
        let mut reader = self.images.reader::<ByteArrayType>(queue);
        let skipped = (row - page.first_row) as usize;
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        reader.skip_records(skipped).map_err(in_words)?;
        let read = reader.read_records(1, Some(&mut levels), None, &mut values);
        match read.map_err(in_words)? {
            (1, ..) => Ok(values.pop()),
            _ => Err("a page holds fewer rows than it announces".into()),
        }
    }

    fn pages(&self, number: usize, chunk: &Chunk) -> Result<Arc<[PageInfo]>, String> {
        let known = || self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pages) = known().get(&number) {
            return Ok(Arc::clone(pages));
        }
        let found: Arc<[PageInfo]> = self.source.pages_of(chunk)?.into();
        known().insert(number, Arc::clone(&found));
        Ok(found)
    }

    fn page(
        &self,
        number: usize,
        chunk: &Chunk,
        at: usize,
        page: &PageInfo,
    ) -> Result<Page, String> {
        let key = (self.number, number, at);
        if let Some(kept) = self.kept.get(key) {
            return Ok(kept);
        }
        let unpacked = self.source.unpack(&self.images.description, chunk, page)?;
        self.kept.insert(key, &unpacked);
        Ok(unpacked)
    }
}

impl KeptPages {
    fn get(&self, key: PageKey) -> Option<Page> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pages.iter().rev().find(|(kept, _)| *kept == key);
        found.map(|(_, page)| page.clone())
    }

    fn insert(&self, key: PageKey, page: &Page) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.iter().any(|(kept, _)| *kept == key) {
            return;
        }
        pages.push_back((key, page.clone()));
        let bytes = |pages: &VecDeque<(PageKey, Page)>| -> usize {
            pages.iter().map(|(_, page)| page.buffer().len()).sum()
        };
        while pages.len() > 1 && bytes(&pages) > KEPT_PAGE_BYTES {
            pages.pop_front();
        }
    }
}

impl Source {
    /// Length in bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(path) => Ok(std::fs::metadata(path)?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Some bytes, fewer where the file ends.
    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = Vec::new();
                file.take(length).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(start..).unwrap_or_default();
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Ok(rest[..length.min(rest.len())].to_vec())
            }
        }
    }

    /// The pages of a chunk.
    pub(super) fn pages_of(&self, chunk: &Chunk) -> Result<Vec<PageInfo>, String> {
        pages_of(chunk, |offset, length| self.read(offset, length))
    }

    /// Reads a page and unpacks it.
    pub(super) fn unpack(
        &self,
        description: &ColumnDescPtr,
        chunk: &Chunk,
        page: &PageInfo,
    ) -> Result<Page, String> {
        let bytes = self.read(page.offset, u64::from(page.length));
        let bytes = bytes.map_err(|error| error.to_string())?;
        if bytes.len() < page.length as usize {
            return Err("the file ends inside a page".into());
        }
        check_content(page, chunk.codec, &bytes)?;
        // To the library this page is all that there is of the column.
        let is_dictionary = page.kind == PageKind::Dictionary;
        let metadata = ColumnChunkMetaData::builder(Arc::clone(description))
            .set_compression(chunk.codec.into())
            .set_num_values(i64::from(page.rows))
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(i64::from(page.uncompressed))
            .set_data_page_offset(0)
            .set_dictionary_page_offset(is_dictionary.then_some(0))
            .build()
            .map_err(in_words)?;
        let file = Arc::new(Bytes::from(bytes));
        let mut reader = SerializedPageReader::new(file, &metadata, page.rows as usize, None)
            .map_err(in_words)?;
        let unpacked = reader.get_next_page().map_err(in_words)?;
        unpacked.ok_or_else(|| "a page is empty".into())
    }
}

impl Column {
    /// A reader of the values of some pages, each with what it needs in front of it.
    pub(super) fn reader<T: DataType>(&self, pages: VecDeque<Page>) -> ColumnReaderImpl<T> {
        ColumnReaderImpl::new(Arc::clone(&self.description), Box::new(Pages(pages)))
    }
}

/// Whether the values of a page are positions in a dictionary.
pub(super) fn needs_dictionary(page: &Page) -> bool {
    matches!(
        page.encoding(),
        Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY
    )
}

/// What the library says, without its prefix.
pub(super) fn in_words(error: ParquetError) -> String {
    match error {
        ParquetError::General(reason) | ParquetError::EOF(reason) => reason,
        other => other.to_string(),
    }
}

impl From<Codec> for parquet::basic::Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::UNCOMPRESSED,
            Codec::Snappy => Self::SNAPPY,
            Codec::Gzip => Self::GZIP(parquet::basic::GzipLevel::default()),
        }
    }
}

/// Unpacked pages, for the library to read values from.
struct Pages(VecDeque<Page>);

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.pop_front().map(Ok)
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        Ok(self.0.pop_front())
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        Ok(self.0.front().map(|page| {
            let is_dict = page.is_dictionary_page();
            let rows = (!is_dict).then_some(page.num_values() as usize);
            PageMetadata {
                num_rows: rows,
                num_levels: rows,
                is_dict,
            }
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.0.pop_front();
        Ok(())
    }
}
