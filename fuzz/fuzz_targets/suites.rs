//! Suites and results of benchmarks.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ueo_benchmark::fuzzing::suite(bytes);
    ueo_benchmark::fuzzing::cell(bytes);
    ueo_benchmark::fuzzing::published_numbers(bytes);
});
