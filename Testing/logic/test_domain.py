"""Windows take a unit to the network's range and back; what is no domain is refused."""

import json
from typing import Any

import numpy as np
import pytest

from MedGANLogic.domain import CT, DOMAINS, MR, PET, Domain, FixedWindow, PercentileWindow, Scale


def body_in_air(air_voxels: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """A body of 20,000 voxels with values around 400, and air with the noise of a magnitude image around 4."""
    random = np.random.default_rng(seed)
    body = np.random.default_rng(99).gamma(16, 25, 20_000)
    return np.concatenate([body, np.abs(random.normal(0, 4, air_voxels))]).astype(np.float32)


@pytest.mark.parametrize("low, high", [(-1024.0, 3071.0), (0.0, 20.0), (37.5, 1219.0)])
def test_values_inside_the_window_return_from_the_network_unchanged(low: float, high: float) -> None:
    values = np.linspace(low, high, 1001)
    scale = Scale(low, high)
    there = scale.to_network(values)
    assert there.dtype == np.float32
    assert there[0] == -1 and there[-1] == 1 and there[500] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(scale.to_unit(there), values, atol=1e-6 * (high - low))


def test_values_beyond_the_window_saturate_going_in() -> None:
    scale = CT.window.scale(np.zeros(1))
    np.testing.assert_array_equal(scale.to_network(np.array([-5000, -1024, 3071, 9000])), [-1, -1, 1, 1])


def test_network_output_beyond_its_range_is_not_clipped_coming_out() -> None:
    np.testing.assert_allclose(Scale(0, 20).to_unit(np.array([-1.5, 1.5])), [-5, 25])


def test_scaling_works_on_int16_without_overflow() -> None:
    values = np.array([-32768, 0, 32767], np.int16)
    np.testing.assert_allclose(Scale(-32768, 32767).to_network(values), [-1, 1 / 65535, 1], atol=1e-6)


def test_fixed_window_is_the_same_for_every_image() -> None:
    assert CT.window.scale(np.array([5.0])) == CT.window.scale(np.array([-900.0, 2000.0])) == Scale(-1024, 3071)


@pytest.mark.parametrize("domain", [*DOMAINS.values(), Domain("MR", "none", PercentileWindow(1, 99, 0.1), 0.0)])
def test_domain_survives_its_way_through_json(domain: Domain) -> None:
    assert Domain.from_json(json.loads(json.dumps(domain.to_json()))) == domain


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "Bq/mL"},
        {"window": {"name": "Histogram", "low": 0, "high": 1}},
        {"window": {"name": "FixedWindow", "low": 0, "high": 1, "body_above": 0, "gamma": 2}},
        {"window": {"name": "FixedWindow", "low": 0, "high": 1}},
        {"window": {"name": "FixedWindow", "low": 1, "high": 1, "body_above": 0}},
        {"window": {"name": "FixedWindow", "low": 3, "high": 1, "body_above": 0}},
        {"window": {"name": "FixedWindow", "low": 0, "high": float("inf"), "body_above": 0}},
        {"window": {"name": "FixedWindow", "low": 0, "high": float("nan"), "body_above": 0}},
        {"window": {"name": "FixedWindow", "low": "air", "high": 1, "body_above": 0}},
        {"window": {"name": "PercentileWindow", "low": -1}},
        {"window": {"name": "PercentileWindow", "high": 101}},
        {"window": {"name": "PercentileWindow", "low": 90, "high": 10}},
        {"window": {"name": "PercentileWindow", "body_fraction": 2}},
        {"window": {}},
        {"window": "FixedWindow"},
        {"background": None},
        {"background": float("nan")},
        {"colour": "red"},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_what_is_no_domain_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Domain.from_json({**CT.to_json(), **change})


@pytest.mark.parametrize("field", ["modality", "unit", "window", "background"])
def test_missing_field_is_refused(field: str) -> None:
    data = CT.to_json()
    del data[field]
    with pytest.raises(ValueError, match="not a domain"):
        Domain.from_json(data)


@pytest.mark.parametrize("data", [None, [], "CT", 3])
def test_data_that_is_no_table_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="not a domain"):
        Domain.from_json(data)


def test_percentile_window_hardly_moves_with_the_air_around_the_body() -> None:
    tight, wide = (MR.window.scale(body_in_air(air)) for air in (2_000, 200_000))
    assert wide.low == pytest.approx(tight.low, abs=0.01 * (tight.high - tight.low))
    assert wide.high == pytest.approx(tight.high, rel=0.01)


def test_percentile_window_ignores_how_many_zeros_are_padded_on() -> None:
    values = body_in_air(2_000)
    assert MR.window.scale(np.concatenate([values, np.zeros(500_000, np.float32)])) == MR.window.scale(values)


def test_percentile_window_follows_the_brightness_of_the_scanner() -> None:
    values = body_in_air(20_000)
    dim, bright = MR.window.scale(values), MR.window.scale(values * 7)
    np.testing.assert_allclose(bright.to_network(values * 7), dim.to_network(values), atol=1e-5)


def test_percentiles_are_taken_over_the_body_alone() -> None:
    values = body_in_air(20_000)
    scale = MR.window.scale(values)
    inside = values[MR.window.body(values)]
    assert inside.size == pytest.approx(20_000, rel=0.01)
    assert (scale.low, scale.high) == pytest.approx(tuple(np.percentile(inside, [0.5, 99.5])))


@pytest.mark.parametrize("values", [np.zeros(8), np.full(8, -3.0), np.zeros(0)], ids=["zeros", "negative", "empty"])
def test_image_without_a_body_gets_a_harmless_scale(values: np.ndarray[Any, Any]) -> None:
    assert not MR.window.body(values).any()
    assert MR.window.scale(values) == Scale(0.0, 1.0)
    assert np.isfinite(MR.window.scale(values).to_network(values)).all()


@pytest.mark.parametrize("value", [1e-3, 1.0, 4e5])
def test_constant_image_gives_finite_numbers(value: float) -> None:
    values = np.full(100, value, np.float32)
    assert np.isfinite(MR.window.scale(values).to_network(values)).all()


def test_body_of_ct_and_pet_is_what_exceeds_a_fixed_value() -> None:
    np.testing.assert_array_equal(CT.window.body(np.array([-1000, -300, -299, 40])), [False, False, True, True])
    np.testing.assert_array_equal(PET.window.body(np.array([0.0, 0.1, 0.2])), [False, False, True])


def test_window_without_width_is_refused_when_made() -> None:
    with pytest.raises(ValueError, match="from low to high"):
        FixedWindow(5.0, 5.0, 0.0)
