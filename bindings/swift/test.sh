#!/usr/bin/env bash
# test.sh: makes the Swift package's generated parts and checks them; with Swift, runs the package's tests and the README's quick start.
#
# Swift is the one on the PATH or, for root on Linux, that of setup-swift.sh. Ends with `test result: ... N passed; M failed`; what
# cannot be had is told as `skipped: REASON`.
set -euo pipefail
[ $# = 0 ] || { sed -n '2,5s/^# \?//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/swift
built=$target/${PROFILE:-release}
swift_root=${SWIFT_ROOT:-$HOME/.cache/aesa-swift}
mkdir -p "$out"
log=$out/log
# shellcheck source=bindings/testing.sh
. "$root/bindings/testing.sh"

# Runs a command where Swift is, with the library within reach.
with_swift() {
    local environment=(LIBRARY_PATH="$built" LD_LIBRARY_PATH="$built")
    if command -v swift > /dev/null; then
        env "${environment[@]}" "$@"
    else
        # The project and the build folder, at the places that they have outside.
        # shellcheck disable=SC2016
        unshare --mount bash -ec '
            for folder in "$2" "$3" /proc /dev; do mkdir -p "$1$folder"; mount --rbind "$folder" "$1$folder"; done
            root=$1 from=$PWD; shift 3
            exec chroot "$root" env -C "$from" HOME=/root PATH=/usr/bin:/bin "$@"' - "$swift_root" "$root" "$target" "${environment[@]}" "$@"
    fi
}

header_compiles() {
    printf '#include "AesaFFI.h"\nint main(void) { return ffi_aesa_uniffi_uniffi_contract_version() == 0; }\n' > "$out/header.c"
    local libraries=-L$built
    # gcc does not know clang's words for pointers.
    cc -std=c11 -Wall -Wextra -Werror -D_Nonnull= -D_Nullable= -I"$out/generated" "$out/header.c" "$libraries" -laesa_uniffi -o "$out/header" &&
        LD_LIBRARY_PATH=$built "$out/header" && echo "and links"
}

# Every file that the package's description names, and the functions of the header in the library.
package_is_whole() {
    grep -q 'header "AesaFFI.h"' "$out/generated/AesaFFI.modulemap" && [ -s "$here/Sources/Aesa/Generated/Aesa.swift" ] || return 1
    nm -D --defined-only "$built/libaesa_uniffi.so" | awk '{ print $3 }' | sort > "$out/exported"
    grep -o '\b\(uniffi\|ffi\)_aesa_uniffi_[a-z0-9_]*(' "$out/generated/AesaFFI.h" | tr -d '(' | sort -u > "$out/declared"
    [ -s "$out/declared" ] && [ -z "$(comm -23 "$out/declared" "$out/exported")" ] && echo "$(wc -l < "$out/declared") functions"
}

# XCTest's number of tests, of which the last summary tells.
unit_tests() {
    local status=0 tests
    (cd "$here" && with_swift swift test --scratch-path "$out/build") > "$log" 2>&1 || status=$?
    tests=$(sed -n 's/.*Executed \([0-9]*\) tests, with 0 failures.*/\1/p' "$log" | tail -n 1)
    if [ $status = 0 ] && [ "${tests:-0}" -gt 0 ]; then
        passed=$((passed + tests))
        echo "ok: $tests tests of the package"
    else
        failed=$((failed + 1))
        tail -n 60 "$log"
    fi
}

# The README's package and program in a folder, and its last command; the library is built already.
quick_start() {
    local folder=$out/quick-start
    rm -rf "$folder" && mkdir -p "$folder/Sources" && cd "$folder"
    readme_block swift 1 | sed "s,\"bindings/swift\",\"$here\"," > Package.swift
    readme_block swift 2 > Sources/main.swift
    readme_block sh 2 > quick.sh
    ln -s "$root/models" models
    with_swift bash -e quick.sh > out
    cat out
    [ "$(grep -c ' s: PQ ' out)" -ge 15 ] && tail -n 1 out | grep -q '^clip: PQ [0-9.]*$'
}

# Apple's frameworks are not here: grammar only.
sample_parses() { with_swift swiftc -frontend -parse -swift-version 5 "$here/sample/Sources/App.swift" && echo "grammar only"; }

"$here/build.sh"
check "the header compiles" header_compiles
check "the package is whole" package_is_whole
if with_swift swift --version > "$out/version" 2> /dev/null; then
    head -n 1 "$out/version"
    unit_tests
    check "the README's quick start" quick_start
    check "the sample parses" sample_parses
else
    echo "skipped: the tests in Swift: there is no Swift here (as root on Linux: bindings/swift/setup-swift.sh)"
fi

report
