"""Segmentations and regions of interest become label images and masks in the world, and labels segmentations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("slicer", reason="needs the slicer-core wheel")

import slicer.util
import vtk

from MedGANLogic import mrml
from MedGANLogic.domain import Domain, Label, Labels
from MedGANLogic.images import Grid, Image
from MedGANLogic.mrml import (
    NodeError,
    grid_of,
    image_from_segmentation,
    labels_from_node,
    mask_from_roi,
    mask_from_segment,
    node_from_image,
    segmentation_by_slabs,
    segmentation_from_image,
)

SHAPE = (7, 8, 9)
LABELS = Labels(
    (
        Label(3, "Fémur, left", (240, 230, 140), "71341001"),
        Label(7, "fat~of|the^thigh", (230, 220, 70), "55603005"),
        Label(300, "unknown", (1, 2, 3)),
    )
)


@pytest.fixture(params=["world", "moved"])
def reference(request: pytest.FixtureRequest, add_volume: Any) -> Any:
    """A volume on the oblique grid, in the world and in transforms."""
    parent = None if request.param == "world" else request.getfixturevalue("moved")
    return add_volume(np.zeros(SHAPE[::-1], np.int16), under=parent)


@pytest.fixture
def labels(reference: Any) -> Image:
    values = np.random.default_rng(0).choice([0, 3, 7, 300], (1, *SHAPE)).astype(np.int16)
    return Image(values, grid_of(reference).affine, "label")


@pytest.fixture
def segmentation(labels: Image, reference: Any, scene: Any) -> Any:
    return segmentation_from_image(labels, LABELS, scene, "thigh", reference, {"model": "toy"})


def everything(scene: Any) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def segments(node: Any) -> list[Any]:
    return [node.GetSegmentation().GetNthSegment(n) for n in range(node.GetSegmentation().GetNumberOfSegments())]


def test_slicer_finds_each_segment_in_its_voxels_of_the_reference(
    segmentation: Any, reference: Any, labels: Image, scene: Any
) -> None:
    for key, label in zip(segmentation.GetSegmentation().GetSegmentIDs(), LABELS.labels, strict=True):
        exported, wanted = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode"), vtk.vtkStringArray()
        wanted.InsertNextValue(key)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.ExportSegmentsToLabelmapNode(segmentation, wanted, exported, reference)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(exported).T > 0, labels.voxels[0] == label.value)


def test_names_colours_values_and_terminology_are_the_labels(segmentation: Any) -> None:
    for segment, label in zip(segments(segmentation), LABELS.labels, strict=True):
        assert (segment.GetName(), segment.GetLabelValue()) == (label.name, label.value)
        np.testing.assert_allclose(segment.GetColor(), np.array(label.colour) / 255)
    femur, fat, _ = segments(segmentation)
    tag, entry = femur.GetTerminologyEntryTagName(), slicer.vtkSlicerTerminologyEntry()
    for segment, code, meaning in ((femur, "71341001", "Fémur, left"), (fat, "55603005", "fat of the thigh")):
        said = vtk.reference("")
        assert segment.GetTag(tag, said)
        assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(str(said), entry)
        kind, category = entry.GetTypeObject(), entry.GetCategoryObject()
        assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue(), kind.GetCodeMeaning()) == ("SCT", code, meaning)
        assert (category.GetCodingSchemeDesignator(), category.GetCodeValue()) == ("SCT", "123037004")


def test_segmentation_returns_as_the_labels_that_it_was_made_of(
    segmentation: Any, reference: Any, labels: Image
) -> None:
    image, meaning = image_from_segmentation(segmentation, grid_of(reference))
    np.testing.assert_array_equal(image.voxels, labels.voxels)
    assert (image.unit, meaning) == ("label", LABELS)


def test_segmentation_refers_to_the_volume_and_is_shown_over_it(segmentation: Any, reference: Any, scene: Any) -> None:
    assert segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()) is reference
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    mrml.show_over(reference, segmentation, scene, 0.25)
    assert view.GetBackgroundVolumeID() == reference.GetID() and view.GetForegroundVolumeID() is None
    assert segmentation.GetDisplayNode().GetOpacity() == 0.25


def test_voxels_that_belong_to_no_segment_are_background(labels: Image, scene: Any) -> None:
    strays = np.where(labels.voxels == 0, np.resize([-5, 9, 20000], labels.voxels.shape), labels.voxels)
    node = segmentation_from_image(replace(labels, voxels=strays), LABELS, scene, "thigh")
    np.testing.assert_array_equal(image_from_segmentation(node, labels.grid)[0].voxels, labels.voxels)


def test_values_that_no_label_may_have_are_counted_afresh(segmentation: Any, labels: Image) -> None:
    segments(segmentation)[0].SetLabelValue(40000)
    image, meaning = image_from_segmentation(segmentation, labels.grid)
    assert [label.value for label in meaning.labels] == [1, 2, 3]
    np.testing.assert_array_equal(image.voxels, np.select([labels.voxels == 7, labels.voxels == 300], [2, 3], 0))


def test_nothing_is_resampled_on_the_lattice_that_was_painted_on(
    segmentation: Any, labels: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Image, "on_grid")
    image, _ = image_from_segmentation(segmentation, labels.grid.widened((1, 2, 3)))
    np.testing.assert_array_equal(image.voxels, np.pad(labels.voxels, ((0, 0), (1, 1), (2, 2), (3, 3))))


def test_segmentation_says_that_it_is_synthetic(segmentation: Any) -> None:
    assert segmentation.GetDescription() == "SYNTHETIC SEG (label) by MedGAN, research use only"
    assert segmentation.GetAttribute("MedGAN.model") == "toy"


def test_cancel_leaves_the_scene_as_it_was(
    labels: Image, reference: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mrml, "_SLAB_VOXELS", 100)
    before = everything(scene)
    steps = segmentation_by_slabs(labels, LABELS, scene, "thigh", reference)
    assert next(steps) < next(steps) < 1
    steps.close()
    assert everything(scene) == before


def test_one_segment_is_a_mask(segmentation: Any, reference: Any, labels: Image) -> None:
    key = segmentation.GetSegmentation().GetSegmentIdBySegmentName("unknown")
    mask = mask_from_segment(segmentation, key, grid_of(reference))
    assert mask.unit == "label" and mask.grid.matches(grid_of(reference))
    np.testing.assert_array_equal(mask.voxels, labels.voxels == 300)


def painted_by_hand(reference: Any, scene: Any, *names: str) -> tuple[Any, NDArray[Any]]:
    """Return a segmentation of two boxes that overlap, and their masks.

    In the segment editor every segment has the value 1, a layer of its own where two overlap, and a tight box.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    masks = np.zeros((2, *SHAPE), np.int16)
    boxes = (((1, 2, 3), (4, 6, 8)), ((3, 1, 5), (6, 4, 9)))
    for painted, name, (first, last) in zip(masks, names, boxes, strict=True):
        box = slicer.vtkOrientedImageData()
        box.SetExtent([edge for low, high in zip(first, last, strict=True) for edge in (low, high - 1)])
        box.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        box.GetPointData().GetScalars().Fill(1)
        matrix = vtk.vtkMatrix4x4()
        reference.GetIJKToRASMatrix(matrix)
        box.SetImageToWorldMatrix(matrix)
        node.AddSegmentFromBinaryLabelmapRepresentation(box, name)
        painted[tuple(map(slice, first, last))] = 1
    return node, masks


def test_segments_painted_by_hand_keep_their_place_where_they_overlap_and_where_they_are_cropped(
    reference: Any, scene: Any
) -> None:
    node, (one, two) = painted_by_hand(reference, scene, "one", "two")
    image, meaning = image_from_segmentation(node, grid_of(reference))
    np.testing.assert_array_equal(image.voxels[0], np.where(two, 2, one))
    assert [(label.value, label.name, label.snomed) for label in meaning.labels] == [(1, "one", ""), (2, "two", "")]
    mask = mask_from_segment(node, node.GetSegmentation().GetSegmentIdBySegmentName("two"), grid_of(reference))
    np.testing.assert_array_equal(mask.voxels[0], two)


def test_labels_are_the_segments_that_are_called_so_whatever_lies_over_them(reference: Any, scene: Any) -> None:
    node, (femur, _body) = painted_by_hand(reference, scene, "FÉMUR, left", "body")
    # What is called so and empty is nowhere.
    node.GetSegmentation().AddEmptySegment("", "unknown")
    found = labels_from_node(node, LABELS, grid_of(reference))
    assert found.unit == "label" and found.grid.matches(grid_of(reference))
    np.testing.assert_array_equal(found.voxels[0], 3 * femur)


def test_of_overlapping_labels_the_later_one_wins(reference: Any, scene: Any) -> None:
    node, (unknown, femur) = painted_by_hand(reference, scene, "unknown", "Fémur, left")
    found = labels_from_node(node, LABELS, grid_of(reference))
    np.testing.assert_array_equal(found.voxels[0], np.where(unknown, 300, 3 * femur))


def test_a_label_map_volume_is_taken_as_it_is(labels: Image, scene: Any) -> None:
    node = node_from_image(labels, Domain("SEG", "label", LABELS, 0.0), scene, "labels")
    assert node.IsA("vtkMRMLLabelMapVolumeNode")
    found = labels_from_node(node, LABELS, Grid((1, 1, 1), np.eye(4)))
    assert found.grid.matches(labels.grid)
    np.testing.assert_array_equal(found.voxels, labels.voxels)


def test_segmentation_meets_a_volume_on_another_grid_by_the_world(scene: Any, oblique: Any) -> None:
    fine = Grid((14, 16, 18), oblique).finer((1, 1, 1))
    block = np.zeros((1, *fine.shape), np.int16)
    block[:, 4:10, 6:12, 2:8] = 3
    node = segmentation_from_image(Image(block, fine.affine, "label"), LABELS, scene, "block")
    coarse = Grid((7, 8, 9), oblique @ np.diag([2.0, 2.0, 2.0, 1.0]))
    found = image_from_segmentation(node, coarse)[0].voxels
    np.testing.assert_array_equal(found, block[:, ::2, ::2, ::2])


@pytest.mark.parametrize("shift", [(2, -3, 1), (-6, 0, 8), (0.4, -0.3, 0.2), (50, 0, 0), (-10, 0, 0)])
def test_segmentation_on_a_grid_that_is_shifted_is_what_the_toolkit_resamples(
    shift: tuple[float, ...], labels: Image, scene: Any
) -> None:
    node = segmentation_from_image(labels, LABELS, scene, "thigh")
    affine = labels.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ shift
    grid = Grid((9, 7, 10), affine)
    expected = labels.on_grid(grid, outside=0, nearest=True).voxels
    assert expected.any() == (-9 < shift[0] < 7)
    np.testing.assert_array_equal(image_from_segmentation(node, grid)[0].voxels, expected)


class TestRefused:
    def test_segmentation_without_the_labels(self, reference: Any, scene: Any) -> None:
        node, _masks = painted_by_hand(reference, scene, "Segment_1", "Segment_2")
        with pytest.raises(NodeError, match=r"no segment called Fémur, left or .*: found Segment_1, Segment_2; rename"):
            labels_from_node(node, LABELS, grid_of(reference))

    def test_segmentation_without_segments(self, scene: Any, oblique: Any) -> None:
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
        with pytest.raises(NodeError, match="segmentation 'S' has no segments"):
            image_from_segmentation(node, Grid(SHAPE, oblique))

    def test_segmentation_of_surfaces_alone(self, scene: Any, oblique: Any) -> None:
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
        ball = vtk.vtkSphereSource()
        ball.Update()
        node.GetSegmentation().SetSourceRepresentationName("Closed surface")
        node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball")
        with pytest.raises(NodeError, match="'S' has no binary label map"):
            image_from_segmentation(node, Grid(SHAPE, oblique))

    def test_segment_that_is_not_there(self, segmentation: Any, oblique: Any) -> None:
        with pytest.raises(
            NodeError, match=r"segmentation 'thigh' has no segment 'tibia': there are .*\(Fémur, left\)"
        ):
            mask_from_segment(segmentation, "tibia", Grid(SHAPE, oblique))

    def test_segment_that_is_empty(self, labels: Image, scene: Any) -> None:
        node = segmentation_from_image(replace(labels, voxels=0 * labels.voxels), LABELS, scene, "nothing")
        with pytest.raises(NodeError, match="segment 'unknown' is empty"):
            mask_from_segment(node, node.GetSegmentation().GetSegmentIdBySegmentName("unknown"), labels.grid)

    def test_segmentation_and_region_under_a_warp(
        self, segmentation: Any, scene: Any, warped: Any, oblique: Any
    ) -> None:
        region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        region.SetSize(1, 1, 1)
        for node in (segmentation, region):
            node.SetAndObserveTransformNodeID(warped.GetID())
        with pytest.raises(NodeError, match="segmentation 'thigh' is under a non-linear transform"):
            image_from_segmentation(segmentation, Grid(SHAPE, oblique))
        with pytest.raises(NodeError, match="ROI 'R' is under a non-linear transform"):
            mask_from_roi(region, Grid(SHAPE, oblique))

    def test_segmentation_under_a_shear(self, segmentation: Any, sheared: Any, oblique: Any) -> None:
        segmentation.SetAndObserveTransformNodeID(sheared.GetID())
        with pytest.raises(NodeError, match="segmentation 'thigh' has sheared axes"):
            image_from_segmentation(segmentation, Grid(SHAPE, oblique))

    def test_region_that_was_never_placed(self, scene: Any, oblique: Any) -> None:
        with pytest.raises(NodeError, match="ROI 'R' has no size"):
            mask_from_roi(scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R"), Grid(SHAPE, oblique))


class TestRegion:
    @pytest.fixture
    def region(self, scene: Any) -> Any:
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        node.SetCenter(5.0, -3.0, 10.0)
        node.SetSize(6.0, 10.0, 4.0)
        return node

    @pytest.fixture
    def around(self) -> Grid:
        affine = np.diag([0.5, 0.5, 0.5, 1.0])
        affine[:3, 3] = (-0.2, -10.2, 4.8)
        return Grid((30, 30, 24), affine)

    def test_box_along_the_axes_has_its_closed_form(self, region: Any, around: Grid) -> None:
        x, y, z = (np.arange(n) * 0.5 + start for n, start in zip(around.shape, (-0.2, -10.2, 4.8), strict=True))
        inside = np.ix_(abs(x - 5) <= 3, abs(y + 3) <= 5, abs(z - 10) <= 2)
        expected = np.zeros(around.shape)
        expected[inside] = 1
        assert expected.sum() == 12 * 20 * 8
        np.testing.assert_array_equal(mask_from_roi(region, around).voxels[0], expected)

    def test_inside_out_is_refused(self, region: Any, around: Grid) -> None:
        region.SetInsideOut(True)
        with pytest.raises(NodeError, match="ROI 'R' is inside out"):
            mask_from_roi(region, around)

    @pytest.mark.parametrize("under", ["world", "moved", "sheared"])
    def test_turned_box_holds_the_voxels_within_the_box_that_slicer_draws(
        self, under: str, region: Any, oblique: NDArray[np.float64], request: pytest.FixtureRequest
    ) -> None:
        turned = oblique[:3, :3] / np.linalg.norm(oblique[:3, :3], axis=0)
        turn = np.block([[turned, np.array([[5.0], [-3.0], [10.0]])], [np.eye(4)[3]]])
        region.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turn))
        if under != "world":
            region.SetAndObserveTransformNodeID(request.getfixturevalue(under).GetID())
        centre = [0.0, 0.0, 0.0]
        region.GetCenterWorld(centre)
        affine = np.diag([1.1, 1.3, 0.9, 1.0])
        affine[:3, 3] = np.array(centre) - (13.2, 15.6, 10.8)
        grid = Grid((24, 24, 24), affine)
        drawn = vtk.vtkSelectEnclosedPoints()
        drawn.Initialize(region.CreateROIBoxPolyDataWorld())
        within = [drawn.IsInsideSurface((affine @ [*ijk, 1])[:3]) for ijk in np.ndindex(*grid.shape)]
        assert 100 < sum(within) < 6000
        np.testing.assert_array_equal(mask_from_roi(region, grid).voxels.ravel(), within)
