#!/usr/bin/env bash
# build.sh: makes target/kotlin/aesa.jar and, beside it, libaesa_uniffi.so for this machine.
#
# Needs Rust, Java 11 or newer, and JNA 5.12 or newer as $JNA (default: Debian's /usr/share/java/jna.jar). The Kotlin compiler is
# $KOTLIN_HOME/bin/kotlinc; unset, it comes from npm with kotlinx-coroutines in it (package kotlin-compiler, 94 MB).
# target/kotlin/classpath then holds what a program needs at run time.
set -euo pipefail
[ $# = 0 ] || { sed -n '2,6s/^# \?//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
out=$target/kotlin
jna=${JNA:-/usr/share/java/jna.jar}
mkdir -p "$out"

compiler=${KOTLIN_HOME:-$out/npm/node_modules/kotlin-compiler}
if [ ! -e "$compiler/bin/kotlinc" ]; then
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$out/npm" kotlin-compiler@2.4.20
fi

"$root/bindings/uniffi/generate.sh" kotlin "$out/generated"
case $(uname) in Darwin) library=libaesa_uniffi.dylib ;; *) library=libaesa_uniffi.so ;; esac
cp "$target/${PROFILE:-release}/$library" "$out/"
if strip -o "$out/$library.stripped" "$out/$library" 2> /dev/null; then mv "$out/$library.stripped" "$out/$library"; fi

coroutines=$compiler/lib/kotlinx-coroutines-core-jvm.jar
stamp=$(cat "$out/generated/aesa/aesa.kt" "$here"/src/main/kotlin/aesa/*.kt "$compiler/build.txt" | cksum)
if [ ! -e "$out/aesa.jar" ] || [ "$stamp" != "$(cat "$out/stamp" 2> /dev/null)" ]; then
    rm -f "$out/aesa.jar"
    # Its own standard library is on its class path without being asked for.
    JAVA_OPTS=-Xmx2g "$compiler/bin/kotlinc" -no-reflect -jvm-target 11 -cp "$jna:$coroutines" -d "$out/aesa.jar" \
        "$out/generated" "$here/src/main/kotlin"
    echo "$stamp" > "$out/stamp"
fi
echo "$out/aesa.jar:$jna:$coroutines:$compiler/lib/kotlin-stdlib.jar" > "$out/classpath"
echo "$compiler/bin/kotlinc" > "$out/compiler"
