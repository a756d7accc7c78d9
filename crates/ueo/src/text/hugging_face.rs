//! The tokenizer of Hugging Face's files: CLIP's pipeline around their vocabulary, as transformers' `CLIPTokenizer` has it.

use std::path::Path;

use serde_json::{Value, json};

use super::TextError;
use super::byte_pairs::{BytePairs, END_OF_WORD, WORDS, normalizer};
use super::tokenizer_json::pipeline;

/// A `tokenizers` pipeline without truncation, padding or special tokens around the text.
#[derive(Debug)]
pub(super) struct HuggingFaceTokenizer(tokenizers::Tokenizer);

impl HuggingFaceTokenizer {
    /// Builds the pipeline; `path` is for messages.
    pub(super) fn new(pairs: &BytePairs, path: &Path) -> Result<Self, TextError> {
        let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": WORDS},
                "behavior": "Removed",
                "invert": true,
            },
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        ]});
        let model = json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": pairs.unknown,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": END_OF_WORD,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": pairs.vocab,
            "merges": pairs.merges,
        });
        let pipeline = pipeline(&pairs.added, &normalizer(), &pre_tokenizer, &model);
        Self::from_pipeline(&pipeline, path)
    }

    /// Builds a pipeline that was checked; `path` is for messages.
    pub(super) fn from_pipeline(pipeline: &Value, path: &Path) -> Result<Self, TextError> {
        tokenizers::Tokenizer::from_bytes(pipeline.to_string())
            .map(Self)
            .map_err(|error| TextError::Malformed {
                path: path.to_owned(),
                expected: "tokenizer of the Hugging Face kind",
                found: error.to_string(),
            })
    }

    /// Token ids of a text that was cleaned.
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

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;
    use tempfile::TempDir;

    use super::super::openai::{embedded_merges, pieces};
    use super::super::{TextCleaning, TextError, Tokenizer, TokenizerSource, Vocabulary};

    #[derive(Deserialize)]
    struct Case {
        text: String,
        hugging_face: Vec<u32>,
    }

    fn load(vocab: &str, merges: &str) -> Result<Tokenizer, TextError> {
        let folder = TempDir::new().unwrap();
        let source = TokenizerSource {
            vocabulary: Vocabulary::VocabAndMerges {
                vocab: folder.path().join("vocab.json"),
                merges: folder.path().join("merges.txt"),
            },
            cleaning: TextCleaning::None,
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
            (49_408, Some(49_406))
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
        }
    }
}
