//! The stack machine that reads pickles.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ueo::checkpoint::fuzzing::pickle(bytes, false);
});
