"""A toy model and a toy patient, for all that needs one without caring how good it is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedGANLogic.bundle import describe, open_bundle, rounded, save
from MedGANLogic.catalogue import Card, read
from MedGANLogic.domain import CT, MR
from MedGANLogic.images import Image, write
from MedGANLogic.parts.generators.plain_unet import PlainUNet
from MedGANLogic.passes import Pass

TOY_PASS = Pass("generator", ("mr",), ("ct",), dimensions=2, neighbours=1, multiple=4)


def card_of(networks, passes=(TOY_PASS,), spacing_mm=None, name="toy"):
    """A card that says as little as a card may."""
    return Card(
        name=name,
        title="A toy that has learnt nothing",
        task="mr-to-ct",
        inputs={"mr": MR},
        targets={"ct": CT},
        spacing_mm=spacing_mm,
        plane="axial",
        networks=describe(networks, passes),
        passes=passes,
        validity={"anatomy": ["thigh"]},
        training={"system": "none", "subjects": {"train": 0}},
        departures=(),
        measured={},
        licence="Apache-2.0",
    )


@pytest.fixture(scope="session")
def toy_pass():
    """The one pass of the toy model."""
    return TOY_PASS


@pytest.fixture(scope="session")
def toy_card():
    """Make a card for networks; everything about it may be named."""
    return card_of


@pytest.fixture
def toy_networks():
    """A small U-Net with random weights, whose answers fill the window and differ from place to place."""
    return random_networks()


def random_networks(seed=0):
    """Return the toy model's networks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = PlainUNet(dimensions=2, in_channels=3, out_channels=1, width=4, levels=2)
        torch.nn.init.normal_(generator.output.weight, std=0.5)
    return {"generator": rounded(generator.eval())}


def save_in(folder, **card):
    """Save the toy model in a folder of its own and return that folder."""
    networks = random_networks()
    return save(card_of(networks, **card), networks, "# A toy\n", folder).folder


@pytest.fixture(scope="session")
def saved_toy():
    """Save the toy model in a folder of its own; everything about its card may be named."""
    return save_in


@pytest.fixture(scope="session")
def pristine_toy(tmp_path_factory):
    """The toy model's folder, which no test may touch."""
    return save_in(tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture
def toy_folder(pristine_toy, tmp_path):
    """A toy model's folder that a test may break."""
    return Path(shutil.copytree(pristine_toy, tmp_path / "toy"))


@pytest.fixture
def toy_bundle(pristine_toy):
    """The opened toy model."""
    return open_bundle(read(pristine_toy))


@pytest.fixture
def mr():
    """An MR of an egg of soft tissue with a bone in it, noisy, in air; oblique voxels of 2 × 2.5 × 4 mm."""
    shape, spacing = (40, 36, 14), np.array([2.0, 2.5, 4.0])
    places = (np.indices(shape).reshape(3, -1).T - (np.array(shape) - 1) / 2) * spacing
    radius = np.linalg.norm(places / [34.0, 38.0, 40.0], axis=1)
    bone = np.linalg.norm(places[:, :2] - [8.0, 5.0], axis=1) < 7
    signal = np.where(radius < 1, np.where(bone, 80.0, 300.0 + 3 * places[:, 0] + 2 * places[:, 1]), 3.0)
    noise = np.random.default_rng(1).normal(0, 4, len(signal))
    voxels = np.maximum(signal + noise, 0).astype(np.float32).reshape(1, *shape)
    angle = np.deg2rad(20)
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing
    affine[:3, 3] = [-31.0, -45.5, 120.25]
    return Image(voxels, affine, "none")


@pytest.fixture
def mr_file(mr, tmp_path):
    """The MR in a file."""
    path = tmp_path / "mr.nii.gz"
    write(mr, path)
    return path


@pytest.fixture
def ct():
    """A CT of an egg of muscle with a bone in it, in air, as no MR could look."""
    shape = (32, 32, 10)
    places = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    radius = np.sqrt((places[:2] ** 2).sum(axis=0))
    hu = np.select([radius < 4, radius < 12], [900.0, 50.0], -1000.0)
    hu += np.random.default_rng(2).normal(0, 10, shape)
    return Image(hu.astype(np.float32)[None], np.diag([2.0, 2.0, 3.0, 1.0]), "HU")


@pytest.fixture
def ct_file(ct, tmp_path):
    """The CT in a file."""
    path = tmp_path / "ct.nii.gz"
    write(replace(ct, facts={}), path)
    return path
