"""Losses on images and maps against closed forms and independent references."""

import math

import pytest
import torch
from torch.nn.functional import one_hot

from MedGANLogic.parts.losses.feature import feature_square, multi_scale_l1
from MedGANLogic.parts.losses.gradient import gradient_difference
from MedGANLogic.parts.losses.segmentation import soft_dice, voxel_cross_entropy
from MedGANLogic.parts.losses.voxelwise import (
    half_squared_sum,
    l1,
    l2,
    masked_l2,
    region_weighted_l1,
    suv_weighted_l2,
)

BLOCK = (16, 16, 16)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_plain_losses_are_means_over_everything():
    target = noise(2, 3, 4, 5)
    assert l1(target - 0.3, target).item() == pytest.approx(0.3, rel=1e-5)
    assert l2(target - 0.3, target).item() == pytest.approx(0.09, rel=1e-5)


def test_masked_l2_is_the_weighted_mean_over_voxels_and_channels():
    prediction = torch.tensor([1.0, 5.0, 100.0]).expand(1, 2, 3)
    weight = torch.tensor([[[3.0, 1.0, 0.0]]])
    assert masked_l2(prediction, torch.zeros(1, 2, 3), weight).item() == pytest.approx((3 * 1 + 1 * 25) / 4)
    assert masked_l2(prediction, torch.zeros(1, 2, 3), torch.zeros(1, 1, 3)).item() == 0


# context-aware GAN


def test_a_constant_error_costs_l2_and_no_gradient_difference():
    target = noise(1, 1, *BLOCK)
    assert half_squared_sum(target + 0.1, target).item() == pytest.approx(20.48, rel=1e-4)
    assert gradient_difference(target + 0.1, target).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [half_squared_sum, gradient_difference])
def test_sums_over_an_image_are_means_over_samples(loss):
    prediction, target = noise(1, 1, *BLOCK), noise(1, 1, *BLOCK, seed=1)
    one, two = (prediction, target), (prediction.repeat(2, 1, 1, 1, 1), target.repeat(2, 1, 1, 1, 1))
    assert loss(*two).item() == pytest.approx(loss(*one).item(), rel=1e-5)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_a_unit_ramp_against_nothing_costs_its_steps_on_every_axis(axis):
    ramp = torch.arange(16.0).reshape([16 if place == axis else 1 for place in range(5)]).expand(1, 1, *BLOCK)
    assert gradient_difference(ramp, torch.zeros_like(ramp)).item() == pytest.approx(15 * 16 * 16)


def test_the_gradient_difference_is_blind_to_an_inverted_image():
    target = noise(1, 1, *BLOCK)
    assert gradient_difference(0.7 - target, target).item() == pytest.approx(0, abs=1e-8)
    assert half_squared_sum(0.7 - target, target).item() > 1


def test_the_gradient_difference_works_in_2d():
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 1, 2, 2)
    assert gradient_difference(checks, torch.zeros(1, 1, 2, 2)).item() == 4


# CT to PET, MR to PET


def test_the_same_error_costs_more_where_the_uptake_is_high():
    target, weight = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    suv = torch.tensor([[[0.0, 9.0]]])
    cold, hot = (suv_weighted_l2(error, target, suv, weight).item() for error in torch.eye(2).reshape(2, 1, 1, 2))
    assert (cold, hot) == (pytest.approx(1 / 2), pytest.approx(10 / 2))


def test_suv_below_nothing_counts_as_none_and_voxels_without_weight_not_at_all():
    target = torch.zeros(1, 1, 3)
    prediction = torch.tensor([[[1.0, 2.0, 100.0]]])
    loss = suv_weighted_l2(prediction, target, torch.tensor([[[-5.0, 1.0, 1.0]]]), torch.tensor([[[1.0, 1.0, 0.0]]]))
    assert loss.item() == pytest.approx((1 * 1 + 2 * 4) / 2)


def test_doubling_a_regions_weight_doubles_exactly_its_part():
    prediction, target = noise(2, 1, 4, 5), noise(2, 1, 4, 5, seed=1)
    regions = one_hot(torch.arange(20).reshape(1, 4, 5).expand(2, 4, 5) % 3, 3).movedim(-1, 1)
    parts = [region_weighted_l1(prediction, target, regions, weights).item() for weights in torch.eye(3).tolist()]
    assert min(parts) > 0
    assert region_weighted_l1(prediction, target, regions, (1, 1, 1)).item() == pytest.approx(sum(parts), rel=1e-5)
    assert sum(parts) == pytest.approx(l1(prediction, target).item(), rel=1e-5)
    doubled = region_weighted_l1(prediction, target, regions, (1, 1, 2)).item()
    assert doubled - sum(parts) == pytest.approx(parts[2], rel=1e-4)


# segmentation


def test_cross_entropy_takes_labels_and_one_hot_alike_and_weighs_voxels():
    logits, labels = noise(2, 3, 4, 5), noise(2, 4, 5).gt(0).long()
    weight = torch.zeros(2, 1, 4, 5)
    weight[0, 0, 1, 2], weight[0, 0, 3, 4], weight[1, 0, 3, 4] = 3.0, 1.0, 0.5
    odds = logits.softmax(1)
    chosen = [odds[n, labels[n, row, column], row, column] for n, row, column in ((0, 1, 2), (0, 3, 4), (1, 3, 4))]
    # Of a sample its voxels are weighed; the samples count alike.
    by_hand = -((3 * math.log(chosen[0]) + math.log(chosen[1])) / 4 + math.log(chosen[2])) / 2
    shares = one_hot(labels, 3).movedim(-1, 1).float()
    assert voxel_cross_entropy(logits, labels, weight).item() == pytest.approx(by_hand, rel=1e-5)
    assert voxel_cross_entropy(logits, shares, weight).item() == pytest.approx(by_hand, rel=1e-5)
    assert voxel_cross_entropy(logits, labels, 0 * weight).item() == 0


# features


def test_features_are_compared_at_srgans_scale():
    features = noise(2, 4, 3, 3)
    assert feature_square(features + 1, features).item() == pytest.approx(1 / 12.75**2, rel=1e-4)
    assert round(1 / 12.75**2, 3) == 0.006


def test_the_multi_scale_l1_is_as_much_for_one_as_against_the_other():
    one, other = noise(2, 50), noise(2, 50, seed=1)
    assert multi_scale_l1(one, other).item() == pytest.approx((one - other).abs().mean().item())


@pytest.mark.parametrize("loss", [l1, l2, half_squared_sum, gradient_difference, feature_square])
def test_sums_are_taken_in_float32(loss):
    prediction, target = noise(1, 1, 64, 64).bfloat16(), noise(1, 1, 64, 64, seed=1).bfloat16()
    found = loss(prediction, target)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(prediction.float(), target.float()).item())


# soft Dice


def thought(seed, *size, classes=3):
    return noise(2, classes, *size, seed=seed).softmax(1)


def labelled(seed, *size, classes=3):
    drawn = torch.randint(classes, (2, *size), generator=torch.Generator().manual_seed(seed))
    return one_hot(drawn, classes).movedim(-1, 1).float()


def test_soft_dice_is_that_of_monai_with_squared_denominators_and_without_background():
    losses = pytest.importorskip("monai.losses")
    independent = losses.DiceLoss(include_background=False, squared_pred=True, smooth_nr=1, smooth_dr=1)
    made, true = thought(0, 7, 6, 5), labelled(1, 7, 6, 5)
    ours = soft_dice(made, true, torch.ones(2, 1, 7, 6, 5))
    assert ours.item() == pytest.approx(independent(made, true).item(), rel=1e-5)


def test_soft_dice_costs_nothing_at_the_truth_even_of_a_label_that_is_nowhere():
    true = labelled(0, 6, 6)
    absent = torch.cat([true, torch.zeros(2, 1, 6, 6)], 1)
    for target in (true, absent):
        assert soft_dice(target, target, torch.ones(2, 1, 6, 6)).item() == pytest.approx(0, abs=1e-6)
    somewhere = absent.clone()
    somewhere[:, 3, 0, 0] = 1
    assert soft_dice(somewhere, absent, torch.ones(2, 1, 6, 6)).item() == pytest.approx((1 - 1 / 2) / 3)


def test_soft_dice_is_blind_to_the_background_and_to_what_does_not_count():
    made, true, weight = thought(0, 6, 6), labelled(1, 6, 6), torch.ones(2, 1, 6, 6)
    weight[..., :2] = 0
    other = made.clone()
    other[:, 0] += 0.3
    other[..., :2] = 1
    changed = made.clone()
    changed[..., 3] = 1
    assert soft_dice(other, true, weight) == soft_dice(made, true, weight) != soft_dice(changed, true, weight)


def test_samples_share_no_denominator_in_soft_dice():
    made, true, weight = thought(0, 6, 6), labelled(1, 6, 6), noise(2, 1, 6, 6).abs()
    apart = [soft_dice(*(one[n : n + 1] for one in (made, true, weight))).item() for n in range(2)]
    assert soft_dice(made, true, weight).item() == pytest.approx(sum(apart) / 2, rel=1e-5)
