"""A translation of nodes by a child process. No Qt."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from MedGANLib.Task import Task
from MedGANLogic.catalogue import Model
from MedGANLogic.domain import Domain, FixedWindow, Labels
from MedGANLogic.images import Image, read, write
from MedGANLogic.jobs import Job
from MedGANLogic.mrml import (
    NodeError,
    finished,
    grid_of,
    image_from_node,
    labels_from_node,
    segmentation_by_slabs,
    volume_by_slabs,
)
from MedGANLogic.presenters.translation import Chosen, Work, arguments

_BRINGING_IN = "Bringing the result into the scene"
#: What the share of a label is, from 0 to 1.
_PROBABILITY = Domain("OT", "none", FixedWindow(0.0, 1.0, body_above=0.0), 0.0)


class NodeTranslation(Task):
    """One translation: voxels out, a child process, voxels in.

    When it is DONE the ``outputNodes`` stand in the scene, one for each target of each volume and, where they are asked
    for, one for each label's probability; else the scene is as it was before. ``outputNode`` is the first of them,
    ``provenance`` the account of how it came to be.
    """

    def __init__(
        self,
        scene,
        model: Model,
        chosen: Chosen,
        inputNodes: Mapping[str, object],
        outputNames: Mapping[str, str],
        makeMask: Callable[[object], Image] | None = None,
        interpreter: str = sys.executable,
        replacedNode=None,
    ) -> None:
        """``inputNodes`` are volumes by role, or for labels segmentations; what a model does without may be left out.
        ``makeMask`` returns a mask on a grid, when it is asked for.

        ``outputNames`` are names by target; one that is taken gets a number. ``replacedNode`` takes the first result
        instead of a new node. Raises NodeError for one that cannot.
        """
        super().__init__("Handing the volume over", interpreter)
        _refuseReplacing(replacedNode, inputNodes, model)
        self.scene, self.model, self.chosen = scene, model, chosen
        self.inputNodes, self.outputNames, self.makeMask = dict(inputNodes), outputNames, makeMask
        self.outputNodes: list[object] = []
        self.provenance: Mapping[str, object] = {}
        self._replacedNode = replacedNode

    @property
    def outputNode(self):
        """The first result, or None."""
        return self.outputNodes[0] if self.outputNodes else None

    def _go(self, job: Job) -> Iterator[Work]:
        output = job.folder / "result.npy"
        inputs, mask = yield from self._handOver(job.folder)
        self.work = replace(self.work, doing=self._doing())
        result = yield from self._run(job, *arguments(self.model, self.chosen, inputs, mask, output))
        if result is not None:
            self.provenance = result["provenance"]
            yield from self._bringIn([self.provenance, *self.provenance.get("further", ())])

    def _doing(self) -> str:
        names = " and ".join(node.GetName() for node in self.inputNodes.values())
        return f"Translating {names}" if names else "Drawing"

    def _handOver(self, folder: Path) -> Iterator[Work]:
        """Write voxels where the child finds them; return the inputs' files by role, and the mask's."""
        inputs = {}
        for role, node in self.inputNodes.items():
            if not self.scene.IsNodePresent(node):
                raise NodeError(f"volume {node.GetName()!r} is no longer in the scene: choose another")
            inputs[role] = folder / f"{len(inputs)}.npy"
            write(inputImage(node, self.model.card.inputs[role], next(iter(self.inputNodes.values()))), inputs[role])
            yield self.work
        if self.makeMask is None:
            return inputs, None
        mask = folder / "mask.npy"
        write(self.makeMask(grid_of(next(iter(self.inputNodes.values())))), mask)
        yield self.work
        return inputs, mask

    def _bringIn(self, accounts: Sequence[Mapping[str, object]]) -> Iterator[Work]:
        """Put every result into the scene, or none: they enter together, when all are ready to."""
        yield Work(_BRINGING_IN, 0.0)
        ready = []
        for account in accounts:
            steps = yield from self._inShort(_BRINGING_IN, _untilReady(self._stepsOf(account)))
            if steps is None:
                return
            ready.append(steps)
        first, *others = [finished(steps) for steps in ready]
        self.outputNodes = [self._replaced(first), *others]

    def _stepsOf(self, account: Mapping[str, object]):
        """Return the steps that make a node of a file of the child's."""
        target, name = self.model.card.targets[account["target"]], self.outputNames[account["target"]]
        if "label" in account:
            target, name = _PROBABILITY, f"{name} probability {account['label']}"
        image = read(account["output"], target.unit)
        name = self.scene.GenerateUniqueName(name)
        beside = next(iter(self.inputNodes.values()), None)
        said = {key: value for key, value in account.items() if key != "further"}
        if isinstance(target.window, Labels):
            return segmentation_by_slabs(image, target.window, self.scene, name, beside, said)
        return volume_by_slabs(image, target, self.scene, name, beside, said)

    def _replaced(self, node):
        """Return the node that was to be replaced with the content of a new one, which goes; else the new one."""
        kept = self._replacedNode
        if kept is None or not self.scene.IsNodePresent(kept):
            return node
        # The voxels change hands; to copy them would let the GUI stand still.
        if node.IsA("vtkMRMLSegmentationNode"):
            kept.SetAndObserveSegmentation(node.GetSegmentation())
        else:
            kept.CopyOrientation(node)
            kept.SetAndObserveImageData(node.GetImageData())
            kept.SetVoxelValueQuantity(node.GetVoxelValueQuantity())
            kept.SetVoxelValueUnits(node.GetVoxelValueUnits())
        kept.SetDescription(node.GetDescription())
        for attribute in node.GetAttributeNames():
            kept.SetAttribute(attribute, node.GetAttribute(attribute))
        kept.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        display = node.GetDisplayNode()
        if display is not None:
            kept.SetAndObserveDisplayNodeID(display.GetID())
            node.RemoveAllDisplayNodeIDs()
        self.scene.RemoveNode(node)
        return kept


def inputImage(node, domain: Domain, firstNode) -> Image:
    """Return what a node is to a model; ``firstNode`` is the volume on whose grid a segmentation is put.

    Raises NodeError for a node that it cannot be.
    """
    if isinstance(domain.window, Labels):
        return labels_from_node(node, domain.window, grid_of(firstNode))
    return image_from_node(node, domain.unit)


def _untilReady(steps) -> Iterator[float]:
    """Go through steps but for the last, which changes the scene; return them."""
    for share in steps:
        yield share
        if share >= 1:
            break
    return steps


def _refuseReplacing(node, inputNodes, model: Model) -> None:
    if node is None:
        return
    if any(node.GetID() == of.GetID() for of in inputNodes.values()):
        raise NodeError(f"{node.GetName()!r} is an input: it is not overwritten; choose another output")
    target = next(iter(model.card.targets.values()))
    kind = "vtkMRMLSegmentationNode" if isinstance(target.window, Labels) else "vtkMRMLScalarVolumeNode"
    if not node.IsA(kind) or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise NodeError(
            f"{node.GetName()!r} cannot hold the result: choose a {kind.removeprefix('vtkMRML')}, or a new one"
        )
