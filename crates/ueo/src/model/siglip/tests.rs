//! open_clip's layout against open_clip and timm. `tools/fixtures/siglip.py` made the checkpoint with a tower that is in no list of
//! timm's, so only this crate's own tests can read it.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;

use crate::checkpoint::{Activation, Checkpoint, TextArchitecture, load};
use crate::image::Preprocessing;
use crate::model::{Clip, Engine, Prompts};
use crate::text::{TextCleaning, Tokenizer};

const TOLERANCE: f32 = 1e-4;

fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/siglip/open-clip"
    ))
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

fn assert_close(what: &str, found: Tensor<2>, expected: &[f32]) {
    let found = found.try_into_vec_as::<f32>().unwrap();
    let scale = expected.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= TOLERANCE * scale,
            "{what}: {found}, not {expected}"
        );
    }
}

#[test]
fn features_equal_open_clip() {
    let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let texts: Vec<String> =
        serde_json::from_slice(&std::fs::read(folder().join("texts.json")).unwrap()).unwrap();
    let ids = expected.tensor("token_ids").unwrap();
    let length = ids.shape()[1];
    let ids: Vec<i64> = bytemuck::pod_collect_to_vec(ids.data());
    let device = Device::flex();
    for engine in [Engine::Fused, Engine::Composed] {
        let Checkpoint {
            config,
            tensors,
            tokenizer,
            preprocessing,
            ..
        } = load(&folder()).unwrap();
        assert_eq!(tokenizer.cleaning, TextCleaning::Canonicalize);
        assert_eq!(preprocessing, Preprocessing::siglip(36));
        // The two towers are not alike: timm says one, `act_kwargs` the other.
        assert_eq!(config.text.transformer.activation, Activation::Gelu);
        let tokenizer = Tokenizer::load(&tokenizer).unwrap();
        let clip = Clip::with_engine(config, tensors, &device, engine).unwrap();

        let pixels = expected.tensor("pixels").unwrap();
        let shape: [usize; 4] = pixels.shape().try_into().unwrap();
        let pixels = TensorData::new(floats(&expected, "pixels"), shape);
        let images =
            clip.image_features(Tensor::from_data(pixels, &device), clip.zero_shot_affine());
        assert_close("images", images, &floats(&expected, "image_features"));

        let own: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| {
                let mut tokens = tokenizer.encode(text).unwrap();
                tokens.truncate(length - 1);
                tokens.push(tokenizer.end_of_text());
                tokens
            })
            .collect();
        let TextArchitecture::Padded { padding_token, .. } = clip.config().text.architecture else {
            panic!("SigLIP pads its texts");
        };
        for ((own, ids), text) in own.iter().zip(ids.chunks_exact(length)).zip(&texts) {
            let mut padded: Vec<i64> = own.iter().map(|&id| id.into()).collect();
            padded.resize(length, padding_token.into());
            assert_eq!(padded, ids, "{text:?}");
        }
        let prompts = Prompts::new(tokenizer.start_of_text(), 0, own);
        clip.text().check(&prompts).unwrap();
        let texts = clip.text().features(&prompts, None);
        assert_close("texts", texts, &floats(&expected, "text_features"));
    }
}
