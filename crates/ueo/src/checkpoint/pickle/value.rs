//! What a pickle is made of once it is read.

use std::rc::Rc;

use crate::checkpoint::store::ElementType;

/// Position of a value among all values of a pickle.
pub(in crate::checkpoint) type ValueId = usize;

/// A value; others inside it are named by position, so that sharing costs nothing and cycles do no harm.
///
/// What an instruction may take up again (texts, tuples, storages) is shared and never copied: a few bytes of a pickle
/// can ask for it any number of times.
#[derive(Debug)]
pub(in crate::checkpoint) enum Value {
    None,
    Bool,
    Int(i64),
    /// An integer beyond 64 bits; only the magic number of the stream format is one.
    BigInt,
    Float,
    Text(Rc<str>),
    Bytes,
    Tuple(Rc<[ValueId]>),
    List(Vec<ValueId>),
    Dict(Vec<(ValueId, ValueId)>),
    Global(Global),
    /// An instance of a TorchScript class; its attributes, once they are set.
    Object(Option<ValueId>),
    Storage(Rc<StorageRef>),
    Tensor(Rc<TensorRef>),
    /// Plain data of a trainer (a path, a set, a namespace) that no tensor depends on.
    PlainData,
}

impl Value {
    /// The name of the Python type, for messages.
    pub(in crate::checkpoint) fn type_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a bool",
            Self::Int(_) | Self::BigInt => "an int",
            Self::Float => "a float",
            Self::Text(_) => "a str",
            Self::Bytes => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a class",
            Self::Object(_) => "a module",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::PlainData => "an object",
        }
    }
}

/// A name that a pickle may ask for.
#[derive(Clone, Copy, Debug)]
pub(in crate::checkpoint) enum Global {
    OrderedDict,
    RebuildTensor,
    /// A call whose result is its first argument.
    FirstArgument,
    ScriptClass,
    /// A class whose instances hold settings and counters; they are kept as [`Value::PlainData`].
    PlainData,
    Storage(ElementType),
}

/// A block of elements that the container holds under a key.
#[derive(Debug)]
pub(in crate::checkpoint) struct StorageRef {
    pub element: ElementType,
    pub key: Rc<str>,
    /// Declared length in elements.
    pub elements: usize,
}

/// A strided view of a storage, checked to lie within the declared length.
#[derive(Debug)]
pub(in crate::checkpoint) struct TensorRef {
    pub storage: Rc<StorageRef>,
    /// Offset in elements.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}
