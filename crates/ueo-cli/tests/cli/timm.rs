//! A published image tower of timm from the command line to the files. Its tensors have no meaning, its input is small.

use std::fs;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::support::{Workplace, features_of};

const EMBED_DIM: usize = 24;
const TEXT_WIDTH: usize = 24;
const VOCABULARY: usize = 49_408;
/// Of `convnext_tiny`: blocks and channels per stage.
const STAGES: [(usize, usize); 4] = [(3, 96), (3, 192), (9, 384), (3, 768)];

/// Names and shapes of a `convnext_tiny` with a text tower of one block.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut list: Vec<(String, Vec<usize>)> = Vec::new();
    let mut layer = |name: String, shape: &[usize]| {
        list.push((format!("{name}.bias"), shape[..1].to_vec()));
        list.push((format!("{name}.weight"), shape.to_vec()));
    };
    let trunk = "visual.trunk";
    layer(format!("{trunk}.stem.0"), &[96, 3, 4, 4]);
    layer(format!("{trunk}.stem.1"), &[96]);
    layer(format!("{trunk}.head.norm"), &[768]);
    let mut gammas = Vec::new();
    for (stage, (blocks, width)) in STAGES.into_iter().enumerate() {
        let stage_name = format!("{trunk}.stages.{stage}");
        if stage > 0 {
            layer(format!("{stage_name}.downsample.0"), &[width / 2]);
            layer(
                format!("{stage_name}.downsample.1"),
                &[width, width / 2, 2, 2],
            );
        }
        for block in 0..blocks {
            let name = format!("{stage_name}.blocks.{block}");
            layer(format!("{name}.conv_dw"), &[width, 1, 7, 7]);
            layer(format!("{name}.norm"), &[width]);
            layer(format!("{name}.mlp.fc1"), &[4 * width, width]);
            layer(format!("{name}.mlp.fc2"), &[width, 4 * width]);
            gammas.push((format!("{name}.gamma"), vec![width]));
        }
    }
    let block = "transformer.resblocks.0";
    layer(format!("{block}.attn.out_proj"), &[TEXT_WIDTH, TEXT_WIDTH]);
    layer(format!("{block}.mlp.c_fc"), &[4 * TEXT_WIDTH, TEXT_WIDTH]);
    layer(format!("{block}.mlp.c_proj"), &[TEXT_WIDTH, 4 * TEXT_WIDTH]);
    for norm in ["ln_1", "ln_2"] {
        layer(format!("{block}.{norm}"), &[TEXT_WIDTH]);
    }
    layer("ln_final".to_owned(), &[TEXT_WIDTH]);
    list.append(&mut gammas);
    for (name, shape) in [
        ("visual.head.proj.weight", vec![EMBED_DIM, 768]),
        (
            "transformer.resblocks.0.attn.in_proj_weight",
            vec![3 * TEXT_WIDTH, TEXT_WIDTH],
        ),
        (
            "transformer.resblocks.0.attn.in_proj_bias",
            vec![3 * TEXT_WIDTH],
        ),
        ("token_embedding.weight", vec![VOCABULARY, TEXT_WIDTH]),
        ("positional_embedding", vec![77, TEXT_WIDTH]),
        ("text_projection", vec![TEXT_WIDTH, EMBED_DIM]),
        ("logit_scale", vec![]),
    ] {
        list.push((name.to_owned(), shape));
    }
    list
}

/// A value of a tensor: about 1 where it is a factor, small where it is summed.
fn value(name: &str, shape: &[usize], place: usize) -> f32 {
    let noise = (place.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
    match shape {
        [] => 3.0,
        [_] if name.ends_with(".weight") => 1.0 + 0.1 * noise,
        [_] => 0.2 * noise,
        [_, rest @ ..] => noise * (3.0 / rest.iter().product::<usize>() as f32).sqrt(),
    }
}

/// A directory of open_clip's with that model.
fn workplace() -> Workplace {
    let place = Workplace::new();
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors()
        .into_iter()
        .map(|(name, shape)| {
            let values = 0..shape.iter().product::<usize>();
            let bytes = values
                .flat_map(|place| value(&name, &shape, place).to_le_bytes())
                .collect();
            (name, shape, bytes)
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    place.write("clip/open_clip_model.safetensors", bytes);
    let config = json!({
        "model_cfg": {
            "embed_dim": EMBED_DIM,
            "vision_cfg": {"timm_model_name": "convnext_tiny", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
            "text_cfg": {"context_length": 77, "vocab_size": VOCABULARY, "width": TEXT_WIDTH, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {},
    });
    place.write("clip/open_clip_config.json", config.to_string());
    place
}

#[test]
fn a_convnext_adapts_is_inspected_and_becomes_full_weights() {
    let place = workplace();
    let said = place.run("inspect --model clip", 0).stdout;
    for fact in [
        "ConvNeXt, 64 x 64 pixels, blocks [3, 3, 9, 3], widths [96, 192, 384, 768]",
        "exact GELU in the image tower",
    ] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    place.run(
        "adapt --model clip --images images --classes classes.txt --output run --epochs 1 --batch-size 12 \
         --train-blocks last-3 --no-report",
        0,
    );
    let adapted = fs::read(place.path("run/adapted.safetensors")).unwrap();
    let adapted = safetensors::SafeTensors::deserialize(&adapted).unwrap();
    assert!(
        adapted
            .tensor("visual.trunk.stages.3.blocks.0.norm.weight")
            .is_ok()
    );
    place
        .run(
            "adapt --model clip --images images --classes classes.txt --output other --train-blocks last-19",
            2,
        )
        .says(&["at most last-18"]);

    place.run("export run --to open_clip --output open", 0);
    let features = |model: &str| {
        let output =
            format!("embed --model {model} --images images --output f.safetensors --overwrite");
        place.run(&output, 0);
        features_of(&place.path("f.safetensors"))
    };
    let (run, exported) = (features("run"), features("open"));
    let apart = run.iter().zip(&exported).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) < 1e-6 && run.len() == exported.len());
    place
        .run("export run --to hugging-face --output face", 2)
        .says(&["in Hugging Face's layout"]);
    for (format, output) in [("onnx", "graph.onnx"), ("onnx-encoder", "graph")] {
        place
            .run(&format!("export run --to {format} --output {output}"), 2)
            .says(&[
                "a ConvNeXt is not exported to ONNX yet",
                "hint:",
                "--to open_clip",
            ]);
    }
}
