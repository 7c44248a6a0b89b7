# The two models that make PET, of CT and of MR, are made alike; to be sourced: . to-pet-limb.sh STUDY FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/steps.sh" "$@"

pack "$runs/cohort.zip"
learn alone l1 1500 "patch = 64"
learn judged pix2pix-plain 1500 "patch = 64"
learn blended ct2pet-fcn-cgan 1500 "width = 24, levels = 4, patch = 64, batch = 4"
"$medgan" measure "$runs/alone/bundle" --cohort "$study.csv" --about "$study.toml" --lesions gtv \
    --compare "same generator against an adversary" "$runs/judged/bundle" \
    --compare "FCN and cGAN blended" "$runs/blended/bundle"
ship alone
