#!/usr/bin/env bash
# memory.sh: peak resident memory and wall time of `aesa score` for 10 s to 1 h of audio, at 48 kHz stereo.
# Needs ffmpeg and GNU time (apt-get install ffmpeg time).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked -p aesa-cli
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

measure() {
    local seconds=$1
    ffmpeg -hide_banner -loglevel error -y -f lavfi -i "anoisesrc=color=pink:seed=1:amplitude=0.3:r=48000:d=$seconds" \
        -ac 2 -sample_fmt s16 "$tmp/$seconds.flac"
    /usr/bin/time -f "%M %e" -o "$tmp/usage" target/release/aesa score -j 1 --format csv "$tmp/$seconds.flac" -o "$tmp/scores.csv"
    [ "$(wc -l < "$tmp/scores.csv")" = 2 ] || { echo "no score for $seconds s" >&2; exit 1; }
    awk -v s="$seconds" '{ printf "%6d s of audio: peak RSS %.1f MiB, %.2f s (%.0f times real time)\n", s, $1 / 1024, $2, s / $2 }' "$tmp/usage"
}

grep -m1 'model name' /proc/cpuinfo
for seconds in 10 60 600 3600; do measure "$seconds"; done
