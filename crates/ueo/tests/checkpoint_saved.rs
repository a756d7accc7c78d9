//! What is written can be read again: full checkpoints in both layouts, and the file of adapted parameters.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ueo::checkpoint::{Adapted, Checkpoint, CheckpointError, CheckpointKind, load, save};
use ueo::image::ResizeRule;
use ueo::tensor::{HostTensor, TensorMap};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/checkpoints")
        .join(name)
}

fn round_trip(checkpoint: &Checkpoint, kind: CheckpointKind) -> (tempfile::TempDir, Checkpoint) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("saved/here");
    let saved = save(&directory, checkpoint).unwrap();
    assert_eq!(saved.kind, kind);
    let reloaded = load(&directory).unwrap();
    assert_eq!(reloaded.kind, kind);
    assert_eq!(reloaded.weights_path, saved.weights_path);
    assert_eq!(reloaded.config, checkpoint.config);
    assert_eq!(reloaded.preprocessing, checkpoint.preprocessing);
    assert_eq!(reloaded.tensors, checkpoint.tensors);
    (parent, reloaded)
}

#[test]
fn a_vit_round_trips_as_hugging_face() {
    for name in ["hf-vit/model", "hf-vit-bin/model", "openclip-vit/model"] {
        let checkpoint = load(&fixture(name)).unwrap();
        let (_directory, reloaded) = round_trip(&checkpoint, CheckpointKind::HuggingFace);
        // The tokenizer's files moved along.
        assert_ne!(reloaded.tokenizer, checkpoint.tokenizer);
        assert!(reloaded.decisions.is_empty(), "{:?}", reloaded.decisions);
    }
}

#[test]
fn a_resnet_round_trips_as_open_clip() {
    for name in ["openai-rn-torchscript-f16/model.pt", "openclip-rn/model"] {
        let checkpoint = load(&fixture(name)).unwrap();
        let (_directory, reloaded) = round_trip(&checkpoint, CheckpointKind::OpenClip);
        assert_eq!(reloaded.tokenizer, checkpoint.tokenizer);
    }
}

#[test]
fn squeezing_round_trips_in_both_layouts() {
    for (name, kind) in [
        ("openclip-vit/model", CheckpointKind::HuggingFace),
        ("openclip-rn/model", CheckpointKind::OpenClip),
    ] {
        let mut checkpoint = load(&fixture(name)).unwrap();
        checkpoint.preprocessing.resize_rule = ResizeRule::Squash;
        round_trip(&checkpoint, kind);
    }
}

#[test]
fn a_vit_with_a_vocabulary_that_nobody_has_round_trips_as_open_clip() {
    let checkpoint = load(&fixture("openai-vit-torchscript-f16/model.pt")).unwrap();
    round_trip(&checkpoint, CheckpointKind::OpenClip);
}

#[test]
fn saving_twice_gives_the_same_bytes_and_leaves_nothing_else() {
    let checkpoint = load(&fixture("hf-vit/model")).unwrap();
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    save(first.path(), &checkpoint).unwrap();
    save(second.path(), &checkpoint).unwrap();
    save(second.path(), &checkpoint).unwrap();
    let files = |directory: &Path| -> BTreeMap<_, Vec<u8>> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
            .collect()
    };
    let written = files(first.path());
    assert_eq!(written, files(second.path()));
    let names: Vec<_> = written.keys().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "tokenizer.json"
        ]
    );
}

#[test]
fn saving_over_the_source_keeps_its_tokenizer() {
    let checkpoint = load(&fixture("hf-vit/model")).unwrap();
    let (_directory, copy) = round_trip(&checkpoint, CheckpointKind::HuggingFace);
    let before = fs::read(copy.path.join("tokenizer.json")).unwrap();
    save(&copy.path, &copy).unwrap();
    assert_eq!(fs::read(copy.path.join("tokenizer.json")).unwrap(), before);
}

#[test]
fn an_incomplete_checkpoint_is_not_saved() {
    let mut checkpoint = load(&fixture("hf-vit/model")).unwrap();
    checkpoint.tensors.remove("visual.proj");
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("saved");
    let error = save(&directory, &checkpoint).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("1 missing tensor:\n    visual.proj"),
        "{error}"
    );
    assert!(!directory.exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let checkpoint = load(&fixture("hf-vit/model")).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("occupied");
    fs::write(&file, "x").unwrap();
    let error = save(&file, &checkpoint).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }));
    assert!(error.to_string().contains("occupied"), "{error}");
}

fn adapted_for(checkpoint: &Checkpoint) -> Adapted {
    let width = checkpoint.config.text.transformer.width;
    let affine = checkpoint
        .tensors
        .iter()
        .filter(|(name, _)| name.starts_with("visual.") && name.contains("ln_"))
        .map(|(name, tensor)| {
            let data = tensor.data.iter().map(|value| value + 0.25).collect();
            let shape = tensor.shape.clone();
            (name.clone(), HostTensor { shape, data })
        })
        .collect();
    Adapted {
        context: HostTensor {
            shape: vec![4, width],
            data: (0..4 * width).map(|value| value as f32).collect(),
        },
        affine,
        centring: TensorMap::from([(
            "centring.image_mean".to_owned(),
            HostTensor {
                shape: vec![2],
                data: vec![0.25, -0.5],
            },
        )]),
        metadata: BTreeMap::from([
            ("base_sha256".to_owned(), checkpoint.sha256.clone()),
            ("another".to_owned(), "é \"quoted\"".to_owned()),
        ]),
    }
}

#[test]
fn adapted_parameters_round_trip_and_merge() {
    let base = load(&fixture("hf-vit/model")).unwrap();
    let adapted = adapted_for(&base);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("adapted.safetensors");
    adapted.save(&path).unwrap();
    let first = fs::read(&path).unwrap();
    let read = Adapted::load(&path).unwrap();
    assert_eq!(read, adapted);
    read.save(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    // The reference implementation agrees about the format.
    let file = safetensors::SafeTensors::deserialize(&first).unwrap();
    assert_eq!(
        file.tensor("context").unwrap().shape(),
        adapted.context.shape
    );

    let mut merged = base.tensors.clone();
    read.merge_into(&mut merged).unwrap();
    for (name, tensor) in &merged {
        let expected = adapted.affine.get(name).unwrap_or(&base.tensors[name]);
        assert_eq!(tensor, expected, "{name}");
    }
    assert_ne!(merged, base.tensors);
}

#[test]
fn adapted_parameters_of_another_model_are_listed_and_nothing_changes() {
    let base = load(&fixture("hf-vit/model")).unwrap();
    let adapted = adapted_for(&base);
    let mut other = load(&fixture("openai-vit-torchscript-f32/model.pt")).unwrap();
    let before = other.tensors.clone();
    let error = adapted.merge_into(&mut other.tensors).unwrap_err();
    let message = error.to_string();
    for words in [
        "unexpected tensors:",
        "visual.transformer.resblocks.1.ln_1.bias",
        "visual.ln_post.weight: expected [64], found [48]",
        "context: expected [4, 64], found [4, 32]",
    ] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
    assert_eq!(other.tensors, before);
}

#[test]
fn other_files_are_no_adapted_parameters() {
    let error = Adapted::load(&fixture("refused/not-a-clip.safetensors")).unwrap_err();
    assert!(error.to_string().contains("a matrix `context`"), "{error}");

    let base = load(&fixture("hf-vit/model")).unwrap();
    let mut adapted = adapted_for(&base);
    adapted.affine.insert(
        "visual.proj".to_owned(),
        base.tensors["visual.proj"].clone(),
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("adapted.safetensors");
    adapted.save(&path).unwrap();
    let error = Adapted::load(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`visual.proj` of shape [48, 24]"),
        "{error}"
    );
}
