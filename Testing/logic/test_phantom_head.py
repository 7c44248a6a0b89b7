"""The digital head: anatomy within published measures, the same on every grid; values that follow from the table."""

import itertools
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
from scipy.ndimage import distance_transform_edt, label

from MedGANLogic.images import Grid
from MedGANLogic.phantom import Phantom, centred_grid, head
from MedGANLogic.phantom.brain import Glioma, Infarct
from MedGANLogic.phantom.head import DEFAULT_GRID, Head
from MedGANLogic.phantom.head_tissues import LABEL_OF, TISSUES
from MedGANLogic.phantom.imaging import HEAD_NOISE_HU, points_of
from MedGANLogic.phantom.shapes import Ellipsoid

WITH_TUMOUR, WITH_STROKE = 2, 1
CEREBRUM = ("cortex", "white matter", "caudate", "putamen", "pallidum", "thalamus", "hippocampus")
BRAIN = (*CEREBRUM, "cerebellar cortex", "cerebellar white matter", "brain stem")
LESIONS = ("tumour", "necrosis", "oedema", "infarct")
FLUID = ("cerebrospinal fluid", "ventricle")
WITHIN = (*BRAIN, *LESIONS, *FLUID, "venous blood", "choroid plexus", "calcification")
SKULL = ("outer table", "diploe", "inner table")
SCALP = ("air", "skin", "fat", "muscle", "galea")

COARSE = centred_grid((88, 108, 47), (2.0, 2.0, 3.0))
#: The orbits and the vault, with slices as thick as those of a head's CT.
SLICES = centred_grid((132, 164, 21), (1.3, 1.3, 6.5))


@pytest.fixture(scope="module")
def scan() -> Phantom:
    return head(WITH_TUMOUR, SLICES)


def drawn(seed: int) -> Head:
    return Head.drawn(np.random.default_rng([seed, 0]))


def healthy(person: Head) -> Head:
    """The same person without the lesion."""
    nothing = Infarct(Ellipsoid((0.0, 0.0, 500.0), (1.0, 1.0, 1.0)), person.brain.ripples)
    return replace(person, brain=replace(person.brain, lesion=nothing))


def is_one_of(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return np.isin(labels, [LABEL_OF[name] for name in names])


def test_same_seed_gives_same_bytes_and_another_seed_another_person() -> None:
    first, again, other = head(5, SMALL), head(5, SMALL), head(6, SMALL)
    assert_same_bytes(first, again)
    assert (first.tissues.voxels != other.tissues.voxels).mean() > 0.1


def test_negative_seed_is_refused() -> None:
    with refuses_negative_seeds:
        head(-1, SMALL)


def test_all_four_lie_on_the_grid_that_was_asked_for(scan: Phantom) -> None:
    assert_images_say_what_they_are(scan, (132, 164, 21), "HEAD")


def test_default_grid_holds_the_head() -> None:
    box = np.array(DEFAULT_GRID.extent_mm) / 2
    points = points_of(centred_grid((100, 126, 52), (2.0, 2.0, 3.0)))
    points = points[:, points[2] > -box[2]]  # below, the neck goes on
    outside = (np.abs(points[:2]) > box[:2, None]).any(axis=0) | (points[2] > box[2])
    for seed in range(6):
        assert not drawn(seed).labels(points[:, outside]).any()


def test_below_what_is_drawn_the_last_plane_goes_on() -> None:
    person = replace(drawn(0), turned=np.eye(3))
    plane = points_of(Grid((80, 100, 1), np.diag([2.0, 2.0, 1.0, 1.0]))) - [[80], [100], [75]]
    assert np.array_equal(person.labels(plane), person.labels(plane - [[0], [0], [40]]))
    assert person.labels(plane).any()


def test_every_tissue_is_there() -> None:
    found = set().union(*(np.unique(drawn(seed).labels(points_of(COARSE))) for seed in (WITH_TUMOUR, WITH_STROKE)))
    assert found == set(LABEL_OF.values())


def test_oblique_anisotropic_flipped_grid_shows_the_same_head(scan: Phantom) -> None:
    grid = oblique((1.6, 1.2, 0.8), (71, 91, 9), [10, 0, 6.5])
    fine = replace(scan.tissues, voxels=drawn(WITH_TUMOUR).labels(points_of(FINE)).reshape(1, *FINE.shape))
    fine = replace(fine, affine=FINE.affine)
    tilted = head(WITH_TUMOUR, grid).tissues
    # The nearest voxel's centre is up to 0.9 mm away, and half of the cortex is as near to its border.
    assert agreement(tilted, fine, list(LABEL_OF.values())) > 0.80
    assert agreement(tilted, fine, labels_of(scan, "white matter", "thalamus", "diploe", "ventricle")) > 0.88


#: Around the lateral ventricles.
FINE = centred_grid((120, 150, 44), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("seed", range(6))
def test_volumes_lie_within_the_published_ranges(seed: int) -> None:
    labels = healthy(drawn(seed)).labels(points_of(COARSE))
    millilitres = {tissue.name: 0.012 * int((labels == tissue.label).sum()) for tissue in TISSUES}

    def total(names: tuple[str, ...]) -> float:
        return sum(millilitres[name] for name in names)

    within = total(WITHIN)
    assert 1289 - 2 * 111 < within < 1469 + 2 * 102
    assert 0.80 < total(BRAIN) / within < 0.92
    assert 0.08 < total(FLUID) / within < 0.20
    assert 9 < millilitres["ventricle"] < 27
    assert 0.9 < total(("cortex", "hippocampus")) / millilitres["white matter"] < 1.7
    for name, low, high in (("caudate", 3, 4.4), ("putamen", 3.4, 5.2), ("pallidum", 1.2, 2.2), ("thalamus", 4.6, 7.2)):
        assert low < millilitres[name] / 2 < high, name
    assert 110 < total(("cerebellar cortex", "cerebellar white matter")) < 165
    assert 18 < millilitres["brain stem"] < 32
    assert 8 < total(("vitreous", "sclera", "lens")) < 16


@pytest.mark.parametrize("seed", range(6))
def test_lengths_lie_within_the_published_ranges(seed: int) -> None:
    person = replace(drawn(seed), turned=np.eye(3))
    steps = np.arange(-110, 110, 0.1)

    def along(axis: int, **at: float) -> np.ndarray:
        points = np.zeros((3, steps.size))
        points[axis] = steps
        for name, place in at.items():
            points["ras".index(name)] = place
        return person.labels(points)

    def length(labels: np.ndarray, names: tuple[str, ...]) -> float:
        """The length of the first stretch of some tissues."""
        places = np.flatnonzero(is_one_of(labels, names))
        return 0.1 * len(np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)[0])

    not_air = tuple(tissue.name for tissue in TISSUES[1:])
    level = person.labels(points_of(centred_grid((90, 110, 12), (2.0, 2.0, 5.0)))).reshape(90, 110, 12) > 0
    breadth, front_to_back = (2.0 * np.ptp(np.argwhere(level)[:, axis]) + 2 for axis in (0, 1))
    assert 144.4 - 12 < breadth < 151.7 + 12
    assert 187.2 - 14 < front_to_back < 197.1 + 14
    middle = along(0, s=-13.0, a=-8.0)
    assert 118 < length(middle, (*WITHIN, "dura")) < 140  # the widest place within the skull: 129 to 135 mm
    behind, ahead = along(1, r=12.0, s=-10.0), along(1, r=12.0, s=0.0)[::-1]
    assert 8.0 - 2 * 2.5 < length(behind, SKULL) < 8.0 + 2 * 2.5
    assert 8.0 - 2 * 2.0 < length(ahead, SKULL) < 8.0 + 2 * 2.0
    assert 4.7 - 2 * 1.3 < length(along(0, s=-23.0, a=12.0), SKULL) < 4.7 + 2 * 1.4
    assert 7.0 - 2 * 1.4 < length(along(2, r=25.0, a=-20.0)[::-1], SKULL) < 7.0 + 2 * 1.8
    assert 4 < length(along(0, s=30.0, a=-20.0), ("skin", "fat", "galea")) < 10
    assert length(along(1, r=0.0, s=-23.0), not_air) == pytest.approx(front_to_back, rel=0.1)


def test_cortex_is_a_folded_ribbon_between_fluid_and_white_matter() -> None:
    person = healthy(drawn(4))
    box = centred_grid((110, 110, 60), (0.5, 0.5, 0.5))
    at_the_side = points_of(box) + np.array([[35], [-20], [15]])
    labels = person.labels(at_the_side).reshape(box.shape)
    cortex, white, fluid = (is_one_of(labels, (name,)) for name in ("cortex", "white matter", "cerebrospinal fluid"))
    depth = 0.5 * distance_transform_edt(~fluid)
    # Half-way down on average, everywhere as deep as the cortex is thick; the box cuts some sulci off.
    assert np.median(depth[cortex]) == pytest.approx(person.brain.cortex_mm / 2, abs=0.5)
    assert np.percentile(depth[cortex], 90) < person.brain.cortex_mm + 1
    assert np.percentile(depth[white], 5) == pytest.approx(person.brain.cortex_mm, abs=0.6)
    # As a smooth shell it would hold a third of that.
    assert cortex.sum() > 3 * person.brain.cortex_mm * 55 * 30 / 0.5**3


def test_skull_parts_brain_from_scalp(scan: Phantom) -> None:
    labels = scan.tissues.voxels[0][:, :, 9:]  # from the level of the ventricles
    for k in range(labels.shape[2]):
        inside = is_one_of(labels[:, :, k], (*WITHIN, "dura"))
        if inside.any():
            assert not is_one_of(labels[:, :, k][around(inside)], SCALP).any()
    inside, pieces = label(is_one_of(labels, (*WITHIN, "dura")))
    assert pieces == 1
    dura, bone = is_one_of(labels, ("dura",)), is_one_of(labels, ("inner table",))
    assert (around(bone)[dura]).mean() > 0.4


def test_air_is_without_or_in_the_cells_of_the_skull(scan: Phantom) -> None:
    regions, _ = label(is_one_of(scan.tissues.voxels[0], ("air",)))
    outside = np.bincount(regions[regions > 0]).argmax()
    cells = (regions > 0) & (regions != outside)
    right, ahead, up = points_of(SLICES).reshape(3, *SLICES.shape)[:, cells]
    in_the_forehead = (ahead > 75) & (up > -50)
    in_the_mastoids = np.abs(right) > 40
    behind_the_nose = (np.abs(right) < 25) & (ahead > 15) & (up < -40)
    voxel_ml = np.prod(SLICES.spacing_mm) / 1000
    for place in (in_the_forehead, in_the_mastoids, behind_the_nose):
        assert 0.3 < place.sum() * voxel_ml < 30
    assert (in_the_forehead | in_the_mastoids | behind_the_nose).mean() > 0.97
    assert not is_one_of(scan.tissues.voxels[0], BRAIN)[around(cells)].any()


def test_both_sides_are_alike_but_not_the_same() -> None:
    labels = replace(healthy(drawn(3)), turned=np.eye(3)).labels(points_of(COARSE)).reshape(COARSE.shape)
    left, right = labels[:44][::-1], labels[44:]
    for name in ("putamen", "thalamus", "ventricle", "cortex", "cerebellar cortex", "vitreous", "diploe"):
        assert (left == LABEL_OF[name]).sum() == pytest.approx((right == LABEL_OF[name]).sum(), rel=0.2), name
    cortex = left == LABEL_OF["cortex"]
    assert 0.3 < (right[cortex] == LABEL_OF["cortex"]).mean() < 0.8
    assert (right == left).mean() > 0.8


def test_a_tumour_pushes_the_brain_but_not_the_skull() -> None:
    person = drawn(WITH_TUMOUR)
    assert isinstance(person.brain.lesion, Glioma)
    points = points_of(COARSE)
    ill, well = person.labels(points), healthy(person).labels(points)
    mass = is_one_of(ill, ("tumour", "necrosis"))
    assert 4 < 0.012 * mass.sum() < 30
    outer = ("air", *SCALP, *SKULL, "dura")
    rigid = is_one_of(well, outer) & (points[2] > 0)
    assert (ill[rigid] == well[rigid]).mean() > 0.995
    # What was displaced went into the fluid around the brain; next to nothing of the brain is lost.
    before, after = is_one_of(well, BRAIN).sum(), is_one_of(ill, (*BRAIN, "oedema")).sum()
    assert before - after < 0.35 * mass.sum()
    assert is_one_of(ill, FLUID).sum() < is_one_of(well, FLUID).sum()
    assert is_one_of(well[ill == LABEL_OF["oedema"]], BRAIN).mean() > 0.85


def test_a_stroke_takes_cortex_and_white_matter_of_one_side_and_moves_nothing() -> None:
    person = drawn(WITH_STROKE)
    points = points_of(COARSE)
    ill, well = person.labels(points), healthy(person).labels(points)
    lost = ill != well
    assert 5 < 0.012 * lost.sum() < 60
    assert (ill[lost] == LABEL_OF["infarct"]).all()
    assert is_one_of(well[lost], ("cortex", "white matter")).all()
    sides = np.sign((person.turned @ points)[0][lost])
    assert abs(sides.mean()) > 0.99


THICK = {"white matter": 2, "thalamus": 2, "brain stem": 3, "cerebellar white matter": 2, "air": 3}


@pytest.mark.parametrize("name", THICK)
def test_values_follow_from_the_table(scan: Phantom, name: str) -> None:
    tissue = TISSUES[LABEL_OF[name]]
    inner = voxels_of(scan, name, THICK[name])
    assert inner.sum() >= 40
    assert np.median(scan.ct.voxels[0][inner]) == pytest.approx(tissue.hu, abs=2)
    level = mr_level(tissue, TISSUES[LABEL_OF["fat"]])
    assert np.median(scan.mr.voxels[0][inner]) == pytest.approx(level, rel=0.10 if level > 50 else 0.15)


def test_uptake_follows_from_the_table_where_nothing_spills_in(scan: Phantom) -> None:
    pet = scan.pet.voxels[0]
    assert pet[voxels_of(scan, "white matter", 5)].mean() == pytest.approx(2.5, rel=0.15)
    assert pet[voxels_of(scan, "thalamus", 3)].mean() == pytest.approx(8.0, rel=0.15)
    # Cortex is thinner than the point spread is wide.
    assert 4 < pet[voxels_of(scan, "cortex", 0)].mean() < 7
    right, ahead, _ = points_of(SLICES).reshape(3, *SLICES.shape)
    assert pet[np.hypot(right, ahead) > 125].max() < 1e-3


def test_contrasts_are_in_the_order_of_physics(scan: Phantom) -> None:
    def medians(voxels: np.ndarray, *names: str) -> list[float]:
        return [float(np.median(voxels[0][voxels_of(scan, name, 1)])) for name in names]

    mr = medians(scan.mr.voxels, "fat", "white matter", "thalamus", "cortex", "ventricle")
    assert all(brighter > 1.03 * darker for brighter, darker in itertools.pairwise(mr)), mr
    ct = medians(scan.ct.voxels, "diploe", "cortex", "white matter", "oedema", "ventricle", "fat")
    assert all(denser > lighter + 3 for denser, lighter in itertools.pairwise(ct)), ct
    pet = medians(scan.pet.voxels, "tumour", "cortex", "white matter", "ventricle", "fat")
    assert all(hotter > 1.2 * colder for hotter, colder in itertools.pairwise(pet)), pet


def test_noise_of_ct_is_a_heads(scan: Phantom) -> None:
    inner = voxels_of(scan, "white matter", 3)
    assert scan.ct.voxels[0][inner].std() == pytest.approx(HEAD_NOISE_HU, rel=0.15)


def test_values_stay_in_range(scan: Phantom) -> None:
    assert scan.mr.voxels.dtype == scan.ct.voxels.dtype == scan.pet.voxels.dtype == np.float32
    assert min(scan.mr.voxels.min(), scan.pet.voxels.min()) >= 0
    assert scan.ct.voxels.min() == -1000
    assert 1000 < scan.ct.voxels.max() < 1500
    assert scan.pet.voxels.max() < 14
