"""The low-dose simulator on a real CT: noise against the law, its spectrum, its time; and a picture of it.

    OMP_NUM_THREADS=1 python Testing/benchmarks/low_dose.py CT.nii.gz [--modulation 0.5] [--slices 16] [--out FILE.png]

The slices are evenly spaced, the kernel is the scan's own, the photons explain the noise of these slices. The spread is
the SD, over slices, of the logarithm of what is added by what the scan has: 0 if the tube's current is understood.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from MedGANLogic.evaluation.noise import flat_patches, noise_power, noise_power_distance
from MedGANLogic.images import Orientation, read
from MedGANLogic.parts.operators.low_dose import Scanner
from MedGANLogic.simulation import exposure, kernel_of, low_dose

DOSES = (0.5, 0.25, 0.1, 0.05)
SHOWN = (0.25, 0.1)
WINDOW = (-160, 240)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ct")
    parser.add_argument("--modulation", type=float, default=0.0)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--out")
    options = parser.parse_args()
    scan = read(options.ct, "HU")
    scan = scan.with_orientation(Orientation.nearest(scan.affine))
    some = np.linspace(0, scan.voxels.shape[-1] - 1, options.slices).round().astype(int)
    scan = replace(scan, voxels=scan.voxels[..., some])
    scanner = Scanner(kernel=kernel_of(scan), modulation=options.modulation)
    found = exposure(scan, scanner)
    print(
        f"{found.scan_noise_hu:.1f} HU in {found.patches} patches: {found.photons:,.0f} photons a ray, {scanner.kernel}"
    )
    full = scan.voxels[0].astype(np.float32)
    patches = flat_patches(full, np.ones(full.shape, bool), scan.grid.spacing_mm)
    own = noise_power(full, patches)
    made = {}
    print("dose: SD / scan's, law, spectrum's distance from scan's, mean frequency (scan's), bias in HU, CPU s a slice")
    for dose in DOSES:
        began = time.process_time()
        made[dose] = low_dose(scan, dose, 1, scanner, found.photons).image.voxels[0]
        seconds = (time.process_time() - began) / options.slices
        noise = noise_power(made[dose] - full, patches)
        scaled = replace(noise, power_hu2_mm2=noise.power_hu2_mm2 / (1 / dose - 1))
        print(
            f"{dose:4.0%}: {noise_power(made[dose], patches).deviation_hu / own.deviation_hu:.2f} {dose**-0.5:.2f}  "
            f"{noise_power_distance(scaled, own):.2f}  {noise.mean_frequency_per_mm():.3f} "
            f"({own.mean_frequency_per_mm():.3f})  {(made[dose] - full)[(full > -30) & (full < 150)].mean():+.2f}  "
            f"{seconds:.2f}"
        )
    ratios = [
        noise_power(made[0.25] - full, of_slice).deviation_hu / noise_power(full, of_slice).deviation_hu
        for of_slice in (
            replace(patches, corners=patches.corners[patches.corners[:, 2] == k])
            for k in np.unique(patches.corners[:, 2])
        )
    ]
    print(f"spread over {len(ratios)} slices: {np.log(ratios).std():.3f}")
    if options.out:
        draw(options.out, full, made, own, patches)


def draw(path, full, made, own, patches):
    """Draw the middle slice at some doses, what was added, and the spectra."""
    from matplotlib.figure import Figure
    from PIL import Image

    middle = full.shape[2] // 2
    figure = Figure(figsize=(10.5, 6.6), dpi=100, layout="constrained")
    axes = figure.subplots(2, 3)
    panels = [("as scanned", full, WINDOW)]
    panels += [(f"{dose:.0%} of the dose", made[dose], WINDOW) for dose in SHOWN]
    panels += [(f"added at {dose:.0%}", made[dose] - full, (-150, 150)) for dose in SHOWN]
    for axis, (title, voxels, (low, high)) in zip(axes.flat, panels, strict=False):
        axis.imshow(np.rot90(voxels[..., middle]), cmap="gray", vmin=low, vmax=high)
        axis.set_title(f"{title} ({low} … {high} HU)", fontsize=9)
        axis.axis("off")
    axis = axes.flat[-1]
    axis.plot(own.frequency_per_mm, own.power_hu2_mm2, "k", label="as scanned")
    for dose in SHOWN:
        noise = noise_power(made[dose] - full, patches)
        label = f"added at {dose:.0%}, ÷ {1 / dose - 1:.3g}"
        axis.plot(noise.frequency_per_mm, noise.power_hu2_mm2 / (1 / dose - 1), label=label)
    axis.set(xlabel="per mm", ylabel="HU²·mm²", ylim=(0, None))
    axis.set_title("noise power in soft tissue", fontsize=9)
    axis.legend(fontsize=8)
    figure.savefig(path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
