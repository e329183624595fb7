#!/usr/bin/env bash
# run.sh [MODEL.aesa [CLIP.wav]]: scores a clip on emulated microcontrollers, and checks the scores against this machine's.
#
# MODEL is a chunked model.aesa (models/starter/model.aesa; where there is none, one of its sizes with random weights), CLIP
# 16-bit mono (models/starter/golden/rain.wav). Without a vector unit every printed bit must be the same; with Cortex-M55's
# the scores may differ by 1e-4. Also checked: that a processor which is too slow says that it lost samples. Installs QEMU
# through apt-get and Rust's libraries through rustup where they are missing, and builds into target/firmware. LINT=1 runs
# rustfmt, clippy and the library's test, too. Exit code: 0 if all is as it should be, 3 if QEMU cannot be installed, else another.
set -euo pipefail
case ${1:-} in -*) sed -n '2,8s/^# \?//p' "$0"; exit 2 ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/firmware}
out=$CARGO_TARGET_DIR/scores
apt_dir=$(mktemp -d)
trap 'rm -rf "$apt_dir"' EXIT

# Machine, processor to compile for, target, largest difference of a score from the host's, and what it is.
machines=(
    "mps2-an386 cortex-m4  thumbv7em-none-eabihf      0    Cortex-M4F"
    "mps2-an500 cortex-m7  thumbv7em-none-eabihf      0    Cortex-M7"
    "mps3-an547 cortex-m33 thumbv8m.main-none-eabihf  0    Cortex-M55 without its vector unit"
    "mps3-an547 cortex-m55 thumbv8m.main-none-eabihf  1e-4 Cortex-M55"
)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-remove "$@" >/dev/null; }

install_qemu() {
    command -v qemu-system-arm >/dev/null && return
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; } || return
    as_root apt-get update -qq && install qemu-system-arm && return
    # Where other parts of QEMU are from Debian's backports, this one has to be, too. The system's list stays as it is.
    local suite lists
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
    cat /etc/apt/sources.list 2>/dev/null > "$apt_dir/sources.list" || true
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >> "$apt_dir/sources.list"
    lists=(-o "Dir::Etc::SourceList=$apt_dir/sources.list" -o "Dir::State::Lists=$apt_dir/lists" -o APT::Sandbox::User=root)
    mkdir -p "$apt_dir/lists/partial"
    as_root apt-get "${lists[@]}" update -qq && install "${lists[@]}" {qemu-system-arm,qemu-system-common,qemu-system-data,libbrlapi0.8}/"$suite"
}

# The model's path; made if nobody has one.
find_model() {
    [ $# = 0 ] || { realpath "$1"; return; }
    local shipped=$root/models/starter/model.aesa random=$CARGO_TARGET_DIR/random.aesa
    [ ! -e "$shipped" ] || { echo "$shipped"; return; }
    if [ ! -e "$random" ]; then
        # In the engine's own target directory and with its features, where it may be built already.
        (cd "$root" && CARGO_TARGET_DIR=target cargo build --release --locked --workspace --example random_model >&2 &&
            target/release/examples/random_model starter "$random" >&2)
    fi
    echo "$random"
}

# Builds the program for a processor and a target, and tells where it is.
build_device() {
    # Not --config: a key with a dot in the target's name is taken apart.
    local flags=CARGO_TARGET_${2//[.-]/_}_RUSTFLAGS
    env "${flags^^}=-Ctarget-cpu=$1" cargo build --release --locked -q --bin device --features device --target "$2"
    echo "$CARGO_TARGET_DIR/$2/release/device"
}

# Every instruction takes 1 ns of the machine's time, and waiting takes none of ours.
emulate() {
    timeout 600 qemu-system-arm -M "$1" -icount shift=0,sleep=off -display none -monitor none -serial none \
        -semihosting-config enable=on,target=native -kernel "$2"
}

# The largest difference of any score between two files of the same lines.
largest_difference() {
    paste -d ' ' "$1" "$2" | awk '
        $1 != "model" { if (NF != 28) exit 1; for (i = 5; i <= 14; i += 3) { d = $i - $(i + 14); if (d < 0) d = -d; if (d > most) most = d } }
        END { print most + 0 }'
}

install_qemu || { echo "run.sh: no qemu-system-arm; Debian: apt-get install qemu-system-arm" >&2; exit 3; }
rustup -q target add thumbv7em-none-eabihf thumbv8m.main-none-eabihf
AESA_MODEL=$(find_model ${1:+"$1"})
AESA_CLIP=$(realpath "${2:-$root/models/starter/golden/rain.wav}")
export AESA_MODEL AESA_CLIP
cd "$root/cross/firmware"
mkdir -p "$out"

if [ -n "${LINT:-}" ]; then
    cargo fmt --check
    cargo clippy --release --locked -q --all-targets -- -D warnings
    cargo clippy --release --locked -q --bin device --features device --target thumbv7em-none-eabihf -- -D warnings
    cargo test --release --locked -q --lib
fi

cargo build --release --locked -q --bin host
"$CARGO_TARGET_DIR/release/host" > "$out/host"
echo "== this machine"
sed -n '1p;$p' "$out/host"

failures=0
for line in "${machines[@]}"; do
    read -r machine processor target tolerance name <<< "$line"
    echo "== $name ($machine)"
    program=$(build_device "$processor" "$target")
    if ! emulate "$machine" "$program" > "$out/$processor" 2> "$out/$processor.cost"; then
        echo "FAILED: the program ended with an error"
        failures=$((failures + 1))
    elif cmp -s "$out/host" "$out/$processor"; then
        echo "$(grep -c ^frame "$out/$processor") frame scores and the clip's: the same bits"
    elif difference=$(largest_difference "$out/host" "$out/$processor") &&
        awk "BEGIN { exit !($difference <= $tolerance) }"; then
        echo "largest difference of a score: $difference"
    else
        echo "FAILED: other scores (largest difference ${difference:-unknown}, allowed $tolerance)"
        diff "$out/host" "$out/$processor" | head -n 6 || true
        failures=$((failures + 1))
    fi
    cat "$out/$processor.cost"
done

echo "== Cortex-M7 at 50 million instructions per second"
program=$(AESA_MHZ=50 build_device cortex-m7 thumbv7em-none-eabihf)
if ! emulate mps2-an500 "$program" > /dev/null 2> "$out/slow.cost" && grep -q "samples came when the queue was full" "$out/slow.cost"; then
    echo "says that it lost samples, as it should"
else
    echo "FAILED: lost samples were not noticed"
    failures=$((failures + 1))
fi

checks=$((${#machines[@]} + 1))
result=$([ "$failures" = 0 ] && echo ok || echo FAILED)
echo "test result: $result. $((checks - failures)) passed; $failures failed"
[ "$failures" = 0 ]
