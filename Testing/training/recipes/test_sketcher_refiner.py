"""Sketcher-Refiner against a loop written by hand: two GANs in a row, and regions where an error costs more."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from by_hand import CPU, assert_same, lowered, published, two_steps
from torch.nn.functional import one_hot, softplus
from torch.optim import Adam

from MedGANLogic import recipes
from MedGANLogic.domain import CT, Domain, Label, Labels
from MedGANLogic.feeds import Augmentation, Batches, Feed, Pair, Pool
from MedGANLogic.games.context import Refinement, staged
from MedGANLogic.inference.cases import predict_case
from MedGANLogic.parts.losses.voxelwise import masked_l1
from MedGANLogic.recipe import build
from MedGANLogic.recipes import sketcher_refiner
from MedGANLogic.study import GUIDED, Study, StudyError
from MedGANLogic.validation import validate

NAME = "sketcher-refiner"
SKETCH = "pet by sketcher"


@pytest.fixture
def study(toy_study):
    return toy_study(3, 0, example=GUIDED, patch=24)


@pytest.fixture
def recipe(study):
    return build(recipes.load(NAME), study)


def trained_by_hand(networks, batches, generator, discriminator, estimates, like):
    generator, discriminator = networks[generator], networks[discriminator]
    adam_d = Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_g = Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        x, y, weight = batch["input"], batch["target"], batch["weight"]
        fake = generator(torch.cat([x, *(batch[name] for name in estimates)], 1))
        shown = torch.where(weight > 0, fake, y)
        real, made = discriminator(torch.cat([x, y], 1)), discriminator(torch.cat([x, shown.detach()], 1))
        adam_d.zero_grad()
        (softplus(-real).mean() + softplus(made).mean()).backward()
        adam_d.step()

        discriminator.requires_grad_(False)
        adversarial = softplus(-discriminator(torch.cat([x, shown], 1))).mean()
        adam_g.zero_grad()
        (adversarial + 100 * like(fake, shown, batch)).backward()
        discriminator.requires_grad_(True)
        adam_g.step()


def everywhere(fake, shown, batch):
    return masked_l1(fake, batch["target"], batch["weight"])


def by_region(fake, shown, batch):
    rest, white_matter, lesion = batch["guide"].unbind(1)
    costs = (rest + white_matter + 10 * lesion).unsqueeze(1)
    return ((shown - batch["target"]).abs() * costs).mean()


def test_two_steps_of_the_sketcher_are_those_written_by_hand(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, patch=24)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, "sketcher", "sketcher_discriminator", (), everywhere)
    assert_same(played, by_hand, still=("refiner", "refiner_discriminator"))


def test_two_steps_of_the_refiner_are_those_written_by_hand_and_leave_the_sketcher_bit_equal(toy_study, toy_cohort):
    played = two_steps(NAME, toy_study, toy_cohort, place=1, patch=24)
    by_hand = deepcopy(played.fresh)
    trained_by_hand(by_hand, played.batches, "refiner", "refiner_discriminator", (SKETCH,), by_region)
    assert_same(played, by_hand, still=("sketcher", "sketcher_discriminator"))
    for name in ("sketcher", "sketcher_discriminator"):
        before, after = (networks[name].state_dict() for networks in (played.fresh, played.networks))
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_is_lowered_is_what_the_paper_says():
    regions = one_hot(torch.tensor([[0, 1, 2, 2]]), 3).movedim(-1, 1)
    made, real = torch.tensor([[[1.0, 2.0, 3.0, 0.0]]]), torch.zeros(1, 1, 4)
    scores = {"score_real_pair": torch.zeros(1), "score_fake_pair": torch.zeros(1)}
    game = SimpleNamespace(
        fake_b=made, shown_b=made, real_b=real, weight=torch.ones(1, 1, 4), regions=regions, **scores
    )
    sketching, refining = published(NAME).phases
    for phase in (sketching, refining):
        assert lowered(phase.players[0], game) == pytest.approx(2 * np.log(2))
    assert lowered(sketching.players[1], game) == pytest.approx(np.log(2) + 100 * 6 / 4)
    assert lowered(refining.players[1], game) == pytest.approx(np.log(2) + 100 * (1 + 2 + 30) / 4)


def test_twice_the_lesions_weight_doubles_the_lesions_part_alone(monkeypatch):
    random = torch.Generator().manual_seed(0)
    made, real = torch.rand(2, 2, 1, 6, 6, generator=random)
    regions = one_hot(torch.randint(3, (2, 6, 6), generator=random), 3).movedim(-1, 1).float()
    before = sketcher_refiner.regional_l1(made, real, regions)
    lesion = 10 * ((made - real).abs() * regions[:, 2:]).mean()
    monkeypatch.setattr(sketcher_refiner, "WEIGHTS", (1.0, 1.0, 20.0))
    assert sketcher_refiner.regional_l1(made, real, regions) - before == pytest.approx(lesion.item(), rel=1e-5)


def test_another_sketch_is_refined_into_another_image_and_judged_without_it(recipe):
    random = torch.Generator().manual_seed(0)
    batch = {"input": torch.rand(1, 2, 24, 24, 24, generator=random), "weight": torch.ones(1, 1, 24, 24, 24)}
    batch |= {name: torch.rand(1, 1, 24, 24, 24, generator=random) for name in ("target", SKETCH)}
    networks = {name: network.eval() for name, network in recipe.networks.items()}
    game = staged(Refinement, "refiner", "refiner_discriminator", (SKETCH,))
    own, other = (game(networks, {**batch, SKETCH: sketch}) for sketch in (batch[SKETCH], 1 - batch[SKETCH]))
    assert not torch.allclose(own.fake_b, other.fake_b, rtol=1e-3)
    assert torch.equal(own.score_real_pair, other.score_real_pair)
    first = networks["refiner_discriminator"].score[0]
    assert first.in_channels == 2 + 1


def test_a_study_without_guide_counts_all_alike(study, toy_cohort):
    unguided = replace(study, guides={})
    recipe = build(recipes.load(NAME), unguided)
    phase, pool = recipe.phases[1], Pool(unguided, toy_cohort(unguided)[:2])
    for prepared, volumes in zip(pool.prepared, pool.volumes, strict=True):
        prepared[SKETCH] = np.zeros(volumes["t1"].shape, np.float32)
    batch = Batches(phase.feed, pool, (0,))[0]
    game = phase.game(recipe.networks, batch)
    assert "guide" not in batch
    like = phase.players[1].terms[1]
    assert like.value(game).item() == pytest.approx((game.shown_b - game.real_b).abs().mean().item(), rel=1e-5)


def test_guides_lie_where_the_volumes_lie(study, toy_cohort):
    plain = Feed(4, Pair((16, 16, 16), Augmentation(contrast=0, bent=0)))
    for number in range(4):
        batch = Batches(plain, Pool(study, toy_cohort(study)[:2]), (0,))[number]
        # The toy's first label is what is bright, and there is no second.
        rest, first, second = batch["guide"].unbind(1)
        assert torch.equal(rest, 1 - first)
        assert not second.any()
        for bright, image in zip(first.bool(), batch["input"], strict=True):
            assert 0 < bright.float().mean() < 1
            assert image[0][bright].min() > image[0][~bright].max()


def test_prediction_and_validation_read_no_guide(recipe, study, toy_cohort):
    *_, case = toy_cohort(study)
    blind = replace(case, volumes={role: volume for role, volume in case.volumes.items() if role != "tissue"})
    assert "tissue" in case.volumes
    with_guide, without = (predict_case(recipe.passes, recipe.networks, study, one) for one in (case, blind))
    assert np.array_equal(with_guide.voxels, without.voxels)
    assert validate(recipe.networks, recipe, study, [blind]).measure == "MAE in SUV"
    read = {name for one in recipe.passes for name in one.reads}
    assert read == {"t1", "flair", SKETCH}


def test_a_subject_without_guide_is_not_learnt_from(study, toy_cohort):
    first, second, *_ = toy_cohort(study)
    lacking = replace(first, volumes={role: volume for role, volume in first.volumes.items() if role != "tissue"})
    assert Pool(study, [lacking, second]).having(study.domains) == [1]


def test_a_guide_is_a_column_of_the_table_and_part_of_what_a_study_says(study):
    assert study.columns == ("t1", "flair", "pet", "tissue")
    assert Study.from_json(study.to_json()) == study
    assert study.in_channels == 2


@pytest.mark.parametrize(
    "guides",
    [
        {"tissue": Domain("SEG", "label", Labels((Label(1, "lesion", (9, 9, 9)),)), 0.0)},
        {"ct": CT},
        {**GUIDED.guides, "more": GUIDED.guides["tissue"]},
    ],
)
def test_a_guide_of_other_labels_is_refused(study, guides):
    with pytest.raises(StudyError, match="2 labels"):
        build(recipes.load(NAME), replace(study, guides=guides))


def test_both_stages_are_as_long(recipe):
    assert [phase.steps for phase in recipe.phases] == [20, 20]
    assert recipe.phases[1].beforehand == recipe.passes[:1]
    assert next(recipe.networks["refiner"].parameters()).device == CPU
