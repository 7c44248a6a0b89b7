#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/retinal-vessels.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" retinal-vessels "$@"

alone=(unet-adversarial 4500 "adversarial = 0, patch = 128, batch = 6")

folds() { # RUN RECIPE STEPS CHANGES: three networks, each without some of the ten children
    learn "$1" "${@:2}" # without 04, 08 and 10, as the table says
    learn "$1-b" "${@:2}" --test "child 01" "child 05" "child 09"
    learn "$1-c" "${@:2}" --test "child 02" "child 03" "child 06" "child 07"
}

pack "$runs/cohort.zip"
learn alone-all "${alone[@]}" --test
folds alone "${alone[@]}"
folds judged unet-adversarial 4500 "patch = 128, batch = 6"
folds segan segan 2000 "width = 16, patch = 128, batch = 6, rate = 1e-4"
"$medgan" measure "$runs/alone-all/bundle" --folds "$runs"/alone{,-b,-c}/bundle --cohort "$study.csv" \
    --about "$study.toml" --observers second \
    --compare "same network against an adversary" "$runs"/judged{,-b,-c}/bundle --compare SegAN "$runs"/segan{,-b,-c}/bundle
ship alone-all
