//! Configurations of checkpoints in two layouts.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ueo::checkpoint::fuzzing::hugging_face_configuration(bytes);
    let _ = ueo::checkpoint::fuzzing::open_clip_configuration(bytes);
});
