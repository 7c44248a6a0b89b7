"""What a trained model says that it is valid for: images like those that it was trained on, as their files are."""

import json

import numpy as np
import pytest

from MedGANLogic.__main__ import main
from MedGANLogic.catalogue import read, resource, sha256
from MedGANLogic.check import check
from MedGANLogic.experiment import RUN
from MedGANLogic.images import Image
from MedGANLogic.images import read as read_image

RESAMPLED = """
inputs = ["mr"]
targets = ["ct"]
neighbours = 0
spacing_mm = [8, 8, 16]
changes = { width = 2, levels = 1, patch = 8, batch = 1 }
"""
MADE = """
inputs = { coarse = "mr" }
targets = { mr = "mr" }
neighbours = 0
made.coarse = { kind = "Averaged", of = "mr", by = 8 }
changes = { width = 2, levels = 1, patch = 32, batch = 1 }
"""


@pytest.fixture
def trained(toy_table, tmp_path):
    """Return a maker of the cards of models that were trained for a few steps."""

    def make(recipe, toml):
        study = tmp_path / "study.toml"
        study.write_text(toml, encoding="utf-8")
        asked = ["--cohort", toy_table, "--study", study, "--out", tmp_path / "run", "--steps", "3", "--device", "cpu"]
        assert main(["train", "--recipe", recipe, *map(str, asked)]) == 0
        return read(tmp_path / "run" / "bundle").card

    return make


def complaints(card, image):
    (role,) = card.inputs
    return [finding.text for finding in check(card, role, image) if "mm" in finding.text]


def test_a_file_of_the_cohort_fits_a_model_that_works_on_a_coarser_grid(trained, toy_table):
    card = trained("l1", RESAMPLED)
    assert card.spacing_mm == (8, 8, 16)
    seen = read_image(toy_table.with_name("m0.nii"), "none")
    assert not complaints(card, seen)
    # What is as coarse as the model's own grid was in no file.
    assert complaints(card, Image(seen.voxels[:, ::4, ::4, ::4], seen.affine @ np.diag([4, 4, 4, 1]), "none"))


def test_a_model_that_makes_finer_images_is_valid_for_coarse_ones(trained, toy_table):
    card = trained("srgan", MADE)
    fine = read_image(toy_table.with_name("m0.nii"), "none")
    coarse = Image(fine.voxels[:, ::8, ::8], fine.affine @ np.diag([8, 8, 1, 1]), "none")
    assert not complaints(card, coarse)
    assert complaints(card, fine)


def test_card_and_run_say_by_which_weights_images_were_compared(trained, toy_table):
    card = trained("srgan", MADE)
    run = json.loads(toy_table.with_name("run").joinpath(RUN).read_text(encoding="utf-8"))
    weights = sha256(resource("Features/small-2d.safetensors"))
    assert card.training["features_sha256"] == run["features_sha256"] == weights
