//! Tar archives, plain or compressed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ueo::data::index_shard_bytes(bytes);
});
