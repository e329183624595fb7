#!/usr/bin/env bash
# make.sh AUDIO LABELS WORK: makes the starter model and the figures on its card from nothing.
#
# AUDIO holds the folders esc10, fsdd and librosa, LABELS the challenge's lists of human ratings (CARD.md says where
# both come from), WORK receives the voices, three corpora and the runs (10 GB). Needs libtorch (trainer/setup-libtorch.sh)
# and, from Debian: espeak-ng ffmpeg fluid-soundfont-gm timgm6mb-soundfont, and the voices' packages, which
# trainer/corpus/recipes/voices.sh lists. Whatever is in WORK already is not made again.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,7s/^# \?//p' "$0"; exit 2; }
audio=$(realpath "$1") labels=$(realpath "$2") work=$(realpath -m "$3")
cd "$(dirname "$0")/../.."

cargo build --release --locked -p aesa-trainer
trainer=target/release/aesa-trainer
mkdir -p "$work/audio"
for folder in esc10 fsdd librosa; do ln -sfn "$audio/$folder" "$work/audio/$folder"; done
bash trainer/corpus/recipes/voices.sh "$work/audio/voices"

corpus() { # RECIPE
    [ -e "$work/corpus-$1/corpus.json" ] ||
        "$trainer" synth --config "trainer/corpus/recipes/$1.toml" --audio "$work/audio" --labels "$labels" --out "$work/corpus-$1"
}
corpus starter
corpus starter-finer
corpus starter-mp3

evaluate() { # RUN CORPUS
    for split in validation test ladders; do
        "$trainer" eval --model "$work/$1" --corpus "$work/corpus-$2" --split "$split" > "$work/$1/eval-$split.txt"
    done
}

train() { # RECIPE RUN CORPUS [OPTION]...
    local recipe=$1 run=$2 corpus=$3
    shift 3
    [ -e "$work/$run/done" ] && return
    grep -qs '"finished": true' "$work/$run/run.json" ||
        "$trainer" train --resume --config "trainer/recipes/$recipe.toml" --corpus "$work/corpus-$corpus" --out "$work/$run" "$@"
    evaluate "$run" "$corpus"
    touch "$work/$run/done"
}

mean() { # RUN RUN OUT
    [ -e "$work/$3/best.safetensors" ] || "$trainer" mean "$work/$1" "$work/$2" --out "$work/$3"
}

train starter-crops crops starter
train starter chunks starter --set "init=$work/crops"
train starter-finer finer starter-finer --set "init=$work/chunks" --set id=starter
# Two epochs more, of three that the learning rate would take to fall; the mean of both ends.
train starter-finer further starter-finer --set "init=$work/finer" --set id=starter --set epochs=2 --set schedule_epochs=3 --set keep=last \
    --set learning_rate=4e-4 --set encoder_learning_rate=4e-4
mean finer further merged
# From there on MP3 at the lowest rates, most of all; what ships is halfway to it.
train starter-finer mp3 starter-mp3 --set "init=$work/merged" --set id=starter --set epochs=3 --set keep=last \
    --set learning_rate=4e-4 --set encoder_learning_rate=4e-4
mean merged mp3 starter
evaluate starter starter-mp3
for steps in 6 12 24; do
    "$trainer" eval --model "$work/starter" --corpus "$work/corpus-starter-mp3" --split test --chunk-steps $steps > "$work/starter/eval-chunk$steps.txt"
done
# Heads learn from the 3,000 clips that are in no family of one kind alone.
heads=$work/corpus-heads
mkdir -p "$heads"
cp "$work"/corpus-starter-mp3/{corpus.json,validation.csv,test.csv,ladders.csv} "$heads"
head -n 3001 "$work/corpus-starter-mp3/train.csv" > "$heads/train.csv"
ln -sfn ../corpus-starter-mp3/audio "$heads/audio"
for seed in 1 2 3; do
    for alpha in 0.2 0.0; do
        train starter-head "head-alpha$alpha-seed$seed" heads --set "init=$work/starter" --set init_parts=encoder \
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
