//! Finds the model among what a trainer saved: under which keys of a file, and under which prefix of the tensors' names.
//!
//! Trainers put a state dict into dictionaries (`state_dict`, DeepSpeed's `module`, `model_ema`) and modules into modules
//! (Lightning's `model.`, distributed training's `module.`, compilation's `_orig_mod.`). The model is recognized by its
//! token embedding and its image tower, wherever they are; where two models are, names that say which is meant decide.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use crate::quote;

use super::CheckpointError;
use super::store::TensorStore;

/// Names under which trainers keep the model that they train, the usual ones first.
const MODEL_NAMES: [&str; 11] = [
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "_orig_mod",
    "_forward_module",
    "clip",
    "clip_model",
    "net",
    "network",
    "backbone",
];
/// Parts of names under which an averaged copy of the model is kept.
const AVERAGE: &str = "ema";
/// The tensors that tell a model: one of the text tower, one of the image tower beside it.
const SIGNS: [(&str, &str); 3] = [
    (
        "text_model.embeddings.token_embedding.weight",
        "vision_model.",
    ),
    // open_clip's `CustomTextCLIP`.
    ("text.token_embedding.weight", "visual."),
    ("token_embedding.weight", "visual."),
];
/// Models that one file may hold before nobody can tell them apart.
const MAX_MODELS: usize = 16;
/// Prefixes that wrappers of PyTorch put in front of every name of any module.
const PLAIN_WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// Left-out tensors that a decision spells out.
const LISTED: usize = 3;

/// What stands in front of the name of the text tower's sign, if this is one: empty or ending in a dot.
pub(super) fn prefix_of_sign(name: &str) -> Option<&str> {
    SIGNS.iter().find_map(|(sign, _)| {
        let prefix = name.strip_suffix(sign)?;
        (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
    })
}

/// How likely a path of names leads to the model that is meant; the least is chosen.
fn rank(path: &str) -> usize {
    let unknown = MODEL_NAMES.len();
    path.split('.')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let known = MODEL_NAMES.iter().position(|known| *known == name);
            match known {
                Some(position) => position + 1,
                None if name.split('_').any(|part| part == AVERAGE) => unknown + 2,
                None => unknown + 1,
            }
        })
        .max()
        .unwrap_or(0)
}

/// The path that is meant among those that lead to a model; `None` when there is none.
///
/// # Errors
///
/// [`CheckpointError::SeveralModels`] when names do not say which.
pub(super) fn choose<'a>(
    paths: &[&'a str],
    path: &Path,
) -> Result<Option<&'a str>, CheckpointError> {
    let Some(&best) = paths.iter().min_by_key(|path| rank(path)) else {
        return Ok(None);
    };
    let equal = paths
        .iter()
        .filter(|path| rank(path).cmp(&rank(best)) == Ordering::Equal);
    if equal.count() > 1 || paths.len() > MAX_MODELS {
        return Err(CheckpointError::SeveralModels {
            path: path.to_owned(),
            places: paths
                .iter()
                .take(MAX_MODELS)
                .map(|&place| place.to_owned())
                .collect(),
        });
    }
    Ok(Some(best))
}

/// Says which of several places was taken, or that an unusual one was; nothing when there was nothing to choose.
pub(super) fn describe(chosen: &str, all: &[&str]) -> Option<String> {
    let others: Vec<String> = all
        .iter()
        .filter(|&&place| place != chosen)
        .map(|place| format!("`{}`", quote::name(place.trim_end_matches('.'))))
        .collect();
    let place = match chosen.trim_end_matches('.') {
        "" => "the outermost level".to_owned(),
        place => format!("`{}`", quote::name(place)),
    };
    match (others.is_empty(), rank(chosen) > MODEL_NAMES.len()) {
        (true, false) => None,
        (true, true) => Some(format!(
            "weights: those under {place}, the only model in the file"
        )),
        (false, _) => Some(format!(
            "weights: those under {place}; there are also models under {}, which are not used",
            others.join(", ")
        )),
    }
}

/// Removes the prefix that a wrapping module put in front of every name of the model. Tensors outside of it (losses,
/// teachers, heads) are left out, and a decision names them.
pub(super) fn unwrap(
    store: &mut TensorStore,
    decisions: &mut Vec<String>,
) -> Result<(), CheckpointError> {
    let has = |start: String| {
        let next = store.tensors.range(start.clone()..).next();
        next.is_some_and(|(name, _)| name.starts_with(&start))
    };
    let prefixes: BTreeSet<&str> = store
        .tensors
        .keys()
        .filter_map(|name| prefix_of_sign(name))
        .filter(|prefix| {
            let towers = SIGNS.iter().map(|(_, tower)| tower);
            towers
                .into_iter()
                .any(|tower| has(format!("{prefix}{tower}")))
        })
        .collect();
    let prefixes: Vec<&str> = prefixes.into_iter().collect();
    let Some(chosen) = choose(&prefixes, store.path())? else {
        strip_plain_wrappers(store);
        return Ok(());
    };
    decisions.extend(describe(chosen, &prefixes));
    if chosen.is_empty() {
        return Ok(());
    }
    let chosen = chosen.to_owned();
    let in_another_model = |name: &str| {
        prefixes
            .iter()
            .any(|other| !other.is_empty() && **other != *chosen && name.starts_with(other))
    };
    let outside: Vec<String> = store
        .tensors
        .keys()
        .filter(|name| !name.starts_with(&chosen) && !in_another_model(name))
        .cloned()
        .collect();
    if !outside.is_empty() {
        decisions.push(left_out(&outside, "tensors beside the model"));
    }
    store.tensors = std::mem::take(&mut store.tensors)
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&chosen)?.to_owned(), tensor)))
        .collect();
    Ok(())
}

/// Shows the names of what is no CLIP as they are inside of their wrappers, so that relatives are recognized.
fn strip_plain_wrappers(store: &mut TensorStore) {
    while let Some(wrapper) = PLAIN_WRAPPERS.iter().find(|wrapper| {
        !store.tensors.is_empty() && store.tensors.keys().all(|name| name.starts_with(**wrapper))
    }) {
        store.rename(|name| name.strip_prefix(wrapper).unwrap_or(name).to_owned());
    }
}

/// Counts what is not used and names the first few.
pub(super) fn left_out(names: &[String], what: &str) -> String {
    let listed: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{}`", quote::name(name)))
        .collect();
    let more = if names.len() > LISTED { ", ..." } else { "" };
    format!(
        "weights: {} {what} left out ({}{more})",
        names.len(),
        listed.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(paths: &[&'a str]) -> Option<&'a str> {
        choose(paths, Path::new("model.pt")).unwrap()
    }

    #[test]
    fn names_say_which_model_is_meant() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&["model_ema"]), Some("model_ema"));
        assert_eq!(
            chosen(&["state_dict_ema", "state_dict"]),
            Some("state_dict")
        );
        assert_eq!(chosen(&["model.", "teacher."]), Some("model."));
        assert_eq!(chosen(&["", "ema_model."]), Some(""));
        assert_eq!(chosen(&["module._orig_mod."]), Some("module._orig_mod."));
        for ambiguous in [["student.", "teacher."], ["generator", "critic"]] {
            let error = choose(&ambiguous, Path::new("model.pt")).unwrap_err();
            let message = error.to_string();
            assert!(
                ambiguous
                    .iter()
                    .all(|name| message.contains(name.trim_end_matches('.'))),
                "{message}"
            );
        }
    }

    #[test]
    fn a_choice_is_said() {
        assert_eq!(describe("module.", &["module."]), None);
        assert!(describe("ema", &["ema"]).unwrap().contains("`ema`"));
        let said = describe("model.", &["model.", "teacher."]).unwrap();
        assert!(
            said.contains("`model`") && said.contains("`teacher`"),
            "{said}"
        );
    }
}
