#!/usr/bin/env bash
# Train, align, train again and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/mr-to-ct-limb.sh FOLDER_OF_MEDGAN [RUNS]. Run it again after a break:
# it goes on.
set -euo pipefail
medgan="$1/medgan"
runs="${2:-runs/mr-to-ct-limb}"
study=Resources/Studies/mr-to-ct-limb
# One thread per run: two runs side by side then share two cores without waiting for each other.
export OMP_NUM_THREADS=1
mkdir -p "$runs"

train() { # RUN COHORT ARGUMENTS…: begin, go on, or leave alone what is done
    local run="$1" cohort="$2"
    shift 2
    if [ ! -e "$run/bundle/manifest.json" ]; then
        "$medgan" train --study "$study.toml" --cohort "$cohort" --out "$run" "$@" $([ -e "$run/run.json" ] && echo --resume)
    fi
}

pack() { # FILE ARGUMENTS…
    [ -e "$1" ] || "$medgan" cohort pack --study "$study.toml" --cohort "$study.csv" --out "$@"
}

# What a model believes aligns the pairs for the next: twice.
pack "$runs/rigid.zip"
train "$runs/first" "$runs/rigid.zip" --recipe l1 --steps 2400
pack "$runs/aligned.zip" --align "$runs/first/bundle"
train "$runs/second" "$runs/aligned.zip" --recipe l1 --from "$runs/first/bundle" --steps 2400
pack "$runs/realigned.zip" --align "$runs/second/bundle"
train "$runs/l1" "$runs/realigned.zip" --recipe l1 --from "$runs/second/bundle" --steps 3000 &
train "$runs/gan" "$runs/realigned.zip" --recipe pix2pix-plain --from "$runs/second/bundle" --steps 3000 &
wait -n && wait
"$medgan" measure "$runs/gan/bundle" --cohort "$study.csv" --align "$runs/second/bundle" \
    --compare "same generator, L1 alone" "$runs/l1/bundle"
rm -rf Resources/Bundles/mr-to-ct-limb
cp -r "$runs/gan/bundle" Resources/Bundles/mr-to-ct-limb
sha256sum Resources/Bundles/mr-to-ct-limb/manifest.json
echo "Put this SHA-256 into SHIPPED in MedGANLogic/catalogue.py."
