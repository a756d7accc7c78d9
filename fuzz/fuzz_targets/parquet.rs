//! Parquet files with images, and the first images in them.

#![no_main]

use ueo::data::{ParquetColumns, index_parquet_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(dataset) = index_parquet_bytes(bytes, &ParquetColumns::default()) {
        for index in 0..dataset.len().min(4) {
            let _ = dataset.read_bytes(index);
        }
    }
});
