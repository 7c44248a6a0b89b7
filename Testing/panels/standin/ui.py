"""Opening .ui files as Slicer does, finding what is wrong with them, and the modules ``qt`` and ``ctk``."""

# ruff: noqa: N802 (the names are Qt's)

import xml.etree.ElementTree as ET
from pathlib import Path

from PySide6 import QtCore, QtUiTools

from . import ctk as ctk_widgets
from . import dialogs, pythonqt, qmrml

#: The widgets of CTK and of Slicer that there are here, by class name.
WIDGETS = {**ctk_widgets.classes(), **qmrml.classes()}


class UnknownWidgetError(ValueError):
    """A class in a .ui file that neither Qt nor the stand-in has."""


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader with the widgets of CTK and Slicer; for an unknown class Qt would put a plain widget, this fails."""

    def createWidget(self, class_name, parent=None, name=""):
        """Make one widget of a .ui file."""
        if class_name in WIDGETS:
            widget = WIDGETS[class_name](parent)
            widget.setObjectName(name)
            return widget
        return super().createWidget(class_name, parent, name)

    def load(self, device, parent=None):
        """Return the outermost widget; an unknown class or a connection that cannot be raises UnknownWidgetError."""
        device.close()
        path = device.fileName()
        unknown = sorted(_classes(ET.parse(path)) - _known())
        if unknown:
            raise UnknownWidgetError(
                f"{path} has widgets of the class {', '.join(unknown)}, which the stand-in lacks: "
                "add the class to Testing/panels/standin if Slicer has it, else take another"
            )
        widget = super().load(path, parent)
        _connect(widget, ET.parse(path))
        return widget


def _known():
    return {*WIDGETS, *QtUiTools.QUiLoader().availableWidgets(), "QWidget", "Line", "QDialog"}


def _classes(tree):
    return {widget.get("class") for widget in tree.iter("widget")}


def _connect(widget, tree):
    """Make the connections that carry pointers of VTK, which Qt's loader cannot make for widgets written in Python."""
    for connection in tree.iter("connection"):
        sender, signal, receiver, slot = (connection.findtext(tag) for tag in ("sender", "signal", "receiver", "slot"))
        if "vtkMRML" in signal:
            ends = [
                widget if widget.objectName() == end else widget.findChild(QtCore.QObject, end)
                for end in (sender, receiver)
            ]
            method = getattr(ends[1], slot.partition("(")[0])
            if not pythonqt.wrap(ends[0]).connect(signal, method):
                raise UnknownWidgetError(f"{sender} has no signal {signal}")


qt = pythonqt.QtModule("qt", pythonqt.MODULES, (*dialogs.REPLACED, QUiLoader))
CTK = tuple(ctk_widgets.classes().values())
ctk = pythonqt.QtModule("ctk", (), CTK)


_APPEARANCE = {"font", "palette", "styleSheet"}
_NEEDS_WORDS = {"QLineEdit", "QSpinBox", "QDoubleSpinBox", "QComboBox", "QSlider", "QTextEdit", *WIDGETS} - {
    "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkCheckBox",
    "ctkPushButton",
    "ctkMenuButton",
    "ctkMessageBox",
    "ctkFittedTextBrowser",
    "qMRMLWidget",
}


def lint(path: Path) -> list[str]:
    """Return what is wrong with a .ui file, a sentence each.

    Looked at: unknown classes, names used twice, fonts and colours that do not follow the user's settings, fixed
    places, inputs without a tool tip, inputs without a label that names them.
    """
    tree = ET.parse(path)
    outermost, *inner = tree.iter("widget")
    widgets = [outermost, *inner]
    names = [
        thing.get("name") for tag in ("widget", "layout", "spacer") for thing in tree.iter(tag) if thing.get("name")
    ]
    found = [f"class {name} is unknown" for name in sorted(_classes(tree) - _known())]
    found += [
        f"the name {name} is used {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1
    ]
    for widget in widgets:
        found += [
            f"{widget.get('name')} sets its own {name}" for name in sorted(_APPEARANCE & set(_properties(widget)))
        ]
    for widget in inner:
        if "geometry" in _properties(widget):
            found.append(f"{widget.get('name')} has a fixed place: put it into a layout")
    buddies = {prop.findtext("cstring") for prop in tree.iter("property") if prop.get("name") == "buddy"}
    for widget in inner:
        name = widget.get("name")
        if widget.get("class") in _NEEDS_WORDS:
            found += [] if _words(widget, "toolTip") else [f"{name} has no tool tip"]
            named = name in buddies or _words(widget, "accessibleName")
            found += [] if named else [f"{name} has neither a label (buddy) nor an accessible name"]
    return found


def _properties(widget):
    return {prop.get("name"): prop for prop in widget.findall("property")}


def _words(widget, name):
    prop = _properties(widget).get(name)
    return "" if prop is None else (prop.findtext("string") or "").strip()
