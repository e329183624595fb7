#!/usr/bin/env bash
# test.sh [MODEL...]: builds the C library, its examples and its checks, and runs them.
#
# With each MODEL (models/starter/model.onnx, and models/starter/model.aesa or, where there is none, one with random weights): the
# examples in C and C++, linked shared and static, score a clip as `aesa score` does, within 1e-6, also under AddressSanitizer and
# UndefinedBehaviorSanitizer; they run under valgrind where that is installed; tests/checks.c and tests/checks.cpp pass under the
# sanitizers, shared and static, and (with a model.aesa) under valgrind. The clips of tests/conformance have their scores, and the README's
# quick start is run as it stands. The library with the native engine and the starter model alone is at most 3 MB. BUILT=DIR takes
# the libraries from there (of other features, say) and builds nothing. Needs gcc, g++, pkg-config and python3.
# Ends with `test result: ... N passed; M failed`.
set -euo pipefail
case ${1:-} in -*) sed -n '2,10s/^# \?//p' "$0"; exit 2 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/c
profile=${PROFILE:-release}
clip=$root/models/starter/golden/rain.wav
warnings=(-Wall -Wextra -Werror -O1 -g)
sanitizers=(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
models=("$@")
mkdir -p "$work"
log=$work/log
# shellcheck source=bindings/testing.sh
. "$root/bindings/testing.sh"

# Where libtorch is at hand the whole workspace is built, as the other tests have it: other features mean building anew.
build() {
    local packages=(-p aesa-c -p aesa-cli -p aesa-export)
    [ -z "${LIBTORCH:-}" ] || packages=(--workspace)
    (cd "$root" && cargo build --profile "$profile" --locked "${packages[@]}" --lib --bin aesa --example random_model)
}

default_models() {
    local native=$root/models/starter/model.aesa
    if [ ! -e "$native" ]; then
        native=$work/random.aesa
        "$target/$profile/examples/random_model" starter "$native"
    fi
    models=("$root/models/starter/model.onnx" "$native")
}

# Only what the header declares leaves the library.
exports_match() {
    nm -D --defined-only "$work/prefix/lib/libaesa.so" | awk '{ print $3 }' | sort > "$work/exported"
    grep -o '\baesa_[a-z0-9_]*(' "$here/include/aesa.h" | tr -d '(' | sort -u > "$work/declared"
    diff "$work/declared" "$work/exported" && echo "$(wc -l < "$work/declared") functions"
}

# Compiles one source shared and static, as a user would: `compile NAME SOURCE FLAGS...`.
compile() {
    local name=$1 source=$2 compiler=(gcc -std=c11)
    shift 2
    case $source in *.cpp) compiler=(g++ -std=c++17) ;; esac
    local flags libs
    read -ra flags <<< "$(pkg-config --cflags aesa)"
    "${compiler[@]}" "${warnings[@]}" "$@" "$here/$source" "${flags[@]}" -o "$work/$name-shared" \
        $(pkg-config --libs aesa) -Wl,-rpath,"$work/prefix/lib" -lm -pthread &&
        libs=$(pkg-config --static --libs aesa) &&
        "${compiler[@]}" "${warnings[@]}" "$@" "$here/$source" "${flags[@]}" -o "$work/$name-static" \
            -L"$work/prefix/lib" -Wl,-Bstatic -laesa -Wl,-Bdynamic ${libs//-laesa/} -lm -pthread
}

as_score_does() {
    "$1" "$2" "$clip" > "$work/actual" && python3 "$here/compare.py" "$work/expected.jsonl" "$work/actual"
}

# The README's program and the commands after it, as they stand; those before it install, which is done.
quick_start() {
    local folder=$work/quick-start
    rm -rf "$folder" && mkdir -p "$folder" && cd "$folder" && ln -s "$root/models" models
    readme_block c 1 > quick.c
    readme_block sh 2 > quick.sh
    bash -e quick.sh > out && [ "$(grep -c ' s: PQ ' out)" -gt 20 ] && tail -n 1 out | grep '^clip: PQ '
}

# A clip of tests/conformance, so many values at once (0: all).
conforms() {
    "$work/score-c-shared" "$root/models/starter/model.aesa" "$root/tests/conformance/clips/$1" "$2" > "$work/actual" &&
        python3 "$here/compare.py" "$root/tests/conformance/expected.json" "$work/actual" "$1"
}

# The native engine with the starter model inside, stripped: what a mobile app adds to its download.
# Compiled by rustc alone, whatever compiles the rest, so that others who build in the same folder have it already.
is_at_most_3_mb() {
    CARGO_TARGET_DIR=$target/native env -u RUSTC_WORKSPACE_WRAPPER "$here/install.sh" "$work/native-prefix" --no-default-features --features starter &&
        [ "$(stat -Lc %s "$work/native-prefix/lib/libaesa.so")" -le 3000000 ]
}

fails_politely() {
    local status=0
    "$1" "$2" "$3" 2> "$work/message" || status=$?
    cat "$work/message"
    [ "$status" = 1 ] && [ -s "$work/message" ]
}

built=${BUILT:-$target/$profile}
[ -n "${BUILT:-}" ] || build
[ ${#models[@]} -gt 0 ] || default_models
"$here/install.sh" --built "$built" "$work/prefix"
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig

check "what the library exports" exports_match
check "examples/score.c compiles" compile score-c examples/score.c
check "examples/score.cpp compiles" compile score-cpp examples/score.cpp
check "tests/checks.c compiles" compile checks tests/checks.c
check "tests/checks.c compiles with sanitizers" compile checks-asan tests/checks.c "${sanitizers[@]}"
check "tests/checks.cpp compiles" compile checks-cpp tests/checks.cpp
check "tests/checks.cpp compiles with sanitizers" compile checks-cpp-asan tests/checks.cpp "${sanitizers[@]}"
check "examples compile with sanitizers" compile score-asan examples/score.c "${sanitizers[@]}"
check "examples compile with sanitizers (C++)" compile score-cpp-asan examples/score.cpp "${sanitizers[@]}"
check "the README's quick start" quick_start

for model in "${models[@]}"; do
    name=$(basename "$model")
    "$target/$profile/aesa" score -q --frames --format jsonl --model "$model" "$clip" > "$work/expected.jsonl"
    for program in score-c score-cpp score-asan score-cpp-asan; do
        check "$name: $program, shared" as_score_does "$work/$program-shared" "$model"
        check "$name: $program, static" as_score_does "$work/$program-static" "$model"
    done
    check "$name: a bad file" fails_politely "$work/score-asan-shared" "$model" "$root/README.md"
    check "$name: checks under AddressSanitizer, shared" "$work/checks-asan-shared" "$model" "$clip" "$work"
    check "$name: checks under AddressSanitizer, static" "$work/checks-asan-static" "$model" "$clip" "$work"
    check "$name: C++ checks under AddressSanitizer, shared" "$work/checks-cpp-asan-shared" "$model" "$clip"
    check "$name: C++ checks under AddressSanitizer, static" "$work/checks-cpp-asan-static" "$model" "$clip"
    if command -v valgrind > /dev/null; then
        grind=(valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite)
        check "$name: score-c under valgrind" "${grind[@]}" "$work/score-c-shared" "$model" "$clip"
        check "$name: score-cpp under valgrind" "${grind[@]}" "$work/score-cpp-shared" "$model" "$clip"
        # They load models again and again; tract takes minutes for that here.
        if [[ $model == *.aesa ]]; then
            check "$name: checks under valgrind" "${grind[@]}" "$work/checks-shared" "$model" "$clip" "$work"
            check "$name: C++ checks under valgrind" "${grind[@]}" "$work/checks-cpp-shared" "$model" "$clip"
        fi
    else
        echo "skipped: $name under valgrind: there is none here"
    fi
done
for file in "$root"/tests/conformance/clips/*; do
    check "conformance: $(basename "$file"), whole" conforms "$(basename "$file")" 0
    check "conformance: $(basename "$file"), in pieces" conforms "$(basename "$file")" 1000
done
[ -n "${BUILT:-}" ] || check "the library's size" is_at_most_3_mb
check "a bad model" fails_politely "$work/score-asan-shared" "$root/README.md" "$clip"

report
