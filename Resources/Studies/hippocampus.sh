#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/hippocampus.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" hippocampus "$@"

pack "$runs/cohort.zip"
learn alone unet-adversarial 4000 "adversarial = 0, batch = 2"
learn judged unet-adversarial 1500 "batch = 2, rate = 5e-4" --from "$runs/alone/bundle"
learn segan segan 1500 "width = 16, levels = 3, patch = 40, batch = 2, rate = 1e-4"
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" \
    --compare "same network, then against an adversary" "$runs/judged/bundle" --compare SegAN "$runs/segan/bundle"
ship alone
