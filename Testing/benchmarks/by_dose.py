"""What a measured denoiser's card says of every case, as means for each dose: tables in Markdown.

    python Testing/benchmarks/by_dose.py Resources/Bundles/denoise-ct [--but SUBJECT]

The dose is the one in the name of a case's file, as Resources/Studies/denoise-ct.sh names them.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from MedGANLogic import catalogue

NUMBERS = {"PSNR, mask": "PSNR in the body, dB", "NPS distance, flat soft tissue": "NPS distance"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--but", help="a subject that is left out")
    options = parser.parse_args()
    card = catalogue.read(Path(options.bundle)).card
    (table,) = card.measured["tables"]
    for number, title in NUMBERS.items():
        found = {name: by_dose(cases, number, options.but) for name, cases in table["by_case"].items()}
        doses = sorted({dose for of in found.values() for dose in of})
        counts = next(iter(found.values()))
        print(f"| {title} | " + " | ".join(f"{dose:.0%} (n = {len(counts[dose])})" for dose in doses) + " | all |")
        print("|---|" + "---:|" * (len(doses) + 1))
        for name, of in found.items():
            means = [np.mean(of[dose]) for dose in doses] + [np.mean(np.concatenate([*of.values()]))]
            print(f"| {name} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
        print()


def by_dose(cases, number, but):
    """Return a number of all cases that have it, by dose, but those of one subject."""
    found = defaultdict(list)
    for case, numbers in cases.items():
        if numbers.get(number) is not None and case.split()[0] != but:
            found[float(re.search(r"-(0\.\d+)-", case)[1])].append(numbers[number])
    return found


if __name__ == "__main__":
    main()
