# Commands for people; `just` lists them. Without just: `cargo bench-step`, `cargo bench-loader`, `cargo bench-products`.

# Lists the recipes.
default:
    @just --list

# What a change must pass.
check:
    .ci/run

# What --device wgpu computes; builds for half an hour at first.
devices:
    .ci/devices

# Times ueo and rewrites BENCHMARKS.md and docs/speed.md; beside PyTorch and ONNX Runtime where PYTHON has tools/benchmark/requirements.txt installed.
bench python="" *options:
    {{ if python == "" { "python3 tools/benchmark/compare.py --programs 'ueo*'" } else { python + " tools/benchmark/compare.py" } }} {{ options }}

# Fuzzes every reader for some seconds each, from the fixtures of the tests; needs nightly and cargo-fuzz (fuzz/README.md).
fuzz seconds="600":
    python3 tools/fuzz/seeds.py
    for target in $(cargo +nightly fuzz list); do \
        cargo +nightly fuzz run $target -- -max_total_time={{ seconds }} -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 || exit 1; \
    done
