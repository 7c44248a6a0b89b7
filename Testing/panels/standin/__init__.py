"""A stand-in for what desktop Slicer adds, so that a panel can be clicked where there is no Slicer.

It is not Slicer. Underneath are PySide6 without a screen and the real MRML of the slicer-core wheel, with the real
``slicer.util`` of that wheel; ``pythonqt`` gives PySide6 the manners of PythonQt, ``ctk`` and ``qmrml`` hold widgets
with the properties and signals of CTK's and Slicer's, ``scripted`` and ``parameters`` stand for two of Slicer's Python
modules. It is written from the table in test_standin.py, which names the source of every fact. It does not show how a
panel looks in Slicer to the pixel, draws no slices, and holds nothing that no panel here has needed: what is missing
raises AttributeError. Where it can, it is stricter than Slicer: an exception in a slot, a signal that does not exist, a
dialog that nobody expected fail the test.
"""

import importlib
import os
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import slicer
import slicer.util
from PySide6 import QtCore, QtTest, QtWidgets

from . import application, dialogs, parameters, pythonqt, qmrml, scripted, ui
from .application import load_module
from .picture import load_fonts, picture

__all__ = ["choose", "click", "desktop_slicer", "dialogs", "load_module", "picture", "pythonqt", "ui", "wait_until"]


def _screen():
    """Return the one application object of this process, made without a screen."""
    made = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    made.setOrganizationName("NA-MIC")
    made.setApplicationName("Slicer")
    load_fonts()
    return made


def _python_modules():
    """Return the Python modules that desktop Slicer has and the wheel lacks.

    MEDGAN_SLICER_PYTHON names the folder Base/Python of a Slicer: then its own are taken. Nobody has tried that here.
    """
    folder = os.environ.get("MEDGAN_SLICER_PYTHON")
    made = scripted.modules()
    if not folder:
        return {**made, "slicer.parameterNodeWrapper": parameters.module()}
    slicer.__path__ = [*slicer.__path__, str(Path(folder) / "slicer")]
    # Slicer's GUI connectors ask for every kind of widget that there is.
    slicer.__getattr__ = _widget_only_named
    sys.modules["ctk"] = pythonqt.NamingModule("ctk", (), ui.CTK)
    trees = types.ModuleType("qSlicerSubjectHierarchyModuleWidgetsPythonQt")
    trees.qMRMLSubjectHierarchyTreeView = slicer.qMRMLSubjectHierarchyTreeView
    sys.modules[trees.__name__] = trees
    names = ("slicer.ScriptedLoadableModule", "slicer.i18n", "slicer.parameterNodeWrapper")
    return {"SampleData": made["SampleData"], **{name: importlib.import_module(name) for name in names}}


def _widget_only_named(name):
    if name.startswith(("ctk", "qMRML", "qSlicer")):
        return pythonqt.only_named(name)
    raise AttributeError(name)


@contextmanager
def desktop_slicer(folder):
    """Put ``qt``, ``ctk`` and what desktop Slicer adds to ``slicer`` in place, and take all away again.

    ``folder`` takes settings and temporary files. At the end, AssertionError for what PythonQt would only have printed.
    """
    screen = _screen()
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(folder))
    modules, path, attributes, search = set(sys.modules), list(sys.path), dict(vars(slicer)), os.environ["PATH"]
    started = application.qSlicerApplication(folder)
    try:
        os.environ["PATH"] = os.pathsep.join([f"{started.slicerHome}/bin", search])
        vars(slicer).update(application.additions(started))
        vars(slicer).update({name: pythonqt.wrapper_class(cls) for name, cls in qmrml.classes().items()})
        sys.modules.update({"qt": ui.qt, "ctk": ui.ctk})
        found = _python_modules()
        sys.modules.update(found)
        vars(slicer).update({name.removeprefix("slicer."): made for name, made in found.items() if "slicer." in name})
        yield slicer
    finally:
        complaints = _tidy_up(screen, started)
        vars(slicer).clear()
        vars(slicer).update(attributes)
        os.environ["PATH"] = search
        _put_back(modules, path)
    assert not complaints, "\n".join(complaints)


def _tidy_up(screen, started):
    """Unload modules, delete widgets, empty the scene; return what there was to complain of."""
    screen.processEvents()
    for name in started.moduleManager().modulesNames():
        started.moduleManager().moduleAboutToBeUnloaded.emit(name)
    for widget in screen.topLevelWidgets():
        widget.close()
        widget.deleteLater()
    screen.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    screen.processEvents()
    started.mrmlScene().Clear(1)
    complaints = list(pythonqt.complaints)
    pythonqt.forget()
    dialogs.forget()
    return complaints


def _put_back(modules, path):
    """Forget our own modules and those that came from a panel's folder, and nothing else."""
    folders = tuple(folder for folder in sys.path if folder not in path)
    sys.path[:] = path
    ours = ("qt", "ctk", "SampleData", "qSlicerSubjectHierarchyModuleWidgetsPythonQt")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        new = name in ours or name.startswith("slicer.") or (folders and file.startswith(folders))
        if name not in modules and new:
            del sys.modules[name]


def click(widget):
    """Click a widget with the mouse, as a user can: it has to be visible and enabled."""
    target = getattr(widget, "_object", widget)
    assert target.isVisible(), f"{target.objectName()} cannot be clicked: it is not visible"
    assert target.isEnabled(), f"{target.objectName()} cannot be clicked: it is disabled"
    place = QtCore.QPoint(target.width() // 2, min(target.height() // 2, 10))
    if isinstance(target, QtWidgets.QCheckBox | QtWidgets.QRadioButton):
        place.setX(8)
    QtTest.QTest.mouseClick(target, QtCore.Qt.MouseButton.LeftButton, pos=place)


def choose(combo, text):
    """Choose an item by its text in the list that opens, in a combo box or a widget that has one inside."""
    target = getattr(combo, "_object", combo)
    box = target if isinstance(target, QtWidgets.QComboBox) else target.findChild(QtWidgets.QComboBox)
    assert box.isVisible() and box.isEnabled(), f"{target.objectName()} cannot be chosen from: hidden or disabled"
    texts = [box.itemText(row) for row in range(box.count())]
    assert text in texts, f"{text!r} is not among {texts}"
    box.showPopup()
    box.view().setCurrentIndex(box.model().index(texts.index(text), box.modelColumn()))
    QtTest.QTest.keyClick(box.view(), QtCore.Qt.Key.Key_Return)


def wait_until(condition, seconds=10.0):
    """Let the event loop run until a condition holds; AssertionError if it does not in time."""
    deadline = QtCore.QDeadlineTimer(int(seconds * 1000))
    while not condition():
        assert not deadline.hasExpired(), f"not within {seconds} s: {condition}"
        QtTest.QTest.qWait(10)
