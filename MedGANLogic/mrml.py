"""Volumes, segmentations and regions of a MRML scene ⇄ Image: the one module that sees VTK and MRML.

It is imported only where ``slicer`` is: in Slicer, or beside the slicer-core wheel. Slicer's arrays are KJI and its
volumes lie in their parent transform; here they become (C, I, J, K) in the world, and the other way round.
"""

import itertools
import json
import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from MedGANLogic.catalogue import RESEARCH_USE
from MedGANLogic.domain import FOREIGN_UNITS, Array, Colours, Domain, Label, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import UNMEASURED, Affine, Grid, Image, colours_of

Node = Any
Scene = Any
#: Yields the share that is done, from 0 to 1; returns the node. ``close()`` cancels and leaves the scene as it was.
Steps = Generator[float, None, Node]

_VOLUMES = ("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode")
_LABELMAP = "Binary labelmap"
#: What our attributes begin with.
_OURS = "MedGAN."
_HIERARCHY = "vtkMRMLSubjectHierarchyNode"
# A slab is copied in a few hundredths of a second, in whatever order the voxels are: nobody sees the panel pause.
_SLAB_VOXELS = 1 << 19
_ENOUGH_VOXELS = 1 << 20

_GREY = "vtkMRMLColorTableNodeGrey"
# What is shown of a unit at first: soft tissue of a CT, the usual range of a PET; and by which colours.
_SHOWN = {"HU": (-160.0, 240.0, _GREY), "SUV": (0.0, 10.0, "vtkMRMLPETProceduralColorNodePET-Heat")}
_STORED = {"HU": np.int16, "label": np.int16}

# Quantity and unit for each of ours, in the codes of Slicer's own DICOM reader and, for PET, of its SUV tools.
_QUANTITIES = {
    "HU": ("112031", "DCM", "Attenuation Coefficient"),
    "SUV": ("126400", "DCM", "Standardized Uptake Value"),
    "none": ("110852", "DCM", "MR signal intensity"),
}
_UNITS = {
    "HU": ("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "SUV": ("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"),
    "none": ("1", "UCUM", "no units"),
}
_MODALITIES = {"112031": "CT", "126400": "PT", "110852": "MR"}

_CATEGORIES = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMICAL_STRUCTURE = ("123037004", "SCT", "Anatomical Structure")
_REGIONS = "Anatomic codes - DICOM master list"
_NO_CODE = ("", "", "")


class NodeError(MedGANError):
    """A node that cannot be used, said in words: what was found, what was expected, what to do."""


def image_from_node(node: Node, unit: str) -> Image:
    """Return a scalar, vector or label map volume where it lies in the world, linear parent transforms composed in.

    ``unit`` is what the values are, or a foreign unit (``HU+1024``) that is turned into one. The voxels are a read-only
    view of the node's own, no copy, unless the unit is foreign: copy them before Slicer is let go on. Colours are as
    ``images.colours_of`` says; a photograph, one slice of them, has no size. ``facts`` holds the modality and the notes
    where the node says them. Raises NodeError for a node without voxels or of another kind (sequences, diffusion), for
    a non-linear transform above it, and for sheared axes.
    """
    unit, offset = FOREIGN_UNITS.get(unit, (unit, 0.0))
    affine = grid_of(node).affine
    voxels = _voxels_of(node.GetImageData())
    voxels.flags.writeable = False
    if offset:
        voxels = voxels.astype(np.float32) + np.float32(offset)
    facts = _facts_of(node)
    # Vectors of other numbers are no colours, such as displacements.
    if len(voxels) in (3, 4) and voxels.dtype in (np.uint8, np.uint16):
        voxels = colours_of(voxels)
        facts |= {"size": UNMEASURED} if voxels.shape[3] == 1 else {}
    return Image(voxels, affine, unit, facts)


def grid_of(node: Node) -> Grid:
    """Return where a volume's voxels lie in the world. Raises what ``image_from_node`` raises."""
    if node.GetClassName() not in _VOLUMES:
        raise NodeError(
            f"{_called(node)} is a {node.GetClassName()}: expected a scalar, vector or label map volume "
            "(of a sequence, give one time point)"
        )
    data = node.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0 or data.GetPointData().GetScalars() is None:
        raise NodeError(f"{_called(node)} has no voxels: load its file again, or choose another one")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = _world_from_parent(node) @ slicer.util.arrayFromVTKMatrix(matrix)
    _refuse_flat(affine, node)
    _refuse_sheared(affine, node)
    return Grid(tuple(data.GetDimensions()), affine)


def node_from_image(
    image: Image,
    domain: Domain,
    scene: Scene,
    name: str,
    beside: Node | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Node:
    """Put a synthetic image into the scene at once; see ``volume_by_slabs``."""
    return finished(volume_by_slabs(image, domain, scene, name, beside, provenance))


def volume_by_slabs(
    image: Image,
    domain: Domain,
    scene: Scene,
    name: str,
    beside: Node | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Steps:
    """Put a synthetic image into the scene slab by slab, labels as a label map, colours as a vector volume.

    HU are stored as whole numbers (int16), labels as int16, colours as 8 bits, all else as float32. The node lies under
    the same parent transform as ``beside``, so that each voxel is where the image's affine says in the world, and next
    to it in the subject hierarchy; window and colours follow from the domain, quantity and unit are coded. Description
    and ``MedGAN`` attributes say that it is synthetic, and how it came to be. The scene changes in the last step alone.
    Raises NodeError for another number of values per voxel than the domain's, for voxels that are NaN or infinite, and
    where ``beside`` has left the scene or lies under a non-linear transform or one that flattens it.
    """
    data = vtk.vtkImageData()
    yield from _filling(data, image, scene, beside, domain.window.components)
    kinds = {Labels: slicer.vtkMRMLLabelMapVolumeNode, Colours: slicer.vtkMRMLVectorVolumeNode}
    node = kinds.get(type(domain.window), slicer.vtkMRMLScalarVolumeNode)()
    node.SetName(name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(_parent_from_world(beside) @ image.affine))
    node.SetAndObserveImageData(data)
    if domain.window.components == 1:
        _say_unit(node, image.unit)
    _say_synthetic(node, image, domain.modality, provenance or {})
    # Shown as it will stay: a display node that came later would look for its window in all voxels at once.
    node.SetAndObserveDisplayNodeID(_display_of(image, domain, scene, name).GetID())
    _enter(node, scene, beside)
    return node


def segmentation_from_image(
    image: Image,
    labels: Labels,
    scene: Scene,
    name: str,
    reference: Node | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Node:
    """Put a synthetic label image into the scene as a segmentation at once; see ``segmentation_by_slabs``."""
    return finished(segmentation_by_slabs(image, labels, scene, name, reference, provenance))


def segmentation_by_slabs(
    image: Image,
    labels: Labels,
    scene: Scene,
    name: str,
    reference: Node | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Steps:
    """Put a synthetic label image into the scene slab by slab, as a segmentation on the grid of a reference volume.

    Each label becomes a segment with its name, colour, value and, where it has a SNOMED CT code, terminology; one
    that no voxel has is empty. The node lies under the reference's parent transform and next to it in the subject
    hierarchy. The scene changes in the last step alone. Raises what ``volume_by_slabs`` raises.
    """
    data = slicer.vtkOrientedImageData()
    yield from _filling(data, image, scene, reference)
    data.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(_parent_from_world(reference) @ image.affine))
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(name)
    node.SetSourceRepresentationToBinaryLabelmap()
    for label in labels.labels:
        node.GetSegmentation().AddSegment(_segment_of(label, data))
    _say_synthetic(node, image, "SEG", provenance or {})
    _enter(node, scene, reference)
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    node.CreateDefaultDisplayNodes()
    return node


def finished(steps: Steps) -> Node:
    """Go through all steps at once and return the node."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def image_from_segmentation(node: Node, grid: Grid) -> tuple[Image, Labels]:
    """Return a segmentation as a label image (1, I, J, K; int16) on a grid in the world, and what its values mean.

    Values are the segments' own where all differ (from one file), else they count from 1. Where segments overlap the
    one in the later layer wins. Raises NodeError for a segmentation without segments or binary label map, and under a
    non-linear or shearing transform.
    """
    segmentation = _segmentation_of(node)
    labels = _labels_of(segmentation)
    wanted = {key: label.value for key, label in zip(segmentation.GetSegmentIDs(), labels, strict=True)}
    merged = _nothing_on(grid, np.int16)
    for layer in range(segmentation.GetNumberOfLayers(_LABELMAP)):
        values = {
            segmentation.GetSegment(key).GetLabelValue(): wanted[key]
            for key in segmentation.GetSegmentIDsForLayer(layer, _LABELMAP)
        }
        own = _label_map(node, segmentation.GetLayerDataObject(layer, _LABELMAP))
        placed = _labels_on(grid, replace(own, voxels=_replaced(own.voxels, values))).voxels
        np.copyto(merged, placed, where=placed > 0)
    return Image(merged, grid.affine, "label"), Labels(labels)


def labels_from_node(node: Node, labels: Labels, grid: Grid) -> Image:
    """Return a segmentation, or a label map volume, as a label image (1, I, J, K; int16) with the values of labels.

    A segment is known by its name, in capitals or not; where segments overlap the later label wins. A segmentation is
    brought onto a grid in the world; a label map volume stays where it is, and its values are taken for the labels'.
    Raises NodeError for a segmentation that has none of the labels, and what ``image_from_segmentation`` and
    ``image_from_node`` raise.
    """
    if node.GetClassName() != "vtkMRMLSegmentationNode":
        return image_from_node(node, "label")
    segmentation = _segmentation_of(node)
    segments = [segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()]
    named = {segment.GetName().casefold(): segment for segment in segments}
    known = [label for label in labels.labels if label.name.casefold() in named]
    if not known:
        there = ", ".join(segment.GetName() for segment in segments)
        wanted = " or ".join(label.name for label in labels.labels)
        raise NodeError(f"{_called(node)} has no segment called {wanted}: found {there}; rename yours")
    merged = _nothing_on(grid, np.int16)
    for label in known:
        painted = _labels_on(grid, _painted(node, named[label.name.casefold()]))
        np.copyto(merged, np.int16(label.value), where=painted.voxels > 0)
    return Image(merged, grid.affine, "label")


def mask_from_segment(node: Node, segment_id: str, grid: Grid) -> Image:
    """Return one segment as a mask (1, I, J, K; uint8, 1 inside) on a grid in the world.

    Raises NodeError where there is no such segment or nothing is painted in it, and what ``image_from_segmentation``
    raises.
    """
    segmentation = _segmentation_of(node)
    segment = segmentation.GetSegment(segment_id)
    if segment is None:
        there = ", ".join(f"{key} ({segmentation.GetSegment(key).GetName()})" for key in segmentation.GetSegmentIDs())
        raise NodeError(f"{_called(node)} has no segment {segment_id!r}: there are {there}")
    own = _painted(node, segment)
    if not own.voxels.any():
        raise NodeError(f"segment {segment.GetName()!r} is empty: paint it, or choose another one")
    return _labels_on(grid, own)


def mask_from_roi(node: Node, grid: Grid) -> Image:
    """Return a region of interest as a mask (1, I, J, K; uint8, 1 inside) on a grid in the world.

    A voxel is inside where its centre lies in the box that Slicer draws. Raises NodeError for a region that has no
    size yet, is inside out, or lies under a non-linear transform.
    """
    size = np.array(node.GetSize())
    if not (size > 0).all():
        raise NodeError(f"{_called(node)} has no size: place it in the views first")
    if node.GetInsideOut():
        raise NodeError(f"{_called(node)} is inside out: switch that off, or take a segment")
    # Asked for its refusal alone: the node composes its transforms, and keeps its box a box, itself.
    _world_from_parent(node)
    region_from_index = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())) @ grid.affine
    corners = [[*corner, 1.0] for corner in itertools.product(*zip(-size / 2, size / 2, strict=True))]
    reach = np.linalg.solve(region_from_index, np.transpose(corners))[:3]
    first = np.clip(np.floor(reach.min(axis=1)), 0, grid.shape).astype(int)
    last = np.clip(np.ceil(reach.max(axis=1)) + 1, 0, grid.shape).astype(int)
    i, j = np.ogrid[first[0] : last[0], first[1] : last[1]]
    inside = _nothing_on(grid, np.uint8)
    for k in range(first[2], last[2]):
        within = np.ones(np.broadcast_shapes(i.shape, j.shape), bool)
        for (di, dj, dk, start), length in zip(region_from_index[:3], size, strict=True):
            within &= np.abs(di * i + (dj * j + (dk * k + start))) <= length / 2
        inside[0, first[0] : last[0], first[1] : last[1], k] = within
    return Image(inside, grid.affine, "label")


def provenance_of(node: Node) -> dict[str, Any]:
    """Return how a synthetic node came to be, as its attributes keep it; empty for any other node."""
    said = {}
    for name in node.GetAttributeNames() or ():
        if name.startswith(_OURS):
            said[name.removeprefix(_OURS)] = _parsed(node.GetAttribute(name))
    return said


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def provenance_table(provenance: Mapping[str, Any], scene: Scene, name: str) -> Node:
    """Put what was done into the scene as a table of two columns: what, and its value."""
    columns = []
    for title in ("what", "value"):
        column = vtk.vtkStringArray()
        column.SetName(title)
        columns.append(column)
    for row in _rows("", provenance):
        for column, text in zip(columns, row, strict=True):
            column.InsertNextValue(text)
    node = slicer.vtkMRMLTableNode()
    node.SetName(name)
    for column in columns:
        node.AddColumn(column)
    node.SetLocked(True)
    scene.AddNode(node)
    return node


def show_over(background: Node, result: Node, scene: Scene, opacity: float) -> None:
    """Show a result over a volume in all slice views; ``opacity`` runs from 0, the volume alone, to 1."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        composite.SetBackgroundVolumeID(background.GetID())
        if result.IsA("vtkMRMLLabelMapVolumeNode"):
            composite.SetLabelVolumeID(result.GetID())
            composite.SetLabelOpacity(opacity)
        elif result.IsA("vtkMRMLVolumeNode"):
            composite.SetForegroundVolumeID(result.GetID())
            composite.SetForegroundOpacity(opacity)
    if result.IsA("vtkMRMLSegmentationNode"):
        result.GetDisplayNode().SetOpacity(opacity)


def _called(node: Node) -> str:
    kinds = {"vtkMRMLSegmentationNode": "segmentation", "vtkMRMLMarkupsROINode": "ROI"}
    return f"{kinds.get(node.GetClassName(), 'volume')} {node.GetName()!r}"


def _world_from_parent(node: Node) -> Affine:
    """Return the transforms above a node, composed."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise NodeError(f"{_called(node)} is under a non-linear transform: harden it first")
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    world_from_parent = np.asarray(slicer.util.arrayFromVTKMatrix(matrix), np.float64)
    _refuse_flat(world_from_parent, node)
    return world_from_parent


def _parent_from_world(node: Node | None) -> Affine:
    world_from_parent = np.eye(4) if node is None else _world_from_parent(node)
    return np.asarray(np.linalg.inv(world_from_parent), np.float64)


def _refuse_flat(affine: Affine, node: Node) -> None:
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise NodeError(f"{_called(node)} is flattened to nothing by its spacing or transform: put that right first")


def _refuse_sheared(affine: Affine, node: Node) -> None:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise NodeError(f"{_called(node)} has sheared axes: resample it to a box first (in Slicer: Crop Volume)")


def _refuse_gone(node: Node | None, scene: Scene) -> None:
    if node is not None and not scene.IsNodePresent(node):
        raise NodeError(f"{_called(node)} is no longer in the scene: nothing was added")


def _voxels_of(data: Any) -> Array:
    """Return VTK image data as a view of (C, I, J, K)."""
    flat = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    slices_first = (*reversed(data.GetDimensions()), data.GetNumberOfScalarComponents())
    return np.asarray(flat.reshape(slices_first).transpose(3, 2, 1, 0))


def _filling(data: Any, image: Image, scene: Scene, beside: Node | None, components: int = 1) -> Iterator[float]:
    """Copy an image into VTK image data, a few slices a step; yield the share that is done.

    What stands beside it is looked for before and after: the user goes on working in between.
    """
    if image.voxels.shape[0] != components:
        expected = "one" if components == 1 else str(components)
        raise NodeError(f"the image has {image.voxels.shape[0]} values per voxel: expected {expected}")
    _refuse_gone(beside, scene)
    stored = np.dtype(np.uint8 if components == 3 else _STORED.get(image.unit, np.float32))
    data.SetDimensions(image.grid.shape)
    data.AllocateScalars(numpy_support.get_vtk_array_type(stored), components)
    target, count = _voxels_of(data), image.grid.shape[2]
    thick = max(1, _SLAB_VOXELS // math.prod(image.grid.shape[:2]))
    for first in range(0, count, thick):
        slab = np.s_[:, :, :, first : first + thick]
        target[slab] = _as_stored(image.voxels[slab], stored)
        yield min(first + thick, count) / count
    _refuse_gone(beside, scene)


def _as_stored(voxels: Array, stored: np.dtype[Any]) -> Array:
    if not np.isfinite(voxels).all():
        raise NodeError("some voxels are NaN or infinite: nothing was added to the scene")
    if stored.kind == "f":
        return voxels
    return np.asarray(np.clip(np.rint(voxels), np.iinfo(stored).min, np.iinfo(stored).max))


def _enter(node: Node, scene: Scene, beside: Node | None) -> None:
    """Add a node to the scene, in the transform and the subject hierarchy's folder of another."""
    if beside is not None:
        node.SetAndObserveTransformNodeID(beside.GetTransformNodeID())
    scene.AddNode(node)
    hierarchy = scene.GetFirstNodeByClass(_HIERARCHY)
    item = hierarchy.GetItemByDataNode(beside) if hierarchy is not None and beside is not None else 0
    if item:
        hierarchy.CreateItem(hierarchy.GetItemParent(item), node)


def _display_of(image: Image, domain: Domain, scene: Scene, name: str) -> Node:
    """Add the display node for a volume of a domain to the scene."""
    if isinstance(domain.window, Labels):
        display = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeDisplayNode")
        display.SetAndObserveColorNodeID(_colours_of(domain.window, scene, name).GetID())
        return display
    if isinstance(domain.window, Colours):
        return scene.AddNewNodeByClass("vtkMRMLVectorVolumeDisplayNode")
    step = math.ceil((image.voxels.size / _ENOUGH_VOXELS) ** (1 / 3))
    scale = domain.window.scale(image.voxels[:, ::step, ::step, ::step])
    low, high, colours = _SHOWN.get(domain.unit, (scale.low, scale.high, _GREY))
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(high - low, (high + low) / 2)
    display.SetAndObserveColorNodeID(colours)
    return display


def _colours_of(labels: Labels, scene: Scene, name: str) -> Node:
    colours = slicer.vtkMRMLColorTableNode()
    colours.SetTypeToUser()
    colours.SetName(f"{name} labels")
    colours.SetNumberOfColors(max(label.value for label in labels.labels) + 1)
    colours.SetColor(0, "background", 0.0, 0.0, 0.0, 0.0)
    for label in labels.labels:
        colours.SetColor(label.value, label.name, *(part / 255 for part in label.colour), 1.0)
    scene.AddNode(colours)
    return colours


def _say_unit(node: Node, unit: str) -> None:
    if unit in _UNITS:
        node.SetVoxelValueQuantity(_coded(_QUANTITIES[unit]))
        node.SetVoxelValueUnits(_coded(_UNITS[unit]))


def _coded(code: tuple[str, str, str]) -> Any:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*code)
    return entry


def _say_synthetic(node: Node, image: Image, modality: str, provenance: Mapping[str, Any]) -> None:
    notes = image.facts.get("notes", f"SYNTHETIC {modality} ({image.unit}) by MedGAN, research use only")
    node.SetDescription(notes)
    said = {**provenance, "synthetic": True, "use": RESEARCH_USE, "modality": modality, "notes": notes}
    for key, value in said.items():
        node.SetAttribute(_OURS + key, value if isinstance(value, str) else json.dumps(value))


def _facts_of(node: Node) -> dict[str, str]:
    quantity = node.GetVoxelValueQuantity()
    modality = (
        node.GetAttribute("MedGAN.modality")
        or _said_by_dicom(node)
        or _MODALITIES.get(quantity.GetCodeValue() if quantity else "", "")
    )
    facts = {"modality": modality, "notes": node.GetAttribute("MedGAN.notes") or ""}
    return {name: text for name, text in facts.items() if text}


def _said_by_dicom(node: Node) -> str:
    """Return the modality that Slicer's DICOM reader noted in the subject hierarchy."""
    hierarchy = node.GetScene() and node.GetScene().GetFirstNodeByClass(_HIERARCHY)
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    return str(hierarchy.GetItemAttribute(item, "DICOM.Modality")) if item else ""


def _segmentation_of(node: Node) -> Any:
    segmentation = node.GetSegmentation()
    if segmentation is None or segmentation.GetNumberOfSegments() == 0:
        raise NodeError(f"{_called(node)} has no segments: choose another one")
    if not segmentation.ContainsRepresentation(_LABELMAP):
        raise NodeError(f"{_called(node)} has no binary label map: create it in the Segmentations module first")
    return segmentation


def _painted(node: Node, segment: Any) -> Image:
    """Return a segment of a segmentation as a mask (1, I, J, K; uint8, 1 inside), where it lies in the world."""
    own = _label_map(node, segment.GetRepresentation(_LABELMAP))
    inside = own.voxels == segment.GetLabelValue()
    return replace(own, voxels=inside.view(np.uint8))


def _segment_of(label: Label, data: Any) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetColor(*(part / 255 for part in label.colour))
    segment.SetLabelValue(label.value)
    segment.AddRepresentation(_LABELMAP, data)
    if label.snomed:
        # These characters separate the tag's parts and, in a file, one tag from the next.
        meaning = label.name.translate(str.maketrans("~^|", "   "))
        tag = slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
            _CATEGORIES, *_ANATOMICAL_STRUCTURE, label.snomed, "SCT", meaning, *_NO_CODE, _REGIONS, *_NO_CODE, *_NO_CODE
        )
        segment.SetTag(segment.GetTerminologyEntryTagName(), tag)
    return segment


def _labels_of(segmentation: Any) -> tuple[Label, ...]:
    segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
    values = [segment.GetLabelValue() for segment in segments]
    if len(set(values)) < len(values) or not all(0 < value < 2**15 for value in values):
        values = list(range(1, len(values) + 1))
    return tuple(
        Label(
            value,
            segment.GetName() or f"segment {value}",
            tuple(round(255 * part) for part in segment.GetColor()),
            _snomed_of(segment),
        )
        for value, segment in zip(values, segments, strict=True)
    )


def _snomed_of(segment: Any) -> str:
    """Return the SNOMED CT code of a segment's type; nothing where it has none, or what Slicer says of each."""
    tag, entry = _terminology_of(segment), slicer.vtkSlicerTerminologyEntry()
    if tag in ("", _terminology_of(slicer.vtkSegment())):
        return ""
    if not slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(tag, entry):
        return ""
    kind = entry.GetTypeObject()
    return str(kind.GetCodeValue()) if kind.GetCodingSchemeDesignator() == "SCT" else ""


def _terminology_of(segment: Any) -> str:
    tag = vtk.reference("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), tag)
    return str(tag)


def _nothing_on(grid: Grid, kind: type) -> Array:
    """Return background (1, I, J, K) in Slicer's order in memory, so that slices are written at one go."""
    return np.zeros((*reversed(grid.shape), 1), kind).T


def _labels_on(grid: Grid, labels: Image) -> Image:
    """Return labels on a grid in the world: shifted by whole voxels where that will do, else by nearest neighbour."""
    start = np.rint(np.linalg.solve(labels.affine, grid.affine[:, 3])[:3]).astype(int)
    shifted = labels.affine.copy()
    shifted[:3, 3] += shifted[:3, :3] @ start
    if not Grid(grid.shape, shifted).matches(grid):
        placed = labels.on_grid(grid, outside=0.0, nearest=True)
        return replace(placed, voxels=placed.voxels.astype(labels.voxels.dtype))
    voxels = _nothing_on(grid, labels.voxels.dtype.type)
    low, high = np.maximum(start, 0), np.minimum(start + grid.shape, labels.grid.shape)
    there = tuple(slice(first, last) for first, last in zip(low, np.maximum(low, high), strict=True))
    here = tuple(slice(one.start - shift, one.stop - shift) for one, shift in zip(there, start, strict=True))
    voxels[:, *here] = labels.voxels[:, *there]
    return Image(voxels, grid.affine, labels.unit)


def _label_map(node: Node, data: Any) -> Image:
    """Return the label map that segments share as it is, where it lies in the world."""
    if data is None or data.GetNumberOfPoints() == 0:
        return Image(np.zeros((1, 1, 1, 1), np.uint8), np.eye(4), "label")
    matrix = vtk.vtkMatrix4x4()
    data.GetImageToWorldMatrix(matrix)
    affine = _world_from_parent(node) @ slicer.util.arrayFromVTKMatrix(matrix)
    # A segment's voxels may begin anywhere on the lattice of its matrix.
    affine[:3, 3] += affine[:3, :3] @ data.GetExtent()[::2]
    _refuse_sheared(affine, node)
    return Image(_voxels_of(data), affine, "label")


def _replaced(voxels: Array, values: Mapping[int, int]) -> Array:
    """Replace each value by another; what has none becomes 0."""
    beyond = max(values) + 1
    table = np.zeros(beyond + 1, np.int16)
    table[list(values)] = list(values.values())
    return table[np.clip(voxels, 0, beyond).astype(np.intp)]


def _rows(what: str, value: Any) -> Iterator[tuple[str, str]]:
    """Take nested plain data apart into rows of text."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _rows(f"{what}, {key}" if what else str(key), one)
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        for number, one in enumerate(value, start=1):
            yield from _rows(f"{what} {number}", one)
    elif isinstance(value, list | tuple):
        yield what, ", ".join(map(str, value))
    else:
        yield what, "" if value is None else str(value)
