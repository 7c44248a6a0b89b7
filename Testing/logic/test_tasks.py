"""What a card may declare beside one image in and one out: inputs, a finer grid, a strength, labels, noise."""

import itertools
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from toys import CARDS, SAMPLERS, TISSUES, save_toy

from MedGANLogic.__main__ import main
from MedGANLogic.bundle import BundleError, open_bundle
from MedGANLogic.catalogue import Card, read
from MedGANLogic.chance import ChanceError
from MedGANLogic.check import RefusedError
from MedGANLogic.degradation import LIKE, way_like
from MedGANLogic.domain import CT
from MedGANLogic.images import Image, ImageError, Orientation, write
from MedGANLogic.images import read as read_image
from MedGANLogic.inference import translate as translation
from MedGANLogic.inference.predict import predict
from MedGANLogic.inference.translate import Request, sample, sample_file, translate, translate_file


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


@pytest.fixture
def tissues(beside):
    """Labels of the same egg, some of them in the air around it."""
    voxels = np.where(beside.voxels > 500, 7, np.where(beside.voxels > 0, 1, 0)).astype(np.int16)
    voxels[:, 2:5, 2:5, 2:13] = 7
    return Image(voxels, beside.affine, "label")


def shown_of(monkeypatch, bundle, images):
    """Return the volumes that a model's networks are shown, and its translation."""
    seen = {}

    def spied(passes, networks, volumes, *more):
        seen.update(volumes)
        return predict(passes, networks, volumes, *more)

    monkeypatch.setattr(translation, "predict", spied)
    return seen, translate(bundle, images, "cpu", force=True)


def test_labels_go_in_one_by_one_as_they_are_and_nowhere_between(toy, mr, beside, tissues, monkeypatch):
    ct = beside.on_grid(mr.grid, -1000.0)
    seen, done = shown_of(monkeypatch, toy("guided"), {"ct": ct, "tumour": tissues})
    assert list(seen) == ["ct", "tumour: fat", "tumour: bone"]
    # Where each voxel's centre lies in the label map, by hand.
    places = np.linalg.inv(tissues.affine) @ mr.affine @ np.vstack(
        [np.indices(mr.grid.shape).reshape(3, -1), np.ones(mr.voxels.size)]
    )  # fmt: skip
    nearest = np.rint(places[:3]).astype(int)
    inside = np.all((nearest >= 0) & (nearest < np.reshape(tissues.grid.shape, (3, 1))), axis=0)
    expected = np.zeros(mr.voxels.size, int)
    expected[inside] = tissues.voxels[0][tuple(nearest[:, inside])]
    order = Orientation.nearest(mr.affine)
    expected = np.moveaxis(order.apply(expected.reshape(mr.voxels.shape))[0], 2, 0)
    for name, value in (("tumour: fat", 1), ("tumour: bone", 7)):
        assert set(np.unique(seen[name])) == {-1, 1}
        # Centres that lie between two voxels may go either way.
        assert np.mean((seen[name] > 0) != (expected == value)) < 0.01
    # In the air of the CT is a label as well: it has no body that would cut it off.
    assert ((seen["tumour: bone"] > 0) & (seen["ct"] < -0.95)).any()
    assert done.image.grid.matches(mr.grid)


def test_labels_that_are_not_given_are_background_and_that_is_said(toy, mr, beside, tissues, monkeypatch):
    ct = beside.on_grid(mr.grid, -1000.0)
    seen, without = shown_of(monkeypatch, toy("guided"), ct)
    assert all((volume == -1).all() for name, volume in seen.items() if name != "ct")
    found = without.provenance["findings"]
    assert [one["text"] for one in found if one["level"] == "warning" and one["text"].startswith("tumour: ")] == [
        "tumour: no labels are given: taken as background everywhere"
    ]
    empty = replace(tissues, voxels=0 * tissues.voxels)
    same = translate(toy("guided"), {"ct": ct, "tumour": empty}, "cpu", force=True)
    assert np.array_equal(same.image.voxels, without.image.voxels)
    there = translate(toy("guided"), {"ct": ct, "tumour": tissues}, "cpu", force=True)
    assert np.abs(there.image.voxels - without.image.voxels).max() > 0.1
    assert not [one for one in there.provenance["findings"] if one["text"].startswith("tumour: ")]


def test_labels_alone_are_no_image(toy, tissues):
    with pytest.raises(ImageError, match="reads ct, tumour: found tumour"):
        translate(toy("guided"), {"tumour": tissues}, "cpu", force=True)


def test_the_command_line_takes_labels_or_does_without(toy, mr, beside, tissues, tmp_path, capsys):
    files = {role: tmp_path / f"{role}.nii" for role in ("ct", "tumour")}
    write(beside, files["ct"])
    write(tissues, files["tumour"])
    ours = ["--model", str(toy("guided").model.folder)]
    assert main(["check", *ours, str(files["ct"])]) in (0, 2)
    assert "warning: tumour: no labels are given" in capsys.readouterr().out
    for more, warns in ((["--input", "tumour", str(files["tumour"])], False), ([], True)):
        output = tmp_path / f"pet-{warns}.nii"
        assert main(["translate", *ours, *more, "--force", str(files["ct"]), str(output)]) == 0
        assert ("no labels are given" in capsys.readouterr().err) == warns
    pets = [read_image(tmp_path / f"pet-{warns}.nii", "SUV").voxels for warns in (True, False)]
    assert np.abs(pets[0] - pets[1]).max() > 0.1


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_finer_result_fills_the_same_box_with_more_voxels_along_each_axis(axes, toy, mr):
    given = Image(np.transpose(mr.voxels, (0, *(a + 1 for a in axes))), mr.affine[:, [*axes, 3]], "none")
    found = translate(toy("finer"), given, "cpu", force=True).image.grid
    # Along R, A and S the toy's grid is 1, 2 and 3 times finer, in whichever order the file has them.
    assert found.shape == tuple(n * (1, 2, 3)[axis] for n, axis in zip(given.grid.shape, axes, strict=True))
    assert np.allclose(found.extent_mm, given.grid.extent_mm)
    corners = [grid.affine @ [-0.5, -0.5, -0.5, 1] for grid in (found, given.grid)]
    assert np.allclose(*corners)


ORDERS = [
    Orientation(axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([False, True], repeat=3)
]


def box(grid):
    """Return the lowest and the highest coordinate that the voxels of a grid fill, in RAS millimetres."""
    corners = itertools.product(*((-0.5, length - 0.5) for length in grid.shape))
    places = np.array([grid.affine @ [*corner, 1] for corner in corners])
    return np.array([places.min(axis=0), places.max(axis=0)])


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_magnified_result_fills_the_same_box_in_every_order_of_the_axes(order, toy, mr):
    small = Image(mr.voxels[:, 8:24, 10:26, 5:8], mr.affine, "none")
    expected = translate(toy("magnify"), small, "cpu", force=True).image.with_orientation(order)
    given = small.with_orientation(order)
    found = translate(toy("magnify"), given, "cpu", force=True).image
    # Across the slices, axial by the toy's card, nothing is magnified.
    assert found.grid.shape == tuple(n * (2, 2, 1)[axis] for n, axis in zip(given.grid.shape, order.axes, strict=True))
    assert found.grid.matches(expected.grid, tolerance_mm=0.01)
    assert np.abs(box(found.grid) - box(given.grid)).max() < 0.01
    assert np.allclose(found.voxels, expected.voxels, atol=0.01)


@pytest.mark.parametrize("like", LIKE)
@pytest.mark.parametrize("order", ORDERS[::7], ids=str)
def test_a_finer_image_that_is_held_to_a_scanner_is_what_it_would_see_as_the_input(like, order, toy, mr):
    given = Image(mr.voxels[:, 8:24, 10:26, 5:8], mr.affine, "none").with_orientation(order)
    way = way_like(like, (2, 2, 1))
    free, held = (translate(toy("magnify"), given, "cpu", force=True, held_to=of) for of in (None, way))
    assert held.image.grid.matches(free.image.grid)
    seen = [way.of_image(done.image, 3, "axial").voxels for done in (free, held)]
    free_off, held_off = (np.abs(one - given.voxels).max() / np.ptp(given.voxels) for one in seen)
    # What a wide profile has all but taken away is not brought back.
    assert held_off < (0.02 if like == "profile" else 1e-4) < free_off
    assert (free.provenance["held_to"], held.provenance["held_to"]) == (None, str(way))


def test_a_voxel_that_is_no_number_holds_nothing(toy, mr):
    voxels = mr.voxels[:, 8:24, 10:26, 5:8].copy()
    voxels[0, 4, 4, 1] = np.nan
    given, way = Image(voxels, mr.affine, "none"), way_like("k-space", (2, 2, 1))
    held = translate(toy("magnify"), given, "cpu", force=True, held_to=way).image
    assert np.isfinite(held.voxels).all()


@pytest.mark.parametrize(("task", "by"), [("magnify", (2, 2, 2)), ("magnify", (4, 4, 1)), ("translate", (2, 2, 1))])
def test_a_scanner_of_another_grid_is_refused_before_any_work(task, by, toy, mr):
    with pytest.raises(ImageError, match=r"times finer .* cannot be held to KSpaceCropped"):
        translate(toy(task), mr, "cpu", force=True, held_to=way_like("k-space", by))


def test_what_becomes_of_another_unit_is_held_to_no_scanner(toy, mr):
    magnify = toy("magnify")
    card = replace(magnify.card, targets={"fine": CT})
    bundle = replace(magnify, model=replace(magnify.model, card=card))
    with pytest.raises(ImageError, match="of another unit"):
        translate(bundle, mr, "cpu", force=True, held_to=way_like("box", (2, 2, 1)))


class Enlarged(torch.nn.Module):
    """Shows every voxel of a slice four times: what is made lies where it was seen."""

    def forward(self, image):
        return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


def places(grid):
    """Return where every voxel lies, (3, I, J, K), in RAS millimetres."""
    return np.einsum("wv,vijk->wijk", grid.affine[:3, :3], np.indices(grid.shape)) + grid.affine[:3, 3].reshape(
        3, 1, 1, 1
    )


@pytest.mark.parametrize("spacing_mm", [None, (3.0, 3.0, 3.0)], ids=["native", "resampled"])
@pytest.mark.parametrize("order", ORDERS[::5], ids=str)
def test_magnified_voxels_stay_at_their_physical_place(order, spacing_mm, toy, mr, monkeypatch):
    """Every voxel of the image says where it is: 5 HU a millimetre."""
    monkeypatch.setattr("MedGANLogic.inference.predict.footprint", lambda *_: 100.0)
    magnify = toy("magnify")
    card = replace(magnify.card, spacing_mm=spacing_mm, inputs={"mr": CT}, targets={"fine": CT})
    bundle = replace(magnify, model=replace(magnify.model, card=card), networks={"generator": Enlarged()})
    grid = order.apply_to_grid(mr.grid)
    for world in range(3):
        given = Image(5 * places(grid)[world][None].astype(np.float32), grid.affine, "HU")
        found = translate(bundle, given, "cpu", force=True).image
        inner = tuple(slice(length // 4, -(length // 4)) for length in found.grid.shape)
        moved_mm = found.voxels[0][inner] / 5 - places(found.grid)[world][inner]
        # A voxel shown four times is nowhere off by more than half of its diagonal, and on the whole not at all.
        assert abs(moved_mm.mean()) < 0.01 and np.abs(moved_mm).max() < 2


@pytest.mark.parametrize("task", ["magnify", "margin", "blend", "two-targets"])
@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_result_lies_on_its_promised_grid_whatever_the_steps(task, plane, toy, mr):
    bundle = toy(task)
    finer = {"axial": (2, 2, 1), "coronal": (2, 1, 2)}[plane] if task == "magnify" else (1, 1, 1)
    card = replace(bundle.card, plane=plane, finer=finer, spacing_mm=(2.5, 2.5, 2.5))
    done = translate(replace(bundle, model=replace(bundle.model, card=card)), mr, "cpu", force=True)
    for result in (done, *done.further.values()):
        assert result.image.grid.matches(mr.grid.finer(finer), tolerance_mm=0.01)
        assert np.isfinite(result.image.voxels).all() and len(np.unique(result.image.voxels)) > 1


def test_margin_is_shown_and_not_lost(toy, mr):
    """A network without zeros at its edge answers alike whether a voxel lies at a window's edge or inside."""
    plenty = translate(toy("margin"), mr, "cpu").image.voxels
    dark = np.pad(mr.voxels, [(0, 0), (12, 12), (12, 12), (0, 0)])
    affine = mr.affine.copy()
    affine[:3, 3] -= mr.affine[:3, :3] @ [12, 12, 0]
    wider = translate(toy("margin"), replace(mr, voxels=dark, affine=affine), "cpu", force=True).image.voxels
    inside = np.s_[:, 12:-12, 12:-12]
    # The published network pads its small convolutions: only their reach from the window's edge may differ.
    assert np.abs(wider[inside] - plenty)[:, 8:-8, 8:-8].max() < 0.01 * np.ptp(plenty)


def test_blend_chooses_between_what_both_networks_make(toy, mr):
    blend = toy("blend")
    done = translate(blend, mr, "cpu")

    def alone(number):
        card = replace(blend.card, passes=(replace(blend.card.passes[number], writes=("ct",)),))
        return translate(replace(blend, model=replace(blend.model, card=card)), mr, "cpu").image.voxels

    soft, hard = alone(0), alone(1)
    is_soft = CT.window.scale(soft).to_network(soft) > 0
    assert 0 < is_soft.mean() < 1
    assert not np.allclose(soft, hard, atol=1)
    assert np.allclose(done.image.voxels, np.where(is_soft, soft, hard), atol=0.01)
    assert done.provenance["passes"][-1] == "chosen of soft, hard"


def test_several_targets_are_each_in_their_own_unit_and_say_which_they_are(toy, mr):
    done = translate(toy("two-targets"), mr, "cpu")
    (tissues,) = done.further.values()
    assert (done.image.unit, tissues.image.unit) == ("HU", "label")
    assert done.image.grid.matches(mr.grid) and tissues.image.grid.matches(mr.grid)
    assert set(np.unique(tissues.image.voxels)) <= {0, 1, 7} and len(np.unique(tissues.image.voxels)) > 1
    assert (done.provenance["target"], tissues.provenance["target"]) == ("ct", "tissues")
    assert "SYNTHETIC SEG" in tissues.image.facts["notes"]


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


def test_what_is_improved_keeps_what_the_network_does_not_see(toy, ct):
    def improved(voxels):
        return translate(toy("denoise"), replace(ct, voxels=voxels), "cpu", strength=1.0).image.voxels

    table, metal = ct.voxels.copy(), ct.voxels.copy()
    table[:, 0, 0] = -300
    metal[:, 16, 16] = 9000
    clipped = np.clip(metal, None, CT.window.high)
    assert np.allclose(improved(table) - improved(ct.voxels), table - ct.voxels, atol=0.01)
    assert np.allclose(improved(metal) - improved(clipped), metal - clipped, atol=0.01)


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


def drawn(toy, count=1, **choices):
    return sample(toy("draw"), 3, count, choices, "cpu")


def test_vectors_become_slices_of_one_volume(toy):
    (done,) = drawn(toy, 4)
    assert done.image.grid.shape == (16, 16, 4) and done.provenance["drawn"] == [0, 1, 2, 3]
    first, *others = np.moveaxis(done.image.voxels[0], 2, 0)
    assert all(np.abs(first - other).max() > 10 for other in others)
    (fewer,) = drawn(toy, 2)
    assert np.allclose(fewer.image.voxels, done.image.voxels[..., :2], atol=1e-2), "the n-th is the n-th"


def test_volumes_stand_by_themselves(toy):
    three = sample(toy("sample"), 3, 3, device="cpu")
    assert [done.provenance["drawn"] for done in three] == [[0], [1], [2]]
    assert all(done.image.grid.shape == (16, 12, 6) for done in three)
    assert np.abs(three[0].image.voxels - three[1].image.voxels).max() > 10


def test_what_is_chosen_is_drawn_and_the_rest_stays(toy):
    head, thigh, older = (
        drawn(toy, **chosen)[0].image.voxels
        for chosen in ({"class": "head"}, {"class": "thigh"}, {"class": "head", "age": "90"})
    )
    assert np.abs(head - thigh).max() > 10 and np.abs(head - older).max() > 1
    (left,) = drawn(toy)
    assert min(np.abs(left.image.voxels - of).max() for of in (head, thigh)) < 0.01


@pytest.mark.parametrize(
    "chosen", [{"class": "foot"}, {"age": "19"}, {"age": "old"}, {"code0": "2"}, {"colour": "red"}]
)
def test_what_is_not_offered_is_refused(chosen, toy):
    with pytest.raises(ChanceError, match=next(iter(chosen))):
        drawn(toy, **chosen)


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


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_every_target_becomes_a_file_with_its_own_account(toy, mr_file, out, capsys):
    command = ["translate", "--model", str(toy("two-targets").model.folder), str(mr_file), str(out / "ct.nii.gz")]
    command += ["--device", "cpu", "--events", str(out / "events")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert f"{out / 'ct.nii.gz'}: 40×36×14 voxels in HU" in printed
    assert f"{out / 'ct-tissues.nii.gz'}: 40×36×14 voxels, " in printed
    accounts = [json.loads((out / f"{name}.nii.gz.medgan.json").read_text()) for name in ("ct", "ct-tissues")]
    assert [account["target"] for account in accounts] == ["ct", "tissues"]
    assert accounts[0]["further"] == [accounts[1]]
    result = json.loads((out / "events").read_text().splitlines()[-1])
    assert result["provenance"] == accounts[0]
    assert main([*command, "--json"]) == 0, "done before, and said again"
    assert json.loads(capsys.readouterr().out) == accounts[0]
    (out / "ct-tissues.nii.gz").unlink()
    assert main(command) == 0 and (out / "ct-tissues.nii.gz").exists(), "what is not all there is made again"


@pytest.mark.parametrize("make", ["translate", "sample"])
def test_no_work_begins_where_one_of_several_files_cannot_be_written(make, toy, mr_file, out):
    (out / "ct-tissues.nrrd").mkdir()
    (out / "ct-1.nrrd").mkdir()
    run = partial(translate_file, toy("two-targets"), str(mr_file))
    if make == "sample":
        run = partial(sample_file, toy("sample"), seed=0, count=2)
    told = []
    with pytest.raises(ImageError, match="is a folder"):
        run(output_path=str(out / "ct.nrrd"), progress=lambda *step: told.append(step))
    assert not told and names_in(out) == ["ct-1.nrrd", "ct-tissues.nrrd"]


def test_first_file_stands_only_where_all_do(toy, mr_file, out, monkeypatch):
    whole = translation.write

    def full(image, path):
        if "tissues" not in path.name:
            raise OSError(28, "No space left on device")
        whole(image, path)

    monkeypatch.setattr(translation, "write", full)
    with pytest.raises(ImageError, match=r"ct\.nrrd could not be written"):
        translate_file(toy("two-targets"), Request(str(mr_file)), str(out / "ct.nrrd"), "cpu")
    assert names_in(out) == ["ct-tissues.nrrd", "ct-tissues.nrrd.medgan.json"]


def test_role_that_leads_elsewhere_is_refused(toy, mr_file, out):
    bundle = toy("two-targets")
    targets = {"ct": bundle.card.targets["ct"], "../x": bundle.card.targets["tissues"]}
    bundle = replace(bundle, model=replace(bundle.model, card=replace(bundle.card, targets=targets)))
    with pytest.raises(ImageError, match="no part of a file's name"):
        translate_file(bundle, Request(str(mr_file)), str(out / "ct.nrrd"), "cpu")


@pytest.mark.parametrize(("task", "written"), [("draw", ["a.nii"]), ("sample", ["a-1.nii", "a-2.nii", "a.nii"])])
def test_command_line_draws_as_many_as_are_asked_for(task, written, toy, out, capsys):
    model = str(toy(task).model.folder)
    assert main(["sample", "--model", model, "--n", "3", "--seed", "5", "--device", "cpu", str(out / "a.nii")]) == 0
    assert [name for name in names_in(out) if not name.endswith("json")] == written
    assert capsys.readouterr().out.count("voxels in HU") == len(written)
    last = json.loads((out / f"{written[0]}.medgan.json").read_text())
    assert last["drawn"] == ([0, 1, 2] if task == "draw" else [1]) and last["seed"] == 5


def test_command_line_takes_choices_and_says_which_there_are(toy, out, capsys):
    command = ["sample", "--model", str(toy("draw").model.folder), "--device", "cpu", str(out / "a.nii")]
    assert main([*command, "--set", "class", "head", "--set", "code0", "-0.5"]) == 0
    said = json.loads((out / "a.nii.medgan.json").read_text())
    assert said["choices"] == {"class": "head", "code0": "-0.5"}
    assert main([*command, "--set", "colour", "red"]) == 2
    assert "class: head, thigh; age: 20 to 90; code0: -1 to 1" in capsys.readouterr().err


def test_every_input_of_a_model_is_checked(toy, mr_file, beside, tmp_path, capsys):
    write(replace(beside, voxels=0 * beside.voxels), tmp_path / "ct.nii.gz")
    command = ["check", "--model", str(toy("two-inputs").model.folder), str(mr_file)]
    assert main(command) == 0
    assert main([*command, "--input", "ct", str(tmp_path / "ct.nii.gz")]) == 2
    assert "error: ct: every voxel has the value 0" in capsys.readouterr().out
    assert main([*command, "--input", "pet", str(mr_file)]) == 2
    assert "reads mr, ct: found pet" in capsys.readouterr().err


@pytest.mark.parametrize("task", SAMPLERS)
def test_model_without_input_checks_nothing(task, toy, mr_file, capsys):
    assert main(["check", "--model", str(toy(task).model.folder), str(mr_file)]) == 2
    assert "reads no image" in capsys.readouterr().err
