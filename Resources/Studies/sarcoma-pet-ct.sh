#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/sarcoma-pet-ct.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" sarcoma-pet-ct "$@"

pack "$runs/cohort.zip"
learn alone unet-adversarial 1500 "adversarial = 0, width = 32, patch = 64, batch = 12"
learn judged unet-adversarial 1500 "width = 32, patch = 64, batch = 12"
learn segan segan 1500 "width = 16, patch = 64, batch = 12, rate = 1e-4"
"$medgan" measure "$runs/judged/bundle" --cohort "$study.csv" --about "$study.toml" \
    --compare "same network without adversary" "$runs/alone/bundle" --compare SegAN "$runs/segan/bundle"
ship judged
