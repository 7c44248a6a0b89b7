#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/finer-ct.sh FOLDER_OF_MEDGAN [RUNS]
steps=8000 rate=1e-4 drawn=()
. "$(dirname "$0")/finer.sh" finer-ct "$@"
