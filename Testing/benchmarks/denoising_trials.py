"""Denoisers on what they never learnt from: a clean image, faint rods, metal, a head, thick slices, sharp kernels.

    python Testing/benchmarks/denoising_trials.py --model NAME BUNDLE STRENGTH [--model …] [--factor F]
        [--data ../shared/data]

Prints two tables in Markdown: each trial by the protocol that cards are measured by, and how well faint rods in water
can be seen (channelised Hotelling observer, 95 % interval). Total variation is as strong as ``--factor`` says. Trials
on real scans are left out, with a word, where the folder is absent or a network learnt from the patient.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedGANLogic import catalogue
from MedGANLogic.bundle import open_bundle
from MedGANLogic.evaluation.baselines import Smoother, total_variation
from MedGANLogic.evaluation.detectability import hotelling, laguerre_gauss, squares_around
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.evaluation.protocols import Restoration
from MedGANLogic.images import read
from MedGANLogic.inference.translate import translate
from MedGANLogic.measure import tested_by
from MedGANLogic.parts.operators.low_dose import Scanner
from MedGANLogic.phantom.head import head
from MedGANLogic.phantom.imaging import centred_grid
from MedGANLogic.phantom.inserts import CLEAR_MM, Disc, inserts, with_rods
from MedGANLogic.simulation import low_dose
from MedGANLogic.study import DENOISING

SEED, DOSE = 11, 0.1
#: Photons a ray at full dose where no noise says how many.
PHOTONS = 300_000
SHOWN = ("PSNR", "bias", "NPS distance", "edge width")
#: Two dental fillings or the like: 6 mm across, as dense as an image can show.
METAL = (Disc((-18.0, 30.0), 3.0, 3000.0), Disc((22.0, 26.0), 3.0, 3000.0))
#: Rods whose visibility is shown, by contrast in HU and diameter in mm.
FAINT = ((-20, 3), (-10, 5), (-10, 10), (-5, 15), (10, 7), (20, 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs=3, action="append", required=True, metavar=("NAME", "BUNDLE", "STRENGTH"))
    parser.add_argument("--factor", type=float, default=0.7)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    predictors = {"input": lambda image: image, "total variation": Smoother(total_variation, options.factor).predict}
    bundles = [open_bundle(catalogue.read(Path(path))) for _name, path, _strength in options.model]
    for (name, _path, strength), bundle in zip(options.model, bundles, strict=True):
        predictors[name] = denoiser(bundle, float(strength))
    print("| trial | | " + " | ".join(SHOWN) + " |\n|---|---|" + "---:|" * len(SHOWN))
    unseen = set.intersection(*(set(tested_by(bundle)) for bundle in bundles))
    for title, given, truth in trials(options.data, unseen):
        for name, predict in predictors.items():
            said = title if name == "input" else ""
            print(f"| {said} | {name} | " + " | ".join(numbers(given, truth, predict(given))) + " |", flush=True)
    print()
    visibility(predictors)


def denoiser(bundle, strength):
    return lambda image: translate(bundle, image, strength=strength).image


def trials(data, unseen):
    """Yield a title, what is given and what is right; of patients those who are unseen."""
    water = inserts(SEED, noise_hu=0.0, grid=centred_grid((416, 416, 8), (0.5, 0.5, 2.5))).ct
    yield "water with inserts, no noise at all", water, water
    person = head(SEED).ct
    yield "digital head, its own noise only", person, person
    yield f"digital head at {DOSE:.0%}", at_low_dose(person), person
    filled = with_rods(person, METAL)
    yield f"digital head with metal at {DOSE:.0%}", at_low_dose(filled), filled
    thick = data / "trunk_small" / "example_ct.nii.gz"
    if not data.is_dir():
        print(f"(no {data}: real scans are left out)")
        return
    body = read(thick, "HU")
    # As many photons as its own noise says.
    few = low_dose(body, DOSE, SEED, Scanner()).image
    yield f"trunk, pixels of {body.grid.spacing_mm[0]:g} mm, at {DOSE:.0%}", few, body
    for patient, sharp, smooth in (("A0001", "kernelL", "kernelB"), ("A0002", "B70f", "B40f")):
        if f"Lung_Dx-{patient}" not in unseen:
            print(f"(Lung-Dx {patient} is left out: a network learnt from it)")
            continue
        pair = [
            read(data / "chest_ct" / f"lung_dx_{patient.lower()}_{kernel}.nii.gz", "HU") for kernel in (sharp, smooth)
        ]
        yield f"Lung-Dx {patient}, {sharp}; right is {smooth}", pair[0], on_slices_of(*pair)


def at_low_dose(image):
    return low_dose(image, DOSE, SEED, Scanner(), PHOTONS).image


def on_slices_of(few, many):
    """Return those slices of a scan that another one of the same rays has."""
    first = round(float(np.linalg.solve(many.affine, few.affine[:, 3])[2]))
    return replace(few, voxels=many.voxels[..., first : first + few.grid.shape[2]].astype(np.float32))


def numbers(given, truth, made):
    protocol = Restoration(DENOISING)
    mask = protocol.counted({}, truth, np.ones(truth.grid.shape, bool))
    report = protocol.compare(truth, made, mask)
    shown = {metric: report.value(metric, region) for metric, region in reversed(protocol.shown) if region != "lung"}
    return ["–" if (value := shown.get(metric)) is None else f"{value:.2f}" for metric in SHOWN]


def visibility(predictors):
    """Print d′ of faint rods at low dose, for every predictor."""
    phantom = inserts(SEED, noise_hu=0.0, grid=centred_grid((416, 416, 96), (0.5, 0.5, 2.5)))
    given = at_low_dose(phantom.ct)
    made = {name: predict(given) for name, predict in predictors.items()}
    print("| rod | " + " | ".join(made) + " |\n|---|" + "---:|" * len(made))
    for contrast, diameter in FAINT:
        rod = next(r for r in phantom.rods if (r.contrast_hu, 2 * r.radius_mm) == (contrast, diameter))
        cells = []
        for image in made.values():
            heights, squares = squares_around(image, rod.centre_mm, 2 * diameter)
            channels = laguerre_gauss(squares.shape[1:], image.grid.spacing_mm[:2], 0.8 * diameter)
            try:
                found = hotelling(squares[heights > CLEAR_MM], squares[heights < -CLEAR_MM], channels)
            except Undefined as undefined:
                cells.append(str(undefined))
            else:
                low, high = found.d_prime_interval
                cells.append(f"{found.d_prime:.1f} ({low:.1f}–{high:.1f})")
        print(f"| {contrast:+d} HU, {diameter} mm | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
