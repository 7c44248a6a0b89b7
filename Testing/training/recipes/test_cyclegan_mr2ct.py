"""CycleGAN from MR to CT against a loop written by hand, and what the paper adds to CycleGAN: sagittal slices."""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from bundled import bundled
from by_hand import assert_same, published, two_steps
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.feeds import Augmentation, Feed, Pool
from MedGANLogic.images import Image, Orientation
from MedGANLogic.inference.translate import translate
from MedGANLogic.recipe import build
from MedGANLogic.study import StudyError

NAME = "cyclegan-mr2ct"


def squares(score, wanted):
    return (score.float() - wanted).square().mean()


def trained_by_hand(networks, batches):
    there, back = networks["a_to_b"], networks["b_to_a"]
    judge_a, judge_b = networks["discriminator_a"], networks["discriminator_b"]
    adam_d = Adam([*judge_a.parameters(), *judge_b.parameters()], lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam([*there.parameters(), *back.parameters()], lr=2e-4, betas=(0.5, 0.999))
    autocast = torch.autocast("cpu", torch.bfloat16)
    for batch in batches:
        a, b = batch["a"], batch["b"]
        with autocast:
            # A history that is not full returns what it is given.
            fake_a, fake_b = back(b), there(a)
            loss_a = squares(judge_a(a), 1) / 2 + squares(judge_a(fake_a.detach()), 0) / 2
            loss_b = squares(judge_b(b), 1) / 2 + squares(judge_b(fake_b.detach()), 0) / 2
        adam_d.zero_grad()
        (loss_a + loss_b).backward()
        adam_d.step()

        with autocast:
            fooled = squares(judge_a(fake_a), 1) + squares(judge_b(fake_b), 1)
            cycled = (back(fake_b).float() - a).abs().mean() + (there(fake_a).float() - b).abs().mean()
        adam_g.zero_grad()
        (fooled + 10 * cycled).backward()
        adam_g.step()
        for name, fake in (("pool_a", fake_a), ("pool_b", fake_b)):
            networks[name](fake.detach())


def test_two_steps_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, dimensions=2, patch=32)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches)
    assert_same(played, by_hand, spared=0.02)


def test_its_networks_are_nine_residual_blocks_and_judges_of_70_voxels():
    networks = published(NAME).networks
    assert networks["a_to_b"].arguments == {
        "dimensions": 2, "in_channels": 1, "out_channels": 1, "width": 64, "blocks": 9}  # fmt: skip
    assert networks["discriminator_b"].arguments == {"dimensions": 2, "in_channels": 1, "width": 64, "layers": 3}


def test_hu_and_the_networks_range_are_the_same_inside_of_the_window():
    ct = recipes.example(NAME).targets["ct"]
    hu = np.arange(-600, 1401, dtype=np.float32)
    scale = ct.window.scale(hu)
    assert scale.to_network(np.array([-600, 400, 1400])).tolist() == [-1, 0, 1]
    np.testing.assert_allclose(scale.to_unit(scale.to_network(hu)), hu, atol=1e-3)


def numbered(case, role):
    """Return a case that has one role alone, whose values tell the sagittal slice."""
    values = np.broadcast_to(np.arange(case.valid.shape[0], dtype=np.int16)[:, None, None], case.valid.shape)
    return replace(case, volumes={role: values.copy()}, slopes={role: 1.0})


def test_mr_and_ct_come_from_other_patients_at_places_of_their_own(toy_study, toy_case):
    study = toy_study(2, 0, example=recipes.example(NAME))
    cases = [numbered(toy_case(str(number), "train", number), role) for number, role in enumerate(("mr", "ct") * 2)]
    (phase,) = build(recipes.load(NAME), study).phases
    plain = Augmentation(mirrored=False, quarter_turns=False, contrast=0.0)
    feed = Feed(1, *(replace(source, augmentation=plain) for source in phase.feed.sources))
    pool = Pool(study, cases)
    mr, ct = study.domains["mr"].window.scale(cases[0].volumes["mr"]), study.domains["ct"].window.scale(np.empty(0))
    drawn = [feed.draw(pool, (0,), number, 0) for number in range(60)]
    # A patch is one sagittal slice: in it, inside of the volume, there is one value.
    slices = [(mr.to_unit(item["a"]).max(), ct.to_unit(item["b"]).max()) for item in drawn]
    assert all(len(np.unique(item["a"][:, :, 10:20])) == 1 for item in drawn)
    assert abs(np.corrcoef(np.transpose(slices))[0, 1]) < 0.35
    assert len({round(float(ct_slice)) for _, ct_slice in slices}) > 15


@pytest.fixture
def used(toy_study, toy_case, tmp_path):
    """Return a translation by networks of toy width, an MR, and the CT that it becomes."""
    study = toy_study(2, 0, example=recipes.example(NAME))
    recipe = build(recipes.load(NAME), study)
    bundle = bundled(recipe, recipe.networks, study, tmp_path)
    image = toy_case("T", "test", 9).image("mr", study.inputs["mr"])
    run = partial(translate, bundle, device="cpu", force=True)
    return run, image, run(image).image


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 0, 2)])
def test_a_volume_gives_the_same_ct_at_the_same_places_whatever_the_order_of_its_axes(used, order):
    run, image, expected = used
    made = run(reordered(image, order)).image
    upright = made.with_orientation(Orientation.nearest(made.affine))
    assert upright.grid.matches(expected.grid)
    np.testing.assert_allclose(upright.voxels, expected.voxels, atol=0.5)


def test_what_changes_in_a_sagittal_slice_changes_nothing_in_the_others(used):
    run, image, expected = used
    voxels = image.voxels.copy()
    voxels[0, 17] = voxels[0, 17, ::-1]
    changed = np.abs(run(replace(image, voxels=voxels)).image.voxels - expected.voxels).max(axis=(0, 2, 3))
    assert changed[17] > 1
    assert np.delete(changed, 17).max() < 0.01


def reordered(image, order):
    """Return an image with its axes in another order, the first of them the other way round."""
    voxels = np.flip(image.voxels.transpose(0, *(1 + axis for axis in order)), 1)
    affine = image.affine[:, [*order, 3]].copy()
    affine[:, 3] += affine[:, 0] * (voxels.shape[1] - 1)
    affine[:, 0] *= -1
    return Image(np.ascontiguousarray(voxels), affine, image.unit)


@pytest.mark.parametrize("changed", [{"plane": "axial"}, {"dimensions": 3}])
def test_other_slices_than_sagittal_ones_are_refused(changed):
    with pytest.raises(StudyError, match=r"sagittal slices|2 dimensions"):
        build(recipes.load(NAME), replace(recipes.example(NAME), **changed))
