#!/usr/bin/env bash
# generate.sh kotlin|swift DIR: builds the library and writes the code that UniFFI makes for a language to DIR.
# FEATURES=tract adds features of aesa-uniffi to those that are built.
set -euo pipefail
[ $# = 2 ] && [[ $1 =~ ^(kotlin|swift)$ ]] || { sed -n '2,3s/^# \?//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
profile=${PROFILE:-release}
cargo build --profile "$profile" --locked --manifest-path "$here/Cargo.toml" --features "bindgen ${FEATURES:-}"
case $(uname) in Darwin) library=libaesa_uniffi.dylib ;; *) library=libaesa_uniffi.so ;; esac
rm -rf "$2"
"$target/$profile/uniffi-bindgen" generate --language "$1" --no-format --config "$here/uniffi.toml" --out-dir "$2" \
    "$target/$profile/$library"
