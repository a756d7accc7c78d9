//! The program as users meet it: arguments in, files, messages and exit codes out.

mod bad_checkpoints;
mod bad_images;
mod bad_outputs;
mod benchmark;
mod benchmark_report;
mod commands;
mod configuration;
mod costs;
mod demonstration;
#[cfg(feature = "wgpu")]
mod devices;
mod discover;
mod export;
mod first_hour;
mod hostile_names;
mod hub;
#[path = "../../../ueo-hub/tests/hub/server.rs"]
mod hub_server;
mod image_memory;
mod instruction_sets;
mod interruption;
mod left_out;
mod names_and_labels;
mod page;
mod predicted_rows;
mod report;
mod scores;
mod siglip;
mod support;
mod timm;
mod towers;
mod whole_jobs;
