#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/retinal-vessels.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" retinal-vessels "$@"

alone() { # RUN ARGUMENTS…: the network without adversary
    learn "$1" unet-adversarial 4500 "adversarial = 0, patch = 128, batch = 6" "${@:2}"
}

pack "$runs/cohort.zip"
alone alone
learn judged unet-adversarial 4500 "patch = 128, batch = 6"
learn segan segan 2000 "width = 16, patch = 128, batch = 6, rate = 1e-4"
# All ten children, each by the network that was trained without it: printed here, docs/segmentation.md.
alone alone-b --test "child 01" "child 05" "child 09"
alone alone-c --test "child 02" "child 03" "child 06" "child 07"
"$medgan" measure "$runs/alone-b/bundle" --folds "$runs"/alone{,-b,-c}/bundle --cohort "$study.csv" --observers second
# What the card says is of the shipped weights alone.
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" --observers second \
    --compare "same network against an adversary" "$runs/judged/bundle" --compare SegAN "$runs/segan/bundle"
ship alone
