"""What denoisers make of one CT: the same slice in the same windows, and the spectra of their noise.

    python Testing/benchmarks/denoising.py LOW.nii.gz FULL.nii.gz --model NAME BUNDLE STRENGTH [--model …]
        --out FILE.png [--slice K] [--centre I J] [--side MM] [--factor F]

Total variation stands beside the models, as strong as ``--factor`` says; measuring finds a factor on other patients.
``--centre``, in voxels from right and from behind, is where the detail lies. Prints PSNR, bias and spectrum of this CT.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image as Picture

from MedGANLogic import catalogue
from MedGANLogic.bundle import open_bundle
from MedGANLogic.evaluation.baselines import Smoother, total_variation
from MedGANLogic.evaluation.noise import flat_patches, noise_power
from MedGANLogic.evaluation.protocols import Restoration
from MedGANLogic.images import Orientation, read
from MedGANLogic.inference.translate import translate
from MedGANLogic.study import DENOISING

#: Title, and from where to where in HU.
WINDOWS = (("soft-tissue window", -160, 240), ("lung window", -1350, 150))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("low")
    parser.add_argument("full")
    parser.add_argument("--model", nargs=3, action="append", default=[], metavar=("NAME", "BUNDLE", "STRENGTH"))
    parser.add_argument("--out", required=True)
    parser.add_argument("--slice", type=int)
    parser.add_argument("--centre", type=int, nargs=2)
    parser.add_argument("--side", type=float, default=90.0)
    parser.add_argument("--factor", type=float, default=0.7)
    options = parser.parse_args()
    low, full = (upright(read(path, "HU")) for path in (options.low, options.full))
    made = {"low dose": low, "total variation": Smoother(total_variation, options.factor).predict(low)}
    for name, path, strength in options.model:
        made[name] = translate(open_bundle(catalogue.read(Path(path))), low, strength=float(strength)).image
    protocol = Restoration(DENOISING)
    mask = protocol.counted({}, full, np.ones(full.grid.shape, bool))
    for name, image in made.items():
        report = protocol.compare(full, image, mask)
        print(f"{name:16s}", ", ".join(f"{m} {r} {report.value(m, r):.3f}" for m, r in protocol.shown))
    draw(options, {**made, "full dose": full}, flat_patches(full.voxels[0], mask, full.grid.spacing_mm))


def upright(image):
    return image.with_orientation(Orientation.nearest(image.affine))


def draw(options, made, patches):
    """Draw a detail in both windows, a column for each image, and their spectra below."""
    first = next(iter(made.values()))
    half = round(options.side / first.grid.spacing_mm[0] / 2)
    k = first.grid.shape[2] // 2 if options.slice is None else options.slice
    i, j = options.centre or (length // 2 for length in first.grid.shape[:2])
    figure = Figure(figsize=(2.1 * len(made), 6.6), dpi=110, layout="constrained")
    grid = figure.add_gridspec(3, len(made), height_ratios=(1, 1, 1.15))
    for column, (name, image) in enumerate(made.items()):
        detail = np.rot90(image.voxels[0, i - half : i + half, j - half : j + half, k])
        for row, (window, lowest, highest) in enumerate(WINDOWS):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(detail, cmap="gray", vmin=lowest, vmax=highest)
            axes.set(xticks=[], yticks=[])
            if row == 0:
                axes.set_title(name, fontsize=9)
            if column == 0:
                axes.set_ylabel(f"{window}\n{lowest} … {highest} HU", fontsize=8)
    axes = figure.add_subplot(grid[2, :])
    for name, image in made.items():
        spectrum = noise_power(image.voxels[0], patches)
        style = {"low dose": ":", "full dose": "k-"}.get(name, "-")
        label = f"{name}: {spectrum.deviation_hu:.1f} HU"
        axes.plot(spectrum.frequency_per_mm, spectrum.power_hu2_mm2, style, label=label)
    axes.set(xlabel="spatial frequency, per mm", ylabel="noise power, HU²·mm²", yscale="log")
    axes.legend(fontsize=8)
    figure.savefig(options.out)
    with Picture.open(options.out) as picture:
        picture.convert("RGB").quantize(256, dither=Picture.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
