"""``slicer.app`` and what hangs on it: modules, layout, main window; and the loading of a scripted module."""

# ruff: noqa: ARG002, ARG005, N801, N802, N815 (names and arguments are Slicer's)

import importlib.util
import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .ctk import stored
from .pythonqt import to_python, to_qt, wrap, wrapper_class

VERSION = (5, 12, 0)
SLICES = ("Red", "Green", "Yellow")
#: The logics of Slicer's own modules that the wheel has, by what the module is called in ``slicer.modules``.
LOGICS = {
    "colors": slicer.vtkMRMLColorLogic,
    "segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
    "subjecthierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
    "tables": slicer.vtkSlicerTablesLogic,
    "volumes": slicer.vtkSlicerVolumesLogic,
}


def read_only(kind, get):
    """Make a property that cannot be set."""
    return Property(kind, get)


class qSlicerScriptedLoadableModuleWidget(QtWidgets.QWidget):
    """The widget that Slicer makes for a module's panel; the panel itself is ``self()``."""

    def __init__(self, module):
        super().__init__()
        self._module = module
        self._panel = None
        QtWidgets.QVBoxLayout(self)

    def reload(self):
        """Make the panel from the class that the module's file holds now."""
        name = self._module.name
        self._panel = getattr(sys.modules[name], f"{name}Widget")(wrap(self))
        setattr(slicer.modules, f"{name}Widget", self._panel)
        self._panel.setup()

    def self(self):
        """Return the panel, an object of Python."""
        return self._panel

    def mrmlScene(self):
        """Return the scene."""
        return slicer.mrmlScene

    def setMRMLScene(self, scene):
        """Take the scene."""

    def enter(self):
        """Tell the panel that the user has come to the module."""
        self._call("enter")

    def exit(self):
        """Tell the panel that the user has gone to another module."""
        self._call("exit")

    def _call(self, name):
        method = getattr(self._panel, name, None)
        if method is not None:
            method()


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """What Slicer knows of a module; the module's class fills it in."""

    title, setTitle = stored(str, "title", "")
    categories, setCategories = stored("QStringList", "categories", ())
    contributors, setContributors = stored("QStringList", "contributors", ())
    dependencies, setDependencies = stored("QStringList", "dependencies", ())
    helpText, setHelpText = stored(str, "helpText", "")
    acknowledgementText, setAcknowledgementText = stored(str, "acknowledgementText", "")
    icon, setIcon = stored("QIcon", "icon", QtGui.QIcon())
    hidden, setHidden = stored(bool, "hidden", False)
    index, setIndex = stored(int, "index", -1)
    widgetRepresentationCreationEnabled, setWidgetRepresentationCreationEnabled = stored(
        bool, "widgetRepresentationCreationEnabled", True
    )
    path = read_only(str, lambda self: self._path)
    name = read_only(str, lambda self: Path(self._path).stem)

    def __init__(self, path):
        super().__init__()
        self._path = str(path)
        self._widget = None

    def widgetRepresentation(self):
        """Return the panel's widget, made when first asked for."""
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.reload()
        return self._widget


class qSlicerModuleManager(QtCore.QObject):
    """The loaded modules."""

    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)

    def __init__(self):
        super().__init__()
        self._modules = {}

    def module(self, name):
        """Return a module, or None."""
        return self._modules.get(name)

    def modulesNames(self):
        """Return the names of the modules."""
        return list(self._modules)

    def factoryManager(self):
        """Return who knows which modules are loaded."""
        return types.SimpleNamespace(loadedModuleNames=lambda: tuple(self._modules))


class IOManager:
    """Reads a volume or a scene from a file; other kinds of files are not read here."""

    def __init__(self, volumes, scene):
        self._volumes, self._scene = volumes, scene

    def fileType(self, path):
        """Return how a file is read."""
        return "SceneFile" if str(path).endswith((".mrml", ".mrb")) else "VolumeFile"

    def loadNodes(self, kind, properties, loaded, messages):
        """Put what a file holds into the scene and into a collection; return whether that went well."""
        path = Path(properties["fileName"])
        if kind == "SceneFile":
            self._scene.SetURL(str(path))
            return bool(self._scene.Connect())
        if kind != "VolumeFile":
            raise NotImplementedError(f"the stand-in reads no {kind}")
        name = properties.get("name", path.name.partition(".")[0])
        node = self._volumes.AddArchetypeVolume(str(path), name, int(bool(properties.get("labelmap"))))
        if node is None:
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"cannot read {path}")
            return False
        loaded.AddItem(node)
        return True


class LayoutManager:
    """The three slice views, without pictures in them."""

    def __init__(self, logics):
        self._logics = logics

    def sliceViewNames(self):
        """Return the names."""
        return SLICES

    def mrmlSliceLogics(self):
        """Return the logics of the views."""
        return self._logics

    def sliceWidget(self, name):
        """Return what knows the node and the logic of one view."""
        logic = self._logics.GetItemAsObject(SLICES.index(name))
        return types.SimpleNamespace(mrmlSliceNode=logic.GetSliceNode, sliceLogic=lambda: logic)

    def resetSliceViews(self):
        """Fit every view to what it shows."""
        for name in SLICES:
            self.sliceWidget(name).sliceLogic().FitSliceToAll()


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The main window: there is one, so that a dialog would be shown, and so be found out."""

    def __init__(self):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._module = ""

    def moduleSelector(self):
        """Return the list of modules."""
        return types.SimpleNamespace(selectModule=self._select, selectedModule=self._module)

    def _select(self, name):
        manager = to_qt(slicer.app.moduleManager())
        for module, method in ((manager.module(self._module), "exit"), (manager.module(name), "enter")):
            if module is not None:
                getattr(module.widgetRepresentation(), method)()
        self._module = name


class qSlicerApplication(QtCore.QObject):
    """The application, with a scene, its logic and slice views; what it does not have raises AttributeError."""

    aboutToQuit = Signal()
    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)

    applicationName = read_only(str, lambda self: "Slicer")
    applicationVersion = read_only(str, lambda self: ".".join(map(str, VERSION)))
    majorVersion = read_only(int, lambda self: VERSION[0])
    minorVersion = read_only(int, lambda self: VERSION[1])
    revision = read_only(str, lambda self: "00000")
    documentationBaseUrl = read_only(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
    slicerHome = read_only(str, lambda self: str(self._folder / "home"))
    temporaryPath = read_only(str, lambda self: str(self._folder / "temporary"))
    cachePath = read_only(str, lambda self: str(self._folder / "cache"))
    extensionsInstallPath = read_only(str, lambda self: str(self._folder / "extensions"))

    def __init__(self, folder):
        super().__init__()
        self._folder = Path(folder)
        for name in ("home/bin", "temporary", "cache", "extensions"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        # Slicer's interpreter is a launcher too.
        launcher = self._folder / "home" / "bin" / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
        self._scene = slicer.vtkMRMLScene()
        self.module_logics = {name: logic() for name, logic in LOGICS.items()}
        for logic in self.module_logics.values():
            logic.SetMRMLScene(self._scene)
        self._logics = vtk.vtkCollection()
        self._logic = slicer.vtkMRMLApplicationLogic()
        self._logic.SetMRMLScene(self._scene)
        for name in SLICES:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLScene(self._scene)
            logic.AddSliceNode(name)
            self._logics.AddItem(logic)
        self._logic.SetSliceLogics(self._logics)
        self._layout = LayoutManager(self._logics)
        self._files = IOManager(self.module_logics["volumes"], self._scene)
        self._modules = qSlicerModuleManager()
        self._window = qSlicerMainWindow()
        self._settings = QtCore.QSettings(str(self._folder / "Slicer.ini"), QtCore.QSettings.Format.IniFormat)

    def mrmlScene(self):
        """Return the scene."""
        return self._scene

    def applicationLogic(self):
        """Return the logic of the scene."""
        return self._logic

    def coreIOManager(self):
        """Return who reads files."""
        return self._files

    def layoutManager(self):
        """Return the views."""
        return self._layout

    def moduleManager(self):
        """Return the modules."""
        return self._modules

    def settings(self):
        """Return the settings, in a file of the test's own."""
        return self._settings

    userSettings = revisionUserSettings = settings

    def processEvents(self, *flags):
        """Let the event loop run once."""
        QtWidgets.QApplication.processEvents(*flags)

    def testingEnabled(self):
        """Return False: in testing mode dialogs would not be shown, and so not be found out."""
        return False

    def topLevelWidgets(self):
        """Return the windows."""
        return QtWidgets.QApplication.topLevelWidgets()

    def clipboard(self):
        """Return the clipboard."""
        return QtWidgets.QApplication.clipboard()

    def palette(self):
        """Return the colours."""
        return QtWidgets.QApplication.palette()

    def translate(self, context, text):
        """Return the text as it is."""
        return text

    def startupEnvironment(self):
        """Return the environment in which the application was started."""
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name):
        """Return where a module is described."""
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"


def load_module(path):
    """Load a scripted module as Slicer does and return what Slicer knows of it, wrapped.

    The module's folder comes onto ``sys.path``, the file is imported under its own name, the class of that name is
    made; then the start of the application is announced. The panel is made by ``widgetRepresentation()``.
    """
    path = Path(path)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[path.stem])
    module = qSlicerScriptedLoadableModule(path)
    wrapped = wrap(module)
    setattr(slicer.modules, f"{path.stem}Instance", getattr(sys.modules[path.stem], path.stem)(wrapped))
    setattr(slicer.modules, path.stem.lower(), wrapped)
    application = to_qt(slicer.app)
    application._modules._modules[path.stem] = module
    application.startupCompleted.emit()
    return wrapped


def additions(application):
    """Return what desktop Slicer adds to the module ``slicer``."""
    logics = application.module_logics
    ours = (qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget)
    return {
        "app": to_python(application),
        "mrmlScene": application.mrmlScene(),
        "modules": types.SimpleNamespace(
            **{name: types.SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()}
        ),
        **{cls.__name__: wrapper_class(cls) for cls in ours},
    }
