#!/usr/bin/env bash
# checked-rustc.sh: what ci.sh has cargo run for each of the workspace's crates (RUSTC_WORKSPACE_WRAPPER). It compiles the crate, lints it
# with clippy and, if it is a library, makes its documentation in target/doc; a warning of either is an error. `cargo clippy` and
# `cargo doc` tell the same, but check every dependency anew that the build has compiled.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,4s/^# \?//p' "$0"; exit 2; }
"$@"
# Cargo also asks for the compiler's version and its features.
[ -n "${CARGO_PRIMARY_PACKAGE:-}" ] || exit 0

rustc=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
check=()
library=true
while [ $# -gt 0 ]; do
    case $1 in
        --emit=*) ;;
        --out-dir) out=$2; shift ;;
        # Without word of what they write, which cargo would take for the crate itself.
        --json=*) check+=(--json=diagnostic-rendered-ansi) ;;
        --test) library=; check+=("$1") ;;
        --crate-type) [ "$2" != bin ] || library=; check+=("$1" "$2"); shift ;;
        *) check+=("$1") ;;
    esac
    shift
done
clippy-driver "$rustc" "${check[@]}" --emit=metadata --out-dir "$scratch" -D warnings
[ -z "$library" ] || rustdoc "${check[@]}" --out-dir "$out/../../doc" -D warnings
