"""What ``slicer.ScriptedLoadableModule``, ``slicer.i18n`` and ``SampleData`` give to a module.

Written from what the developer guide and Slicer's source say that they do, not copied. Where the environment variable
MEDGAN_SLICER_PYTHON names Slicer's Base/Python, Slicer's own are taken instead (untested here: there is no Slicer).
"""

# ruff: noqa: ARG002, N802, N803 (names and arguments are Slicer's)

import importlib
import types
import unittest
from pathlib import Path

import slicer

from .ui import qt


class ScriptedLoadableModule:
    """What Slicer asks a module about itself; ``parent`` holds the answers."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        for suffix in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{suffix}")
            if Path(icon).is_file():
                parent.icon = qt.QIcon(icon)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename):
        """Return a path in Resources beside the module."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        """Return a paragraph with a link."""
        url = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec=100):
        """Run <ModuleName>Test of the module's file."""
        case = getattr(importlib.import_module(type(self).__module__), f"{self.moduleName}Test")()
        case.messageDelay = msec
        case.runTest()


class ScriptedLoadableModuleWidget:
    """The panel; ``parent`` is the widget that Slicer shows it in, ``layout`` the layout of that."""

    def __init__(self, parent=None):
        # The next class in line is VTKObservationMixin, if the panel has it.
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent or slicer.qMRMLWidget()
        if not parent:
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        """Return a path in Resources beside the module."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self):
        """Build the panel; a module overrides this and calls it first. (Without Slicer's section for developers.)"""

    def cleanup(self):
        """Tidy up before the module goes; a module overrides this."""

    def onReload(self):
        """Load the module's file again."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """The work behind the panel, with a parameter node in the scene."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """Return the module's parameter node, a new one if there is none."""
        found = self.getAllParameterNodes()
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                # Closing a scene takes the attribute away.
                node.SetAttribute("ModuleName", self.moduleName)
            found = [node] if node else []
        return found[0] if found else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        """Return all parameter nodes of the module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        """Return a new parameter node, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own test, as Slicer runs it."""

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        """Show a message for a while (here: log it)."""
        slicer.util.delayDisplay(message, getattr(self, "messageDelay", msec or requestedDelay or 100))

    def runTest(self):
        """Run the tests; a module overrides this."""


def translate(context, text):
    """Return the text: there is one language here."""
    return slicer.app.translate(context, text)


def tr(text):
    """Return the text."""
    return translate("", text)


class SampleDataLogic:
    """Sample data are registered, and downloaded by nobody."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        """Keep what was registered under ``slicer.modules.sampleDataSources``, the same but once."""
        source = types.SimpleNamespace(**{key: value for key, value in locals().items() if key != "category"})
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in sources:
            sources.append(source)


def modules():
    """Return what stands in for Slicer's modules, by their names in ``sys.modules``."""
    contents = {
        "slicer.ScriptedLoadableModule": (
            ScriptedLoadableModule,
            ScriptedLoadableModuleWidget,
            ScriptedLoadableModuleLogic,
            ScriptedLoadableModuleTest,
        ),
        "slicer.i18n": (tr, translate),
        "SampleData": (SampleDataLogic,),
    }
    made = {name: types.ModuleType(name, __doc__) for name in contents}
    for name, things in contents.items():
        vars(made[name]).update({thing.__name__: thing for thing in things}, __all__=[t.__name__ for t in things])
    return made
