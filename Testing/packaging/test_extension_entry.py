"""What the Extensions Index is told (docs/MedGAN.json) follows its rules and agrees with CMakeLists.txt.

The rules are those of schema 1.0.1 and of the index's own check of a new entry, as far as they need no network.
"""

import json
import re
import struct

import pytest
from layouts import REPOSITORY

ENTRY = REPOSITORY / "docs" / "MedGAN.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#"
)
REQUIRED = {"$schema": str, "category": str, "scm_url": str}
OPTIONAL = {
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}


@pytest.fixture(scope="module")
def entry():
    """The entry."""
    return json.loads(ENTRY.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def facts(extension, build_tree):
    """What CMake knows of the extension when it packages it."""
    lines = (build_tree / "facts.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def size_of_png(path):
    """Return width and height, from the header."""
    signature, _length, kind, width, height = struct.unpack(">8sI4sII", path.read_bytes()[:24])
    assert (signature, kind) == (b"\x89PNG\r\n\x1a\n", b"IHDR")
    return width, height


def test_entry_has_the_fields_of_the_schema(entry):
    assert entry["$schema"] == SCHEMA
    assert entry.keys() >= REQUIRED.keys()
    assert {name: type(value) for name, value in entry.items()}.items() <= (REQUIRED | OPTIONAL).items()
    assert entry["tier"] in (1, 3, 5)
    assert all(isinstance(name, str) for name in entry["build_dependencies"])


def test_entry_passes_the_checks_of_the_index(entry):
    assert b"\r" not in ENTRY.read_bytes()
    assert not ENTRY.stem.lower().startswith("slicer")
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer" + ENTRY.stem, entry["scm_url"])


def test_entry_and_cmake_say_the_same(entry, facts):
    assert facts["NAME"] == ENTRY.stem
    assert facts["HOMEPAGE"] == entry["scm_url"]
    assert facts["CATEGORY"] == entry["category"]
    assert facts["DEPENDS"] == " ".join(entry["build_dependencies"])


def test_facts_can_be_read_by_the_index_and_passed_on_by_slicer(facts):
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in ("ICONURL", "SCREENSHOTURLS"):
        assert re.findall(rf'^set\(EXTENSION_{name} "([^"]+)"\)$', text, re.MULTILINE) == [facts[name]]
    # Slicer hands the facts on without quotes: a semicolon would begin another argument.
    assert all(value and ";" not in value for value in facts.values())


def test_pictures_are_in_the_repository(entry, facts):
    owner_and_name = entry["scm_url"].removeprefix("https://github.com/")
    raw = f"https://raw.githubusercontent.com/{owner_and_name}/{entry['scm_revision']}/"
    icon, *screenshots = (
        REPOSITORY / url.removeprefix(raw) for url in [facts["ICONURL"], *facts["SCREENSHOTURLS"].split()]
    )
    assert size_of_png(icon) == (128, 128)
    assert screenshots and all(min(size_of_png(picture)) >= 200 for picture in screenshots)


def test_icon_of_the_catalogue_shows_the_icon_of_the_module():
    gui, svg = pytest.importorskip("PySide6.QtGui"), pytest.importorskip("PySide6.QtSvg")
    icons = REPOSITORY / "Resources" / "Icons"
    picture = gui.QImage(str(icons / "MedGAN.png")).convertToFormat(gui.QImage.Format.Format_ARGB32)
    drawn = gui.QImage(picture.size(), picture.format())
    drawn.fill(0)
    painter = gui.QPainter(drawn)
    svg.QSvgRenderer(str(icons / "MedGAN.svg")).render(painter)
    painter.end()
    differences = [abs(a - b) for a, b in zip(bytes(picture.constBits()), bytes(drawn.constBits()), strict=True)]
    assert sum(differences) / len(differences) < 2
