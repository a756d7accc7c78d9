//! Image files of every format.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ueo::image::decode_hostile(bytes);
});
