//! Writes a graph as a file; what protocol buffers cannot hold goes into a second file beside it.

use std::io::Write;
use std::path::{Path, PathBuf};

use prost::Message;

use super::graph::{Constant, Graph};
use super::proto::{
    DataLocation, GraphProto, IR_VERSION, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto,
};
use crate::ExportError;

/// Operators up to this version: the first with LayerNormalization, which runtimes of 2022 and later have.
const OPERATOR_SET: i64 = 17;
/// Tensors of the second file begin at multiples of this many bytes, so that they can be mapped into memory.
const ALIGNMENT: usize = 4096;

/// What is said about a graph in its file.
pub struct About {
    /// Name of the graph.
    pub name: &'static str,
    /// What it is, for people.
    pub text: String,
    /// For programs.
    pub metadata: Vec<(String, String)>,
}

/// Writes the graph, with its weights in a second file, named as the first with `.data` at its end, where they take more than
/// `inline_limit` bytes. Each file appears completely or not at all, the graph last. Returns the files.
///
/// # Errors
///
/// [`ExportError::Write`].
pub fn write(
    path: &Path,
    graph: Graph,
    about: About,
    inline_limit: usize,
) -> Result<Vec<PathBuf>, ExportError> {
    let bytes: usize = graph.constants.iter().map(|c| c.data.bytes()).sum();
    let mut files = Vec::new();
    let initializer = if bytes <= inline_limit {
        graph.constants.into_iter().map(inline).collect()
    } else {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".data");
        let data = path.with_file_name(&name);
        let initializers = write_external(&data, &name.to_string_lossy(), graph.constants)?;
        files.push(data);
        initializers
    };
    let entries = about.metadata.into_iter();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "ueo".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: about.text,
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPERATOR_SET,
        }],
        metadata_props: entries
            .map(|(key, value)| StringStringEntryProto::new(key, value))
            .collect(),
        graph: Some(GraphProto {
            name: about.name.to_owned(),
            node: graph.nodes,
            initializer,
            input: graph.inputs,
            output: graph.outputs,
        }),
    };
    let encoded = model.encode_to_vec();
    ueo::write_atomically(path, |file| file.write_all(&encoded))
        .map_err(ExportError::write(path))?;
    files.push(path.to_owned());
    Ok(files)
}

fn header(constant: &Constant) -> TensorProto {
    TensorProto {
        name: constant.name.clone(),
        dims: constant.shape.iter().map(|&length| length as i64).collect(),
        data_type: constant.data.element_type().into(),
        ..TensorProto::default()
    }
}

fn inline(constant: Constant) -> TensorProto {
    TensorProto {
        raw_data: Some(constant.data.to_le_bytes()),
        ..header(&constant)
    }
}

/// Small constants stay in the graph, where runtimes look for shapes and axes.
fn write_external(
    path: &Path,
    name: &str,
    constants: Vec<Constant>,
) -> Result<Vec<TensorProto>, ExportError> {
    let mut tensors = Vec::with_capacity(constants.len());
    ueo::write_atomically(path, |file| {
        let mut end = 0;
        for constant in constants {
            let length = constant.data.bytes();
            if length < ALIGNMENT {
                tensors.push(inline(constant));
                continue;
            }
            let start = usize::next_multiple_of(end, ALIGNMENT);
            file.write_all(&vec![0; start - end])?;
            file.write_all(&constant.data.to_le_bytes())?;
            end = start + length;
            let entry = |key: &str, value: String| StringStringEntryProto::new(key, value);
            tensors.push(TensorProto {
                data_location: Some(DataLocation::External.into()),
                external_data: vec![
                    entry("location", name.to_owned()),
                    entry("offset", start.to_string()),
                    entry("length", length.to_string()),
                ],
                ..header(&constant)
            });
        }
        Ok(())
    })
    .map_err(ExportError::write(path))?;
    Ok(tensors)
}
