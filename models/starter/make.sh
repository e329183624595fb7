#!/usr/bin/env bash
# make.sh AUDIO LABELS WORK: makes the starter model and the figures on its card from nothing.
#
# AUDIO holds the folders esc10, fsdd and librosa, LABELS the challenge's lists of human ratings (CARD.md says where
# both come from), WORK receives the voices, the corpus and the runs (4 GB). Needs libtorch (trainer/setup-libtorch.sh)
# and, from Debian: espeak-ng ffmpeg fluid-soundfont-gm timgm6mb-soundfont, and the voices' packages, which
# trainer/corpus/recipes/voices.sh lists. Whatever is in WORK already is not made again.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,7s/^# \?//p' "$0"; exit 2; }
audio=$(realpath "$1") labels=$(realpath "$2") work=$(realpath -m "$3")
cd "$(dirname "$0")/../.."

cargo build --release --locked -p aesa-trainer
trainer=target/release/aesa-trainer
corpus=$work/corpus
mkdir -p "$work/audio"
for folder in esc10 fsdd librosa; do ln -sfn "$audio/$folder" "$work/audio/$folder"; done
bash trainer/corpus/recipes/voices.sh "$work/audio/voices"

[ -e "$corpus/corpus.json" ] ||
    "$trainer" synth --config trainer/corpus/recipes/starter.toml --audio "$work/audio" --labels "$labels" --out "$corpus"

train() { # RECIPE RUN [OPTION]...
    local recipe=$1 run=$work/$2
    shift 2
    [ -e "$run/done" ] && return
    grep -qs '"finished": true' "$run/run.json" ||
        "$trainer" train --resume --config "trainer/recipes/$recipe.toml" --corpus "$corpus" --out "$run" "$@"
    for split in validation test ladders; do
        "$trainer" eval --model "$run" --corpus "$corpus" --split "$split" > "$run/eval-$split.txt"
    done
    touch "$run/done"
}

train starter-crops starter-crops
train starter starter --set "init=$work/starter-crops"
for steps in 6 12 24; do
    "$trainer" eval --model "$work/starter" --corpus "$corpus" --split test --chunk-steps $steps > "$work/starter/eval-chunk$steps.txt"
done
for seed in 1 2 3; do
    for alpha in 0.2 0.0; do
        train starter-head "head-alpha$alpha-seed$seed" --set "init=$work/starter" --set init_parts=encoder \
            --cache "$work/hidden" --set "triplet.alpha=$alpha" --set "seed=$seed"
    done
done
python3 models/starter/tables.py "$work" > "$work/tables.md"
checks=()
for clip in models/starter/golden/*.*; do
    [[ $clip = *.json ]] || checks+=(--check "$clip")
done
"$trainer" export --run "$work/starter" --out "$work/model.onnx" "${checks[@]}"
"$trainer" export --run "$work/starter" --out "$work/model.aesa" --chunk-steps 6 --left-steps 12 "${checks[@]}"
echo "the model: $work/model.onnx and $work/model.aesa; the card's tables: $work/tables.md"
