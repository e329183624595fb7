#!/usr/bin/env bash
# setup-swift.sh [DIR]: a Debian 13 with Debian's Swift 6.0 in a folder of its own, for test.sh on Linux machines without Swift.
#
# DIR is $SWIFT_ROOT, or ~/.cache/aesa-swift, unless named. Needs root; downloads 560 MB through apt (mmdebstrap), 2.6 GB on disk. Does
# nothing when it is there. test.sh finds it by the same names.
set -euo pipefail
case ${1:-} in -*) sed -n '2,5s/^# \?//p' "$0"; exit 2 ;; esac
dir=${1:-${SWIFT_ROOT:-$HOME/.cache/aesa-swift}}
[ ! -x "$dir/usr/bin/swift" ] || exit 0
command -v mmdebstrap > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap > /dev/null; }
mkdir -p "$(dirname "$dir")"
rm -rf "$dir.part"
mmdebstrap --quiet --variant=minbase --include=swiftlang,libc6-dev,libstdc++-14-dev trixie "$dir.part" http://deb.debian.org/debian
mv "$dir.part" "$dir"
