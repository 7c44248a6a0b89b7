"""A toy cohort: small limbs whose CT follows from their MR, as cases and as files with a table."""

import csv
from dataclasses import fields, replace

import numpy as np
import pytest

from MedGANLogic import recipes
from MedGANLogic.cohort import Case
from MedGANLogic.images import Image, write
from MedGANLogic.study import TRANSLATION, Settings

SHAPE = (40, 36, 12)
TOY = {"width": 4, "levels": 3, "patch": 32, "batch": 2, "steps": 40}
PARTS = ("train", "train", "validation", "test")


def _limb(seed):
    """Return a limb's body and its MR signal, smooth and different for every seed."""
    random = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = (i / 0.8) ** 2 + (j / 0.75) ** 2 < 1
    phase = random.uniform(0, 2 * np.pi, 3)
    texture = np.cos(4 * i + phase[0]) + np.cos(5 * j + phase[1]) + np.cos(2 * k + phase[2])
    return body, 300 + 60 * texture


@pytest.fixture(scope="session")
def toy_case():
    """Return a maker of cases; in the body CT is 4·MR - 1000 HU, in one corner the volumes do not agree."""

    def make(subject, part, seed):
        body, signal = _limb(seed)
        volumes = {"mr": np.where(body, signal, 0), "ct": np.where(body, 4 * signal - 1000, -1000)}
        valid = np.ones(SHAPE, bool)
        valid[:12, :12] = False
        stored = {role: np.rint(volume).astype(np.int16) for role, volume in volumes.items()}
        return Case(subject, part, stored, {"mr": 1.0, "ct": 1.0}, valid, body, np.diag([2.0, 2.0, 4.0, 1.0]))

    return make


@pytest.fixture(scope="session")
def toy_cases(toy_case):
    return [toy_case(f"S{number}", part, number) for number, part in enumerate(PARTS)]


@pytest.fixture(scope="session")
def toy_study():
    """Return a maker of MR-to-CT studies at toy width, or of others that an example shows, for systems that follow it.

    A change to None leaves a setting as the paper has it.
    """
    known = {field.name for field in fields(Settings)}
    # Where no system that an example is for has levels, none can be chosen.
    shallow = [recipes.example(name) for name in recipes.names() if "levels" not in recipes.published(name).numbers]

    def make(dimensions=2, neighbours=1, seed=0, example=TRANSLATION, **changes):
        levels = {"levels": None} if example in shallow else {}
        # Whole fine volumes through critics of many turns take long: there, small ones do.
        fine = example.dimensions == 3 and any(made.degraded for made in example.made.values())
        toy = {**TOY, **levels, **({"patch": 16} if fine else {}), **changes}
        toy = {name: value for name, value in toy.items() if name in known and value is not None}
        return replace(example, dimensions=dimensions, neighbours=neighbours, seed=seed, changes=toy)

    return make


@pytest.fixture(scope="session")
def toy_cohort(toy_case):
    """Return a maker of cases that a study can be trained on: two that lack nothing, one without targets, and one each
    for validation and test."""

    def make(study):
        parts = ("train", "train", "train", "validation", "test")
        return [_dressed(toy_case(f"S{n}", part, n), study, n, labelled=n != 2) for n, part in enumerate(parts)]

    return make


def _dressed(case, study, number, labelled):
    """Return a toy case with the roles that a study's table holds, and what it says of a subject."""
    hot = np.clip((case.volumes["mr"] - 250) // 15, 0, 20)
    noise = np.random.default_rng(number).normal(0, 60, SHAPE).astype(np.int16)
    shown = {**case.volumes, "seg": (case.volumes["mr"] > 330).astype(np.int16), "pt": hot.astype(np.int16)}
    shown["low"] = shown["ct"] + noise
    volumes = {
        role: shown.get(role, shown[domain.modality.lower()])
        for role, domain in study.domains.items()
        if role in study.columns and (labelled or role in study.inputs or not study.inputs)
    }
    said = {"class": study.classes[number % len(study.classes)]} if study.classes else {}
    said |= {name: str(low + (high - low) * number / 4) for name, (low, high) in study.attributes.items()}
    return replace(case, volumes=volumes, slopes=dict.fromkeys(volumes, 1.0), said=said)


@pytest.fixture(params=[(2, 0), (2, 1), (3, 0)], ids=["2D", "2.5D", "3D"])
def study(request, toy_study):
    return toy_study(*request.param)


@pytest.fixture
def toy_table(tmp_path):
    """Return the path of a table of four subjects, their files beside it."""
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    with (tmp_path / "cohort.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["subject", "part", "mr", "ct"])
        for number, part in enumerate(PARTS):
            body, signal = _limb(number)
            noise = np.random.default_rng(number).normal(0, 12, SHAPE)
            ct = np.where(body, 4 * signal - 1000 + noise, -1000)
            write(
                Image(np.where(body, signal, 0)[None].astype(np.float32), affine, "none"), tmp_path / f"m{number}.nii"
            )
            write(Image(ct[None].astype(np.float32), affine, "HU"), tmp_path / f"c{number}.nii")
            table.writerow([f"S{number}", part, f"m{number}.nii", f"c{number}.nii"])
    return tmp_path / "cohort.csv"


@pytest.fixture
def packed_toy_cohort(tmp_path, toy_cohort):
    """Return a maker of packed cohorts for a study."""
    from MedGANLogic.cohort import Row, pack

    def make(study, name="toy.zip"):
        path = tmp_path / name
        cases = toy_cohort(study)
        made = {case.subject: case for case in cases}
        rows = [Row(case.subject, case.part, {}) for case in cases]
        assert len(list(pack(rows, study, path, lambda row, _: made[row.subject]))) == len(rows)
        return path

    return make
