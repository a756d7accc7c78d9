//! Checkpoints in both layouts, written in both: what the owners wrote comes back, and what this library reads is the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::checkpoint::{
    Activation, Checkpoint, Layout, VisionConfig, load, save, save_as, save_descriptions,
};
use crate::image::ResizeRule;
use crate::text::TextCleaning;

fn fixture(layout: &str) -> PathBuf {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/siglip");
    Path::new(fixtures).join(layout)
}

/// Every tensor of a file with its shape and bytes.
fn content(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        (name, (tensor.shape().to_vec(), tensor.data().to_vec()))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// Read again, `saved` is what `checkpoint` is.
#[track_caller]
fn assert_same(saved: &Path, checkpoint: &Checkpoint) {
    let found = load(saved).unwrap();
    assert_eq!(found.config, checkpoint.config);
    assert_eq!(found.preprocessing, checkpoint.preprocessing);
    assert_eq!(found.tokenizer.cleaning, checkpoint.tokenizer.cleaning);
    assert_eq!(found.tensors, checkpoint.tensors);
}

#[test]
fn the_layout_of_transformers_is_written_as_it_is_read() {
    let checkpoint = load(&fixture("hugging-face")).unwrap();
    let place = TempDir::new().unwrap();
    // What `--standalone` writes.
    let saved = save(place.path(), &checkpoint).unwrap();
    assert!(saved.notes.is_empty(), "{:?}", saved.notes);
    let there = content(&fixture("hugging-face/model.safetensors"));
    assert_eq!(content(&saved.weights_path), there);
    assert_same(place.path(), &checkpoint);
}

#[test]
fn the_layout_of_open_clip_is_written_as_it_is_read() {
    let checkpoint = load(&fixture("open-clip")).unwrap();
    let place = TempDir::new().unwrap();
    let saved = save_as(place.path(), &checkpoint, Layout::OpenClip).unwrap();
    let there = content(&fixture("open-clip/open_clip_model.safetensors"));
    assert_eq!(content(&saved.weights_path), there);
    assert_same(place.path(), &checkpoint);
}

#[test]
fn a_checkpoint_goes_from_one_layout_to_the_other() {
    let place = TempDir::new().unwrap();
    let theirs = load(&fixture("open-clip")).unwrap();
    save_as(place.path(), &theirs, Layout::HuggingFace).unwrap();
    assert_same(place.path(), &theirs);

    let mut ours = load(&fixture("hugging-face")).unwrap();
    let error = save_as(place.path(), &ours, Layout::OpenClip).unwrap_err();
    assert!(error.to_string().contains("text cleaning"), "{error}");
    ours.tokenizer.cleaning = TextCleaning::Canonicalize;
    let place = TempDir::new().unwrap();
    save_as(place.path(), &ours, Layout::OpenClip).unwrap();
    assert_same(place.path(), &ours);
}

#[test]
fn what_a_layout_cannot_say_is_refused() {
    let mut checkpoint = load(&fixture("open-clip")).unwrap();
    let place = TempDir::new().unwrap();
    checkpoint.preprocessing.resize_rule = ResizeRule::Shortest;
    let error = save_descriptions(place.path(), &checkpoint).unwrap_err();
    assert!(error.to_string().contains("crops"), "{error}");

    let VisionConfig::Siglip(vit) = &mut checkpoint.config.vision else {
        panic!("a SigLIP");
    };
    vit.transformer.activation = Activation::Gelu;
    let error = save_as(place.path(), &checkpoint, Layout::OpenClip).unwrap_err();
    assert!(error.to_string().contains("under no name"), "{error}");
}
