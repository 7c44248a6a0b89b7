"""MedGAN's main module for 3D Slicer: choose a volume, see which models fit it and how good they are, press Apply.

Every rule (what fits, what may be pressed, what is said) is in ``MedGANLogic.presenters``; here widgets are filled and
read. Long work is a child process that a timer looks at: Slicer's own process never imports torch.
"""

import html
import importlib.util
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

# Slicer adds this folder alone; in a checkout the package stands beside it.
if importlib.util.find_spec("MedGANLogic") is None:
    sys.path.append(str(Path(__file__).resolve().parents[1]))

import ctk
import qt
import slicer
from MedGANLib import SampleImages
from MedGANLib.DicomExport import DicomExport, folderName, sourceFiles
from MedGANLib.NodeTranslation import NodeTranslation, inputImage
from MedGANLib.PanelState import PanelState
from MedGANLib.Task import Command
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MedGANLogic import catalogue
from MedGANLogic.check import Finding, Level, check
from MedGANLogic.errors import MedGANError
from MedGANLogic.jobs import State
from MedGANLogic.mrml import mask_from_roi, mask_from_segment, provenance_of, show_over
from MedGANLogic.preflight import NEEDED, NEEDED_FOR_DICOM, OLDEST_TORCH, Machine
from MedGANLogic.presenters.readiness import readiness
from MedGANLogic.presenters.translation import Chosen, Devices, Given, Work, account, model_of, view

#: How often a running child is looked at.
_POLL_MILLISECONDS = 50
#: What another model is not asked for because the last one was.
_UNCHOSEN = {"in_spite_of_errors": False, "strength": None, "like": "", "choices": {}, "probabilities": False}
#: What the panel hands on as it was chosen.
_ASKED = ("device", "strength", "like", "seed", "count", "probabilities", "in_spite_of_errors")
#: What a field shows that was left alone, and the row of the first one.
_ANY, _FIRST_CHOICE = _("any"), 4
#: What may be given for an image, and for labels.
_NODES = {
    # Photographs, which are vectors, count as such.
    False: ["vtkMRMLScalarVolumeNode"],
    True: ["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"],
}
_COLOURS = {Level.ERROR: "#d9534f", Level.WARNING: "#e0a030", Level.NOTE: "#6c8ebf"}


class MedGAN(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "MedGAN"
        parent.categories = ["Image Synthesis"]
        parent.dependencies = []
        parent.contributors = ["The MedGAN developers"]
        parent.icon = qt.QIcon(str(catalogue.resource("Icons/MedGAN.svg")))
        parent.helpText = _(
            "Translate, clean, refine and segment medical images with generative adversarial networks. "
            "Research use only: a synthetic image shows what such an input usually goes with, not what is there."
        )
        parent.acknowledgementText = _("The models' cards name the people whose images they were trained on.")
        slicer.app.connect("startupCompleted()", lambda: SampleImages.register(childInterpreter()))


class MedGANLogic(ScriptedLoadableModuleLogic):
    """Translations for scripts: ``slicer.util.getModuleLogic("MedGAN").translate(node, "mr-to-ct-limb")``."""

    def translate(self, inputNodes, modelName, **chosen):
        """Translate a volume, or nodes by role, and return the new node, or a list where there are several.

        Waits, and keeps Slicer alive meanwhile. For a model without input give None. ``chosen`` is what
        ``presenters.translation.Chosen`` holds: ``device``, ``strength``, ``like``, ``seed``, ``count``, ``choices``,
        …. Raises MedGANError with a sentence.
        """
        translation = self.begin(inputNodes, modelName, **chosen)
        translation.finish(lambda _translation: slicer.app.processEvents())
        return translation.outputNodes if len(translation.outputNodes) > 1 else translation.outputNode

    def start(self, inputNodes, modelName, onDone, onProgress=lambda _translation: None, **chosen):
        """Begin a translation and return at once; ``onDone(translation)`` is called when it has ended, however."""
        translation = self.begin(inputNodes, modelName, **chosen)
        timer = qt.QTimer()
        timer.interval = _POLL_MILLISECONDS

        def look():
            more = translation.advance()
            onProgress(translation)
            if not more:
                timer.stop()
                translation.timer = None
                onDone(translation)

        timer.connect("timeout()", look)
        timer.start()
        # Whoever holds the translation holds the timer.
        translation.timer = timer
        return translation

    def begin(self, inputNodes, modelName, makeMask=None, replacedNode=None, **chosen):
        """Return a translation that somebody else drives by its ``advance``. Raises MedGANError for no such model."""
        model = catalogue.find(modelName)
        if not isinstance(inputNodes, dict):
            roles = list(model.card.inputs)[:1]
            inputNodes = dict.fromkeys(roles, inputNodes) if inputNodes is not None else {}
        choice = Chosen(task=model.card.task, model=model.card.name, **chosen)
        given = {role: Given(node.GetName()) for role, node in inputNodes.items()}
        names = {output.target: output.name for output in view([model], choice, given).outputs}
        return NodeTranslation(
            slicer.mrmlScene, model, choice, inputNodes, names, makeMask, childInterpreter(), replacedNode
        )


def childInterpreter() -> str:
    """Return the Python that runs the child: PythonSlicer, which sets up Slicer's libraries, where there is one."""
    folder = Path(slicer.app.slicerHome, "bin")
    return shutil.which("PythonSlicer", path=str(folder)) or sys.executable


class MedGANWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = MedGANLogic()
        self._models = catalogue.models()
        self._state = None
        self._task, self._onEnd = None, None
        self._failure = self._exported = ""
        self._devices, self._asking = Devices(), None
        self._readiness = None
        self._isChanging = False
        self._needed = NEEDED
        self._given = {}
        self._selectors = {}
        self._choices = {}
        panel = slicer.util.loadUI(str(catalogue.resource("UI/MedGAN.ui")))
        panel.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        # A folder, not a file.
        self.ui.wheelsPath.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
        self.ui.dicomFolderButton.directory = str(Path.home())
        self._timer = qt.QTimer()
        self._timer.interval = _POLL_MILLISECONDS
        self._timer.connect("timeout()", self._advance)
        self._connect()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndBatchProcessEvent, self._onSceneChanged)
        # Before the selectors hear of it: they go on to another node, or to none, which nobody chose.
        for event in (slicer.mrmlScene.NodeAboutToBeRemovedEvent, slicer.mrmlScene.StartBatchProcessEvent):
            self.addObserver(slicer.mrmlScene, event, self._onSceneChanging, priority=1.0)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onSceneChanged)
        self._onSceneChanged()

    def cleanup(self):
        """End what runs: the module is reloaded, or Slicer is closed."""
        self.removeObservers()
        self._timer.stop()
        self._abandon()
        if self._asking is not None:
            self._asking.abandon()

    def enter(self):
        self._onSceneChanged()
        self._askForDevices()

    def _connect(self):
        self.ui.taskSelector.connect("activated(int)", self._onTask)
        self.ui.modelSelector.connect("activated(int)", self._onModel)
        self.ui.forceCheckBox.connect("clicked(bool)", lambda on: self._choose(in_spite_of_errors=bool(on)))
        self.ui.openFileButton.connect("clicked()", lambda: slicer.app.ioManager().openAddDataDialog())
        self.ui.openDicomButton.connect("clicked()", lambda: slicer.util.selectModule("DICOM"))
        self.ui.probabilitiesCheckBox.connect("clicked(bool)", lambda on: self._choose(probabilities=bool(on)))
        self.ui.outputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onOutput)
        self.ui.maskSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onMask)
        self.ui.segmentSelector.connect("activated(int)", self._onSegment)
        self.ui.strengthSlider.connect("valueChanged(double)", lambda value: self._choose(strength=round(value, 3)))
        self.ui.scannerSelector.connect("activated(int)", self._onScanner)
        self.ui.seedSpinBox.connect("valueChanged(int)", lambda value: self._choose(seed=int(value)))
        self.ui.countSpinBox.connect("valueChanged(int)", lambda value: self._choose(count=int(value)))
        self.ui.deviceSelector.connect("activated(int)", self._onDevice)
        self.ui.applyButton.connect("clicked()", self._onApply)
        self.ui.installButton.connect("clicked()", self._onInstall)
        self.ui.exportButton.connect("clicked()", self._onExport)
        self.ui.fadeSlider.connect("valueChanged(double)", self._onFade)
        # What opens shows again all that it hid, also what has no place by now.
        for button in (self.ui.imagesButton, self.ui.optionsButton, self.ui.resultButton):
            button.connect("contentsCollapsed(bool)", lambda _on: self._show())

    # What the user does

    def _choose(self, **changes):
        if self._state is None:
            return
        self._state.chosen = Chosen(**{**self._state.chosen.to_json(), **changes})
        self._failure = ""
        self._show()

    def _onTask(self, _index):
        self._choose(task=self.ui.taskSelector.currentData, model="", **_UNCHOSEN)

    def _onModel(self, _index):
        self._choose(model=self.ui.modelSelector.currentData, **_UNCHOSEN)

    def _onInput(self, role, node):
        if self._state is None or self._isChanging:
            return
        self._state.setInputNode(role, node)
        self._choose(in_spite_of_errors=False)

    def _onOutput(self, node):
        if self._state is None or self._isChanging:
            return
        self._state.replacedNode = node

    def _onMask(self, node):
        if self._state is None or self._isChanging:
            return
        self._state.maskNode = node
        self._show()

    def _onDevice(self, _index):
        self._choose(device=self.ui.deviceSelector.currentData)

    def _onScanner(self, _index):
        self._choose(like=self.ui.scannerSelector.currentData)

    def _onSegment(self, _index):
        self._state.segmentID = self.ui.segmentSelector.currentData or ""

    def _onApply(self):
        if self._task is not None:
            self._task.cancel()
            self._show()
            return
        if not self._isReady(NEEDED):
            return
        model = self._model()
        nodes = {role: node for role in model.card.inputs if (node := self._state.inputNode(role)) is not None}
        chosen = self._state.chosen.to_json()
        asked = {name: chosen[name] for name in _ASKED}
        # Those that are shown: a scene may hold choices that the model no longer offers.
        asked["choices"] = {choice.name: choice.value for choice in self._view().choices if choice.value}
        mask, replaced = self._makeMask(), self._state.replacedNode
        self._begin(lambda: self.logic.begin(nodes, model.card.name, mask, replaced, **asked), self._onTranslated)

    def _isReady(self, needed) -> bool:
        """Say whether all is there; if not, the panel asks whether to install it."""
        self._needed, self._readiness = needed, readiness(Machine.this(), needed)
        if not self._readiness.is_ready:
            self._show()
        return self._readiness.is_ready

    def _onTranslated(self, translation):
        # Probabilities stand in the scene for whoever wants them; they are neither shown over the image nor exported.
        self._state.resultNodes = [node for node in translation.outputNodes if "label" not in provenance_of(node)]
        self._state.sourceNode = next(iter(translation.inputNodes.values()), None)
        if self._state.sourceNode is None:
            slicer.util.setSliceViewerLayers(background=translation.outputNode, fit=True)
        self._onFade(self.ui.fadeSlider.value)

    def _onInstall(self):
        """Install torch by its own extension, which asks for itself, and the rest (or all, from wheels) in a child."""
        wheels = self.ui.wheelsPath.currentPath
        self._failure = "" if wheels else self._withoutTorch()
        if self._failure:
            self._show()
            return
        more = [*(["--wheels", wheels] if wheels else []), *(["--dicom"] if self._needed is NEEDED_FOR_DICOM else [])]
        module = "MedGANLogic.install"
        self._begin(lambda: Command(_("Installing"), childInterpreter(), *more, module=module), self._onInstalled)

    def _withoutTorch(self) -> str:
        """Have torch installed where it is missing; return why it is still missing, or nothing."""
        if "torch" in Machine.this().packages:
            return ""
        try:
            from PyTorchUtils import PyTorchUtilsLogic

            PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=f">={OLDEST_TORCH}")
        except ImportError:
            return _("torch comes from the PyTorch extension: install it (Extensions Manager), restart")
        except Exception as error:  # whatever pip or the extension raises is the user's to read
            return _("torch could not be installed: ") + str(error)
        importlib.invalidate_caches()
        return "" if "torch" in Machine.this().packages else _("torch is not installed: MedGAN cannot work without it")

    def _onInstalled(self, _command):
        importlib.invalidate_caches()
        self._readiness = readiness(Machine.this(), self._needed)
        self._askForDevices()

    def _onExport(self):
        if self._isReady(NEEDED_FOR_DICOM):
            self._export(self._state.resultNodes, [])

    def _export(self, results, folders):
        """Write results one after the other, a series each; ``folders`` are those written before."""
        result, source = results[0], self._state.sourceNode
        folder = Path(self.ui.dicomFolderButton.directory, folderName(result.GetName()))

        def export():
            files = sourceFiles(source, getattr(slicer, "dicomDatabase", None))
            return DicomExport(self._modelOf(result), result, source, files, folder, childInterpreter())

        self._begin(export, lambda _export: self._onExported(results[1:], [*folders, str(folder)]))

    def _modelOf(self, result):
        """Return the model that made a result. Raises MedGANError where it is no longer there."""
        said = provenance_of(result)
        made = [model for model in self._models if model.sha256 == said.get("model_sha256")]
        if not made:
            raise MedGANError(f"the model {said.get('model', '')} that made {result.GetName()} is no longer installed")
        return made[0]

    def _onExported(self, others, folders):
        self._exported = _("Written: ") + ", ".join(folders)
        if others:
            self._export(others, folders)

    def _begin(self, make, onEnd):
        """Begin a task; ``onEnd`` gets it when it is done. An error is shown in the panel. One task at a time."""
        if self._task is not None:
            return
        self._failure = self._exported = ""
        try:
            self._task, self._onEnd = make(), onEnd
        except MedGANError as error:
            self._failure = str(error)
        else:
            self._timer.start()
        self._show()

    def _makeMask(self):
        node, segmentID = self._state.maskNode, self._state.segmentID
        if node is None:
            return None
        if node.IsA("vtkMRMLSegmentationNode"):
            return lambda grid: mask_from_segment(node, segmentID, grid)
        return lambda grid: mask_from_roi(node, grid)

    def _onFade(self, value):
        if self._state is None or self._state.sourceNode is None:
            return
        # The first last: of several volumes one can lie in front.
        for node in reversed(self._state.resultNodes):
            show_over(self._state.sourceNode, node, slicer.mrmlScene, value)

    # What happens meanwhile

    def _advance(self):
        if self._asking is not None and not self._asking.advance():
            if self._asking.state is State.DONE:
                self._devices = Devices.of(self._asking.result)
            self._asking = None
            self._show()
        task = self._task
        if task is not None and task.advance():
            self._showWork()
        elif task is not None:
            self._task, self._failure = None, task.error
            if task.state is State.DONE:
                self._onEnd(task)
            self._show()
        if self._task is None and self._asking is None:
            self._timer.stop()

    def _askForDevices(self):
        """Let a child look, once: only torch knows, and torch stays out of Slicer's process."""
        if self._asking is None and not self._devices.found and importlib.util.find_spec("torch"):
            self._asking = Command("", childInterpreter(), "devices")
            self._timer.start()

    def _onSceneChanging(self, _caller=None, _event=None):
        self._isChanging = True

    def _onSceneStartClose(self, _caller=None, _event=None):
        self._abandon()
        self._state = None

    def _onSceneChanged(self, _caller=None, _event=None):
        if slicer.mrmlScene.IsClosing() or slicer.mrmlScene.IsBatchProcessing():
            return
        self._isChanging = False
        self._state = PanelState(self.logic.getParameterNode())
        self._show()

    def _abandon(self):
        if self._task is not None:
            self._task.abandon()
            self._task = None

    # What is shown

    def _model(self):
        return model_of(self._models, self._state.chosen) if self._state else None

    def _view(self):
        model = self._model()
        given = {}
        for role in model.card.inputs if model else ():
            node = self._state.inputNode(role)
            if node is not None:
                given[role] = Given(node.GetName(), self._findings(model, role, node))
        return view(self._models, self._state.chosen, given, self._work(), self._devices)

    def _work(self) -> Work | None:
        return self._task.work if self._task is not None else None

    def _findings(self, model, role, node):
        """Return what ``check`` says of a volume, looked at again only when its voxels or place have changed."""
        first = self._state.inputNode(next(iter(model.card.inputs)))
        if first is None and node.IsA("vtkMRMLSegmentationNode"):
            # It has no grid of its own.
            return ()
        key = (model.sha256, role, node.GetID(), *_ages(node), *_ages(first or node))
        if key not in self._given:
            try:
                found = check(model.card, role, inputImage(node, model.card.inputs[role], first or node))
            except MedGANError as error:
                found = [Finding(Level.ERROR, str(error))]
            self._given = {kept: findings for kept, findings in self._given.items() if kept[1:3] != key[1:3]}
            self._given[key] = tuple(found)
        return self._given[key]

    def _show(self):
        if self._state is None:
            return
        seen = self._view()
        _fill(self.ui.taskSelector, seen.tasks, seen.task)
        _fill(self.ui.modelSelector, seen.models, seen.model)
        self._showSlots(seen.slots)
        self.ui.factsLabel.text = _asTable(seen.facts)
        _say(self.ui.findingsLabel, "<br>".join(_asLine(finding) for finding in seen.findings))
        self.ui.forceCheckBox.visible = seen.asks_to_force
        self.ui.forceCheckBox.checked = self._state.chosen.in_spite_of_errors
        self._showOptions(seen)
        self._showChoices(seen.choices)
        for name in ("imagesButton", "optionsButton"):
            getattr(self.ui, name).enabled = not seen.is_locked
        self._showSetup()
        result = self._state.resultNode
        self.ui.resultButton.visible = result is not None
        for name in ("fadeLabel", "fadeSlider", "dicomLabel", "dicomFolderButton", "exportButton"):
            getattr(self.ui, name).visible = self._state.sourceNode is not None
        _say(self.ui.exportedLabel, html.escape(self._exported))
        if result is not None:
            self.ui.accountLabel.text = _asTable(account(provenance_of(result)))
        self._showWork(seen)

    def _showSetup(self):
        found = self._readiness
        self.ui.setupFrame.visible = found is not None and not found.is_ready and self._task is None
        if found is not None:
            lines = [*(_asLine(finding) for finding in found.findings), html.escape(found.question)]
            self.ui.setupLabel.text = "<br>".join(lines)
            for name in ("wheelsLabel", "wheelsPath", "installButton"):
                getattr(self.ui, name).visible = bool(found.question)

    def _showWork(self, seen=None):
        seen = seen or self._view()
        self.ui.applyButton.text = seen.button
        self.ui.applyButton.enabled = seen.may_press
        self.ui.progressBar.visible = seen.is_locked
        self.ui.exportButton.enabled = self.ui.installButton.enabled = not seen.is_locked
        # A bar from 0 to 0 moves by itself: nobody knows yet how long it takes.
        self.ui.progressBar.maximum = 0 if seen.share is None else 1000
        self.ui.progressBar.value = int(1000 * (seen.share or 0))
        self.ui.progressBar.format = seen.progress
        failed = self._failure and not seen.is_locked
        text = html.escape(self._failure[:1].upper() + self._failure[1:] if failed else seen.says)
        _say(self.ui.statusLabel, f'<span style="color: {_COLOURS[Level.ERROR]}">{text}</span>' if failed else text)

    def _showSlots(self, slots):
        """Show a selector for each image that the model wants; one that fits from before stays."""
        wanted = {slot.role: slot for slot in slots}
        rows = self.ui.imagesButton.layout()
        for role in [role for role in self._selectors if role not in wanted]:
            rows.removeRow(self._selectors.pop(role)[1])
        for place, (role, slot) in enumerate(wanted.items(), start=2):
            if role not in self._selectors:
                self._selectors[role] = self._newSelector(role)
                rows.insertRow(place, *self._selectors[role])
            label, selector = self._selectors[role]
            label.text = f"{slot.title}:"
            if list(selector.nodeTypes) != _NODES[slot.is_labels]:
                selector.nodeTypes = _NODES[slot.is_labels]
            selector.noneDisplay = _("none: nothing is labelled") if slot.is_optional else _("choose a volume")
            was = selector.blockSignals(True)
            selector.setCurrentNode(self._state.inputNode(role))
            selector.blockSignals(was)

    def _newSelector(self, role):
        selector = slicer.qMRMLNodeComboBox()
        selector.objectName = f"inputSelector_{role}"
        selector.addEnabled = selector.removeEnabled = selector.renameEnabled = False
        selector.noneEnabled = True
        selector.toolTip = _("The volume to work on. It is not changed.")
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._onInput(role, node))
        label = qt.QLabel()
        label.setBuddy(selector)
        return label, selector

    def _showChoices(self, choices):
        """Show a field for each thing that the model lets its user choose; what is left alone the seed decides."""
        rows = self.ui.imagesButton.layout()
        wanted = {choice.name: replace(choice, value="") for choice in choices}
        for name in [name for name, (made, _field) in self._choices.items() if wanted.get(name) != made]:
            rows.removeRow(self._choices.pop(name)[1])
        for place, (name, choice) in enumerate(wanted.items(), start=_FIRST_CHOICE):
            if name not in self._choices:
                label, field = qt.QLabel(f"{name.capitalize()}:"), self._newChoice(choice)
                label.setBuddy(field)
                rows.insertRow(place, label, field)
                self._choices[name] = (choice, field)
        for choice in choices:
            _choose(self._choices[choice.name][1], choice)

    def _newChoice(self, choice):
        """Return a list of words, or a field for a number whose lowest value stands for none."""
        if choice.words:
            field = qt.QComboBox()
            _fillPairs(field, [("", _ANY), *((word, word) for word in choice.words)], "")
            field.connect("activated(int)", lambda _index: self._onChoice(choice.name, field.currentData))
        else:
            field = qt.QDoubleSpinBox()
            field.decimals = choice.decimals
            field.minimum, field.maximum = choice.low - choice.step, choice.high
            field.singleStep, field.specialValueText = choice.step, _ANY
            field.connect("valueChanged(double)", lambda value: self._onChoice(choice.name, _asValue(choice, value)))
        field.objectName = f"choice_{choice.name}"
        field.toolTip = _("What is drawn. Left alone, the seed decides.")
        return field

    def _onChoice(self, name, value):
        kept = {other: of for other, of in self._state.chosen.choices.items() if other != name}
        self._choose(choices={**kept, **({name: value} if value else {})})

    def _showOptions(self, seen):
        state, mask = self._state, self._state.maskNode
        segments = _segments(mask)
        for label, field, isShown in (
            ("maskLabel", "maskSelector", seen.takes_mask),
            ("segmentLabel", "segmentSelector", bool(segments)),
            ("strengthLabel", "strengthSlider", seen.strength is not None),
            ("scannerLabel", "scannerSelector", bool(seen.scanners)),
            ("seedLabel", "seedSpinBox", seen.seed is not None),
            ("countLabel", "countSpinBox", seen.count is not None),
        ):
            getattr(self.ui, label).visible = isShown
            getattr(self.ui, field).visible = isShown
        self.ui.probabilitiesCheckBox.visible = seen.probabilities is not None
        self.ui.probabilitiesCheckBox.checked = bool(seen.probabilities)
        _quietly(self.ui.maskSelector, "setCurrentNode", mask)
        _quietly(self.ui.outputSelector, "setCurrentNode", state.replacedNode)
        _fillPairs(self.ui.segmentSelector, segments, state.segmentID)
        if segments and state.segmentID not in dict(segments):
            state.segmentID = segments[0][0]
        _fill(self.ui.deviceSelector, seen.devices, seen.device)
        _say(self.ui.deviceReasonLabel, html.escape(seen.device_says))
        if seen.strength is not None:
            _quietly(self.ui.strengthSlider, "setValue", seen.strength)
        _fill(self.ui.scannerSelector, seen.scanners, seen.like)
        if seen.seed is not None:
            _quietly(self.ui.seedSpinBox, "setValue", seen.seed)
            _quietly(self.ui.countSpinBox, "setValue", seen.count)


def _ages(node):
    """Return when a node and its voxels, or its segments and theirs, were changed."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        content = [node.GetImageData()]
    else:
        segmentation = node.GetSegmentation()
        segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
        content = [*segments, *(segment.GetRepresentation("Binary labelmap") for segment in segments)]
    return node.GetMTime(), *(one.GetMTime() if one else 0 for one in content)


def _choose(field, choice):
    """Show in a field what was chosen."""
    if choice.words:
        field.setCurrentIndex(max(0, field.findData(choice.value)))
    else:
        _quietly(field, "setValue", float(choice.value) if choice.value else field.minimum)


def _asValue(choice, value):
    """Return what the field of a number says: nothing below its lowest."""
    return f"{max(value, choice.low):g}" if value > choice.low - choice.step / 2 else ""


def _quietly(widget, method, value):
    """Set something that the user has not changed: nobody is told."""
    was = widget.blockSignals(True)
    getattr(widget, method)(value)
    widget.blockSignals(was)


def _fill(combo, options, key):
    _fillPairs(combo, [(option.key, option.text) for option in options], key)
    for index, option in enumerate(options):
        combo.setItemData(index, option.hint, qt.Qt.ToolTipRole)


def _fillPairs(combo, pairs, key):
    if [(combo.itemData(index), combo.itemText(index)) for index in range(combo.count)] != list(pairs):
        combo.clear()
        for value, text in pairs:
            combo.addItem(text, value)
    combo.setCurrentIndex(max(0, combo.findData(key)) if pairs else -1)


def _segments(node):
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return []
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [(segmentID, segmentation.GetSegment(segmentID).GetName()) for segmentID in ids]


def _say(label, text):
    # A label whose text is set lays the whole panel out again.
    if label.text != text:
        label.text = text
    label.visible = bool(text)


def _asLine(finding):
    return f'<span style="color: {_COLOURS[finding.level]}">■</span> {html.escape(finding.text)}'


def _asTable(rows):
    cells = "".join(
        f'<tr><td style="padding-right: 8px"><b>{html.escape(heading)}</b></td><td>{_breakable(text)}</td></tr>'
        for heading, text in rows
    )
    return f"<table>{cells}</table>"


def _breakable(text):
    """Let long words (hashes, paths) be broken: a panel is narrow."""
    return re.sub(r"([^\s&;]{12})(?=[^\s&;])", "\\1\u200b", html.escape(text))


class MedGANTest(ScriptedLoadableModuleTest):
    """Run in Slicer by its own test driver; the rest of the suite needs no Slicer."""

    def runTest(self):
        self.setUp()
        self.test_panel_opens_with_the_shipped_model()

    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_panel_opens_with_the_shipped_model(self):
        widget = slicer.modules.medgan.widgetRepresentation().self()
        self.assertEqual(widget.ui.applyButton.text, "Apply")
        self.assertGreater(widget.ui.modelSelector.count, 0)
