#!/usr/bin/env bash
# std.sh TARGET: compiles Rust's standard library for TARGET from Debian's package of its sources, for machines where
# `rustup target add` fetches nothing. Prints the toolchain that has it, for RUSTUP_TOOLCHAIN: a copy of the one in use, which
# stays as it is. Needs apt-get and dpkg; about two minutes; writes target/cross/toolchain.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,4s/^# \?//p' "$0"; exit 2; }
cd "$(dirname "$0")/.."
target=$1
out=$(realpath -m "${CARGO_TARGET_DIR:-target}/cross")
toolchain=$out/toolchain
library=$toolchain/lib/rustlib/src/rust/library
version=$(rustc -vV | sed -n 's/^release: //p')
say() { echo "std.sh: $*" >&2; }

# Hard links where the file system can. Without libraries of other targets: what is there afterwards was compiled here.
copy_toolchain() {
    local hash host sysroot libraries
    hash=$(rustc -vV | sed -n 's/^commit-hash: //p')
    sysroot=$(rustc --print sysroot)
    [ "$(cat "$toolchain/copied" 2>/dev/null)" != "$hash" ] || return 0
    rm -rf "$toolchain"
    mkdir -p "$out"
    cp -al "$sysroot" "$toolchain" 2>/dev/null || { rm -rf "$toolchain"; cp -a "$sysroot" "$toolchain"; }
    rm -rf "$toolchain/lib/rustlib/src"
    host=$(rustc -vV | sed -n 's/^host: //p')
    for libraries in "$toolchain"/lib/rustlib/*/lib; do
        [[ $libraries == */"$host"/lib ]] || rm -rf "$libraries"
    done
    echo "$hash" > "$toolchain/copied"
}

# apt-get and its like, over all suites that may carry this version; what the machine has configured stays as it is.
apt_view() {
    local command=$1
    shift
    "$command" -o "Dir::State::Lists=$out/apt/lists" -o "Dir::Cache=$out/apt/cache" -o "Dir::Etc::SourceList=$out/apt/list" \
        -o Dir::Etc::SourceParts=/nonexistent -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

fetch_sources() {
    [ ! -d "$library" ] || return 0
    local archive security suite package debian_version
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
    security=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep security | head -n 1)
    [ -n "$archive" ] || { say "apt-get knows no Debian archive"; exit 1; }
    mkdir -p "$out"/apt/{lists,cache/archives}/partial
    for suite in bookworm trixie trixie-backports testing unstable; do
        echo "deb [arch=amd64] $archive $suite main"
    done > "$out/apt/list"
    [ -z "$security" ] || echo "deb [arch=amd64] $security bookworm-security main" >> "$out/apt/list"
    apt_view apt-get update -qq >&2
    for package in rust-src rust-web-src; do
        debian_version=$(apt_view apt-cache madison "$package" | awk -F'|' '{ gsub(/ /, "", $2); print $2 }' | { grep -F "$version+" || true; } | head -n 1)
        [ -z "$debian_version" ] || break
    done
    [ -n "$debian_version" ] || { say "no suite of Debian carries the sources of Rust $version"; exit 1; }
    say "$package $debian_version"
    rm -rf "$out/sources"
    mkdir -p "$out/sources" "$(dirname "$library")"
    (cd "$out/sources" && apt_view apt-get download -qq "$package=$debian_version" >&2)
    dpkg --fsys-tarfile "$out/sources/$package"_*.deb | tar -x -C "$out/sources" --wildcards './usr/src/rustc-*/library/*'
    # A shared std would need a linker for the target.
    sed -i 's/^crate-type = \["dylib", "rlib"\]/crate-type = ["rlib"]/' "$out"/sources/usr/src/rustc-*/library/std/Cargo.toml
    mv "$out"/sources/usr/src/rustc-*/library "$library"
    rm -rf "$out/sources" "$out/apt"
}

# Into a folder of another name first: what is there is whole.
compile() {
    local libraries=$toolchain/lib/rustlib/$target/lib
    [ ! -d "$libraries" ] || return 0
    say "std for $target"
    # The library names features that only its own build may use.
    RUSTUP_TOOLCHAIN=$toolchain RUSTC_BOOTSTRAP=1 RUSTFLAGS="--cap-lints=warn -Zforce-unstable-if-unmarked -Cembed-bitcode=yes" \
        __CARGO_DEFAULT_LIB_METADATA=aesa cargo build -q --release --locked --manifest-path "$library/sysroot/Cargo.toml" \
        --target "$target" --target-dir "$out/std" --features "panic-unwind backtrace compiler-builtins-mem" >&2
    mkdir -p "$libraries.part"
    cp "$out/std/$target/release/deps/"*.rlib "$libraries.part/"
    mv "$libraries.part" "$libraries"
    rm -rf "$out/std"
}

copy_toolchain
fetch_sources
compile
echo "$toolchain"
