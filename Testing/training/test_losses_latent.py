"""Adversarial losses beyond cross entropy, and losses on latent codes, against closed forms and torch's own."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits

from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator, LayerNormCritic
from MedGANLogic.parts.discriminators.progressive import ProgressiveDiscriminator
from MedGANLogic.parts.losses.adversarial import (
    balanced_energy,
    convergence,
    drift,
    energy,
    more_real,
    next_balance,
    scored_high,
    scored_low,
    slopes,
    squared_fake,
    squared_real,
    unit_slope,
)
from MedGANLogic.parts.losses.latent import (
    cross_entropy,
    divergence_from_normal,
    draw,
    feature_distance,
    gaussian_surprise,
    residual,
    residuals,
)


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def moments(random):
    return torch.randn(4, 6, generator=random, requires_grad=True)


def as_normal(moments):
    mean, log_variance = moments.chunk(2, dim=1)
    return Normal(mean, log_variance.exp().sqrt())


def test_least_squares_at_two_and_minus_one():
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    assert squared_real(real).item() + squared_fake(fake).item() == 1
    assert squared_real(fake).item() == 2


def test_least_squares_punish_a_logit_that_is_too_real():
    assert squared_real(torch.tensor([3.0])) > squared_real(torch.tensor([1.0]))


def test_wasserstein_scores_are_means_of_opposite_sign(random):
    scores = torch.randn(8, 1, generator=random)
    assert scored_low(scores).item() == pytest.approx(scores.mean().item())
    assert scored_high(scores).item() == pytest.approx(-scores.mean().item())
    assert drift(scores).item() == pytest.approx(scores.square().mean().item())


def test_the_relativistic_loss_is_cross_entropy_of_differences_from_the_others_mean(random):
    real, fake = torch.randn(5, 1, generator=random) + 1, torch.randn(5, 1, generator=random)
    above, below = real - fake.mean(), fake - real.mean()
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    discriminator = binary_cross_entropy_with_logits(above, ones) + binary_cross_entropy_with_logits(below, zeros)
    generator = binary_cross_entropy_with_logits(above, zeros) + binary_cross_entropy_with_logits(below, ones)
    assert torch.allclose(more_real(real, fake), discriminator)
    assert torch.allclose(more_real(fake, real), generator)
    assert torch.allclose(more_real(real + 5, fake + 5), discriminator, atol=1e-6)


class Linear(nn.Module):
    """A critic whose slope is its weight, everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image):
        return (image * self.weight).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("steepness", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4)])
def test_the_penalty_of_a_linear_critic_is_its_steepness_less_one_squared(random, steepness, size):
    weight = torch.randn(2, *size, generator=random)
    critic = Linear(steepness * weight / weight.norm())
    real, fake = torch.randn(2, 3, 2, *size, generator=random)
    penalty = unit_slope(slopes(critic, real, fake, torch.rand(3, generator=random)))
    assert penalty.item() == pytest.approx((steepness - 1) ** 2, abs=1e-6)


def test_the_penalty_averages_over_images_not_over_their_joint_norm():
    gradients = torch.zeros(2, 1, 2, 2)
    gradients[0, 0, 0, 0], gradients[1, 0, 1, 1] = 3, 1
    assert unit_slope(gradients).item() == 2


def test_a_flat_critic_costs_one_and_has_a_finite_gradient():
    gradients = torch.zeros(2, 1, 4, 4, requires_grad=True)
    penalty = unit_slope(gradients)
    penalty.backward()
    assert penalty.item() == 1
    assert gradients.grad.isfinite().all()


class Square(nn.Module):
    """A critic whose slope is the image itself."""

    def forward(self, image):
        return image.square().flatten(1).sum(1) / 2


def test_slopes_are_taken_between_real_and_fake_one_number_an_image(random):
    real, fake = torch.randn(2, 3, 1, 4, 4, generator=random)
    mixing = torch.tensor([0.0, 0.3, 1.0])
    found = slopes(Square(), real, fake, mixing)
    share = mixing[:, None, None, None]
    assert torch.allclose(found, share * real + (1 - share) * fake, atol=1e-6)
    assert torch.allclose(found[0], fake[0])


@pytest.mark.parametrize("autocast", [False, True])
def test_the_penalty_moves_the_critic_and_nothing_else(random, autocast):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = LayerNormCritic(2, 1, 4, 16, 1)
    real, fake = torch.randn(2, 3, 1, 16, 16, generator=random)
    fake.requires_grad_()
    mixing = torch.rand(3, generator=random)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = slopes(critic, real, fake, mixing)
        unit_slope(found).backward()
    assert found.dtype == torch.float32
    between = mixing[:, None, None, None] * (real - fake) + fake
    (by_hand,) = torch.autograd.grad(critic(between).sum(), between)
    assert torch.allclose(found, by_hand, rtol=1e-4, atol=1e-7)
    assert fake.grad is None
    assert all(module.weight.grad.any() for module in critic.modules() if isinstance(module, nn.Conv2d))


def test_slopes_pass_a_fade_on(random):
    critic = ProgressiveDiscriminator(2, 1, 4, 16)
    real, fake = torch.randn(2, 3, 1, 16, 16, generator=random)
    mixing = torch.rand(3, generator=random)
    assert not torch.allclose(slopes(critic, real, fake, mixing, 0.5), slopes(critic, real, fake, mixing))
    unit_slope(slopes(critic, real, fake, mixing, 0.5)).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in critic.parameters())


@pytest.mark.parametrize("critic", [DCGANDiscriminator(2, 1, 4, 16, 1), nn.BatchNorm1d(3), nn.SyncBatchNorm(3)])
def test_slopes_refuse_a_batch_norm(critic):
    image = torch.zeros(2, 1, 16, 16)
    with pytest.raises(ValueError, match="batch norm"):
        slopes(critic, image, image, torch.zeros(2))


def test_the_energy_of_an_offset_is_the_offset_and_the_balance_weighs_it():
    image = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert energy(image, image + 0.25).item() == pytest.approx(0.25)
    assert balanced_energy(image, image + 0.25, torch.tensor(0.5)).item() == pytest.approx(0.125)


def test_the_balance_follows_its_law_on_a_script():
    balance, found = torch.tensor(0.0), []
    for real, fake in [(1.0, 0.1), (1.0, 0.1), (0.2, 0.9), (0.2, 0.9), (8.0, 0.0)]:
        balance = next_balance(balance, torch.tensor(real), torch.tensor(fake), diversity=0.5, rate=0.5)
        found.append(balance.item())
    assert found == pytest.approx([0.2, 0.4, 0.0, 0.0, 1.0], abs=1e-6)
    assert convergence(torch.tensor(2.0), torch.tensor(1.5), diversity=0.5).item() == 2.5


def test_the_balance_holds_no_graph():
    real = torch.tensor(1.0, requires_grad=True)
    assert not next_balance(torch.tensor(0.1), real, real, 0.5, 0.001).requires_grad
    assert not convergence(real, real, 0.5).requires_grad


def test_the_divergence_is_that_of_two_normals(moments):
    expected = kl_divergence(as_normal(moments), Normal(0.0, 1.0)).sum(1).mean()
    assert torch.allclose(divergence_from_normal(moments), expected, atol=1e-6)
    assert divergence_from_normal(torch.zeros(2, 6)).item() == 0


def test_a_draw_is_mean_plus_deviation_times_noise(moments, random):
    noise = torch.randn(4, 3, generator=random)
    code = draw(moments, noise)
    normal = as_normal(moments)
    assert torch.allclose(code, normal.mean + normal.stddev * noise, atol=1e-6)
    code.sum().backward()
    assert torch.allclose(moments.grad, torch.cat([torch.ones(4, 3), normal.stddev * noise / 2], dim=1), atol=1e-6)


def test_gaussian_surprise_is_the_negative_log_density(moments, random):
    code = torch.randn(4, 3, generator=random)
    expected = -as_normal(moments).log_prob(code).sum(1).mean()
    assert torch.allclose(gaussian_surprise(code, moments), expected, atol=1e-5)


def test_cross_entropy_of_even_logits_is_the_log_of_the_classes():
    one_hot = torch.eye(5)[[0, 3]]
    assert cross_entropy(torch.zeros(2, 5), one_hot).item() == pytest.approx(math.log(5))
    assert cross_entropy(100 * one_hot, one_hot).item() == 0
    assert cross_entropy(-100 * one_hot, one_hot).item() > 100


def test_the_feature_distance_is_a_mean_and_the_residual_a_sum():
    image = torch.zeros(2, 3, 4, 4)
    other = torch.full_like(image, 0.5)
    other[1] = -1.0
    assert feature_distance(image, other).item() == pytest.approx((0.25 + 1) / 2)
    assert residuals(image, other).tolist() == [24, 48]
    assert residual(image, other).item() == 72


def test_each_code_of_a_batch_gets_the_gradient_that_it_would_get_alone(random):
    image, other = torch.randn(2, 3, 1, 4, 4, generator=random)
    other.requires_grad_()
    together = torch.autograd.grad(residual(image, other), other)[0]
    alone = torch.autograd.grad(residual(image[1:2], other[1:2]), other)[0]
    assert torch.equal(together[1], alone[1])


@pytest.mark.parametrize("loss", [squared_real, squared_fake, scored_low, scored_high, drift, divergence_from_normal])
def test_losses_leave_half_precision(loss):
    assert loss(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.float32
