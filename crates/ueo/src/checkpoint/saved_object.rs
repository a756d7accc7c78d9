//! The model's tensors in what `torch.save` or `torch.jit.save` wrote: a module, a state dict, or a trainer's dictionary.

use std::collections::HashSet;
use std::path::Path;

use crate::quote;

use super::CheckpointError;
use super::pickle::{Pickle, TensorRef, Value, ValueId};
use super::wrapper::{choose, describe, left_out, prefix_of_sign};

/// Modules inside modules that are followed; CLIP's archives have seven.
const MAX_MODULE_DEPTH: usize = 64;
/// Dictionaries inside dictionaries that are searched for a model.
const MAX_DICT_DEPTH: usize = 4;
/// Modules and tensors that one archive may have; the largest CLIP has fewer than 2,000 of each.
const MAX_ENTRIES: usize = 100_000;
/// Bytes that the names of all tensors may have together.
const MAX_NAME_BYTES: usize = 16 << 20;

/// Tensors of a pickle by name.
pub(super) type Named<'p> = Vec<(String, &'p TensorRef)>;

/// The model that a file holds.
pub(super) struct SavedObject<'p> {
    pub tensors: Named<'p>,
    /// Whether the tensors were under a key of a trainer's dictionary.
    pub wrapped: bool,
    pub decisions: Vec<String>,
}

/// A dictionary that holds a model, with the keys that lead to it.
struct Place {
    keys: String,
    dict: ValueId,
}

impl<'p> SavedObject<'p> {
    /// Finds the model in the outermost value of a pickle.
    pub(super) fn read(pickle: &'p Pickle, path: &Path) -> Result<Self, CheckpointError> {
        match pickle.value(pickle.root) {
            Value::Object(_) => Ok(Self {
                tensors: module_tensors(pickle, path)?,
                wrapped: false,
                decisions: Vec::new(),
            }),
            Value::Dict(_) => Self::in_dictionaries(pickle, path),
            other => Err(CheckpointError::NotClip {
                path: path.to_owned(),
                expected: "a module or a dictionary of tensors".to_owned(),
                found: other.type_name().to_owned(),
            }),
        }
    }

    fn in_dictionaries(pickle: &'p Pickle, path: &Path) -> Result<Self, CheckpointError> {
        let (models, largest) = places(pickle, path)?;
        let keys: Vec<&str> = models.iter().map(|place| place.keys.as_str()).collect();
        let chosen = choose(&keys, path)?;
        let place = models
            .iter()
            .find(|place| Some(place.keys.as_str()) == chosen);
        let mut decisions = Vec::new();
        if let Some(place) = place {
            decisions.extend(describe(&place.keys, &keys));
        }
        // Without a model the most tensors tell best what the file holds instead.
        let place = place.unwrap_or(&largest);
        let (tensors, others) = state_dict_tensors(pickle, place.dict, path)?;
        if !others.is_empty() && chosen.is_some() {
            decisions.push(left_out(&others, "entries that are no tensors are"));
        }
        Ok(Self {
            tensors,
            wrapped: !place.keys.is_empty(),
            decisions,
        })
    }
}

/// All dictionaries with a model's tensors, and the one with the most tensors of any kind.
fn places(pickle: &Pickle, path: &Path) -> Result<(Vec<Place>, Place), CheckpointError> {
    let mut models = Vec::new();
    let mut largest = (
        0,
        Place {
            keys: String::new(),
            dict: pickle.root,
        },
    );
    let mut pending = vec![(pickle.root, String::new(), 0)];
    let mut seen = HashSet::new();
    let mut entries = 0;
    while let Some((dict, keys, depth)) = pending.pop() {
        let Value::Dict(items) = pickle.value(dict) else {
            continue;
        };
        // Dictionaries may be shared; each is looked at once.
        if !seen.insert(dict) {
            continue;
        }
        let (mut tensors, mut is_model) = (0, false);
        for &(key, value) in items {
            entries += 1;
            let Value::Text(key) = pickle.value(key) else {
                continue;
            };
            match pickle.value(value) {
                Value::Tensor(_) => {
                    tensors += 1;
                    is_model |= prefix_of_sign(key).is_some();
                }
                Value::Dict(_) if depth < MAX_DICT_DEPTH => {
                    let dot = if keys.is_empty() { "" } else { "." };
                    // A key of a trainer is a word; what is longer leads to no model.
                    if key.len() + keys.len() <= 256 {
                        pending.push((value, format!("{keys}{dot}{key}"), depth + 1));
                    }
                }
                _ => {}
            }
        }
        if entries > 4 * MAX_ENTRIES {
            return Err(too_many(path));
        }
        if tensors > largest.0 {
            largest = (
                tensors,
                Place {
                    keys: keys.clone(),
                    dict,
                },
            );
        }
        if is_model {
            models.push(Place { keys, dict });
        }
    }
    models.sort_by(|a, b| a.keys.cmp(&b.keys));
    Ok((models, largest.1))
}

/// The tensors among the attributes of a TorchScript module and of the modules inside it.
fn module_tensors<'p>(pickle: &'p Pickle, path: &Path) -> Result<Named<'p>, CheckpointError> {
    let mut named = Vec::new();
    let mut pending = vec![(pickle.root, String::new(), 0)];
    // Modules may share modules, and a hostile file can nest that sharing; so visits are counted, not modules.
    let (mut visits, mut name_bytes) = (0, 0);
    while let Some((module, prefix, depth)) = pending.pop() {
        let Value::Object(Some(attributes)) = pickle.value(module) else {
            continue;
        };
        let Value::Dict(items) = pickle.value(*attributes) else {
            continue;
        };
        for &(key, value) in items {
            visits += 1;
            if depth > MAX_MODULE_DEPTH || visits > 4 * MAX_ENTRIES || name_bytes > MAX_NAME_BYTES {
                return Err(too_many(path));
            }
            let Value::Text(key) = pickle.value(key) else {
                continue;
            };
            match pickle.value(value) {
                Value::Tensor(tensor) => named.push((format!("{prefix}{key}"), tensor.as_ref())),
                Value::Object(_) => pending.push((value, format!("{prefix}{key}."), depth + 1)),
                _ => continue,
            }
            name_bytes += prefix.len() + key.len();
        }
    }
    if named.len() > MAX_ENTRIES {
        return Err(too_many(path));
    }
    Ok(named)
}

fn too_many(path: &Path) -> CheckpointError {
    CheckpointError::too_large(
        path,
        format!("{MAX_ENTRIES} modules and tensors, {MAX_MODULE_DEPTH} levels deep"),
    )
}

/// The tensors of a state dict, and the names of what else is in it.
fn state_dict_tensors<'p>(
    pickle: &'p Pickle,
    dict: ValueId,
    path: &Path,
) -> Result<(Named<'p>, Vec<String>), CheckpointError> {
    let (mut tensors, mut others): (Named<'p>, _) = (Vec::new(), Vec::new());
    let Value::Dict(items) = pickle.value(dict) else {
        return Ok((tensors, others));
    };
    // Keys may be shared: together they can be far longer than the file.
    let mut name_bytes = 0;
    for &(key, value) in items {
        match (pickle.value(key), pickle.value(value)) {
            (Value::Text(key), Value::Tensor(tensor)) => {
                name_bytes += key.len();
                if name_bytes > MAX_NAME_BYTES || tensors.len() == MAX_ENTRIES {
                    return Err(too_many(path));
                }
                tensors.push((key.to_string(), tensor.as_ref()));
            }
            (Value::Text(key), _) => others.push(quote::name(key).to_string()),
            (other, _) => others.push(other.type_name().to_owned()),
        }
    }
    Ok((tensors, others))
}
