#!/usr/bin/env bash
# Train and measure the shipped model, from the images to the card.
# Usage, from the top level: Resources/Studies/ct-to-pet-limb.sh FOLDER_OF_MEDGAN [RUNS]
. "$(dirname "$0")/to-pet-limb.sh" ct-to-pet-limb "$@"
