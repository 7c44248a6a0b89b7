"""A translation from node to node by a real child process: what the panel's timer and a console's loop drive."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="real nodes need the slicer-core wheel")

import vtk  # noqa: E402
from toys import CARDS, save_toy  # noqa: E402

from MedGANLogic.bundle import open_bundle  # noqa: E402
from MedGANLogic.catalogue import read  # noqa: E402
from MedGANLogic.domain import CT, MR, Labels  # noqa: E402
from MedGANLogic.errors import MedGANError  # noqa: E402
from MedGANLogic.images import Image  # noqa: E402
from MedGANLogic.inference.translate import translate  # noqa: E402
from MedGANLogic.jobs import State  # noqa: E402
from MedGANLogic.mrml import (  # noqa: E402
    grid_of,
    image_from_node,
    image_from_segmentation,
    node_from_image,
    provenance_of,
    segmentation_from_image,
)
from MedGANLogic.presenters.translation import Chosen, account  # noqa: E402

sys.path.append(str(Path(__file__).resolve().parents[2] / "MedGAN"))
from MedGANLib.NodeTranslation import NodeTranslation  # noqa: E402

CHOSEN = Chosen(device="cpu", in_spite_of_errors=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("töys with spaces")
    return {task: read(save_toy(task, folder)) for task in CARDS}


@pytest.fixture
def mr():
    """An egg of soft tissue in air."""
    places = np.indices((24, 20, 8)) - np.array([11.5, 9.5, 3.5]).reshape(3, 1, 1, 1)
    radius = np.linalg.norm(places / np.array([10, 8, 6]).reshape(3, 1, 1, 1), axis=0)
    noise = np.random.default_rng(0).normal(0, 5, radius.shape)
    voxels = np.maximum(np.where(radius < 1, 300 + 10 * places[0], 2.0) + noise, 0)
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    affine[:3, 3] = [30, 40, -50]
    return Image(voxels[None].astype(np.float32), affine, "none")


@pytest.fixture
def begin(scene, models, mr):
    """Begin a translation of a task's toy."""

    def start(task, chosen=CHOSEN, **more):
        nodes = {}
        for role, domain in models[task].card.inputs.items():
            if isinstance(domain.window, Labels):
                # Above the middle of the egg, under it nothing.
                nodes[role] = segmentation_from_image(upper_half(mr, 7), domain.window, scene, role.upper())
                continue
            image = mr if domain == MR else Image(np.where(mr.voxels > 100, 40.0, -1000.0), mr.affine, "HU")
            nodes[role] = node_from_image(image, domain, scene, role.upper())
        names = dict.fromkeys(models[task].card.targets, "result")
        return NodeTranslation(scene, models[task], chosen, nodes, names, **more)

    return start


def upper_half(mr, value):
    """Return a label map in which the upper half of the egg is bone."""
    places = np.indices(mr.grid.shape)
    return Image(np.where((mr.voxels > 100) & (places[2] > 3), value, 0).astype(np.int16), mr.affine, "label")


def finished(translation):
    """Go on to the end and return the new node."""
    translation.finish()
    return translation.outputNode


def state_of(scene):
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return sorted((node.GetClassName(), node.GetName() or "") for node in nodes)


@pytest.mark.parametrize("task", CARDS)
def test_every_task_ends_as_a_node_of_its_kind(task, begin, models):
    translation = begin(task)
    translation.finish()
    node = translation.outputNode
    assert translation.state is State.DONE and translation.error == ""
    assert node.GetName() == "result"
    kinds = ["Segmentation" if role == "tissues" else "ScalarVolume" for role in models[task].card.targets]
    assert [made.GetClassName() for made in translation.outputNodes] == [f"vtkMRML{kind}Node" for kind in kinds]
    assert translation.provenance["model_sha256"] == models[task].sha256
    assert account(provenance_of(node)) == account(translation.provenance)


def test_labels_are_those_of_the_segments_that_are_called_so(begin, scene, models, mr):
    translation = begin("guided")
    ct, tumour = translation.inputNodes.values()
    # Slicer knows a segment by its name, whatever its value.
    tumour.GetSegmentation().GetSegment(tumour.GetSegmentation().GetSegmentIdBySegmentName("bone")).SetName("Bone")
    translation.finish()
    bundle, shown = open_bundle(models["guided"]), image_from_node(ct, "HU")
    expected = translate(bundle, {"ct": shown, "tumour": upper_half(mr, 7)}, "cpu", force=True)
    assert np.allclose(image_from_node(translation.outputNode, "SUV").voxels, expected.image.voxels, atol=1e-5)


def test_every_target_becomes_a_node_where_the_input_lies(begin, scene, models, mr, moved):
    translation = begin("two-targets")
    (given,) = translation.inputNodes.values()
    given.SetAndObserveTransformNodeID(moved.GetID())
    translation.finish()
    expected = translate(open_bundle(models["two-targets"]), image_from_node(given, "none"), "cpu", force=True)
    ct, tissues = translation.outputNodes
    assert [node.GetTransformNodeID() for node in (ct, tissues)] == [moved.GetID()] * 2
    assert [node.GetName() for node in (ct, tissues)] == ["result", "result_1"]
    assert [provenance_of(node)["target"] for node in (ct, tissues)] == ["ct", "tissues"]
    assert np.array_equal(image_from_node(ct, "HU").voxels, np.rint(expected.image.voxels))
    found, _labels = image_from_segmentation(tissues, grid_of(given))
    assert np.array_equal(found.voxels, expected.further["tissues"].image.voxels)


def test_magnified_result_fills_the_box_of_its_input_under_its_transform(begin, mr, moved):
    translation = begin("magnify")
    (given,) = translation.inputNodes.values()
    given.SetAndObserveTransformNodeID(moved.GetID())
    corners = np.array([[-0.5, -0.5, -0.5, 1], [23.5, 19.5, 7.5, 1]]).T
    expected = grid_of(given).affine @ corners
    node = finished(translation)
    assert node.GetTransformNodeID() == moved.GetID()
    grid = grid_of(node)
    assert grid.shape == (48, 40, 8)
    finer = corners * [[2], [2], [1], [1]] + [[0.5], [0.5], [0], [0]]
    assert np.abs(grid.affine @ finer - expected).max() < 0.01


def test_uptake_says_its_unit_and_is_shown_as_uptake_is(begin):
    node = finished(begin("two-inputs"))
    assert node.GetVoxelValueQuantity().GetCodeValue() == "126400"
    assert node.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml"
    assert provenance_of(node)["unit"] == "SUV" and ("Unit", "SUV") in account(provenance_of(node))
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 10.0)
    assert display.GetColorNodeID() == "vtkMRMLPETProceduralColorNodePET-Heat"


def test_segments_have_the_cards_names_colours_and_codes_where_the_input_lies(begin, models, moved):
    translation = begin("segment")
    (given,) = translation.inputNodes.values()
    given.SetAndObserveTransformNodeID(moved.GetID())
    node = finished(translation)
    assert node.GetTransformNodeID() == moved.GetID()
    segmentation, labels = node.GetSegmentation(), models["segment"].card.targets["tissues"].window.labels
    segments = [segmentation.GetNthSegment(number) for number in range(segmentation.GetNumberOfSegments())]
    assert [segment.GetName() for segment in segments] == [label.name for label in labels] == ["fat", "bone"]
    for segment, label in zip(segments, labels, strict=True):
        assert np.allclose(segment.GetColor(), np.array(label.colour) / 255)
        terminology = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), terminology)
        assert f"SCT^{label.snomed}^" in str(terminology)


def test_probabilities_stand_beside_the_labels_when_asked_for(begin, models, mr, moved):
    translation = begin("segment", replace(CHOSEN, probabilities=True))
    (given,) = translation.inputNodes.values()
    given.SetAndObserveTransformNodeID(moved.GetID())
    translation.finish()
    labels, *shares = translation.outputNodes
    assert labels.IsA("vtkMRMLSegmentationNode")
    assert [node.GetName() for node in shares] == ["result probability fat", "result probability bone"]
    expected = translate(open_bundle(models["segment"]), image_from_node(given, "none"), "cpu", force=True)
    for node, likely in zip(shares, expected.probabilities().values(), strict=True):
        assert np.allclose(image_from_node(node, "none").voxels, likely.image.voxels, atol=1e-6)
        assert node.GetTransformNodeID() == moved.GetID()
        display = node.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
        assert "SYNTHETIC" in node.GetDescription()


@pytest.mark.parametrize(("task", "shapes"), [("draw", [(16, 16, 3)]), ("sample", [(16, 12, 6)] * 3)])
def test_samples_become_slices_or_volumes(task, shapes, begin):
    translation = begin(task, replace(CHOSEN, count=3, seed=7, choices={"class": "head"} if task == "draw" else {}))
    translation.finish()
    assert [grid_of(node).shape for node in translation.outputNodes] == shapes
    names = ["result", "result_1", "result_2"][: len(shapes)]
    assert [node.GetName() for node in translation.outputNodes] == names
    assert provenance_of(translation.outputNode)["seed"] == 7


@pytest.mark.parametrize("target", ["ct", "tissues"])
def test_cancelling_while_results_come_in_leaves_none_of_them(target, begin, scene, monkeypatch):
    translation = begin("two-targets")
    before, begun = state_of(scene), translation._stepsOf

    def cancelled(account):
        if account["target"] == target:
            translation.cancel()
        return begun(account)

    monkeypatch.setattr(translation, "_stepsOf", cancelled)
    while translation.advance():
        pass
    assert translation.state is State.CANCELLED and translation.outputNodes == []
    assert state_of(scene) == before


def test_result_is_what_translate_gives_where_the_input_lies(begin, models, mr):
    node = finished(begin("translate"))
    expected = translate(open_bundle(models["translate"]), mr, "cpu", force=True).image
    found = image_from_node(node, "HU")
    assert np.array_equal(found.voxels, np.rint(expected.voxels))
    assert np.allclose(found.affine, mr.affine)


def test_mask_is_asked_for_on_the_inputs_grid(begin, mr):
    def left_half(grid):
        assert grid.matches(mr.grid)
        mask = np.zeros((1, *grid.shape), np.uint8)
        mask[:, :12] = 1
        return Image(mask, grid.affine, "label")

    voxels = image_from_node(finished(begin("translate", makeMask=left_half)), "HU").voxels[0]
    assert (voxels[12:] == CT.background).all() and (voxels[:12] != CT.background).any()


@pytest.mark.parametrize("pieces", [0, 1, 3, 10_000])
def test_cancelling_leaves_the_scene_as_it_was(pieces, begin, scene):
    translation = begin("translate")
    before = state_of(scene)
    while pieces and translation.work.share is None and translation.advance():
        pieces -= 1
    translation.cancel()
    while translation.advance():
        pass
    assert translation.state is State.CANCELLED and translation.outputNode is None
    assert state_of(scene) == before


def test_node_that_is_chosen_takes_the_result_and_no_other_stays(begin, scene):
    fresh = finished(begin("translate"))
    kept = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    before = len(state_of(scene))
    node = finished(begin("translate", replacedNode=kept))
    assert node is kept and kept.GetName() == "mine"
    assert np.array_equal(image_from_node(kept, "HU").voxels, image_from_node(fresh, "HU").voxels)
    assert np.allclose(image_from_node(kept, "HU").affine, image_from_node(fresh, "HU").affine)
    assert "SYNTHETIC" in kept.GetDescription()
    assert kept.GetAttribute("MedGAN.model_sha256") == fresh.GetAttribute("MedGAN.model_sha256")
    # An MR that the second one began from, with its display, and a display for what was chosen.
    assert len(state_of(scene)) <= before + 3


@pytest.mark.parametrize("kind", ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"])
def test_node_that_cannot_hold_the_result_is_refused(kind, begin, scene):
    with pytest.raises(MedGANError, match="cannot hold the result"):
        begin("translate", replacedNode=scene.AddNewNodeByClass(kind, "mine"))


def test_input_is_never_overwritten(scene, models, mr):
    node = node_from_image(mr, MR, scene, "MR")
    with pytest.raises(MedGANError, match="is an input"):
        NodeTranslation(scene, models["translate"], Chosen(), {"mr": node}, {"ct": "result"}, replacedNode=node)


def test_volume_that_has_gone_is_said(begin, scene):
    translation = begin("translate")
    scene.RemoveNode(translation.inputNodes["mr"])
    with pytest.raises(MedGANError, match="no longer in the scene"):
        translation.finish()


def test_volume_that_goes_meanwhile_leaves_nothing(begin, scene):
    translation = begin("translate")
    while translation.work.share is None:
        assert translation.advance()
    scene.Clear(0)
    before = state_of(scene)
    with pytest.raises(MedGANError, match="no longer in the scene"):
        translation.finish()
    assert translation.state is State.FAILED and state_of(scene) == before


def test_childs_own_words_are_the_error(begin, scene):
    translation = begin("translate")
    translation.chosen = replace(translation.chosen, device="cuda:99")
    before = state_of(scene)
    with pytest.raises(MedGANError, match="there is no cuda:99"):
        translation.finish()
    assert state_of(scene) == before


def test_error_that_nobody_expected_is_no_silent_success(begin):
    def too_large(grid):
        raise MemoryError("16 GiB")

    translation = begin("translate", makeMask=too_large)
    with pytest.raises(MedGANError, match="MemoryError: 16 GiB"):
        translation.finish()
    assert translation.state is State.FAILED


def test_abandoning_takes_the_child_and_its_folder_away(begin):
    translation = begin("translate")
    while translation.work.doing.startswith("Handing"):
        assert translation.advance()
    folder = translation._job.folder
    assert folder.exists()
    translation.abandon()
    assert translation.state is State.CANCELLED and not folder.exists()
    assert not translation.advance()
