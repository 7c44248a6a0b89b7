"""What a front end shows and allows, without any: the rules are all here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import CARDS, SAMPLERS, save_toy

from MedGANLogic import catalogue
from MedGANLogic.catalogue import Model
from MedGANLogic.chance import Chance
from MedGANLogic.check import Finding, Level
from MedGANLogic.degradation import LIKE
from MedGANLogic.domain import CT, MR
from MedGANLogic.images import Image
from MedGANLogic.inference.translate import translate
from MedGANLogic.presenters.choices import Choice, choices_of
from MedGANLogic.presenters.models import facts, input_title, task_title
from MedGANLogic.presenters.translation import (
    Chosen,
    Given,
    Work,
    account,
    arguments,
    model_of,
    progressed,
    view,
)

MODELS = {task: Model(make(), Path("bundles", task), "0" * 64) for task, make in CARDS.items()}
ALL = tuple(MODELS.values())
FINE = Given("T1")
ERROR = Finding(Level.ERROR, "the image shows nothing")
DOUBT = Finding(Level.ERROR, "the image looks like a label map", forceable=True)
WARNING = Finding(Level.WARNING, "the spacing is odd")


def choosing(task, **more):
    return Chosen(task=MODELS[task].card.task, model=MODELS[task].card.name, **more)


def filled(task):
    return dict.fromkeys(MODELS[task].card.inputs, FINE)


@pytest.mark.parametrize("task", CARDS)
def test_every_task_is_listed_and_can_be_begun_by_what_its_card_says(task):
    seen = view(ALL, choosing(task), filled(task))
    assert MODELS[task].card.task in [option.key for option in seen.tasks]
    assert seen.model == MODELS[task].card.name
    assert (seen.button, seen.may_press, seen.is_locked) == ("Apply", True, False)
    assert [slot.role for slot in seen.slots] == list(MODELS[task].card.inputs)
    assert (seen.strength is not None, seen.seed is not None) == (task == "denoise", task in SAMPLERS)
    assert (seen.count is not None, bool(seen.choices)) == (task in SAMPLERS, task == "draw")
    assert [output.target for output in seen.outputs] == list(MODELS[task].card.targets)
    assert [output.is_segmentation for output in seen.outputs] == [of == "tissues" for of in MODELS[task].card.targets]
    assert seen.takes_mask == (task not in SAMPLERS)


def test_results_are_named_by_their_image_and_several_by_their_role():
    def named(task):
        return [output.name for output in view(ALL, choosing(task), filled(task)).outputs]

    assert named("translate") == ["T1 synthetic CT"] and named("draw") == ["synthetic CT"]
    assert named("two-targets") == ["T1 synthetic ct", "T1 synthetic tissues"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({}, ["", "", ""]),
        ({"class": "thigh", "age": "90", "code0": "-0.5"}, ["thigh", "90", "-0.5"]),
        ({"class": "foot", "age": "91", "code0": "much", "colour": "blue"}, ["", "", ""]),
    ],
)
def test_what_a_model_does_not_offer_is_not_chosen(value, shown):
    choices = view(ALL, choosing("draw", choices=value), {}).choices
    assert [choice.name for choice in choices] == ["class", "age", "code0"]
    assert [choice.value for choice in choices] == shown
    assert choices[0].words == ("head", "thigh") and (choices[1].low, choices[1].high) == (20, 90)


@pytest.mark.parametrize(
    ("choice", "step", "decimals"),
    [
        (Choice("category", high=9.0, is_whole=True), 1, 0),
        (Choice("age", low=20.0, high=90.0), 1, 0),
        (Choice("dose", low=0.5, high=20.5), 1, 1),
        (Choice("code", low=-1.0, high=1.0), 0.1, 2),
        (Choice("fraction", low=0.0, high=0.01), 0.0005, 5),
    ],
)
def test_a_number_is_turned_in_steps_that_fit_its_range(choice, step, decimals):
    assert (choice.step, choice.decimals) == (pytest.approx(step), decimals)


@pytest.mark.parametrize("kind", Chance.kinds())
def test_every_kind_of_chance_shows_all_that_it_lets_choose(kind):
    makings = {
        "Condition": {"classes": ("a", "b"), "attributes": {"age": (90.0, 20.0)}},
        "Category": {"count": 3},
        "NoisyLabels": {"real": (0.7, 1.2), "made": (0.0, 0.3), "exchanged": 0.05},
    }
    chance = Chance.kinds()[kind](**makings.get(kind, {"shape": (2,)}))
    found = choices_of(replace(MODELS["draw"].card, chance={"it": chance}), {})
    assert [choice.name for choice in found] == [offer.name for offer in chance.offers]
    for choice in found:
        for value in choice.words or (f"{choice.low:g}", f"{choice.high:g}"):
            chance.chosen(chance.draw(np.random.default_rng(0)), {choice.name: value})


def test_task_that_nobody_has_heard_of_appears_in_words():
    card = replace(MODELS["translate"].card, task="ultrasound-to-xray", name="new")
    seen = view([*ALL, Model(card, Path("new"), "1" * 64)], Chosen(task="ultrasound-to-xray"), {})
    assert seen.tasks[-1].text == "Ultrasound to xray" and seen.model == "new"


def test_first_missing_image_is_asked_for():
    assert view(ALL, choosing("two-inputs"), {}).says == "Choose a volume for MR."
    seen = view(ALL, choosing("two-inputs"), {"mr": FINE})
    assert seen.says == "Choose a volume for CT (HU)." and not seen.may_press
    assert [slot.is_filled for slot in seen.slots] == [True, False]


def test_image_that_is_being_looked_at_is_waited_for():
    seen = view(ALL, choosing("translate"), {"mr": Given("T1", None)})
    assert not seen.may_press and seen.says.startswith("Looking")


@pytest.mark.parametrize(
    ("findings", "in_spite", "may_press", "asks"),
    [
        ((), False, True, False),
        ((WARNING,), False, True, False),
        ((ERROR,), False, False, False),
        ((ERROR,), True, False, False),
        ((DOUBT,), False, False, True),
        ((DOUBT,), True, True, True),
        ((DOUBT, ERROR), True, False, False),
    ],
)
def test_errors_stop_the_work_unless_they_may_be_overridden_and_are(findings, in_spite, may_press, asks):
    seen = view(ALL, choosing("translate", in_spite_of_errors=in_spite), {"mr": Given("T1", findings)})
    assert (seen.may_press, seen.asks_to_force) == (may_press, asks)
    if not may_press:
        assert seen.says == findings[0].text.capitalize() + "."


def test_findings_come_with_the_gravest_first_and_say_which_image_is_meant():
    given = {"mr": Given("T1", (WARNING,)), "ct": Given("CT", (DOUBT,))}
    found = view(ALL, choosing("two-inputs"), given).findings
    assert [finding.text for finding in found] == [f"ct: {DOUBT.text}", f"mr: {WARNING.text}"]


def test_apply_becomes_cancel_and_nothing_can_be_changed_meanwhile():
    work = progressed(Work("Translating T1"), {"event": "progress", "done": 3, "total": 12, "seconds_left": 200.0})
    seen = view(ALL, choosing("translate"), filled("translate"), work)
    assert (seen.button, seen.may_press, seen.is_locked) == ("Cancel", True, True)
    assert (seen.share, seen.says, seen.progress) == (0.25, "Translating T1", "25%, 3 min left")
    seen = view(ALL, choosing("translate"), filled("translate"), replace(work, cancelling=True))
    assert (seen.button, seen.may_press, seen.says) == ("Cancel", False, "Cancelling …")


@pytest.mark.parametrize("event", [{}, {"event": "result"}, {"event": "progress", "done": 0, "total": 0}])
def test_other_events_change_no_progress(event):
    assert progressed(Work("Translating", share=0.5), event) == Work("Translating", share=0.5)


def test_nothing_installed_is_said_with_what_to_do():
    seen = view([], Chosen(), {})
    assert not seen.may_press and "train one" in seen.says and seen.tasks == ()


def test_model_of_another_task_gives_way_to_the_tasks_own():
    assert model_of(ALL, Chosen(task="segmentation", model="toy-denoise")).card.name == "toy-segment"
    assert model_of(ALL, Chosen(task="gone", model="toy-denoise")).card.name == "toy-denoise"
    assert model_of(ALL, Chosen()).card.name == "toy-translate"
    assert model_of([], Chosen()) is None


def test_choice_outlives_a_saved_scene_also_of_another_version():
    drawn = {"seed": 3, "count": 4, "choices": {"class": "head"}}
    chosen = choosing("denoise", strength=0.5, device="cpu", in_spite_of_errors=True, **drawn)
    assert Chosen.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    assert Chosen.from_json({"task": "sample", "colour_of_the_moon": 3}) == Chosen(task="sample")


@pytest.mark.parametrize("task", CARDS)
def test_arguments_do_what_was_chosen(task, tmp_path, mr, ct):
    """The command line takes them as they are, and writes the file."""
    from MedGANLogic.__main__ import main
    from MedGANLogic.images import write

    model = catalogue.read(save_toy(task, tmp_path))
    images = {"mr": mr, "ct": replace(ct, affine=mr.affine) if task == "two-inputs" else ct}
    images["tumour"] = Image((ct.voxels > 0).astype(np.int16), ct.affine, "label")
    inputs = {role: tmp_path / f"{role}.nii.gz" for role in model.card.inputs}
    for role, file in inputs.items():
        write(images[role], file)
    chosen = Chosen(
        device="cpu",
        strength=0.25 if task == "denoise" else None,
        like="box" if task == "magnify" else "",
        seed=4,
        count=2,
        choices={"class": "head", "code0": "-0.5"} if task == "draw" else {},
        probabilities=task == "segment",
        in_spite_of_errors=task not in SAMPLERS,
    )
    output = tmp_path / "out.nrrd"
    assert main(arguments(model, chosen, inputs, None, output)) == 0
    provenance = json.loads(output.with_name("out.nrrd.medgan.json").read_text())
    assert provenance["model"] == model.card.name
    assert provenance.get("strength") == (None if task in SAMPLERS else 0.25 if task == "denoise" else 1.0)
    assert provenance.get("held_to") == ("Averaged 1×2×2" if task == "magnify" else None)
    assert provenance.get("seed") == (4 if task in SAMPLERS else None)
    assert provenance.get("choices", {}) == chosen.choices
    likely = ["out-probability-bone.nrrd", "out-probability-fat.nrrd"]
    written = {"two-targets": ["out-tissues.nrrd"], "sample": ["out-1.nrrd"], "segment": likely}.get(task, [])
    assert sorted(path.name for path in tmp_path.glob("out*.nrrd")) == [*written, "out.nrrd"]
    assert sorted(of["output"] for of in provenance.get("further", [])) == [str(tmp_path / name) for name in written]


def test_probabilities_are_offered_where_labels_are_made_of_an_image():
    offered = {task: view(ALL, choosing(task), {}).probabilities for task in MODELS}
    assert offered == {task: False if task in ("segment", "two-targets") else None for task in MODELS}
    chosen = replace(choosing("segment"), probabilities=True)
    assert view(ALL, chosen, {}).probabilities is True
    inputs = {"mr": Path("a.npy")}
    assert "--probabilities" in arguments(MODELS["segment"], chosen, inputs, None, Path("b.npy"))
    assert "--probabilities" not in arguments(MODELS["segment"], choosing("segment"), inputs, None, Path("b.npy"))


def test_a_scanner_can_be_stated_where_an_image_becomes_finer():
    offered = {task: view(ALL, choosing(task), {}) for task in MODELS}
    assert {task for task, seen in offered.items() if seen.scanners} == {"finer", "magnify"}
    assert [option.key for option in offered["magnify"].scanners] == ["", *LIKE]
    assert view(ALL, choosing("magnify", like="k-space"), {}).like == "k-space"
    assert view(ALL, choosing("magnify", like="one of another version"), {}).like == ""
    inputs = {"mr": Path("a.npy")}
    said = arguments(MODELS["magnify"], choosing("magnify", like="k-space"), inputs, None, Path("b.npy"))
    assert said[said.index("--like") + 1] == "k-space"
    assert "--like" not in arguments(MODELS["magnify"], choosing("magnify"), inputs, None, Path("b.npy"))


def test_labels_may_be_left_out_and_the_panel_says_what_that_means():
    assert view(ALL, choosing("guided"), {}).says == "Choose a volume for CT (HU)."
    assert not view(ALL, choosing("guided"), {"tumour": FINE}).may_press
    seen = view(ALL, choosing("guided"), {"ct": FINE})
    assert seen.may_press and [finding.level for finding in seen.findings] == [Level.WARNING]
    assert "tumour: no labels are given" in seen.findings[0].text
    assert [(slot.is_labels, slot.is_optional) for slot in seen.slots] == [(False, False), (True, True)]
    assert not view(ALL, choosing("guided"), filled("guided")).findings
    inputs = {"ct": Path("ct.npy")}
    assert "--input" not in arguments(MODELS["guided"], choosing("guided"), inputs, None, Path("b.npy"))


def test_mask_is_passed_on():
    inputs = {"mr": Path("a.npy")}
    said = arguments(MODELS["translate"], Chosen(), inputs, Path("mask.npy"), Path("b.npy"))
    assert said[said.index("--mask") + 1] == "mask.npy" and "--force" not in said


def test_account_says_that_it_is_synthetic_by_which_model_and_with_which_warnings(toy_bundle, mr):
    voxels = mr.voxels.copy()
    voxels[0, 0, 0, 0] = np.nan
    rows = account(translate(toy_bundle, replace(mr, voxels=voxels), "cpu").provenance)
    said = dict(rows)
    assert "Research use only" in said["Synthetic"] and toy_bundle.model.sha256 in said["Model"]
    assert "NaN" in said["Warning"] and said["Unit"] == "HU"


def test_facts_name_error_validity_training_and_licence():
    headings = dict(facts(catalogue.find("mr-to-ct-limb")))
    assert "HU" in headings["Measured"] and "never seen" in headings["Measured"]
    assert "thigh" in headings["Valid for"] and "subjects" in headings["Trained on"]
    assert headings["Licence"] and len(headings["SHA-256"]) == 64
    assert dict(facts(MODELS["sample"]))["Measured"] == "not measured"


@pytest.mark.parametrize(
    ("task", "does"),
    [
        ("two-inputs", "MR to PET: MR, CT (HU) → PET (SUV)"),
        ("segment", "Segmentation: MR → TISSUES (fat, bone)"),
        ("magnify", "Magnify: MR → FINE (MR), 2 × 2 × 1 times as fine"),
    ],
)
def test_facts_say_unit_labels_and_how_much_finer(task, does):
    assert dict(facts(MODELS[task]))["Does"] == does


def test_facts_say_what_may_be_chosen_where_anything_may():
    assert "Choices" not in dict(facts(MODELS["sample"]))
    assert dict(facts(MODELS["draw"]))["Choices"] == "class: head, thigh; age: 20 to 90; code0: -1 to 1"


def test_titles_are_words():
    assert (task_title("mr-to-ct"), task_title("super-resolution")) == ("MR to CT", "Super resolution")
    assert (input_title("mr", MR), input_title("t2", MR)) == ("MR", "T2 (MR)")
    assert (input_title("ct", CT), input_title("planning", CT)) == ("CT (HU)", "PLANNING (CT, HU)")


@pytest.mark.parametrize(
    ("provenance", "rows"),
    [
        ({}, []),
        ({"synthetic": True, "use": "Research use only", "modality": "MR"}, [("Synthetic", "Research use only")]),
        ({"model": "toy", "strength": None, "findings": [{"level": "warning"}]}, [("Model", "toy")]),
        ({"held_to": "Averaged 1×2×2"}, [("Held to", "Averaged 1×2×2")]),
        ({"seed": 1, "choices": {"class": "head"}}, [("Seed", "1"), ("Chosen", "class head")]),
        (
            {"seed": 12345678, "seconds": 0, "torch": "2.6"},
            [("Seed", "12345678"), ("Time", "0 s"), ("Software", "torch 2.6")],
        ),
    ],
)
def test_account_says_only_what_is_known(provenance, rows):
    assert account(provenance) == rows


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": "x"},
        {"strength": True},
        {"seed": 1.5},
        {"seed": True},
        {"in_spite_of_errors": "no"},
        {"device": None},
        {"count": 1.0},
        {"choices": ["head"]},
        {"choices": {"age": 40}},
    ],
)
def test_choice_of_a_wrong_type_is_left_to_us(wrong):
    assert Chosen.from_json({"task": "sample", **wrong}) == Chosen(task="sample")


def test_whole_number_is_a_strength():
    assert Chosen.from_json({"strength": 1}).strength == 1
