//! The models that ship with the project give the features that open_clip computes from the same directories.
//!
//! `tools/fixtures/shipped_models.py` made the expected features.

mod fixtures;

use std::path::{Path, PathBuf};

use ueo::session::{Images, Model, embed_images, embed_texts};
use ueo::text::Overlong;

use fixtures::{Fixture, assert_close};

/// Largest difference between unit vectors, relative to their largest entry.
const TOLERANCE: f64 = 1e-4;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn compare(name: &str) {
    let inputs = fixtures::json("shipped_models/inputs.json");
    let expected = Fixture::open(&format!("shipped_models/{name}.safetensors"));
    let model = Model::open(models().join(name)).unwrap();

    let images = models().join("demo/images.tar");
    let images = Images::open(&images, None, &model.preprocessing, 0).unwrap();
    let found = embed_images(&model, &images, true, &mut ()).unwrap();
    let rows = strings(&inputs["images"])
        .into_iter()
        .flat_map(|image| {
            let row = found
                .names
                .iter()
                .position(|id| id.ends_with(&image))
                .unwrap_or_else(|| panic!("{image} is not among {:?}", &found.names[..3]));
            found.features[row * found.embed_dim..][..found.embed_dim].to_vec()
        })
        .collect::<Vec<_>>();
    assert_close(
        &format!("{name}: image features"),
        &rows,
        &expected.tensor("image_features").data,
        TOLERANCE,
    );

    let texts = strings(&inputs["texts"]);
    let found = embed_texts(&model, &texts, Overlong::Error).unwrap();
    assert_close(
        &format!("{name}: text features"),
        &found.features,
        &expected.tensor("text_features").data,
        TOLERANCE,
    );
}

#[test]
fn the_resnet_is_the_one_that_open_clip_loads() {
    compare("iconclip-resnet");
}

#[test]
fn the_vision_transformer_is_the_one_that_open_clip_loads() {
    compare("iconclip-vit");
}
