//! The few calls that a pickle may make: they rebuild dictionaries, storages and tensors.

use std::rc::Rc;

use super::PickleError;
use super::machine::Machine;
use super::value::{Global, StorageRef, TensorRef, Value, ValueId};
use crate::checkpoint::store::{MAX_AXES, element_count, span};

impl Machine {
    pub(super) fn call(
        &mut self,
        callable: ValueId,
        arguments: &[ValueId],
    ) -> Result<(), PickleError> {
        let Value::Global(global) = self.values[callable] else {
            return Err(PickleError::malformed(
                "a function to call",
                self.values[callable].type_name(),
            ));
        };
        match global {
            Global::RebuildTensor => {
                let tensor = self.rebuild_tensor(arguments)?;
                self.push(Value::Tensor(Rc::new(tensor)))
            }
            Global::FirstArgument => {
                let &first = arguments
                    .first()
                    .ok_or_else(|| PickleError::malformed("an argument", "none"))?;
                self.stack.push(first);
                Ok(())
            }
            Global::OrderedDict => {
                let items = match arguments {
                    [] => Vec::new(),
                    [pairs] => self.pairs(*pairs)?,
                    _ => {
                        return Err(PickleError::malformed(
                            "one list of pairs",
                            "more arguments",
                        ));
                    }
                };
                self.push(Value::Dict(items))
            }
            Global::PlainData => self.push(Value::PlainData),
            Global::ScriptClass | Global::Storage(_) => Err(PickleError::malformed(
                "a call that rebuilds a tensor",
                "a call of a class",
            )),
        }
    }

    /// The items of `OrderedDict([(key, value), ...])`.
    fn pairs(&mut self, list: ValueId) -> Result<Vec<(ValueId, ValueId)>, PickleError> {
        let not_pairs = || PickleError::malformed("a list of pairs", "another value");
        if let Value::List(items) = &self.values[list] {
            self.spend(items.len())?;
        }
        let Value::List(items) = &self.values[list] else {
            return Err(not_pairs());
        };
        items
            .iter()
            .map(|&item| match &self.values[item] {
                Value::Tuple(pair) => pair_of(pair).ok_or_else(not_pairs),
                Value::List(pair) => pair_of(pair).ok_or_else(not_pairs),
                _ => Err(not_pairs()),
            })
            .collect()
    }

    /// A persistent id: `("storage", storage class, key, device, element count)`, with an optional view that is `None`.
    pub(super) fn storage(&self, id: &[ValueId]) -> Result<StorageRef, PickleError> {
        let field = |index: usize| id.get(index).map(|&id| &self.values[id]);
        match (field(0), field(1), field(2), field(4), field(5)) {
            (
                Some(Value::Text(tag)),
                Some(&Value::Global(Global::Storage(element))),
                Some(Value::Text(key)),
                Some(&Value::Int(elements)),
                None | Some(Value::None),
            ) if **tag == *"storage" && elements >= 0 => Ok(StorageRef {
                element,
                key: Rc::clone(key),
                elements: usize::try_from(elements)
                    .map_err(|_| PickleError::malformed("a storage that fits", "a larger one"))?,
            }),
            _ => Err(PickleError::malformed(
                "the persistent id of a tensor storage",
                "another persistent id",
            )),
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn rebuild_tensor(&self, arguments: &[ValueId]) -> Result<TensorRef, PickleError> {
        let [storage, offset, shape, strides, ..] = *arguments else {
            return Err(PickleError::malformed(
                "a storage, an offset, a shape and strides for a tensor",
                format!("{} arguments", arguments.len()),
            ));
        };
        let Value::Storage(storage) = &self.values[storage] else {
            return Err(PickleError::malformed(
                "the storage of a tensor",
                self.values[storage].type_name(),
            ));
        };
        let tensor = TensorRef {
            storage: Rc::clone(storage),
            offset: self.length(offset)?,
            shape: self.lengths(shape)?,
            strides: self.lengths(strides)?,
        };
        let in_storage = tensor.shape.len() == tensor.strides.len()
            && element_count(&tensor.shape).is_some_and(|count| count <= tensor.storage.elements)
            && span(&tensor.shape, &tensor.strides)
                .and_then(|span| span.checked_add(tensor.offset))
                .is_some_and(|end| end <= tensor.storage.elements);
        if !in_storage {
            return Err(PickleError::malformed(
                format!(
                    "a tensor within its storage of {} elements",
                    tensor.storage.elements
                ),
                format!(
                    "shape {:?}, strides {:?}, offset {}",
                    tensor.shape, tensor.strides, tensor.offset
                ),
            ));
        }
        Ok(tensor)
    }

    fn length(&self, id: ValueId) -> Result<usize, PickleError> {
        match self.values[id] {
            Value::Int(value) => usize::try_from(value)
                .map_err(|_| PickleError::malformed("a length", value.to_string())),
            ref other => Err(PickleError::malformed("a length", other.type_name())),
        }
    }

    fn axes(&self, items: &[ValueId]) -> Result<Vec<usize>, PickleError> {
        if items.len() > MAX_AXES {
            return Err(PickleError::Unsupported(format!(
                "a tensor of {} axes (at most {MAX_AXES} are)",
                items.len()
            )));
        }
        items.iter().map(|&item| self.length(item)).collect()
    }

    fn lengths(&self, id: ValueId) -> Result<Vec<usize>, PickleError> {
        match &self.values[id] {
            Value::Tuple(items) => self.axes(items),
            Value::List(items) => self.axes(items),
            other => Err(PickleError::malformed(
                "a tuple of lengths",
                other.type_name(),
            )),
        }
    }
}

fn pair_of(items: &[ValueId]) -> Option<(ValueId, ValueId)> {
    match *items {
        [key, value] => Some((key, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pickle, Source};
    use super::*;

    fn read(pickle: &[u8]) -> Result<Pickle, PickleError> {
        Machine::new(false).run(&mut Source::new(pickle))
    }

    #[test]
    fn a_tensor_must_lie_within_its_storage() {
        // _rebuild_tensor_v2(storage of 4 floats, offset, (2, 2), (2, 1), False, None)
        let pickle = |offset: u8| {
            let mut bytes =
                b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
                    .to_vec();
            bytes.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK");
            bytes.push(offset);
            bytes.extend(b"K\x02K\x02\x86K\x02K\x01\x86\x89NtR.");
            bytes
        };
        let read_at_0 = read(&pickle(0)).unwrap();
        assert!(matches!(read_at_0.value(read_at_0.root), Value::Tensor(_)));
        assert!(matches!(
            read(&pickle(1)),
            Err(PickleError::Malformed { .. })
        ));
    }
}
