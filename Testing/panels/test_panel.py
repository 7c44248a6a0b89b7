"""The panel, clicked: what a user does, sees, and gets."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="panels need PySide6-Essentials")
pytest.importorskip("slicer", reason="panels need the slicer-core wheel")

from scans import scan
from standin import choose, click, ui, wait_until
from toys import CARDS

from MedGANLogic.domain import CT, MR, Label, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Image, read
from MedGANLogic.jobs import family
from MedGANLogic.mrml import (
    grid_of,
    image_from_node,
    image_from_segmentation,
    node_from_image,
    provenance_of,
    segmentation_from_image,
)
from MedGANLogic.preflight import Machine


@pytest.fixture
def volume(desktop, egg):
    """Put a volume for a role into the scene."""

    def make(role="mr", name=None):
        if role == "tumour":
            labels = CARDS["guided"]().inputs[role].window
            shown = Image((egg.voxels > 320).astype(np.int16), egg.affine, "label")
            return segmentation_from_image(shown, labels, desktop.mrmlScene, name or role.upper())
        image, domain = egg, MR
        if role == "ct":
            image, domain = Image(np.where(egg.voxels > 100, 40.0, -1000.0), egg.affine, "HU"), CT
        return node_from_image(image, domain, desktop.mrmlScene, name or role.upper())

    return make


def open_options(panel):
    if panel.ui.optionsButton.collapsed:
        click(panel.ui.optionsButton)


def give(panel, role, name):
    # A row that has just been added is shown by the event loop.
    wait_until(lambda: panel._selectors[role][1].visible)
    choose(panel._selectors[role][1], name)


def choose_model(panel, task, title):
    """Choose a task, then a model of it, as a user does."""
    tasks = panel.ui.taskSelector
    choose(tasks, {tasks.itemData(i): tasks.itemText(i) for i in range(tasks.count)}[task])
    choose(panel.ui.modelSelector, title)


def set_up(panel, volume, task):
    """Choose a task's toy and give it all its images, as a user does."""
    card = CARDS[task]()
    for role in card.inputs:
        volume(role)
    choose_model(panel, card.task, card.title)
    for role in card.inputs:
        give(panel, role, role.upper())
    if panel.ui.forceCheckBox.visible:
        click(panel.ui.forceCheckBox)


def apply(panel):
    assert panel.ui.applyButton.text == "Apply"
    click(panel.ui.applyButton)


def done(panel):
    wait_until(lambda: panel._task is None, 60)


def names(desktop):
    nodes = desktop.util.getNodesByClass("vtkMRMLDisplayableNode")
    return sorted(node.GetName() for node in nodes)


def test_panel_says_before_a_run_how_good_the_model_is_and_where_it_is_valid(panel):
    choose_model(panel, "mr-to-ct", "T1-weighted MR to CT, limb and trunk")
    for said in ("Measured", "HU", "Valid for", "thigh", "Trained on", "Licence"):
        assert said in panel.ui.factsLabel.text


@pytest.mark.parametrize("task", CARDS)
def test_every_task_runs_from_the_panel_by_what_its_card_says(task, panel, volume, desktop):
    set_up(panel, volume, task)
    before = set(names(desktop))
    apply(panel)
    assert panel.ui.applyButton.text == "Cancel" and panel.ui.progressBar.visible
    assert not panel.ui.imagesButton.enabled
    done(panel)
    new = set(names(desktop)) - before
    assert len(new) == len(CARDS[task]().targets) and all("synthetic" in name for name in new)
    nodes = [desktop.util.getNode(name) for name in new]
    assert any(node.IsA("vtkMRMLSegmentationNode") for node in nodes) == ("tissues" in CARDS[task]().targets)
    assert panel.ui.applyButton.text == "Apply" and panel.ui.resultButton.visible
    assert "Research use only" in panel.ui.accountLabel.text
    first = next(iter(CARDS[task]().targets.values()))
    assert f"<b>Unit</b></td><td>{first.unit}</td>" in panel.ui.accountLabel.text
    said = panel.ui.factsLabel.text
    assert first.unit in ("none", "label") or f"({first.unit}" in said or f", {first.unit})" in said


def test_probabilities_are_volumes_that_are_not_shown_over_the_image(panel, volume, desktop):
    set_up(panel, volume, "translate")
    open_options(panel)
    assert not panel.ui.probabilitiesCheckBox.visible
    set_up(panel, volume, "segment")
    assert panel.ui.probabilitiesCheckBox.visible and not panel.ui.probabilitiesCheckBox.checked
    click(panel.ui.probabilitiesCheckBox)
    apply(panel)
    done(panel)
    shares = [name for name in names(desktop) if "probability" in name]
    assert shares == ["MR synthetic SEG probability bone", "MR synthetic SEG probability fat"]
    assert all(desktop.util.getNode(name).IsA("vtkMRMLScalarVolumeNode") for name in shares)
    assert [node.GetClassName() for node in panel._state.resultNodes] == ["vtkMRMLSegmentationNode"]
    choose(panel.ui.taskSelector, "MR to CT")
    assert not panel._state.chosen.probabilities


def test_photograph_is_segmented_from_panel_and_console(panel, desktop):
    node = desktop.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "eye")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3)).astype(np.uint8)
    desktop.util.updateVolumeFromArray(node, pixels)
    choose_model(panel, "vessels", "A toy for vessels")
    give(panel, "eye", "eye")
    if panel.ui.forceCheckBox.visible:
        click(panel.ui.forceCheckBox)
    apply(panel)
    done(panel)
    (result,) = panel._state.resultNodes
    assert result.IsA("vtkMRMLSegmentationNode") and "synthetic" in result.GetName()
    logic = desktop.util.getModuleLogic("MedGAN")
    again, *shares = logic.translate(node, "toy-vessels", device="cpu", in_spite_of_errors=True, probabilities=True)
    grid = grid_of(node)
    assert np.array_equal(*(image_from_segmentation(one, grid)[0].voxels for one in (result, again)))
    assert [image_from_node(share, "none").grid.shape for share in shares] == [(24, 16, 1)] * 2


def test_labels_are_a_segmentation_that_may_be_left_out(panel, volume, desktop):
    volume("ct")
    volume("tumour")
    choose_model(panel, "guided-pet", CARDS["guided"]().title)
    give(panel, "ct", "CT")
    if panel.ui.forceCheckBox.visible:
        click(panel.ui.forceCheckBox)
    assert panel.ui.applyButton.enabled and "no labels are given" in panel.ui.findingsLabel.text
    apply(panel)
    done(panel)
    assert "no labels are given" in panel.ui.accountLabel.text
    give(panel, "tumour", "TUMOUR")
    assert "no labels are given" not in panel.ui.findingsLabel.text
    segmentation = panel._state.inputNode("tumour").GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        segmentation.GetNthSegment(number).SetName(f"Segment_{number}")
    panel.enter()
    assert "no segment called fat or bone" in panel.ui.findingsLabel.text and not panel.ui.applyButton.enabled
    give(panel, "tumour", "none: nothing is labelled")
    assert "no labels are given" in panel.ui.findingsLabel.text


def test_result_lies_over_the_input_and_fades(panel, volume, desktop):
    set_up(panel, volume, "translate")
    apply(panel)
    done(panel)
    composite = desktop.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == panel._state.inputNode("mr").GetID()
    assert composite.GetForegroundVolumeID() == panel._state.resultNode.GetID()
    panel.ui.fadeSlider.setValue(0.2)
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)


def test_cancel_leaves_the_scene_as_it_was(panel, volume, desktop):
    set_up(panel, volume, "translate")
    before = names(desktop)
    apply(panel)
    wait_until(lambda: panel._task.work.doing.startswith("Translating"), 30)
    click(panel.ui.applyButton)
    wait_until(lambda: panel._task is None, 5)
    assert names(desktop) == before and panel.ui.applyButton.text == "Apply" and panel.ui.applyButton.enabled


def test_missing_volume_is_asked_for_and_apply_waits(panel):
    choose_model(panel, "mr-to-ct", CARDS["translate"]().title)
    assert not panel.ui.applyButton.enabled
    assert "Choose a volume for MR" in panel.ui.statusLabel.text


def test_wrong_volume_is_said_before_the_run_and_may_be_overridden(panel, volume):
    volume("ct")
    choose_model(panel, "mr-to-ct", CARDS["translate"]().title)
    give(panel, "mr", "CT")
    assert panel.ui.findingsLabel.visible and not panel.ui.applyButton.enabled


def test_a_scanner_is_asked_for_where_an_image_becomes_finer(panel, volume):
    set_up(panel, volume, "translate")
    open_options(panel)
    assert not panel.ui.scannerSelector.visible
    set_up(panel, volume, "magnify")
    assert panel.ui.scannerSelector.visible and panel.ui.scannerSelector.currentData == ""
    choose(panel.ui.scannerSelector, "means over boxes")
    apply(panel)
    done(panel)
    assert "<b>Held to</b></td><td>Averaged 1×2×2</td>" in panel.ui.accountLabel.text
    set_up(panel, volume, "denoise")
    assert not panel._state.chosen.like


def test_strength_and_seed_show_only_where_the_model_has_them(panel, volume):
    set_up(panel, volume, "translate")
    open_options(panel)
    assert not panel.ui.strengthSlider.visible and not panel.ui.seedSpinBox.visible
    set_up(panel, volume, "denoise")
    assert panel.ui.strengthSlider.visible and panel.ui.strengthSlider.value == pytest.approx(0.75)
    panel.ui.strengthSlider.setValue(0)
    apply(panel)
    done(panel)
    given, found = (image_from_node(node, "HU") for node in (panel._state.inputNode("ct"), panel._state.resultNode))
    assert np.array_equal(given.voxels, found.voxels), "nothing of the change was asked for"
    assert not panel.ui.countSpinBox.visible
    choose(panel.ui.taskSelector, "Made-up images")
    assert panel.ui.seedSpinBox.visible and panel.ui.countSpinBox.visible and not panel.ui.maskSelector.visible


def field(panel, name):
    return panel._choices[name][1]


def test_what_a_model_lets_choose_is_offered_drawn_and_kept_with_the_scene(panel, volume, desktop):
    set_up(panel, volume, "draw")
    wait_until(lambda: field(panel, "class").visible)
    open_options(panel)
    assert panel.ui.seedSpinBox.visible and not panel.ui.maskSelector.visible
    assert list(panel._choices) == ["class", "age", "code0"]
    assert [field(panel, name).text for name in ("age", "code0")] == ["any", "any"]
    choose(field(panel, "class"), "thigh")
    field(panel, "age").setValue(35)
    field(panel, "code0").setValue(-1)
    panel.ui.countSpinBox.setValue(3)
    apply(panel)
    done(panel)
    said = provenance_of(panel._state.resultNode)
    assert said["choices"] == {"class": "thigh", "age": "35", "code0": "-1"} and said["drawn"] == [0, 1, 2]
    assert image_from_node(panel._state.resultNode, "HU").grid.shape == (16, 16, 3)
    composite = desktop.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == panel._state.resultNode.GetID(), "there is nothing to lay it over"
    assert not panel.ui.fadeSlider.visible and not panel.ui.exportButton.visible
    saved_and_loaded(desktop.mrmlScene)
    assert field(panel, "class").currentText == "thigh" and field(panel, "age").value == pytest.approx(35)
    assert panel.ui.countSpinBox.value == 3
    field(panel, "age").setValue(field(panel, "age").minimum)
    assert "age" not in panel._state.chosen.choices
    set_up(panel, volume, "translate")
    assert not panel._choices and panel._state.chosen.choices == {}


def test_several_targets_lie_over_the_input_and_fade_together(panel, volume, desktop):
    set_up(panel, volume, "two-targets")
    apply(panel)
    done(panel)
    ct, tissues = panel._state.resultNodes
    composite = desktop.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetForegroundVolumeID() == ct.GetID()
    panel.ui.fadeSlider.setValue(0.2)
    assert composite.GetForegroundOpacity() == tissues.GetDisplayNode().GetOpacity() == pytest.approx(0.2)


def test_segment_limits_the_result(panel, volume, desktop, egg):
    set_up(panel, volume, "translate")
    left = np.zeros((1, *egg.grid.shape), np.int16)
    left[:, :12] = 1
    labels = Labels((Label(1, "left", (255, 0, 0)),))
    segmentation_from_image(
        Image(left, egg.affine, "label"), labels, desktop.mrmlScene, "halves", panel._state.inputNode("mr")
    )
    open_options(panel)
    choose(panel.ui.maskSelector, "halves")
    assert panel.ui.segmentSelector.currentText == "left"
    apply(panel)
    done(panel)
    voxels = image_from_node(panel._state.resultNode, "HU").voxels[0]
    assert (voxels[12:] == CT.background).all() and (voxels[:12] != CT.background).any()


def test_chosen_output_is_filled_again(panel, volume, desktop):
    set_up(panel, volume, "translate")
    apply(panel)
    done(panel)
    before = names(desktop)
    open_options(panel)
    choose(panel.ui.outputSelector, panel._state.resultNode.GetName())
    apply(panel)
    done(panel)
    assert names(desktop) == before and not panel._failure


def test_killed_child_is_said_in_words(panel, volume, desktop):
    set_up(panel, volume, "translate")
    before = names(desktop)
    apply(panel)
    wait_until(lambda: panel._task.work.doing.startswith("Translating"), 30)
    for process in family(panel._task._job._process.pid):
        process.kill()
    done(panel)
    assert "killed" in panel.ui.statusLabel.text and names(desktop) == before
    assert panel.ui.applyButton.enabled


def test_volume_that_vanishes_meanwhile_is_said(panel, volume, desktop):
    set_up(panel, volume, "translate")
    apply(panel)
    wait_until(lambda: panel._task.work.doing.startswith("Translating"), 30)
    desktop.mrmlScene.RemoveNode(panel._state.inputNode("mr"))
    done(panel)
    assert "no longer in the scene" in panel.ui.statusLabel.text


@pytest.mark.parametrize("ending", ["close", "reload"])
def test_closed_scene_and_reloaded_module_take_the_child_with_them(ending, panel, volume, desktop):
    set_up(panel, volume, "translate")
    apply(panel)
    wait_until(lambda: panel._task.work.doing.startswith("Translating"), 30)
    job = panel._task._job
    if ending == "close":
        desktop.mrmlScene.Clear(0)
        assert panel._task is None and not panel.ui.applyButton.enabled
    else:
        panel.cleanup()
    assert job._process.poll() is not None and not job.folder.exists()


def saved_and_loaded(scene, is_empty=lambda: True):
    """Save a scene, close it, and load it again."""
    scene.SetSaveToXMLString(1)
    scene.Commit()
    saved = scene.GetSceneXMLString()
    scene.Clear(0)
    assert is_empty()
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(saved)
    scene.Connect()


def test_saved_scene_brings_the_panel_back_as_it_was(panel, volume, desktop):
    set_up(panel, volume, "denoise")
    open_options(panel)
    panel.ui.strengthSlider.setValue(0.25)
    saved_and_loaded(desktop.mrmlScene, lambda: panel.ui.modelSelector.currentText != "A toy for denoise-ct")
    assert panel.ui.modelSelector.currentText == "A toy for denoise-ct"
    assert panel.ui.strengthSlider.value == pytest.approx(0.25)
    assert panel._selectors["ct"][1].currentNode().GetName() == "CT"


def test_what_is_missing_is_asked_for_in_the_panel_at_first_apply(panel, volume, monkeypatch):
    set_up(panel, volume, "translate")
    assert not panel.ui.setupFrame.visible
    whole = Machine.this()
    lacking = replace(whole, packages={name: v for name, v in whole.packages.items() if name != "tqdm"})
    monkeypatch.setattr(Machine, "this", staticmethod(lambda: lacking))
    apply(panel)
    assert panel._task is None and panel.ui.setupFrame.visible
    assert "Install tqdm now?" in panel.ui.setupLabel.text
    monkeypatch.setattr(Machine, "this", staticmethod(lambda: whole))
    click(panel.ui.installButton)
    assert panel.ui.applyButton.text == "Cancel"
    wait_until(lambda: panel._task is None, 60)
    assert not panel.ui.setupFrame.visible and panel._failure == ""
    apply(panel)
    done(panel)
    assert panel._state.resultNode is not None


def test_device_is_listed_with_the_reason_for_no_gpu(panel):
    open_options(panel)
    wait_until(lambda: panel._devices.found, 60)
    texts = [panel.ui.deviceSelector.itemText(index) for index in range(panel.ui.deviceSelector.count)]
    assert texts[0].startswith("Automatic (") and any(text.startswith("cpu:") for text in texts)
    assert panel.ui.deviceReasonLabel.visible == bool(panel._devices.why_no_gpu)


@pytest.mark.parametrize("task", ["translate", "two-targets"])
def test_result_goes_back_into_the_study_of_its_input(task, panel, volume, desktop, monkeypatch, tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="DICOM needs medgan[dicom]")
    pytest.importorskip("highdicom", reason="DICOM needs medgan[dicom]")
    scanned = scan(tmp_path / "scan")
    files = {pydicom.dcmread(file).SOPInstanceUID: str(file) for file in scanned.iterdir()}
    node = node_from_image(read(scanned, "none"), MR, desktop.mrmlScene, "MR")
    set_up(panel, lambda _role: node, task)
    apply(panel)
    done(panel)
    panel.ui.dicomFolderButton.directory = str(tmp_path)
    click(panel.ui.exportButton)
    assert "did not come from" in panel.ui.statusLabel.text
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    database = SimpleNamespace(fileForInstance=lambda uid: files[uid])
    monkeypatch.setattr(desktop, "dicomDatabase", database, raising=False)
    # What is chosen by now is not what the result was made from.
    volume("mr", "another")
    give(panel, "mr", "another")
    click(panel.ui.exportButton)
    done(panel)
    assert panel._failure == "" and "Written" in panel.ui.exportedLabel.text
    written = tmp_path / panel._state.resultNode.GetName()
    headers = [pydicom.dcmread(next(folder.iterdir())) for folder in (written, scanned)]
    assert headers[0].StudyInstanceUID == headers[1].StudyInstanceUID and headers[0].Modality == "CT"
    series = [tmp_path / node.GetName() for node in panel._state.resultNodes]
    assert [pydicom.dcmread(next(folder.iterdir())).Modality for folder in series] == ["CT", "SEG"][: len(series)]
    assert read(written, "HU").grid.matches(read(scanned, "none").grid, tolerance_mm=0.01)


def test_volume_that_is_removed_is_not_replaced_by_another(panel, volume, desktop):
    set_up(panel, volume, "translate")
    volume("mr", "another")
    open_options(panel)
    desktop.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    choose(panel.ui.outputSelector, "mine")
    for node in (panel._state.inputNode("mr"), panel._state.replacedNode):
        desktop.mrmlScene.RemoveNode(node)
    assert panel._state.inputNode("mr") is None and panel._state.replacedNode is None
    assert panel._selectors["mr"][1].currentNode() is None and panel.ui.outputSelector.currentNode() is None
    assert "Choose a volume" in panel.ui.statusLabel.text


def test_three_lines_in_the_console_translate_a_node(panel, volume, desktop):
    node = volume("mr")
    result = desktop.util.getModuleLogic("MedGAN").translate(node, "toy-translate", in_spite_of_errors=True)
    assert image_from_node(result, "HU").grid.matches(image_from_node(node, "none").grid)


def test_console_gets_every_node_and_draws_without_an_input(panel, volume):
    logic = panel.logic
    both = logic.translate(volume("mr"), "toy-two-targets", in_spite_of_errors=True)
    assert [node.GetClassName() for node in both] == ["vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"]
    drawn = logic.translate(None, "toy-draw", count=2, choices={"class": "head"})
    assert image_from_node(drawn, "HU").grid.shape == (16, 16, 2)
    with pytest.raises(MedGANError, match="there are head, thigh"):
        logic.translate(None, "toy-draw", choices={"class": "foot"})


def test_script_that_does_not_wait_is_called_back(panel, volume, desktop):
    ended = []
    logic = desktop.util.getModuleLogic("MedGAN")
    kept = logic.start(volume("mr"), "toy-translate", ended.append, in_spite_of_errors=True)
    wait_until(lambda: ended, 60)
    assert ended == [kept] and kept.outputNode is not None and kept.error == ""


def test_sample_images_are_registered_and_the_phantom_is_made_on_the_spot(panel, desktop):
    from MedGANLib import SampleImages

    SampleImages.register(sys.executable)
    sources = {source.sampleName: source for source in desktop.modules.sampleDataSources["MedGAN"]}
    assert set(sources) == {"MedGANThigh", "MedGANHead", "MedGANMRHead", "MedGANCTChest"}
    for name in ("MedGANMRHead", "MedGANCTChest"):
        assert sources[name].uris.endswith(sources[name].checksums.removeprefix("SHA256:"))
    for name in ("MedGANThigh", "MedGANHead"):
        (node,) = sources[name].customDownloader(sources[name])
        assert node.GetName() == name
        assert image_from_node(node, "none").voxels.std() > 50


def test_ui_file_is_in_order():
    from MedGANLogic.catalogue import resource

    assert ui.lint(resource("UI/MedGAN.ui")) == []


def test_choice_of_another_version_does_not_break_the_panel(panel):
    panel._state.node.SetParameter("chosen", json.dumps({"task": "gone", "model": 7, "colour": "blue"}))
    panel._show()
    assert panel.ui.modelSelector.count > 0
    panel._state.node.SetParameter("chosen", "no json")
    panel._show()
    assert panel.ui.modelSelector.count > 0
