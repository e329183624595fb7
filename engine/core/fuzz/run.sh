#!/usr/bin/env bash
# run.sh [SECONDS]: fuzzes the loader of model.aesa, a minute unless said otherwise. Any panic or hang ends it with an error,
# and the input that did it is kept in target/fuzz/found. Stable Rust and a C++ compiler are enough; with nightly and
# cargo-fuzz, `cargo fuzz run model target/fuzz/corpus` in this folder also watches every access to memory.
set -euo pipefail
case ${1:-} in -*) sed -n '2,4s/^# \?//p' "$0"; exit 2 ;; esac
seconds=${1:-60}
root=$(cd "$(dirname "$0")/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
profile=${PROFILE:-release}
work=$target/fuzz
mkdir -p "$work/corpus" "$work/found"

if [ ! -e "$work/corpus/chunked" ]; then
    (cd "$root" && cargo build --profile "$profile" --locked --workspace --example random_model >&2)
    "$target/$profile/examples/random_model" smallest "$work/smallest.aesa" >&2
    cp "$work/smallest.aesa" "$work/corpus/chunked"
fi

# What cargo-fuzz passes without a sanitizer.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
cd "$root/engine/core/fuzz"
CARGO_TARGET_DIR=$work/target cargo build --release --locked -q --target "$host"
"$work/target/$host/release/model" -max_total_time="$seconds" -timeout=10 -max_len=20000 -print_final_stats=1 \
    -artifact_prefix="$work/found/" "$work/corpus" 2> "$work/log" || { tail -n 40 "$work/log" >&2; exit 1; }
grep -E 'stat::number_of_executed_units|DONE' "$work/log"
echo "test result: ok. 1 passed; 0 failed"
