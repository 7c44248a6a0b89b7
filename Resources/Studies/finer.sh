# The two models that make images finer, MR and CT, are made alike; to be sourced: . finer.sh STUDY FOLDER_OF_MEDGAN [RUNS]
# ``steps``: for how long the network learns; ``rate``: how fast against an adversary; ``drawn``: what measuring reads besides.
. "$(dirname "$0")/steps.sh" "$@"

pack "$runs/cohort.zip"
learn alone residual-sr "$steps" "adversarial = 0"
learn judged residual-sr 2000 "rate = $rate" --from "$runs/alone/bundle"
learn srgan srgan 2000 "width = 32, levels = 6"
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" "${drawn[@]}" \
    --compare "same network, then against an adversary" "$runs/judged/bundle" --compare SRGAN "$runs/srgan/bundle"
ship alone
