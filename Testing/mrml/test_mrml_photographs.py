"""Photographs in a scene: vector volumes are read in their colours, results come as vectors or as segments of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs the slicer-core wheel")

import SimpleITK
import slicer.util
import vtk
from PIL import Image as Picture

from MedGANLogic.domain import MR, PHOTOGRAPH, Label, Labels
from MedGANLogic.images import UNMEASURED, Image, read
from MedGANLogic.mrml import (
    NodeError,
    grid_of,
    image_from_node,
    image_from_segmentation,
    node_from_image,
    provenance_of,
    segmentation_from_image,
)

WIDE, HIGH = 9, 7
PIXELS = np.random.default_rng(0).integers(0, 256, (HIGH, WIDE, 3)).astype(np.uint8)
VESSELS = Labels((Label(1, "artery", (200, 0, 0), "51114001"), Label(4, "vein", (0, 0, 200), "29092000")))


def test_a_photograph_that_slicer_loaded_is_the_one_that_is_read_from_its_file(scene: Any, tmp_path: Path) -> None:
    Picture.fromarray(PIXELS).save(tmp_path / "eye.png")
    # The wheel reads no PNG, as Slicer does: the same pixels in a file that it reads.
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "eye.png")), str(tmp_path / "eye.nrrd"))
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "eye")
    storage = node.CreateDefaultStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "eye.nrrd"))
    assert storage.ReadData(node)
    ours, theirs = read(tmp_path / "eye.png", "none"), image_from_node(node, "none")
    np.testing.assert_array_equal(theirs.voxels, ours.voxels)
    assert theirs.grid.matches(ours.grid) and theirs.facts["size"] == ours.facts["size"] == UNMEASURED


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.dstack([PIXELS, PIXELS[..., :1]]), PIXELS),
        (PIXELS.astype(np.uint16) * 257, PIXELS),
        (np.repeat(PIXELS[..., :1], 3, axis=2), PIXELS[..., :1]),
    ],
    ids=["alpha", "16 bits", "grey three times"],
)
def test_colours_of_a_vector_volume_are_those_of_a_photograph(add_volume: Any, pixels: Any, expected: Any) -> None:
    image = image_from_node(add_volume(pixels[None], kind="Vector"), "none")
    np.testing.assert_allclose(image.voxels, expected[None].transpose(3, 2, 1, 0), rtol=1e-6)


def test_a_field_of_vectors_is_none(add_volume: Any) -> None:
    field = np.random.default_rng(0).normal(size=(1, HIGH, WIDE, 3)).astype(np.float32)
    image = image_from_node(add_volume(field, kind="Vector"), "none")
    np.testing.assert_array_equal(image.voxels, field.transpose(3, 2, 1, 0))
    assert "size" not in image.facts


@pytest.fixture
def photograph(add_volume: Any, moved: Any) -> Any:
    return add_volume(PIXELS[None], kind="Vector", under=moved)


def test_colours_come_as_a_vector_volume_that_says_what_it_is(photograph: Any, scene: Any) -> None:
    given = image_from_node(photograph, "none")
    made = Image(given.voxels.astype(np.float32) * 1.2 - 9.7, given.affine, "none")
    node = node_from_image(made, PHOTOGRAPH, scene, "made", photograph, {"model": "toy"})
    assert node.IsA("vtkMRMLVectorVolumeNode") and node.GetDisplayNode().IsA("vtkMRMLVectorVolumeDisplayNode")
    assert node.GetTransformNodeID() == photograph.GetTransformNodeID()
    again = image_from_node(node, "none")
    assert again.voxels.dtype == np.uint8 and again.grid.matches(grid_of(photograph))
    np.testing.assert_array_equal(again.voxels, np.clip(np.rint(made.voxels), 0, 255))
    assert provenance_of(node)["model"] == "toy" and provenance_of(node)["synthetic"] is True
    assert again.facts["modality"] == "XC" and "SYNTHETIC" in again.facts["notes"]


def test_a_label_map_of_a_photograph_becomes_segments_on_its_pixels(photograph: Any, scene: Any) -> None:
    values = np.random.default_rng(1).choice([0, 1, 4], (1, WIDE, HIGH, 1)).astype(np.int16)
    labels = Image(values, grid_of(photograph).affine, "label")
    node = segmentation_from_image(labels, VESSELS, scene, "vessels", photograph)
    again, said = image_from_segmentation(node, grid_of(photograph))
    np.testing.assert_array_equal(again.voxels, values)
    assert said == VESSELS
    for key, label in zip(node.GetSegmentation().GetSegmentIDs(), VESSELS.labels, strict=True):
        exported, wanted = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode"), vtk.vtkStringArray()
        wanted.InsertNextValue(key)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.ExportSegmentsToLabelmapNode(node, wanted, exported, photograph)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(exported).T > 0, values[0] == label.value)


def test_another_number_of_values_than_the_domains_is_refused(photograph: Any, scene: Any) -> None:
    given = image_from_node(photograph, "none")
    before = scene.GetNumberOfNodes()
    with pytest.raises(NodeError, match="1 values per voxel: expected 3"):
        node_from_image(Image(given.voxels[:1], given.affine, "none"), PHOTOGRAPH, scene, "x", photograph)
    with pytest.raises(NodeError, match="3 values per voxel: expected one"):
        node_from_image(given, MR, scene, "x", photograph)
    assert scene.GetNumberOfNodes() == before
