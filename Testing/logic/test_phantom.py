"""The digital thigh: anatomy within published measures, the same on every grid; values that follow from the table."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from MedGANLogic import phantom
from MedGANLogic.images import Grid, Orientation
from MedGANLogic.phantom import LABEL_OF, MUSCLES, TISSUES, Phantom, centred_grid, thigh

SEED = 3
SMALL = centred_grid((60, 60, 4), (3.0, 3.0, 5.0))
#: Tissues without a voxel that blur leaves alone.
THIN = ("skin", "intermuscular fat", "fascia", "artery", "vein", "sciatic nerve")
THICK = [tissue for tissue in TISSUES if tissue.name not in THIN]


@pytest.fixture(scope="module")
def scan() -> Phantom:
    return thigh(SEED, centred_grid((170, 170, 7), (1.0, 1.0, 3.3)))


@pytest.fixture(scope="module")
def reordered(scan: Phantom) -> tuple[Orientation, Phantom]:
    """The same voxels in another order, two axes running backwards: other noise on the same points."""
    orientation = Orientation((2, 0, 1), (True, False, True))
    return orientation, thigh(SEED, orientation.apply_to_grid(scan.ct.grid))


def voxels_of(scan: Phantom, name: str, depth: int) -> NDArray[np.bool_]:
    """Voxels of a tissue whose neighbours in the slice, up to ``depth`` steps away, are of it as well."""
    mask = scan.tissues.voxels[0] == LABEL_OF[name]
    for _ in range(depth):
        mask = np.logical_and.reduce([mask, *(np.roll(mask, step, axis) for axis in (0, 1) for step in (-1, 1))])
    return np.asarray(mask)


def around(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What touches a mask in its slice, corners included."""
    grown = np.zeros_like(mask)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            grown |= np.roll(mask, (i, j), (0, 1))
    touching: NDArray[np.bool_] = grown & ~mask
    return touching


def test_same_seed_gives_same_bytes_and_another_seed_another_person() -> None:
    first, again, other = thigh(5, SMALL), thigh(5, SMALL), thigh(6, SMALL)
    for name in ("mr", "ct", "tissues"):
        assert getattr(first, name).voxels.tobytes() == getattr(again, name).voxels.tobytes()
        assert getattr(first, name).voxels.tobytes() != getattr(other, name).voxels.tobytes()
    assert (first.tissues.voxels != other.tissues.voxels).mean() > 0.03


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        thigh(-1, SMALL)


def test_all_three_lie_on_the_grid_that_was_asked_for(scan: Phantom) -> None:
    for image, unit, modality in ((scan.mr, "none", "MR"), (scan.ct, "HU", "CT"), (scan.tissues, "label", "SEG")):
        assert image.grid.shape == (170, 170, 7)
        assert np.array_equal(image.affine, scan.tissues.affine)
        assert (image.unit, image.facts["modality"]) == (unit, modality)
        assert "synthetic" in image.facts["notes"]


def test_default_grid_holds_the_thigh() -> None:
    default = phantom.DEFAULT_GRID
    assert default.spacing_mm == pytest.approx((0.9766, 0.9766, 3.27))
    # The hip's end is the widest; one thick slice there stands for all of them.
    top = centred_grid(default.shape, default.spacing_mm).affine @ [0, 0, default.shape[2] - 1, 1]
    for seed in range(12):
        affine = np.diag([2.0, 2.0, 3.0, 1.0])
        affine[:3, 3] = top[:3]
        labels = thigh(seed, Grid((88, 88, 1), affine)).tissues.voxels[0]
        assert not any(edge.any() for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]))
        assert labels.any()


def test_every_tissue_is_there(scan: Phantom) -> None:
    assert [tissue.label for tissue in TISSUES] == list(range(len(TISSUES)))
    assert set(np.unique(scan.tissues.voxels)) == set(LABEL_OF.values())


def test_reordered_grid_shows_the_same_anatomy(scan: Phantom, reordered: tuple[Orientation, Phantom]) -> None:
    orientation, other = reordered
    back = orientation.undo(other.tissues.voxels)
    # Points on a border may fall to its other side by rounding.
    assert (back != scan.tissues.voxels).mean() < 1e-4


def test_oblique_anisotropic_flipped_grid_shows_the_same_anatomy(scan: Phantom) -> None:
    tilt, turn = math.radians(12), math.radians(25)
    about_x = np.array([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]])
    about_z = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-1.6, 1.2, -0.8])
    affine[:3, 3] = -affine[:3, :3] @ np.array([35, 45, 6])
    oblique = thigh(SEED, Grid((71, 91, 13), affine)).tissues
    expected = scan.tissues.on_grid(oblique.grid, outside=255, nearest=True).voxels[0]
    seen = oblique.voxels[0]
    known = expected != 255
    assert known.mean() > 0.6
    # The nearest voxel's centre is up to 1.8 mm away: only thin layers and borders may differ.
    assert (seen == expected)[known].mean() > 0.90
    broad = np.isin(expected, [LABEL_OF[n] for n in ("cortical bone", "yellow marrow", "subcutaneous fat", "tumour")])
    assert (seen == expected)[known & broad].mean() > 0.93


@pytest.mark.parametrize("tissue", THICK, ids=lambda tissue: tissue.name)
def test_values_follow_from_the_table(scan: Phantom, tissue: phantom.Tissue) -> None:
    depth = {"yellow marrow": 3, "air": 3}.get(tissue.name, 2)
    inner = voxels_of(scan, tissue.name, depth)
    assert inner.sum() >= 40
    # Blur from 1400 HU reaches a little into bone's neighbours and takes a little from the bone.
    assert np.median(scan.ct.voxels[0][inner]) == pytest.approx(tissue.hu, abs=60 if tissue.hu > 200 else 6)

    def signal(t: phantom.Tissue) -> float:
        return t.proton_density * (1 - math.exp(-500 / t.t1_ms)) * math.exp(-12 / t.t2_ms)

    level = 1000 * signal(tissue) / signal(TISSUES[LABEL_OF["subcutaneous fat"]])
    measured = np.median(scan.mr.voxels[0][inner])
    if level < 1:  # nothing but Rayleigh noise, whose median is sqrt(2 ln 2) of its channel's SD
        assert measured == pytest.approx(phantom.MR_NOISE_SD * math.sqrt(2 * math.log(2)), rel=0.15)
    else:
        assert measured == pytest.approx(level, rel=0.10)


def test_t1_weighted_contrast_is_in_the_order_of_physics(scan: Phantom) -> None:
    order = ("subcutaneous fat", "yellow marrow", "tumour", "quadriceps", "necrosis", "cortical bone")
    medians = [np.median(scan.mr.voxels[0][voxels_of(scan, name, 2)]) for name in order]
    assert all(brighter > 1.04 * darker for brighter, darker in itertools.pairwise(medians)), medians
    assert medians[-1] < 0.06 * medians[0]


def test_cortex_closes_around_the_marrow_in_every_slice(scan: Phantom) -> None:
    labels = scan.tissues.voxels[0]
    marrow = labels == LABEL_OF["yellow marrow"]
    assert marrow.any(axis=(0, 1)).all()
    assert set(np.unique(labels[around(marrow)])) == {LABEL_OF["cortical bone"]}


@pytest.mark.parametrize("seed", range(6))
def test_measures_lie_within_the_published_ranges(seed: int) -> None:
    labels = thigh(seed, centred_grid((176, 176, 1), (1.0, 1.0, 3.0))).tissues.voxels[0]
    area = {tissue.name: int((labels == tissue.label).sum()) for tissue in TISSUES}
    tumour = area["tumour"] + area["necrosis"]
    # The tumour pushes the skin outwards by its area; without it the circumference is 410 to 480 mm.
    body = labels.size - area["air"]
    assert 395 < 2 * math.sqrt(math.pi * (body - tumour)) < 2 * math.sqrt(math.pi * body) < 530
    canal, bone = area["yellow marrow"], area["yellow marrow"] + area["cortical bone"]
    outer_mm, inner_mm = 2 * math.sqrt(bone / math.pi), 2 * math.sqrt(canal / math.pi)
    assert 25.5 < outer_mm < 31
    assert 4.8 < (outer_mm - inner_mm) / 2 < 8
    muscle = sum(area[name] for name in MUSCLES)
    for name, low, high in (("quadriceps", 45, 60), ("hamstrings", 15, 30), ("adductors", 14, 30), ("sartorius", 2, 6)):
        assert low < 100 * area[name] / muscle < high, name
    assert 0.04 < area["intermuscular fat"] / (muscle + area["intermuscular fat"]) < 0.2
    # A deep tumour: whatever it pushes, it neither breaks through the skin nor eats the femur.
    mass = np.isin(labels, [LABEL_OF["tumour"], LABEL_OF["necrosis"]])
    assert not set(np.unique(labels[around(mass)])) & {LABEL_OF[n] for n in ("air", "skin", "yellow marrow")}


def test_muscle_groups_are_divided_by_fat(scan: Phantom) -> None:
    labels = scan.tissues.voxels[0]
    groups = [LABEL_OF[name] for name in MUSCLES]
    touching = 0
    for axis in (0, 1):
        here, there = labels.take(range(169), axis), labels.take(range(1, 170), axis)
        touching += int((np.isin(here, groups) & np.isin(there, groups) & (here != there)).sum())
    border = sum(int((labels == LABEL_OF[name]).sum()) for name in ("intermuscular fat", "fascia"))
    assert touching < 0.02 * border


def test_tumour_displaces_tissue_without_compressing_it() -> None:
    anatomy = phantom._Anatomy.drawn(np.random.default_rng([SEED, 0]))
    smooth = replace(anatomy, tumour_surface=anatomy.tumour_surface._replace(amplitudes=np.zeros(10)))
    points = np.random.default_rng(1).uniform(-60, 60, (3, 2000))
    step = 1e-4
    ends = [
        [np.stack(smooth._before_tumour(*(points + sign * step * np.eye(3)[:, [axis]]))[1:]) for sign in (1, -1)]
        for axis in range(3)
    ]
    jacobians = np.stack([(ahead - back) / (2 * step) for ahead, back in ends]).transpose(2, 1, 0)
    outside = smooth._before_tumour(*points)[0] > 1.01
    assert outside.sum() > 1000
    assert np.linalg.det(jacobians[outside]) == pytest.approx(1, abs=1e-4)
    assert np.abs(np.stack(smooth._before_tumour(*points)[1:]) - points)[:, outside].max() > 5


def test_tumour_widens_the_limb_but_does_not_move_the_femur(scan: Phantom) -> None:
    anatomy = phantom._Anatomy.drawn(np.random.default_rng([SEED, 0]))
    points = phantom._points(scan.tissues.grid)
    well = replace(anatomy, tumour_half_axes_mm=(0.1, 0.1, 0.1)).labels(points)
    ill = scan.tissues.voxels.ravel()
    mass = np.isin(ill, [LABEL_OF["tumour"], LABEL_OF["necrosis"]]).sum()
    # These 23 mm of limb give most of the volume on to what lies above and below.
    assert 0.1 * mass < (ill > 0).sum() - (well > 0).sum() < mass
    bone = [LABEL_OF["cortical bone"], LABEL_OF["yellow marrow"]]
    assert np.array_equal(np.isin(ill, bone), np.isin(well, bone))


def test_noise_is_as_stated(scan: Phantom, reordered: tuple[Orientation, Phantom]) -> None:
    orientation, other = reordered
    # The same points with other noise: away from borders, where each grid averages other points of its voxels, all
    # else cancels.
    body = np.logical_or.reduce([voxels_of(scan, name, 4) for name in ("subcutaneous fat", *MUSCLES)])
    ct = (orientation.undo(other.ct.voxels) - scan.ct.voxels)[0]
    assert ct[body].mean() == pytest.approx(0, abs=0.5)
    assert ct[body].std() / math.sqrt(2) == pytest.approx(phantom.CT_NOISE_SD_HU, rel=0.05)
    mr = (orientation.undo(other.mr.voxels) - scan.mr.voxels)[0]
    assert mr[body].mean() == pytest.approx(0, abs=2)
    assert mr[body].std() / math.sqrt(2) == pytest.approx(phantom.MR_NOISE_SD, rel=0.05)
    air = voxels_of(scan, "air", 3)
    assert scan.mr.voxels[0][air].mean() == pytest.approx(phantom.MR_NOISE_SD * math.sqrt(math.pi / 2), rel=0.02)
    # The grain of a Gaussian kernel: neighbours 1 mm apart correlate by exp(-1 / (4 sd^2)).
    pairs = body[:-1] & body[1:]
    grain = np.corrcoef(ct[:-1][pairs], ct[1:][pairs])[0, 1]
    assert grain == pytest.approx(math.exp(-1 / (4 * phantom.CT_BLUR_SD_MM**2)), abs=0.05)


def test_values_stay_in_range(scan: Phantom) -> None:
    assert scan.mr.voxels.dtype == scan.ct.voxels.dtype == np.float32
    assert scan.mr.voxels.min() >= 0
    assert scan.ct.voxels.min() == -1000
    assert 1300 < scan.ct.voxels.max() < 1500
