# The two models that make images finer, MR and CT, are made alike; to be sourced: . finer.sh STUDY FOLDER_OF_MEDGAN [RUNS]
# ``drawn``: what measuring reads besides.
. "$(dirname "$0")/steps.sh" "$@"

pack "$runs/cohort.zip"
learn alone residual-sr 5000 "adversarial = 0"
learn judged residual-sr 5000
learn srgan srgan 2000 "width = 32, levels = 6"
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" "${drawn[@]}" \
    --compare "same network against an adversary" "$runs/judged/bundle" --compare SRGAN "$runs/srgan/bundle"
ship alone
