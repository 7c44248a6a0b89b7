#!/usr/bin/env bash
# Train, align, train again and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/mr-to-ct-limb.sh FOLDER_OF_MEDGAN [RUNS]. Run it again after a break:
# it goes on.
. "$(dirname "$0")/steps.sh" mr-to-ct-limb "$@"

aligned() { # RUN COHORT ARGUMENTS…
    train "$1" "$2" --study "$study.toml" "${@:3}"
}

# What a model believes aligns the pairs for the next: twice.
pack "$runs/rigid.zip"
aligned first rigid.zip --recipe l1 --steps 2400
pack "$runs/aligned.zip" --align "$runs/first/bundle"
aligned second aligned.zip --recipe l1 --from "$runs/first/bundle" --steps 2400
pack "$runs/realigned.zip" --align "$runs/second/bundle"
aligned l1 realigned.zip --recipe l1 --from "$runs/second/bundle" --steps 3000 &
aligned gan realigned.zip --recipe pix2pix-plain --from "$runs/second/bundle" --steps 3000 &
wait -n && wait
"$medgan" measure "$runs/gan/bundle" --cohort "$study.csv" --align "$runs/second/bundle" \
    --compare "same generator, L1 alone" "$runs/l1/bundle"
ship gan
