"""The table of what desktop Slicer does to a panel, a test a row, and where each row was read.

The stand-in is written from this table. Sources: DESIGN (§7 of the project's design), PythonQt (commontk/PythonQt,
src/), CTK (commontk/CTK, Libs/Widgets), Slicer (Slicer/Slicer: Base/Python/slicer, Libs/MRML/Widgets,
Modules/Loadable).

What no test shows: Slicer's own Python classes (MEDGAN_SLICER_PYTHON) in this stand-in; there is no Slicer here.
"""

# ruff: noqa: ARG002, ARG005 (fixtures are arguments, and VTK and PythonQt call with all they have)

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("PySide6", reason="the stand-in draws with PySide6")
pytest.importorskip("slicer", reason="the stand-in needs MRML of the slicer-core wheel")

import standin
from standin import choose, click, dialogs, load_module, picture, ui, wait_until
from standin.pythonqt import complaints


@pytest.fixture
def slicer(tmp_path):
    with standin.desktop_slicer(tmp_path / "slicer") as slicer:
        yield slicer


@pytest.fixture
def qt(slicer):
    import qt

    return qt


@pytest.fixture
def ctk(slicer):
    import ctk

    return ctk


@pytest.fixture
def button(qt):
    button = qt.QPushButton("Apply")
    button.show()
    return button


@pytest.fixture
def heard():
    """What slots were called with."""
    return []


class TestAttributes:
    """DESIGN §7; PythonQtClassInfo.cpp (the order of look-up), PythonQtInstanceWrapper.cpp (getattro, setattro)."""

    def test_property_is_read_as_an_attribute(self, button):
        assert (button.text, button.enabled, button.checkable) == ("Apply", True, False)

    def test_property_cannot_be_called(self, button):
        with pytest.raises(TypeError, match="'str' object is not callable"):
            button.text()

    def test_property_is_set_as_an_attribute(self, button):
        button.text = "Cancel"
        button.enabled = False
        assert button.text == "Cancel" and not button.enabled

    def test_setter_stays_a_method(self, button):
        button.setText("Cancel")
        assert button.text == "Cancel"

    def test_getter_of_another_name_stays_a_method(self, button):
        assert button.isCheckable() is False

    def test_new_attribute_is_refused(self, button):
        """Also seen in OpenwaterHealth/SlicerOpenLIFU#241."""
        with pytest.raises(AttributeError, match="'visibility' does not exist on QPushButton and creating new attr"):
            button.visibility = True

    def test_new_attribute_of_a_class_derived_in_python_is_kept(self, qt):
        class Panel(qt.QWidget):
            pass

        panel = Panel()
        panel.model = "a"
        panel.toolTip = "b"
        assert (panel.model, panel.toolTip) == ("a", "b")

    def test_unknown_attribute_is_an_error(self, button):
        with pytest.raises(AttributeError, match="QPushButton has no attribute named 'txet'"):
            _ = button.txet

    @pytest.mark.parametrize("name, kind", [("setText", "Slot"), ("clicked", "Signal")])
    def test_method_and_signal_cannot_be_overwritten(self, button, name, kind):
        with pytest.raises(AttributeError, match=f"{kind} '{name}' can not be overwritten"):
            setattr(button, name, print)

    def test_property_without_setter_cannot_be_set(self, button):
        with pytest.raises(AttributeError, match="'rect' of QPushButton object is not writable"):
            button.rect = None

    @pytest.mark.parametrize("value", [None, "yes", []])
    def test_value_of_another_type_is_refused(self, button, value):
        """PythonQtConversion.cpp, PyObjToQVariant."""
        with pytest.raises(AttributeError, match="'checked' of type 'bool' does not accept"):
            button.checked = value

    def test_text_takes_anything(self, button):
        """PythonQtConversion.cpp: a QString is asked for without strictness."""
        button.text = 5
        assert button.text == "5"

    def test_name_stands_for_object_name(self, button):
        button.name = "applyButton"
        assert button.objectName == "applyButton"

    def test_dynamic_property_is_an_attribute_once_it_exists(self, button):
        button.setProperty("SlicerParameterName", "model")
        button.SlicerParameterName = "task"
        assert button.property("SlicerParameterName") == "task"

    def test_child_is_an_attribute_by_its_name(self, qt, button):
        panel = qt.QWidget()
        button.setParent(panel)
        button.name = "applyButton"
        assert panel.applyButton is button

    def test_trailing_underscore_is_dropped(self, qt):
        """PythonQtClassInfo.cpp: exec_ finds exec."""
        qt.QMenu().clear_()

    def test_wrong_arguments_are_a_value_error(self, qt, button):
        """PythonQtSlot.cpp, CallImpl."""
        for call in (button.setText, lambda: qt.QLabel(3, 4, 5)):
            with pytest.raises(ValueError, match="with wrong arguments"):
                call()

    def test_arguments_have_no_names(self, qt, button):
        """PythonQtSlot.cpp, CallImpl."""
        for call in (button.setText, qt.QLabel):
            with pytest.raises(ValueError, match="keyword arguments"):
                call(text="Apply")

    def test_deleted_object_is_false_and_equal_to_none(self, button):
        button.delete()
        assert not button and button == None  # noqa: E711 (this is the comparison that PythonQt defines)
        with pytest.raises(ValueError, match="from a destroyed QPushButton"):
            _ = button.text


class TestTypes:
    """DESIGN §7."""

    def test_button_is_no_instance_of_widget(self, qt, button):
        """MeVisLab/pythonqt#358."""
        assert not isinstance(button, qt.QWidget) and not issubclass(qt.QPushButton, qt.QWidget)
        assert type(button) == qt.QPushButton and button.inherits("QWidget")  # noqa: E721 (as in guiConnectors.py)

    def test_class_name_is_a_method(self, button):
        """PythonQtInstanceWrapper.cpp."""
        assert button.className() == "QPushButton"

    def test_same_object_has_the_same_wrapper_while_it_is_held(self, qt, button):
        panel = qt.QWidget()
        button.setParent(panel)
        assert button.parent() is panel and panel.children()[0] is button

    def test_enum_is_an_int(self, qt):
        assert (qt.Qt.AlignLeft, qt.QMessageBox.Yes, qt.QSizePolicy.Preferred) == (1, 16384, 5)
        assert isinstance(qt.Qt.AlignLeft, int)

    def test_enums_combine_and_come_back_as_ints(self, qt):
        label = qt.QLabel()
        label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignTop)
        assert label.alignment == 0x22
        label.alignment = 4
        assert label.alignment == qt.Qt.AlignHCenter

    def test_children_are_a_tuple(self, qt, button):
        layout = qt.QVBoxLayout()
        panel = qt.QWidget()
        panel.setLayout(layout)
        layout.addWidget(button)
        assert panel.children() == (layout, button)

    def test_string_list_is_a_tuple(self, qt):
        """PythonQtConversion.cpp, QStringListToPyObject."""
        model = qt.QStringListModel(["a", "b"])
        assert model.stringList() == ("a", "b")

    def test_string_as_string_list_falls_into_letters(self, slicer):
        """PythonQtConversion.cpp, PyObjToStringList: any sequence will do."""
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = "abc"
        assert selector.nodeTypes == ("a", "b", "c")

    def test_value_is_wrapped_and_its_parts_are_methods(self, qt, button):
        button.iconSize = qt.QSize(3, 4)
        assert button.iconSize.width() == 3 and button.iconSize == qt.QSize(3, 4)

    def test_find_children_by_name_stops_at_other_names(self, qt):
        """PythonQtStdDecorators.cpp, findChildren: what is below a widget of another name is not looked at."""
        panel = qt.QWidget()
        box = qt.QWidget(panel)
        qt.QLabel("", box).name = "status"
        assert panel.findChildren(qt.QLabel, "status") == ()
        assert len(panel.findChildren(qt.QLabel)) == len(panel.findChildren("QLabel")) == 1

    def test_object_without_an_owner_dies_with_its_name(self, qt, heard):
        """PythonQtInstanceWrapper.cpp, dealloc: a timer in a local variable never fires."""
        timer = qt.QTimer()
        timer.connect("timeout()", lambda: heard.append("timeout"))
        timer.start(0)
        del timer
        qt.QTimer.singleShot(20, lambda: heard.append("later"))
        wait_until(lambda: heard)
        assert heard == ["later"]

    def test_overridden_function_would_not_be_called_and_is_refused(self, qt):
        """A limit of the stand-in, not of Slicer."""
        with pytest.raises(NotImplementedError, match="closeEvent"):

            class Panel(qt.QWidget):
                def closeEvent(self, event):  # noqa: N802
                    pass


class TestSignals:
    """DESIGN §7; PythonQtStdDecorators.cpp (connect), PythonQtSignalReceiver.cpp (what a slot is called with)."""

    @pytest.mark.parametrize("signal", ["clicked()", "clicked(bool)", "clicked( bool )"])
    def test_signal_is_connected_by_its_signature(self, button, heard, signal):
        assert button.connect(signal, lambda: heard.append("clicked")) is True
        click(button)
        assert heard == ["clicked"]

    @pytest.mark.parametrize("signal", ["clickd()", "clicked", "clicked(int)", "currentIndexChanged(int)"])
    def test_wrong_signal_returns_false_and_connects_nothing(self, button, heard, signal):
        assert button.connect(signal, heard.append) is False
        click(button)
        assert heard == []
        complaints.clear()

    def test_signal_has_a_connect_too(self, button, heard):
        assert button.clicked.connect(lambda: heard.append("clicked")) is True
        click(button)
        assert heard == ["clicked"]

    def test_surplus_arguments_are_dropped_for_functions_and_methods(self, button, heard):
        class Panel:
            def on_click(self):
                heard.append("method")

            def on_toggle(self, checked):
                heard.append(checked)

        panel = Panel()
        button.checkable = True
        for slot in (panel.on_click, panel.on_toggle, lambda: heard.append("function")):
            button.connect("clicked(bool)", slot)
        click(button)
        assert heard == ["method", True, "function"]

    def test_argument_with_a_default_is_filled(self, button, heard):
        """PythonQtSignalReceiver.cpp counts it: the default of a lambda in a loop is overwritten."""
        button.clicked.connect(lambda name="MR": heard.append(name))
        button.connect("clicked()", lambda name="MR": heard.append(name))
        click(button)
        assert heard == [False, "MR"]

    def test_other_callables_get_all_arguments(self, button, heard):
        """PythonQtSignalReceiver.cpp looks into functions and methods alone."""
        button.clicked.connect(heard.append)
        click(button)
        assert heard == [False]

    def test_disconnecting_says_whether_there_was_something(self, button, heard):
        slot = lambda: heard.append("clicked")  # noqa: E731
        button.connect("clicked()", slot)
        assert button.disconnect("clicked()", slot) is True
        assert button.disconnect("clicked()", slot) is False
        click(button)
        assert heard == []

    def test_exception_in_a_slot_is_noted_and_goes_no_further(self, button):
        """PythonQtSignalReceiver.cpp calls handleError, which prints. Here the test fails when it ends."""
        button.clicked.connect(lambda: 1 / 0)
        click(button)
        assert "ZeroDivisionError" in complaints.pop()

    def test_block_signals_blocks(self, qt, heard):
        box = qt.QSpinBox()
        box.valueChanged.connect(heard.append)
        box.blockSignals(True)
        box.value = 3
        box.blockSignals(False)
        box.value = 4
        assert heard == [4]

    def test_timer_polls_a_child_process_without_stopping_the_event_loop(self, qt, heard):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])
        timer = qt.QTimer()
        timer.setInterval(10)
        timer.timeout.connect(lambda: heard.append(child.poll()))
        timer.start()
        wait_until(lambda: 0 in heard)
        assert len(heard) > 3


class TestDialogs:
    """Not Slicer's manners but the project's (issue 4, point 5): no dialog that would stop a script."""

    def test_unexpected_message_box_fails(self, qt):
        with pytest.raises(AssertionError, match="would stop a script: 'Really\\?'"):
            qt.QMessageBox.question(None, "MedGAN", "Really?")
        complaints.clear()

    def test_unexpected_message_box_of_slicer_fails(self, slicer):
        """slicer/util.py, errorDisplay, with a main window."""
        with pytest.raises(AssertionError, match="ctkMessageBox"):
            slicer.util.errorDisplay("It went wrong.")
        complaints.clear()

    def test_expected_question_is_answered(self, slicer, qt):
        dialogs.answer(qt.QMessageBox.Cancel)
        assert slicer.util.confirmOkCancelDisplay("Install?") is False
        assert dialogs.opened == ["ctkMessageBox: Install?"]

    def test_file_dialog_is_recorded_and_cancelled(self, qt):
        assert qt.QFileDialog.getOpenFileName(None, "Open an image") == ""
        assert dialogs.opened == ["QFileDialog: Open an image"]

    def test_file_dialog_gives_what_was_queued(self, qt):
        dialogs.answer("/a/b.nii.gz")
        assert qt.QFileDialog.getOpenFileName(None, "Open") == "/a/b.nii.gz"


class TestCTK:
    """The headers of CTK."""

    def test_collapsible_button_hides_what_is_in_it(self, qt, ctk, heard):
        """ctkCollapsibleButton.h."""
        box = ctk.ctkCollapsibleButton()
        box.text = "Advanced"
        layout = qt.QFormLayout(box)
        seen, unseen = qt.QLabel("seen"), qt.QLabel("unseen")
        layout.addRow(seen)
        layout.addRow(unseen)
        unseen.visible = False
        box.show()
        box.connect("contentsCollapsed(bool)", heard.append)
        click(box)
        assert box.collapsed and not box.checked and not seen.visible
        box.collapsed = False
        assert seen.visible and not unseen.visible
        assert heard == [True, False]

    def test_slider_and_spin_box_agree(self, ctk, heard):
        """ctkSliderWidget.h."""
        slider = ctk.ctkSliderWidget()
        slider.singleStep, slider.maximum = 0.01, 1
        slider.connect("valueChanged(double)", heard.append)
        slider.value = 0.25
        slider.slider().setValue(75)
        slider.value = 7
        assert heard == [0.25, 0.75, 1.0] and slider.spinBox().value == 1

    def test_path_line_edit_browses(self, ctk, heard, tmp_path):
        """ctkPathLineEdit.h: Files and Writable choose the dialog."""
        line = ctk.ctkPathLineEdit()
        line.filters = ctk.ctkPathLineEdit.Dirs
        line.connect("currentPathChanged(QString)", heard.append)
        line.connect("validInputChanged(bool)", heard.append)
        dialogs.answer(str(tmp_path))
        line.browse()
        assert line.currentPath == str(tmp_path) and sorted(map(str, heard)) == sorted([str(tmp_path), "True"])

    def test_path_line_edit_asks_for_a_file_unless_told_otherwise(self, ctk, monkeypatch):
        """ctkPathLineEdit.cpp: AllEntries by default, and Files among them makes it a dialog for a file to open."""
        line = ctk.ctkPathLineEdit()
        monkeypatch.setattr(dialogs.QFileDialog, "getOpenFileName", lambda *_: "/a/file")
        monkeypatch.setattr(dialogs.QFileDialog, "getExistingDirectory", lambda *_: "/a/folder")
        line.browse()
        assert line.currentPath == "/a/file" and line.filters & ctk.ctkPathLineEdit.AllEntries
        line.filters = line.filters & ~ctk.ctkPathLineEdit.Files
        line.browse()
        assert line.currentPath == "/a/folder"

    def test_directory_button_has_the_working_folder_until_one_is_chosen(self, ctk, heard, tmp_path):
        """ctkDirectoryButton.cpp: a default QDir, whose path is "."; setDirectory always tells of a selection."""
        button = ctk.ctkDirectoryButton()
        assert button.directory == "."
        button.connect("directoryChanged(QString)", lambda path: heard.append("changed"))
        button.connect("directorySelected(QString)", lambda path: heard.append("selected"))
        button.directory = button.directory = str(tmp_path)
        assert button.directory == str(tmp_path) and heard == ["selected", "changed", "selected"]

    def test_items_of_a_checkable_combo_box_are_checked(self, qt, ctk, heard):
        """ctkCheckableComboBox.h."""
        box = ctk.ctkCheckableComboBox()
        box.addItems(["a", "b"])
        box.connect("checkedIndexesChanged()", lambda: heard.append(len(box.checkedIndexes())))
        box.setCheckState(box.checkableModel().index(1, 0), qt.Qt.Checked)
        assert heard == [1] and not box.allChecked() and not box.noneChecked()

    def test_what_is_not_there_is_an_attribute_error(self, ctk):
        with pytest.raises(AttributeError, match="has no ctk\\.ctkNonsense"):
            _ = ctk.ctkNonsense


@pytest.fixture
def volume(slicer):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")


@pytest.fixture
def selector(slicer):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.show()
    return selector


class TestNodeComboBox:
    """qMRMLNodeComboBox.h."""

    def test_disabled_until_it_has_a_scene(self, slicer, selector):
        assert not selector.enabled
        selector.setMRMLScene(slicer.mrmlScene)
        assert selector.enabled

    def test_first_node_is_chosen_unless_none_is_offered(self, slicer, selector, volume):
        careful = slicer.qMRMLNodeComboBox()
        careful.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        careful.noneEnabled = True
        for each in (careful, selector):
            each.setMRMLScene(slicer.mrmlScene)
        assert selector.currentNode() is volume and careful.currentNode() is None

    def test_current_node_is_a_method_and_its_id_a_property(self, slicer, selector, volume):
        selector.setMRMLScene(slicer.mrmlScene)
        assert (selector.currentNode(), selector.currentNodeID) == (volume, volume.GetID())

    @pytest.mark.parametrize("signal", ["currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)"])
    def test_change_is_told(self, slicer, selector, volume, heard, signal):
        assert selector.connect(signal, lambda value: heard.append(bool(value)))
        selector.setMRMLScene(slicer.mrmlScene)
        selector.setCurrentNode(volume)
        selector.setCurrentNode(None)
        assert heard == [True, False]

    def test_user_chooses_a_node(self, slicer, selector, volume, heard):
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T2")
        selector.setMRMLScene(slicer.mrmlScene)
        selector.currentNodeChanged.connect(heard.append)
        choose(selector, "T2")
        assert heard == [other]

    def test_user_creates_a_node(self, slicer, selector):
        selector.baseName = "Output"
        selector.setMRMLScene(slicer.mrmlScene)
        choose(selector, "Create new Volume")
        assert selector.currentNode().GetName() == "Output"

    def test_kinds_of_items_can_be_taken_away(self, slicer, selector, volume):
        selector.addEnabled = selector.removeEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        with pytest.raises(AssertionError, match=r"not among \['T1'\]"):
            choose(selector, "Create new Volume")

    def test_subclass_is_shown_unless_hidden(self, slicer, selector):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "mask")
        selector.setMRMLScene(slicer.mrmlScene)
        assert selector.nodeCount() == 1
        selector.hideChildNodeTypes = ["vtkMRMLLabelMapVolumeNode"]
        assert selector.nodeCount() == 0

    def test_hidden_node_and_node_of_another_attribute_are_not_shown(self, slicer, selector, volume):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hidden").SetHideFromEditors(True)
        selector.setMRMLScene(slicer.mrmlScene)
        selector.addAttribute("vtkMRMLScalarVolumeNode", "MedGAN", "1")
        assert selector.nodeCount() == 0
        volume.SetAttribute("MedGAN", "1")
        selector.removeAttribute("vtkMRMLScalarVolumeNode", "MedGAN")
        assert selector.nodeFromIndex(0) is volume and selector.nodeCount() == 1

    @pytest.mark.parametrize("actions", [True, False], ids=["actions", "no actions"])
    @pytest.mark.parametrize("none", [True, False], ids=["none", "no none"])
    @pytest.mark.parametrize("names, removed, heir", [("ABC", "A", "B"), ("ABC", "C", "B"), ("A", "A", None)])
    def test_removed_node_hands_the_choice_on(self, slicer, selector, heard, names, removed, heir, none, actions):
        """qcombobox.cpp, _q_rowsRemoved: the row that follows, or the last; qMRMLNodeComboBox.cxx: never an action."""
        nodes = {name: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in names}
        selector.noneEnabled, selector.addEnabled, selector.removeEnabled = none, actions, actions
        selector.setMRMLScene(slicer.mrmlScene)
        selector.setCurrentNode(nodes[removed])
        selector.currentNodeChanged.connect(heard.append)
        slicer.mrmlScene.RemoveNode(nodes[removed])
        assert heard == [nodes.get(heir)] and selector.currentNode() is nodes.get(heir)
        assert selector.nodeCount() == len(names) - 1

    @pytest.mark.parametrize("names, removed, heir", [("ABC", 0, "B"), ("ABC", 2, "B"), ("A", 0, "")])
    def test_combo_box_of_qt_hands_the_choice_on(self, qt, names, removed, heir):
        """What the row above rests on."""
        box = qt.QComboBox()
        box.addItems(list(names))
        box.currentIndex = removed
        box.removeItem(removed)
        assert box.currentText == heir

    def test_another_node_s_removal_leaves_the_choice(self, slicer, selector, volume, heard):
        """qMRMLNodeComboBox.cxx, emitNodesAboutToBeRemoved: every node of the list is told of, chosen or not."""
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T2")
        selector.setMRMLScene(slicer.mrmlScene)
        selector.setCurrentNode(other)
        selector.currentNodeChanged.connect(lambda node: heard.append("changed"))
        selector.nodeAboutToBeRemoved.connect(heard.append)
        slicer.mrmlScene.RemoveNode(volume)
        assert heard == [volume] and selector.currentNode() is other

    def test_removal_is_told_after_other_observers_and_before_the_node_is_gone(self, slicer, selector, volume, heard):
        """qMRMLSceneModel.cxx, setMRMLScene: it observes NodeAboutToBeRemovedEvent with priority -10."""
        scene = slicer.mrmlScene
        selector.setMRMLScene(scene)
        selector.currentNodeChanged.connect(lambda node: heard.append((node, bool(scene.IsNodePresent(volume)))))
        tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, lambda caller, event: heard.append("observer"))
        scene.RemoveNode(volume)
        scene.RemoveObserver(tag)
        assert heard == ["observer", (None, True)]

    def test_batch_of_removals_is_not_waited_for(self, slicer, selector, volume, heard):
        """qMRMLSceneModel.cxx: only a model with lazyUpdate waits, and a combo box's has none."""
        selector.setMRMLScene(slicer.mrmlScene)
        selector.currentNodeChanged.connect(heard.append)
        slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
        slicer.mrmlScene.RemoveNode(volume)
        assert heard == [None]
        slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)

    def test_closed_scene_is_told_before_observers_that_came_later(self, slicer, selector, volume, heard):
        """qMRMLSceneModel.cxx, onMRMLSceneClosed, at EndCloseEvent; vtkObject.h: equal priorities go by age."""
        scene = slicer.mrmlScene
        selector.setMRMLScene(scene)
        selector.currentNodeChanged.connect(heard.append)
        tag = scene.AddObserver(scene.EndCloseEvent, lambda caller, event: heard.append("observer"))
        scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T2")
        scene.Clear(0)
        scene.RemoveObserver(tag)
        assert heard == [None, "observer"] and selector.nodeCount() == 0

    def test_closing_scene_has_lost_the_node_before_the_change_is_told(self, slicer, selector, volume, heard):
        """qMRMLNodeComboBox.cxx, mrmlNodeFromIndex: the scene is asked for the row's ID."""
        scene = slicer.mrmlScene
        selector.setMRMLScene(scene)
        tag = scene.AddObserver(scene.EndCloseEvent, lambda caller, event: heard.append(selector.currentNode()), 1.0)
        selector.currentNodeChanged.connect(lambda node: heard.append("changed"))
        scene.Clear(0)
        scene.RemoveObserver(tag)
        assert heard == [None, "changed"]

    def test_import_takes_the_choice(self, slicer, selector, volume, heard, tmp_path):
        """qMRMLSceneModel.cxx, onMRMLSceneImported: all rows but "None" go and come back."""
        selector.noneEnabled = True
        selector.setMRMLScene(slicer.mrmlScene)
        slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
        slicer.mrmlScene.Commit()
        selector.setCurrentNode(volume)
        selector.currentNodeChanged.connect(heard.append)
        slicer.mrmlScene.Import()
        assert heard == [None] and selector.nodeCount() == 2

    def test_renamed_node_is_shown_by_its_new_name(self, slicer, selector, volume):
        selector.setMRMLScene(slicer.mrmlScene)
        volume.SetName("MR of the leg")
        choose(selector, "MR of the leg")


class TestSegmentSelector:
    """qMRMLSegmentSelectorWidget.h and .cxx."""

    @pytest.fixture
    def segmentation(self, slicer):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
        node.GetSegmentation().AddEmptySegment("bone", "Bone")
        node.GetSegmentation().AddEmptySegment("muscle", "Muscle")
        return node

    @pytest.fixture
    def segments(self, slicer, segmentation):
        segments = slicer.qMRMLSegmentSelectorWidget()
        segments.setMRMLScene(slicer.mrmlScene)
        return segments

    def test_ids_are_methods_here(self, segments, segmentation):
        assert segments.currentNodeID() == segmentation.GetID() and segments.currentSegmentID() == "bone"

    def test_change_is_told(self, segments, heard):
        assert segments.connect("currentSegmentChanged(QString)", heard.append)
        segments.setCurrentSegmentID("muscle")
        assert heard == ["muscle"]

    def test_new_segment_moves_the_choice_to_the_first(self, segments, segmentation):
        segments.setCurrentSegmentID("muscle")
        segmentation.GetSegmentation().AddEmptySegment("fat", "Fat")
        assert segments.currentSegmentID() == "bone"

    def test_segment_id_outlives_its_segmentation(self, slicer, segments, segmentation):
        slicer.mrmlScene.RemoveNode(segmentation)
        assert segments.currentNode() is None and segments.currentSegmentID() == "bone"


@pytest.fixture
def fields(slicer):
    """A class of typed fields, and what is needed to make one."""
    from enum import Enum
    from pathlib import Path
    from typing import Annotated, Optional

    from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

    class Device(Enum):
        CPU = "cpu"
        GPU = "cuda"

    @parameterNodeWrapper
    class Fields:
        source: slicer.vtkMRMLScalarVolumeNode
        mask: Optional[slicer.vtkMRMLSegmentationNode]  # noqa: UP045 (Slicer knows no X | None)
        device: Device = Device.CPU
        strength: Annotated[float, WithinRange(0, 1), Default(0.5)]
        model: Annotated[str, Choice(["a", "b"]), Default("a")]
        folder: Path
        show: bool = True
        count: Optional[int]  # noqa: UP045

    Fields.Device = Device
    return Fields


@pytest.fixture
def parameters(slicer, fields):
    return fields(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


class TestParameterNode:
    """Slicer's developer guide, "Parameter nodes"; Base/Python/slicer/parameterNodeWrapper/."""

    def test_field_has_its_default_and_stands_in_the_node(self, fields, parameters):
        assert (parameters.strength, parameters.show, parameters.source, parameters.count) == (0.5, True, None, None)
        assert parameters.device is fields.Device.CPU
        assert parameters.parameterNode.GetParameter("strength") == "0.5"

    @pytest.mark.parametrize("name, value", [("strength", 2.0), ("model", "c"), ("show", "yes"), ("device", "cpu")])
    def test_value_that_does_not_fit_is_refused(self, parameters, name, value):
        with pytest.raises((ValueError, TypeError), match="Value"):
            setattr(parameters, name, value)

    def test_saved_scene_comes_back(self, slicer, fields, parameters, tmp_path):
        parameters.source = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
        parameters.device, parameters.count, parameters.show = fields.Device.GPU, 3, False
        slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
        slicer.mrmlScene.Commit()
        slicer.mrmlScene.Clear(0)
        slicer.mrmlScene.Connect()
        again = fields(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode"))
        assert again.source.GetName() == "T1" and again.device is fields.Device.GPU
        assert (again.count, again.show) == (3, False)

    def test_optional_field_forgets_its_value(self, parameters):
        parameters.count = 3
        parameters.count = None
        assert parameters.count is None

    def test_bar_in_a_type_is_refused(self, slicer):
        """serializers.py, UnionSerializer: only typing.Union is known."""
        from slicer.parameterNodeWrapper import parameterNodeWrapper

        class Fields:
            count: int | None

        with pytest.raises(TypeError, match="serializer"):
            parameterNodeWrapper(Fields)

    def test_change_is_observed(self, parameters, heard):
        parameters.AddObserver("ModifiedEvent", lambda caller, event: heard.append(parameters.strength))
        parameters.strength = 0.75
        assert heard[-1] == 0.75

    def test_widgets_and_fields_follow_each_other(self, slicer, qt, ctk, fields, parameters, volume):
        widgets = {
            "strength": ctk.ctkSliderWidget(),
            "show": qt.QCheckBox(),
            "device": qt.QComboBox(),
            "folder": ctk.ctkPathLineEdit(),
            "source": slicer.qMRMLNodeComboBox(),
        }
        widgets["source"].setMRMLScene(slicer.mrmlScene)
        tag = parameters.connectParametersToGui(widgets)
        widgets["show"].show()
        click(widgets["show"])
        widgets["strength"].value = 0.25
        widgets["source"].setCurrentNode(volume)
        assert (parameters.show, parameters.strength, parameters.source) == (False, 0.25, volume)
        parameters.device = fields.Device.GPU
        assert widgets["device"].currentText == "GPU" and widgets["strength"].maximum == 1
        parameters.disconnectGui(tag)
        parameters.strength = 1.0
        assert widgets["strength"].value == 0.25

    def test_connect_gui_returns_nothing(self, slicer, qt, parameters):
        """wrapper.py, _connectGui: so disconnectGui(connectGui(…)) does nothing, in Slicer too."""
        panel = qt.QWidget()
        box = qt.QCheckBox(panel)
        box.setProperty("SlicerParameterName", "show")
        assert parameters.connectGui(panel) is None
        parameters.disconnectGui(None)
        parameters.show = False
        assert box.checked is False

    def test_widget_that_does_not_fit_is_refused(self, qt, parameters):
        with pytest.raises(RuntimeError, match="GUI connector"):
            parameters.connectParametersToGui({"show": qt.QLabel()})


TOY_UI = """
<ui version="4.0"><class>Toy</class>
 <widget class="qMRMLWidget" name="Toy"><layout class="QVBoxLayout" name="rows">
  <item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
   <layout class="QFormLayout" name="form">
    <item row="0" column="0"><widget class="QLabel" name="sourceLabel">
      <property name="text"><string>Volume</string></property>
      <property name="buddy"><cstring>source</cstring></property>
    </widget></item>
    <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="source">
      <property name="toolTip"><string>What is translated</string></property>
      <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
      <property name="noneEnabled"><bool>true</bool></property>
      <property name="SlicerParameterName" stdset="0"><string>source</string></property>
    </widget></item>
   </layout></widget></item>
  <item><widget class="QPushButton" name="apply"><property name="text"><string>Apply</string></property></widget></item>
 </layout></widget>
 <connections><connection>
  <sender>Toy</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>source</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
 </connection></connections>
</ui>"""

TOY = """
import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

class Toy(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Toy")
        parent.categories = ["Image Synthesis"]
        slicer.app.connect("startupCompleted()", registerSampleData)

def registerSampleData():
    import SampleData
    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="Toy", sampleName="Phantom")

@parameterNodeWrapper
class ToyParameters:
    source: slicer.vtkMRMLScalarVolumeNode

class ToyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/Toy.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ToyLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClose)
        self.ui.apply.connect("clicked(bool)", self.onApply)
        self.enter()

    def enter(self):
        self.parameters = ToyParameters(self.logic.getParameterNode())
        self.parameters.connectGui(self.ui)

    def onClose(self, caller, event):
        self.enter()

    def onApply(self):
        self.parameters.source.SetDescription("applied")

    def cleanup(self):
        self.removeObservers()

class ToyLogic(ScriptedLoadableModuleLogic):
    pass

class ToyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("tested", msec=10)
"""


@pytest.fixture
def toy(slicer, tmp_path):
    """A scripted module in a folder of its own, loaded."""
    (tmp_path / "module" / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "module" / "Resources" / "UI" / "Toy.ui").write_text(TOY_UI)
    (tmp_path / "module" / "Toy.py").write_text(TOY)
    return load_module(tmp_path / "module" / "Toy.py")


class TestScriptedModule:
    """Slicer's developer guide, "Scripted modules"; ScriptedLoadableModule.py, util.py."""

    def test_module_says_what_it_is(self, slicer, toy):
        assert (toy.title, toy.categories, toy.name) == ("Toy", ("Image Synthesis",), "Toy")
        assert slicer.modules.toy is toy and slicer.util.modulePath("Toy") == toy.path

    def test_unknown_fact_about_a_module_is_refused(self, toy):
        with pytest.raises(AttributeError, match="does not exist"):
            toy.titel = "Toy"

    def test_sample_data_are_registered_at_start(self, slicer, toy):
        assert [source.sampleName for source in slicer.modules.sampleDataSources["Toy"]] == ["Phantom"]

    def test_panel_is_made_when_first_asked_for(self, slicer, toy):
        assert not hasattr(slicer.modules, "ToyWidget")
        assert slicer.util.getModuleWidget("Toy") is slicer.modules.ToyWidget

    def test_panel_works_on_a_click(self, slicer, toy, volume):
        toy.widgetRepresentation().show()
        panel = slicer.util.getModuleWidget("Toy")
        choose(panel.ui.source, "T1")
        click(panel.ui.apply)
        assert volume.GetDescription() == "applied"

    def test_hidden_button_cannot_be_clicked(self, slicer, toy):
        with pytest.raises(AssertionError, match="not visible"):
            click(slicer.util.getModuleWidget("Toy").ui.apply)

    def test_logic_has_one_parameter_node(self, slicer, toy):
        logic = slicer.util.getModuleLogic("Toy")
        logic.getParameterNode().SetParameter("model", "b")
        assert logic.getParameterNode().GetParameter("model") == "b"
        assert logic.getAllParameterNodes() == [logic.getParameterNode()]
        assert logic.getParameterNode().GetAttribute("ModuleName") == "Toy"

    def test_closed_scene_takes_the_parameter_node_s_values(self, slicer, toy, volume):
        panel = slicer.util.getModuleWidget("Toy")
        panel.parameters.source = volume
        slicer.mrmlScene.Clear(0)
        assert panel.parameters.source is None

    def test_reloaded_module_has_a_new_panel(self, slicer, toy):
        before = slicer.util.getModuleWidget("Toy")
        slicer.util.reloadScriptedModule("Toy")
        after = slicer.util.getModuleWidget("Toy")
        assert after is not before and type(after) is not type(before) and not before.Observations

    def test_module_s_own_test_runs(self, slicer, toy):
        slicer.selfTests["Toy"]()

    def test_exception_while_tidying_up_fails_the_test(self, tmp_path):
        (tmp_path / "Toy.py").write_text(TOY.replace("self.removeObservers()", "self.removeObservers(); 1 / 0"))
        (tmp_path / "Resources" / "UI").mkdir(parents=True)
        (tmp_path / "Resources" / "UI" / "Toy.ui").write_text(TOY_UI)
        with pytest.raises(AssertionError, match="ZeroDivisionError"), standin.desktop_slicer(tmp_path / "slicer"):
            load_module(tmp_path / "Toy.py").widgetRepresentation()

    def test_entering_is_told(self, slicer, toy):
        slicer.util.getModuleWidget("Toy").parameters = None
        slicer.util.selectModule("Toy")
        assert slicer.util.getModuleWidget("Toy").parameters is not None


class TestApplication:
    """Slicer's qSlicerApplication and slicer/util.py."""

    def test_layers_are_shown(self, slicer, volume):
        slicer.util.setSliceViewerLayers(background=volume, foregroundOpacity=0.5, fit=True)
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        assert [view.GetBackgroundVolumeID() for view in views] == [volume.GetID()] * 3

    def test_volume_is_read_from_a_file(self, slicer, tmp_path):
        sitk.WriteImage(sitk.Image([4, 5, 6], sitk.sitkInt16), str(tmp_path / "T1.nii.gz"))
        node = slicer.util.loadVolume(str(tmp_path / "T1.nii.gz"))
        assert node.GetName() == "T1" and slicer.util.arrayFromVolume(node).shape == (6, 5, 4)

    def test_file_that_cannot_be_read_is_an_error(self, slicer, tmp_path):
        with pytest.raises(RuntimeError, match="Failed to load node"):
            slicer.util.loadVolume(str(tmp_path / "T1.nii.gz"))

    def test_settings_are_the_test_s_own(self, slicer, qt, tmp_path):
        slicer.app.settings().setValue("MedGAN/Device", "cpu")
        qt.QSettings().setValue("MedGAN/Device", "gpu")
        assert slicer.app.settings().value("MedGAN/Device") == "cpu"
        for settings in (slicer.app.settings(), qt.QSettings()):
            assert settings.fileName().startswith(str(tmp_path))

    def test_what_is_not_there_is_an_attribute_error(self, slicer):
        with pytest.raises(AttributeError, match="qSlicerApplication has no attribute named 'ioManager'"):
            slicer.app.ioManager()

    def test_every_test_has_a_scene_of_its_own(self, slicer):
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

    def test_python_slicer_is_on_the_path_and_is_python(self, slicer):
        """slicer/util.py, executePythonModule."""
        launcher = shutil.which("PythonSlicer")
        assert launcher.startswith(slicer.app.slicerHome)
        found = subprocess.run([launcher, "-c", "import sys; print(sys.executable)"], capture_output=True, check=True)
        assert found.stdout.decode().strip() == sys.executable


class TestSlicersOwnPython:
    """Issue 4, point 10. Only that the folder is used: there is no Slicer here whose folder it could be."""

    @pytest.fixture
    def base_python(self, tmp_path, monkeypatch):
        folder = tmp_path / "Base" / "Python" / "slicer"
        folder.mkdir(parents=True)
        for name in ("ScriptedLoadableModule", "i18n"):
            (folder / f"{name}.py").write_text("import ctk, qt, vtk, slicer\n")
        (folder / "parameterNodeWrapper").mkdir()
        (folder / "parameterNodeWrapper" / "__init__.py").write_text(
            "import ctk, slicer\n"
            "from qSlicerSubjectHierarchyModuleWidgetsPythonQt import qMRMLSubjectHierarchyTreeView\n"
            "known = (ctk.ctkSliderWidget, ctk.ctkRangeWidget, slicer.qMRMLSliderWidget)\n"
        )
        monkeypatch.setenv("MEDGAN_SLICER_PYTHON", str(folder.parent))
        return folder

    def test_modules_come_from_the_folder(self, base_python, slicer):
        import slicer.parameterNodeWrapper
        import slicer.ScriptedLoadableModule

        assert slicer.ScriptedLoadableModule.__file__ == str(base_python / "ScriptedLoadableModule.py")
        assert slicer.parameterNodeWrapper.known[0] is sys.modules["ctk"].ctkSliderWidget

    def test_widget_that_is_only_named_cannot_be_made(self, base_python, slicer):
        with pytest.raises(NotImplementedError, match="the stand-in has no ctkRangeWidget"):
            slicer.parameterNodeWrapper.known[1]()


class TestCleaningUp:
    def test_nothing_is_left_behind(self, tmp_path):
        import slicer

        before = set(sys.modules), set(vars(slicer)), list(sys.path), dict(os.environ)
        with standin.desktop_slicer(tmp_path):
            import ctk  # noqa: F401
            import qt

            window = qt.QWidget()
            window.show()
        assert (set(sys.modules), set(vars(slicer)), list(sys.path), dict(os.environ)) == before
        assert not window

    def test_complaint_fails_the_test_at_its_end(self, tmp_path):
        with pytest.raises(AssertionError, match="ZeroDivisionError"), standin.desktop_slicer(tmp_path):
            import qt

            button = qt.QPushButton()
            button.clicked.connect(lambda: 1 / 0)
            button.click()


class TestUiFiles:
    def test_unknown_class_is_refused(self, slicer, tmp_path):
        """Qt would put a plain widget instead."""
        (tmp_path / "a.ui").write_text(TOY_UI.replace("qMRMLNodeComboBox", "qMRMLNonsense"))
        with pytest.raises(ui.UnknownWidgetError, match="of the class qMRMLNonsense, which the stand-in lacks"):
            slicer.util.loadUI(str(tmp_path / "a.ui"))

    def test_missing_file_is_refused(self, slicer, tmp_path):
        """slicer/util.py."""
        with pytest.raises(RuntimeError, match="file not found"):
            slicer.util.loadUI(str(tmp_path / "a.ui"))

    def test_lint_finds_nothing_in_a_good_file(self, slicer, tmp_path):
        (tmp_path / "a.ui").write_text(TOY_UI)
        assert ui.lint(tmp_path / "a.ui") == []

    @pytest.mark.parametrize(
        "old, new, finding",
        [
            ("qMRMLNodeComboBox", "qMRMLNonsense", "class qMRMLNonsense is unknown"),
            ('name="apply"', 'name="source"', "the name source is used 2 times"),
            ("<string>What is translated</string>", "<string/>", "source has no tool tip"),
            ("<cstring>source</cstring>", "<cstring>apply</cstring>", "source has neither a label"),
            ('name="text"><string>Apply', 'name="styleSheet"><string>color: red', "apply sets its own styleSheet"),
            ('name="text"><string>Apply', 'name="geometry"><string>', "apply has a fixed place"),
        ],
    )
    def test_lint_finds_what_is_wrong(self, slicer, tmp_path, old, new, finding):
        (tmp_path / "a.ui").write_text(TOY_UI.replace(old, new))
        assert any(sentence.startswith(finding) for sentence in ui.lint(tmp_path / "a.ui"))


class TestPictures:
    def drawn(self, qt, path):
        """Return a picture's width and the grey values of its pixels."""
        image = qt.QImage(str(path)).convertToFormat(qt.QImage.Format_Grayscale8)
        return image.width(), np.frombuffer(image.constBits(), np.uint8).copy()

    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_picture_has_the_width_and_the_colours(self, qt, toy, tmp_path, dark):
        picture(toy.widgetRepresentation(), tmp_path / "a.png", width=350, dark=dark)
        width, lightness = self.drawn(qt, tmp_path / "a.png")
        assert width == 350
        assert (np.median(lightness) < 100) == dark

    def test_letters_are_drawn(self, qt, tmp_path):
        """The offscreen platform has no font of its own: without one, every letter is the same empty box."""
        traces = []
        for text in ("", "llllll", "MMMMMM"):
            picture(qt.QLabel(text), tmp_path / "a.png", width=100)
            traces.append(np.sum(self.drawn(qt, tmp_path / "a.png")[1] < 128))
        assert traces[0] == 0 < traces[1] < traces[2]

    def test_panel_that_is_too_wide_says_so(self, qt, tmp_path):
        assert picture(qt.QPushButton("w" * 100), tmp_path / "a.png", width=350) > 350
