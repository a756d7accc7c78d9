//! Which files of a repository make a model: everything small that says what it is, and its weights in one format.

/// Files that are read where they are there. Nothing else of a repository is fetched but weights.
pub(crate) const SETTINGS: [&str; 11] = [
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
];

/// What names the layout of transformers, and says of which kind the model is.
pub(crate) const CONFIG: &str = "config.json";
/// What names open_clip's layout.
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// What a repository must have, in words.
pub(crate) const EXPECTED: &str = "open_clip_config.json with open_clip_model.safetensors, open_clip_pytorch_model.safetensors or .bin, or \
     config.json with model.safetensors or pytorch_model.bin";

/// A file of weights, or the index of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    /// Name of the file.
    pub name: &'static str,
    /// The configuration that belongs to it.
    pub config: &'static str,
}

impl Weights {
    /// Whether it names the files that hold the tensors, instead of holding them.
    pub fn is_index(self) -> bool {
        self.name.ends_with(".index.json")
    }
}

const fn open_clip(name: &'static str) -> Weights {
    let config = OPEN_CLIP_CONFIG;
    Weights { name, config }
}

const fn hugging_face(name: &'static str) -> Weights {
    let config = CONFIG;
    Weights { name, config }
}

/// What is taken first stands first: tensors without pickles, and open_clip's layout, which says how the model was
/// trained.
const WEIGHTS: [Weights; 7] = [
    open_clip("open_clip_model.safetensors"),
    open_clip("open_clip_pytorch_model.safetensors"),
    hugging_face("model.safetensors"),
    hugging_face("model.safetensors.index.json"),
    open_clip("open_clip_pytorch_model.bin"),
    hugging_face("pytorch_model.bin"),
    hugging_face("pytorch_model.bin.index.json"),
];

/// The weights that a repository offers, best first. `has` tells whether it has a file; `whole_model` whether its
/// `config.json` describes both towers: an image tower of timm has one too.
pub(crate) fn offered(has: impl Fn(&str) -> bool, whole_model: bool) -> Vec<Weights> {
    let usable = |weights: &Weights| {
        has(weights.name) && has(weights.config) && (weights.config != CONFIG || whole_model)
    };
    WEIGHTS.into_iter().filter(usable).collect()
}

/// All names that are ever asked for, for the record of what a repository does not have.
pub(crate) fn all_names() -> impl Iterator<Item = &'static str> {
    SETTINGS
        .into_iter()
        .chain(WEIGHTS.into_iter().map(|weights| weights.name))
}

/// Whether a `config.json` is of transformers, whose models are whole.
pub(crate) fn is_whole_model(config: &[u8]) -> bool {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    config["model_type"].is_string() || config["architectures"].is_array()
}

/// The files that an index names, sorted; `None` where it is none, or leads elsewhere.
pub(crate) fn shards(index: &[u8]) -> Option<Vec<String>> {
    let index: serde_json::Value = serde_json::from_slice(index).ok()?;
    let mut shards = Vec::new();
    for shard in index["weight_map"].as_object()?.values() {
        let shard = shard.as_str()?;
        let is_plain = !shard.is_empty()
            && !shard.starts_with('.')
            && shard
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !is_plain {
            return None;
        }
        shards.push(shard.to_owned());
    }
    shards.sort_unstable();
    shards.dedup();
    Some(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str], whole_model: bool) -> Vec<&'static str> {
        let offered = offered(|name| files.contains(&name), whole_model);
        offered.into_iter().map(|weights| weights.name).collect()
    }

    #[test]
    fn tensors_come_before_pickles_and_open_clip_before_others() {
        let both = [
            "config.json",
            "open_clip_config.json",
            "model.safetensors",
            "open_clip_pytorch_model.bin",
            "pytorch_model.bin",
        ];
        assert_eq!(names(&both, true)[0], "model.safetensors");
        let with_tensors = [both.as_slice(), &["open_clip_model.safetensors"]].concat();
        assert_eq!(names(&with_tensors, true)[0], "open_clip_model.safetensors");
        // timm's image tower is no model, although it has weights beside a configuration.
        assert_eq!(names(&both, false), ["open_clip_pytorch_model.bin"]);
        assert!(names(&["model.safetensors"], true).is_empty());
        assert!(names(&["config.json", "tf_model.h5"], true).is_empty());
    }

    #[test]
    fn a_configuration_of_an_image_tower_is_told_from_that_of_a_model() {
        assert!(is_whole_model(b"{\"model_type\": \"clip\"}"));
        assert!(is_whole_model(b"{\"architectures\": [\"CLIPModel\"]}"));
        assert!(!is_whole_model(
            b"{\"architecture\": \"vit_base_patch32_clip_224\"}"
        ));
        assert!(!is_whole_model(b"nonsense"));
    }

    #[test]
    fn an_index_names_files_of_its_own_directory() {
        let index = |b: &str| shards(format!("{{\"weight_map\": {{\"t\": \"{b}\"}}}}").as_bytes());
        assert_eq!(
            index("model-00001-of-00002.safetensors").unwrap(),
            ["model-00001-of-00002.safetensors"]
        );
        for wrong in ["../secret", "/etc/passwd", "", ".hidden", "a\\\\b"] {
            assert_eq!(index(wrong), None, "{wrong}");
        }
        assert_eq!(shards(b"{}"), None);
    }
}
