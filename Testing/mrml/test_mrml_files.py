"""What Slicer saves of a result it reads back, and our own reader agrees with Slicer's on every file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("slicer", reason="needs the slicer-core wheel")


from MedGANLogic.domain import CT, PET, Label, Labels
from MedGANLogic.images import Image, Orientation, read, write
from MedGANLogic.mrml import (
    grid_of,
    image_from_node,
    image_from_segmentation,
    node_from_image,
    provenance_table,
    segmentation_from_image,
)

SHAPE = (7, 8, 9)
LABELS = Labels((Label(3, "Fémur", (240, 230, 140), "71341001"), Label(7, "muscle", (192, 104, 88), "91727004")))
NOTES = "SYNTHETIC CT (HU) by MedGAN toy, research use only"


def save(node: Any, path: Path) -> None:
    storage = node.CreateDefaultStorageNode()
    node.GetScene().AddNode(storage)
    node.SetAndObserveStorageNodeID(storage.GetID())
    storage.SetFileName(str(path))
    assert storage.WriteData(node)


def load(kind: str, path: Path, scene: Any) -> Any:
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", "again")
    storage = node.CreateDefaultStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


@pytest.fixture(params=["HU", "SUV"])
def result(request: pytest.FixtureRequest, oblique: NDArray[np.float64]) -> Image:
    """A result as a model gives it: whole HU, or an SUV with fractions."""
    values = np.random.default_rng(0).uniform(0, 20, (1, *SHAPE)).astype(np.float32)
    return Image(np.rint(100 * values) if request.param == "HU" else values, oblique, request.param, {"notes": NOTES})


@pytest.fixture
def labels(oblique: NDArray[np.float64]) -> Image:
    values = np.random.default_rng(0).choice([0, 3, 7], (1, *SHAPE)).astype(np.int16)
    return Image(values, oblique, "label")


def same(one: Image, other: Image) -> None:
    """Compare in the world: Slicer turns the last axis of left-handed voxels round when it loads them, as these are."""
    one, other = (image.with_orientation(Orientation.nearest(image.affine)) for image in (one, other))
    assert one.unit == other.unit
    assert one.grid.matches(other.grid)
    np.testing.assert_array_equal(one.voxels, other.voxels)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
class TestVolumeFile:
    def test_saved_by_slicer_is_read_by_both(self, suffix: str, result: Image, scene: Any, tmp_path: Path) -> None:
        path = tmp_path / f"a{suffix}"
        save(node_from_image(result, CT if result.unit == "HU" else PET, scene, "ct"), path)
        ours, slicers = read(path, result.unit), image_from_node(load("ScalarVolume", path, scene), result.unit)
        same(ours, result)
        same(slicers, result)
        assert ours.voxels.dtype == slicers.voxels.dtype

    def test_written_by_us_is_loaded_by_slicer(self, suffix: str, result: Image, scene: Any, tmp_path: Path) -> None:
        path = tmp_path / f"a{suffix}"
        write(result, path)
        same(image_from_node(load("ScalarVolume", path, scene), result.unit), result)

    def test_label_map_written_by_us_is_loaded_by_slicer(
        self, suffix: str, labels: Image, scene: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / f"a{suffix}"
        write(labels, path)
        same(image_from_node(load("LabelMapVolume", path, scene), "label"), labels)


def test_vectors_written_by_us_are_loaded_by_slicer(oblique: Any, scene: Any, tmp_path: Path) -> None:
    vectors = Image(np.random.default_rng(0).random((3, *SHAPE), np.float32), oblique, "none")
    write(vectors, tmp_path / "a.nrrd")
    same(image_from_node(load("VectorVolume", tmp_path / "a.nrrd", scene), "none"), vectors)


def test_segmentation_file_keeps_places_names_colours_and_terminology(
    labels: Image, scene: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.seg.nrrd"
    save(segmentation_from_image(labels, LABELS, scene, "thigh"), path)
    image, meaning = image_from_segmentation(load("Segmentation", path, scene), labels.grid)
    same(image, labels)
    assert meaning == LABELS
    # Slicer crops what it saves; for anyone else it is a label map like others.
    same(read(path, "label").on_grid(labels.grid, outside=0, nearest=True), labels)


class TestScene:
    @pytest.fixture
    def saved(
        self, result: Image, add_volume: Any, moved: Any, scene: Any, new_scene: Callable[[], Any], tmp_path: Path
    ) -> tuple[Image, Any]:
        """A result beside its input in two transforms, its table and a segmentation, saved and opened as .mrb."""
        node = add_volume(np.zeros(SHAPE[::-1], np.int16), under=moved)
        placed = Image(result.voxels, grid_of(node).affine, result.unit, result.facts)
        domain, provenance = (CT if result.unit == "HU" else PET), {"model": "toy", "shape": list(SHAPE)}
        node_from_image(placed, domain, scene, "größe 胸部", node, provenance)
        provenance_table(provenance, scene, "what was done")
        values = Image(np.where(result.voxels > 10, 7, 3).astype(np.int16), placed.affine, "label")
        segmentation_from_image(values, LABELS, scene, "thigh", node, provenance)
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
            scene.GetNthNodeByClass(index, "vtkMRMLStorableNode").AddDefaultStorageNode()
        assert scene.WriteToMRB(str(tmp_path / "a.mrb"), None)
        opened = new_scene()
        assert opened.ReadFromMRB(str(tmp_path / "a.mrb"))
        return placed, opened

    def test_result_is_as_it_was(self, saved: tuple[Image, Any]) -> None:
        placed, opened = saved
        node = opened.GetFirstNodeByName("größe 胸部")
        image = image_from_node(node, placed.unit)
        same(image, placed)
        assert image.facts == {"modality": "CT" if placed.unit == "HU" else "PT", "notes": NOTES}
        assert node.GetDescription() == NOTES
        assert [node.GetAttribute(f"MedGAN.{name}") for name in ("synthetic", "model")] == ["true", "toy"]
        assert node.GetVoxelValueUnits().GetCodeValue() == {"HU": "[hnsf'U]", "SUV": "{SUVbw}g/ml"}[placed.unit]
        display, middle = node.GetDisplayNode(), {"HU": 40, "SUV": 5}[placed.unit]
        assert (display.GetAutoWindowLevel(), display.GetLevel()) == (0, middle)

    def test_segmentation_is_as_it_was(self, saved: tuple[Image, Any]) -> None:
        placed, opened = saved
        node = opened.GetFirstNodeByName("thigh")
        image, meaning = image_from_segmentation(node, placed.grid)
        np.testing.assert_array_equal(image.voxels, np.where(placed.voxels > 10, 7, 3))
        assert meaning == LABELS
        assert node.GetAttribute("MedGAN.synthetic") == "true"

    def test_table_is_as_it_was(self, saved: tuple[Image, Any]) -> None:
        table = saved[1].GetFirstNodeByName("what was done")
        cells = [[table.GetCellText(row, column) for column in (0, 1)] for row in range(table.GetNumberOfRows())]
        assert cells == [["model", "toy"], ["shape", "7, 8, 9"]]
