//! IconCLIP with a modified ResNet: a CLIP of 3.9 million parameters for icons, in open_clip's layout. `tools/iconnet` of
//! the repository trains it.

#![forbid(unsafe_code)]

/// The files that `ueo` reads, by name.
pub const FILES: [(&str, &[u8]); 3] = [
    (
        "open_clip_config.json",
        include_bytes!("open_clip_config.json"),
    ),
    (
        "open_clip_model.safetensors",
        include_bytes!("open_clip_model.safetensors"),
    ),
    ("tokenizer.json", include_bytes!("tokenizer.json")),
];
