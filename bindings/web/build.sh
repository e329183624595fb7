#!/usr/bin/env bash
# build.sh [--scalar]: builds the npm package and the page.
#
# Writes target/web/aesa (the package; target/web/aesa-VERSION.tgz is it, packed, where npm is installed) and target/web/site (the
# page, to be served as it stands). Needs Rust with its target wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`). --scalar
# builds without SIMD, for old browsers or to compare: target/web/aesa-scalar alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${CARGO_TARGET_DIR:-$root/target}/web
kind=simd features=+simd128 package=$out/aesa
case ${1:-} in
    '') ;;
    --scalar) kind=scalar features=-simd128 package=$out/aesa-scalar ;;
    *) sed -n '2,6s/^# \?//p' "$0"; exit 2 ;;
esac

# One module without what is not called: whole-program optimisation.
build() {
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=$features" \
        CARGO_PROFILE_RELEASE_LTO=true CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        cargo build --release --locked --manifest-path "$root/Cargo.toml" -p aesa-web \
        --target wasm32-unknown-unknown --target-dir "$out/$kind"
    cargo build --release --locked --manifest-path "$here/bindgen/Cargo.toml" --target-dir "$out/bindgen"
}

# Generated code, then what is written by hand.
lay_package() {
    rm -rf "$package"
    mkdir -p "$package"
    "$out/bindgen/release/aesa-web-bindgen" "$out/$kind/wasm32-unknown-unknown/release/aesa_web.wasm" "$package"
    cp "$here"/package/* "$here/README.md" "$root"/LICENSE-* "$package"
}

lay_page() {
    rm -rf "$out/site"
    mkdir -p "$out/site/aesa"
    cp "$here"/page/* "$out/site"
    cp "$package"/*.js "$package"/*.wasm "$out/site/aesa"
}

build
lay_package
if [ "$kind" = simd ]; then
    lay_page
    ! command -v npm > /dev/null || (cd "$package" && npm pack --silent --pack-destination "$out" > /dev/null)
fi
echo "$package: $(stat -c %s "$package/aesa_web_bg.wasm") bytes of WebAssembly, $(gzip -9c "$package/aesa_web_bg.wasm" | wc -c) compressed"
