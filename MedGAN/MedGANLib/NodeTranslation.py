"""A translation of nodes by a child process, in steps that are short enough for the timer of a GUI. No Qt."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from MedGANLogic.catalogue import Model
from MedGANLogic.domain import Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Image, read, write
from MedGANLogic.jobs import Job, State
from MedGANLogic.mrml import NodeError, grid_of, image_from_node, segmentation_by_slabs, volume_by_slabs
from MedGANLogic.presenters.translation import Chosen, Work, arguments, progressed

#: How long a script waits between two looks at its child.
_PAUSE_SECONDS = 0.05


class NodeTranslation:
    """One translation: voxels out, a child process, voxels in.

    ``advance`` does a small piece and returns whether there is more; ``work`` says what is being done. In the end
    ``state`` is DONE and ``outputNode`` stands in the scene, or FAILED and ``error`` says why, or CANCELLED; in the
    latter two the scene is as it was before. ``provenance`` is the account of how the result came to be.
    """

    def __init__(
        self,
        scene,
        model: Model,
        chosen: Chosen,
        inputNodes: Mapping[str, object],
        outputName: str,
        makeMask: Callable[[object], Image] | None = None,
        interpreter: str = sys.executable,
        replacedNode=None,
    ) -> None:
        """``inputNodes`` are volumes by role; ``makeMask`` returns a mask on a grid, when it is asked for.

        ``replacedNode`` takes the result instead of a new node. Raises NodeError for one that cannot.
        """
        _refuseReplacing(replacedNode, inputNodes, model)
        self._replacedNode = replacedNode
        self.scene, self.model, self.chosen = scene, model, chosen
        self.inputNodes, self.outputName, self.makeMask = dict(inputNodes), outputName, makeMask
        self.state = State.RUNNING
        self.work = Work("Handing the volume over")
        self.error = ""
        self.outputNode = None
        self.provenance: Mapping[str, object] = {}
        self._interpreter = interpreter
        self._job: Job | None = None
        self._steps = self._go()

    def advance(self) -> bool:
        """Do the next piece; return whether there is more."""
        if self.state is not State.RUNNING:
            return False
        try:
            self.work = next(self._steps)
        except StopIteration:
            self.state = State.CANCELLED if self.work.cancelling else State.DONE
        except (MedGANError, OSError) as error:
            self.state, self.error = State.FAILED, str(error)
        return self.state is State.RUNNING

    def cancel(self) -> None:
        """Ask for the end; ``advance`` until it has come, which takes two seconds at most."""
        self.work = replace(self.work, cancelling=True)
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """End at once, waiting for the child: for a scene or a module that goes away."""
        self.cancel()
        self._steps.close()
        if self.state is State.RUNNING:
            self.state = State.CANCELLED

    def finish(self, onStep: Callable[["NodeTranslation"], object] = lambda _translation: None):
        """Go on to the end, as a script does, and return the output node. Raises MedGANError where it fails."""
        while self.advance():
            onStep(self)
            time.sleep(_PAUSE_SECONDS)
        if self.state is State.FAILED:
            raise MedGANError(self.error)
        return self.outputNode

    def _go(self) -> Iterator[Work]:
        with Job(self._interpreter) as job:
            self._job = job
            output = job.folder / "result.npy"
            inputs, mask = yield from self._handOver(job.folder)
            if self.work.cancelling:
                return
            job.start(*arguments(self.model, self.chosen, inputs, mask, output))
            self.work = replace(self.work, doing=self._doing())
            while job.state is State.RUNNING:
                for event in job.poll():
                    self.work = progressed(self.work, event)
                yield self.work
            if job.state is State.FAILED:
                raise MedGANError(job.error)
            if job.state is State.DONE:
                self.provenance = job.result["provenance"]
                yield from self._bringIn(output)

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
            write(image_from_node(node, self.model.card.inputs[role].unit), inputs[role])
            yield self.work
        if self.makeMask is None:
            return inputs, None
        mask = folder / "mask.npy"
        write(self.makeMask(grid_of(next(iter(self.inputNodes.values())))), mask)
        yield self.work
        return inputs, mask

    def _bringIn(self, output: Path) -> Iterator[Work]:
        target = next(iter(self.model.card.targets.values()))
        image = read(output, target.unit)
        beside = next(iter(self.inputNodes.values()), None)
        account = self.provenance
        if isinstance(target.window, Labels):
            steps = segmentation_by_slabs(image, target.window, self.scene, self.outputName, beside, account)
        else:
            steps = volume_by_slabs(image, target, self.scene, self.outputName, beside, account)
        while not self.work.cancelling:
            try:
                yield Work("Bringing the result into the scene", next(steps))
            except StopIteration as end:
                self.outputNode = self._replaced(end.value)
                return

    def _replaced(self, node):
        """Return the node that was to be replaced with the content of a new one, which goes; else the new one."""
        kept = self._replacedNode
        if kept is None or not self.scene.IsNodePresent(kept):
            return node
        name, display = kept.GetName(), node.GetDisplayNode()
        kept.CopyContent(node)
        kept.SetName(name)
        kept.SetDescription(node.GetDescription())
        for attribute in node.GetAttributeNames():
            kept.SetAttribute(attribute, node.GetAttribute(attribute))
        kept.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        if display is not None:
            kept.SetAndObserveDisplayNodeID(display.GetID())
            node.RemoveAllDisplayNodeIDs()
        self.scene.RemoveNode(node)
        return kept


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
