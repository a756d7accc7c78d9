//! Class files, class names and list files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = std::path::Path::new("classes");
    let _ = ueo::data::ClassList::parse(bytes, path);
    let _ = ueo::data::ClassNameMap::parse(bytes, path);
    let _ = ueo::data::read_list(bytes, path, |_| true);
});
