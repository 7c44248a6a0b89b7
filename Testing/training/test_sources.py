"""Where batches come from besides aligned pairs: pools that know nothing of each other, chance, self-made pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedGANLogic.chance import Normal, Uniform
from MedGANLogic.cohort import CohortError
from MedGANLogic.degradation import Averaged
from MedGANLogic.domain import CT
from MedGANLogic.feeds import Augmentation, Batches, Drawn, Feed, Images, Pair, Pool
from MedGANLogic.study import CLASSES, GENERATION, SEGMENTATION, SUPER_RESOLUTION, TRANSLATION
from MedGANLogic.training import Loader

CPU = torch.device("cpu")
PLAIN = Augmentation(mirrored=False, quarter_turns=False, contrast=0)
FLAT = replace(TRANSLATION, neighbours=0)


def pool_of(study, toy_cohort):
    return Pool(study, [case for case in toy_cohort(study) if case.part == "train"])


def unpaired(study):
    return Feed(2, Images("a", study.inputs, (16, 16), PLAIN), Images("b", study.targets, (16, 16), PLAIN))


FEEDS = {
    "unpaired": (FLAT, unpaired(FLAT)),
    "unconditional": (GENERATION, Feed(2, Images("image", GENERATION.targets, (16, 16)), Drawn("noise", Normal((5,))))),
    "classes": (CLASSES, Feed(2, Images("image", CLASSES.targets, (16, 16)), Drawn("wanted", CLASSES.condition))),
    "attributes": (
        replace(GENERATION, attributes={"age": (20.0, 90.0)}),
        Feed(2, Images("image", GENERATION.targets, (16, 16))),
    ),
    "mixed": (
        SEGMENTATION,
        Feed(2, Pair((16, 16)), Images("unlabelled", SEGMENTATION.inputs, (16, 16), lacking=SEGMENTATION.targets)),
    ),
    "self-made": (SUPER_RESOLUTION, Feed(2, Pair((16, 16)))),
}


@pytest.mark.parametrize("name", FEEDS)
def test_batch_n_follows_from_seed_and_n_with_any_number_of_workers(name, toy_cohort):
    study, feed = FEEDS[name]
    pool = pool_of(study, toy_cohort)

    def loaded(first, workers, seed=5):
        return list(Loader(feed, pool, (seed,), CPU, workers).batches(first, 4))

    alone, by_two, later, other = loaded(0, 0), loaded(0, 2), loaded(2, 0), loaded(0, 0, seed=6)
    for number, batch in enumerate(alone):
        for key, value in batch.items():
            assert torch.equal(value, by_two[number][key])
            assert number < 2 or torch.equal(value, later[number - 2][key])
    key = next(iter(alone[0]))
    assert not torch.equal(alone[0][key], alone[1][key])
    assert not torch.equal(alone[0][key], other[0][key])


def test_pools_that_are_not_paired_are_drawn_independently(toy_cohort):
    pool = pool_of(FLAT, toy_cohort)
    changed = Feed(2, Images("a", FLAT.inputs, (8, 8)), Images("b", FLAT.targets, (16, 16), PLAIN))
    for number in range(10):
        before, after = (Batches(feed, pool, (0,))[number] for feed in (unpaired(FLAT), changed))
        # Another way to draw from the first pool leaves the second as it was.
        assert torch.equal(before["b"], after["b"])
    pairs = [Batches(unpaired(FLAT), pool, (0,))[number] for number in range(20)]
    # In the toys CT follows from MR, voxel by voxel: where the two are cut from one place, it shows.
    alike = [torch.equal(pair["a"].argmax(), pair["b"].argmax()) for pair in pairs]
    assert sum(alike) < 10


def test_a_subject_of_which_too_little_is_said_is_named(toy_cohort):
    first, second, *_ = toy_cohort(CLASSES)
    for said in ({}, {"class": ""}, {"class": "t3"}):
        with pytest.raises(CohortError, match=r"subject S1 \(train\): .*class"):
            Pool(CLASSES, [first, replace(second, said=said)])


def test_a_subject_that_lacks_the_target_teaches_the_first_pool_alone(toy_cohort):
    pool = pool_of(FLAT, toy_cohort)
    assert pool.having(FLAT.inputs) == [0, 1, 2]
    assert pool.having(FLAT.domains) == [0, 1]
    assert pool.having(FLAT.inputs, FLAT.targets) == [2]


def test_what_a_cohort_lacks_is_said_before_training(toy_cohort):
    pool = Pool(FLAT, toy_cohort(FLAT)[:2])
    without = Feed(1, Images("unlabelled", FLAT.inputs, (8, 8), lacking=FLAT.targets))
    with pytest.raises(CohortError, match="no subject of part 'train' has mr and no ct"):
        Batches(without, pool, (0,))
    with pytest.raises(CohortError, match="has pet"):
        Batches(Feed(1, Images("image", {"pet": CT}, (8, 8))), Pool(GENERATION, toy_cohort(GENERATION)[:1]), (0,))


def test_unlabelled_images_come_from_subjects_without_labels(toy_cohort):
    study, feed = FEEDS["mixed"]
    cases = toy_cohort(study)[:3]
    dark = replace(cases[2], volumes={"mr": 0 * cases[2].volumes["mr"] + np.int16(7)})
    batches = Batches(feed, Pool(study, [*cases[:2], dark]), (0,))
    for number in range(8):
        batch = batches[number]
        assert batch["unlabelled"].std() == 0
        assert batch["input"].std() > 0
        # One-hot, background first.
        assert torch.equal(batch["target"].sum(1), torch.ones_like(batch["target"][:, 0]))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_pair_that_makes_itself_is_its_target_averaged(dimensions, toy_cohort):
    study = replace(SUPER_RESOLUTION, dimensions=dimensions, made={"mr": Averaged("fine", 2)})
    feed = Feed(2, Pair((12,) * dimensions, PLAIN))
    batch = Batches(feed, pool_of(study, toy_cohort), (0,))[0]
    pooled = torch.nn.functional.avg_pool2d if dimensions == 2 else torch.nn.functional.avg_pool3d
    assert batch["input"].shape[2:] == (6,) * dimensions
    # The scale saturates at both ends, before and after: there they may differ.
    inside = (batch["input"] > -0.9) & (batch["input"] < 0.9)
    assert inside.any()
    difference = (pooled(batch["target"], 2) - batch["input"])[inside].abs()
    assert difference.median() < 1e-5


def test_what_the_table_says_comes_with_the_image(toy_cohort):
    study, feed = FEEDS["classes"]
    batches = Batches(feed, pool_of(study, toy_cohort), (0,))
    seen = torch.cat([batches[number]["condition"] for number in range(20)])
    assert torch.equal(seen.sum(1), torch.ones(40))
    assert (seen.mean(0) > 0.2).all()
    aged, feed = FEEDS["attributes"]
    ages = torch.cat([Batches(feed, pool_of(aged, toy_cohort), (0,))[n]["condition"] for n in range(10)])
    # Subjects 0, 1 and 2 of five, from 20 to 90 years as -1 to 1.
    assert {round(float(age), 4) for age in ages} == {-1.0, -0.5, 0.0}


def test_shrunk_images_are_averages(toy_cohort):
    pool = pool_of(GENERATION, toy_cohort)
    whole, half = (
        Batches(Feed(2, Images("image", GENERATION.targets, (16, 16), shrunk=factor)), pool, (0,))[0]["image"]
        for factor in (1, 2)
    )
    assert torch.allclose(torch.nn.functional.avg_pool2d(whole, 2), half, atol=1e-6)


def test_chance_is_what_it_says():
    rng = np.random.default_rng(0)
    noise = np.stack([Normal((50,)).draw(rng) for _ in range(200)])
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(1, abs=0.05)
    mixing = np.stack([Uniform((1,), 0.0, 1.0).draw(rng) for _ in range(500)])
    assert 0 <= mixing.min() < 0.05 and 0.95 < mixing.max() <= 1


def test_needs_are_said_in_words():
    _, feed = FEEDS["mixed"]
    assert [source.needs for source in feed.sources] == ["aligned pairs", "images (mr) without lesion"]
    assert Drawn("noise", Normal((1,))).needs == ""
