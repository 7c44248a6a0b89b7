"""Inserts lie where they are said to lie, as large, as dense and as sharp as they are said to be."""

import itertools
import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import SMALL, oblique, refuses_negative_seeds

from MedGANLogic.images import Grid
from MedGANLogic.phantom import Bars, Disc, Inserts, centred_grid, head, inserts, with_rods
from MedGANLogic.phantom.imaging import BODY_NOISE_HU, CT_BLUR_SD_MM, points_of
from MedGANLogic.phantom.inserts import CLEAR_MM, CONTRASTS_HU, DIAMETERS_MM

PIXEL_MM = 0.5
GRID = centred_grid((416, 416, 4), (PIXEL_MM, PIXEL_MM, 5.0))
BELOW, ABOVE = np.s_[:, :, 0], np.s_[:, :, -1]


@pytest.fixture(scope="module")
def quiet() -> Inserts:
    return inserts(0, noise_hu=0.0, grid=GRID)


@pytest.fixture(scope="module")
def loud() -> Inserts:
    return inserts(0, grid=GRID)


def distance_from(disc: Disc) -> NDArray[np.float64]:
    right, ahead, _ = points_of(Grid((416, 416, 1), GRID.affine)).reshape(3, 416, 416)
    distance: NDArray[np.float64] = np.hypot(right - disc.centre_mm[0], ahead - disc.centre_mm[1])
    return distance


def test_every_contrast_comes_in_every_diameter(quiet: Inserts) -> None:
    offered = {(rod.contrast_hu, 2 * rod.radius_mm) for rod in quiet.rods}
    assert offered == set(itertools.product(CONTRASTS_HU, DIAMETERS_MM))
    assert len(quiet.rods) == len(offered)


def test_rods_add_their_contrast_over_their_area_at_their_place(quiet: Inserts) -> None:
    slice_hu = quiet.ct.voxels[0][ABOVE]
    right, ahead, _ = points_of(Grid((416, 416, 1), GRID.affine)).reshape(3, 416, 416)
    for rod in quiet.rods:
        near = distance_from(rod) < rod.radius_mm + CLEAR_MM
        mass = slice_hu[near].sum(dtype=np.float64) * PIXEL_MM**2
        assert mass == pytest.approx(rod.contrast_hu * math.pi * rod.radius_mm**2, rel=0.03)
        middle = [(slice_hu * axis)[near].sum() / slice_hu[near].sum() for axis in (right, ahead)]
        assert middle == pytest.approx(rod.centre_mm, abs=0.05)
        if rod.radius_mm > 2 * CLEAR_MM:
            assert slice_hu[distance_from(rod) < rod.radius_mm - CLEAR_MM] == pytest.approx(rod.contrast_hu, abs=0.1)


def test_below_the_rods_the_same_places_are_blank(quiet: Inserts) -> None:
    assert GRID.spacing_mm[2] / 2 > CLEAR_MM
    for rod in quiet.rods:
        assert np.abs(quiet.ct.voxels[0][BELOW][distance_from(rod) < rod.radius_mm + CLEAR_MM]).max() < 1e-3


def test_inserts_keep_clear_of_each_other_and_of_the_rim(quiet: Inserts) -> None:
    everything = (quiet.uniform, quiet.edge, *quiet.bars, *quiet.rods)
    for one, other in itertools.combinations(everything, 2):
        assert math.dist(one.centre_mm, other.centre_mm) > one.reach_mm + other.reach_mm + CLEAR_MM / 2
    for one in everything:
        assert math.hypot(*one.centre_mm) + one.reach_mm + CLEAR_MM < quiet.body.radius_mm


def test_an_observer_finds_water_around_a_rod_half_as_far_as_it_is_wide(quiet: Inserts) -> None:
    for one, other in itertools.combinations(quiet.rods, 2):
        between = math.dist(one.centre_mm, other.centre_mm) - one.radius_mm - other.radius_mm
        assert between > 0.98 * (one.radius_mm + other.radius_mm)
        assert between > 2 * CLEAR_MM


def test_edge_of_the_disc_is_the_integral_of_the_point_spread(quiet: Inserts) -> None:
    distance, slice_hu = distance_from(quiet.edge), quiet.ct.voxels[0][ABOVE]
    places = np.arange(quiet.edge.radius_mm - 3, quiet.edge.radius_mm + 3, 0.1)
    profile = [slice_hu[np.abs(distance - place) < 0.1].mean() / quiet.edge.contrast_hu for place in places]
    # Voxels of half a millimetre blur a little more than the scanner does.
    sd_mm = math.hypot(CT_BLUR_SD_MM, PIXEL_MM / math.sqrt(12))
    # There is more water around a disc than disc: half is lost a little within its radius.
    half_mm = quiet.edge.radius_mm - sd_mm**2 / (2 * quiet.edge.radius_mm)
    expected = [0.5 * math.erfc((place - half_mm) / (sd_mm * math.sqrt(2))) for place in places]
    assert profile == pytest.approx(expected, abs=0.02)


def test_bars_lose_what_the_point_spread_takes_of_their_frequency(quiet: Inserts) -> None:
    slice_hu = quiet.ct.voxels[0][ABOVE]
    right, ahead, _ = points_of(Grid((416, 416, 1), GRID.affine)).reshape(3, 416, 416)
    for group in quiet.bars:
        wave = np.exp(-2j * np.pi * group.frequency_per_mm * (right - group.centre_mm[0]))
        across = np.abs(right - group.centre_mm[0]) < group.width_mm / 2 + 4
        along = np.abs(ahead - group.centre_mm[1]) < group.length_mm / 2 - 3
        rows = along.any(axis=0).sum()
        seen = np.abs((slice_hu * wave)[across & along].sum()) * PIXEL_MM / rows
        # Four bars, half a period wide each: a square wave's first harmonic.
        full = group.contrast_hu * 4 / (np.pi * group.frequency_per_mm)
        frequency = np.pi * group.frequency_per_mm
        lost = np.exp(-2 * (frequency * CT_BLUR_SD_MM) ** 2) * np.sinc(group.frequency_per_mm * PIXEL_MM)
        assert seen / full == pytest.approx(lost, abs=0.02)


def test_noise_is_as_stated_and_the_same_everywhere(quiet: Inserts, loud: Inserts) -> None:
    noise = loud.ct.voxels[0] - quiet.ct.voxels[0]
    for place in (loud.uniform, loud.edge, loud.rods[0]):
        inside = noise[distance_from(place) < place.radius_mm]
        assert inside.mean() == pytest.approx(0, abs=3)
        assert inside.std() == pytest.approx(BODY_NOISE_HU, rel=0.15)
    uniform = noise[distance_from(loud.uniform) < loud.uniform.radius_mm]
    assert uniform.std() == pytest.approx(BODY_NOISE_HU, rel=0.04)
    assert np.abs(np.corrcoef(uniform.T)[np.triu_indices(4, 1)]).max() < 0.1  # slices are realisations


def test_a_seed_draws_noise_alone() -> None:
    one, same, other = (inserts(seed, grid=SMALL).ct.voxels for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()
    silent = [inserts(seed, 0.0, SMALL).ct.voxels for seed in (1, 2)]
    assert np.array_equal(*silent)


def test_another_grid_shows_the_same_inserts(quiet: Inserts) -> None:
    grid = oblique((0.9, 0.7, 0.8), (60, 60, 8), [*quiet.rods[0].centre_mm, 11.0])
    tilted = inserts(0, 0.0, grid).ct.voxels[0]
    points = points_of(grid)
    inside = np.hypot(*(points[:2] - np.array(quiet.rods[0].centre_mm)[:, None])) < quiet.rods[0].radius_mm - CLEAR_MM
    inside &= points[2] > CLEAR_MM
    assert inside.sum() > 1000
    assert tilted.ravel()[inside] == pytest.approx(quiet.rods[0].contrast_hu, abs=0.5)


def test_negative_seed_and_noise_are_refused() -> None:
    with refuses_negative_seeds:
        inserts(-1, grid=SMALL)
    with pytest.raises(ValueError, match="noise is -1"):
        inserts(0, -1.0, SMALL)


def test_places_are_told_as_plain_data(quiet: Inserts) -> None:
    told = json.loads(json.dumps(quiet.to_json(), allow_nan=False))
    assert [Disc(tuple(rod.pop("centre_mm")), **rod) for rod in told["rods"]] == list(quiet.rods)
    assert [Bars(tuple(group.pop("centre_mm")), **group) for group in told["bars"]] == list(quiet.bars)
    assert "from_mm" not in told["edge"]


def test_rods_can_be_put_into_a_brain() -> None:
    grid = Grid((48, 48, 4), centred_grid((48, 48, 4), (1.0, 1.0, 4.0)).affine)
    plain = head(2, grid).ct
    rods = (Disc((-8.0, 5.0), 5.0, 10.0), Disc((8.0, 5.0), 5.0, -10.0, from_mm=0.0))
    added = with_rods(plain, rods)
    difference = (added.voxels - plain.voxels)[0]
    for k, expected in ((0, (10, 0)), (3, (10, -10))):
        right, ahead, _ = points_of(grid).reshape(3, 48, 48, 4)[..., k]
        inner = [np.hypot(right - rod.centre_mm[0], ahead - rod.centre_mm[1]) < 2.5 for rod in rods]
        assert [difference[:, :, k][disc].mean() for disc in inner] == pytest.approx(expected, abs=0.1)
    assert difference.sum() * 4.0 == pytest.approx(10 * math.pi * 25 * (16 - 8), rel=0.02)
    assert added.voxels.dtype == np.float32
    assert "head phantom, seed 2" in added.facts["notes"] and "2 rods added" in added.facts["notes"]
