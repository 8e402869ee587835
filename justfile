# What CI runs, by the same verbs. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @just --list --unsorted

# Train on a synthetic shop, serve, and watch a shopper's clicks change the slate.
demo *ARGS:
    cargo run --release -- demo {{ ARGS }}

# Every test. What needs Java, Python or ENDCAP_DATA is skipped aloud where it is missing.
test *ARGS:
    bash .ci/test {{ ARGS }}

# The long forms of the index's randomised tests: 40,000 damaged or forged files, a graph of a million. Minutes.
test-index-long:
    cargo test --release -p endcap-index -- --ignored --nocapture

# The index's unit tests and contract on NEON, under an emulator. Wants apt's qemu-user and gcc-aarch64-linux-gnu, and
# `rustup target add aarch64-unknown-linux-gnu`.
test-index-neon:
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    cargo test --release --target aarch64-unknown-linux-gnu --target-dir target/aarch64 -p endcap-index --lib --test contract

# Format, lints, docs, crate graph, unused dependencies, spelling.
check: fmt clippy doc graph machete typos

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --release --workspace --all-targets -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet

# The invariants of docs/architecture.md about which crate may use which.
graph:
    bash .ci/crate-graph

machete:
    if command -v cargo-machete >/dev/null; then cargo machete; else echo "SKIPPED: needs cargo-machete (cargo install cargo-machete@0.9.2)"; fi

typos:
    if command -v typos >/dev/null; then typos; else echo "SKIPPED: needs typos (pip install typos==1.52.0)"; fi

# Licences, bans and sources of dependencies. `cargo install cargo-deny@0.20.2` first; CI runs it on a schedule.
audit:
    cargo deny check licenses bans sources

# All benchmarks: tables on the screen, figures in target/bench/NAME.json.
bench: bench-training bench-retrieval bench-live bench-recommend bench-evaluation

# Beside PyTorch, which is installed into target/torch-venv (5 GB). `just bench-training --full` grows the catalogue to 1M.
bench-training *ARGS:
    cargo run --release -p endcap-benches --bin endcap-bench -- training {{ ARGS }}

# Peak memory of a fit on 10M synthetic events.
bench-training-memory *ARGS:
    cargo run --release -p endcap-benches --bin endcap-bench -- training-memory {{ ARGS }}

# The index beside hnswlib, usearch and faiss (pip, pinned, in target/bench/venv); `--help` says how to split a run.
bench-retrieval *ARGS:
    test -x target/bench/venv/bin/python || python3 -m venv target/bench/venv
    target/bench/venv/bin/pip install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
    cargo run --release -p endcap-benches --bin endcap-bench -- retrieval {{ ARGS }}

# Ten million vectors by a mapped scan, once: 10 GB and some minutes.
bench-ten-million:
    cargo run --release -p endcap-benches --example ten_million

# The live path; `just bench-live --rows applied,restart` measures those rows alone.
bench-live *ARGS:
    cargo run --release -p endcap-benches --bin endcap-bench -- live {{ ARGS }}

bench-recommend:
    cargo run --release -p endcap-benches --bin endcap-bench -- recommend

# The long forms of the fault tests: `just faults` runs all, `just faults kill` those whose names hold "kill". Hours on a busy
# machine; ENDCAP_FAULTS_TIMES=20 kills 20 times instead of 100. Figures: target/faults/NAME.json.
faults *NAMES:
    ENDCAP_FAULTS=long cargo test --release --workspace --test faults -- --include-ignored --nocapture --test-threads 1 {{ NAMES }}

bench-evaluation:
    cargo run --release -p endcap-benches --bin endcap-bench -- evaluation

# A row of the quality table again, from the raw files of ENDCAP_DATA; 1 where it misses its bar. `--seeds 3` goes on.
quality ROW *ARGS:
    cargo run --release -p endcap-benches --bin endcap-quality -- {{ ROW }} {{ ARGS }}

# The store against a model, the long form: 200,000 random operations with restarts and power cuts (about five minutes).
faults-state SEED="5":
    ENDCAP_OPERATIONS=200000 ENDCAP_SEED={{ SEED }} cargo test --release -p endcap-live --test store_model

# The checked-in protobuf code, made again after an edit of proto/endcap/v1.
regenerate:
    ENDCAP_REGENERATE=1 cargo test --release -p endcap-proto --test generated
