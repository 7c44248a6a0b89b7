"""The flight recorder: every alarm at its record and not one earlier, and silence on healthy runs."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from MedGANLogic.evaluation import metrics
from MedGANLogic.parts.losses import adversarial
from MedGANLogic.recorder import (
    FLOORED,
    RULES,
    Gallery,
    Record,
    Recorder,
    Spread,
    diversity,
    loss_name,
    measure_scores,
    named_in,
)

HEALTHY = Record(
    step=0,
    losses={
        "discriminator/0 called_real(score)": 0.6,
        "discriminator/1 called_fake(score)": 0.5,
        "generator/0 called_real(score)": 1.2,
        "generator/1 masked_l1(fake_b, real_b, weight)": 0.0004,
    },
    gradients={"discriminator": 0.5, "generator": 2.0},
    scores={"score_real_pair": Spread(0.7, 1.1, -2.0, 3.5), "score_fake_pair": Spread(-0.6, 0.9, -3.0, 2.0)},
    made=0.35,
    real=0.45,
    rates={"discriminator": 2e-4, "generator": 2e-4},
    waiting=0.02,
    seconds_per_step=0.11,
)


def with_losses(**losses):
    """Return a change of a record: losses by player, ``called_real`` before ``called_fake``, and no others."""
    names = ("called_real", "called_fake")
    found = {
        loss_name(player, number, name, ["score"]): value
        for player, values in losses.items()
        for number, (name, value) in enumerate(zip(names, values, strict=False))
    }
    return {"losses": found}


def with_score(**changed):
    return {"scores": {"score_fake_pair": replace(HEALTHY.scores["score_fake_pair"], **changed)}}


NAN, INF = float("nan"), float("inf")
SURE_CRITIC = with_losses(discriminator=(4e-4, 9e-4), generator=(8.0,))
SURE_GENERATOR = with_losses(discriminator=(8.0, 9.0), generator=(2e-4,))
COLLAPSED = {"made": 0.02, "real": 0.45}
EXPLODING = {"gradients": {"discriminator": 0.5, "generator": 200.0}}
STILL = {"gradients": {"discriminator": 0.5, "generator": 0.0}}
STARVED = {"waiting": 0.72}
#: Alarms that only tell.
HARMLESS = ("player stands still", "feed starved")

#: What is wrong with a record, at how many in a row the alarm is due, its name, and what it must say.
BROKEN = [
    pytest.param(
        with_losses(generator=(NAN,)), 1, "not finite", r"generator/0 called_real\(score\) is nan", id="loss nan"
    ),
    pytest.param({"gradients": {"generator": INF}}, 1, "not finite", "gradient of generator is inf", id="gradient inf"),
    pytest.param(with_score(mean=NAN), 1, "not finite", "score_fake_pair is nan", id="score nan"),
    pytest.param(with_score(low=-INF), 1, "not finite", "score_fake_pair is -inf", id="score inf"),
    pytest.param(EXPLODING, 3, "exploding gradient", "generator is 200, 100 times the usual 2", id="exploding"),
    pytest.param({"gradients": {"late": 1e6}}, 1, "exploding gradient", r"late is 1e\+06, above", id="beyond all"),
    pytest.param(SURE_CRITIC, 20, "critic saturated", "discriminator is sure.*0.0004.*0.0009", id="sure critic"),
    pytest.param(SURE_GENERATOR, 20, "critic saturated", "generator is sure.*0.0002", id="sure generator"),
    pytest.param(COLLAPSED, 10, "generator collapsed", "differ by 0.02.*real ones by 0.45", id="collapsed"),
    pytest.param(STILL, 10, "player stands still", "generator is exactly 0, for 10", id="still"),
    pytest.param(STARVED, 5, "feed starved", "72 % of the time", id="starved"),
]
HARMING = [one for one in BROKEN if one.values[2] not in HARMLESS]


def healthy(count):
    return [replace(HEALTHY, step=10 * number) for number in range(count)]


def names(alarms):
    return [alarm.name for alarm in alarms]


# --- when an alarm is raised ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "due", "name", "said"), BROKEN)
def test_an_alarm_is_raised_at_its_record_and_not_one_earlier(change, due, name, said):
    recorder = Recorder(healthy(20))
    raised = [names(recorder.add(replace(HEALTHY, **change))) for _ in range(due)]
    assert raised == [[]] * (due - 1) + [[name]]


@pytest.mark.parametrize(("change", "due", "name", "said"), BROKEN)
def test_an_alarm_says_at_which_step_what_was_found_and_what_to_do(change, due, name, said):
    recorder = Recorder(healthy(20))
    *_, (alarm,) = (recorder.add(replace(HEALTHY, step=4321, **change)) for _ in range(due))
    assert alarm.text.startswith("step 4321: ")
    assert re.search(said, alarm.text)
    assert ("learning rate" in alarm.text) is alarm.harms is (name not in HARMLESS)


@pytest.mark.parametrize(("change", "due", "name", "said"), [one for one in BROKEN if one.values[1] > 1])
def test_one_healthy_record_in_between_begins_the_count_anew(change, due, name, said):
    recorder = Recorder(healthy(20))
    broken = replace(HEALTHY, **change)
    assert not any(recorder.add(one) for one in [*[broken] * (due - 1), HEALTHY, *[broken] * (due - 1)])
    assert names(recorder.add(broken)) == [name]


def test_two_players_who_are_sure_by_turns_are_a_healthy_game():
    recorder = Recorder()
    turns = [replace(HEALTHY, **change) for change in (SURE_CRITIC, SURE_GENERATOR)]
    assert not any(recorder.add(turns[number % 2]) for number in range(60))


def test_what_is_usual_is_known_after_twenty_records():
    for known, due in ((19, False), (20, True)):
        recorder = Recorder(healthy(known))
        *_, raised = (recorder.add(replace(HEALTHY, **EXPLODING)) for _ in range(3))
        assert bool(raised) is due


def test_a_generator_that_begins_with_one_grey_image_is_given_fifty_records():
    recorder = Recorder()
    raised = [bool(recorder.add(replace(HEALTHY, **COLLAPSED))) for _ in range(60)]
    assert raised.index(True) == 50 + 10 - 2
    begun = Recorder(healthy(1))
    assert [bool(begun.add(replace(HEALTHY, **COLLAPSED))) for _ in range(10)].index(True) == 9


def test_a_harming_alarm_is_raised_as_long_as_it_lasts_and_the_other_once():
    recorder = Recorder(healthy(1))
    lasting = [replace(HEALTHY, **COLLAPSED, **STARVED)] * 12
    raised = [name for one in [*lasting, HEALTHY, *lasting] for name in names(recorder.add(one))]
    assert raised.count("generator collapsed") == 3 + 3
    assert raised.count("feed starved") == 1 + 1


# --- when none is ---------------------------------------------------------------------------------------------------


def wasserstein(critic, generator):
    return {
        "losses": {"critic/0 scored_high": critic, "critic/1 unit_slope": 0.0, "generator/0 scored_high": generator}
    }


@pytest.mark.parametrize(
    "change",
    [
        {"gradients": {"discriminator": 0.5 * 30, "generator": 2.0 * 30}},
        {"gradients": {"discriminator": 0.5 * 99, "generator": 2.0 * 99}},
        {"gradients": {"discriminator": 1e-30, "generator": 1e-30}},
        with_losses(discriminator=(1e-4, 0.3), generator=(2.0,)),
        with_losses(discriminator=(1e-3, 1e-4), generator=(1e-3,)),
        wasserstein(-5000.0, 30_000.0),
        wasserstein(-1e-5, 1e-6),
        {"losses": {"generator/0 masked_l1": 1e-6}, "made": None, "real": None},
        {"made": 0.0, "real": None},
        {"made": 0.0, "real": 0.0},
        {"made": 0.0226, "real": 0.45},
        {"waiting": 0.5},
    ],
)
def test_what_only_looks_alarming_is_let_pass(change):
    recorder = Recorder(healthy(20))
    assert not any(recorder.add(replace(HEALTHY, **change)) for _ in range(25))
    assert not recorder.suspects


def test_a_gradient_that_comes_back_from_nothing_does_not_explode():
    recorder = Recorder([replace(HEALTHY, gradients={"discriminator": 1e-6})] * 50)
    assert not any(recorder.add(replace(HEALTHY, gradients={"discriminator": 5.0})) for _ in range(10))


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_healthy_game_raises_none(seed):
    random = np.random.default_rng(seed)

    def noisy(step):
        spike = 30.0 if random.random() < 0.05 else 1.0
        return replace(
            HEALTHY,
            step=step,
            losses={name: value * random.lognormal(0, 1) for name, value in HEALTHY.losses.items()},
            gradients={name: value * spike * random.lognormal(0, 0.5) for name, value in HEALTHY.gradients.items()},
            scores={"score_fake_pair": Spread(random.normal(0, 5), 3.0, -20.0, 20.0)},
            made=random.uniform(0.05, 0.6),
            real=random.uniform(0.3, 0.6),
            waiting=random.beta(1, 6),
        )

    recorder = Recorder()
    assert not any(recorder.add(noisy(step)) for step in range(1500))


def test_every_rule_has_a_record_that_breaks_it():
    assert {rule.name for rule in RULES} == {one.values[2] for one in BROKEN}


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "due", "name", "said"), HARMING)
def test_a_run_is_suspect_from_the_first_broken_record_until_a_healthy_one(change, due, name, said):
    recorder = Recorder(healthy(20))
    assert not recorder.suspects
    for _ in range(due):
        recorder.add(replace(HEALTHY, **change))
        assert recorder.suspects
    recorder.add(HEALTHY)
    assert not recorder.suspects


@pytest.mark.parametrize("change", [STILL, STARVED])
def test_what_only_tells_makes_no_checkpoint_suspect(change):
    recorder = Recorder()
    for _ in range(12):
        recorder.add(replace(HEALTHY, **change))
        assert not recorder.suspects


@pytest.mark.parametrize(("change", "due", "name", "said"), BROKEN)
def test_a_recorder_made_again_from_the_log_raises_the_same_alarm_at_the_same_record(change, due, name, said):
    records = [*healthy(150), *[replace(HEALTHY, **change)] * due]
    log = [json.dumps({**one.to_json(), "validation": 3.5}, allow_nan=False) for one in records[:-1]]
    again = Recorder(Record.from_json(json.loads(line)) for line in log)
    assert again.suspects is (due > 1 and name not in HARMLESS)
    assert names(again.add(records[-1])) == [name]


@pytest.mark.parametrize(
    "change",
    [{}, {"made": None, "real": None}, {"scores": {}}, with_losses(player=(NAN, -INF)), with_score(high=INF)],
)
def test_a_record_survives_strict_json(change):
    record = replace(HEALTHY, **change)
    read = Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))
    assert repr(read) == repr(record)


def test_a_loss_is_found_in_its_name_with_what_it_is_of():
    name = loss_name("domain classifier", 12, "masked_l1", ("fake_b", "real_b"))
    assert name == "domain classifier/12 masked_l1(fake_b, real_b)"
    assert named_in(name) == ("domain classifier", "masked_l1", "fake_b, real_b")


# --- what has a floor -----------------------------------------------------------------------------------------------


#: Tensors of which a player is sure, by the loss that judges them.
SURE = {
    "called_real": [20.0],
    "called_fake": [-20.0],
    "squared_real": [1.0],
    "squared_fake": [0.0],
    "more_real": [20.0, -20.0],
}


def test_losses_with_a_floor_cost_nothing_when_the_player_is_sure():
    assert SURE.keys() == FLOORED
    for name, values in SURE.items():
        loss = getattr(adversarial, name)
        assert loss.__name__ == name
        assert 0 <= loss(*(torch.full((2, 1), value) for value in values)) < 1e-3


@pytest.mark.parametrize("name", ["scored_high", "scored_low"])
def test_wasserstein_losses_have_no_floor(name):
    scores = torch.full((2, 1), 1e4)
    assert min(getattr(adversarial, name)(sign * scores) for sign in (-1, 1)) < -1e3
    assert name not in FLOORED


@pytest.mark.parametrize(("loss", "sure"), [(adversarial.called_real, 7.0), (adversarial.called_fake, -7.0)])
def test_a_loss_is_saturated_at_logits_of_seven(loss, sure):
    assert loss(torch.tensor([sure])) < 1e-3 < loss(torch.tensor([sure * 0.98]))
    assert loss.__name__ in FLOORED


# --- what is measured -----------------------------------------------------------------------------------------------


def test_scores_are_summed_up_over_all_their_values():
    score = torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]], dtype=torch.bfloat16, requires_grad=True)
    found = measure_scores({"score": score, "alone": torch.tensor([[4.0]])})
    assert found["score"] == Spread(3.0, pytest.approx(math.sqrt(3.5)), 1.0, 6.0)
    assert found["alone"] == Spread(4.0, 0.0, 4.0, 4.0)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


SHAPES = [(32, 32), (20, 17), (5, 9), (64, 50), (128, 32), (16, 16, 16), (24, 20, 3), (40, 33, 12)]


@pytest.mark.parametrize("size", SHAPES)
def test_equal_images_have_no_diversity(size):
    assert diversity(noise(1, 2, *size).expand(4, -1, *size)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (16, 16), (16, 16, 16)])
def test_independent_noise_is_as_diverse_as_can_be(size):
    assert 0.9 < diversity(noise(8, 1, *size)) <= 1


@pytest.mark.parametrize(("size", "exponent"), [((9, 9), 1), ((12, 12), 0.2856 / 0.3304), ((32, 32), 0.3001 / 0.6305)])
def test_flat_images_of_two_shades_differ_in_luminance_alone(size, exponent):
    shades = torch.tensor([-0.5, 0.5]).reshape(2, 1, 1, 1).expand(2, 1, *size)
    luminance = (2 * 0.25 * 0.75 + 0.01**2) / (0.25**2 + 0.75**2 + 0.01**2)
    assert diversity(shades) == pytest.approx(1 - luminance**exponent, abs=2e-4)


def test_a_shift_in_brightness_counts_little_and_another_content_much():
    smooth = torch.tensor(ndimage.gaussian_filter(noise(2, 32, 32).numpy(), (0, 2, 2)) * 3).float()[:, None]
    shifted = torch.cat([smooth[:1], smooth[:1] + 0.2])
    assert 0 < diversity(shifted) < 0.05
    assert diversity(smooth) > 0.5


@pytest.mark.parametrize("size", [(11, 9), (5, 30), (11, 7, 10), (20, 9, 4)])
def test_where_one_scale_fits_it_is_the_ssim_of_the_evaluation(size):
    pair = torch.tensor(ndimage.gaussian_filter(noise(2, *size).numpy(), 0.7))
    first, second = (image.numpy().reshape(*size, *[1] * (3 - len(size))) for image in pair)
    expected = metrics.structural_similarity(first, second, np.ones(first.shape, bool), -1.0, 2.0)
    assert diversity(pair[:, None]) == pytest.approx(1 - expected, abs=1e-5)


def halved(voxels):
    for axis, count in enumerate(voxels.shape):
        if count // 2 >= 6:
            even = np.moveaxis(voxels, axis, 0)[: count // 2 * 2]
            voxels = np.moveaxis((even[::2] + even[1::2]) / 2, 0, axis)
    return voxels


def similarity_of_wang_2003(x, y, exponents):
    """Return MS-SSIM with SciPy's filter, of images with a range of one."""

    def filtered(voxels):
        return ndimage.gaussian_filter(voxels, 1.5, mode="reflect", radius=5)

    result = 1.0
    for number, exponent in enumerate(exponents):
        x, y = (halved(x), halved(y)) if number else (x, y)
        mx, my = filtered(x), filtered(y)
        vx, vy, vxy = filtered(x * x) - mx**2, filtered(y * y) - my**2, filtered(x * y) - mx * my
        similarity = (2 * vxy + 0.03**2) / (vx + vy + 0.03**2)
        if number == len(exponents) - 1:
            similarity *= (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
        result *= similarity.mean() ** (exponent / sum(exponents))
    return result


@pytest.mark.parametrize(
    ("size", "scales"), [((15, 13), 2), ((32, 29), 3), ((14, 9, 12), 2), ((32, 24, 7), 3), ((24, 6, 31), 3)]
)
def test_several_scales_are_those_of_wang_2003_in_every_pair(size, scales):
    random = ndimage.gaussian_filter(noise(3, *size).numpy().astype(float), (0, *[1.5] * len(size)))
    images = np.clip(random[0] + 0.5 * random, -1, 1)
    pairs = [(0, 1), (0, 2), (1, 2)]
    exponents = (0.0448, 0.2856, 0.3001)[:scales]
    expected = [similarity_of_wang_2003((images[i] + 1) / 2, (images[j] + 1) / 2, exponents) for i, j in pairs]
    assert diversity(torch.tensor(images)[:, None]) == pytest.approx(1 - np.mean(expected), abs=1e-4)


def test_channels_count_alike():
    some, other = noise(2, 1, 9, 9), noise(3, 1, 9, 9)[1:]
    both = diversity(torch.cat([some, other], dim=1))
    assert both == pytest.approx((diversity(some) + diversity(other)) / 2, abs=1e-5)


@pytest.mark.parametrize(("size", "factors"), [((64, 96), (2, 3)), ((33, 32), (2, 1)), ((40, 20, 64), (2, 1, 2))])
def test_large_images_are_averaged_first(size, factors):
    images = noise(2, 1, *[count // factor for count, factor in zip(size, factors, strict=True)])
    large = images
    for axis, factor in enumerate(factors):
        large = large.repeat_interleave(factor, dim=axis + 2)
    assert diversity(large) == pytest.approx(diversity(images), abs=1e-6)


def test_eight_images_are_compared_at_most():
    images = noise(12, 1, 16, 16)
    assert diversity(images) == diversity(images[:8])


def test_diversity_is_of_full_precision_and_leaves_no_graph_under_autocast():
    images = noise(4, 1, 32, 32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert diversity(images) == diversity(images.detach())
    assert diversity(images.to(torch.bfloat16)) == pytest.approx(diversity(images), abs=0.01)


def test_one_image_cannot_be_compared():
    with pytest.raises(ValueError, match="1 image"):
        diversity(noise(1, 1, 16, 16))


# --- the last eight -------------------------------------------------------------------------------------------------


def filled(images, batch):
    gallery = Gallery()
    for some in images.split(batch):
        gallery.add(some)
    return gallery


@pytest.mark.parametrize("batch", [1, 3, 8, 12])
def test_a_gallery_keeps_the_last_eight(batch):
    images = noise(12, 1, 16, 16)
    assert filled(images, batch).diversity() == diversity(images[4:])


def test_a_gallery_says_nothing_until_it_is_full():
    assert Gallery().diversity() is None
    assert filled(noise(7, 1, 16, 16), 1).diversity() is None


def test_a_gallery_keeps_small_copies():
    images = noise(8, 1, 64, 32).requires_grad_()
    gallery = filled(images, 1)
    before = gallery.diversity()
    with torch.no_grad():
        images.zero_()
    assert gallery.diversity() == before
    assert gallery.images.shape == (8, 1, 32, 32)
    assert not gallery.images.requires_grad


def test_images_of_another_size_begin_a_gallery_anew():
    gallery = filled(noise(8, 1, 16, 16), 8)
    gallery.add(noise(5, 1, 32, 32))
    assert gallery.diversity() is None
    gallery.add(noise(5, 1, 32, 32))
    assert gallery.images.shape == (8, 1, 32, 32)


def test_a_gallery_goes_on_from_what_a_checkpoint_kept(tmp_path):
    images = noise(12, 1, 16, 16)
    torch.save({"images": filled(images[:10], 1).images}, tmp_path / "kept.pt")
    again = Gallery(torch.load(tmp_path / "kept.pt", weights_only=True)["images"])
    again.add(images[10:])
    assert again.diversity() == filled(images, 1).diversity()
