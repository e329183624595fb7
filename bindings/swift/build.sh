#!/usr/bin/env bash
# build.sh [TARGET...]: makes what the Swift package needs and does not hold: the code that UniFFI writes and the library.
#
# On a Mac the library goes into AesaFFI.xcframework, for each TARGET (aarch64-apple-ios, aarch64-apple-ios-sim and
# aarch64-apple-darwin unless named), whose standard library `rustup target add` fetches. Elsewhere only the header's module is made.
set -euo pipefail
case ${1:-} in -*) sed -n '2,5s/^# \?//p' "$0"; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
made=$target/swift/generated
"$root/bindings/uniffi/generate.sh" swift "$made"

mkdir -p "$here/Sources/Aesa/Generated"
cp "$made/Aesa.swift" "$here/Sources/Aesa/Generated/"

if [ "$(uname)" != Darwin ]; then
    mkdir -p "$here/Sources/AesaFFI"
    cp "$made/AesaFFI.h" "$here/Sources/AesaFFI/"
    # The module that UniFFI writes names Apple's own.
    printf 'module AesaFFI {\n    header "AesaFFI.h"\n    link "aesa_uniffi"\n    export *\n}\n' > "$here/Sources/AesaFFI/module.modulemap"
    exit
fi

headers=$target/swift/headers
rm -rf "$headers" "$here/AesaFFI.xcframework"
mkdir -p "$headers"
cp "$made/AesaFFI.h" "$headers/"
cp "$made/AesaFFI.modulemap" "$headers/module.modulemap"
[ $# -gt 0 ] || set -- aarch64-apple-ios aarch64-apple-ios-sim aarch64-apple-darwin
libraries=()
for triple in "$@"; do
    cargo build --release --locked --manifest-path "$root/bindings/uniffi/Cargo.toml" --target "$triple" ${FEATURES:+--features "$FEATURES"}
    libraries+=(-library "$target/$triple/release/libaesa_uniffi.a" -headers "$headers")
done
xcodebuild -create-xcframework "${libraries[@]}" -output "$here/AesaFFI.xcframework"
