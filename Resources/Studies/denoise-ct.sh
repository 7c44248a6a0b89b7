#!/usr/bin/env bash
# Simulate, train and measure the shipped denoisers of CT, from the scans to the cards.
# Usage, from the top level: Resources/Studies/denoise-ct.sh FOLDER_OF_MEDGAN [RUNS]. Run it again after a break:
# it goes on.
set -euo pipefail
medgan="$1/medgan"
runs="${2:-runs/denoise-ct}"
study=Resources/Studies/denoise-ct
scans=../shared/data
# One thread per run: two runs side by side then share two cores without waiting for each other.
export OMP_NUM_THREADS=1
mkdir -p "$runs/low"

simulate() { # SCAN NAME DOSE KERNEL ARGUMENTS…
    local low
    low="$runs/low/$(basename "$1" .nii.gz)-$3-$2.nii.gz"
    [ -e "$low.medgan.json" ] || "$medgan" simulate low-dose "$scans/$1.nii.gz" "$low" --dose "$3" --kernel "$4" "${@:5}"
}

# Scans that are noisy to begin with starve of photons below 10 %, even with a modulated current. Sharp reconstructions
# are left out: they teach that fine noise is to stay.
fine=(chest_ct/{rider_pilot_0117,lung_dx_a0001_kernelB,lung_dx_a0002_B40f} head_ct/ge_hispeed_vault)
noisy=(chest_ct/{lidc_0314,lungfcp_0001})
# To learn from: the least dose, with noise as the scanner would have shown it and as fine as other kernels make it.
for kernel in scan sharp ramp; do
    for scan in "${fine[@]}"; do simulate "$scan" "$kernel" 0.05 "$kernel" --seed 1; done
    for scan in "${noisy[@]}"; do simulate "$scan" "$kernel" 0.10 "$kernel" --seed 1 --modulation; done
done
# To be measured on: other doses, other noise, other rays.
for dose in 0.05 0.10 0.25 0.50; do
    for scan in "${fine[@]}"; do simulate "$scan" test "$dose" scan --seed 2 --geometry parallel; done
    [ "$dose" = 0.05 ] && continue
    for scan in "${noisy[@]}"; do simulate "$scan" test "$dose" scan --seed 2 --geometry parallel --modulation; done
done

train() { # RUN TESTED ARGUMENTS…: begin, go on, or leave alone what is done
    local run="$runs/$1" tested
    read -ra tested <<<"--test $2"
    if [ ! -e "$run/bundle/manifest.json" ]; then
        "$medgan" train --cohort "$runs/cohort.zip" --out "$run" "${tested[@]}" "${@:3}" $([ -e "$run/run.json" ] && echo --resume)
    fi
}

both() { # FOLD TESTED: the accurate network, and the natural one that goes on from it
    train "accurate-$1" "$2" --recipe residual-unet --study "$study.toml"
    train "natural-$1" "$2" --recipe residual-unet-gan --study "$study-natural.toml" --from "$runs/accurate-$1/bundle"
}

folds() { # KIND
    echo "$runs/$1-a/bundle $runs/$1-b/bundle $runs/$1-c/bundle"
}

published() { # SYSTEM CHANGES: what others published, as far as half an hour on one core goes, without the first fold
    sed "s/^seed = .*/&\nchanges = { $2 }/" "$study.toml" >"$runs/$1.toml"
    train "$1" "$first" --recipe "$1" --study "$runs/$1.toml"
}

[ -e "$runs/cohort.zip" ] || "$medgan" cohort pack --study "$study.toml" --cohort "$study.csv" --out "$runs/cohort.zip"
first="LIDC-IDRI-0314 Lung_Dx-A0001"
{
    both a "$first"
    both c "LungFCP-01-0001 dcm_qa_ct-GE"
    published red-cnn "width = 32, batch = 16, rate = 5e-4, steps = 3000"
    published wgan-vgg "patch = 32, batch = 8, rate = 1e-4, steps = 2000"
} &
both b "RIDER-0117 Lung_Dx-A0002"
both all ""
published ldct-gan-wolterink "rate = 5e-4, steps = 2800"
published sagan-sharpness "width = 16, steps = 1800"
wait
# Expanded on purpose: one argument for each fold.
# shellcheck disable=SC2046
ship() { # KIND NAME OTHER
    "$medgan" measure "$runs/$1-all/bundle" --folds $(folds "$1") --cohort "$study-test.csv" --compare "$3" $(folds "$3")
    rm -rf "Resources/Bundles/$2"
    cp -r "$runs/$1-all/bundle" "Resources/Bundles/$2"
    sha256sum "Resources/Bundles/$2/manifest.json"
}
ship accurate denoise-ct natural
ship natural denoise-ct-natural accurate
# All systems on the two patients of the first fold: docs/denoise-ct.md.
beside=(--compare natural "$runs/natural-a/bundle")
for system in red-cnn ldct-gan-wolterink wgan-vgg sagan-sharpness; do
    beside+=(--compare "$system" "$runs/$system/bundle")
done
"$medgan" measure "$runs/accurate-a/bundle" --cohort "$study-test.csv" "${beside[@]}"
echo "Put these SHA-256 into SHIPPED in MedGANLogic/catalogue.py."
