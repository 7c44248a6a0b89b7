#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/retinal-vessels.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" retinal-vessels "$@"

pack "$runs/cohort.zip"
learn alone unet-adversarial 4500 "adversarial = 0, patch = 128, batch = 6"
learn judged unet-adversarial 4500 "patch = 128, batch = 6"
learn segan segan 2000 "width = 16, patch = 128, batch = 6, rate = 1e-4"
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" --observers second \
    --compare "same network against an adversary" "$runs/judged/bundle" --compare SegAN "$runs/segan/bundle"
# The other children, by the same network trained without them: docs/segmentation.md.
learn alone-b unet-adversarial 4500 "adversarial = 0, patch = 128, batch = 6" --test "child 01" "child 05" "child 09"
learn alone-c unet-adversarial 4500 "adversarial = 0, patch = 128, batch = 6" \
    --test "child 02" "child 03" "child 06" "child 07"
for fold in alone-b alone-c; do
    "$medgan" measure "$runs/$fold/bundle" --cohort "$study.csv" --observers second
done
ship alone
