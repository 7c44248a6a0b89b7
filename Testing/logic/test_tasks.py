"""What a card may declare beside one image in and one out: inputs, a finer grid, a strength, labels, noise."""

import json
from dataclasses import replace

import numpy as np
import pytest
from toys import CARDS, TISSUES, save_toy

from MedGANLogic.__main__ import main
from MedGANLogic.bundle import BundleError, open_bundle
from MedGANLogic.catalogue import Card, read
from MedGANLogic.check import RefusedError
from MedGANLogic.images import Image, ImageError, write
from MedGANLogic.images import read as read_image
from MedGANLogic.inference.translate import sample, translate


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Return a task's toy model, opened."""
    folder = tmp_path_factory.mktemp("toys")
    opened = {task: open_bundle(read(save_toy(task, folder))) for task in CARDS}
    return opened.__getitem__


@pytest.fixture
def beside(mr):
    """A CT of the same egg, on a coarser grid turned against the MR's."""
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]) * [4.0, 3.0, 4.0]
    affine = np.eye(4)
    affine[:3, :3] = turn
    affine[:3, 3] = (mr.affine @ [20, 18, 7, 1])[:3] - turn @ [12, 15, 7]
    voxels = np.full((1, 25, 31, 15), -1000.0, np.float32)
    voxels[:, 6:19, 8:24, 2:13] = 40.0
    voxels[:, 10:14, 13:17, 2:13] = 900.0
    return Image(voxels, affine, "HU")


@pytest.mark.parametrize("task", CARDS)
def test_a_card_is_read_as_it_was_written(task):
    card = CARDS[task]()
    assert Card.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_second_input_is_brought_onto_the_firsts_grid_wherever_it_lies(toy, mr, beside):
    done = translate(toy("two-inputs"), {"ct": beside, "mr": mr}, "cpu", force=True)
    assert done.image.grid.matches(mr.grid) and done.image.unit == "SUV"
    there = translate(toy("two-inputs"), {"mr": mr, "ct": beside.on_grid(mr.grid, -1000.0)}, "cpu", force=True).image
    assert np.allclose(done.image.voxels, there.voxels, atol=1e-3)
    elsewhere = replace(beside, voxels=np.where(beside.voxels > 500, 40.0, beside.voxels).astype(np.float32))
    boneless = translate(toy("two-inputs"), {"mr": mr, "ct": elsewhere}, "cpu", force=True).image
    assert np.abs(done.image.voxels - boneless.voxels).max() > 0.01, "the second input must be looked at"


def test_findings_say_which_input_is_meant(toy, mr, beside):
    with pytest.raises(RefusedError, match="ct: "):
        translate(toy("two-inputs"), {"mr": mr, "ct": replace(beside, voxels=0 * beside.voxels)}, "cpu")


def test_inputs_of_different_places_are_refused(toy, mr, beside):
    far = beside.affine.copy()
    far[0, 3] += 1000
    with pytest.raises(ImageError, match="different places"):
        translate(toy("two-inputs"), {"mr": mr, "ct": replace(beside, affine=far)}, "cpu", force=True)


@pytest.mark.parametrize("roles", [(), ("mr",), ("mr", "ct", "pet"), ("ct", "pet")])
def test_other_inputs_than_the_models_are_refused(roles, toy, mr):
    with pytest.raises(ImageError, match="reads mr, ct: found"):
        translate(toy("two-inputs"), dict.fromkeys(roles, mr), "cpu")


def test_lone_image_is_not_taken_for_two(toy, mr):
    with pytest.raises(ImageError, match="reads mr, ct: found mr"):
        translate(toy("two-inputs"), mr, "cpu")


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_finer_result_fills_the_same_box_with_more_voxels_along_each_axis(axes, toy, mr):
    given = Image(np.transpose(mr.voxels, (0, *(a + 1 for a in axes))), mr.affine[:, [*axes, 3]], "none")
    found = translate(toy("finer"), given, "cpu", force=True).image.grid
    # Along R, A and S the toy's grid is 1, 2 and 3 times finer, in whichever order the file has them.
    assert found.shape == tuple(n * (1, 2, 3)[axis] for n, axis in zip(given.grid.shape, axes, strict=True))
    assert np.allclose(found.extent_mm, given.grid.extent_mm)
    corners = [grid.affine @ [-0.5, -0.5, -0.5, 1] for grid in (found, given.grid)]
    assert np.allclose(*corners)


def test_what_has_no_unit_keeps_the_brightness_of_its_input(toy, mr):
    dim = translate(toy("finer"), mr, "cpu", force=True).image.voxels
    bright = translate(toy("finer"), replace(mr, voxels=mr.voxels * 4), "cpu", force=True).image.voxels
    assert np.allclose(bright, 4 * dim, rtol=1e-3, atol=0.5)
    assert not np.allclose(bright, dim)


def test_strength_is_the_share_of_the_change(toy, ct):
    def at(strength):
        return translate(toy("denoise"), ct, "cpu", strength=strength).image.voxels

    assert np.allclose(at(0.0), ct.voxels, atol=0.01)
    assert np.allclose(at(0.5), (at(0.0) + at(1.0)) / 2, atol=0.01)
    assert np.allclose(at(None), at(0.75)), "the card's own where none is asked for"
    assert np.abs(at(1.0) - ct.voxels).max() > 10
    assert translate(toy("denoise"), ct, "cpu", strength=0.5).provenance["strength"] == 0.5


@pytest.mark.parametrize(("task", "strength"), [("denoise", 1.5), ("denoise", -0.1), ("translate", 0.5)])
def test_strength_without_sense_is_refused(task, strength, toy, mr, ct):
    with pytest.raises(ImageError, match="strength"):
        translate(toy(task), ct if task == "denoise" else mr, "cpu", strength=strength)


def test_segmentation_holds_the_cards_labels_and_nothing_else(toy, mr):
    done = translate(toy("segment"), mr, "cpu")
    assert done.image.unit == "label" and done.image.voxels.dtype.kind == "i"
    assert done.image.grid.matches(mr.grid)
    assert set(np.unique(done.image.voxels)) <= {0, 1, 7} and len(np.unique(done.image.voxels)) > 1


def test_highest_score_wins():
    scores = np.array([[[0.1, 0.9, -1.0]], [[0.2, 0.3, -2.0]], [[0.0, 0.95, -3.0]]], np.float32)
    found = TISSUES.answer(scores, TISSUES.scale(scores))
    assert found.tolist() == [[[1, 7, 0]]]


def test_sample_is_a_function_of_its_seed(toy):
    first, again, other = (sample(toy("sample"), seed, device="cpu")[0].image for seed in (3, 3, 4))
    assert np.array_equal(first.voxels, again.voxels)
    assert not np.allclose(first.voxels, other.voxels)
    assert first.grid.shape == (16, 12, 6) and first.unit == "HU"
    assert np.allclose(first.affine @ [7.5, 5.5, 2.5, 1], [0, 0, 0, 1])


def test_model_with_input_draws_nothing_and_one_without_translates_nothing(toy, mr):
    with pytest.raises(ImageError, match="give it an image"):
        sample(toy("translate"), 0)
    with pytest.raises(ImageError, match="reads no image"):
        translate(toy("sample"), mr)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("finer", {"finer": [0, 1, 1]}),
        ("finer", {"finer": [2, 2]}),
        ("finer", {"finer": [2.5, 1, 1]}),
        ("denoise", {"strength": 2}),
        ("denoise", {"strength": "much"}),
        ("translate", {"strength": 0.5}),
        ("sample", {"chance": {}}),
        ("sample", {"chance": {"noise": {"kind": "Normal", "shape": [4, 0]}}}),
        ("sample", {"chance": {"noise": {"kind": "Normal", "shape": [1 << 20, 1 << 20]}}}),
        ("sample", {"chance": {"noise": {"kind": "Path", "shape": [4]}}}),
        ("translate", {"chance": {"mr": {"kind": "Normal", "shape": [4, 4, 4]}}}),
        ("segment", {"targets": {"other": CARDS["segment"]().to_json()["targets"]["tissues"]}}),
    ],
)
def test_card_that_declares_nonsense_is_refused(task, changes):
    with pytest.raises(BundleError):
        Card.from_json({**CARDS[task]().to_json(), **changes})


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [{"value": 0, "name": "background", "colour": [0, 0, 0]}],
        [{"value": 1, "name": "", "colour": [0, 0, 0]}],
        [{"value": 1, "name": "bone", "colour": [0, 0, 256]}],
        [{"value": 1, "name": "bone", "colour": [0, 0, 0]}, {"value": 1, "name": "fat", "colour": [9, 9, 9]}],
    ],
)
def test_labels_that_say_too_little_or_twice_are_refused(labels):
    card = CARDS["segment"]().to_json()
    card["targets"]["tissues"]["window"]["labels"] = labels
    with pytest.raises(BundleError):
        Card.from_json(card)


def test_command_line_takes_further_inputs_and_samples(tmp_path, mr, beside):
    write(mr, tmp_path / "mr.nii.gz")
    write(beside, tmp_path / "ct.nii.gz")
    two, drawing = save_toy("two-inputs", tmp_path), save_toy("sample", tmp_path)
    source, output = str(tmp_path / "mr.nii.gz"), tmp_path / "pet.nii.gz"
    command = ["translate", "--model", str(two), source, str(output), "--device", "cpu", "--force"]
    assert main([*command]) == 2 and not output.exists()
    assert main([*command, "--input", "pet", source]) == 2 and not output.exists()
    assert main([*command, "--input", "ct", str(tmp_path / "ct.nii.gz")]) == 0
    assert read_image(output, "SUV").grid.matches(mr.grid)
    drawn = tmp_path / "drawn.nrrd"
    assert main(["sample", "--model", str(drawing), str(drawn), "--seed", "5", "--device", "cpu"]) == 0
    assert json.loads(drawn.with_name("drawn.nrrd.medgan.json").read_text())["seed"] == 5
