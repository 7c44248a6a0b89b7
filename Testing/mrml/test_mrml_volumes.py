"""Volume nodes become images in the world and images become volume nodes, by Slicer's own account of both."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("slicer", reason="needs the slicer-core wheel")

import slicer.util
import vtk

from MedGANLogic import mrml
from MedGANLogic.catalogue import RESEARCH_USE
from MedGANLogic.domain import CT, MR, PET, Domain, Label, Labels
from MedGANLogic.images import Grid, Image
from MedGANLogic.mrml import NodeError, image_from_node, node_from_image, volume_by_slabs
from MedGANLogic.presenters.translation import account

SHAPE = (4, 5, 6)
ORDERS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
LABELS = Labels((Label(3, "femur", (240, 230, 140), "71341001"), Label(7, "muscle", (192, 104, 88))))
SEG = Domain("SEG", "label", LABELS, 0.0)


def affine_of(axes: tuple[int, ...], signs: tuple[int, ...], oblique: NDArray[np.float64]) -> NDArray[np.float64]:
    """The oblique affine with its voxel axes in another order and direction."""
    affine = oblique.copy()
    affine[:3, :3] = oblique[:3, list(axes)] * signs
    return affine


def world_of(node: Any, ijk: tuple[int, ...]) -> NDArray[np.float64]:
    """Where Slicer says that a voxel of a node is."""
    matrix, world = vtk.vtkMatrix4x4(), [0.0, 0.0, 0.0]
    node.GetIJKToRASMatrix(matrix)
    node.TransformPointToWorld(matrix.MultiplyPoint((*ijk, 1.0))[:3], world)
    return np.array(world)


def coordinates(node: Any) -> NDArray[np.float64]:
    """What Slicer says of the places of a node's voxels, (I, J, K, 3)."""
    return np.array([world_of(node, ijk) for ijk in np.ndindex(*SHAPE)]).reshape(*SHAPE, 3)


def places(grid: Grid) -> NDArray[np.float64]:
    """What a grid says of the places of its voxels, (I, J, K, 3)."""
    return np.array([grid.affine @ [*ijk, 1] for ijk in np.ndindex(*grid.shape)])[:, :3].reshape(*grid.shape, 3)


def everything(scene: Any) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def hu(affine: NDArray[np.float64], shape: tuple[int, int, int] = SHAPE) -> Image:
    values = np.random.default_rng(0).uniform(-1000, 2000, (1, *shape)).astype(np.float32)
    return Image(values, affine, "HU", {"notes": "SYNTHETIC CT (HU) by MedGAN toy, research use only"})


@pytest.fixture(params=["world", "moved"])
def parent(request: pytest.FixtureRequest) -> Any:
    return None if request.param == "world" else request.getfixturevalue("moved")


@pytest.mark.parametrize("axes, signs", ORDERS)
def test_every_voxel_is_where_slicer_shows_it_there_and_back(
    axes: tuple[int, ...], signs: tuple[int, ...], parent: Any, scene: Any, add_volume: Any, oblique: Any
) -> None:
    node = add_volume(np.zeros(SHAPE[::-1]), affine_of(axes, signs, oblique), under=parent)
    where = coordinates(node)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(where[..., 0].T))

    image = image_from_node(node, "none")
    np.testing.assert_allclose(places(image.grid), where, atol=1e-3)
    np.testing.assert_array_equal(image.voxels[0], where[..., 0])

    again = node_from_image(image, MR, scene, "copy", node)
    np.testing.assert_allclose(coordinates(again), where, atol=1e-3)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(again).T, where[..., 0], atol=1e-3)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_all_kinds_of_numbers_are_read_as_they_are(dtype: str, add_volume: Any) -> None:
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    kji = np.array([limits.min, 0, limits.max], dtype).reshape(1, 1, 3)
    image = image_from_node(add_volume(kji), "none")
    assert image.voxels.dtype == dtype
    np.testing.assert_array_equal(image.voxels, kji.T[None])


def test_vectors_become_channels(add_volume: Any) -> None:
    kjic = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    image = image_from_node(add_volume(kjic, kind="Vector"), "none")
    assert image.voxels.shape == (5, 4, 3, 2)
    np.testing.assert_array_equal(image.voxels, kjic.transpose(3, 2, 1, 0))


def test_reading_copies_nothing_and_lets_nobody_write(add_volume: Any) -> None:
    node = add_volume(np.zeros(SHAPE[::-1], np.int16))
    image = image_from_node(node, "HU")
    slicer.util.arrayFromVolume(node)[5, 4, 3] = 77
    assert image.voxels[0, 3, 4, 5] == 77
    with pytest.raises(ValueError, match="read-only"):
        image.voxels[0, 0, 0, 0] = 1


def test_offset_of_a_foreign_unit_is_taken_off_a_copy(add_volume: Any) -> None:
    node = add_volume(np.full(SHAPE[::-1], 1064, np.uint16))
    image = image_from_node(node, "HU+1024")
    assert image.unit == "HU" and (image.voxels == 40).all()
    assert (slicer.util.arrayFromVolume(node) == 1064).all()


def test_voxels_outlive_their_node(scene: Any, add_volume: Any) -> None:
    node = add_volume(np.full((30, 40, 50), 7, np.int16))
    image = image_from_node(node, "HU")
    scene.RemoveNode(node)
    del node
    assert (image.voxels == 7).all()


class TestRefused:
    @pytest.mark.parametrize(
        "under, sentence",
        [
            ("warped", "volume 'T1' is under a non-linear transform: harden it first"),
            ("sheared", "volume 'T1' has sheared axes"),
        ],
    )
    def test_transform(self, under: str, sentence: str, add_volume: Any, request: pytest.FixtureRequest) -> None:
        node = add_volume(np.zeros(SHAPE[::-1]), under=request.getfixturevalue(under))
        with pytest.raises(NodeError, match=sentence):
            image_from_node(node, "none")

    def test_axis_without_length(self, add_volume: Any, oblique: Any) -> None:
        with pytest.raises(NodeError, match="'T1' is flattened to nothing"):
            image_from_node(add_volume(np.zeros(SHAPE), oblique * [0, 1, 1, 1]), "none")

    def test_transform_that_flattens(self, scene: Any, add_volume: Any, oblique: Any) -> None:
        flat = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        flat.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 0.0, 1.0, 1.0])))
        node = add_volume(np.zeros(SHAPE), under=flat)
        for use in (lambda: image_from_node(node, "none"), lambda: node_from_image(hu(oblique), CT, scene, "ct", node)):
            with pytest.raises(NodeError, match="'T1' is flattened to nothing"):
                use()

    @pytest.mark.parametrize("kind", ["ScalarVolume", "VectorVolume", "LabelMapVolume"])
    def test_volume_without_voxels(self, kind: str, scene: Any) -> None:
        with pytest.raises(NodeError, match="volume 'empty' has no voxels"):
            image_from_node(scene.AddNewNodeByClass(f"vtkMRML{kind}Node", "empty"), "none")

    @pytest.mark.parametrize("kind", ["DiffusionTensorVolume", "DiffusionWeightedVolume", "Sequence", "Segmentation"])
    def test_node_of_another_kind(self, kind: str, scene: Any) -> None:
        with pytest.raises(NodeError, match=f"'x' is a vtkMRML{kind}Node: expected a scalar"):
            image_from_node(scene.AddNewNodeByClass(f"vtkMRML{kind}Node", "x"), "none")

    def test_result_beside_an_input_that_was_warped_meanwhile(self, scene: Any, add_volume: Any, warped: Any) -> None:
        node = add_volume(np.zeros(SHAPE[::-1]), under=warped)
        before = everything(scene)
        with pytest.raises(NodeError, match="non-linear"):
            node_from_image(hu(np.eye(4)), CT, scene, "ct", node)
        assert everything(scene) == before

    def test_result_beside_an_input_that_has_vanished(self, scene: Any, add_volume: Any) -> None:
        node = add_volume(np.zeros(SHAPE[::-1]))
        steps = volume_by_slabs(hu(np.eye(4)), CT, scene, "ct", node)
        next(steps)
        scene.RemoveNode(node)
        before = everything(scene)
        with pytest.raises(NodeError, match="'T1' is no longer in the scene"):
            mrml.finished(steps)
        assert everything(scene) == before

    @pytest.mark.parametrize(
        "voxels, sentence",
        [(np.full((1, *SHAPE), np.nan), "NaN or infinite"), (np.zeros((3, *SHAPE)), "3 values per voxel")],
    )
    def test_result_that_no_volume_can_hold(self, voxels: Any, sentence: str, scene: Any) -> None:
        before = everything(scene)
        with pytest.raises(NodeError, match=sentence):
            node_from_image(Image(voxels, np.eye(4), "HU"), CT, scene, "ct")
        assert everything(scene) == before


class TestResult:
    @pytest.mark.parametrize("unit, domain, dtype", [("HU", CT, np.int16), ("SUV", PET, np.float32)])
    def test_values_are_stored_as_their_unit_asks(self, unit: str, domain: Domain, dtype: type, scene: Any) -> None:
        values = np.array([-4e4, -1000.4, 0.6, 17.25, 4e4]).reshape(1, 5, 1, 1)
        stored = slicer.util.arrayFromVolume(node_from_image(Image(values, np.eye(4), unit), domain, scene, "x"))
        assert stored.dtype == dtype
        expected = [-32768, -1000, 1, 17, 32767] if unit == "HU" else values.ravel()
        np.testing.assert_allclose(stored.ravel(), expected, rtol=1e-6)

    @pytest.mark.parametrize(
        "domain, quantity, unit",
        [
            (CT, ("112031", "DCM", "Attenuation Coefficient"), ("[hnsf'U]", "UCUM", "Hounsfield unit")),
            (
                PET,
                ("126400", "DCM", "Standardized Uptake Value"),
                ("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"),
            ),
            (MR, ("110852", "DCM", "MR signal intensity"), ("1", "UCUM", "no units")),
        ],
        ids=["CT", "PT", "MR"],
    )
    def test_quantity_and_unit_are_coded_and_tell_the_modality(
        self, domain: Domain, quantity: tuple[str, ...], unit: tuple[str, ...], scene: Any
    ) -> None:
        node = node_from_image(Image(np.ones((1, *SHAPE)), np.eye(4), domain.unit), domain, scene, "x")
        for found, expected in ((node.GetVoxelValueQuantity(), quantity), (node.GetVoxelValueUnits(), unit)):
            assert (found.GetCodeValue(), found.GetCodingSchemeDesignator(), found.GetCodeMeaning()) == expected
        node.RemoveAttribute("MedGAN.modality")
        assert image_from_node(node, domain.unit).facts["modality"] == domain.modality

    @pytest.mark.parametrize(
        "domain, low, high, colours", [(CT, -160, 240, "Grey"), (PET, 0, 10, "PET-Heat"), (MR, 5, 995, "Grey")]
    )
    def test_window_fits_the_domain_and_stays(
        self, domain: Domain, low: float, high: float, colours: str, scene: Any
    ) -> None:
        values = np.linspace(0, 1000, 40**3, dtype=np.float32).reshape(1, 40, 40, 40)
        display = node_from_image(Image(values, np.eye(4), domain.unit), domain, scene, "x").GetDisplayNode()
        found = display.GetLevel() - display.GetWindow() / 2, display.GetLevel() + display.GetWindow() / 2
        # Half a percent of the MR's voxels in the body, from 50 on, lies on either side.
        np.testing.assert_allclose(found, (54.75, 995.2) if domain is MR else (low, high), atol=1.5)
        assert not display.GetAutoWindowLevel()
        assert display.GetColorNode().GetName() == colours

    def test_label_map_has_the_labels_names_and_colours(self, scene: Any) -> None:
        values = np.array([0, 3, 7]).reshape(1, 3, 1, 1)
        node = node_from_image(Image(values, np.eye(4), "label"), SEG, scene, "x")
        assert node.GetClassName() == "vtkMRMLLabelMapVolumeNode"
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(node).ravel(), [0, 3, 7])
        colours, rgba = node.GetDisplayNode().GetColorNode(), [0.0] * 4
        for label in LABELS.labels:
            colours.GetColor(label.value, rgba)
            assert colours.GetColorName(label.value) == label.name
            np.testing.assert_allclose(rgba, [*np.array(label.colour) / 255, 1])

    def test_says_that_it_is_synthetic_and_how_it_came_to_be(self, scene: Any) -> None:
        provenance = {"model": "toy", "findings": [{"level": "warning"}]}
        node = node_from_image(hu(np.eye(4)), CT, scene, "ct", provenance=provenance)
        notes = "SYNTHETIC CT (HU) by MedGAN toy, research use only"
        assert node.GetDescription() == notes
        said = {name: node.GetAttribute(f"MedGAN.{name}") for name in ("synthetic", "use", "model", "findings")}
        assert said == {"synthetic": "true", "use": RESEARCH_USE, "model": "toy", "findings": '[{"level": "warning"}]'}
        assert image_from_node(node, "HU").facts == {"modality": "CT", "notes": notes}

    def test_says_so_even_where_its_image_says_nothing(self, scene: Any) -> None:
        node = node_from_image(Image(np.ones((1, *SHAPE)), np.eye(4), "SUV"), PET, scene, "pet")
        assert node.GetDescription() == "SYNTHETIC PT (SUV) by MedGAN, research use only"
        assert account(mrml.provenance_of(node)) == [("Synthetic", RESEARCH_USE)]

    def test_lies_in_its_input_s_folder(self, scene: Any, add_volume: Any, oblique: Any) -> None:
        node = add_volume(np.zeros(SHAPE[::-1]))
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
        hierarchy.CreateItem(folder, node)
        result = node_from_image(hu(oblique), CT, scene, "ct", node)
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == folder


def test_modality_that_the_dicom_reader_noted_is_a_fact(scene: Any, add_volume: Any) -> None:
    node = add_volume(np.zeros(SHAPE[::-1]))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert image_from_node(node, "none").facts == {"modality": "MR"}


def test_volume_that_nothing_is_known_of_has_no_facts(scene: Any, add_volume: Any) -> None:
    before = everything(scene)
    assert image_from_node(add_volume(np.zeros(SHAPE[::-1])), "none").facts == {}
    assert len(everything(scene)) == len(before) + 1


class TestSlabs:
    @pytest.fixture
    def large(self, monkeypatch: pytest.MonkeyPatch, oblique: Any) -> Image:
        monkeypatch.setattr(mrml, "_SLAB_VOXELS", 45)
        return hu(oblique)

    def test_nothing_is_in_the_scene_before_all_is(self, large: Image, scene: Any) -> None:
        before = everything(scene)
        shares, steps = [], volume_by_slabs(large, CT, scene, "ct")
        with pytest.raises(StopIteration) as end:
            while True:
                shares.append(next(steps))
                assert everything(scene) == before
        np.testing.assert_allclose(shares, [1 / 3, 2 / 3, 1])
        kji = slicer.util.arrayFromVolume(end.value.value)
        np.testing.assert_array_equal(kji.T, np.rint(large.voxels[0]))
        assert scene.IsNodePresent(end.value.value)

    @pytest.mark.parametrize("copied", range(4))
    def test_cancel_leaves_the_scene_as_it_was(self, copied: int, large: Image, scene: Any) -> None:
        before = everything(scene)
        steps = volume_by_slabs(large, CT, scene, "ct")
        for _ in range(copied):
            next(steps)
        steps.close()
        assert everything(scene) == before


def test_table_says_what_was_done(scene: Any) -> None:
    provenance = {
        "model": "toy",
        "seconds": 1.5,
        "strength": None,
        "shape": [4, 5, 6],
        "findings": [{"level": "warning", "text": "thin"}],
        "asked": {"force": False},
    }
    node = mrml.provenance_table(provenance, scene, "what was done")
    cells = [tuple(node.GetCellText(row, column) for column in (0, 1)) for row in range(node.GetNumberOfRows())]
    assert cells == [
        ("model", "toy"),
        ("seconds", "1.5"),
        ("strength", ""),
        ("shape", "4, 5, 6"),
        ("findings 1, level", "warning"),
        ("findings 1, text", "thin"),
        ("asked, force", "False"),
    ]
    assert [node.GetColumnName(column) for column in (0, 1)] == ["what", "value"]
    assert scene.IsNodePresent(node) and node.GetLocked()


def test_result_is_shown_over_its_input_in_every_view(scene: Any, add_volume: Any, oblique: Any) -> None:
    node = add_volume(np.zeros(SHAPE[::-1]))
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)]
    result = node_from_image(hu(oblique), CT, scene, "ct", node)
    labels = node_from_image(Image(np.ones((1, *SHAPE)), oblique, "label"), SEG, scene, "labels", node)
    mrml.show_over(node, result, scene, 0.25)
    mrml.show_over(node, labels, scene, 0.75)
    for view in views:
        assert view.GetBackgroundVolumeID() == node.GetID()
        assert (view.GetForegroundVolumeID(), view.GetForegroundOpacity()) == (result.GetID(), 0.25)
        assert (view.GetLabelVolumeID(), view.GetLabelOpacity()) == (labels.GetID(), 0.75)
