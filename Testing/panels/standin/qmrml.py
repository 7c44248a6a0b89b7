"""Slicer's widgets that show a scene, over a real vtkMRMLScene (Slicer, Libs/MRML/Widgets, Segmentations/Widgets)."""

# ruff: noqa: N801, N802, N815 (the names are Slicer's)

import weakref

import shiboken6
import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from . import dialogs
from .ctk import stored

#: What a list of nodes does at which event of its scene, and with what priority (qMRMLSceneModel.cxx, setMRMLScene).
_SCENE_EVENTS = {
    slicer.vtkMRMLScene.NodeAddedEvent: ("_node_added", 10.0),
    slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent: ("_node_about_to_be_removed", -10.0),
    slicer.vtkMRMLScene.EndImportEvent: ("_start_again", 0.0),
    slicer.vtkMRMLScene.EndCloseEvent: ("_start_again", 0.0),
}
_EVENTS_OF_A_NODE = (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent)


class Observer:
    """Watch VTK objects for a widget; a widget that was deleted is not called any more."""

    def __init__(self, widget):
        self._widget = weakref.ref(widget)
        self._tags = []
        widget.destroyed.connect(self.stop)

    def watch(self, thing, event, method, priority=0.0):
        """Call the named method of the widget at an event, with the node if it is one of a scene about a node."""

        find = self._widget

        def call(caller, _event, *node):
            widget = find()
            if widget is not None and shiboken6.isValid(widget):
                getattr(widget, method)(*node)

        if event in _EVENTS_OF_A_NODE:
            call.CallDataType = vtk.VTK_OBJECT
        self._tags.append((thing, thing.AddObserver(event, call, priority)))

    def stop(self):
        """Watch nothing any more."""
        for thing, tag in self._tags:
            thing.RemoveObserver(tag)
        self._tags.clear()


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows a scene and hands it on."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        """Return the scene."""
        return self._scene

    def setMRMLScene(self, scene):
        """Set the scene."""
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(qMRMLWidget):
    """The nodes of some types, with "None" and with items to create, rename and delete one.

    Disabled until it has a scene. Without ``noneEnabled`` the first node is chosen as soon as there is one. When the
    current node is removed from the scene, Qt chooses another, and does not ask whether that one is wanted.
    """

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene_observer = Observer(self)
        self._node_observer = Observer(self)
        self._attributes = []
        self._current = None
        self._nodes = []
        self._combo = QtWidgets.QComboBox()
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._combo.activated.connect(self._activated)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setEnabled(False)

    def _refill(self):
        """Show what the scene holds now."""
        scene = self._scene
        everything = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())] if scene else []
        self._list([node for node in everything if self._fits(node)], self._current)

    def _list(self, nodes, current):
        """Show these nodes, and choose one of them."""
        before, self._nodes = self._nodes, nodes
        self._node_observer.stop()
        for node in nodes:
            self._node_observer.watch(node, vtk.vtkCommand.ModifiedEvent, "_rename")
        self._fill()
        for node in nodes:
            if not any(node is known for known in before):
                self.nodeAdded.emit(node)
        self._choose(current, automatic=True)

    def _node_added(self, node):
        # Until the end of an import, the IDs of its nodes are not final.
        if not (self._scene.IsImporting() or self._scene.IsClosing()) and self._fits(node):
            self._list([*self._nodes, node], self._current)

    def _node_about_to_be_removed(self, node):
        # The row that comes into the place of the current one is the next choice, or the last row; never an action.
        row = self._row_of(node)
        if self._scene.IsClosing() or row < 0:
            return
        self.nodeAboutToBeRemoved.emit(node)
        rest = [known for known in self._nodes if known is not node]
        heir = rest[min(row - self.noneEnabled, len(rest) - 1)] if rest else None
        self._list(rest, heir if node is self._current else self._current)

    def _start_again(self):
        # All rows go, and with them the choice, before those of the scene come.
        self._list([], None)
        self._refill()

    def _fill(self):
        self._combo.blockSignals(True)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, None)
        for node in self._nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        self._actions = {}
        kinds = [self._scene.GetTagByClassName(kind) or kind for kind in self.nodeTypes] if self._scene else []
        shown = {f"Create new {tag}": kind for tag, kind in zip(kinds, self.nodeTypes, strict=False)}
        actions = [(text, lambda kind=kind: self._add_by_user(kind)) for text, kind in shown.items() if self.addEnabled]
        if self._current is not None:
            name = self._current.GetName()
            actions += [(f"Rename current {name}", self.renameCurrentNode)] if self.renameEnabled else []
            actions += [(f"Delete current {name}", self.removeCurrentNode)] if self.removeEnabled else []
        if actions:
            self._combo.insertSeparator(self._combo.count())
        for text, action in actions:
            self._actions[self._combo.count()] = action
            self._combo.addItem(text)
        self._show_current()
        self._combo.blockSignals(False)

    def _show_current(self):
        self._combo.setCurrentIndex(
            self._row_of(self._current) if self._current is not None else 0 if self.noneEnabled else -1
        )

    def _rename(self):
        for node in self._nodes:
            self._combo.setItemText(self._row_of(node), node.GetName())

    def _row_of(self, node):
        places = [place for place, known in enumerate(self._nodes) if known is node]
        return places[0] + self.noneEnabled if places else -1

    def _fits(self, node):
        kinds = self.nodeTypes
        belongs = any(node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind for kind in kinds)
        return (
            belongs
            and (self.showHidden or not node.GetHideFromEditors())
            and not any(node.IsA(kind) for kind in self.hideChildNodeTypes)
            and all(
                node.GetAttribute(name) is not None if value is None else node.GetAttribute(name) == str(value)
                for kind, name, value in self._attributes
                if node.IsA(kind)
            )
        )

    def _choose(self, node, automatic=False):
        """Make a node the current one and tell; the first one, where nobody chose and something has to be."""
        if node is not None and self._row_of(node) < 0:
            node = None
        if node is None and automatic and not self.noneEnabled and self._nodes:
            node = self._nodes[0]
        changed = node is not self._current
        self._current = node
        if changed:
            self._fill()
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(self.currentNodeID)
        else:
            self._show_current()

    def _activated(self, row):
        if row in self._actions:
            self._show_current()
            self._actions[row]()
            return
        place = row - self.noneEnabled
        self._choose(self._nodes[place] if place >= 0 else None)
        self.nodeActivated.emit(self._current)

    def _add_by_user(self, kind):
        node = self.addNode(kind)
        self.nodeAddedByUser.emit(node)
        if self.selectNodeUponCreation:
            self._choose(node)

    nodeTypes, setNodeTypes = stored("QStringList", "nodeTypes", (), _refill)
    hideChildNodeTypes, setHideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", (), _refill)
    showHidden, setShowHidden = stored(bool, "showHidden", False, _refill)
    showChildNodeTypes, setShowChildNodeTypes = stored(bool, "showChildNodeTypes", True, _refill)
    noneEnabled, setNoneEnabled = stored(bool, "noneEnabled", False, _refill)
    addEnabled, setAddEnabled = stored(bool, "addEnabled", True, _refill)
    removeEnabled, setRemoveEnabled = stored(bool, "removeEnabled", True, _refill)
    editEnabled, setEditEnabled = stored(bool, "editEnabled", False, _refill)
    renameEnabled, setRenameEnabled = stored(bool, "renameEnabled", False, _refill)
    selectNodeUponCreation, setSelectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    noneDisplay, setNoneDisplay = stored(str, "noneDisplay", "None", _refill)
    baseName, setBaseName = stored(str, "baseName", "")
    interactionNodeSingletonTag, setInteractionNodeSingletonTag = stored(
        str, "interactionNodeSingletonTag", "Singleton"
    )
    currentNodeID = Property(
        str,
        lambda self: node.GetID() if (node := self.currentNode()) is not None else "",
        lambda self, node_id: self.setCurrentNodeID(node_id),
    )

    def setMRMLScene(self, scene):
        """Set the scene; None empties and disables the widget."""
        if scene is self._scene:
            return
        super().setMRMLScene(scene)
        self.setEnabled(scene is not None)
        # Once: what observes the scene later than this widget hears of an event later, if their priorities are equal.
        self._scene_observer.stop()
        for event, (method, priority) in _SCENE_EVENTS.items() if scene else ():
            self._scene_observer.watch(scene, event, method, priority)
        self._refill()

    def addAttribute(self, kind, name, value=None):
        """Show only nodes with this attribute, of this value if one is given."""
        self._attributes.append((kind, name, value))
        self._refill()

    def removeAttribute(self, kind, name):
        """Undo ``addAttribute``."""
        self._attributes = [entry for entry in self._attributes if entry[:2] != (kind, name)]
        self._refill()

    def currentNode(self):
        """Return the chosen node, or None; also None while the scene closes and has lost it."""
        held = self._scene is not None and self._scene.IsNodePresent(self._current)
        return self._current if held else None

    def setCurrentNode(self, node):
        """Choose a node (or an ID); None, or one that is not in the list, chooses none."""
        if isinstance(node, str):
            self.setCurrentNodeID(node)
        else:
            self._choose(node)

    def setCurrentNodeID(self, node_id):
        """Choose by ID."""
        self._choose(next((node for node in self._nodes if node.GetID() == node_id), None))

    def setCurrentNodeIndex(self, index):
        """Choose by place, "None" not counted."""
        self._choose(self.nodeFromIndex(index))

    def nodeFromIndex(self, index):
        """Return the node at a place, or None."""
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def nodeCount(self):
        """Return how many nodes there are to choose from."""
        return len(self._nodes)

    def addNode(self, kind=None):
        """Create a node of a type, the first by default."""
        return self._scene.AddNewNodeByClass(kind or self.nodeTypes[0], self.baseName)

    def removeCurrentNode(self):
        """Remove the chosen node from the scene."""
        self._scene.RemoveNode(self._current)

    def renameCurrentNode(self):
        """Ask for a new name."""
        self._current.SetName(dialogs.QInputDialog.getText(self, "Rename", "New name:"))


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """A segmentation and one of its segments. Here ``currentNodeID`` and ``currentSegmentID`` are methods."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._observer = Observer(self)
        self._node_box = qMRMLNodeComboBox()
        self._node_box.setNodeTypes(["vtkMRMLSegmentationNode"])
        for name in ("setAddEnabled", "setRemoveEnabled"):
            getattr(self._node_box, name)(False)
        self._segment_box = QtWidgets.QComboBox()
        self._segment_box.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._node_box, 1)
        layout.addWidget(self._segment_box, 1)
        self._message = QtWidgets.QLabel()
        layout.addWidget(self._message)
        self._node_box.currentNodeChanged[object].connect(self._node_changed)
        self._segment_box.currentIndexChanged.connect(self._segment_changed)
        self._segment_id = ""
        self._list_segments()

    def setNoneEnabled(self, enabled):
        """Offer "None" or not."""
        self._node_box.setNoneEnabled(enabled)

    def _node_changed(self, node):
        self._observer.stop()
        if node is not None:
            for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                self._observer.watch(node.GetSegmentation(), event, "_list_segments")
        self._list_segments()
        self.currentNodeChanged.emit(node)

    def _list_segments(self):
        # As in Slicer: whatever was chosen, the first segment is chosen again.
        box, node = self._segment_box, self.currentNode()
        box.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        names = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())] if node else []
        box.setVisible(bool(names))
        self._message.setHidden(bool(names))
        self._message.setText("No node is selected" if node is None else "No segments in segmentation")
        box.blockSignals(True)
        if self.noneEnabled and names:
            box.addItem("None")
        for name in names:
            box.addItem(segmentation.GetSegment(name).GetName(), name)
        box.setCurrentIndex(-1)
        box.blockSignals(False)
        box.setCurrentIndex(1 if self.noneEnabled else 0)

    def _segment_changed(self, row):
        # As in Slicer: without a segmentation the old segment stays.
        if self.currentNode() is not None:
            self._segment_id = self._segment_box.itemData(row) or ""
            self.currentSegmentChanged.emit(self._segment_id)

    noneEnabled = Property(bool, lambda self: self._node_box.noneEnabled, lambda self, on: self.setNoneEnabled(on))
    segmentationNodeSelectorVisible = Property(
        bool, lambda self: not self._node_box.isHidden(), lambda self, shown: self._node_box.setVisible(shown)
    )

    def setMRMLScene(self, scene):
        """Set the scene."""
        super().setMRMLScene(scene)
        self._node_box.setMRMLScene(scene)

    def currentNode(self):
        """Return the chosen segmentation, or None."""
        return self._node_box.currentNode()

    def currentNodeID(self):
        """Return its ID, or ""."""
        return self._node_box.currentNodeID

    def currentSegmentID(self):
        """Return the ID of the chosen segment, or ""."""
        return self._segment_id

    def setCurrentNode(self, node):
        """Choose a segmentation."""
        self._node_box.setCurrentNode(node)

    def setCurrentNodeID(self, node_id):
        """Choose a segmentation by ID."""
        self._node_box.setCurrentNodeID(node_id)

    def setCurrentSegmentID(self, segment_id):
        """Choose a segment; an unknown one changes nothing."""
        row = 0 if self.noneEnabled and not segment_id else self._segment_box.findData(segment_id)
        if row >= 0:
            self._segment_box.setCurrentIndex(row)


def classes():
    """Return the classes, by name."""
    found = globals().values()
    return {cls.__name__: cls for cls in found if isinstance(cls, type) and cls.__name__.startswith("qMRML")}
