//! Tokenizers of Hugging Face directories, as transformers' `CLIPTokenizer` builds them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::TextError;
use super::tokenizer::{END_OF_TEXT, START_OF_TEXT};

/// A `tokenizers` pipeline without truncation, padding or special tokens around the text.
#[derive(Debug)]
pub(super) struct HuggingFaceTokenizer(tokenizers::Tokenizer);

impl HuggingFaceTokenizer {
    /// Reads a `tokenizer.json` as it is.
    pub(super) fn from_json_file(path: &Path) -> Result<Self, TextError> {
        Self::from_json(&read(path)?, path)
    }

    /// Builds the pipeline that transformers builds around a vocabulary and its merges.
    pub(super) fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Self, TextError> {
        let malformed = |path: &Path, expected, found: String| TextError::Malformed {
            path: path.to_owned(),
            expected,
            found,
        };
        let ids: BTreeMap<String, u32> =
            serde_json::from_slice(&read(vocab)?).map_err(|error| {
                malformed(
                    vocab,
                    "vocab.json (an object of token to id)",
                    error.to_string(),
                )
            })?;
        let text = String::from_utf8(read(merges)?)
            .map_err(|error| malformed(merges, "merges.txt", error.to_string()))?;
        let mut pairs = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with("#version") {
                continue;
            }
            let pair: Vec<&str> = line.split(' ').collect();
            if pair.len() != 2 {
                let found = format!("line {} is {line:?}, not two pieces", index + 1);
                return Err(malformed(merges, "merges.txt", found));
            }
            pairs.push(pair);
        }
        let special: Vec<Value> = [START_OF_TEXT, END_OF_TEXT]
            .iter()
            .filter_map(|token| ids.get(*token).map(|id| special_token(token, *id)))
            .collect();
        let pipeline = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": special,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"},
                    "behavior": "Removed",
                    "invert": true,
                },
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            ]},
            "post_processor": null,
            "decoder": null,
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": END_OF_TEXT,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "</w>",
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": ids,
                "merges": pairs,
            },
        });
        Self::from_json(pipeline.to_string().as_bytes(), merges)
    }

    fn from_json(json: &[u8], path: &Path) -> Result<Self, TextError> {
        let malformed = |error: tokenizers::Error| TextError::Malformed {
            path: path.to_owned(),
            expected: "tokenizer of the Hugging Face kind",
            found: error.to_string(),
        };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json).map_err(malformed)?;
        // Length limits belong to the prompts, which report what does not fit.
        tokenizer.with_truncation(None).map_err(malformed)?;
        tokenizer.with_padding(None);
        Ok(Self(tokenizer))
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.0
            .encode_fast(text, false)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| TextError::Encode {
                text: text.to_owned(),
                reason: error.to_string(),
            })
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TextError> {
    std::fs::read(path).map_err(|source| TextError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn special_token(content: &str, id: u32) -> Value {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;
    use tempfile::TempDir;

    use super::super::openai::{embedded_merges, pieces};
    use super::super::{TextError, Tokenizer, TokenizerSource};

    #[derive(Deserialize)]
    struct Case {
        text: String,
        hugging_face: Vec<u32>,
    }

    fn load(vocab: &str, merges: &str) -> Result<Tokenizer, TextError> {
        let folder = TempDir::new().unwrap();
        let source = TokenizerSource::VocabAndMerges {
            vocab: folder.path().join("vocab.json"),
            merges: folder.path().join("merges.txt"),
        };
        fs::write(folder.path().join("vocab.json"), vocab).unwrap();
        fs::write(folder.path().join("merges.txt"), merges).unwrap();
        Tokenizer::load(&source)
    }

    #[test]
    fn vocab_and_merges_equal_transformers() {
        let merges = embedded_merges().unwrap();
        let pairs: Vec<(String, String)> = merges
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(left, right)| (left.to_owned(), right.to_owned()))
            .collect();
        let vocab: serde_json::Map<_, _> = pieces(&pairs)
            .zip((0..).map(serde_json::Value::from))
            .collect();
        let vocab = serde_json::to_string(&vocab).unwrap();
        let tokenizer = load(&vocab, &format!("#version: 0.2\n{merges}")).unwrap();
        assert_eq!(
            (tokenizer.vocab_size(), tokenizer.start_of_text()),
            (49_408, 49_406)
        );

        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/tokenizer/strings.json"))
                .unwrap();
        for case in cases {
            assert_eq!(
                tokenizer.encode(&case.text).unwrap(),
                case.hugging_face,
                "{:?}",
                case.text
            );
        }
    }

    #[test]
    fn broken_files_name_what_is_wrong() {
        let vocab = r#"{"a": 0, "b": 1, "ab": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}"#;
        for (vocab, merges, message) in [
            ("[1, 2]", "", "vocab.json (an object of token to id)"),
            (
                vocab,
                "#version: 0.2\na b\na b c\n",
                "line 3 is \"a b c\", not two pieces",
            ),
            (vocab, "a c\n", "Token `c` out of vocabulary"),
            (r#"{"a": 0}"#, "", "has no token <|startoftext|>"),
        ] {
            let error = load(vocab, merges).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
