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
        _ if script_classes_allowed && module.starts_with(SCRIPT_CLASSES) => Global::ScriptClass,
        _ => return Err(PickleError::Forbidden(format!("{module}.{name}"))),
    };
    Ok(global)
}
