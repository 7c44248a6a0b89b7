"""How phantoms are seen, on bodies so plain that a formula says what must come out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from MedGANLogic.phantom import Phantom, Tissue, centred_grid
from MedGANLogic.phantom.imaging import (
    CT_BLUR_SD_MM,
    MR_BLUR_SD_MM,
    PET_BLUR_FWHM_MM,
    PET_NOISE_SHARE,
    Mixture,
    ReceiveField,
    imaged,
)
from MedGANLogic.phantom.shapes import Labels, Reals

PET_BLUR_SD_MM = PET_BLUR_FWHM_MM / math.sqrt(8 * math.log(2))


@dataclass(frozen=True)
class HalfSpace:
    """One tissue where R is below 0, another above; with or without a third mixed into it."""

    share: float = 0.0
    ct_noise_hu: float = 0.0

    part: ClassVar[str] = "BODY"
    receive_field: ClassVar[ReceiveField] = ReceiveField(np.zeros((3, 3)))
    tissues: ClassVar[tuple[Tissue, ...]] = (
        Tissue(0, "left", 0.0, 1000.0, 100.0, 0.5, 2.0, "made up"),
        Tissue(1, "right", 100.0, 500.0, 100.0, 1.0, 10.0, "made up"),
        Tissue(2, "guest", 40.0, 500.0, 100.0, 0.0, 0.0, "made up"),
    )

    def labels(self, points: Reals) -> Labels:
        return (points[0] > 0).astype(np.uint8)

    def mixtures(self, points: Reals, labels: Labels) -> Iterator[Mixture]:  # noqa: ARG002 - alike everywhere
        right = labels == 1
        yield Mixture(right, np.full(right.sum(), self.share), self.tissues[1], self.tissues[2])


def seen(body: HalfSpace, spacing_mm: float = 0.5) -> Phantom:
    return imaged(body, centred_grid((120, 60, 60), (spacing_mm, spacing_mm, spacing_mm)), seed=0)


@pytest.mark.parametrize(
    "name, sd_mm, spacing_mm, tolerance",
    [("mr", MR_BLUR_SD_MM, 0.25, 0.1), ("ct", CT_BLUR_SD_MM, 0.25, 0.03), ("pet", PET_BLUR_SD_MM, 1.0, 0.06)],
)
def test_an_edge_rises_as_the_point_spread_says(name: str, sd_mm: float, spacing_mm: float, tolerance: float) -> None:
    profile = getattr(seen(HalfSpace(), spacing_mm), name).voxels[0].mean(axis=(1, 2))
    low, high = profile[:40].mean(), profile[-40:].mean()
    around = np.s_[50:70]
    share = (profile[around] - low) / (high - low)
    rise = np.diff(np.interp([0.1, 0.9], share, np.arange(share.size) * spacing_mm))
    # A Gaussian's integral goes from ten to ninety per cent within 2.563 of its standard deviations.
    assert rise == pytest.approx(2.563 * sd_mm, rel=tolerance)


def test_means_are_the_tables_far_from_edges() -> None:
    scan = seen(HalfSpace())
    left, right = np.s_[0, :40], np.s_[0, -40:]
    assert scan.ct.voxels[left].mean() == pytest.approx(0, abs=1e-3)
    assert scan.ct.voxels[right].mean() == pytest.approx(100, abs=1e-3)
    assert scan.pet.voxels[left].mean() == pytest.approx(2, rel=0.03)
    assert scan.pet.voxels[right].mean() == pytest.approx(10, rel=0.03)
    brighter = 2 * (1 - math.exp(-1)) / (1 - math.exp(-0.5))
    assert HalfSpace.tissues[1].mr_level / HalfSpace.tissues[0].mr_level == pytest.approx(brighter)
    assert scan.mr.voxels[right].mean() / scan.mr.voxels[left].mean() == pytest.approx(brighter, rel=0.01)


def test_a_mixture_lies_between_its_tissues() -> None:
    pure, mixed = seen(HalfSpace()), seen(HalfSpace(share=0.25))
    right = np.s_[0, -20:]
    assert (mixed.ct.voxels - pure.ct.voxels)[right].mean() == pytest.approx(0.25 * (40 - 100), abs=1e-3)
    assert (mixed.pet.voxels / pure.pet.voxels)[right].mean() == pytest.approx(0.75, rel=1e-3)


def test_noise_of_pet_is_a_share_of_what_is_seen_with_the_grain_of_the_point_spread() -> None:
    scan = imaged(HalfSpace(), centred_grid((60, 60, 60), (2.0, 2.0, 2.0)), seed=0).pet.voxels[0]
    left, right = scan[8:22, 8:-8, 8:-8], scan[-22:-8, 8:-8, 8:-8]
    assert left.std() / left.mean() == pytest.approx(PET_NOISE_SHARE, rel=0.1)
    assert right.std() / right.mean() == pytest.approx(PET_NOISE_SHARE, rel=0.1)
    # Neighbours 2 mm apart under a Gaussian of that standard deviation.
    grain = np.corrcoef(right[:, :-1].ravel(), right[:, 1:].ravel())[0, 1]
    assert grain == pytest.approx(math.exp(-(2.0**2) / (4 * PET_BLUR_SD_MM**2)), abs=0.04)


@pytest.mark.parametrize("noise_hu", [0.0, 4.0, 12.0])
def test_ct_has_the_noise_of_its_part(noise_hu: float) -> None:
    right = seen(HalfSpace(ct_noise_hu=noise_hu)).ct.voxels[0, -40:]
    assert right.std() == pytest.approx(noise_hu, rel=0.06, abs=1e-3)
