"""Each task has its own numbers and baselines; a subject is measured by a network that never saw it."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from bundled import bundled

from MedGANLogic import recipes
from MedGANLogic.bundle import open_bundle, save
from MedGANLogic.catalogue import read
from MedGANLogic.domain import CT, MR, PET
from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation.baselines import Smoother, Threshold, non_local_means, total_variation
from MedGANLogic.evaluation.metrics import SOFT_TISSUE
from MedGANLogic.evaluation.protocols import (
    NOTHING_DRAWN,
    Drawn,
    Magnification,
    Restoration,
    Segmentation,
    Translation,
    protocol_of,
)
from MedGANLogic.images import Image, ImageError, write
from MedGANLogic.inference.predict import silent
from MedGANLogic.measure import Folds, measure
from MedGANLogic.recipe import build
from MedGANLogic.study import ANOMALY, DENOISING, GENERATION, GUIDED, SEGMENTATION, SUPER_RESOLUTION, TRANSLATION

SUBJECTS = ("S0", "S1", "S3")
ON_PET = replace(SEGMENTATION, inputs={"ct": CT, "pet": PET})
TO_PET = replace(TRANSLATION, targets={"pet": PET})
TWO_INPUTS = replace(TRANSLATION, inputs={"mr": MR, "ct": CT}, targets={"later": CT})


@pytest.fixture
def table(tmp_path, toy_cohort):
    """Return a maker of a study's table, with the images beside it."""

    def make(study):
        path = tmp_path / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            lines = csv.writer(stream)
            lines.writerow(["subject", *study.columns])
            for case in toy_cohort(study):
                if case.subject in SUBJECTS:
                    files = {role: f"{case.subject}-{role}.nii" for role in study.columns}
                    for role, file in files.items():
                        write(case.image(role, study.domains[role]), tmp_path / file)
                    lines.writerow([case.subject, *files.values()])
        return path

    return make


@pytest.fixture
def without(tmp_path):
    """Return a maker of untrained models that never saw some subjects; ``shift`` is added to what is made."""

    def make(name, study, subjects, shift=0.0):
        recipe = build(recipes.load(name), study)
        for network in recipe.networks.values():
            list(network.parameters())[-1].data += shift
        folder = tmp_path / f"{name}-{'-'.join(subjects)}"
        folder.mkdir()
        bundle = bundled(recipe, recipe.networks, study, folder)
        training = {
            **bundle.card.training,
            "recipe": name,
            "system": recipe.title,
            "subjects": {"train": 3 - len(subjects), "validation": 0, "test": len(subjects)},
            "test_subjects": list(subjects),
            "steps": 1,
            "best_step": 1,
            "command": "none",
        }
        validity = {"anatomy": [], "spacing_mm": [[1, 9]] * 3, "extent_mm": [[1, 900]] * 3, "contrast": {}}
        card = replace(bundle.card, training=training, validity=validity)
        return open_bundle(save(card, bundle.networks, "# Toy\n", folder / "bundle"))

    return make


def measured(bundle, folds, table, /, drawn=NOTHING_DRAWN, **others):
    text = measure(bundle, Folds(folds), others, table, None, "by hand", silent, drawn)
    return read(bundle.model.folder).card.measured, text


def test_every_task_has_its_protocol_and_what_is_made_of_chance_has_none():
    kinds = {study.task: protocol_of(study) for study in (TRANSLATION, DENOISING, SEGMENTATION)}
    assert kinds == {"mr-to-ct": Translation, "denoise-ct": Restoration, "segmentation": Segmentation}
    assert protocol_of(SUPER_RESOLUTION) is Magnification
    assert {protocol_of(study) for study in (GENERATION, ANOMALY)} == {None}


def test_what_is_made_of_chance_is_refused_in_words(without, toy_study, tmp_path):
    bundle = without("dcgan", toy_study(2, 0, example=GENERATION), ["S0"])
    with pytest.raises(MedGANError, match="no reference says what is right"):
        measured(bundle, [bundle], tmp_path / "no.csv")


def test_a_subject_is_measured_by_the_network_that_never_saw_it(without, toy_study, table):
    study = toy_study(2, 0, example=DENOISING)
    shifts = {"S0": 0.01, "S1": -0.02, "S3": 0.0}
    folds = [without("residual-unet", study, [subject], shift) for subject, shift in shifts.items()]
    everything = without("residual-unet", study, [])
    found, text = measured(everything, folds, table(study), alike=Folds(list(reversed(folds))))
    (of,) = found["tables"]
    psnr = {name: [cells["PSNR, mask"] for cells in cases.values()] for name, cases in of["by_case"].items()}
    assert psnr["alike"] == psnr["this model"]
    # S3's network changes nothing; the others are off by 16 and 32 HU where noise has 60.
    assert psnr["this model"][2] == psnr["input"][2]
    off = [10 ** (-(own - given) / 10) for own, given in zip(psnr["this model"], psnr["input"], strict=True)]
    assert off[:2] == pytest.approx([1 + (16 / 60) ** 2, 1 + (32 / 60) ** 2], rel=0.03)
    assert {"input", "total variation", "non-local means"} < set(psnr)
    assert [fold["tested"] for fold in found["folds"]] == [["S0"], ["S1"], ["S3"]]
    assert all(fold["weights_sha256"][:12] in text for fold in found["folds"])
    json.dumps(found, allow_nan=False)


def test_a_strength_is_measured_beside_the_cards_own_and_refused_where_there_is_none(without, toy_study, table):
    study = replace(toy_study(2, 0, example=DENOISING), strength=0.5)
    bundle = without("residual-unet", study, ["S0"], 0.04)
    several = Folds([bundle], (0.0, 0.5, 1.0))
    found, _ = measured(bundle, [bundle], table(study), same=several)
    psnr = {name: cases["S0"]["PSNR, mask"] for name, cases in found["tables"][0]["by_case"].items()}
    assert psnr["same"] == pytest.approx(psnr["this model"], abs=1e-3)
    none, half, whole = (psnr[f"same, strength {share}"] for share in ("0", "0.5", "1"))
    assert half == psnr["same"]
    assert none == psnr["input"]
    # Untrained and shifted, the network adds 64 HU to noise of 60.
    off = [10 ** ((none - other) / 10) for other in (half, whole)]
    assert off == pytest.approx([1 + (32 / 60) ** 2, 1 + (64 / 60) ** 2], rel=0.05)
    without_strength = without("l1", replace(study, strength=None), ["S0"])
    for share, other in ((0.5, without_strength), (1.5, bundle)):
        with pytest.raises(ImageError, match=f"strength {share}"):
            measured(bundle, [bundle], table(study), other=Folds([other], [share]))


def test_what_guides_training_alone_is_not_asked_for(without, toy_study, table):
    study = toy_study(2, 0, example=DENOISING)
    guided = replace(study, guides={"again": study.targets["full"]})
    bundle = without("residual-unet", guided, ["S0"])
    found, _ = measured(bundle, [bundle], table(study))
    assert found["subjects"] == ["S0"]


@pytest.mark.parametrize("smoothing", [total_variation, non_local_means])
def test_a_smoothing_leaves_what_has_no_noise_as_it_is(smoothing):
    clean = Image(np.full((1, 40, 40, 2), -1000, np.float32), np.eye(4), "HU")
    clean.voxels[:, 5:35, 5:35] = 40
    assert np.array_equal(Smoother(smoothing, 1.0).predict(clean).voxels, clean.voxels)


def test_smoothings_are_tuned_without_the_subject_that_they_are_measured_on(without, toy_study, table, monkeypatch):
    study, fitted = toy_study(2, 0, example=DENOISING), []
    folds = [without("residual-unet", study, [subject]) for subject in SUBJECTS]

    def baselines(_, cases):
        fitted.append(sorted(case.subject for case in cases))
        return {}

    monkeypatch.setattr(Restoration, "baselines", baselines)
    measured(without("residual-unet", study, []), folds, table(study))
    assert fitted == [["S1", "S3"], ["S0", "S3"], ["S0", "S1"]]


def test_a_model_of_all_subjects_needs_folds_and_every_subject_a_network_without_it(without, toy_study, table):
    study = toy_study(2, 0, example=DENOISING)
    everything, one = without("residual-unet", study, []), without("residual-unet", study, ["S0"])
    with pytest.raises(MedGANError, match="give --folds"):
        measured(everything, [everything], table(study))
    with pytest.raises(MedGANError, match="not trained without S0"):
        measured(one, [one], table(study), other=Folds([everything]))


@pytest.mark.parametrize(
    ("name", "example", "inputs", "shown"),
    [
        ("dan", SEGMENTATION, ["mr"], "Dice, label 1"),
        ("pix2pix", TWO_INPUTS, ["mr", "ct"], "MAE, mask"),
    ],
    ids=["labels", "two inputs"],
)
def test_labels_and_several_inputs_are_measured_too(name, example, inputs, shown, without, toy_study, table):
    study = toy_study(2, 0, example=example)
    assert list(study.inputs) == inputs
    bundle = without(name, study, ["S0", "S1"])
    found, text = measured(bundle, [bundle], table(study))
    (of,) = found["tables"]
    assert list(of["by_case"]["this model"]) == ["S0", "S1"]
    assert all(shown in cells for cells in of["by_case"]["this model"].values())
    assert "docs/worst.png" in text


def test_a_noisy_reference_does_not_choose_its_tissues():
    random = np.random.default_rng(0)
    shape = (40, 40, 6)
    truth = np.full((1, *shape), 40.0, np.float32)
    noisy = Image(truth + random.normal(0, 80, truth.shape).astype(np.float32), np.eye(4), "HU")
    flat = Image(truth, np.eye(4), "HU")
    report = Restoration(DENOISING).compare(noisy, flat, np.ones(shape, bool))
    assert report.value("bias", SOFT_TISSUE.name) == pytest.approx(0, abs=3)
    assert next(row for row in report.rows if row.region == SOFT_TISSUE.name).voxels == truth.size


def test_structure_that_was_added_is_remarked_and_the_truth_is_not(toy_study):
    random = np.random.default_rng(0)
    shape = (64, 64, 6)
    truth = Image(np.full((1, *shape), 40, np.float32), np.eye(4), "HU")
    given = {"low": replace(truth, voxels=truth.voxels + random.normal(0, 25, truth.voxels.shape).astype(np.float32))}
    invented = truth.voxels.copy()
    invented[0, 20:40, 20:40] += 25
    protocol, mask = Restoration(DENOISING), np.ones(shape, bool)
    assert protocol.remark(given, truth, truth, mask) == "within noise"
    assert protocol.remark(given, truth, replace(truth, voxels=invented), mask).startswith("not within noise")


@pytest.fixture
def table_with(table, tmp_path, toy_case):
    """Return a maker of a study's table with a further column: label maps that a function draws of a toy case."""

    def make(study, column, draw, without=()):
        path = table(study)
        with path.open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        for row in rows:
            case = toy_case(row[0], "test", int(row[0][1:]))
            drawn = Image(draw(case)[None].astype(np.uint8), case.affine, "label")
            write(drawn, tmp_path / f"{row[0]}-{column}.nii")
            row.append("" if row[0] in without else f"{row[0]}-{column}.nii")
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([[*header, column], *rows])
        return path

    return make


def _bright(case):
    """Where a toy PET is higher than 4 SUV, in the middle of the thigh."""
    lesion = case.volumes["mr"] >= 250 + 15 * 5
    lesion[:, :, [0, -1]] = False
    return lesion


def test_a_models_lesions_are_measured_beside_mean_and_median_and_listed_by_case(without, toy_study, table_with):
    study = toy_study(2, 0, example=TO_PET)
    bundle = without("l1", study, ["S0", "S1"])
    path = table_with(study, "gtv", _bright, without=["S3"])
    found, text = measured(bundle, [bundle], path, drawn=Drawn("gtv"))
    (of,) = found["tables"]
    assert list(of["by_case"]) == ["this model", "intensity look-up", "mean SUV", "median SUV"]
    mean, median = (
        [cells["MAE, mask"] for cells in of["by_case"][f"{name} SUV"].values()] for name in ("mean", "median")
    )
    assert mean != median
    for name in ("mean SUV", "median SUV"):
        assert [cells["AUC, lesions"] for cells in of["by_case"][name].values()] == [0.5, 0.5]
    # The toy PET is a staircase of the MR: what is bright enough is exactly what the look-up finds higher.
    assert min(cells["AUC, lesions"] for cells in of["by_case"]["intensity look-up"].values()) > 0.95
    errors = of["by_case"]["mean SUV"]
    assert all(cells["SUVmax error, lesions"] < cells["SUVmean error, lesions"] < 0 for cells in errors.values())
    assert "|S0|" in text.split("SUVmax error (lesions) of every case")[1]
    assert "| |reference|this model|" in text.split("SUVmax error (lesions) of every case")[1]
    assert "5 to 20 mm from the edge" in text


def test_lesions_have_no_number_where_the_reference_was_moved(without, toy_study, table_with):
    study = toy_study(2, 0, example=TO_PET)
    bundle = without("l1", study, ["S0"])
    path = table_with(study, "gtv", _bright)
    text = measure(bundle, Folds([bundle]), {}, path, bundle, "by hand", silent, Drawn("gtv"))
    given, moved = text.split("### Reference moved")
    assert "SUVmax error (lesions) of every case" in given
    assert "MAE (mask) of every case" in moved
    assert "(lesions) of every case" not in moved


def test_lesions_are_measured_in_the_test_cases_that_have_any(without, toy_study, table_with):
    study = toy_study(2, 0, example=TO_PET)
    bundle = without("l1", study, ["S0", "S1"])
    found, text = measured(bundle, [bundle], table_with(study, "gtv", _bright, without=["S1"]), drawn=Drawn("gtv"))
    (of,) = found["tables"]
    errors = {case: cells["SUVmean error, lesions"] for case, cells in of["by_case"]["mean SUV"].items()}
    assert errors["S0"] < 0
    assert errors["S1"] is None
    assert "|S1|–|–|" in text.split("SUVmean error (lesions) of every case")[1]
    # A case is the worst by what all have.
    assert found["worst_case"] == max(of["by_case"]["this model"].items(), key=lambda case: case[1]["MAE, mask"])[0]


def test_lesions_are_not_asked_for_where_no_uptake_is_made_nor_where_no_test_case_has_any(
    without, toy_study, table_with
):
    study = toy_study(2, 0, example=TO_PET)
    bundle = without("l1", study, ["S0"])
    with pytest.raises(MedGANError, match="no test case has a gtv"):
        measured(bundle, [bundle], table_with(study, "gtv", _bright, without=["S0"]), drawn=Drawn("gtv"))
    with pytest.raises(MedGANError, match="lesions are measured in SUV: mr-to-ct is in 'HU'"):
        Translation(TRANSLATION, Drawn("gtv"))


def test_a_threshold_of_uptake_is_fitted_on_others_and_stands_beside_the_published_ones(without, toy_study, table):
    study = toy_study(2, 0, example=ON_PET)
    bundle = without("dan", study, ["S0"])
    found, text = measured(bundle, [bundle], table(study))
    dice = {name: cases["S0"]["Dice, label 1"] for name, cases in found["tables"][0]["by_case"].items()}
    thresholds = ("SUV threshold, fitted", "SUV above 2.5", "above 41 % of SUVmax")
    assert tuple(dice) == ("this model", *thresholds)
    # The toy's lesion is where its PET, a staircase, is 5 or more, but for the last third of that step.
    assert dice[thresholds[0]] > 0.85
    assert dice[thresholds[0]] > max(dice[name] for name in thresholds[1:])
    assert "SUVmax is the whole image's" in text


def test_the_fitted_threshold_is_the_one_that_drew_the_labels(toy_cohort):
    cases = [
        replace(case, volumes={**case.volumes, "lesion": (case.volumes["pet"] > 7).astype(np.int16)})
        for case in toy_cohort(ON_PET)
        if "lesion" in case.volumes
    ]
    cases[0].volumes["lesion"][~cases[0].valid] = 1
    pet = Image(np.array([6.5, 7.5, 20]).reshape(1, 3, 1, 1), np.eye(4), "SUV")
    assert Threshold.fit("pet", ON_PET, cases).predict(pet).voxels.ravel().tolist() == [0, 1, 1]
    assert Threshold.share_of_highest(0.41, 1).predict(pet).voxels.ravel().tolist() == [0, 0, 1]


def test_an_image_of_another_grid_is_marked_on_the_first_ones(toy_cohort):
    cases = [case for case in toy_cohort(ON_PET) if "lesion" in case.volumes]
    predict = Segmentation(ON_PET).baselines(cases)["SUV above 2.5"]
    ct = Image(np.zeros((1, 4, 4, 4), np.float32), np.eye(4), "HU")
    coarse = Image(np.full((1, 2, 2, 2), 3, np.float32), np.diag([2.0, 2, 2, 1]), "SUV")
    assert predict({"ct": ct, "pet": coarse}).grid.matches(ct.grid)


def test_another_observer_is_one_more_row(without, toy_study, table_with):
    study = toy_study(2, 0, example=SEGMENTATION)
    bundle = without("dan", study, ["S0"])
    path = table_with(study, "second", lambda case: np.roll(case.volumes["mr"] > 330, 1, axis=0))
    found, text = measured(bundle, [bundle], path, drawn=Drawn(observers=("second",)))
    by_case = found["tables"][0]["by_case"]
    assert list(by_case) == ["this model", "second"]
    assert 0.5 < by_case["second"]["S0"]["Dice, label 1"] < 1
    assert "Drawn by people as the reference was: second" in text
    with pytest.raises(MedGANError, match="observers draw labels: mr-to-ct is in 'HU'"):
        Translation(TRANSLATION, Drawn(observers=("second",)))


def test_several_labels_are_shown_with_their_mean():
    two = replace(SEGMENTATION, targets={"tissue": GUIDED.guides["tissue"]})
    assert Segmentation(two).listed == (("Dice", "mean of labels"), ("Dice", "label 1"), ("Dice", "label 2"))
    assert not Segmentation(replace(two, inputs=ON_PET.inputs)).baselines([])
