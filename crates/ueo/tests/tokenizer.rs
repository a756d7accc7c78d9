//! Token ids against openai-clip and transformers, on strings made by `tools/fixtures/tokenizer.py`.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ueo::text::{Overlong, PromptSet, TextError, Tokenizer, TokenizerSource, tokenize_text};

const CONTEXT_LENGTH: usize = 77;

#[derive(Deserialize)]
struct Case {
    text: String,
    openai: Vec<u32>,
    trimmed: Vec<u32>,
}

#[derive(Deserialize)]
struct Truncated {
    text: String,
    ids: Vec<u32>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokenizer")
        .join(name)
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn openai() -> Tokenizer {
    Tokenizer::load(&TokenizerSource::OPENAI).unwrap()
}

/// Mojibake that ftfy 6.3.1 repairs and plsfix 0.1.8 leaves alone.
const KNOWN_DIFFERENCES: [&str; 3] = [
    "\u{C4}\u{B0}stanbul",
    "\u{C3}\u{153}BER",
    "\u{C5}\u{BF}treet",
];

/// Strings whose ids differ from the expected ones.
fn different(tokenizer: &Tokenizer, expected: impl Fn(&Case) -> &Vec<u32>) -> Vec<String> {
    let cases: Vec<Case> = read("strings.json");
    assert!(cases.len() > 400, "{} strings", cases.len());
    let is_different = |case: &Case| tokenizer.encode(&case.text).unwrap() != *expected(case);
    cases
        .into_iter()
        .filter(is_different)
        .map(|case| case.text)
        .collect()
}

#[test]
fn embedded_vocabulary_equals_openai_clip() {
    let tokenizer = openai();
    assert_eq!(tokenizer.vocab_size(), 49_408);
    assert_eq!(tokenizer.start_of_text(), Some(49_406));
    assert_eq!(tokenizer.end_of_text(), 49_407);
    assert_eq!(
        different(&tokenizer, |case| &case.openai),
        KNOWN_DIFFERENCES
    );
}

#[test]
fn tokenizer_json_equals_transformers() {
    let tokenizer =
        Tokenizer::load(&TokenizerSource::tokenizer_json(fixture("tokenizer.json"))).unwrap();
    assert_eq!(tokenizer.vocab_size(), 2014);
    assert_eq!(tokenizer.end_of_text(), 2013);
    assert!(different(&tokenizer, |case| &case.trimmed).is_empty());
}

#[test]
fn prompts_equal_whole_sentences() {
    let tokenizer = openai();
    let names: Vec<String> = read("class_names.json");
    assert!(names.len() > 200, "{} names", names.len());
    let prompts = PromptSet::new(&tokenizer, &names, CONTEXT_LENGTH).unwrap();
    assert_eq!(
        prompts.context(),
        [320, 1125, 539, 320],
        "\"a photo of a\" is four tokens"
    );
    assert_eq!(prompts.prefix_len(), 5);

    let cases: Vec<Case> = read("strings.json");
    for (class, name) in names.iter().enumerate() {
        let sentence = format!("a photo of a {}.", name.replace('_', " "));
        let case = cases.iter().find(|case| case.text == sentence).unwrap();
        let mut expected = vec![49_406];
        expected.extend(&case.openai);
        expected.push(49_407);
        assert_eq!(prompts.tokens(class).unwrap(), expected, "{name}");
        assert_eq!(prompts.suffixes()[class], expected[5..], "{name}");
    }
    assert_eq!(prompts.tokens(names.len()), None);
    let longest = (0..names.len())
        .filter_map(|class| prompts.tokens(class))
        .map(|p| p.len())
        .max();
    assert_eq!(Some(prompts.longest()), longest);
}

#[test]
fn context_has_as_many_vectors_as_its_words_have_tokens() {
    let tokenizer = openai();
    let prompts = PromptSet::with_context(&tokenizer, "an icon showing", &["dog"], 16).unwrap();
    assert_eq!(prompts.context().len(), 3);
    assert_eq!(prompts.suffixes(), [vec![1929, 269, 49_407]]);
    let error = PromptSet::with_context(&tokenizer, "  ", &["dog"], 16).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected words for the context to start from, in front of the class name, found \"  \""
    );
}

#[test]
fn class_that_does_not_fit_is_named() {
    let tokenizer = openai();
    // [SOS], four context tokens, the name, the full stop, [EOS].
    assert!(PromptSet::new(&tokenizer, &["dog"], 8).is_ok());
    let error = PromptSet::new(&tokenizer, &["dog", "guide_dog"], 8).unwrap_err();
    assert!(
        matches!(&error, TextError::ClassTooLong { class, tokens: 9, limit: 8 } if class == "guide_dog"),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("\"guide_dog\" has 9 tokens"),
        "{error}"
    );
}

#[test]
fn overlong_text_is_an_error_or_truncated_as_openai_clip_does() {
    let tokenizer = openai();
    let cases: Vec<Truncated> = read("truncated.json");
    for case in &cases {
        let ids =
            tokenize_text(&tokenizer, &case.text, CONTEXT_LENGTH, Overlong::Truncate).unwrap();
        let padding = vec![0; CONTEXT_LENGTH - ids.len()];
        assert_eq!([ids, padding].concat(), case.ids, "{:?}", case.text);
    }
    // 75 words and both markers just fit; one more does not.
    assert!(tokenize_text(&tokenizer, &cases[0].text, CONTEXT_LENGTH, Overlong::Error).is_ok());
    let error =
        tokenize_text(&tokenizer, &cases[1].text, CONTEXT_LENGTH, Overlong::Error).unwrap_err();
    assert!(
        matches!(
            error,
            TextError::TextTooLong {
                tokens: 78,
                limit: 77,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn unreadable_and_foreign_files_are_named() {
    let missing = TokenizerSource::tokenizer_json(fixture("missing.json"));
    let error = Tokenizer::load(&missing).unwrap_err();
    assert!(error.to_string().contains("missing.json"), "{error}");
    let foreign = TokenizerSource::tokenizer_json(fixture("class_names.json"));
    let error = Tokenizer::load(&foreign).unwrap_err();
    assert!(matches!(error, TextError::Malformed { .. }), "{error:?}");
}
