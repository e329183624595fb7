#!/usr/bin/env bash
# check.sh [TARGET]...: builds what each target can have without an emulator, an NDK or an SDK.
#
# aarch64-linux-android, aarch64-apple-ios: the C library with the native engine and the starter model, as a static library.
# wasm32-unknown-unknown, aarch64-unknown-none, thumbv7em-none-eabihf, thumbv8m.main-none-eabihf: the core and the kernels, the last three
# without std. Without arguments all of them. Needs rustup; builds into target/cross-check.
set -euo pipefail
case ${1:-} in -*) sed -n '2,6s/^# \?//p' "$0"; exit 2 ;; esac
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cross-check}
profile=${PROFILE:-release}
[ $# -gt 0 ] || set -- aarch64-linux-android aarch64-apple-ios wasm32-unknown-unknown \
    aarch64-unknown-none thumbv7em-none-eabihf thumbv8m.main-none-eabihf
for target in "$@"; do
    rustup target add "$target"
    case $target in
        aarch64-linux-android | aarch64-apple-ios)
            cargo rustc --profile "$profile" --locked --target "$target" -p aesa-c --lib --crate-type staticlib \
                --no-default-features --features starter ;;
        wasm32-unknown-unknown)
            cargo build --profile "$profile" --locked --target "$target" -p aesa -p aesa-kernels ;;
        *)
            cargo build --profile "$profile" --locked --target "$target" -p aesa -p aesa-kernels --no-default-features
            cargo build --profile "$profile" --locked --target "$target" -p aesa --no-default-features --features alloc ;;
    esac
    echo "ok: $target"
done
