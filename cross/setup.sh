#!/usr/bin/env bash
# setup.sh TARGET...: what run.sh needs on a Debian machine: cross compiler, qemu and Rust's library for each target.
#
# The library comes from `rustup target add`; where rustup has no way out, it is compiled once (1 to 2 minutes a target)
# from the sources of Debian's package rust-src of the same version, in a copy of the toolchain under $CROSS_HOME
# (default ~/.cache/aesa-cross), which run.sh then uses. Needs root or sudo for apt-get.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,6s/^# \?//p' "$0"; exit 2; }
home=${CROSS_HOME:-$HOME/.cache/aesa-cross}
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
log() { printf 'cross: %s\n' "$*" >&2; }

# ---- compilers and emulators
need=()
want() { dpkg -s "$1" >/dev/null 2>&1 || need+=("$1"); }
for target in "$@"; do
    case $target in
        aarch64-unknown-linux-gnu) want gcc-aarch64-linux-gnu; want libc6-dev-arm64-cross; want qemu-user-static ;;
        armv7-unknown-linux-gnueabihf) want gcc-arm-linux-gnueabihf; want libc6-dev-armhf-cross; want qemu-user-static ;;
        thumbv*) command -v qemu-system-arm >/dev/null || need+=(qemu-system-arm) ;;
    esac
done
if [ ${#need[@]} -gt 0 ]; then
    log "apt-get install ${need[*]}"
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends --no-remove "${need[@]}" >/dev/null
fi

# ---- Rust's library
version=$(rustc -vV | sed -n 's/^release: //p')
commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
toolchain=$home/toolchain
source=$toolchain/lib/rustlib/src/rust/library

copy_toolchain() {
    [ "$(cat "$toolchain/.base" 2>/dev/null)" = "$commit" ] && return
    log "copies the toolchain $version"
    rm -rf "$toolchain"
    mkdir -p "$home"
    cp -al "$(rustc --print sysroot)" "$toolchain" 2>/dev/null || cp -a "$(rustc --print sysroot)" "$toolchain"
    echo "$commit" > "$toolchain/.base"
}

# The archive's own address, and one of its suites that holds rust-src of this version.
fetch_source() {
    [ -e "$source/.complete" ] && return
    local apt=$home/apt archive suite found="" key=/usr/share/keyrings/debian-archive-keyring.gpg
    archive=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" | grep -v security | head -1)
    [ -n "$archive" ] || { log "apt knows no Debian archive"; exit 1; }
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/deb"
    for suite in trixie-backports trixie testing unstable; do
        echo "deb [arch=amd64 signed-by=$key] $archive $suite main"
    done > "$apt/sources.list"
    local view=(-o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o "Dir::Etc::SourceList=$apt/sources.list"
        -o Dir::Etc::SourceParts=/nonexistent -o APT::Sandbox::User=root -o Acquire::Languages=none)
    apt-get "${view[@]}" update -qq || log "some of Debian's suites cannot be read"
    for package in rust-src rust-web-src; do
        found=$(apt-cache "${view[@]}" madison "$package" | awk -F'|' '{gsub(/ /, "", $2); print $2}' | grep -m1 "^$version+" || true)
        [ -z "$found" ] || break
    done
    [ -n "$found" ] || { log "no suite of Debian holds rust-src $version: use rustup target add"; exit 1; }
    log "$package $found"
    (cd "$apt/deb" && apt-get "${view[@]}" download -qq "$package=$found")
    rm -rf "$home/source"
    mkdir -p "$home/source"
    dpkg --fsys-tarfile "$apt"/deb/"$package"_*.deb | tar -x -C "$home/source" --wildcards './usr/src/rustc-*/library/*'
    rm -rf "$source"
    mkdir -p "$(dirname "$source")"
    mv "$home"/source/usr/src/rustc-*/library "$source"
    rm -rf "$home/source" "$apt"
    # As a dynamic library, std would have to be linked for the target now.
    sed -i 's/^crate-type = \["dylib", "rlib"\]/crate-type = ["rlib"]/' "$source/std/Cargo.toml"
    touch "$source/.complete"
}

compile_library() {
    local target=$1 manifest=$source/sysroot/Cargo.toml features="panic-unwind backtrace compiler-builtins-mem"
    local into=$toolchain/lib/rustlib/$target/lib
    [ -e "$into/.complete" ] && return
    case $target in *-none*) manifest=$source/alloc/Cargo.toml features=compiler-builtins-mem ;; esac
    log "compiles Rust's library for $target"
    env -u RUSTC -u CARGO_BUILD_TARGET -u CARGO_TARGET_DIR RUSTUP_TOOLCHAIN="$toolchain" RUSTC_BOOTSTRAP=1 \
        __CARGO_DEFAULT_LIB_METADATA=cross RUSTFLAGS="--cap-lints=warn -Zforce-unstable-if-unmarked -Cembed-bitcode=yes" \
        cargo build -q --release --locked --manifest-path "$manifest" --target "$target" --target-dir "$home/build" \
        --features "$features"
    rm -rf "$into"
    mkdir -p "$into"
    cp "$home/build/$target/release/deps/"*.rlib "$into/"
    rm -rf "$home/build"
    touch "$into/.complete"
}

for target in "$@"; do
    [ -e "$toolchain/lib/rustlib/$target/lib/.complete" ] && continue
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && continue
    # rustup retries for minutes where it cannot reach anything.
    timeout 20 rustup target add "$target" >/dev/null 2>&1 && continue
    log "rustup cannot add $target"
    (cd / && copy_toolchain && fetch_source && compile_library "$target")
done
