#!/usr/bin/env bash
# install.sh [--small | --built DIR] PREFIX [CARGO ARGUMENTS...]: builds the library, and installs it
# with its headers and a pkg-config file.
#
# PREFIX/lib gets libaesa.so and libaesa.a, PREFIX/include aesa.h and aesa.hpp. The arguments go to cargo:
# `--no-default-features` leaves tract out (no ONNX models), `--features starter` builds the starter model in. --small takes
# minutes longer and gives the smallest library (the profile dist); --built takes libaesa_c.so and libaesa_c.a from DIR and builds
# nothing. Linux; DESTDIR is put before PREFIX.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
built=
profile=release
[ "${1:-}" != --small ] || { profile=dist; shift; }
[ "${1:-}" != --built ] || { built=${2:?DIR is missing}; shift 2; }
case ${1:-} in '' | -*) sed -n '2,8s/^# \?//p' "$0"; exit 2 ;; esac
prefix=$(realpath -m "$1")
shift
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)

if [ -z "$built" ]; then
    (cd "$root" && cargo build --profile "$profile" --locked -p aesa-c "$@")
    built=${CARGO_TARGET_DIR:-$root/target}/$profile
fi
# What Rust's standard library needs of the system's.
private="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"

to=${DESTDIR:-}$prefix
mkdir -p "$to/lib/pkgconfig" "$to/include"
install -m 644 "$root"/bindings/c/include/aesa.h "$root"/bindings/c/include/aesa.hpp "$to/include"
install -m 755 -s "$built/libaesa_c.so" "$to/lib/libaesa.so.$version"
ln -sf "libaesa.so.$version" "$to/lib/libaesa.so.0"
ln -sf libaesa.so.0 "$to/lib/libaesa.so"
install -m 644 "$built/libaesa_c.a" "$to/lib/libaesa.a"
strip --strip-debug "$to/lib/libaesa.a"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@PRIVATE@|$private|" "$root/bindings/c/aesa.pc.in" > "$to/lib/pkgconfig/aesa.pc"
echo "aesa $version for C is in $to: shared library $(stat -c %s "$to/lib/libaesa.so.$version") bytes"
