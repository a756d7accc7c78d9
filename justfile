# Commands for people; `just` lists them. Without just: `cargo bench-step`, `cargo bench-loader`, `cargo bench-products`.

# Lists the recipes.
default:
    @just --list

# What a change must pass.
check:
    .ci/run

# Times ueo and rewrites BENCHMARKS.md; beside PyTorch and ONNX Runtime where PYTHON has tools/benchmark/requirements.txt installed.
bench python="" *options:
    {{ if python == "" { "python3 tools/benchmark/compare.py --programs 'ueo*'" } else { python + " tools/benchmark/compare.py" } }} {{ options }}
