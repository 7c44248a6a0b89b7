"""Losses against closed forms."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from MedGANLogic.parts.losses.adversarial import called_fake, called_real
from MedGANLogic.parts.losses.voxelwise import masked_l1, masked_root_l2


@pytest.mark.parametrize("loss", [called_real, called_fake])
def test_an_undecided_logit_costs_log_two(loss):
    assert loss(torch.zeros(2, 1, 5, 5)).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("logit", [-3.0, -0.2, 0.7, 4.0])
def test_adversarial_losses_are_cross_entropies_of_the_sigmoid(logit):
    probability = 1 / (1 + math.exp(-logit))
    assert called_real(torch.tensor([logit])).item() == pytest.approx(-math.log(probability), rel=1e-5)
    assert called_fake(torch.tensor([logit])).item() == pytest.approx(-math.log(1 - probability), rel=1e-5)


def test_adversarial_losses_average_over_patches():
    logits = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    likelihood = torch.sigmoid(logits)
    assert torch.allclose(called_real(logits), binary_cross_entropy(likelihood, torch.ones_like(logits)))
    assert torch.allclose(called_fake(logits), binary_cross_entropy(likelihood, torch.zeros_like(logits)))


@pytest.mark.parametrize(("loss", "sign"), [(called_real, -1), (called_fake, 1)])
def test_certain_logits_neither_overflow_nor_vanish(loss, sign):
    assert loss(torch.tensor([1000.0 * sign])).item() == pytest.approx(1000)
    assert loss(torch.tensor([-1000.0 * sign])).item() == 0


def test_non_saturating_gradient_beats_the_minimax_one_on_poor_fakes():
    logit = torch.tensor([math.log(0.01 / 0.99)], requires_grad=True)
    (ours,) = torch.autograd.grad(called_real(logit), logit)
    (minimax,) = torch.autograd.grad(torch.log(1 - torch.sigmoid(logit)).mean(), logit)
    assert ours.item() == pytest.approx(-0.99, rel=1e-4)
    assert minimax.item() == pytest.approx(-0.01, rel=1e-4)


def test_l1_of_a_constant_offset_is_the_offset():
    target = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert masked_l1(target - 0.25, target, torch.ones(2, 1, 4, 5)).item() == pytest.approx(0.25, rel=1e-5)


def test_l1_is_the_weighted_mean_over_voxels_and_channels():
    prediction = torch.tensor([1.0, 5.0, 100.0]).expand(1, 2, 3)
    weight = torch.tensor([[[3.0, 1.0, 0.0]]])
    assert masked_l1(prediction, torch.zeros(1, 2, 3), weight).item() == pytest.approx((3 * 1 + 1 * 5) / 4)


def test_l1_sends_no_gradient_to_voxels_without_weight():
    prediction = torch.ones(1, 1, 4, requires_grad=True)
    masked_l1(prediction, torch.zeros(1, 1, 4), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])).backward()
    assert prediction.grad.flatten().tolist() == [0.5, 0.5, 0, 0]


def test_every_sample_counts_alike_whatever_of_it_counts():
    prediction, weight = torch.ones(2, 1, 4), torch.tensor([[[1.0, 1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0, 0.0]]])
    prediction[1] = 3
    # So that the mean over two processes, a sample each, is the loss of both.
    assert masked_l1(prediction, torch.zeros(2, 1, 4), weight).item() == pytest.approx(2)


def test_l1_without_any_weight_costs_nothing():
    prediction = torch.ones(1, 1, 4, requires_grad=True)
    loss = masked_l1(prediction, torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))
    loss.backward()
    assert loss.item() == 0
    assert not prediction.grad.any()


def test_root_l2_hears_a_sample_of_little_noise_as_well_as_one_of_much():
    noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    made = torch.cat([noise, 0.01 * noise]).requires_grad_()
    masked_root_l2(made, torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)).backward()
    little, much = made.grad[1].norm(), made.grad[0].norm()
    assert little == pytest.approx(much.item(), rel=1e-3)
    equal = torch.zeros(1, 1, 2, 2, requires_grad=True)
    masked_root_l2(equal, torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).backward()
    assert torch.isfinite(equal.grad).all()
