"""The three layouts that MedGAN is found in: a checkout, an installed Slicer extension, an unpacked wheel."""

import shutil
import sys
from zipfile import ZipFile

import pytest
from layouts import REPOSITORY, STAND_IN_SLICER, Layout, run


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A copy of what is packaged, as it comes out of git. Not to be added to."""
    folder = tmp_path_factory.mktemp("MedGAN-source")
    no_source = shutil.ignore_patterns("__pycache__", ".*", "*.partial-*")
    for name in ("MedGAN", "MedGANLogic", "Resources"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=no_source)
    for name in ("CMakeLists.txt", "README.md", "LICENSE.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.fixture(scope="session")
def build_extension():
    """Build and install a source as Slicer's factory does, and return the folder that its modules went to.

    It is configured the first time only, as on a developer's machine.
    """
    for tool in ("cmake", "c++"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} to build the extension with")

    def build(source, binary):
        if not (binary / "CMakeCache.txt").exists():
            options = [f"-DSlicer_DIR={STAND_IN_SLICER}", f"-DCMAKE_INSTALL_PREFIX={binary / 'installed'}"]
            run("cmake", "-S", source, "-B", binary, *options)
        run("cmake", "--build", binary, "--target", "install")
        (modules,) = binary.glob("installed/lib/Slicer-*/qt-scripted-modules")
        return modules

    return build


@pytest.fixture(scope="session")
def build_tree(tmp_path_factory):
    """The folder that the extension is built in."""
    return tmp_path_factory.mktemp("MedGAN-build")


@pytest.fixture(scope="session")
def extension(source, build_extension, build_tree):
    """The installed extension: the folder that its modules went to."""
    return build_extension(source, build_tree)


def in_a_checkout(_request):
    """Slicer is told of the module's folder; the repository is on PYTHONPATH."""
    return Layout(REPOSITORY / "MedGANLogic", REPOSITORY / "Resources", (REPOSITORY / "MedGAN", REPOSITORY))


def in_slicer(request):
    """Slicer puts the modules' folder, and nothing else of the extension, on the path."""
    modules = request.getfixturevalue("extension")
    return Layout(modules / "MedGANLogic", modules / "Resources", (modules,))


def in_a_wheel(request):
    """Resources travel inside the package; there are no modules."""
    pytest.importorskip("setuptools", "77", reason="no setuptools that can build the wheel")
    source = request.getfixturevalue("source")
    folder = request.getfixturevalue("tmp_path_factory").mktemp("MedGAN-wheel")
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(folder)!r}))"
    wheel = folder / run(sys.executable, "-c", code, cwd=source).splitlines()[-1]
    ZipFile(wheel).extractall(folder / "site-packages")
    package = folder / "site-packages" / "MedGANLogic"
    return Layout(package, package / "Resources", (package.parent,))


LAYOUTS = {layout.__name__: layout for layout in (in_a_checkout, in_slicer, in_a_wheel)}


@pytest.fixture(scope="session", params=LAYOUTS)
def layout(request):
    """Each of the three."""
    return LAYOUTS[request.param](request)
