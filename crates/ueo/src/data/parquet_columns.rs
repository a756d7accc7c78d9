//! Which columns of a Parquet file hold the images and their labels, and what the labels are called.
//!
//! Hugging Face data sets describe their columns under the key `huggingface` of the file: which are pictures, and the
//! names of a `ClassLabel`. Other files are told by the names and types of their columns.

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::class_name::fold;

/// Key of the description that Hugging Face data sets carry.
const DESCRIPTION: &str = "huggingface";

/// Longest description, in bytes: the names of some hundred thousand classes.
const MAX_DESCRIPTION_BYTES: usize = 16 << 20;

/// Column names that mean the image, in the order of their precedence, folded.
const IMAGE_COLUMNS: [&str; 10] = [
    "image",
    "img",
    "picture",
    "photo",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image bytes",
    "content",
];

/// Column names that mean the label.
const LABEL_COLUMNS: [&str; 10] = [
    "label",
    "labels",
    "class",
    "class name",
    "category",
    "target",
    "cls",
    "label name",
    "class id",
    "fine label",
];

/// Columns that an error lists.
const LISTED: usize = 20;

/// Columns of Parquet files, where they are not the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParquetColumns {
    /// The column of the images: encoded bytes, or a structure with such a field `bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The column of the labels: whole numbers or texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl ParquetColumns {
    /// Whether nothing was chosen, which files leave out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The columns of one file.
#[derive(Clone, Debug)]
pub(super) struct FoundColumns {
    /// Position of the column of encoded bytes among all columns.
    pub image: usize,
    pub label: Option<LabelColumn>,
    /// Where there is none, a column with a usual name that cannot be one, and what it holds.
    pub no_label: Option<(String, &'static str)>,
}

/// A column of labels.
#[derive(Clone, Debug)]
pub(super) struct LabelColumn {
    pub position: usize,
    /// The names of the numbers.
    pub names: Vec<String>,
}

/// What is wrong with the columns of a file: what was looked for, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongColumns {
    pub expected: String,
    pub found: Vec<String>,
}

/// What a file's own description says of its columns.
#[derive(Default)]
struct Features {
    image: Option<String>,
    label: Option<String>,
    names: serde_json::Map<String, Value>,
}

/// Finds the columns of a file.
pub(super) fn find(
    metadata: &ParquetMetaData,
    asked: &ParquetColumns,
) -> Result<FoundColumns, WrongColumns> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let features = Features::of(metadata.file_metadata());
    let wrong = |expected: String| WrongColumns {
        expected,
        found: columns.iter().map(|column| in_words(column)).collect(),
    };
    let image = match &asked.image {
        Some(name) => image_named(columns, name).ok_or_else(|| {
            wrong(format!(
                "a column `{name}` of encoded images (binary, or a structure with a binary field `bytes`)"
            ))
        })?,
        None => usual_image(columns, &features).ok_or_else(|| {
            wrong("a column of encoded images, such as `image` (binary, or a structure with a binary field `bytes`)".into())
        })?,
    };
    let label = match &asked.label {
        Some(name) => Some(label_named(columns, name).ok_or_else(|| {
            wrong(format!(
                "a column `{name}` of labels (whole numbers or texts)"
            ))
        })?),
        None => usual_label(columns, &features),
    };
    let label = label.map(|position| LabelColumn {
        position,
        names: features.names_of(&top_name(&columns[position])),
    });
    let no_label = match &label {
        Some(_) => None,
        None => unusual_label(columns),
    };
    Ok(FoundColumns {
        image,
        label,
        no_label,
    })
}

/// The column of this name that can hold images.
fn image_named(columns: &[ColumnDescPtr], name: &str) -> Option<usize> {
    columns.iter().position(|column| {
        let parts = column.path().parts();
        let is_it = match parts {
            [own] => own == name,
            [own, field] => own == name && field == "bytes",
            _ => false,
        };
        is_it && column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0
    })
}

/// The described picture, a column with a usual name, or the only structure of bytes and path.
fn usual_image(columns: &[ColumnDescPtr], features: &Features) -> Option<usize> {
    let described = features.image.as_deref();
    let described = described.and_then(|name| image_named(columns, name));
    let named = || {
        IMAGE_COLUMNS.iter().find_map(|name| {
            columns.iter().find_map(|column| {
                let top = top_name(column);
                let found = (fold(&top) == *name).then(|| image_named(columns, &top))?;
                // A text of that name is a path or a caption.
                found.filter(|&found| !is_text(&columns[found]))
            })
        })
    };
    let only_structure = || {
        let mut structures = columns.iter().filter_map(|column| {
            let is_bytes = matches!(column.path().parts(), [_, field] if field == "bytes");
            image_named(columns, &top_name(column)).filter(|_| is_bytes)
        });
        structures.next().filter(|_| structures.next().is_none())
    };
    described.or_else(named).or_else(only_structure)
}

/// The column of this name that can hold labels.
fn label_named(columns: &[ColumnDescPtr], name: &str) -> Option<usize> {
    columns.iter().position(|column| {
        matches!(column.path().parts(), [own] if own == name)
            && in_place_of_labels(column).is_none()
    })
}

/// What a column holds that cannot hold labels.
fn in_place_of_labels(column: &ColumnDescriptor) -> Option<&'static str> {
    if column.max_rep_level() > 0 {
        return Some("lists");
    }
    match (column.physical_type(), column.logical_type_ref()) {
        _ if is_time(column) => Some("dates or times"),
        (Type::INT32 | Type::INT64, _) if column.converted_type() == ConvertedType::DECIMAL => {
            Some("decimal fractions")
        }
        (Type::INT32 | Type::INT64, Some(LogicalType::Decimal { .. })) => Some("decimal fractions"),
        // Whole numbers become floats as soon as one is missing.
        (Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE, _) => None,
        (Type::BYTE_ARRAY, _) if is_text(column) => None,
        (Type::BOOLEAN, _) => Some("truth values"),
        (Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY | Type::INT96, _) => Some("binary values"),
    }
}

fn is_time(column: &ColumnDescriptor) -> bool {
    let converted = matches!(
        column.converted_type(),
        ConvertedType::DATE
            | ConvertedType::TIME_MILLIS
            | ConvertedType::TIME_MICROS
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS
            | ConvertedType::INTERVAL
    );
    let logical = matches!(
        column.logical_type_ref(),
        Some(LogicalType::Date | LogicalType::Time { .. } | LogicalType::Timestamp { .. })
    );
    converted || logical || column.physical_type() == Type::INT96
}

/// A column with a usual name that cannot hold labels, and what it holds.
fn unusual_label(columns: &[ColumnDescPtr]) -> Option<(String, &'static str)> {
    LABEL_COLUMNS.iter().find_map(|name| {
        columns.iter().find_map(|column| {
            let top = top_name(column);
            let kind = in_place_of_labels(column).unwrap_or("structures");
            (fold(&top) == *name).then_some((top, kind))
        })
    })
}

/// A column with a usual name, or the described class label.
fn usual_label(columns: &[ColumnDescPtr], features: &Features) -> Option<usize> {
    let named = LABEL_COLUMNS.iter().find_map(|name| {
        columns.iter().find_map(|column| {
            let top = top_name(column);
            (fold(&top) == *name).then(|| label_named(columns, &top))?
        })
    });
    let described = || label_named(columns, features.label.as_deref()?);
    named.or_else(described)
}

fn top_name(column: &ColumnDescriptor) -> String {
    column.path().parts().first().cloned().unwrap_or_default()
}

fn is_text(column: &ColumnDescriptor) -> bool {
    let texts = [ConvertedType::UTF8, ConvertedType::ENUM];
    texts.contains(&column.converted_type())
}

/// A column as an error lists it.
fn in_words(column: &ColumnDescriptor) -> String {
    let kind = match column.physical_type() {
        Type::BYTE_ARRAY if is_text(column) => "text",
        _ if is_time(column) => "date or time",
        Type::BYTE_ARRAY => "binary",
        Type::FIXED_LEN_BYTE_ARRAY => "binary of fixed length",
        Type::INT32 | Type::INT64 | Type::INT96 => "whole number",
        Type::FLOAT | Type::DOUBLE => "number",
        Type::BOOLEAN => "truth value",
    };
    let list = if column.max_rep_level() > 0 {
        " list"
    } else {
        ""
    };
    format!("{} ({kind}{list})", column.path().string())
}

impl WrongColumns {
    /// The columns that are there, as far as a line has room.
    pub(super) fn listed(&self) -> String {
        let mut listed: Vec<&str> = self.found.iter().map(String::as_str).take(LISTED).collect();
        if self.found.len() > LISTED {
            listed.push("and more");
        }
        listed.join(", ")
    }
}

impl Features {
    fn of(file: &FileMetaData) -> Self {
        let description = file.key_value_metadata().into_iter().flatten();
        let description = description
            .filter(|pair| pair.key == DESCRIPTION)
            .find_map(|pair| pair.value.as_deref());
        let description = description.filter(|text| text.len() <= MAX_DESCRIPTION_BYTES);
        let description = description.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let features = description
            .as_ref()
            .and_then(|all| all.pointer("/info/features"));
        let mut found = Self::default();
        for (name, feature) in features.and_then(Value::as_object).into_iter().flatten() {
            match feature.get("_type").and_then(Value::as_str) {
                Some("Image") if found.image.is_none() => found.image = Some(name.clone()),
                Some("ClassLabel") => {
                    found.label.get_or_insert_with(|| name.clone());
                    let names = feature.get("names").cloned().unwrap_or_default();
                    found.names.insert(name.clone(), names);
                }
                _ => {}
            }
        }
        found
    }

    /// The names of a class label's numbers; empty for another column.
    fn names_of(&self, column: &str) -> Vec<String> {
        let names = self.names.get(column).and_then(Value::as_array);
        let names = names.into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
