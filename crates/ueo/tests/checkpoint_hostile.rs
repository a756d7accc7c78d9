//! Files made to cost memory, time, or a panic: each is refused within two seconds and half a gigabyte, by name.

mod fixtures;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ueo::checkpoint::{CheckpointError, load};

const LONGEST: Duration = Duration::from_secs(2);
const LARGEST_KIB: u64 = 512 << 10;

/// Loads what must not load, within the limits; the message is short and has no control character.
fn refusal(path: &Path, words: &[&str]) -> CheckpointError {
    let start = Instant::now();
    let error = load(path).expect_err("this must not load");
    let elapsed = start.elapsed();
    assert!(elapsed < LONGEST, "{elapsed:?}: {error}");
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert!(
        message.lines().all(|line| line.len() < 2_000),
        "{} bytes",
        message.len()
    );
    assert!(
        !message.contains(|c: char| c.is_control() && c != '\n'),
        "{message:?}"
    );
    if let Some(peak) = peak_memory_kib() {
        assert!(peak < LARGEST_KIB, "{peak} KiB: {message}");
    }
    error
}

/// The most memory that this process ever had, where the system says so.
fn peak_memory_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// An archive of `torch.save` with this pickle.
fn archive(pickle: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = written("model.pt", b"");
    let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("m/data.pkl", options).unwrap();
    archive.write_all(pickle).unwrap();
    archive
        .start_file(
            "m/data/0",
            options.compression_method(zip::CompressionMethod::Stored),
        )
        .unwrap();
    archive.write_all(&[0; 4]).unwrap();
    archive.finish().unwrap();
    (directory, path)
}

fn refuse_pickle(pickle: &[u8], words: &[&str]) {
    let (_directory, path) = archive(pickle);
    refusal(&path, words);
}

#[test]
fn a_list_that_is_made_a_dictionary_again_and_again() {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01(K\x01K\x01\x86q\x02".to_vec();
    pickle.extend(b"h\x02".repeat(10_000));
    pickle.extend(b"e\x85q\x030");
    pickle.extend(b"h\x00h\x03R0".repeat(60_000));
    pickle.extend(b"}.");
    refuse_pickle(&pickle, &["more than 524288 values in its pickle"]);
}

#[test]
fn a_shape_with_thousands_of_axes() {
    let mut pickle = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    pickle.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\x00(K\x01q\x02");
    pickle.extend(b"h\x02".repeat(2_000));
    pickle.extend(b"tq\x03h\x03\x89}tq\x04R0");
    pickle.extend(b"h\x00h\x04R0".repeat(100_000));
    pickle.extend(b"}.");
    refuse_pickle(&pickle, &["a tensor of 2001 axes", "not supported"]);

    let shape = vec!["1"; 2_000].join(",");
    let header =
        format!("{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{shape}],\"data_offsets\":[0,4]}}}}");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 4]);
    let (_directory, path) = written("model.safetensors", &bytes);
    refusal(&path, &["a tensor of 2000 axes", "`x`"]);
}

#[test]
fn a_long_tuple_that_is_taken_up_again_and_again() {
    let mut pickle = b"\x80\x02ctorch\nSize\nq\x00(Nq\x01".to_vec();
    pickle.extend(b"h\x01".repeat(400_000));
    pickle.extend(b"tq\x02");
    pickle.extend(b"h\x00h\x02R0".repeat(1_000_000));
    pickle.extend(b"}.");
    refuse_pickle(&pickle, &["not a CLIP model", "no tensors"]);
    let endless = [&b"\x80\x02Nq\x000"[..], &b"h\x000".repeat(3 << 20), b"."].concat();
    refuse_pickle(&endless, &["more than 8388608 bytes of pickle"]);
}

#[test]
fn an_archive_of_millions_of_entries() {
    let (_directory, path) = archive(b"}.");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len() - 22;
    let mut end_record = bytes.split_off(end);
    let (directory, record) = (bytes.len() as u64, bytes.len() as u64);
    // The 64-bit end record and its locator in front of the old one, which then counts nothing.
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44_u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [5_000_000, 5_000_000, 100, directory] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(record.to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    end_record[8..20].fill(0xff);
    bytes.extend(end_record);
    fs::write(&path, bytes).unwrap();
    refusal(&path, &["more than 100000 entries"]);
}

#[test]
fn one_name_for_every_tensor() {
    // A name of one megabyte that 100,000 entries share.
    let mut pickle = b"\x80\x02X\x00\x00\x10\x00".to_vec();
    pickle.extend(vec![b'x'; 1 << 20]);
    pickle.extend(
        b"q\x000ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n",
    );
    pickle.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\x00))\x89NtRq\x010}(");
    pickle.extend(b"h\x00h\x01".repeat(100_000));
    pickle.extend(b"u.");
    refuse_pickle(&pickle, &["modules and tensors"]);
}

#[test]
fn configurations_of_millions_of_values() {
    for (text, words) in [
        (
            format!("{{\"a\": [{}0]}}", "[],".repeat(500_000)),
            "more than 100000 values of JSON",
        ),
        (
            format!("{{\"a\": \"{}\"}}", "x".repeat(5 << 20)),
            "more than 4194304 bytes of JSON",
        ),
        ("[".repeat(1_000), "recursion limit"),
    ] {
        let directory = copy("checkpoints/hf-vit/model");
        fs::write(directory.path().join("config.json"), text).unwrap();
        refusal(directory.path(), &[words]);
    }
}

#[test]
fn values_are_quoted_within_a_line() {
    let escape = "\u{1b}[2J\u{202e}".to_owned();
    for long in [escape.repeat(10), escape + &"x".repeat(1 << 20)] {
        let directory = copy("checkpoints/hf-vit/model");
        edit(&directory.path().join("config.json"), |config| {
            config["text_config"]["hidden_act"] = long.clone().into();
        });
        refusal(directory.path(), &["hidden_act"]);
        let directory = copy("checkpoints/hf-vit/model");
        edit(&directory.path().join("config.json"), |config| {
            config["model_type"] = long.clone().into();
            config["architectures"] = Value::Null;
        });
        refusal(directory.path(), &["not supported"]);
        let header = json!({long.clone(): {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
            .to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 4]);
        let (_directory, path) = written("model.safetensors", &bytes);
        refusal(&path, &["not a CLIP model"]);
        let name = [b"\x80\x02c", long.as_bytes(), b"\nname\n."].concat();
        refuse_pickle(&name, &["nothing was executed"]);
    }
}

#[test]
fn other_formats_are_named_and_not_called_damaged() {
    for (beginning, words) in [
        (&b"\x28\xb5\x2f\xfd"[..], "Zstandard"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01", "NumPy"),
        (b"GGUF\x03", "GGUF"),
        (b"<!DOCTYPE html>", "HTML"),
    ] {
        let mut bytes = beginning.to_vec();
        bytes.resize(100, 0);
        let (_directory, path) = written("model.pt", &bytes);
        let error = refusal(&path, &[words]);
        assert!(matches!(error, CheckpointError::Unrecognized { .. }));
    }
    let (_directory, path) = written("model.pt", b"\x80\x02]q\x00.");
    refusal(&path, &["no checkpoint", "a bare pickle of a list"]);
}

fn copy(source: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures::path(source)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    directory
}

fn edit(path: &Path, edit: impl Fn(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn tokenizers_with_other_parts_are_refused_by_name() {
    let tenfold = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"});
    let cases: [(&str, Value); 16] = [
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": vec![tenfold; 12]}),
        ),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ),
        ("/normalizer", json!({"type": "Lowercase"})),
        ("/normalizer", Value::Null),
        (
            "/pre_tokenizer",
            json!({"type": "FixedLength", "length": 0}),
        ),
        (
            "/pre_tokenizer/pretokenizers/0/pattern",
            json!({"Regex": "(a*)*b"}),
        ),
        (
            "/pre_tokenizer/pretokenizers/1/add_prefix_space",
            json!(true),
        ),
        (
            "/post_processor",
            json!({"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}),
        ),
        ("/post_processor/sep/0", json!("a")),
        ("/model/type", json!("Unigram")),
        ("/model/dropout", json!(0.9)),
        (
            "/model/continuing_subword_prefix",
            json!("\u{20ac}\u{20ac}\u{20ac}"),
        ),
        ("/model/end_of_word_suffix", json!("")),
        ("/model/byte_fallback", json!(true)),
        ("/model/ignore_merges", json!(true)),
        ("/model/a_key_of_the_future", json!(3)),
    ];
    for (pointer, value) in cases {
        let directory = copy("checkpoints/hf-vit/model");
        edit(
            &directory.path().join("tokenizer.json"),
            |file| match file.pointer_mut(pointer) {
                Some(place) => *place = value.clone(),
                None => file["model"]["a_key_of_the_future"] = value.clone(),
            },
        );
        let key = match pointer.split('/').nth(1).unwrap() {
            "model" => format!("model.{}", pointer.split('/').nth(2).unwrap()),
            part => part.to_owned(),
        };
        let error = refusal(directory.path(), &[&format!("`{key}`"), "not supported"]);
        assert!(matches!(error, CheckpointError::Tokenizer(_)), "{error:?}");
    }
}

#[test]
fn impossible_vocabularies_are_refused() {
    let change = |pointer: &'static str, value: Value| {
        let directory = copy("checkpoints/hf-vit/model");
        edit(&directory.path().join("tokenizer.json"), |file| {
            *file.pointer_mut(pointer).unwrap() = value.clone();
        });
        directory
    };
    for (pointer, value, words) in [
        ("/model/vocab/a", json!(u32::MAX), "the id 4294967295"),
        ("/model/vocab/a", json!(-1), "invalid"),
        ("/model/merges", json!(["a b c"]), "two pieces"),
        ("/model/merges", json!([["a", "b", "c"]]), "two pieces"),
        ("/added_tokens/0/id", json!(7), "`added_tokens`"),
        ("/added_tokens/0/content", json!(""), "`added_tokens`"),
    ] {
        refusal(change(pointer, value).path(), &[words]);
    }
    let many: serde_json::Map<_, _> = (0..300_000).map(|id| (id.to_string(), json!(id))).collect();
    refusal(
        change("/model/vocab", many.into()).path(),
        &["more than 262144 tokens"],
    );
    let directory = copy("checkpoints/hf-vit/model");
    fs::write(
        directory.path().join("tokenizer.json"),
        "0,".repeat(9 << 20),
    )
    .unwrap();
    refusal(directory.path(), &["more than 16777216 bytes"]);
    fs::write(
        directory.path().join("tokenizer.json"),
        format!("[{}0]", "0,".repeat(7 << 20)),
    )
    .unwrap();
    refusal(directory.path(), &["more than 1048576 values"]);
}

/// A copy of the model of a directory, one of whose tensors has another first value.
fn with_value(source: &str, file: &str, tensor: &str, value: f32) -> tempfile::TempDir {
    let directory = copy(source);
    let path = directory.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    let header_length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_length]).unwrap();
    let start = 8 + header_length + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    match header[tensor]["dtype"].as_str().unwrap() {
        "F32" => bytes[start..start + 4].copy_from_slice(&value.to_le_bytes()),
        _ => bytes[start..start + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes()),
    }
    fs::write(path, bytes).unwrap();
    directory
}

#[test]
fn weights_with_which_nothing_can_be_computed_are_named() {
    let hugging_face = ("checkpoints/hf-vit/model", "model.safetensors");
    let resnet = (
        "checkpoints/openclip-rn/model",
        "open_clip_model.safetensors",
    );
    for ((source, file), tensor, value, words) in [
        (
            hugging_face,
            "visual_projection.weight",
            f32::NAN,
            "NaN at element 0",
        ),
        (
            hugging_face,
            "text_model.encoder.layers.0.self_attn.k_proj.bias",
            f32::INFINITY,
            "inf at element 0",
        ),
        (
            hugging_face,
            "logit_scale",
            50.0,
            "a factor between 0.01 and 10000",
        ),
        (hugging_face, "logit_scale", -9.0, "but is -9"),
        (resnet, "visual.bn1.running_var", -1.0, "not negative"),
        (
            resnet,
            "visual.layer1.0.conv1.weight",
            f32::NEG_INFINITY,
            "-inf at element 0",
        ),
    ] {
        let directory = with_value(source, file, tensor, value);
        let error = refusal(directory.path(), &[&format!("`{tensor}`"), words]);
        assert!(matches!(error, CheckpointError::BadValue { .. }));
    }
}
