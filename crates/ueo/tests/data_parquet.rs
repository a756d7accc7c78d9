//! Parquet files as other programs write them, and what is left of them when they are damaged.
//!
//! The files are made by tools/fixtures/parquet.py.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use ueo::data::{
    ClassList, DataError, Dataset, DatasetOptions, LabelChoice, Labelling, LeftOutReason,
    ParquetColumns, SourceKind, Unlabelled, index_parquet_bytes,
};

/// What a row of a fixture holds.
#[derive(Deserialize)]
struct Row {
    label: Option<String>,
    image: Option<String>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/parquet")
        .join(name)
}

fn expected(name: &str) -> Vec<Row> {
    let text = fs::read(fixture("expected.json")).unwrap();
    let mut all: serde_json::Value = serde_json::from_slice(&text).unwrap();
    serde_json::from_value(all[name].take()).unwrap()
}

fn photo_and_name() -> ParquetColumns {
    ParquetColumns {
        image: Some("photo".into()),
        label: Some("name".into()),
    }
}

fn open(name: &str, columns: ParquetColumns) -> Result<Dataset, DataError> {
    let options = DatasetOptions {
        columns,
        ..DatasetOptions::default()
    };
    Dataset::open(&fixture(name), &options)
}

/// Compares labels and bytes, in some order of reading.
fn expect_rows(dataset: &Dataset, file: &str, rows: &[Row], order: &[usize]) {
    for &row in order {
        let id = format!("{file}/{row:08}");
        let index = (0..dataset.len()).find(|&index| dataset.samples.id(index) == id);
        let index = index.unwrap_or_else(|| panic!("{id} is missing"));
        let label = rows[row].label.as_deref();
        assert_eq!(dataset.samples.label(index), label, "{id}");
        match (&rows[row].image, dataset.read_bytes(index)) {
            (Some(image), Ok(bytes)) => assert!(STANDARD.encode(bytes) == *image, "{id}"),
            (None, Err(error)) => {
                assert!(error.to_string().contains("has no bytes"), "{id}: {error}");
            }
            (_, found) => panic!("{id}: {found:?}"),
        }
    }
}

#[test]
fn pages_of_every_kind_are_read_in_any_order() {
    for name in [
        "pages.parquet",
        "snappy.parquet",
        "dictionary.parquet",
        "gzip.parquet",
        "gzip-version-2.parquet",
    ] {
        let dataset = open(name, photo_and_name()).unwrap();
        assert_eq!((dataset.kind, dataset.len()), (SourceKind::Rows, 12));
        let rows = expected(name);
        let forwards: Vec<usize> = (0..12).collect();
        let scattered: Vec<usize> = forwards.iter().map(|row| row * 7 % 12).collect();
        expect_rows(&dataset, name, &rows, &forwards);
        expect_rows(&dataset, name, &rows, &scattered);
    }
}

#[test]
fn a_hugging_face_data_set_is_a_folder_of_files_that_name_their_classes() {
    let dataset = open("hugging-face", ParquetColumns::default()).unwrap();
    assert_eq!(dataset.len(), 8);
    for name in [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ] {
        let rows = expected(&format!("hugging-face/{name}"));
        expect_rows(&dataset, name, &rows, &[3, 0, 1, 2]);
    }
    assert!((1..8).all(|index| dataset.samples.id(index - 1) < dataset.samples.id(index)));
    let classes = ClassList::from_names(vec!["red fox".into(), "cat".into()]);
    let labelling = Labelling::of(&dataset, &classes, LabelChoice::Auto).unwrap();
    assert_eq!(labelling.labelled(), 7);
    assert_eq!(labelling.unmatched[0].label, "dog");
    assert_eq!(labelling.unlabelled(), [(Unlabelled::NoLabelCell, 1)]);
}

#[test]
fn rows_with_a_path_alone_cannot_be_read_and_say_so() {
    let dataset = open("paths.parquet", ParquetColumns::default()).unwrap();
    let rows = expected("paths.parquet");
    expect_rows(&dataset, "paths.parquet", &rows, &[0, 1, 2]);
}

#[test]
fn a_file_of_paths_alone_is_refused_and_one_of_few_labels_is_not() {
    let error = open("only-paths.parquet", ParquetColumns::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("its column image.bytes has") && text.contains("for 100 rows"),
        "{text}"
    );
    let dataset = open("one-label.parquet", photo_and_name()).unwrap();
    assert_eq!(dataset.len(), 1000);
    assert!((0..1000).all(|index| dataset.samples.label(index) == Some("otter")));
    assert_eq!(dataset.read_bytes(999).unwrap(), b"0999");
}

#[test]
fn columns_that_are_not_there_are_told_with_those_that_are() {
    let error = open("no-images.parquet", ParquetColumns::default()).unwrap_err();
    let text = error.to_string();
    let columns = "found the columns text (text), score (number), words.list.element (text list)";
    assert!(
        text.contains("such as `image`") && text.ends_with(columns),
        "{text}"
    );
    let label = ParquetColumns {
        label: Some("photo".into()),
        ..photo_and_name()
    };
    let text = open("pages.parquet", label).unwrap_err().to_string();
    assert!(text.contains("a column `photo` of labels"), "{text}");
    // A usual name is enough.
    let columns = ParquetColumns {
        label: None,
        image: None,
    };
    let dataset = open("pages.parquet", columns).unwrap();
    assert_eq!(dataset.samples.label(0), None);
}

#[test]
fn a_compression_that_is_not_read_is_named() {
    let text = open("zstd.parquet", photo_and_name())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("compressed by ZSTD, which is not read"),
        "{text}"
    );
}

#[test]
fn a_damaged_file_is_left_out_and_the_others_are_read() {
    let place = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture("snappy.parquet")).unwrap();
    fs::write(place.path().join("a.parquet"), &whole[..whole.len() / 2]).unwrap();
    fs::write(place.path().join("b.parquet"), &whole).unwrap();
    fs::write(place.path().join("c.parquet"), b"").unwrap();
    fs::write(place.path().join("README.md"), b"about").unwrap();
    let options = DatasetOptions {
        columns: photo_and_name(),
        ..DatasetOptions::default()
    };
    let dataset = Dataset::open(place.path(), &options).unwrap();
    assert_eq!(dataset.len(), 12);
    let skipped: Vec<String> = dataset
        .skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.id, skipped.reason))
        .collect();
    assert_eq!(
        skipped,
        [
            "a.parquet: expected a Parquet file, but it does not end as one does (is it cut off?)",
            "c.parquet: expected a Parquet file, but it is too short",
        ]
    );
    assert_eq!(dataset.left_out.total(), 1);
    // Beside pictures a table is no data set.
    fs::write(place.path().join("x.png"), b"png").unwrap();
    let dataset = Dataset::open(place.path(), &options).unwrap();
    let tables = dataset.left_out.files(&LeftOutReason::TableBesidePictures);
    assert_eq!((dataset.len(), tables), (1, 3));
}

/// Bytes of the process that are in memory, at most so far.
#[cfg(target_os = "linux")]
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Files with bytes that are changed, cut out or repeated: reading ends, and takes no more memory than a bound.
#[test]
fn mutations_are_read_or_refused() {
    #[cfg(target_os = "linux")]
    let before = peak_kib();
    let mut rng = ChaCha8Rng::seed_from_u64(15);
    let mut below = |limit: usize| (rng.next_u64() % limit as u64) as usize;
    let (mut opened, mut read, mut refused) = (0, 0, 0);
    // What a check inside the library says is told by the error; the test's output need not repeat it.
    std::panic::set_hook(Box::new(|_| {}));
    for name in [
        "snappy.parquet",
        "dictionary.parquet",
        "gzip.parquet",
        "gzip-version-2.parquet",
        "hugging-face/train-00000-of-00002.parquet",
    ] {
        let whole = fs::read(fixture(name)).unwrap();
        let columns = match name.starts_with("hugging") {
            true => ParquetColumns::default(),
            false => photo_and_name(),
        };
        let mut content =
            u32::from_le_bytes(whole[whole.len() - 8..][..4].try_into().unwrap()) as usize;
        content = content.min(whole.len());
        for _ in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..1 + below(4) {
                // Half of the changes go where the sizes are.
                let at = match below(2) {
                    0 => below(bytes.len()),
                    _ => bytes.len() - 1 - below(content.min(bytes.len())),
                };
                match below(8) {
                    0 => drop(bytes.drain(at..(at + 1 + below(9)).min(bytes.len()))),
                    1 => bytes.insert(at, below(256) as u8),
                    2 => bytes[at] = 0xFF,
                    _ => bytes[at] ^= 1 << below(8),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            match index_parquet_bytes(&bytes, &columns) {
                Ok(dataset) => {
                    opened += usize::from(!dataset.is_empty());
                    for index in 0..dataset.len().min(12) {
                        match dataset.read_bytes(index) {
                            Ok(image) => {
                                assert!(image.len() < 1 << 20, "{name}");
                                read += 1;
                            }
                            Err(_) => refused += 1,
                        }
                    }
                }
                Err(DataError::Columns { .. }) => refused += 1,
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(
        opened > 500 && read > 5000 && refused > 100,
        "{opened} {read} {refused}"
    );
    #[cfg(target_os = "linux")]
    {
        let grown = peak_kib() - before;
        assert!(grown < 300 << 10, "{grown} KiB");
    }
}

/// A file with three images and an optional column of some type.
fn with_column<T: DataType>(column: &str, values: &[T::T], are_there: [i16; 3]) -> Vec<u8> {
    let schema = format!("message rows {{ required binary image; optional {column}; }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut rows = file.next_row_group().unwrap();
    let mut column = rows.next_column().unwrap().unwrap();
    let images = ["first", "second", "third"].map(ByteArray::from);
    let typed = column.typed::<ByteArrayType>();
    typed.write_batch(&images, None, None).unwrap();
    column.close().unwrap();
    let mut column = rows.next_column().unwrap().unwrap();
    let typed = column.typed::<T>();
    typed.write_batch(values, Some(&are_there), None).unwrap();
    column.close().unwrap();
    rows.close().unwrap();
    file.close().unwrap();
    bytes
}

#[test]
fn whole_numbers_are_labels_in_every_type() {
    let columns = ParquetColumns::default();
    let files = [
        with_column::<Int32Type>("int32 label", &[2, 0], [1, 0, 1]),
        with_column::<FloatType>("float label", &[2.0, 0.0], [1, 0, 1]),
        with_column::<DoubleType>("double label", &[2.0, f64::NAN, 0.0], [1, 1, 1]),
        with_column::<DoubleType>("double label", &[2.0, 0.5, -0.0], [1, 1, 1]),
    ];
    for bytes in files {
        let dataset = index_parquet_bytes(&bytes, &columns).unwrap();
        let labels: Vec<_> = (0..3).map(|row| dataset.samples.label(row)).collect();
        assert_eq!(labels, [Some("2"), None, Some("0")]);
        assert!(dataset.left_out.is_empty());
    }
}

#[test]
fn a_column_that_is_called_label_and_is_none_is_told() {
    let files = [
        (
            with_column::<BoolType>("boolean label", &[true, false, true], [1; 3]),
            "truth values",
        ),
        (
            with_column::<Int64Type>("int64 label (TIMESTAMP(MILLIS,true))", &[1, 2, 3], [1; 3]),
            "dates or times",
        ),
        (
            with_column::<Int32Type>("int32 label (DATE)", &[1, 2, 3], [1; 3]),
            "dates or times",
        ),
        (
            with_column::<Int32Type>("int32 label (DECIMAL(4,2))", &[1, 2, 3], [1; 3]),
            "decimal fractions",
        ),
    ];
    for (bytes, kind) in files {
        let dataset = index_parquet_bytes(&bytes, &ParquetColumns::default()).unwrap();
        assert!(
            (0..3).all(|row| dataset.samples.label(row).is_none()),
            "{kind}"
        );
        let reason = LeftOutReason::LabelColumn("label".into(), kind);
        assert_eq!(dataset.left_out.files(&reason), 1, "{kind}");
        let count = &dataset.left_out.counts()[0];
        assert!(count.labels_only && count.reason.contains("column `label` holds"));
        let asked = ParquetColumns {
            label: Some("label".into()),
            ..ParquetColumns::default()
        };
        let error = index_parquet_bytes(&bytes, &asked).unwrap_err();
        assert!(
            error.to_string().contains("a column `label` of labels"),
            "{error}"
        );
    }
}
