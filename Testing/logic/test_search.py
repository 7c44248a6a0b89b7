"""The search for the image that a generator makes most like another: what it lowers, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from MedGANLogic.inference import predict as prediction
from MedGANLogic.inference.plan import search_footprint
from MedGANLogic.inference.predict import predict
from MedGANLogic.inference.search import search
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.passes import Search

LATENT, SIZE = 6, 16
ONE = Search(
    "generator",
    ("mr",),
    ("nearest", "score"),
    dimensions=2,
    neighbours=0,
    multiple=SIZE,
    largest=SIZE,
    judge="discriminator",
    latent=LATENT,
    steps=12,
    rate=0.05,
    balance=0.1,
)
CPU = torch.device("cpu")


@pytest.fixture
def networks():
    """A generator whose images differ, and a judge, both with norms that are neither new nor in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {
            "generator": DCGANGenerator(2, LATENT, 1, 4, SIZE),
            "discriminator": DCGANDiscriminator(2, 1, 4, SIZE, 1),
        }
        for network in made.values():
            for weight in network.parameters():
                nn.init.normal_(weight, std=0.3)
        for _ in range(3):
            made["discriminator"](made["generator"](torch.randn(8, LATENT)))
    return {name: network.eval() for name, network in made.items()}


@pytest.fixture
def windows():
    return torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def scores(answer):
    """Return each window's score, from 0 on."""
    assert torch.equal(answer[:, 1].flatten(1).amin(1), answer[:, 1].flatten(1).amax(1))
    return answer[:, 1, 0, 0] + 1


@pytest.mark.parametrize("rate", [0.05, 2.0], ids=["downhill", "to and fro"])
def test_it_takes_the_steps_of_a_loop_written_by_hand(networks, windows, rate):
    generator, judge = networks["generator"], networks["discriminator"]
    answer = search(replace(ONE, rate=rate), generator, judge, windows)
    last_is_lowest = []
    for window, nearest, score in zip(windows, answer[:, :1], scores(answer), strict=True):
        image = window[None]
        z = torch.randn(1, LATENT, generator=torch.Generator().manual_seed(0)).requires_grad_()
        adam = Adam([z], lr=rate)
        seen = []
        for _ in range(13):
            made = generator(z)
            residual = (image - made).abs().sum()
            discrimination = (judge.body(image) - judge.body(made)).abs().sum()
            loss = 0.9 * residual + 0.1 * discrimination
            seen.append((loss.item() / SIZE**2, made.detach()))
            adam.zero_grad()
            loss.backward()
            adam.step()
        lowest, best = min(seen, key=lambda one: one[0])
        assert score.item() == pytest.approx(lowest, rel=1e-4)
        assert torch.allclose(nearest, best[0], atol=1e-3)
        last_is_lowest.append(lowest == seen[-1][0])
    assert all(last_is_lowest) == (rate < 1)


def test_it_leaves_weights_and_statistics_bit_equal_and_gives_nobody_a_gradient(networks, windows):
    before = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in networks.items()}
    search(ONE, networks["generator"], networks["discriminator"], windows)
    for name, network in networks.items():
        assert all(torch.equal(value, before[name][key]) for key, value in network.state_dict().items())
        assert all(weight.grad is None for weight in network.parameters())


def test_an_image_that_the_generator_makes_scores_zero_from_its_own_code(networks):
    code = torch.randn(3, LATENT, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        image = networks["generator"](code)
    answer = search(ONE, networks["generator"], networks["discriminator"], image, code)
    assert torch.equal(scores(answer), torch.zeros(3))
    assert torch.equal(answer[:, :1], image)


def test_two_hundred_steps_lower_the_score_from_a_random_start(networks):
    with torch.no_grad():
        image = networks["generator"](torch.randn(2, LATENT, generator=torch.Generator().manual_seed(2)))
    begun, done = (
        scores(search(replace(ONE, steps=steps), networks["generator"], networks["discriminator"], image))
        for steps in (0, 200)
    )
    assert (done < 0.5 * begun).all()


@pytest.mark.parametrize(("balance", "matters"), [(0.0, False), (0.1, True)])
def test_without_balance_the_judge_has_no_say(networks, windows, balance, matters):
    one = replace(ONE, balance=balance)
    first = search(one, networks["generator"], networks["discriminator"], windows)
    with torch.no_grad():
        for weight in networks["discriminator"].parameters():
            weight.mul_(-3)
    second = search(one, networks["generator"], networks["discriminator"], windows)
    assert torch.equal(first, second) != matters


def test_a_windows_answer_does_not_depend_on_its_neighbours(networks, windows):
    together = search(ONE, networks["generator"], networks["discriminator"], windows)
    alone = [search(ONE, networks["generator"], networks["discriminator"], window[None]) for window in windows]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)


def test_a_volume_is_searched_patch_by_patch_and_the_same_patch_once(networks, monkeypatch):
    searched = []

    def counted(one, generator, judge, windows):
        searched.append(len(windows))
        return search(one, generator, judge, windows)

    monkeypatch.setattr(prediction, "search", counted)
    volume = np.full((2, 24, 40), -1, np.float32)
    volume[0, 3:20, 4:30] = np.random.default_rng(0).uniform(-1, 1, (17, 26))
    done = predict([ONE], networks, {"mr": volume}, CPU)
    assert done.volumes.keys() == {"nearest", "score"}
    assert done.volumes["nearest"].shape == done.volumes["score"].shape == volume.shape
    # Two slices of six patches: four of the first differ, all others show nothing.
    assert sum(searched) == 5
    patch = torch.from_numpy(volume[0, :16, :16])[None, None]
    alone = search(ONE, networks["generator"], networks["discriminator"], patch)
    assert np.allclose(done.volumes["nearest"][0, :16, :16], alone[0, 0], atol=1e-3)
    assert np.allclose(done.volumes["score"][0, :16, :16], alone[0, 1], atol=1e-3)
    assert "generator: 12 windows of 1×16×16" in done.account[0]


def test_its_memory_is_that_of_both_networks(networks):
    def held(*widths):
        with torch.device("meta"):
            generator = DCGANGenerator(2, LATENT, 1, widths[0], SIZE)
            judge = DCGANDiscriminator(2, 1, widths[1], SIZE, 1)
        return search_footprint(generator, judge, ONE)

    assert held(8, 4) > held(4, 4)
    assert held(4, 8) > held(4, 4)
    # Of the discriminator's first layer alone: width·¼ voxels, and two numbers of each in float32.
    assert held(4, 4) > 4 * 4 / 4 * 2
