//! open_clip's configurations of SigLIP. Features are compared in `model/siglip/tests.rs`.

use serde_json::{Value, json};

use super::*;

/// That of the fixture, which is too small for timm's list.
pub(super) const TOWERS: &[TimmTower] = towers! {
    "vit_fixture_patch8_siglip_36": 8, 36, 32, 2, 2, 64, GeluTanh;
};

/// open_clip's own configuration of `ViT-B-16-SigLIP2`.
fn published() -> Value {
    json!({
        "embed_dim": 768,
        "init_logit_bias": -10,
        "custom_text": true,
        "vision_cfg": {
            "image_size": 224,
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_model_pretrained": false,
            "timm_pool": "map",
            "timm_proj": "none"
        },
        "text_cfg": {
            "context_length": 64,
            "vocab_size": 256_000,
            "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 768,
            "heads": 12,
            "layers": 12,
            "no_causal_mask": true,
            "proj_bias": true,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"}
        }
    })
}

fn read(config: &Value) -> Result<OpenClipConfig, CheckpointError> {
    crate::checkpoint::open_clip::config(config.as_object().unwrap(), Path::new("config.json"))
}

#[test]
fn published_configurations_are_read() {
    let read = read(&published()).unwrap();
    assert_eq!(read.preprocessing, Preprocessing::siglip(224));
    let VisionConfig::Siglip(vit) = read.architecture.vision else {
        panic!("a SigLIP");
    };
    assert_eq!((vit.patch_size, vit.transformer.layers), (16, 12));
    assert_eq!(vit.transformer.activation, Activation::Gelu);
    let text = read.architecture.text;
    assert_eq!((text.context_length, text.vocab_size), (64, 256_000));
    assert_eq!(text.transformer.activation, Activation::GeluTanh);
    assert_eq!(text.transformer.layer_norm_epsilon, 1e-6);
}

#[test]
fn settings_that_change_results_are_refused_by_name() {
    for (pointer, value, named) in [
        (
            "/vision_cfg/timm_model_name",
            json!("vit_base_patch16_siglip_gap_224"),
            "timm_model_name",
        ),
        ("/vision_cfg/timm_pool", json!("avg"), "timm_pool"),
        ("/vision_cfg/timm_proj", json!("linear"), "timm_proj"),
        (
            "/vision_cfg/image_size",
            json!(256),
            "vision_cfg.image_size",
        ),
        ("/vision_cfg/unheard_of", json!(1), "vision_cfg.unheard_of"),
        ("/text_cfg/pool_type", json!("argmax"), "text_cfg.pool_type"),
        (
            "/text_cfg/no_causal_mask",
            json!(false),
            "text_cfg.no_causal_mask",
        ),
        ("/text_cfg/proj_bias", json!(false), "text_cfg.proj_bias"),
        ("/text_cfg/qk_norm", json!(true), "text_cfg.qk_norm"),
        (
            "/text_cfg/act_kwargs",
            json!({"approximate": "other"}),
            "approximate",
        ),
        (
            "/text_cfg/tokenizer_kwargs",
            json!({"strip_sep_token": true}),
            "strip_sep_token",
        ),
        ("/embed_dim", json!(512), "embed_dim"),
        ("/quick_gelu", json!(true), "quick_gelu"),
        (
            "/preprocess_cfg",
            json!({"resize_mode": "longest"}),
            "resize_mode",
        ),
    ] {
        let mut config = published();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        let error = read(&config).unwrap_err().to_string();
        assert!(error.contains(named), "{pointer}: {error}");
    }
}
