//! Weights files of every kind.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ueo::checkpoint::fuzzing::weights(bytes);
});
