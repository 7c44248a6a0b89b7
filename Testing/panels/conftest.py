"""The panel as a user meets it: shipped widgets on a stand-in for desktop Slicer, real nodes, a real child."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path += [str(ROOT / "MedGAN"), str(ROOT / "Testing" / "dicom")]


@pytest.fixture
def desktop(tmp_path):
    """Desktop Slicer, or what stands in for it."""
    pytest.importorskip("PySide6", reason="panels need PySide6-Essentials")
    pytest.importorskip("slicer", reason="panels need the slicer-core wheel")
    from standin import desktop_slicer

    with desktop_slicer(tmp_path / "slicer") as slicer:
        yield slicer


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory):
    """A folder with a toy of every task."""
    from toys import CARDS, SEGMENTATION, photographed, save_card, save_toy

    folder = tmp_path_factory.mktemp("toy models")
    for task in CARDS:
        save_toy(task, folder)
    save_card(photographed("vessels", SEGMENTATION), folder)
    return folder


@pytest.fixture
def panel(desktop, toy_models, monkeypatch):
    """The open panel, with the toys as the user's own models."""
    from standin import load_module

    monkeypatch.setenv("MEDGAN_BUNDLES", str(toy_models))
    load_module(ROOT / "MedGAN" / "MedGAN.py")
    widget = desktop.modules.medgan.widgetRepresentation()
    widget.show()
    widget.enter()
    return widget.self()


@pytest.fixture
def egg():
    """An MR of an egg of soft tissue in air."""
    from MedGANLogic.images import Image

    places = np.indices((24, 20, 8)) - np.array([11.5, 9.5, 3.5]).reshape(3, 1, 1, 1)
    radius = np.linalg.norm(places / np.array([10, 8, 6]).reshape(3, 1, 1, 1), axis=0)
    noise = np.random.default_rng(0).normal(0, 5, radius.shape)
    voxels = np.maximum(np.where(radius < 1, 300 + 10 * places[0], 2.0) + noise, 0)
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    affine[:3, 3] = [30, 40, -50]
    return Image(voxels[None].astype(np.float32), affine, "none")
