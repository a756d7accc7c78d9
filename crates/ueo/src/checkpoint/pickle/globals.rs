//! The names that a pickle may ask for: all of them, in one place.

use super::PickleError;
use super::value::Global;
use crate::checkpoint::store::ElementType;

/// Prefix of the classes of a TorchScript archive. Their instances become tables of attributes; their code is not read.
const SCRIPT_CLASSES: &str = "__torch__.";

/// Looks a name up in the list of what checkpoints need.
///
/// # Errors
///
/// [`PickleError::Forbidden`] with the name when it is not in the list.
pub(super) fn resolve(
    module: &str,
    name: &str,
    script_classes_allowed: bool,
) -> Result<Global, PickleError> {
    let other = |name, size_bytes| Global::Storage(ElementType::Other { name, size_bytes });
    let global = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        // A parameter is its tensor; a torch.Size its tuple; a typed TorchScript list its list.
        ("torch._utils", "_rebuild_parameter")
        | ("torch", "Size")
        | (
            "torch.jit._pickle",
            "build_intlist" | "build_tensorlist" | "build_doublelist" | "build_boollist"
            | "restore_type_tag",
        ) => Global::FirstArgument,
        ("torch", "FloatStorage") => Global::Storage(ElementType::F32),
        ("torch", "HalfStorage") => Global::Storage(ElementType::F16),
        ("torch", "BFloat16Storage") => Global::Storage(ElementType::Bf16),
        ("torch", "DoubleStorage") => Global::Storage(ElementType::F64),
        ("torch", "LongStorage") => other("int64", 8),
        ("torch", "IntStorage") => other("int32", 4),
        ("torch", "ShortStorage") => other("int16", 2),
        ("torch", "CharStorage") => other("int8", 1),
        ("torch", "ByteStorage") => other("uint8", 1),
        ("torch", "BoolStorage") => other("bool", 1),
        ("torch._utils", "_rebuild_parameter_with_state") => Global::FirstArgument,
        _ if is_plain_data(module, name) => Global::PlainData,
        _ if script_classes_allowed && module.starts_with(SCRIPT_CLASSES) => Global::ScriptClass,
        _ => return Err(PickleError::Forbidden(format!("{module}.{name}"))),
    };
    Ok(global)
}

/// Classes and functions that trainers' settings, paths and counters are made of. None of them is looked into: an
/// instance is kept as a mark that something is there, so that a checkpoint does not fail over what stands beside its
/// tensors.
fn is_plain_data(module: &str, name: &str) -> bool {
    match module {
        "argparse" => name == "Namespace",
        "pathlib" => matches!(
            name,
            "Path" | "PosixPath" | "PurePath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath"
        ),
        "collections" => matches!(name, "defaultdict" | "Counter" | "deque"),
        "builtins" | "__builtin__" => matches!(
            name,
            "set"
                | "frozenset"
                | "list"
                | "dict"
                | "tuple"
                | "int"
                | "float"
                | "bool"
                | "str"
                | "bytes"
                | "bytearray"
                | "complex"
                | "slice"
                | "range"
        ),
        "datetime" => matches!(
            name,
            "datetime" | "date" | "time" | "timedelta" | "timezone"
        ),
        "_codecs" => name == "encode",
        "numpy" => matches!(name, "dtype" | "ndarray"),
        "numpy.core.multiarray" | "numpy._core.multiarray" => {
            matches!(name, "scalar" | "_reconstruct")
        }
        "torch" => matches!(
            name,
            "device"
                | "float64"
                | "float32"
                | "float16"
                | "bfloat16"
                | "int64"
                | "int32"
                | "int16"
                | "int8"
                | "uint8"
                | "bool"
        ),
        "pytorch_lightning.utilities.parsing"
        | "lightning_fabric.utilities.data"
        | "lightning.fabric.utilities.data" => name == "AttributeDict",
        _ => false,
    }
}
