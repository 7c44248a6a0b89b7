"""The page of results: what the cards say, and nothing else."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from MedGANLogic import catalogue
from MedGANLogic.catalogue import Model
from MedGANLogic.evaluation.report import Report, Row, Summary, summarize
from MedGANLogic.evaluation.results import results_page
from MedGANLogic.study import SEGMENTATION, Study

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_page_in_the_repository_is_what_the_cards_say(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("results", REPOSITORY / "Resources" / "Studies" / "results.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr("sys.argv", ["results.py", str(tmp_path / "page.md")])
    script.main()
    written = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert written == (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8"), "run `make results`"


DICE = {"this model": {"A": 0.875, "B": None}, "l1": {"A": 0.5, "B": 0.25}}


def report(value):
    rows = [Row("Dice", "label 1", value, "", 9), Row("HD95", "label 1", None if value is None else 3.0, "mm", 9)]
    return Report("label", "given", (), tuple(rows))


@pytest.fixture
def model(toy_card, toy_networks):
    """A model that segments, measured on two subjects beside another one."""
    found = {name: {case: report(value) for case, value in of.items()} for name, of in DICE.items()}
    measured = {
        "protocol": "Counted as told.",
        "command": "medgan measure it",
        "subjects": ["A", "B"],
        "weights_sha256": "ab" * 32,
        "folds": [{"weights_sha256": "cd" * 32, "tested": ["A", "B"]}],
        "tables": [
            {
                "reference": "Reference as given",
                "models": {name: summarize(reports).to_json() for name, reports in found.items()},
                "by_case": {
                    name: {case: {"Dice, label 1": value} for case, value in of.items()} for name, of in DICE.items()
                },
            }
        ],
    }
    study = replace(SEGMENTATION, seed=77, about={"adversary": "it costs 0.1 of Dice"})
    training = {"system": "SegAN", "command": "medgan train it", "study": study.to_json()}
    card = replace(toy_card(toy_networks), task="segmentation", measured=measured, training=training)
    return Model(card, Path("toy"), "ef" * 32)


def test_a_model_stands_beside_all_that_it_was_compared_with(model):
    page = results_page([model], "bundles")
    assert "## segmentation\n" in page
    assert "[`toy`](bundles/toy/README.md), SegAN" in page
    (own,) = [line for line in page.splitlines() if line.startswith("| this model ")]
    (other,) = [line for line in page.splitlines() if line.startswith("| l1 ")]
    assert own.split("|")[2].strip() == "0.875"
    # Mean and sample standard deviation of 0.5 and 0.25.
    assert other.split("|")[2].strip() == "0.375 ± 0.177"
    for said in ("n = 2", "A, B", "Seed 77", "ab" * 32, "`medgan train it`", "`medgan measure it`", "Counted as told."):
        assert said in page
    assert f"`{'cd' * 6}` on A, B" in page
    assert "- The adversary: it costs 0.1 of Dice" in page


def test_of_few_subjects_every_case_is_listed(model):
    lines = results_page([model], "bundles").splitlines()
    assert lines[lines.index("Dice (label 1) of every case:") :][2:6] == [
        "| | this model | l1 |",
        "|:---|---:|---:|",
        "| A | 0.875 | 0.500 |",
        "| B | – | 0.250 |",
    ]
    many = replace(model.card, measured={**model.card.measured, "subjects": list("ABCDEFGH")})
    page = results_page([replace(model, card=many)], "bundles")
    assert "of every case:" not in page
    assert "Every case: [the card](bundles/toy/README.md)." in page


def test_what_was_not_measured_or_not_said_says_so(model):
    silent = Study.from_json({**model.card.training["study"], "about": {}}).to_json()
    card = replace(model.card, training={**model.card.training, "study": silent})
    assert "what it buys or costs is not stated" in results_page([replace(model, card=card)], "bundles")
    assert "Not measured." in results_page([replace(model, card=replace(card, measured={}))], "bundles")


def test_lesions_have_columns_where_they_were_measured():
    (there,) = [one for one in catalogue.models() if one.card.name == "mr-to-ct-limb"]
    study = Study.from_json(there.card.training["study"])
    pet = {"modality": "PT"}
    uptake = Study.from_json({**study.to_json(), "targets": {"pet": pet}}).to_json()
    rows = (Row("MAE", "mask", 0.5, "SUV", 9), Row("SUVmax error", "lesions", -2.5, "SUV", 3))
    table = {
        "reference": "given",
        "models": {"this model": summarize({"A": Report("SUV", "", (), rows)}).to_json()},
    }
    measured = {"protocol": "", "command": "", "subjects": ["A"], "weights_sha256": "", "tables": [table]}
    card = replace(there.card, measured=measured, training={**there.card.training, "study": uptake})
    page = results_page([replace(there, card=card)], "bundles")
    assert "SUVmax error, lesions" in page
    assert "-2.500" in page


def test_a_summary_comes_back_from_plain_data():
    summary = summarize({"A": report(0.5), "B": report(None)})
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary
    with pytest.raises(ValueError, match="not a summary"):
        Summary.from_json({"unit": "HU"})
