"""The digital thigh: anatomy within published measures, the same on every grid; values that follow from the table."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from phantoms import (
    SMALL,
    agreement,
    around,
    assert_images_say_what_they_are,
    assert_same_bytes,
    labels_of,
    mr_level,
    oblique,
    refuses_negative_seeds,
    voxels_of,
)

from MedGANLogic.images import Grid, Orientation
from MedGANLogic.phantom import Phantom, Tissue, centred_grid, thigh
from MedGANLogic.phantom.imaging import BODY_NOISE_HU, CT_BLUR_SD_MM, MR_NOISE_SD, points_of
from MedGANLogic.phantom.thigh import DEFAULT_GRID, LABEL_OF, MUSCLES, TISSUES, Thigh

SEED = 3
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


def test_same_seed_gives_same_bytes_and_another_seed_another_person() -> None:
    first, again, other = thigh(5, SMALL), thigh(5, SMALL), thigh(6, SMALL)
    assert_same_bytes(first, again)
    assert (first.mr.voxels != other.mr.voxels).all()
    assert (first.tissues.voxels != other.tissues.voxels).mean() > 0.03


def test_negative_seed_is_refused() -> None:
    with refuses_negative_seeds:
        thigh(-1, SMALL)


def test_all_four_lie_on_the_grid_that_was_asked_for(scan: Phantom) -> None:
    assert_images_say_what_they_are(scan, (170, 170, 7), "THIGH")


def test_default_grid_holds_the_thigh() -> None:
    default = DEFAULT_GRID
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
    assert set(np.unique(scan.tissues.voxels)) == set(LABEL_OF.values())


def test_reordered_grid_shows_the_same_anatomy(scan: Phantom, reordered: tuple[Orientation, Phantom]) -> None:
    orientation, other = reordered
    back = orientation.undo(other.tissues.voxels)
    # Points on a border may fall to its other side by rounding.
    assert (back != scan.tissues.voxels).mean() < 1e-4


def test_oblique_anisotropic_flipped_grid_shows_the_same_anatomy(scan: Phantom) -> None:
    tilted = thigh(SEED, oblique((1.6, 1.2, 0.8), (71, 91, 13), [0, 0, 0])).tissues
    # The nearest voxel's centre is up to 1.8 mm away: only thin layers and borders may differ.
    assert agreement(tilted, scan.tissues, [tissue.label for tissue in TISSUES]) > 0.90
    broad = labels_of(scan, "cortical bone", "yellow marrow", "subcutaneous fat", "tumour")
    assert agreement(tilted, scan.tissues, broad) > 0.93


@pytest.mark.parametrize("tissue", THICK, ids=lambda tissue: tissue.name)
def test_values_follow_from_the_table(scan: Phantom, tissue: Tissue) -> None:
    depth = {"yellow marrow": 3, "air": 3}.get(tissue.name, 2)
    inner = voxels_of(scan, tissue.name, depth)
    assert inner.sum() >= 40
    # Blur from 1400 HU reaches a little into bone's neighbours and takes a little from the bone.
    assert np.median(scan.ct.voxels[0][inner]) == pytest.approx(tissue.hu, abs=60 if tissue.hu > 200 else 6)
    level = mr_level(tissue, TISSUES[LABEL_OF["subcutaneous fat"]])
    assert np.median(scan.mr.voxels[0][inner]) == pytest.approx(level, rel=0.10 if level > 50 else 0.15)


@pytest.mark.parametrize("name, depth, suv", [("quadriceps", 6, 0.6), ("subcutaneous fat", 6, 0.2)])
def test_uptake_follows_from_the_table_far_from_others(scan: Phantom, name: str, depth: int, suv: float) -> None:
    assert TISSUES[LABEL_OF[name]].suv == suv
    assert scan.pet.voxels[0][voxels_of(scan, name, depth)].mean() == pytest.approx(suv, rel=0.08)


def test_tumour_has_a_hot_rim_and_a_cold_core(scan: Phantom) -> None:
    rim, core, muscle = (
        scan.pet.voxels[0][voxels_of(scan, name, depth)].mean()
        for name, depth in (("tumour", 4), ("necrosis", 4), ("quadriceps", 6))
    )
    assert TISSUES[LABEL_OF["tumour"]].suv == pytest.approx(rim, rel=0.15)
    assert 2 * muscle < core < rim / 3


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
    drawn = Thigh.drawn(np.random.default_rng([SEED, 0])).tumour
    smooth = drawn._replace(lobe_share=0.0)
    points = np.random.default_rng(1).uniform(-60, 60, (3, 2000))
    step = 1e-4
    ends = [[smooth.before(points + sign * step * np.eye(3)[:, [axis]])[1] for sign in (1, -1)] for axis in range(3)]
    jacobians = np.stack([(ahead - back) / (2 * step) for ahead, back in ends]).transpose(2, 1, 0)
    distance, before = smooth.before(points)
    outside = distance > 1.01
    assert outside.sum() > 1000
    assert np.linalg.det(jacobians[outside]) == pytest.approx(1, abs=1e-4)
    assert np.abs(before - points)[:, outside].max() > 5
    # What lies at the rim now was the rim of the small tumour that this one was.
    centre, half_axes = np.array(drawn.centre_mm)[:, None], np.array(drawn.half_axes_mm)[:, None]
    rim = centre + half_axes * np.array([[1, 0, 0], [0, 0.6, 0.8]]).T
    assert smooth.before(rim)[1] == pytest.approx(centre + drawn.root * (rim - centre))


def test_tumour_widens_the_limb_but_does_not_move_the_femur(scan: Phantom) -> None:
    anatomy = Thigh.drawn(np.random.default_rng([SEED, 0]))
    points = points_of(scan.tissues.grid)
    well = replace(anatomy, tumour=anatomy.tumour._replace(half_axes_mm=(0.1, 0.1, 0.1))).labels(points)
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
    assert ct[body].std() / math.sqrt(2) == pytest.approx(BODY_NOISE_HU, rel=0.05)
    mr = (orientation.undo(other.mr.voxels) - scan.mr.voxels)[0]
    assert mr[body].mean() == pytest.approx(0, abs=2)
    assert mr[body].std() / math.sqrt(2) == pytest.approx(MR_NOISE_SD, rel=0.05)
    air = voxels_of(scan, "air", 3)
    assert scan.mr.voxels[0][air].mean() == pytest.approx(MR_NOISE_SD * math.sqrt(math.pi / 2), rel=0.02)
    # The grain of a Gaussian kernel: neighbours 1 mm apart correlate by exp(-1 / (4 sd^2)).
    pairs = body[:-1] & body[1:]
    grain = np.corrcoef(ct[:-1][pairs], ct[1:][pairs])[0, 1]
    assert grain == pytest.approx(math.exp(-1 / (4 * CT_BLUR_SD_MM**2)), abs=0.05)


def test_values_stay_in_range(scan: Phantom) -> None:
    assert scan.mr.voxels.dtype == scan.ct.voxels.dtype == scan.pet.voxels.dtype == np.float32
    assert min(scan.mr.voxels.min(), scan.pet.voxels.min()) >= 0
    assert scan.ct.voxels.min() == -1000
    assert 1300 < scan.ct.voxels.max() < 1500
