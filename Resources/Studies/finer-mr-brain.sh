#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/finer-mr-brain.sh FOLDER_OF_MEDGAN [RUNS]
steps=12000 rate=3e-4 drawn=(--lesions lesion)
. "$(dirname "$0")/finer.sh" finer-mr-brain "$@"
