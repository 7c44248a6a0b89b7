"""Batches: drawn from seed and number alone, inside the body, and input aligned with target.

Most volumes here hold their own voxels' numbers, so that a patch tells where it was cut from.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedGANLogic.cohort import Case, CohortError
from MedGANLogic.domain import CT, MR, PET, PHOTOGRAPH, Domain, FixedWindow, Label, Labels
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.study import Study
from MedGANLogic.training import Loader

SHAPE = (24, 20, 6)
SECOND = 10_000
NUMBER = Domain("CT", "HU", FixedWindow(0, 32767, body_above=0), background=0)
PLAIN = Augmentation(mirrored=False, quarter_turns=False, contrast=0)
ALL = Augmentation(quarter_turns=True, contrast=0.3)
BENT = Augmentation(quarter_turns=True, contrast=0.3, bent=1.0)
WARPED = Augmentation(quarter_turns=True, contrast=0.3, warped=1.0)


def numbered(dimensions=2, neighbours=0, seconds=False):
    inputs = {"here": NUMBER, "second": NUMBER} if seconds else {"here": NUMBER}
    return Study(inputs, {"there": NUMBER}, dimensions, neighbours)


@pytest.fixture
def case():
    voxels = (1 + np.arange(np.prod(SHAPE)).reshape(SHAPE)).astype(np.int16)
    volumes = {"here": voxels, "there": voxels, "second": voxels + SECOND}
    body = np.zeros(SHAPE, bool)
    body[4:20, 5:15] = True
    valid = np.ones(SHAPE, bool)
    valid[:8, :9] = False
    return Case("S", "train", volumes, dict.fromkeys(volumes, 1.0), valid, body, np.eye(4))


def numbers(values):
    """Return the voxel numbers that were stored, 0 for background, from values in the network's range."""
    return np.rint((values.astype(np.float64) + 1) * 32767 / 2).astype(int)


def places(values):
    """Return the voxel indices (i, j, k) of values in the network's range."""
    return np.stack(np.unravel_index(numbers(values) - 1, SHAPE))


def drawn(study, case, patch, augmentation, count=40):
    feed, pool = Feed(1, Pair((patch,) * study.dimensions, augmentation)), Pool(study, [case])
    return [feed.draw(pool, (0,), number, 0) for number in range(count)]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_batch_n_follows_from_seed_and_n_alone(case, dimensions):
    study = numbered(dimensions, neighbours=1)
    feed = Feed(2, Pair((8,) * dimensions, BENT))

    def loaded(first, workers, seed=5):
        loader = Loader(feed, Pool(study, [case]), (seed,), torch.device("cpu"), workers)
        return list(loader.batches(first, 6))

    alone, by_two, later, other = loaded(0, 0), loaded(0, 2), loaded(3, 0), loaded(0, 0, seed=6)
    assert len(alone) == len(by_two) == 6
    for number, batch in enumerate(alone):
        for name, value in batch.items():
            assert torch.equal(value, by_two[number][name])
            assert number < 3 or torch.equal(value, later[number - 3][name])
            assert name == "weight" or not torch.equal(value, other[number][name])
    assert not torch.equal(alone[0]["input"], alone[1]["input"])


@pytest.mark.parametrize(("dimensions", "neighbours", "channels"), [(2, 0, 1), (2, 1, 3), (3, 1, 1)])
def test_a_batch_has_the_studys_channels_and_the_networks_type(case, dimensions, neighbours, channels):
    study = numbered(dimensions, neighbours)
    patch = (4,) * dimensions
    batch = Batches(Feed(3, Pair(patch, BENT)), Pool(study, [case]), (0,))[0]
    assert study.in_channels == channels
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "input": (3, channels, *patch),
        "target": (3, 1, *patch),
        "weight": (3, 1, *patch),
    }
    assert all(value.dtype == torch.float32 and value.is_contiguous() for value in batch.values())


@pytest.mark.parametrize(("dimensions", "size"), [(2, 7), (2, 8), (3, 4), (3, 5)])
def test_patches_are_whole_blocks_around_a_voxel_of_the_body(case, dimensions, size):
    patch = (size, size, size if dimensions == 3 else 1)
    starts = set()
    for one in drawn(numbered(dimensions), case, size, PLAIN):
        # Slices come first in a patch, last in the volume.
        found = places(one["input"][0])
        found = np.moveaxis(found, 1, 3) if dimensions == 3 else found[..., None]
        start = found[:, 0, 0, 0]
        assert (found == start[:, None, None, None] + np.indices(patch)).all()
        starts.add(tuple(start))
        last = np.array(SHAPE) - patch
        assert (start >= 0).all()
        assert (start <= last).all()
        if all(0 < s < end for s, end in zip(start, last, strict=True) if end):
            centre = tuple(start + np.array(patch) // 2)
            assert case.body[centre]
            assert case.valid[centre]
    assert len(starts) > 20


def test_neighbours_are_the_slices_beside_and_the_last_one_stands_in_for_those_beyond(case):
    offsets = np.array([-2, -1, 0, 1, 2])
    middles, orders = set(), set()
    for one in drawn(numbered(neighbours=2, seconds=True), case, 6, ALL, count=80):
        middle = places(one["target"][0])
        first = places(one["input"][:5])
        slices = first[2].min(axis=(1, 2))
        assert (first[2] == slices[:, None, None]).all()
        k = middle[2, 0, 0]
        expected = np.clip(k + offsets, 0, SHAPE[2] - 1).tolist()
        assert slices.tolist() in (expected, expected[::-1])
        # In the plane every channel shows the same place, and the second input follows in the same order.
        assert (first[:2] == middle[:2, None]).all()
        assert (numbers(one["input"][5:]) == numbers(one["input"][:5]) + SECOND).all()
        middles.add(int(k))
        orders.add(slices.tolist() == expected)
    assert middles == set(range(SHAPE[2]))
    assert orders == {True, False}


def test_without_mirroring_neighbours_keep_their_order(case):
    for one in drawn(numbered(neighbours=1), case, 6, PLAIN):
        assert (np.diff(places(one["input"])[2, :, 0, 0]) >= 0).all()


@pytest.mark.parametrize("augmentation", [ALL, BENT, WARPED], ids=["mirrored and turned", "bent", "warped"])
@pytest.mark.parametrize(("dimensions", "neighbours"), [(2, 0), (2, 1), (3, 0)])
def test_input_and_target_stay_aligned_under_augmentation(case, dimensions, neighbours, augmentation):
    for one in drawn(numbered(dimensions, neighbours), case, 6, augmentation):
        assert np.array_equal(one["input"][neighbours if dimensions == 2 else 0], one["target"][0])


@pytest.mark.parametrize("axis", [1, 2])
def test_only_the_axes_that_a_study_names_are_mirrored(case, axis):
    study = replace(numbered(2, 0), mirrors=("SRA"[axis],))
    patches = [one["input"][0] for one in drawn(study, case, 6, replace(PLAIN, mirrored=True))]
    rising = [np.sign(np.diff(patch, axis=other - 1)).mean() for patch in patches for other in (axis, 3 - axis)]
    assert {round(float(way)) for way in rising[::2]} == {-1, 1}
    assert len({round(float(way)) for way in rising[1::2]}) == 1


@pytest.mark.parametrize(("mirrors", "ways"), [(None, 1), (("A",), 2), (("R", "A", "S"), 8)])
def test_labels_may_say_of_sides_and_are_mirrored_only_along_axes_that_a_study_names(case, mirrors, ways):
    labelled = Domain("SEG", "label", Labels((Label(1, "there", (230, 110, 60)),)), 0.0)
    study = Study({"here": NUMBER}, {"there": labelled}, 3, mirrors=mirrors)
    patches = [one["input"][0] for one in drawn(study, case, 4, replace(PLAIN, mirrored=True), count=100)]
    assert len({tuple(np.sign(np.diff(patch, axis=axis)).mean() for axis in range(3)) for patch in patches}) == ways


def test_the_axis_that_a_study_names_is_mirrored_in_every_view(case):
    study, ways = replace(numbered(), mirrors=("A",)), {0: set(), 1: set(), 2: set()}
    feed, pool = Feed(1, Pair((4, 4), replace(PLAIN, mirrored=True), views=3)), Pool(study, [case])
    for number in range(120):
        index = places(feed.draw(pool, (0,), number, 0)["input"][0])
        for axis in range(3):
            ways[axis] |= set(np.unique(np.diff(index[axis])).tolist() + np.unique(np.diff(index[axis].T)).tolist())
    assert ways == {0: {0, 1}, 1: {-1, 0, 1}, 2: {0, 1}}


def test_mirrors_and_quarter_turns_all_happen(case):
    directions = set()
    for one in drawn(numbered(3), case, 4, ALL, count=200):
        index = places(one["input"][0])
        steps = [index[:, 1, 0, 0] - index[:, 0, 0, 0], index[:, 0, 1, 0] - index[:, 0, 0, 0]]
        steps.append(index[:, 0, 0, 1] - index[:, 0, 0, 0])
        directions.add(tuple(np.concatenate(steps).tolist()))
    # Two orders of the axes in the plane, and either way along each of the three.
    assert len(directions) == 2 * 2**3


def test_several_views_are_slices_along_as_many_axes_each_as_often(case):
    study, along = numbered(neighbours=1), []
    feed, pool = Feed(1, Pair((4, 4), PLAIN, views=3)), Pool(study, [case])
    for number in range(120):
        one = feed.draw(pool, (0,), number, 0)
        below, middle, above = places(one["input"])[:, :, 0, 0].T
        (axis,) = np.flatnonzero(above - below)
        along.append(axis)
        # All that a patch shows is of one slice, the same for input, target and weight; its neighbours lie beside it.
        assert (places(one["target"][0])[axis] == middle[axis]).all()
        assert np.array_equal(one["input"][1], one["target"][0])
        assert ((one["weight"][0] > 0) == case.valid[tuple(places(one["target"][0]))]).all()
        last = SHAPE[axis] - 1
        assert [below[axis], above[axis]] == [max(middle[axis] - 1, 0), min(middle[axis] + 1, last)]
    assert all(25 < along.count(axis) < 55 for axis in range(3))


def test_colours_are_seen_from_every_side(case):
    # A voxel's colours are its three indices.
    coloured = replace(case, volumes={**case.volumes, "photograph": np.indices(SHAPE).astype(np.int16)})
    coloured = replace(coloured, slopes=dict.fromkeys(coloured.volumes, 1.0))
    study = Study({"photograph": PHOTOGRAPH}, {"there": NUMBER}, neighbours=0)
    feed, pool = Feed(1, Pair((4, 4), PLAIN, views=3)), Pool(study, [coloured])
    for number in range(30):
        one = feed.draw(pool, (0,), number, 0)
        colours = np.rint((one["input"].astype(np.float64) + 1) * 127.5).astype(int)
        assert np.array_equal(colours, places(one["target"][0]))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_voxel_counts_where_it_is_valid_and_nowhere_else(case, dimensions):
    counted = set()
    for one in drawn(numbered(dimensions), case, 6, ALL):
        valid = case.valid[tuple(places(one["input"][0]))]
        assert ((one["weight"][0] > 0) == valid).all()
        counted |= set(valid.ravel().tolist())
    assert counted == {True, False}


def test_a_bent_voxel_that_mixes_only_invalid_ones_does_not_count(case):
    everywhere = replace(case, valid=np.zeros(SHAPE, bool))
    everywhere.valid[12, 10] = True
    for one in drawn(numbered(), everywhere, 8, BENT):
        assert 0 < (one["weight"] > 0).sum() <= 9
        assert (one["weight"] >= 0).all()


@pytest.mark.parametrize(("dimensions", "size"), [(2, 32), (3, 32)])
def test_a_patch_larger_than_the_volume_is_padded_with_background_that_does_not_count(case, dimensions, size):
    low_air = replace(NUMBER, background=7.0)
    study = replace(numbered(dimensions), inputs={"here": low_air}, targets={"there": NUMBER})
    (one,) = drawn(study, case, size, PLAIN, count=1)
    values, target, weight = numbers(one["input"][0]), numbers(one["target"][0]), one["weight"][0]
    rows, columns = (slice((size - length) // 2, (size - length) // 2 + length) for length in SHAPE[:2])
    place = (rows, columns) if dimensions == 2 else (slice(13, 19), rows, columns)
    outside = np.ones(values.shape, bool)
    outside[place] = False
    assert (values[outside] == 7).all()
    assert (target[outside] == 0).all()
    assert not weight[outside].any()
    assert weight[place].any()
    volume = case.volumes["here"]
    shown = values[place]
    assert any(np.array_equal(shown, volume[:, :, k]) for k in range(6)) or np.array_equal(
        shown, np.moveaxis(volume, 2, 0)
    )


@pytest.mark.parametrize("plane", ["sagittal", "coronal", "axial"])
def test_patches_lie_in_the_studys_plane(case, plane):
    study = replace(numbered(), plane=plane)
    stack = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    for one in drawn(study, case, 5, PLAIN, count=5):
        index = places(one["input"][0])
        assert [len(np.unique(axis)) for axis in index] == [1 if axis == stack else 5 for axis in range(3)]


@pytest.fixture
def three_roles():
    study = Study({"mr": MR, "ct": CT}, {"pet": PET, "mr2": MR}, neighbours=0)
    random = np.random.default_rng(0)
    body = np.zeros(SHAPE, bool)
    body[3:21, 3:17] = True
    inside = {"mr": (200, 900), "ct": (-200, 900), "pet": (1, 9), "mr2": (200, 900)}
    air = {"mr": 0, "ct": -1000, "pet": 0, "mr2": 0}
    volumes = {role: np.where(body, random.integers(*inside[role], SHAPE), air[role]).astype(np.int16) for role in air}
    return study, Case("S", "train", volumes, dict.fromkeys(air, 1.0), np.ones(SHAPE, bool), body, np.eye(4))


def test_contrast_changes_inputs_without_unit_and_nothing_else(three_roles):
    study, case = three_roles
    steady = drawn(study, case, 10, replace(ALL, contrast=0), count=10)
    shaken = drawn(study, case, 10, replace(ALL, contrast=0.3), count=10)
    for before, after in zip(steady, shaken, strict=True):
        assert np.abs(before["input"][0] - after["input"][0]).max() > 0.01
        assert np.array_equal(before["input"][1], after["input"][1])
        assert np.array_equal(before["target"], after["target"])
        assert np.array_equal(before["weight"], after["weight"])


def test_contrast_keeps_air_black_and_the_order_of_brightness(three_roles):
    study, case = three_roles
    for one in drawn(study, case, 20, replace(ALL, contrast=0.5), count=10):
        mr, ct = one["input"]
        assert (mr[ct < -0.98] == -1).all()
        assert np.abs(mr).max() <= 1
    before, after = (drawn(study, case, 20, replace(PLAIN, contrast=c), count=1)[0]["input"][0] for c in (0, 0.5))
    assert (np.diff(after.ravel()[np.argsort(before.ravel(), kind="stable")]) >= -1e-6).all()


def test_values_reach_the_network_through_the_domains_window(three_roles):
    study, case = three_roles
    (one,) = drawn(study, case, 40, PLAIN, count=1)
    shown = one["input"][1][8:32, 10:30]
    hu = (shown + 1) / 2 * (3071 + 1024) - 1024
    assert any(np.abs(hu - case.volumes["ct"][:, :, k]).max() < 0.01 for k in range(SHAPE[2]))


def test_noise_is_multiplied_by_a_factor_that_is_as_likely_to_halve_as_to_double_it(case):
    study = replace(Study({"second": NUMBER}, {"there": NUMBER}, neighbours=1), strength=1.0)
    noisy = replace(PLAIN, noise=(0.5, 2.0))
    factors = []
    for plain, drawn_anew in zip(drawn(study, case, 6, PLAIN), drawn(study, case, 6, noisy), strict=True):
        assert np.array_equal(plain["target"], drawn_anew["target"])
        more = (drawn_anew["input"] - plain["input"])[:, plain["weight"][0] > 0]
        factors.append(1 + more / (2 * SECOND / 32767))
    # Its neighbouring slices are as noisy; what is said of no target to be better stays as it is.
    assert np.allclose([np.ptp(factor) for factor in factors], 0, atol=1e-4)
    middle = [factor.mean() for factor in factors]
    assert 0.5 <= min(middle) < 0.6 and 1.7 < max(middle) <= 2
    assert np.mean(np.log2(middle)) == pytest.approx(0, abs=0.15)
    same = (drawn(replace(study, strength=None), case, 6, one, 1)[0]["input"] for one in (PLAIN, noisy))
    assert np.array_equal(*same)


def test_recorrupted_input_and_target_share_nothing_but_the_image(case):
    number = {"second": NUMBER}, {"there": NUMBER}
    further = np.random.default_rng(0).integers(-400, 400, SHAPE).astype(np.int16)
    full = case.volumes["there"] + SECOND
    volumes = {"second": full + 1000, "there": full, "again": full + further}
    case = replace(case, volumes=volumes, slopes=dict.fromkeys(volumes, 1.0), body=np.ones(SHAPE, bool))
    study = replace(Study(*number, neighbours=1, guides={"again": NUMBER}), strength=1.0)
    assert study.again == "again"
    wild = replace(PLAIN, noise=(0.5, 2.0), recorrupted=(0.5, 1.0))
    apart, factors = [], []
    tame = replace(wild, recorrupted=None)
    for noisy, wilder in zip(*(drawn(study, case, 6, one) for one in (tame, wild)), strict=True):
        seen = noisy["weight"][0] > 0
        # In the network's range: the guide is drawn as it is, of the middle slice.
        z = (noisy["guide"] - noisy["target"])[0, seen]
        to_input, to_target = ((wilder[name] - noisy[name])[..., seen] for name in ("input", "target"))
        factor = float(np.median(to_input[1] / z))
        assert np.allclose(to_input[1], factor * z, atol=1e-5)
        assert np.allclose(to_target[0], -z / factor, atol=1e-5)
        # Neighbouring slices get their own part of the further noise; at the end of the stack there is none.
        apart.append(not np.allclose(to_input[0], to_input[1], atol=1e-3))
        factors.append(factor)
    assert sum(apart) > len(apart) / 2
    assert 0.5 <= min(factors) < 0.6 and 0.9 < max(factors) <= 1
    # Nothing is added where nothing is improved, or where there is no such guide.
    for other in (replace(study, strength=None), replace(study, guides={})):
        for name in ("input", "target"):
            assert np.array_equal(*(drawn(other, case, 6, one, 1)[0][name] for one in (tame, wild)))


def test_every_subject_is_drawn_as_often_as_any_other(case):
    small = replace(case, body=np.zeros(SHAPE, bool))
    small.body[12, 10, 3] = True
    pool = Pool(numbered(), [case, replace(small, volumes={**case.volumes, "there": 0 * case.volumes["there"]})])
    feed = Feed(1, Pair((4, 4), PLAIN))
    draws = [feed.draw(pool, (1,), number, 0)["target"] for number in range(200)]
    assert 70 < sum(bool((target == -1).all()) for target in draws) < 130


def test_a_pool_without_subjects_or_agreement_is_refused(case):
    with pytest.raises(CohortError, match="train"):
        Pool(numbered(), [])
    with pytest.raises(CohortError, match="subject S"):
        Pool(numbered(), [replace(case, valid=np.zeros(SHAPE, bool))])


def test_a_narrowed_patch_shows_a_part_of_what_it_would_have_shown(case):
    feed, pool = Feed(1, Pair((8, 8), PLAIN)), Pool(numbered(), [case])
    narrow = Feed(1, Pair((8, 8), replace(PLAIN, narrowed=1.0)))
    smaller = 0
    for number in range(20):
        whole, part = feed.draw(pool, (0,), number, 0), narrow.draw(pool, (0,), number, 0)
        shown = part["input"] != -1
        rows, columns = (np.flatnonzero(shown[0].any(axis=axis)) for axis in (1, 0))
        assert min(len(rows), len(columns)) >= 3
        assert shown[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert np.array_equal(part["input"][shown], whole["input"][shown])
        assert np.array_equal(part["target"], whole["target"])
        assert np.array_equal(part["weight"], np.where(shown, whole["weight"], 0))
        smaller += not shown.all()
    assert smaller > 10


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_warped_patch_is_another_one_of_the_same_place_and_stays_aligned(case, dimensions):
    study = numbered(dimensions)
    straight = drawn(study, case, 8, PLAIN)
    warped = drawn(study, case, 8, replace(PLAIN, warped=1.0))
    for before, after in zip(straight, warped, strict=True):
        assert np.array_equal(after["input"], after["target"])
        assert not np.array_equal(before["input"], after["input"])
        assert before["input"].min() <= after["input"].min() and after["input"].max() <= before["input"].max()


def test_a_warp_without_displacement_or_skew_moves_nothing(case):
    study = numbered(3)
    straight, warped = (drawn(study, case, 8, replace(PLAIN, warped=share, warp=1e-9, skew=0)) for share in (0, 1))
    for before, after in zip(straight, warped, strict=True):
        for name, patch in before.items():
            assert np.allclose(patch, after[name], atol=1e-5), name


def test_a_warp_moves_by_voxels_along_the_axis_that_it_names(case):
    """A ramp along each axis shows by how much it was moved: as much as was asked for, along all three."""
    study, moved = numbered(3), []
    for axis in range(3):
        ramp = np.broadcast_to(np.arange(SHAPE[axis]).reshape([-1 if a == axis else 1 for a in range(3)]), SHAPE)
        one = replace(case, volumes=dict.fromkeys(case.volumes, (1000 * ramp + 1).astype(np.int16)))
        straight, warped = (
            drawn(study, one, 4, replace(PLAIN, warped=share, warp=0.3, skew=0), 60) for share in (0, 1)
        )
        pairs = zip(straight, warped, strict=True)
        differences = [numbers(w["input"]) - numbers(s["input"]) for s, w in pairs]
        moved.append(np.std([d[:, 1:3, 1:3, 1:3] for d in differences]) / 1000)
    # Between the points at which it is drawn a displacement is smaller.
    assert all(0.1 < found < 0.3 for found in moved), moved
