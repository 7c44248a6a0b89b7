"""Segmenting what only several volumes together show: MR sequences, or CT and PET."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled import bundled

from MedGANLogic.cohort import Case
from MedGANLogic.domain import CT, MR, PET
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.images import Image
from MedGANLogic.inference.translate import translate
from MedGANLogic.recipe import build
from MedGANLogic.recipes import load
from MedGANLogic.study import SEGMENTATION
from MedGANLogic.training import play, start

#: Two inputs, and how each follows from a signal of 200 or 400.
SEQUENCES = {"t1": (MR, lambda signal: signal), "flair": (MR, lambda signal: 2 * signal)}
HYBRID = {"ct": (CT, lambda signal: 4 * signal - 1000), "pet": (PET, lambda signal: (signal - 100) // 20)}
STEPS = 50


@pytest.fixture(params=[("moeskops-dilated-gan", SEQUENCES), ("li-brats-gan", HYBRID)], ids=lambda given: given[0])
def name_and_inputs(request):
    return request.param


@pytest.fixture
def name(name_and_inputs):
    return name_and_inputs[0]


@pytest.fixture
def inputs(name_and_inputs):
    return name_and_inputs[1]


@pytest.fixture
def study(toy_study, inputs):
    seen = replace(SEGMENTATION, inputs={role: domain for role, (domain, _) in inputs.items()})
    toy = toy_study(2, 0, example=seen, levels=None, patch=31, width=8, batch=4, rate=0.01, steps=STEPS)
    return replace(toy, changes={**toy.changes, "adversarial": 0.1})


@pytest.fixture
def patient(toy_case, inputs):
    """Return a maker of cases: a lesion is what is bright in the first input and dark in the second."""

    def make(number, part):
        shown, other = (toy_case("", part, seed) for seed in (number, 50 + number))
        bright = [case.volumes["mr"] > 300 for case in (shown, other)]
        volumes = {
            role: np.where(shown.body, made(np.where(where, 400, 200)), domain.background).astype(np.int16)
            for (role, (domain, made)), where in zip(inputs.items(), bright, strict=True)
        }
        volumes["lesion"] = (shown.body & bright[0] & ~bright[1]).astype(np.int16)
        slopes = dict.fromkeys(volumes, 1.0)
        return Case(f"S{number}", part, volumes, slopes, np.ones_like(shown.body), shown.body, shown.affine)

    return make


@pytest.fixture
def trained(name, study, patient, tmp_path):
    """Return a bundle of what a short training makes, opened."""
    recipe = build(load(name), study)
    state, (phase,) = start(recipe, torch.device("cpu")), recipe.phases
    batches = Batches(phase.feed, Pool(study, [patient(number, "train") for number in range(3)]), (0,))
    for step in range(STEPS):
        torch.manual_seed(step)
        play(phase, state.networks, state.optimizers, iter([batches[step]]), step, state.device)
    return bundled(recipe, state.networks, study, tmp_path)


def dice(found, case):
    found, truth = found.voxels[0] == 1, case.volumes["lesion"] == 1
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def turned_round(image):
    """Return the same image with its first axis stored from the other end."""
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = image.voxels.shape[1] - 1
    return Image(np.ascontiguousarray(image.voxels[:, ::-1]), image.affine @ flip, image.unit)


def test_what_two_inputs_show_together_is_learnt_and_found_by_their_roles(trained, study, patient):
    unseen, other = patient(9, "test"), patient(7, "test")
    body = Image(unseen.body[None].astype(np.float32), unseen.affine, "label")
    (first, one), (second, two) = ((role, unseen.image(role, domain)) for role, domain in study.inputs.items())

    def segmented(images):
        return translate(trained, images, device="cpu", mask=body, force=True).image

    found = segmented({first: one, second: two})
    assert dice(found, unseen) > 0.75
    # Whichever is named first, and however the second one is stored.
    assert np.array_equal(segmented({second: turned_round(two), first: one}).voxels, found.voxels)
    # Both are needed: with the second one of another patient the lesions lie elsewhere.
    assert dice(segmented({first: one, second: other.image(second, study.inputs[second])}), unseen) < 0.6
