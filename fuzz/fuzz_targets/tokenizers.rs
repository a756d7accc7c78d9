//! `tokenizer.json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    use ueo::text::{TextCleaning, Tokenizer, TokenizerContent};
    let path = std::path::Path::new("tokenizer.json");
    let content = TokenizerContent::from_tokenizer_json(bytes, TextCleaning::None, path);
    if let Ok(content) = content {
        let _ = Tokenizer::build(&content, path);
    }
});
