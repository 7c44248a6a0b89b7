"""A pool of earlier images: what it gives back, and that a checkpoint holds it."""

from copy import deepcopy

import pytest
import torch

from MedGANLogic.parts.image_pool import ImagePool


def numbered(first, count):
    """Return images that are constant: each its own number."""
    return torch.arange(first, first + count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def numbers(images):
    return [int(image.unique()) for image in images]


def test_a_pool_that_is_not_full_returns_what_it_is_given():
    pool = ImagePool(5)
    assert numbers(pool(numbered(0, 3))) == [0, 1, 2]
    assert numbers(pool(numbered(3, 2))) == [3, 4]
    assert numbers(pool.history) == [0, 1, 2, 3, 4]


def test_a_full_pool_returns_old_images_half_of_the_time_and_keeps_the_new_instead():
    pool = ImagePool(50)
    pool(numbered(0, 50))
    old = 0
    for number in range(50, 450):
        before = numbers(pool.history)
        (returned,) = numbers(pool(numbered(number, 1)))
        after = numbers(pool.history)
        if returned == number:
            assert after == before
        else:
            old += 1
            assert after == [number if held == returned else held for held in before]
    assert 160 < old < 240


def test_every_place_is_exchanged_sooner_or_later():
    pool = ImagePool(4)
    pool(numbered(0, 4))
    pool(numbered(100, 100))
    assert min(numbers(pool.history)) >= 100


def test_what_is_drawn_follows_from_the_images_number_alone():
    one, other = ImagePool(3), ImagePool(3)
    first = [number for begin in range(0, 40, 2) for number in numbers(one(numbered(begin, 2)))]
    torch.rand(5)
    assert [number for begin in range(0, 40, 4) for number in numbers(other(numbered(begin, 4)))] == first


def test_no_gradient_passes_a_pool_and_later_changes_do_not_reach_it():
    images = numbered(0, 2).requires_grad_()
    pool = ImagePool(2)
    assert not pool(images).requires_grad
    with torch.no_grad():
        images += 50
    returned = pool(numbered(7, 1))
    returned += 1000
    assert set(numbers(pool.history)) <= {0, 1, 7}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_a_pool_answers_in_the_type_it_is_asked_in_and_remembers_in_float32(kind):
    pool = ImagePool(1)
    pool(numbered(0, 1).to(kind))
    assert pool(numbered(1, 4).to(kind)).dtype == kind
    assert pool.history.dtype == torch.float32


@pytest.mark.parametrize("used", [0, 2, 9], ids=["unused", "filling", "full"])
def test_a_used_pool_loads_strictly_into_any_other_and_goes_on_alike(used):
    pool, fresh, other = ImagePool(3), ImagePool(3), ImagePool(3)
    other(numbered(0, 1))
    if used:
        pool(numbered(0, used))
    state = deepcopy(pool.state_dict())
    for loaded in (fresh, other):
        loaded.load_state_dict(state, strict=True)
        assert torch.equal(loaded.history, pool.history)
    expected = numbers(deepcopy(pool)(numbered(50, 8)))
    assert numbers(fresh(numbered(50, 8))) == expected


def test_a_pool_inside_a_network_loads_too_and_has_nothing_to_learn():
    holder, fresh = (torch.nn.ModuleDict({"pool": ImagePool(2)}) for _ in range(2))
    holder["pool"](numbered(4, 2))
    fresh.load_state_dict(holder.state_dict())
    assert numbers(fresh["pool"].history) == [4, 5]
    assert list(fresh.parameters()) == []
    with pytest.raises(RuntimeError, match="history"):
        fresh.load_state_dict({})
