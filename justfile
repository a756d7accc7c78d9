# Commands for people; `just` lists them. Without just: `cargo bench-step`, `cargo bench-loader`, `cargo bench-products`.

# Lists the recipes.
default:
    @just --list

# What a change must pass.
check:
    .ci/run

# Times ueo alone: a step in both precisions, matrix products, the loader.
bench:
    cargo bench-step --classes 50 --precision f32
    cargo bench-step --classes 50 --precision bf16
    cargo bench-products
    cargo bench-loader

# Times ueo beside PyTorch and ONNX Runtime and rewrites BENCHMARKS.md. PYTHON has tools/benchmark/requirements.txt installed.
compare python="python3" *options:
    {{python}} tools/benchmark/compare.py {{options}}
