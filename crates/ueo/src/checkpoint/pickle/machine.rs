//! The stack machine of the pickle format (CPython's `Lib/pickletools.py`), reduced to what PyTorch writes.

use std::collections::HashMap;
use std::io::Read;
use std::rc::Rc;

use super::globals;
use super::value::{Global, StorageRef, Value, ValueId};
use super::{PickleError, Source};

/// Values that one pickle may have, those included that it lists again in another container. A training checkpoint of
/// the largest CLIP with its optimizer has a quarter of it.
const MAX_VALUES: usize = 1 << 19;

/// A pickle that has been read.
#[derive(Debug)]
pub(in crate::checkpoint) struct Pickle {
    values: Vec<Value>,
    /// The outermost value.
    pub root: ValueId,
}

impl Pickle {
    pub(in crate::checkpoint) fn value(&self, id: ValueId) -> &Value {
        &self.values[id]
    }

    /// All storages that the pickle mentions.
    pub(in crate::checkpoint) fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage.as_ref()),
            _ => None,
        })
    }
}

/// Reads one pickle.
pub(in crate::checkpoint) struct Machine {
    pub(super) values: Vec<Value>,
    pub(super) stack: Vec<ValueId>,
    marks: Vec<usize>,
    memo: HashMap<u32, ValueId>,
    /// Values that may still be made or listed.
    budget: usize,
    script_classes_allowed: bool,
}

impl Machine {
    /// A machine for one pickle; only those of TorchScript archives may name `__torch__` classes.
    pub(in crate::checkpoint) fn new(script_classes_allowed: bool) -> Self {
        Self {
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            budget: MAX_VALUES,
            script_classes_allowed,
        }
    }

    /// Reads up to and including the pickle's end mark.
    pub(in crate::checkpoint) fn run<R: Read>(
        mut self,
        source: &mut Source<R>,
    ) -> Result<Pickle, PickleError> {
        loop {
            let opcode = source.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle {
                    values: self.values,
                    root,
                });
            }
            self.step(opcode, source)?;
        }
    }

    fn step<R: Read>(&mut self, opcode: u8, source: &mut Source<R>) -> Result<(), PickleError> {
        match opcode {
            // PROTO, FRAME: what follows is read in the same way in every version.
            0x80 => drop(source.byte()?),
            0x95 => drop(source.array::<8>()?),

            // Scalars: NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, BINFLOAT
            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Bool)?,
            b'J' => self.push_int(i32::from_le_bytes(source.array()?))?,
            b'K' => self.push_int(source.byte()?)?,
            b'M' => self.push_int(u16::from_le_bytes(source.array()?))?,
            0x8a => {
                let length = source.byte()?;
                let bytes = source.bytes(length.into())?;
                self.push(long(&bytes))?;
            }
            b'G' => {
                source.array::<8>()?;
                self.push(Value::Float)?;
            }

            // Text: BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, SHORT_BINSTRING, BINSTRING
            b'X' | b'T' => {
                let length = u32::from_le_bytes(source.array()?);
                self.push_text(source, length.into())?;
            }
            0x8c | b'U' => {
                let length = source.byte()?;
                self.push_text(source, length.into())?;
            }
            0x8d => {
                let length = u64::from_le_bytes(source.array()?);
                self.push_text(source, length)?;
            }
            // LONG4
            0x8b => {
                let length = u32::from_le_bytes(source.array()?);
                let bytes = source.bytes(length.into())?;
                self.push(long(&bytes))?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => {
                let length = u32::from_le_bytes(source.array()?);
                source.bytes(length.into())?;
                self.push(Value::Bytes)?;
            }
            0x8e | 0x96 => {
                let length = u64::from_le_bytes(source.array()?);
                source.bytes(length)?;
                self.push(Value::Bytes)?;
            }
            b'C' => {
                let length = source.byte()?;
                source.bytes(length.into())?;
                self.push(Value::Bytes)?;
            }

            // Containers: MARK, EMPTY_TUPLE, TUPLE, TUPLE1..3, EMPTY_LIST, LIST, APPEND(S), EMPTY_DICT, DICT, SETITEM(S)
            b'(' => self.mark()?,
            b')' => self.push(Value::Tuple(Rc::default()))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items.into()))?;
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Value::Tuple(items.into()))?;
            }
            // EMPTY_SET, ADDITEMS, FROZENSET: no tensor is in a set.
            0x8f => self.push(Value::PlainData)?,
            0x90 => drop(self.pop_to_mark()?),
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::PlainData)?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.extend_list(items)?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend_list(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.extend_dict(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.extend_dict(items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.extend_dict(items)?;
            }

            // Memo: BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let index = source.byte()?;
                self.memoize(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(source.array()?);
                self.memoize(index)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let index = source.byte()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(source.array()?);
                self.recall(index)?;
            }
            // POP, POP_MARK
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),

            // Names: GLOBAL, STACK_GLOBAL; INST is an old way of calling one.
            b'c' | b'i' => {
                let module = source.line()?;
                let name = source.line()?;
                if opcode == b'i' {
                    return Err(PickleError::Forbidden(format!("{module}.{name}")));
                }
                self.push_global(&module, &name)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => {
                        let (module, name) = (Rc::clone(module), Rc::clone(name));
                        self.push_global(&module, &name)?;
                    }
                    _ => return Err(PickleError::malformed("a class name", "no text")),
                }
            }

            // Calls: REDUCE, NEWOBJ, BUILD, BINPERSID
            b'R' => {
                let arguments = self.pop_tuple("the arguments of a call")?;
                let callable = self.pop()?;
                self.call(callable, &arguments)?;
            }
            0x81 => {
                self.pop_tuple("the arguments of a class")?;
                let class = self.pop()?;
                match self.values[class] {
                    Value::Global(Global::ScriptClass) => self.push(Value::Object(None))?,
                    Value::Global(Global::OrderedDict) => self.push(Value::Dict(Vec::new()))?,
                    Value::Global(Global::PlainData) => self.push(Value::PlainData)?,
                    _ => return Err(PickleError::malformed("a module's class", "another value")),
                }
            }
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop_tuple("a persistent id")?;
                let storage = self.storage(&id)?;
                self.push(Value::Storage(Rc::new(storage)))?;
            }

            // STRING, UNICODE, INT, LONG, FLOAT, GET, PUT, PERSID of protocol 0; DUP, OBJ; NEWOBJ_EX, EXT1..4, and protocol 5.
            b'S'
            | b'V'
            | b'I'
            | b'L'
            | b'F'
            | b'g'
            | b'p'
            | b'P'
            | b'2'
            | b'o'
            | 0x92
            | 0x82..=0x84
            | 0x97
            | 0x98 => {
                return Err(PickleError::Unsupported(format!(
                    "the pickle instruction 0x{opcode:02x}, which PyTorch does not write,"
                )));
            }
            other => {
                return Err(PickleError::malformed(
                    "the instructions of a pickle",
                    format!("instruction 0x{other:02x}"),
                ));
            }
        }
        Ok(())
    }

    /// Accounts for values that are made, or listed once more.
    pub(super) fn spend(&mut self, values: usize) -> Result<(), PickleError> {
        self.budget = self.budget.checked_sub(values).ok_or_else(too_large)?;
        Ok(())
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), PickleError> {
        self.spend(1)?;
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() == MAX_VALUES {
            return Err(too_large());
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn push_int(&mut self, value: impl Into<i64>) -> Result<(), PickleError> {
        self.push(Value::Int(value.into()))
    }

    fn push_text<R: Read>(
        &mut self,
        source: &mut Source<R>,
        length: u64,
    ) -> Result<(), PickleError> {
        let text = source.text(length)?;
        self.push(Value::Text(text.into()))
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), PickleError> {
        let global = globals::resolve(module, name, self.script_classes_allowed)?;
        self.push(Value::Global(global))
    }

    fn pop(&mut self) -> Result<ValueId, PickleError> {
        // A value below the innermost mark belongs to the container outside of it.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<ValueId>, PickleError> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        Ok(items)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<ValueId>, PickleError> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        if mark > self.stack.len() {
            return Err(underflow());
        }
        Ok(self.stack.split_off(mark))
    }

    fn pop_tuple(&mut self, what: &str) -> Result<Rc<[ValueId]>, PickleError> {
        let id = self.pop()?;
        match &self.values[id] {
            Value::Tuple(items) => Ok(Rc::clone(items)),
            other => Err(PickleError::malformed(
                format!("a tuple for {what}"),
                other.type_name(),
            )),
        }
    }

    fn top(&self) -> Result<ValueId, PickleError> {
        self.stack.last().copied().ok_or_else(underflow)
    }

    fn memoize(&mut self, index: u32) -> Result<(), PickleError> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), PickleError> {
        let id = *self.memo.get(&index).ok_or_else(|| {
            PickleError::malformed("a value that the pickle defined earlier", "none")
        })?;
        // References count as values: a short loop of them must not fill the memory either.
        if self.stack.len() >= MAX_VALUES {
            return Err(too_large());
        }
        self.stack.push(id);
        Ok(())
    }

    fn extend_list(&mut self, items: Vec<ValueId>) -> Result<(), PickleError> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => {
                list.extend(items);
                Ok(())
            }
            Value::PlainData => Ok(()),
            other => Err(PickleError::malformed(
                "a list to append to",
                other.type_name(),
            )),
        }
    }

    fn extend_dict(&mut self, items: Vec<ValueId>) -> Result<(), PickleError> {
        let top = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.values[top] {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            Value::PlainData => Ok(()),
            other => Err(PickleError::malformed(
                "key and value pairs for a dict",
                other.type_name(),
            )),
        }
    }

    /// BUILD: gives a module its attributes. What a dictionary carries beside its entries (`_metadata`) is dropped.
    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        let target = self.top()?;
        let has_attributes = matches!(self.values[state], Value::Dict(_));
        match &mut self.values[target] {
            Value::Object(attributes) if has_attributes => *attributes = Some(state),
            Value::Dict(_) | Value::PlainData => {}
            other => {
                return Err(PickleError::malformed(
                    "a module and its attributes",
                    other.type_name(),
                ));
            }
        }
        Ok(())
    }
}

/// A little-endian integer in two's complement.
pub(super) fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::BigInt;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut extended = [if negative { 0xff } else { 0 }; 8];
    extended[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(extended))
}

fn too_large() -> PickleError {
    PickleError::TooLarge(format!("{MAX_VALUES} values in its pickle"))
}

fn underflow() -> PickleError {
    PickleError::malformed("a value on the pickle's stack", "an empty stack")
}
