#!/usr/bin/env bash
# test.sh: builds the Kotlin binding and runs its tests, its sample and the README's quick start on the JVM.
#
# Installs what is missing through apt-get (Java, JNA, JUnit, Gson, espeak-ng, npm) and npm (the Kotlin compiler). Ends with
# `test result: ... N passed; M failed`; where something cannot be had it says `skipped: REASON`.
set -euo pipefail
[ $# = 0 ] || { sed -n '2,5s/^# \?//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/kotlin
java=/usr/share/java
mkdir -p "$out"
log=$out/log
# shellcheck source=bindings/testing.sh
. "$root/bindings/testing.sh"

skip() { echo "skipped: $*"; exit 0; }

install_packages() {
    local need=()
    command -v javac > /dev/null || need+=(default-jdk-headless)
    [ -e $java/jna.jar ] || need+=(libjna-java)
    [ -e $java/junit4.jar ] || need+=(junit4)
    [ -e $java/gson.jar ] || need+=(libgoogle-gson-java)
    command -v npm > /dev/null || need+=(npm)
    command -v espeak-ng > /dev/null || need+=(espeak-ng)
    [ ${#need[@]} -gt 0 ] || return 0
    apt_install "${need[@]}"
}

# Compiles the folders $2... against the library into a jar, unless nothing has changed.
compile() {
    local jar=$1 stamp
    shift
    stamp=$(find "$@" -name '*.kt' -print0 | sort -z | xargs -0 cat | cksum)-$(cat "$out/stamp")
    if [ ! -e "$jar" ] || [ "$stamp" != "$(cat "$jar.stamp" 2> /dev/null)" ]; then
        rm -f "$jar"
        JAVA_OPTS=-Xmx2g "$(cat "$out/compiler")" -no-reflect -jvm-target 11 -cp "$test_classpath" -d "$jar" "$@"
        echo "$stamp" > "$jar.stamp"
    fi
}

on_jvm() { java -Djna.library.path="$out" "$@"; }

# JUnit's number of tests, of which the last line tells.
unit_tests() {
    local status=0 tests
    tests=$(cd "$here/src/test/kotlin" && grep -l '@Test' aesa/*.kt | sed 's/\.kt$//; s,/,.,')
    # shellcheck disable=SC2086
    on_jvm -Daesa.root="$root" -cp "$out/tests.jar:$test_classpath" org.junit.runner.JUnitCore $tests > "$log" 2>&1 || status=$?
    if [ $status = 0 ] && grep -q '^OK (' "$log"; then
        passed=$((passed + $(sed -n 's/^OK (\([0-9]*\) tests*)/\1/p' "$log")))
        echo "ok: $(grep '^OK' "$log")"
    else
        grep -v '^\s*at \(org\.junit\|java\.base\|jdk\)' "$log" | tail -n 60
        failed=$((failed + 1))
    fi
}

speak() { espeak-ng --stdout "$1" | on_jvm -cp "$out/sample.jar:$classpath" aesa.sample.ScoreKt; }

says_what_it_hears() {
    speak "How do I sound? I should like to know, before anybody else hears it." > "$out/sample.txt"
    cat "$out/sample.txt"
    [ "$(grep -c ' s: PQ ' "$out/sample.txt")" -ge 15 ] && grep -q '^clip: PQ [0-9.]* ' "$out/sample.txt"
}

fails_politely() {
    local status=0
    on_jvm -cp "$out/sample.jar:$classpath" aesa.sample.ScoreKt < "$1" 2>&1 || status=$?
    [ "$status" = 1 ]
}

# As a reader has it: the program in a new folder of the project's, the commands after it (which build, too).
quick_start() {
    local folder=$out/quick-start
    rm -rf "$folder" && mkdir -p "$folder" && cd "$root"
    readme_block kotlin 1 > "$folder/Quick.kt"
    readme_block sh 1 | sed "s,target/kotlin,$out,g; s,Quick.kt,$folder/Quick.kt,; s,quick.jar,$folder/quick.jar,g" > "$folder/quick.sh"
    bash -e "$folder/quick.sh" > "$folder/out"
    cat "$folder/out"
    [ "$(grep -c ' s: PQ ' "$folder/out")" -ge 15 ] && tail -n 1 "$folder/out" | grep -q '^clip: PQ [0-9.]*$'
}

# The starter is inside.
at_most_3_mb() {
    local size
    size=$(stat -c %s "$out/libaesa_uniffi.so")
    echo "$size bytes, starter included" && [ "$size" -le 3000000 ]
}

install_packages || skip "Java, JNA, JUnit, Gson, npm or espeak-ng cannot be installed here"
if [ -z "${KOTLIN_HOME:-}" ] && [ ! -e "$out/npm/node_modules/kotlin-compiler/bin/kotlinc" ]; then
    npm view kotlin-compiler@2.4.20 version > /dev/null 2>&1 || skip "npm does not reach the Kotlin compiler"
fi
"$here/build.sh"
classpath=$(cat "$out/classpath")
test_libraries=$(dirname "$(cat "$out/compiler")")/../lib
test_classpath=$classpath:$test_libraries/kotlin-test.jar:$test_libraries/kotlin-test-junit.jar:$java/junit4.jar:$java/gson.jar:$java/hamcrest-core.jar

compile "$out/tests.jar" "$here/src/test/kotlin"
compile "$out/sample.jar" "$here/sample-jvm"
unit_tests
check "the sample scores what espeak-ng says" says_what_it_hears
check "the sample with something else than a WAV" fails_politely "$root/README.md"
check "the sample with nothing" fails_politely /dev/null
check "the README's quick start" quick_start
if [ "${PROFILE:-release}" = release ]; then
    check "the library's size" at_most_3_mb
else
    echo "skipped: the library's size: it is built as $PROFILE, not as it ships"
fi

report
