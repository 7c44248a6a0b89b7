"""Edge widths and modulation transfers of discs with a known Gaussian blur, and the edges of real CTs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, optimize, special

from MedGANLogic.evaluation import body_mask
from MedGANLogic.evaluation.metrics import Undefined
from MedGANLogic.evaluation.resolution import _rising, edge_width, modulation_transfer, strong_edges
from MedGANLogic.images import Image, read
from MedGANLogic.phantom import centred_grid, inserts
from MedGANLogic.phantom.imaging import CT_BLUR_SD_MM

SPACING_MM = (0.7, 0.7, 3.0)
#: From 10 to 90 % of a Gaussian's integral, in its SDs.
TEN_TO_NINETY = 2 * special.ndtri(0.9)


def beyond(radius_mm, spacing_mm=SPACING_MM):
    """How far voxels (150, 150, 1) lie beyond a circle, in mm; its middle is off their centres."""
    rows, columns = ((np.arange(150) - middle) * step for middle, step in zip((74.3, 73.6), spacing_mm, strict=False))
    return np.hypot(rows[:, None], columns)[..., None] - radius_mm


def cylinder(blur_mm, spacing_mm=SPACING_MM, radius_mm=40.0, noise_hu=0.0, lean_mm=0.0):
    """A disc of soft tissue in air; its radius grows by ``lean_mm`` from one of its four slices to the next."""
    hu = 1000 * special.ndtr(-(beyond(radius_mm, spacing_mm) - lean_mm * np.arange(4)) / blur_mm) - 960
    return hu + np.random.default_rng(0).normal(0, noise_hu or 1e-9, hu.shape)


def edges_of(hu, spacing_mm=SPACING_MM):
    return strong_edges(hu, np.ones(hu.shape, bool), spacing_mm)


@pytest.mark.parametrize("noise_hu", [0.0, 40.0])
@pytest.mark.parametrize("blur_mm", [0.4, 0.7, 1.2])
def test_width_of_a_known_blur(blur_mm, noise_hu):
    hu = cylinder(blur_mm, noise_hu=noise_hu)
    assert edge_width(hu, edges_of(hu)) == pytest.approx(TEN_TO_NINETY * blur_mm, rel=0.06)


@pytest.mark.parametrize("spacing_mm", [(0.6, 1.1, 3.0), (1.1, 0.6, 3.0)])
def test_width_is_in_millimetres_along_the_normal(spacing_mm):
    hu = cylinder(1.0, spacing_mm, radius_mm=30)
    assert edge_width(hu, edges_of(hu, spacing_mm)) == pytest.approx(TEN_TO_NINETY, rel=0.05)


def test_a_cavity_is_as_sharp_as_a_body():
    hu = -920 - cylinder(1.0)
    assert edge_width(hu, edges_of(hu)) == pytest.approx(TEN_TO_NINETY, rel=0.03)


def test_an_image_is_measured_at_the_references_places():
    reference = cylinder(0.8, noise_hu=10)
    edges = edges_of(reference)
    moved = np.roll(cylinder(0.8), 2, axis=0)
    assert edge_width(moved, edges) == pytest.approx(TEN_TO_NINETY * 0.8, rel=0.06)
    weaker = 0.6 * cylinder(1.3)
    assert edge_width(weaker, edges) == pytest.approx(TEN_TO_NINETY * 1.3, rel=0.06)


def test_edges_lie_in_the_mask_and_on_upright_surfaces():
    mask = np.zeros((150, 150, 4), bool)
    mask[:75] = True
    edges = strong_edges(cylinder(0.8), mask, SPACING_MM)
    assert edges.voxels[:, 0].max() < 75
    middle = (edges.voxels[:, :2] - [74.3, 73.6]) * 0.7
    assert np.abs(np.linalg.norm(middle, axis=1) - 40).max() < 0.7
    all_around = edges_of(cylinder(0.8)).voxels[:, :2] - [74.3, 73.6]
    angles = np.arctan2(*all_around.T)
    assert (np.histogram(angles, bins=8, range=(-np.pi, np.pi))[0] > len(angles) / 12).all()
    with pytest.raises(Undefined, match="0 places"):
        edges_of(cylinder(0.8, lean_mm=2.0))


def test_sides_must_be_even():
    # A rim of 5 mm: its outer edge has another one 5 mm behind it.
    rim = cylinder(0.5) - cylinder(0.5, radius_mm=35) - 960
    with pytest.raises(Undefined, match="0 places"):
        edges_of(rim)


def test_the_median_profile_is_made_to_rise():
    profile, counts = np.random.default_rng(0).normal(np.arange(60), 10), np.random.default_rng(1).integers(1, 9, 60)
    assert _rising(profile, counts) == pytest.approx(optimize.isotonic_regression(profile, weights=counts).x)


def test_no_number_where_there_is_nothing_to_measure():
    sharp = cylinder(0.8)
    with pytest.raises(Undefined, match=r"voxels of 2\.5 mm are too large"):
        edges_of(sharp, (2.5, 1.0, 1.0))
    with pytest.raises(Undefined, match="0 places with a clean edge of 400 HU in the mask: at least 100 needed"):
        edges_of(0.3 * sharp)
    edges = edges_of(sharp)
    with pytest.raises(Undefined, match="edge at 0% of the reference's"):
        edge_width(np.zeros(sharp.shape), edges)
    off = beyond(40)
    stairs = -np.sign(off) * np.select([np.abs(off) > 5, np.abs(off) > 4], [1500, 300], 75 * np.abs(off))
    with pytest.raises(Undefined, match="wider than 8 mm"):
        edge_width(np.repeat(stairs, 4, axis=2), edges)


def disc(blur_mm, noise_hu=0.0, seed=0):
    """A disc of radius 20 mm at a known place, drawn and blurred in steps of 0.1 mm, in voxels of 0.7 mm."""
    places = (np.arange(900) - 450) * 0.1
    fine = 200.0 * (np.hypot(places[:, None] - 0.23, places + 0.31) < 20)
    plane = ndimage.gaussian_filter(fine, blur_mm / 0.1)[3::7, 2::7]
    voxels = np.repeat(plane[..., None], 6, axis=2)
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    affine[:2, 3] = places[3], places[2]
    return Image((voxels + np.random.default_rng(seed).normal(0, noise_hu, voxels.shape))[None], affine, "HU")


@pytest.mark.parametrize("blur_mm", [0.3, 0.8, 2.0])
def test_transfer_of_a_known_blur(blur_mm):
    found = modulation_transfer(disc(blur_mm), (0.23, -0.31), 20)
    expected = np.exp(-2 * (np.pi * blur_mm * found.frequency_per_mm) ** 2)
    assert found.transfer == pytest.approx(expected, abs=0.01)
    assert found.falls_to(0.5) == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * blur_mm), rel=0.02)
    assert found.falls_to(0.1) == pytest.approx(np.sqrt(np.log(10) / 2) / (np.pi * blur_mm), rel=0.02)


def test_transfer_under_noise():
    found = [modulation_transfer(disc(0.8, 40, seed), (0.23, -0.31), 20) for seed in range(4)]
    frequency = found[0].frequency_per_mm
    expected = np.exp(-2 * (np.pi * 0.8 * frequency) ** 2)
    # Without a window the noise far from the edge adds more than half of this.
    assert np.mean([np.abs(one.transfer - expected)[frequency < 0.7] for one in found]) < 0.03
    f50 = [one.falls_to(0.5) for one in found]
    assert np.mean(f50) == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * 0.8), rel=0.05)


def test_transfer_does_not_depend_on_how_the_voxels_are_stored():
    upright = disc(0.8)
    turned = replace(upright, voxels=upright.voxels.transpose(0, 3, 2, 1), affine=upright.affine[:, [2, 1, 0, 3]])
    found, expected = (modulation_transfer(of, (0.23, -0.31), 20) for of in (turned, upright))
    assert found.transfer == pytest.approx(expected.transfer, abs=1e-6)


def test_transfer_of_the_phantoms_disc():
    phantom = inserts(0, noise_hu=0, grid=centred_grid((416, 416, 2), (0.5, 0.5, 2.5)))
    found = modulation_transfer(phantom.ct, phantom.edge.centre_mm, phantom.edge.radius_mm)
    # Its blur, and its voxels' own width along I or J: which of them, depends on the angle.
    low, high = (np.exp(-2 * (np.pi * sd * found.frequency_per_mm) ** 2) for sd in (0.75, CT_BLUR_SD_MM))
    seen = found.frequency_per_mm < 0.6
    assert (found.transfer - low)[seen].min() > -0.02
    assert (found.transfer - high)[seen].max() < 0.02


def test_no_transfer_without_a_disc():
    with pytest.raises(Undefined, match="no disc of 20 mm"):
        modulation_transfer(disc(0.8), (300.0, 0.0), 20)
    with pytest.raises(Undefined, match="no contrast"):
        modulation_transfer(replace(disc(0.8), voxels=np.zeros((1, 129, 129, 2))), (0.23, -0.31), 20)
    with pytest.raises(Undefined, match=r"stays above 0\.1 up to 1\.4"):
        modulation_transfer(disc(0.05), (0.23, -0.31), 20).falls_to(0.1)


def test_two_kernels_of_one_scan(shared_data):
    smooth = read(shared_data / "chest_ct" / "lung_dx_a0002_B40f.nii.gz", "HU")
    smooth = replace(smooth, voxels=smooth.voxels[..., 9:19])
    sharp = read(shared_data / "chest_ct" / "lung_dx_a0002_B70f.nii.gz", "HU").voxels[0]
    edges = strong_edges(smooth.voxels[0], body_mask(smooth), smooth.grid.spacing_mm)
    b40 = edge_width(smooth.voxels[0], edges)
    assert edge_width(sharp, edges) < 0.9 * b40
    blurred = ndimage.gaussian_filter(smooth.voxels[0].astype(float), (1 / 0.6465, 1 / 0.6465, 0))
    assert edge_width(blurred, edges) == pytest.approx(np.hypot(b40, TEN_TO_NINETY), rel=0.15)
    noisy = smooth.voxels[0] + np.random.default_rng(0).normal(0, 30, sharp.shape)
    assert edge_width(noisy, edges) == pytest.approx(b40, rel=0.05)
