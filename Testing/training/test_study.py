"""Studies: what a user may write, and what is refused in words."""

import re
import tomllib
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from MedGANLogic import recipes
from MedGANLogic.degradation import Averaged
from MedGANLogic.domain import CT, MR, PET, UNLIKENESS, FixedWindow
from MedGANLogic.recipe import build, rehearse
from MedGANLogic.study import SEGMENTATION, TRANSLATION, Study, StudyError

TOP = Path(__file__).resolve().parents[2]
SHIPPED = [file for file in (TOP / "Resources" / "Studies").glob("*.toml") if file.stem != "functions"]
PAGES = "".join((TOP / "docs" / page).read_text(encoding="utf-8") for page in ("train.md", "super-resolution.md"))
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGES, re.DOTALL)
LABELS = {"name": "Labels", "labels": [{"value": 1, "name": "fat"}, {"value": 2, "name": "bone", "colour": [1, 2, 3]}]}


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_of_the_docs_is_a_study_for_the_systems_that_it_names(text):
    study = Study.from_json(tomllib.loads(text))
    named = re.match(r"# (.*)", text)
    for name in named[1].split(", ") if named else ["pix2pix-plain"]:
        rehearse(recipes.load(name), study)


def test_the_docs_have_an_example_of_every_kind_of_task():
    studies = [Study.from_json(tomllib.loads(text)) for text in EXAMPLES]
    tasks = {"mr-to-ct", "mr-to-pet", "ct-to-pet", "segmentation", "super-resolution", "denoise-ct", "sample"}
    assert {study.task for study in studies} == {*tasks, "anomaly"}
    assert any(len(study.inputs) == 2 for study in studies)


def test_a_study_is_equal_after_json_whatever_field_it_uses():
    studies = [recipes.example(name) for name in recipes.names()]
    studies += [Study.from_json(tomllib.loads(text)) for text in EXAMPLES]
    studies += [Study.from_file(file) for file in SHIPPED]
    used = set()
    for study in studies:
        assert Study.from_json(study.to_json()) == study
        used |= {
            field.name
            for field in fields(Study)
            if getattr(study, field.name) != (field.default if field.default_factory is MISSING else {})
        }
    assert used == {field.name for field in fields(Study)}


@pytest.mark.parametrize("usual", [MR, CT, PET, UNLIKENESS], ids=lambda domain: domain.modality)
def test_a_modality_alone_is_its_usual_domain(usual):
    assert Study.from_json({"targets": {"image": {"modality": usual.modality}}}).targets == {"image": usual}


def test_what_is_said_of_a_domain_stands_and_the_rest_is_usual():
    window = {"name": "FixedWindow", "low": -200, "high": 300, "body_above": -300}
    (domain,) = Study.from_json({"targets": {"ct": {"modality": "CT", "window": window}}}).targets.values()
    assert domain == replace(CT, window=FixedWindow(-200, 300, -300))


def test_labels_need_neither_unit_nor_background_nor_colours():
    (domain,) = Study.from_json({"targets": {"tissue": {"modality": "SEG", "window": LABELS}}}).targets.values()
    fat, bone = domain.window.labels
    assert (domain.unit, domain.background, bone.colour) == ("label", 0, (1, 2, 3))
    assert fat.colour != bone.colour


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"targets": []}, "a study needs a target"),
        ({"seeed": 2}, "a study has no seeed: there are"),
        ({"targets": "ct"}, "targets: expected a list of texts, found 'ct'"),
        ({"targets": ["ultrasound"]}, "role 'ultrasound' has no default domain"),
        ({"targets": {"ct": 3}}, "targets: expected a table, found 3"),
        ({"targets": {"ct": {"modality": "XX"}}}, "targets: not a domain"),
        ({"targets": {"seg": {"modality": "SEG", "window": {"name": "Labels", "labels": 3}}}}, "a list of tables"),
        ({"inputs": ["ct"]}, "ct goes in and comes out"),
        ({"classes": "t1"}, "classes: expected a list of texts, found 't1'"),
        ({"classes": ["t1", "t1"]}, "classes are t1, t1: expected different ones"),
        ({"attributes": {"age": 3}}, "attributes: expected 2 numbers, found 3"),
        ({"attributes": {"age": [3, 3]}}, r"attributes.age is \[3, 3\]: expected two different numbers"),
        ({"strength": "half"}, "strength: expected a number, found 'half'"),
        ({"strength": 1.5, "inputs": ["mr"]}, "strength is 1.5: it is a share from 0 to 1"),
        ({"strength": 0.5}, "strength is 0.5: it is a share .* of an input"),
        ({"dimensions": 2.5}, "dimensions: expected a whole number, found 2.5"),
        ({"dimensions": 4}, "dimensions 4, neighbours 1, plane 'axial': expected 2 or 3"),
        ({"spacing_mm": 3}, "spacing_mm: expected 3 numbers, found 3"),
        ({"spacing_mm": [1, 1, 0]}, "spacing_mm is .*: expected lengths above 0"),
        ({"mirrors": ["L"]}, r"mirrors is \['L'\]: expected axes among R, A, S, each once"),
        ({"mirrors": ["R", "R"]}, "each once"),
        ({"seed": -1}, "seed is -1: expected 0 or more"),
        ({"changes": {"width": "wide"}}, "changes: expected a number, found 'wide'"),
        ({"made": {"mr": {"kind": "Averaged", "of": "ct", "by": 2}}}, "made names mr: roles are ct"),
        ({"made": {"ct": {"name": "Averaged"}}}, "made: kind None is not known"),
    ],
    ids=str,
)
def test_what_has_no_sense_is_refused_in_words(said, reason):
    with pytest.raises(StudyError, match=reason):
        Study.from_json({"targets": ["ct"], **said})


def test_a_file_that_is_no_study_is_named(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("targets = [", encoding="utf-8")
    with pytest.raises(StudyError, match=r"study\.toml"):
        Study.from_file(path)


# --- with a system --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("cyclegan", {"patch": 50}, ": patch 50 does not, (48|52) would"),
        ("pix2pix", {"levels": 9}, ": levels 9 does not, 8 would"),
        ("pix2pix", {"patch": 64}, ": patch 64 does not, 256 would"),
        ("pgan", {"patch": 48}, ": patch 48 does not, (32|64) would"),
        ("vae-gan", {"batch": 1}, ": batch 1 does not, 2 would"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_one_that_does(name, changes, reason):
    study = replace(recipes.example(name), changes={"width": 4, **changes})
    with pytest.raises(StudyError, match=reason):
        rehearse(recipes.load(name), study)


def test_networks_that_no_memory_holds_are_refused():
    with pytest.raises(StudyError, match=r"settings do not fit this system|networks are too large"):
        build(recipes.load("l1"), replace(recipes.example("l1"), changes={"width": 2**30}))


def test_where_no_single_setting_is_to_blame_none_is_named():
    study = replace(SEGMENTATION, changes={"width": 4, "patch": 1, "levels": 60})
    with pytest.raises(StudyError, match=r"the study's settings do not fit this system \("):
        rehearse(recipes.load("segan"), study)


def test_whole_numbers_may_be_written_with_a_point():
    adapted = replace(TRANSLATION, changes={"width": 16.0}).adapted(recipes.published("l1"))
    assert adapted.width == 16
    assert isinstance(adapted.width, int)


def test_a_made_role_has_the_grid_that_it_is_made_on():
    study = Study({"mr": MR}, {"fine": MR}, neighbours=0, made={"mr": Averaged("fine", 4)})
    assert study.finer_axes == (4, 4, 1)
    assert replace(study, plane="coronal").finer_axes == (4, 1, 4)
