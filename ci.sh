#!/usr/bin/env bash
# ci.sh: builds and tests everything on a bare Debian machine with Rust. Fetches what is missing (Debian packages
# through apt-get, libtorch and onnxruntime through pip, Rust's libraries for microcontrollers through rustup) and ends
# with one line: N passed, N failed.
set -euo pipefail
cd "$(dirname "$0")"
root=$PWD
log=$(mktemp)
beside_log=$(mktemp)
beside=
export PROFILE=ci  # of Cargo.toml: what computes is compiled as in a release, the rest quickly
trap 'rm -f "$log" "$beside_log"; [ -z "$beside" ] || kill -- "-$beside" 2>/dev/null || true' EXIT

step() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

install_packages() {
    local need=()
    command -v espeak-ng >/dev/null || need+=(espeak-ng)
    command -v ffmpeg >/dev/null || need+=(ffmpeg)
    [ -e /usr/share/sounds/sf2/TimGM6mb.sf2 ] || need+=(timgm6mb-soundfont)
    command -v g++ >/dev/null || need+=(build-essential)
    command -v python3 >/dev/null || need+=(python3)
    python3 -c 'import pip, venv, ensurepip' 2>/dev/null || need+=(python3-pip python3-venv)
    command -v pkg-config >/dev/null || need+=(pkg-config)
    command -v node >/dev/null || need+=(nodejs npm)
    command -v valgrind >/dev/null || need+=(valgrind)
    command -v aarch64-linux-gnu-gcc >/dev/null || need+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
    command -v qemu-aarch64-static >/dev/null || need+=(qemu-user-static)
    [ ${#need[@]} -gt 0 ] || return 0
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
}

step "packages"
install_packages

step "the command line needs no libtorch"
if cargo tree --locked -p aesa-cli -e normal,build --prefix none | grep -E '^(tch|torch-sys) '; then
    echo "aesa-cli depends on libtorch" >&2
    exit 1
fi

step "the core without std needs no rayon"
if cargo tree --locked -p aesa --no-default-features -e normal --prefix none | grep '^rayon'; then
    echo "aesa without std depends on rayon" >&2
    exit 1
fi

step "the benchmark of other runtimes, which nothing builds here, has its dependencies listed"
cargo metadata --locked --format-version 1 --manifest-path benches/peers/Cargo.toml > /dev/null

# Whatever builds in folders of its own (Python's wheel at last, when the tests are built) and installs nothing that the other steps do,
# one after the other.
beside_the_rest() {
    step "aarch64 under qemu"
    # The kernels have a table for either of the other two.
    NATIVE=1 CPUS=cortex-a76 KERNEL_CPUS="cortex-a53 max" bash cross/run.sh aarch64-unknown-linux-gnu

    step "Android, iOS and bare metal: the targets build"
    PROFILE=dev bash cross/check.sh aarch64-linux-android aarch64-apple-ios aarch64-unknown-none  # nothing runs here

    step "firmware on emulated microcontrollers"
    local status=0
    LINT=1 bash cross/firmware/run.sh || status=$?
    case $status in
        0) ;;
        3) echo "skipped: QEMU cannot be installed here" ;;
        *) exit "$status" ;;
    esac

    # Kotlin and Swift have a release, whose size is checked; the C library's is built from the same crates.
    step "Kotlin on the JVM"
    PROFILE=release CARGO_TARGET_DIR=$root/target/native bash bindings/kotlin/test.sh

    step "Swift"
    # Swift is fetched for root, 560 MB; where that cannot be, only the generated code is tested, and the rest told as skipped.
    if ! command -v swift >/dev/null && [ "$(id -u)" = 0 ]; then
        timeout 600 bash bindings/swift/setup-swift.sh || echo "Swift cannot be fetched here"
    fi
    PROFILE=release CARGO_TARGET_DIR=$root/target/native bash bindings/swift/test.sh

    step "web"
    LINT=1 bash bindings/web/test.sh

    step "Python"
    bash bindings/python/test.sh
}

step "other processors and all bindings but C's, beside the rest"
set -m  # a process group of its own, which the trap ends whole
beside_the_rest > "$beside_log" 2>&1 &
beside=$!
set +m

step "libtorch"
bash trainer/setup-libtorch.sh
# shellcheck source=/dev/null
source "${LIBTORCH_DIR:-$HOME/.cache/libtorch-2.11.0-cpu}/env.sh"

step "format"
cargo fmt --all --check

# One pass for all three; what follows builds with the same compiler, and so nothing anew.
step "build, lints and documentation"
export RUSTC_WORKSPACE_WRAPPER=$root/tests/checked-rustc.sh
cargo build --profile "$PROFILE" --locked --workspace --all-targets

step "tests"
cargo test --profile "$PROFILE" --locked --workspace 2>&1 | tee "$log"

step "any bytes as a model.aesa"
engine/core/fuzz/run.sh 20 | tee -a "$log"

step "the same scores in onnxruntime"
venv=$root/target/python
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r tests/python/requirements.txt
python_passed=0
for expected in target/onnx-expected/*.safetensors; do
    "$venv/bin/python" tests/python/compare_onnxruntime.py "${expected%.safetensors}.onnx" "$expected"
    python_passed=$((python_passed + 1))
done
[ "$python_passed" -gt 0 ] || { echo "no ONNX files were written by the tests" >&2; exit 1; }

step "C and C++"
bash bindings/c/test.sh 2>&1 | tee -a "$log"

step "what ran beside"
wait "$beside" || { tail -n 200 "$beside_log"; exit 1; }
beside=
grep -E '^(==|test result|ok:|skipped:)' "$beside_log" | tee -a "$log"

step "done"
awk -v extra="$python_passed" '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed + extra, failed }' "$log"
