"""However MedGAN came onto a machine, its package, models, panel and icons are found; and all of it has come along."""

import py_compile
import shutil

import pytest
from layouts import files_below

SHIPPED_MODELS = "from MedGANLogic import catalogue; print(*(model.card.name for model in catalogue.models()))"


def packaged(source):
    """Return what an extension must hold of its source: all but the rules that build it, in the modules' folder."""
    names = files_below(source / "MedGAN") | {
        f"{folder}/{name}" for folder in ("MedGANLogic", "Resources") for name in files_below(source / folder)
    }
    return {name for name in names if not name.endswith("CMakeLists.txt")}


def test_extension_holds_all_of_its_source_and_nothing_else(source, extension, build_tree):
    assert files_below(extension) == packaged(source)
    assert len(files_below(build_tree / "installed")) == len(packaged(source))


def test_extension_holds_its_source_unchanged(source, extension):
    for name in packaged(source):
        original = source / name if (source / name).is_file() else source / "MedGAN" / name
        assert (extension / name).read_bytes() == original.read_bytes()


def test_slicer_takes_the_modules_and_no_other_file_for_one(source, extension):
    assert {path.name for path in extension.glob("*.py")} == {path.name for path in source.glob("MedGAN/*.py")}


def test_rubbish_stays_and_new_files_come_along_without_a_line_of_cmake(source, build_extension, tmp_path):
    changed, build = tmp_path / "source", tmp_path / "build"
    shutil.copytree(source, changed)
    for name in ("Resources/.DS_Store", "Resources/Bundles/new.partial-1", "MedGANLogic/notes.txt"):
        (changed / name).touch()
    py_compile.compile(str(changed / "MedGANLogic" / "errors.py"))
    rubbish = packaged(changed) - packaged(source)
    assert files_below(build_extension(changed, build)) == packaged(source)
    for new_file in ("MedGANLogic/recipes/new_system.py", "MedGAN/MedGANLib/NewWidget.py", "Resources/UI/New.ui"):
        (changed / new_file).touch()
        assert files_below(build_extension(changed, build)) == packaged(changed) - rubbish


def test_package_is_the_layouts_own(layout):
    assert layout.python("import MedGANLogic; print(MedGANLogic.__file__)") == [str(layout.package / "__init__.py")]


def test_every_module_has_come_along(layout, source):
    modules = {name for name in files_below(source / "MedGANLogic") if name.endswith(".py")}
    assert modules <= files_below(layout.package)


@pytest.mark.parametrize("layout", ["in_a_checkout", "in_slicer"], indirect=True)
def test_what_modules_share_is_found_beside_them(layout):
    shared = layout.path[0] / "MedGANLib" / "PanelState.py"
    assert layout.python("import MedGANLib.PanelState as shared; print(shared.__file__)") == [str(shared)]


def test_resources_are_all_found(layout, source):
    found = layout.python(
        "from MedGANLogic.catalogue import resource;"
        "print(*(path for path in resource('').rglob('*') if path.is_file()), sep='\\n')"
    )
    assert {str(layout.resources / name) for name in files_below(source / "Resources")} <= set(found)


def test_shipped_models_are_found(layout, source):
    names = sorted(folder.name for folder in source.glob("Resources/Bundles/*"))
    assert names and layout.python(SHIPPED_MODELS) == [" ".join(names)]


@pytest.mark.parametrize("name, root", [("UI/MedGAN.ui", "ui"), ("Icons/MedGAN.svg", "svg")])
def test_panel_and_icon_open(layout, name, root):
    (tag,) = layout.python(
        "from xml.etree import ElementTree; from MedGANLogic.catalogue import resource;"
        f"print(ElementTree.parse(resource({name!r})).getroot().tag.rpartition('}}')[2])"
    )
    assert tag == root
