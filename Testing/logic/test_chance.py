"""What is drawn, what may be chosen instead, and how both are kept as plain data."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from MedGANLogic.chance import Category, Chance, ChanceError, Codes, Condition, Normal, Uniform, refuse_unknown
from MedGANLogic.plain import Plain

ASKED = Condition(("t1", "t2", "pd"), {"age": (20.0, 80.0), "falling": (1.0, -1.0)})
CHANCES = [Normal((3, 4)), Uniform((5,), 0.0, 2.0), Codes((2,)), Category(4), ASKED]


@pytest.fixture(params=CHANCES, ids=lambda chance: type(chance).__name__)
def chance(request):
    return request.param


def many(chance, count=400):
    return np.stack([chance.draw(np.random.default_rng([0, number])) for number in range(count)])


def test_a_draw_follows_from_the_generator_alone(chance):
    first, again, other = (chance.draw(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert many(chance, 30).std(axis=0).max() > 0
    assert other.shape == first.shape


def test_it_is_the_same_after_json(chance):
    again = Chance.from_json(json.loads(json.dumps(chance.to_json())))
    assert again == chance
    assert again.offers == chance.offers


def test_without_a_choice_a_draw_stays_as_it_is(chance):
    drawn = chance.draw(np.random.default_rng(0))
    assert np.array_equal(chance.chosen(drawn, {}), drawn)


def test_a_choice_leaves_the_draw_itself_alone():
    for chance, choice in ((Codes((2,)), {"code0": "1"}), (Category(4), {"category": "2"}), (ASKED, {"age": "50"})):
        drawn = chance.draw(np.random.default_rng(0))
        before = drawn.copy()
        chance.chosen(drawn, choice)
        assert np.array_equal(drawn, before)


def test_normal_numbers_have_mean_0_and_deviation_1():
    numbers = many(Normal((3, 4)))
    assert numbers.shape == (400, 3, 4)
    assert numbers.mean() == pytest.approx(0, abs=0.05)
    assert numbers.std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("chance", [Uniform((5,)), Uniform((5,), 0.0, 3.0), Codes((5,))])
def test_uniform_numbers_fill_their_bounds(chance):
    numbers = many(chance)
    reach = chance.high - chance.low
    assert chance.low <= numbers.min() < chance.low + 0.02 * reach
    assert chance.high - 0.02 * reach < numbers.max() <= chance.high
    assert numbers.std() == pytest.approx(reach / 12**0.5, rel=0.05)


def test_a_category_is_one_of_all_as_often():
    drawn = many(Category(4))
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn.sum(axis=1) == 1).all()
    assert drawn.mean(axis=0) == pytest.approx(0.25, abs=0.08)


def test_a_condition_is_a_class_and_numbers_from_minus_1_to_1():
    drawn = many(ASKED)
    assert drawn.shape == (400, ASKED.size) == (400, 5)
    assert (drawn[:, :3].sum(axis=1) == 1).all()
    assert drawn[:, :3].mean(axis=0) == pytest.approx(1 / 3, abs=0.08)
    assert drawn[:, 3:].min() < -0.95
    assert drawn[:, 3:].max() > 0.95
    assert np.abs(drawn).max() <= 1


def test_a_condition_of_classes_or_numbers_alone():
    assert Condition(("a", "b")).draw(np.random.default_rng(0)).sum() == 1
    assert Condition(attributes={"age": (0.0, 1.0)}).draw(np.random.default_rng(0)).shape == (1,)
    assert Condition().size == 0


def test_what_is_said_of_an_image_becomes_a_vector():
    assert ASKED.of({"class": "t2", "age": "35", "falling": "0.5", "site": "A"}).tolist() == [0, 1, 0, -0.5, -0.5]
    assert ASKED.of({"class": "pd", "age": "80", "falling": "-1"}).tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"class": "t1", "age": "35"}, "nothing is said of falling"),
        ({"class": "ct", "age": "35", "falling": "0"}, "class 'ct': there are t1, t2, pd"),
        ({"class": "t1", "age": "81", "falling": "0"}, "age 81: expected 20 to 80"),
        ({"class": "t1", "age": "old", "falling": "0"}, "age 'old' is no number"),
        ({"class": "t1", "age": "nan", "falling": "0"}, "age nan: expected"),
        ({"class": "t1", "age": "35", "falling": "2"}, "falling 2: expected -1 to 1"),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(said, reason):
    with pytest.raises(ChanceError, match=reason):
        ASKED.of(said)


def test_chosen_codes_and_categories_stand_in_place_of_those_drawn():
    drawn = Codes((3,)).draw(np.random.default_rng(0))
    chosen = Codes((3,)).chosen(drawn, {"code1": "-0.25"})
    assert chosen.tolist() == [drawn[0], -0.25, drawn[2]]
    assert Category(4).chosen(Category(4).draw(np.random.default_rng(0)), {"category": "2"}).tolist() == [0, 0, 1, 0]
    for chance, choice in ((Codes((3,)), {"code0": "1.1"}), (Category(4), {"category": "4"})):
        with pytest.raises(ChanceError, match="expected"):
            chance.chosen(drawn, choice)


def test_a_choice_that_nothing_offers_is_refused_with_those_that_are():
    offered = {"noise": Normal((2,)), "condition": ASKED, "codes": Codes((1,))}
    refuse_unknown(offered, {"class": "anything", "code0": "7"})
    with pytest.raises(ChanceError, match="'colour' cannot be chosen: there is class: t1, t2, pd; age: 20 to 80"):
        refuse_unknown(offered, {"colour": "red"})
    with pytest.raises(ChanceError, match="there is none"):
        refuse_unknown({"noise": Normal((2,))}, {"class": "t1"})


@pytest.mark.parametrize("shape", [(), (0,), (-1, 4), (1 << 20, 1 << 20)])
@pytest.mark.parametrize("kind", [Normal, Uniform, Codes])
def test_a_shape_of_nothing_or_of_too_much_is_refused(kind, shape):
    with pytest.raises(ValueError, match="expected a shape"):
        kind(shape)
    with pytest.raises(ValueError, match="expected a shape"):
        Chance.from_json({"kind": kind.__name__, "shape": list(shape)})


class Shape(Plain):
    """A base: no kind itself."""


@dataclass(frozen=True)
class Box(Shape):
    edges: tuple[int, ...]
    name: str = "box"
    weight: float = 1.0


@dataclass(frozen=True)
class Crate(Box):
    slats: int = 3


class Sketch(Crate):
    """No dataclass by itself: no kind."""


def test_kinds_are_the_dataclasses_below_a_base():
    assert Shape.kinds() == {"Box": Box, "Crate": Crate}
    assert Box.kinds() == {"Box": Box, "Crate": Crate}
    assert Crate.kinds() == {"Crate": Crate}


@pytest.mark.parametrize("box", [Box((1, 2)), Crate((3,), "crate", 2.5, 4)])
def test_an_object_is_equal_after_json_and_says_its_kind(box):
    assert box.to_json()["kind"] == type(box).__name__
    assert Shape.from_json(json.loads(json.dumps(box.to_json()))) == box


def test_a_kind_may_stand_in_and_whole_numbers_are_numbers():
    assert Shape.from_json({"edges": [1], "weight": 2}, kind="Box") == Box((1,), weight=2.0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"edges": [1]}, "kind None is not known: there are Box, Crate"),
        ({"kind": "Shape"}, "kind 'Shape' is not known"),
        ({"kind": "Normal", "shape": [1]}, "kind 'Normal' is not known"),
        ({"kind": "Box", "edges": [1], "colour": "red"}, "Box has no colour: there are edges, name, weight"),
        ({"kind": "Box"}, "Box: .*edges"),
        ({"kind": "Box", "edges": 3}, "expected a list of whole numbers, found 3"),
        ({"kind": "Box", "edges": [1.5]}, "expected a whole number, found 1.5"),
        ({"kind": "Box", "edges": [True]}, "expected a whole number"),
        ({"kind": "Box", "edges": [1], "name": 4}, "expected a text, found 4"),
        ({"kind": "Box", "edges": [1], "weight": "heavy"}, "expected a number"),
        ({"kind": "Crate", "edges": [1], "slats": True}, "expected a whole number"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_words(data, reason):
    with pytest.raises(ValueError, match=reason):
        Shape.from_json(data)
