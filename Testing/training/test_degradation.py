"""What poorer scanners make of a volume: where it lies, its mean, what is left of it; and studies that say so."""

from dataclasses import replace

import numpy as np
import pytest
from bundled import bundled

from MedGANLogic import recipes
from MedGANLogic.__main__ import main
from MedGANLogic.catalogue import BundleError, Card
from MedGANLogic.degradation import Averaged, Consistent, KSpaceCropped, Made, Mixed, SliceProfile, ZeroFilled
from MedGANLogic.domain import MR
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.images import Image, Orientation, read, write
from MedGANLogic.inference.translate import translate
from MedGANLogic.passes import Step, slices_first
from MedGANLogic.recipe import build
from MedGANLogic.study import SUPER_RESOLUTION, Study, StudyError

WAYS = (Averaged, KSpaceCropped, SliceProfile)
PLAIN = Augmentation(mirrored=False, quarter_turns=False, contrast=0)
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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", [2, (4, 1, 2)], ids=str)
def test_what_is_undone_gives_the_same_again_and_is_the_least_that_does(way, by):
    fine = np.random.default_rng(0).normal(300, 40, (24, 32, 20)).astype(np.float32)
    scanner = way("fine", by)
    coarse = scanner.apply(fine, 3)
    undone = scanner.undo(coarse, 3)
    assert np.allclose(scanner.apply(undone, 3), coarse, atol=0.01)
    # What is left over is at right angles to it: nothing smaller gives the same.
    assert np.sum((fine - undone) * undone, dtype=np.float64) == pytest.approx(0, abs=1e-4 * float(np.sum(fine**2)))


def test_undone_boxes_repeat_their_mean_and_cropped_k_space_is_filled_with_zeros():
    coarse = np.random.default_rng(0).normal(0, 1, (4, 8, 6)).astype(np.float32)
    assert np.allclose(Averaged("fine", 2).undo(coarse, 2), np.kron(coarse, np.ones((1, 2, 2))), atol=1e-5)
    line = np.cos(np.pi * 5 * (np.arange(8) + 0.5) / 8)[None, None].astype(np.float32)
    expected = np.cos(np.pi * 5 * (np.arange(16) + 0.5) / 16)
    assert np.allclose(KSpaceCropped("fine", (1, 1, 2)).undo(line, 3)[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("way", [*WAYS, ZeroFilled])
def test_an_estimate_is_brought_to_agree_with_its_input_and_moved_no_further_than_needed(way):
    random = np.random.default_rng(0)
    estimate, other = random.normal(0, 0.5, (2, 3, 16, 24)).astype(np.float32)
    step = Consistent(("estimate", "mr"), ("fine",), way("fine", 2), 2)
    given = step.way.apply(other, 2)
    (made,) = step.blended({"estimate": estimate, "mr": given})
    assert np.allclose(step.way.apply(made, 2), given, atol=1e-4)
    assert np.allclose(step.blended({"estimate": made, "mr": given})[0], made, atol=1e-4)
    assert Step.from_json(step.to_json()) == step


def held_model(toy_study, way, folder, dimensions=2):
    study = replace(toy_study(dimensions, 0, example=SUPER_RESOLUTION), made={"mr": way})
    study = replace(study, consistent=way, strength=1.0)
    recipe = build(recipes.load("residual-sr"), study)
    for network in recipe.networks.values():
        list(network.parameters())[-1].data += 0.3
    return study, bundled(recipe, recipe.networks, study, folder)


@pytest.mark.parametrize("way", [KSpaceCropped("fine", 2), SliceProfile("fine", 2), Averaged("fine", (1, 2, 4))])
def test_a_model_that_is_held_to_its_input_gives_it_back_within_a_per_cent(way, toy_study, toy_case, tmp_path):
    study, bundle = held_model(toy_study, way, tmp_path)
    assert [type(one).__name__ for one in bundle.card.passes] == ["Pass", "Consistent"]
    assert Study.from_json(study.to_json()) == study
    given = way.of_image(toy_case("T", "test", 9).image("mr", MR), 2, "axial")
    made = translate(bundle, given, device="cpu", force=True).image
    again = way.of_image(made, 2, "axial")
    assert again.grid.matches(given.grid)
    inside = given.voxels > 200
    off = (again.voxels - given.voxels)[inside]
    assert np.sqrt((off**2).mean()) < 0.01 * np.ptp(given.voxels[inside])


def test_a_study_is_held_only_to_what_its_input_might_be_made_by():
    for held in (KSpaceCropped("fine", 2), KSpaceCropped("mr", 4)):
        with pytest.raises(StudyError, match="expected a way in which the first input, mr, might be made"):
            replace(SUPER_RESOLUTION, consistent=held)


def test_a_card_whose_passes_magnify_otherwise_than_it_says_is_refused(toy_study, tmp_path):
    _, bundle = held_model(toy_study, Averaged("fine", 2), tmp_path)
    with pytest.raises(BundleError, match=r"a pass is \[1, 2, 2\] times finer, slices first, and the card says"):
        Card.from_json(replace(bundle.card, finer=(2, 2, 2)).to_json())


AFFINE = np.array([[0, -0.9, 0.3, 4.0], [0, -0.3, -0.9, 70.0], [-3.0, 0, 0, 12.0], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (-3.0, 0.9, 0.9)


@pytest.mark.parametrize("way", ["box", "k-space", "profile"])
def test_a_coarser_file_lies_where_the_fine_one_does(way, tmp_path):
    # Axes in another order, one flipped, oblique: 40 thin slices become 10 thick ones.
    shape = (13, 42, 37)
    fine = Image(100 * blob(shape, (6.4, 21.7, 17.2), 3.0)[None], AFFINE, "none")
    write(fine, tmp_path / "fine.nii.gz")
    arguments = ["--by", "2", "3", "1", "--like", way]
    assert (
        main(["simulate", "coarser", str(tmp_path / "fine.nii.gz"), str(tmp_path / "coarse.nii.gz"), *arguments]) == 0
    )
    coarse = read(tmp_path / "coarse.nii.gz", "none")
    order = Orientation.nearest(AFFINE).axes
    by = dict(zip(order, (2, 3, 1), strict=True))
    assert coarse.grid.shape == tuple(length // by[axis] for axis, length in enumerate(shape))
    assert np.allclose(coarse.grid.spacing_mm, [fine.grid.spacing_mm[axis] * by[axis] for axis in range(3)], atol=1e-4)
    assert np.allclose(centre_mm(coarse), centre_mm(fine), atol=0.02)


def centre_mm(image):
    weight = image.voxels[0].astype(float)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in weight.shape), indexing="ij"), -1)
    return image.affine[:3, :3] @ ((places * weight[..., None]).sum((0, 1, 2)) / weight.sum()) + image.affine[:3, 3]


@pytest.mark.parametrize(("by", "reason"), [(["2", "2"], "--by has 2 numbers"), (["1"], "expected 2 to 16")])
def test_factors_without_sense_are_refused_on_the_command_line(by, reason, tmp_path, capsys):
    write(Image(np.ones((1, 8, 8, 8), np.float32), np.eye(4), "none"), tmp_path / "fine.nii")
    assert main(["simulate", "coarser", str(tmp_path / "fine.nii"), str(tmp_path / "coarse.nii"), "--by", *by]) == 2
    assert reason in capsys.readouterr().err
