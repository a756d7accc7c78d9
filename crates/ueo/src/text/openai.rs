//! OpenAI's vocabulary, embedded, with the word splitting of openai-clip (`clip/simple_tokenizer.py`).

use std::io::Read;

use flate2::read::GzDecoder;
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::utils::SysRegex;

use super::TextError;
use super::tokenizer::{END_OF_TEXT, START_OF_TEXT};

/// Compressed merges, one `left right` pair per line; see the notice beside the file.
const MERGES_GZ: &[u8] = include_bytes!("../../assets/clip_merges.txt.gz");

/// Merges of CLIP's vocabulary: 49,152 less 256 bytes and 2 special tokens, as the reference cuts its list.
const MERGE_COUNT: usize = 48_894;

/// Marks a piece that ends a word.
const END_OF_WORD: &str = "</w>";

/// Special tokens, contractions, runs of letters, single digits, runs of anything else that is no white space.
const WORDS: &str = r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Byte-pair encoding of 49,408 tokens.
#[derive(Debug)]
pub(super) struct OpenAiTokenizer {
    bpe: BPE,
    words: SysRegex,
    /// The printable character that stands for each byte inside the vocabulary.
    byte_characters: [char; 256],
}

impl OpenAiTokenizer {
    /// Decompresses and indexes the embedded vocabulary.
    pub(super) fn embedded() -> Result<Self, TextError> {
        let damaged = |found: String| TextError::DamagedVocabulary { found };
        let text = embedded_merges()?;
        let merges = text
            .lines()
            .map(|line| line.split_once(' '))
            .map(|pair| pair.map(|(left, right)| (left.to_owned(), right.to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| damaged("a line that is no pair".to_owned()))?;
        if merges.len() != MERGE_COUNT {
            return Err(damaged(format!(
                "{} merges instead of {MERGE_COUNT}",
                merges.len()
            )));
        }
        let vocab: Vocab = (0..)
            .zip(pieces(&merges))
            .map(|(id, piece)| (piece, id))
            .collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .end_of_word_suffix(END_OF_WORD.to_owned())
            .build()
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            bpe,
            words: SysRegex::new(WORDS).map_err(|error| damaged(error.to_string()))?,
            byte_characters: byte_characters(),
        })
    }

    /// Token ids of a text that was cleaned.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        for (start, end) in self.words.find_iter(text) {
            let word = &text[start..end];
            if let (START_OF_TEXT | END_OF_TEXT, Some(id)) = (word, self.token_id(word)) {
                ids.push(id);
                continue;
            }
            let spelled: String = word
                .bytes()
                .map(|byte| self.byte_characters[usize::from(byte)])
                .collect();
            let tokens = self
                .bpe
                .tokenize(&spelled)
                .map_err(|error| TextError::Encode {
                    text: text.to_owned(),
                    reason: error.to_string(),
                })?;
            ids.extend(tokens.into_iter().map(|token| token.id));
        }
        Ok(ids)
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.bpe.token_to_id(token)
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.bpe.get_vocab_size()
    }
}

/// The merges as text.
pub(super) fn embedded_merges() -> Result<String, TextError> {
    let mut text = String::new();
    GzDecoder::new(MERGES_GZ)
        .read_to_string(&mut text)
        .map_err(|error| TextError::DamagedVocabulary {
            found: error.to_string(),
        })?;
    Ok(text)
}

/// All pieces in the order of their ids: bytes, bytes that end a word, merges, special tokens.
pub(super) fn pieces(merges: &[(String, String)]) -> impl Iterator<Item = String> {
    let characters = byte_characters();
    let bytes: Vec<String> = printable_bytes()
        .chain((0..=u8::MAX).filter(|byte| !is_printable(*byte)))
        .map(|byte| characters[usize::from(byte)].to_string())
        .collect();
    let ending: Vec<String> = bytes
        .iter()
        .map(|byte| format!("{byte}{END_OF_WORD}"))
        .collect();
    bytes
        .into_iter()
        .chain(ending)
        .chain(merges.iter().map(|(left, right)| format!("{left}{right}")))
        .chain([START_OF_TEXT.to_owned(), END_OF_TEXT.to_owned()])
}

/// GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 onwards in order.
fn byte_characters() -> [char; 256] {
    let mut next = 0x100..;
    std::array::from_fn(|index| match u8::try_from(index) {
        Ok(byte) if is_printable(byte) => char::from(byte),
        _ => next
            .next()
            .and_then(char::from_u32)
            .unwrap_or(char::REPLACEMENT_CHARACTER),
    })
}

fn printable_bytes() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|byte| is_printable(*byte))
}

/// Latin-1 without control characters, spaces and the soft hyphen.
fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}
