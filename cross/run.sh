#!/usr/bin/env bash
# run.sh TARGET [CARGO-TEST-ARGUMENT]...: what `cross test --target TARGET` does, without a container, on a Debian machine.
#
# Tests the whole engine, golden files included, under qemu, once per processor that its kernels tell apart:
# aarch64-unknown-linux-gnu (Cortex-A53, Cortex-A76, everything qemu has) and armv7-unknown-linux-gnueabihf (Cortex-A7,
# everything qemu has). CPUS="cortex-a53 max" chooses others; KERNEL_CPUS="max" are those on which only the kernels are tested, in
# half a minute each. NATIVE=1 leaves out tract, its tests and the command line's: half the time. PROPTEST_CASES (32, where proptest
# itself has 256) sets how many random cases tests have. Installs the cross compiler and qemu through apt-get where they are missing, and Rust's library
# through rustup or, where that fails or STD=debian, from Debian's sources (std.sh); builds into target/cross.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,9s/^# \?//p' "$0"; exit 2; }
cd "$(dirname "$0")/.."
target=$1
shift
case $target in
    aarch64-unknown-linux-gnu)
        cpus=${CPUS:-cortex-a53 cortex-a76 max}
        packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)
        runner="qemu-aarch64-static -L /usr/aarch64-linux-gnu" ;;
    armv7-unknown-linux-gnueabihf)
        cpus=${CPUS:-cortex-a7 max}
        packages=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user-static)
        runner="qemu-arm-static -L /usr/arm-linux-gnueabihf" ;;
    *) echo "run.sh: no emulator for $target; aarch64-unknown-linux-gnu or armv7-unknown-linux-gnueabihf" >&2; exit 2 ;;
esac

if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends --no-remove "${packages[@]}" >/dev/null
fi
if [ "${STD:-}" = debian ] || ! rustup target add "$target"; then
    RUSTUP_TOOLCHAIN=$(bash cross/std.sh "$target")
    export RUSTUP_TOOLCHAIN
fi

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/cross  # of its own: the same folder would make builds wait for each other
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$runner CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER=$runner
export AESA_TEST_RUNNER=$runner  # the tests start the program themselves
export PROPTEST_CASES=${PROPTEST_CASES:-32}  # of 256: emulated, those take minutes
profile=${PROFILE:-release}
engine=(-p aesa -p aesa-kernels -p aesa-media -p aesa-runtime -p aesa-tests)
if [ -n "${NATIVE:-}" ]; then engine+=(--no-default-features --features aesa/threads); else engine+=(-p aesa-tract -p aesa-cli); fi
for cpu in $cpus; do
    echo "== $target on $cpu"
    QEMU_CPU=$cpu cargo test --profile "$profile" --locked --no-fail-fast --target "$target" "${engine[@]}" "$@"
done
for cpu in ${KERNEL_CPUS:-}; do
    echo "== the kernels for $target on $cpu"
    QEMU_CPU=$cpu cargo test --profile "$profile" --locked --no-fail-fast --target "$target" -p aesa-kernels --features std --lib
done
