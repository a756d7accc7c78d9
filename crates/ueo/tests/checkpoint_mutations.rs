//! Valid files with seeded damage, thousands of each kind: whatever comes of it, no reader panics, hangs or takes the
//! machine's memory. The same functions serve as fuzz targets.

mod fixtures;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ueo::checkpoint::fuzzing;
use ueo::text::{TextCleaning, TextError, Tokenizer, TokenizerContent, TokenizerSource};

/// Of each kind, unless `UEO_MUTATIONS` asks for more.
const MUTATIONS: u64 = 3_000;
/// For one file; a slow machine needs milliseconds.
const LONGEST: Duration = Duration::from_secs(2);
/// For each thousand of one kind.
const LONGEST_THOUSAND: Duration = Duration::from_secs(20);

fn below(rng: &mut ChaCha8Rng, end: usize) -> usize {
    (rng.next_u64() % end.max(1) as u64) as usize
}

/// One to eight changes of the kinds that break readers: bits, lengths, repetitions, losses.
fn mutated(original: &[u8], words: &[&[u8]], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=below(rng, 8) {
        let at = below(rng, bytes.len());
        let length = 1 + below(rng, 16);
        let end = (at + length).min(bytes.len());
        match below(rng, 8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
            1 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                let times = 1 + below(rng, 200);
                bytes.splice(at..at, piece.repeat(times));
            }
            4 => bytes.truncate(at),
            5 => {
                let from = below(rng, original.len());
                let piece = &original[from..(from + length).min(original.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
            6 => {
                let extreme = [0, 1, 0x7f, 0x80, 0xff][below(rng, 5)];
                bytes[at..end].fill(extreme);
            }
            _ => {
                let word = words[below(rng, words.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

/// Runs `read` on mutations of each original; says how many were still taken.
fn run(what: &str, originals: &[Vec<u8>], words: &[&[u8]], read: impl Fn(&[u8]) -> bool) {
    let asked = std::env::var("UEO_MUTATIONS").ok();
    let mutations = asked.map_or(MUTATIONS, |number| number.parse().expect("a number"));
    let start = Instant::now();
    let mut taken = 0;
    for seed in 0..mutations {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let original = &originals[seed as usize % originals.len()];
        let bytes = mutated(original, words, &mut rng);
        let begun = Instant::now();
        taken += u64::from(read(&bytes));
        assert!(
            begun.elapsed() < LONGEST,
            "{what}: seed {seed} took {:?}",
            begun.elapsed()
        );
    }
    let elapsed = start.elapsed();
    println!("{what}: {mutations} mutations, {taken} still taken, {elapsed:?}");
    assert!(
        elapsed < LONGEST_THOUSAND * (1 + mutations as u32 / 1_000),
        "{what}: {elapsed:?}"
    );
    assert!(taken < mutations, "{what}: nothing was refused");
    #[cfg(target_os = "linux")]
    {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let peak: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(peak < 512 << 10, "{what}: {peak} KiB");
    }
}

fn file(relative: &str) -> Vec<u8> {
    fs::read(fixtures::path(relative)).unwrap()
}

/// The pickle inside an archive.
fn pickle_of(relative: &str) -> Vec<u8> {
    let mut archive =
        zip::ZipArchive::new(fs::File::open(fixtures::path(relative)).unwrap()).unwrap();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    let name = names
        .iter()
        .find(|name| name.ends_with("data.pkl"))
        .unwrap();
    let mut pickle = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut pickle).unwrap();
    pickle
}

#[test]
fn pickles() {
    let originals = [
        pickle_of("checkpoint_wrappers/lightning.ckpt"),
        pickle_of("checkpoint_wrappers/trainer.pt"),
        pickle_of("checkpoints/openai-vit-torchscript-f32/model.pt"),
    ];
    assert!(fuzzing::pickle(&originals[0], false).is_ok());
    assert!(fuzzing::pickle(&originals[2], true).is_ok());
    let words: [&[u8]; 12] = [
        b"(",
        b"t",
        b"R",
        b"u",
        b"e",
        b"0",
        b"h\x00",
        b"j\x00\x00\x00\x00",
        b"ccollections\nOrderedDict\n",
        b"\x81",
        b"b",
        b"X\xff\xff\xff\x7f",
    ];
    run("pickles", &originals, &words, |bytes| {
        fuzzing::pickle(bytes, true).is_ok()
    });
}

#[test]
fn weights_of_every_container() {
    let originals = [
        file("checkpoint_variants/stream.bin"),
        file("checkpoint_wrappers/open_clip_model.safetensors"),
        file("checkpoints/openai-vit-state-dict/model.pt"),
    ];
    assert!(fuzzing::weights(&originals[2]).is_ok());
    let words: [&[u8]; 5] = [
        b"{",
        b"\"shape\":[9,9],",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"\xff\xff\xff\xff",
    ];
    // Most bytes are data; structure stands at the beginning, and at the end of archives.
    for (place, at) in [("beginning", 6_000_usize), ("end", usize::MAX)] {
        let parts: Vec<(Vec<u8>, Vec<u8>)> = originals
            .iter()
            .map(|original| {
                let (head, tail) = original.split_at(at.min(original.len() - 4_000));
                (head.to_vec(), tail.to_vec())
            })
            .collect();
        let damaged = |(head, tail): &(Vec<u8>, Vec<u8>)| match place {
            "beginning" => head.clone(),
            _ => tail.clone(),
        };
        let pieces: Vec<_> = parts.iter().map(damaged).collect();
        let turn = Cell::new(0);
        run(
            &format!("weights, damaged at the {place}"),
            &pieces,
            &words,
            |bytes| {
                let (head, tail) = &parts[turn.replace(turn.get() + 1) % parts.len()];
                let whole = match place {
                    "beginning" => [bytes, tail].concat(),
                    _ => [head, bytes].concat(),
                };
                fuzzing::weights(&whole).is_ok()
            },
        );
    }
}

const JSON_WORDS: [&[u8]; 12] = [
    b"{",
    b"[",
    b"\"",
    b",",
    b"null",
    b"-1",
    b"1e308",
    b"0",
    b"18446744073709551615",
    b"[[[[",
    b"true",
    b"\\u0000",
];

#[test]
fn configurations() {
    let originals = [
        file("checkpoints/hf-vit/model/config.json"),
        file("checkpoints/hf-vit/model/preprocessor_config.json"),
        file("checkpoints/openclip-vit/model/open_clip_config.json"),
        file("checkpoints/openclip-rn/model/open_clip_config.json"),
        file("siglip/hugging-face/config.json"),
        file("siglip/open-clip/open_clip_config.json"),
    ];
    assert!(fuzzing::hugging_face_configuration(&originals[0]).is_ok());
    assert!(fuzzing::open_clip_configuration(&originals[2]).is_ok());
    run("configurations", &originals, &JSON_WORDS, |bytes| {
        fuzzing::hugging_face_configuration(bytes).is_ok()
            | fuzzing::open_clip_configuration(bytes).is_ok()
    });
}

#[test]
fn tokenizers() {
    let originals = [
        file("checkpoints/hf-vit/model/tokenizer.json"),
        file("siglip/hugging-face/tokenizer.json"),
        file("siglip/siglip2-tokenizer/tokenizer.json"),
    ];
    let path = Path::new("tokenizer.json");
    run("tokenizers", &originals, &JSON_WORDS, |bytes| {
        let cleaning = TextCleaning::Whitespace;
        let content = TokenizerContent::from_tokenizer_json(bytes, cleaning, path)
            .or_else(|_| TokenizerContent::from_sentence_piece(bytes, cleaning, path));
        let Ok(tokenizer) = content.and_then(|content| Tokenizer::build(&content, path)) else {
            return false;
        };
        for text in [
            "a photo of a cat.",
            "A  Dog's 12 CATS \u{732b}",
            "<|endoftext|>",
            "",
        ] {
            let first = tokenizer.encode(text).ok();
            assert_eq!(
                first,
                tokenizer.encode(text).ok(),
                "the same ids every time"
            );
        }
        true
    });
}

#[test]
fn texts() {
    let tokenizer = Tokenizer::load(&TokenizerSource::OPENAI).unwrap();
    let originals: Vec<Vec<u8>> = [
        "a photo of a caf\u{e9} \u{2014} na\u{c3}\u{af}ve &amp;lt; &#x1F600; &#0; \u{1b}[31mred",
        "<b>&notit;</b>\n\u{feff}\u{ff46}\u{ff55}\u{ff4c}\u{ff4c} \u{fb01}ne \u{201c}quoted\u{201d} \u{d}\u{85}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let words: [&[u8]; 8] = [
        b"&#",
        b"&",
        b";",
        b"\xc3\x83",
        b"\xe2\x80\x99",
        b"\x1b[",
        b"<",
        b"\xc2\x80",
    ];
    run("texts", &originals, &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match tokenizer.encode(&text) {
            Ok(_) => text.contains('a'),
            Err(TextError::Encode { reason, .. }) => panic!("{reason}: {text:?}"),
            Err(_) => false,
        }
    });
}
