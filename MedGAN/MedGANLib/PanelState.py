"""What the user chose, kept in a parameter node, so that a saved scene comes back as it was. No Qt."""

import json

from MedGANLogic.presenters.translation import Chosen

_CHOSEN = "chosen"
_SEGMENT = "segment"
_MASK = "mask"
_RESULT = "result"
_SOURCE = "source"
_REPLACED = "replaced"


class PanelState:
    """A view of a vtkMRMLScriptedModuleNode: the choice as text, volumes as node references by role."""

    def __init__(self, parameterNode) -> None:
        self.node = parameterNode

    @property
    def chosen(self) -> Chosen:
        """What the presenter calls the choice; the default where the node says none, or nothing that can be read."""
        try:
            return Chosen.from_json(json.loads(self.node.GetParameter(_CHOSEN) or "{}"))
        except (ValueError, AttributeError):
            return Chosen()

    @chosen.setter
    def chosen(self, chosen: Chosen) -> None:
        self.node.SetParameter(_CHOSEN, json.dumps(chosen.to_json()))

    def inputNode(self, role: str):
        """Return the volume for a role, or None."""
        return self.node.GetNodeReference(f"input {role}")

    def setInputNode(self, role: str, node) -> None:
        """Remember the volume for a role; None forgets it."""
        self._refer(f"input {role}", node)

    @property
    def maskNode(self):
        """The segmentation or ROI that the work is limited to, or None."""
        return self.node.GetNodeReference(_MASK)

    @maskNode.setter
    def maskNode(self, node) -> None:
        self._refer(_MASK, node)

    @property
    def segmentID(self) -> str:
        """The segment of the mask."""
        return self.node.GetParameter(_SEGMENT)

    @segmentID.setter
    def segmentID(self, segmentID: str) -> None:
        self.node.SetParameter(_SEGMENT, segmentID)

    @property
    def resultNode(self):
        """The first of the last results that is still in the scene, or None."""
        return next(iter(self.resultNodes), None)

    @property
    def resultNodes(self) -> list:
        """The last results that are still in the scene."""
        count = self.node.GetNumberOfNodeReferences(_RESULT)
        nodes = [self.node.GetNthNodeReference(_RESULT, number) for number in range(count)]
        return [node for node in nodes if node is not None]

    @resultNodes.setter
    def resultNodes(self, nodes) -> None:
        self.node.RemoveNodeReferenceIDs(_RESULT)
        for node in nodes:
            self.node.AddNodeReferenceID(_RESULT, node.GetID())

    @property
    def sourceNode(self):
        """The volume that the last result was made from, or None."""
        return self.node.GetNodeReference(_SOURCE)

    @sourceNode.setter
    def sourceNode(self, node) -> None:
        self._refer(_SOURCE, node)

    @property
    def replacedNode(self):
        """The node that takes the result, or None for a new one."""
        return self.node.GetNodeReference(_REPLACED)

    @replacedNode.setter
    def replacedNode(self, node) -> None:
        self._refer(_REPLACED, node)

    def _refer(self, name: str, node) -> None:
        self.node.SetNodeReferenceID(name, node.GetID() if node else None)
