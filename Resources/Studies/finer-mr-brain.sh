#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/finer-mr-brain.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" finer-mr-brain "$@"

pack "$runs/cohort.zip"
learn alone residual-sr 5000 "adversarial = 0"
learn judged residual-sr 5000
learn srgan srgan 2000 "width = 32, levels = 6"
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" --lesions lesion \
    --compare "same network against an adversary" "$runs/judged/bundle" --compare SRGAN "$runs/srgan/bundle"
ship alone
