"""Baselines are what they say; a card holds the errors of test subjects, and only theirs."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from MedGANLogic.__main__ import main
from MedGANLogic.bundle import open_bundle, verify
from MedGANLogic.catalogue import read
from MedGANLogic.cohort import Case, packed_study, unpack
from MedGANLogic.evaluation.baselines import LookUp

STUDY = """
inputs = ["mr"]
targets = ["ct"]
neighbours = 0
seed = 3
changes = { width = 4, levels = 3, patch = 32, batch = 2 }
[about]
name = "toy"
anatomy = ["thigh"]
attribution = "Nobody et al. 2026"
"""


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def trained(tmp_path, toy_table, study_file):
    """The folder of a bundle that was trained for a few steps."""
    run = tmp_path / "run"
    arguments = ["train", "--recipe", "l1", "--cohort", str(toy_table), "--study", str(study_file), "--out", str(run)]
    assert main([*arguments, "--steps", "3", "--device", "cpu"]) == 0
    return run / "bundle"


def test_the_look_up_finds_a_relation_that_holds_voxel_by_voxel(toy_cases, toy_study):
    study = toy_study()
    predictor = LookUp.fit(study, toy_cases[:2])
    case: Case = toy_cases[3]
    answer = predictor.predict(case.image("mr", study.inputs["mr"]))
    truth = case.in_unit("ct", case.volumes["ct"])
    inside = case.valid & case.body
    # One of 64 levels is some 6 units of MR, and four times that in HU; a subject's own percentiles shift it a bit.
    assert np.abs(answer.voxels[0] - truth)[inside].mean() < 40
    assert answer.unit == "HU"
    assert answer.grid.matches(case.grid)


def test_a_look_up_of_one_level_is_the_median(toy_cases, toy_study):
    study = toy_study()
    case = toy_cases[0]
    constant = LookUp.fit(study, [case], steps=1)
    inside = case.valid & case.body
    assert constant.values == pytest.approx([np.median(case.in_unit("ct", case.volumes["ct"])[inside])])
    answer = constant.predict(case.image("mr", study.inputs["mr"])).voxels[0]
    assert set(np.unique(answer)) <= {np.float32(-1000), constant.values[0]}


def test_a_measured_bundle_says_how_far_off_it_was_on_whom(trained, toy_table, capsys):
    weights = open_bundle(read(trained)).weights_sha256
    assert main(["measure", str(trained), "--cohort", str(toy_table), "--align", str(trained)]) == 0
    text = capsys.readouterr().out
    model = verify(trained)
    measured = model.card.measured
    assert measured["subjects"] == ["S3"]
    assert measured["weights_sha256"] == weights
    assert open_bundle(model).weights_sha256 == weights
    assert [set(table["models"]) for table in measured["tables"]] == [
        {"this model", "intensity look-up", "constant"}
    ] * 2
    for expected in ("Research use only", "S3", "Nobody et al. 2026", "intensity look-up", weights, "docs/worst.png"):
        assert expected in text
    assert text.strip() == (trained / "README.md").read_text(encoding="utf-8").strip()
    assert (trained / "docs" / "worst.png").stat().st_size > 1000


def test_what_was_learnt_by_measuring_may_be_said_afterwards(trained, toy_table, study_file, capsys):
    study_file.write_text(f'{STUDY}adversary = "none is in this model"\n')
    assert main(["measure", str(trained), "--cohort", str(toy_table), "--about", str(study_file)]) == 0
    assert "The adversary: none is in this model" in capsys.readouterr().out
    said = verify(trained).card.training["study"]
    assert said["about"] == {
        "name": "toy",
        "anatomy": ["thigh"],
        "attribution": "Nobody et al. 2026",
        "adversary": "none is in this model",
    }
    assert said["changes"]["width"] == 4


def test_a_model_is_measured_on_whom_it_never_saw_whatever_the_table_says(trained, toy_table, capsys):
    swapped = toy_table.read_text().replace("S1,train", "S1,test").replace("S3,test", "S3,train")
    toy_table.write_text(swapped)
    assert main(["measure", str(trained), "--cohort", str(toy_table)]) == 0
    assert verify(trained).card.measured["subjects"] == ["S3"]
    toy_table.write_text("".join(line for line in swapped.splitlines(keepends=True) if not line.startswith("S3")))
    assert main(["measure", str(trained), "--cohort", str(toy_table)]) == 2
    assert "lacks S3" in capsys.readouterr().err


def test_aligning_moves_no_test_subject(trained, toy_table, study_file, tmp_path):
    common = ["cohort", "pack", "--cohort", str(toy_table), "--study", str(study_file)]
    assert main([*common, "--out", str(tmp_path / "rigid.zip")]) == 0
    assert main([*common, "--out", str(tmp_path / "aligned.zip"), "--align", str(trained)]) == 0
    rigid, aligned = unpack(tmp_path / "rigid.zip"), unpack(tmp_path / "aligned.zip")
    assert packed_study(tmp_path / "aligned.zip") == packed_study(tmp_path / "rigid.zip")
    assert [case.subject for case in aligned] == [case.subject for case in rigid]
    for before, after in zip(rigid, aligned, strict=True):
        # Stored in steps of the noise where both show body, which moves with the target: equal to a step.
        values = [case.in_unit("mr", case.volumes["mr"]) for case in (before, after)]
        assert np.allclose(*values, atol=max(before.slopes["mr"], after.slopes["mr"]))
        if before.part == "test":
            assert np.array_equal(before.volumes["mr"], after.volumes["mr"])
            assert np.array_equal(before.volumes["ct"], after.volumes["ct"])
