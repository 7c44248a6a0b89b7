#!/usr/bin/env bash
# Simulate, train and measure the shipped denoiser of CT, from the scans to the card.
# Usage, from the top level: Resources/Studies/denoise-ct.sh FOLDER_OF_MEDGAN [RUNS]. Run it again after a break:
# it goes on.
. "$(dirname "$0")/steps.sh" denoise-ct "$@"
scans=../shared/data
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
# The same dose once more: as much noise as the scan has.
for scan in "${fine[@]}"; do simulate "$scan" again 0.50 scan --seed 3; done
for scan in "${noisy[@]}"; do simulate "$scan" again 0.50 scan --seed 3 --modulation; done
# To be measured on: other doses, other noise, other rays.
for dose in 0.05 0.10 0.25 0.50; do
    for scan in "${fine[@]}"; do simulate "$scan" test "$dose" scan --seed 2 --geometry parallel; done
    [ "$dose" = 0.05 ] && continue
    for scan in "${noisy[@]}"; do simulate "$scan" test "$dose" scan --seed 2 --geometry parallel --modulation; done
done

without() { # RUN TESTED ARGUMENTS…: train without some patients, with none for validation
    local tested
    read -ra tested <<<"--test $2"
    train "$1" cohort.zip "${tested[@]}" "${@:3}"
}

plain_study() { # CHANGES: pairs of low and full dose, and nothing else
    sed "s/^strength = .*/strength = 1.0/; /^guides = /d; s/^changes = .*/changes = { $1 }/" "$study.toml"
}

ours() { # FOLD TESTED: learn from plain pairs, then from recorrupted ones
    without "plain-$1" "$2" --recipe residual-unet --study "$runs/plain.toml"
    without "accurate-$1" "$2" --recipe residual-unet --study "$study.toml" --from "$runs/plain-$1/bundle" --steps 5000
}

adversary() { # FOLD TESTED: from plain pairs on against a judge of grain
    without "natural-$1" "$2" --recipe residual-unet-gan --study "$runs/plain.toml" --from "$runs/plain-$1/bundle"
}

published() { # SYSTEM CHANGES: what others published, as far as a short run on one core goes, without the first fold
    plain_study "$2" >"$runs/$1.toml"
    without "$1" "$first" --recipe "$1" --study "$runs/$1.toml"
}

folds() { # KIND
    echo "$runs/$1-a/bundle $runs/$1-b/bundle $runs/$1-c/bundle"
}

plain_study "" >"$runs/plain.toml"
pack "$runs/cohort.zip"
first="LIDC-IDRI-0314 Lung_Dx-A0001" second="RIDER-0117 Lung_Dx-A0002" third="LungFCP-01-0001 dcm_qa_ct-GE"
{
    ours a "$first"
    ours c "$third"
    adversary a "$first"
    adversary c "$third"
    published red-cnn "width = 32, batch = 16, rate = 5e-4, steps = 3000"
    published wgan-vgg "patch = 32, batch = 8, rate = 1e-4, steps = 2000"
} &
ours b "$second"
ours all ""
adversary b "$second"
published ldct-gan-wolterink "rate = 5e-4, steps = 1700"
published sagan-sharpness "width = 16, steps = 1100"
wait
# All that published systems are beside, on the two patients of the first fold: docs/denoise-ct.md.
beside=(--compare "plain pairs" "$runs/plain-a/bundle" --compare adversary "$runs/natural-a/bundle")
for system in red-cnn ldct-gan-wolterink wgan-vgg sagan-sharpness; do
    beside+=(--compare "$system" "$runs/$system/bundle")
done
"$medgan" measure "$runs/accurate-a/bundle" --cohort "$study-test.csv" --strengths 1 0.9 0.5 "${beside[@]}"
# And the shipped one. Expanded on purpose: one argument for each fold.
# shellcheck disable=SC2046
"$medgan" measure "$runs/accurate-all/bundle" --folds $(folds accurate) --cohort "$study-test.csv" --strengths 0.9 0.5 \
    --compare adversary $(folds natural)
ship accurate-all
