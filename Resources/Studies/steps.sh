# What every study's script does alike; to be sourced: . steps.sh STUDY FOLDER_OF_MEDGAN [RUNS]
# A script is run from the top level, and again after a break: what is done is left alone.
set -euo pipefail
name="$1" medgan="$2/medgan" runs="${3:-runs/$1}" study="Resources/Studies/$1"
# One thread per run: two runs side by side then share two cores without waiting for each other.
export OMP_NUM_THREADS=1
mkdir -p "$runs"

pack() { # FILE ARGUMENTS…
    [ -e "$1" ] || "$medgan" cohort pack --study "$study.toml" --cohort "$study.csv" --out "$@"
}

train() { # RUN COHORT ARGUMENTS…: begin, go on, or leave alone
    local run="$runs/$1" cohort="$runs/$2"
    shift 2
    [ -e "$run/bundle/manifest.json" ] || "$medgan" train --cohort "$cohort" --out "$run" "$@" $([ -e "$run/run.json" ] && echo --resume)
}

learn() { # RUN RECIPE STEPS CHANGES ARGUMENTS…: a system on cohort.zip, with numbers of its settings changed
    sed "/^changes = /d; s/^seed = .*/&${4:+\nchanges = { $4 \}}/" "$study.toml" >"$runs/$1.toml"
    train "$1" cohort.zip --recipe "$2" --study "$runs/$1.toml" --steps "$3" "${@:5}"
}

ship() { # RUN: the measured bundle becomes the model
    rm -rf "Resources/Bundles/$name"
    cp -r "$runs/$1/bundle" "Resources/Bundles/$name"
    echo "Put this SHA-256 into SHIPPED in MedGANLogic/catalogue.py:"
    sha256sum "Resources/Bundles/$name/manifest.json"
}
