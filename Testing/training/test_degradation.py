"""What poorer scanners make of a volume: where it lies, its mean, what is left of it; and studies that say so."""

from dataclasses import replace

import numpy as np
import pytest

from MedGANLogic.degradation import Averaged, KSpaceCropped, Made, Mixed, SliceProfile
from MedGANLogic.domain import MR
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.passes import slices_first
from MedGANLogic.study import SUPER_RESOLUTION, Study, StudyError

WAYS = (Averaged, KSpaceCropped, SliceProfile)
PLAIN = Augmentation(mirror=False, quarter_turns=False, contrast=0)
THICK = replace(SUPER_RESOLUTION, dimensions=3, made={"mr": Averaged("fine", (4, 1, 2))})
MIXED = Mixed((Averaged("fine", 2), KSpaceCropped("fine", 2), SliceProfile("fine", 2, 1.2)))


def blob(shape, centre, width):
    """Return a Gaussian about a centre in voxels."""
    places = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return np.exp(-sum((p - c) ** 2 for p, c in zip(places, centre, strict=True)) / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", [2, 3, (4, 1, 2), (1, 2, 2)], ids=str)
def test_a_blob_stays_where_it_is_to_a_hundredth_of_a_voxel(way, by):
    centre = (23.3, 17.6, 20.1)
    fine = 50 + 100 * blob((48, 37, 42), centre, 3.5)
    coarse = way("fine", by).apply(fine, 3)
    factors = (by,) * 3 if isinstance(by, int) else by
    assert coarse.shape == tuple(n // f for n, f in zip(fine.shape, factors, strict=True))
    weights = coarse - 50
    for axis, (factor, expected) in enumerate(zip(factors, centre, strict=True)):
        profile = weights.sum(axis=tuple({0, 1, 2} - {axis}))
        # A coarse voxel's centre is that of its fine ones.
        places = factor * (np.arange(len(profile)) + 0.5) - 0.5
        assert (places * profile).sum() / profile.sum() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("way", WAYS)
def test_a_constant_and_a_slabs_mean_are_kept(way):
    fine = np.random.default_rng(0).normal(300, 40, (24, 32, 20)).astype(np.float32)
    assert way("fine", 4).apply(np.full_like(fine, 7), 3) == pytest.approx(7, abs=1e-4)
    assert way("fine", 4).apply(fine, 3).mean() == pytest.approx(fine.mean(), rel=2e-3)
    # With 2 dimensions nothing is mixed from slice to slice.
    assert np.allclose(way("fine", 4).apply(fine, 2)[3:4], way("fine", 4).apply(fine[3:4], 2), atol=1e-3)


def test_what_an_mr_scanner_leaves_out_is_the_outer_part_of_k_space_and_nothing_else():
    places = (np.arange(64) + 0.5) / 64
    low, high = np.cos(np.pi * 9 * places), np.cos(np.pi * 40 * places)
    line = np.float32(low + high)[None, None]
    expected = np.cos(np.pi * 9 * (np.arange(32) + 0.5) / 32)
    assert np.allclose(KSpaceCropped("fine", (1, 1, 2)).apply(line, 3)[0, 0], expected, atol=1e-6)


def test_nothing_of_one_end_of_a_slab_shows_at_the_other():
    fine = np.zeros((32, 2, 2), np.float32)
    fine[:8] = 1000
    coarse = KSpaceCropped("fine", (2, 1, 1)).apply(fine, 3)
    wrapped = np.fft.irfft(np.fft.rfft(fine, axis=0)[:9], 16, axis=0) / 2
    assert abs(coarse[-1]).max() < 30 < abs(wrapped[-1]).max()


def test_a_slice_profile_is_as_wide_at_half_its_height_as_it_says():
    for thickness in (0.8, 1.5):
        row = SliceProfile("fine", 8, thickness).matrix(9, 8)[4]
        assert np.count_nonzero(row >= row.max() / 2) == pytest.approx(8 * thickness, abs=1.1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"kind": "Averaged", "of": "fine", "by": 1}, "by is 1: expected 2 to 16 along some axis"),
        ({"kind": "Averaged", "of": "fine", "by": [2, 1]}, "expected a whole number or 3 whole numbers"),
        ({"kind": "KSpaceCropped", "of": "fine", "by": [1, 2, 17]}, "expected 1 to 16 along each axis"),
        ({"kind": "SliceProfile", "of": "fine", "by": 2, "thickness": 9}, "thickness is 9"),
        ({"kind": "Mixed", "ways": []}, "expected one or more"),
        ({"kind": "Mixed", "ways": [{"kind": "Predicted"}]}, "kind 'Predicted' is not known"),
        (
            {"kind": "Mixed", "ways": [Averaged("fine", 2).to_json(), KSpaceCropped("fine", 4).to_json()]},
            "all of the same role and by the same factors",
        ),
    ],
    ids=str,
)
def test_what_has_no_sense_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        Made.from_json(data)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"made": {"mr": Averaged("fine", (4, 1, 1))}}, "4 times more slices: a network of 2 dimensions makes none"),
        ({"made": {"mr": Averaged("mr", 2)}}, "made.mr is of mr: expected an input that is made of a target"),
        (
            {
                "inputs": {"mr": MR, "other": MR},
                "made": {"mr": Averaged("fine", 2), "other": Averaged("fine", (1, 2, 4))},
            },
            "by the same factors",
        ),
    ],
    ids=["slices", "itself", "unlike"],
)
def test_a_study_that_its_network_cannot_follow_is_refused(changes, reason):
    with pytest.raises(StudyError, match=reason):
        replace(SUPER_RESOLUTION, **changes)


@pytest.mark.parametrize("made", [MIXED, THICK.made["mr"], Averaged("fine", 2)], ids=["mixed", "thick", "plain"])
def test_a_study_comes_back_from_plain_data(made):
    study = replace(SUPER_RESOLUTION, dimensions=3, made={"mr": made})
    assert Study.from_json(study.to_json()) == study
    assert study.source("mr") == "fine"
    assert study.task == "super-resolution"


@pytest.mark.parametrize(("plane", "axes"), [("axial", (1, 2, 4)), ("coronal", (1, 4, 2)), ("sagittal", (4, 1, 2))])
def test_factors_through_and_in_the_slice_belong_to_the_planes_axes(plane, axes):
    study = replace(THICK, plane=plane)
    assert study.factors == (4, 1, 2)
    assert study.finer_axes == axes
    assert study.whole_volume("generator", 1).times == (4, 1, 2)
    # As the volume's own axes are moved, so are the factors.
    assert slices_first(np.zeros(axes), plane).shape == (4, 1, 2)


def test_a_patch_is_cut_of_the_whole_volume_as_the_scanner_gives_it(toy_cohort):
    pool = Pool(THICK, toy_cohort(THICK)[:1])
    (whole,) = pool.degraded[0]["mr"]
    fine = slices_first(pool.cases[0].in_unit("fine", pool.cases[0].volumes["fine"]), "axial")
    assert whole.shape == (fine.shape[0] // 4, fine.shape[1], fine.shape[2] // 2)
    batch = Batches(Feed(8, Pair((8, 8, 8), PLAIN)), pool, (0,))[0]
    assert batch["input"].shape == (8, 1, 2, 8, 4)
    boxes = batch["target"].reshape(8, 1, 2, 4, 8, 4, 2)
    inside = (boxes.abs() < 1).all(6).all(3)
    assert inside.any()
    assert (boxes.mean(dim=(3, 6)) - batch["input"])[inside].abs().max() < 1e-5


def test_patches_whose_axes_are_not_alike_are_turned_by_halves_alone(toy_cohort):
    pool = Pool(THICK, toy_cohort(THICK)[:1])
    batch = Batches(Feed(16, Pair((8, 8, 8), Augmentation(contrast=0))), pool, (1,))[0]
    assert batch["input"].shape == (16, 1, 2, 8, 4)


def test_of_several_ways_every_patch_meets_one(toy_cohort):
    study = replace(SUPER_RESOLUTION, made={"mr": MIXED})
    cases, feed = toy_cohort(study)[:1], Feed(24, Pair((8, 8), Augmentation(contrast=0)))
    mixed = Batches(feed, Pool(study, cases), (0,))[0]["input"]
    alone = [Batches(feed, Pool(one, cases), (0,))[0]["input"] for one in study.by_one_way]
    met = [[bool((mixed[n] == way[n]).all()) for way in alone] for n in range(24)]
    assert all(any(ways) for ways in met)
    assert all(any(patches) for patches in zip(*met, strict=True))
    assert tuple(one.made["mr"] for one in study.by_one_way) == MIXED.ways
