"""The catalogue finds models and resources however MedGAN is installed, and answers without torch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from MedGANLogic import catalogue
from MedGANLogic.catalogue import BUNDLES_VARIABLE, CARD, BundleError, Card, find, models, read, resource

PACKAGE = Path(catalogue.__file__).parent


def python(code, *arguments, path=PACKAGE.parent):
    """Run code in an interpreter of its own, with the package found under ``path`` alone, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != BUNDLES_VARIABLE}
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=path,
        env={**environment, "PYTHONPATH": str(path), "PYTHONUTF8": "1"},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def copy_package(to):
    shutil.copytree(PACKAGE, to, ignore=shutil.ignore_patterns("__pycache__", "Resources"))


@pytest.fixture
def bundles_folder(pristine_toy, tmp_path, monkeypatch):
    """A folder of bundles that MEDGAN_BUNDLES names, with the toy in it."""
    folder = tmp_path / "mine"
    shutil.copytree(pristine_toy, folder / "toy")
    monkeypatch.setenv(BUNDLES_VARIABLE, str(folder))
    return folder


def test_checkout_has_its_resources_beside_the_package():
    assert resource("Bundles") == PACKAGE.parent / "Resources" / "Bundles"
    assert resource("Bundles").is_dir()


def in_a_wheel(root):
    """In a wheel Resources travel inside the package."""
    return root, root / "MedGANLogic" / "Resources"


def in_slicer(root):
    """In an installed extension they stand beside it, among what other modules brought."""
    modules = root / "MedGAN" / "lib" / "Slicer-5.10" / "qt-scripted-modules"
    (modules / "Resources" / "UI").mkdir(parents=True)
    (modules / "MedGAN.py").write_text("")
    return modules, modules / "Resources"


@pytest.mark.parametrize("layout", [in_a_wheel, in_slicer])
def test_installed_package_finds_its_shipped_models(layout, pristine_toy, tmp_path):
    modules, resources = layout(tmp_path)
    copy_package(modules / "MedGANLogic")
    shutil.copytree(pristine_toy, resources / "Bundles" / "toy")
    code = (
        "from MedGANLogic import catalogue as c; print(c.__file__); print(c.resource('Bundles'));"
        "print(*(m.card.name for m in c.models()))"
    )
    file, bundles, names = python(code, path=modules).splitlines()
    assert Path(file) == modules / "MedGANLogic" / "catalogue.py"
    assert Path(bundles) == resources / "Bundles"
    assert names == "toy"


def test_package_without_resources_says_so(tmp_path):
    copy_package(tmp_path / "MedGANLogic")
    code = "from MedGANLogic import catalogue\ntry: catalogue.resource('Icons')\nexcept OSError as e: print(e)"
    assert "install MedGAN again" in python(code, path=tmp_path)


@pytest.mark.parametrize(
    "code",
    [
        "import MedGANLogic.catalogue",
        "import MedGANLogic.check",
        "from MedGANLogic.__main__ import main; main(['models'])",
        "from MedGANLogic.__main__ import main; main(['models', '--json'])",
        "from MedGANLogic.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from MedGANLogic.__main__ import main\ntry: main(['translate', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_what_must_start_at_once_imports_neither_torch_nor_monai_nor_simpleitk(code):
    last = python(code + "\nimport sys; print({'torch', 'monai', 'SimpleITK'} & set(sys.modules))").splitlines()[-1]
    assert last == "set()"


def test_card_survives_json(toy_card, toy_networks):
    card = toy_card(toy_networks, spacing_mm=(1.0, 1.0, 3.0))
    assert Card.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_models_of_the_users_folders_are_found_by_name(bundles_folder):
    assert "toy" in [model.card.name for model in models()]
    assert find("toy").folder == bundles_folder / "toy"


def test_several_folders_are_searched_and_the_first_of_a_name_wins(bundles_folder, saved_toy, tmp_path, monkeypatch):
    saved_toy(tmp_path / "more" / "again", name="toy")
    saved_toy(tmp_path / "more" / "other", name="other")
    folders = [str(bundles_folder), "", str(tmp_path / "nowhere"), str(tmp_path / "more")]
    monkeypatch.setenv(BUNDLES_VARIABLE, os.pathsep.join(folders))
    found = {model.card.name: model.folder for model in models()}
    assert found["toy"] == bundles_folder / "toy"
    assert found["other"] == tmp_path / "more" / "other"


def test_model_is_found_by_its_folder(pristine_toy):
    assert find(str(pristine_toy)) == read(pristine_toy)


def test_unknown_model_is_refused_with_those_that_there_are(bundles_folder):
    with pytest.raises(BundleError, match=r"no model 'toi': there are .*toy"):
        find("toi")


def test_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"medgan\.json is missing"):
        find(str(tmp_path))


def test_broken_bundle_does_not_take_the_others_away(bundles_folder, saved_toy):
    saved_toy(bundles_folder / "broken")
    (bundles_folder / "broken" / CARD).write_text("{}")
    with pytest.warns(UserWarning, match="a model is left out"):
        assert find("toy").folder == bundles_folder / "toy"


def shipped_toy(folder, pristine_toy, monkeypatch):
    """Ship the toy: in the folder of shipped bundles, its manifest's hash pinned."""
    shutil.copytree(pristine_toy, folder / "toy")
    monkeypatch.setattr(catalogue, "resource", lambda _relative: folder)
    monkeypatch.setattr(catalogue, "SHIPPED", {"toy": read(pristine_toy).sha256})


def test_shipped_model_with_its_own_manifest_is_found(pristine_toy, tmp_path, monkeypatch):
    shipped_toy(tmp_path, pristine_toy, monkeypatch)
    assert find("toy").folder == tmp_path / "toy"


def test_shipped_model_with_another_manifest_is_refused(pristine_toy, tmp_path, monkeypatch):
    shipped_toy(tmp_path, pristine_toy, monkeypatch)
    manifest = tmp_path / "toy" / catalogue.MANIFEST
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(BundleError, match="is not the toy that was shipped"):
        read(tmp_path / "toy")
    with pytest.warns(UserWarning, match="not the toy that was shipped"), pytest.raises(BundleError, match="no model"):
        find("toy")


def test_own_model_of_a_shipped_models_name_is_not_taken_for_it(pristine_toy, saved_toy, tmp_path, monkeypatch):
    shipped_toy(tmp_path / "shipped", pristine_toy, monkeypatch)
    mine = saved_toy(tmp_path / "mine" / "toy", spacing_mm=(2.0, 2.0, 2.0))
    monkeypatch.setenv(BUNDLES_VARIABLE, str(mine.parent))
    assert read(mine).sha256 != catalogue.SHIPPED["toy"]
    assert find("toy").folder == tmp_path / "shipped" / "toy"


def test_every_shipped_model_is_pinned_and_whole():
    from MedGANLogic.bundle import verify

    shipped = [verify(card.parent.parent) for card in resource("Bundles").glob(f"*/{CARD.as_posix()}")]
    assert {model.card.name: model.sha256 for model in shipped} == dict(catalogue.SHIPPED)
