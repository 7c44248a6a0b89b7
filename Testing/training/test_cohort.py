"""Cohorts: tables, one grid for a subject's volumes, and the packed file."""

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedGANLogic.cohort import CohortError, Row, fold, pack, packed_study, prepare, read_table, roles_of, unpack
from MedGANLogic.domain import CT, MR
from MedGANLogic.images import Image, Orientation, write
from MedGANLogic.study import Study

ROLES = ("mr", "ct")


@pytest.fixture
def table(tmp_path):
    """Return a maker of tables; a.nii and b.nii lie beside them."""
    (tmp_path / "a.nii").touch()
    (tmp_path / "b.nii").touch()

    def make(text, encoding="utf-8"):
        path = tmp_path / "cohort.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return make


def test_a_table_names_subjects_parts_and_files_beside_it(table):
    path = table("subject,part,mr,ct\nS1,train,a.nii,b.nii\nS2,test,a.nii,b.nii\n")
    rows = read_table(path, ROLES)
    assert [(row.subject, row.part) for row in rows] == [("S1", "train"), ("S2", "test")]
    assert rows[0].files == {"mr": path.parent / "a.nii", "ct": path.parent / "b.nii"}
    assert roles_of(path) == ["mr", "ct"]


def test_a_table_saved_by_a_spreadsheet_with_a_byte_order_mark_is_read(table):
    path = table("subject,part,mr,ct\r\nS1,train,a.nii,b.nii\r\n", "utf-8-sig")
    assert [row.subject for row in read_table(path, ROLES)] == ["S1"]
    assert roles_of(path) == ["mr", "ct"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,mr\nS1,a.nii\n", "lacks the column ct: it has subject, mr"),
        ("mr,ct\na.nii,b.nii\n", "lacks the column subject"),
        ("subject;mr;ct\nS1;a.nii;b.nii\n", "lacks the column"),
        ("subject,mr,ct\n", "no rows"),
        ("", "no rows"),
        ("subject,mr,ct\nS1,a.nii,b.nii\nS2,a.nii,c.nii\n", "line 3: ct .*c.nii.* does not exist"),
        ("subject,mr,ct\nS1,,\n", "line 2: no file for mr or ct"),
        ("subject,mr,ct\nS1\n", "line 2: no file for mr or ct"),
        ("subject,part,mr,ct\nS1,training,a.nii,b.nii\n", "'training': expected train, validation, test"),
        ("subject,part,mr,ct\nS1,train,a.nii,b.nii\nS1,test,a.nii,b.nii\n", "S1 stands in train and in test"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_words(table, text, said):
    with pytest.raises(CohortError, match=said):
        read_table(table(text), ROLES)


def test_what_is_no_text_or_not_there_is_no_table(table, tmp_path):
    path = table("")
    path.write_bytes(b"\xff\xfe\x00subject")
    for unreadable in (path, tmp_path / "missing.csv", tmp_path):
        with pytest.raises(CohortError, match="is no table"):
            read_table(unreadable, ROLES)
        with pytest.raises(CohortError, match="is no table"):
            roles_of(unreadable)


def test_a_table_without_a_role_has_nothing_to_learn(table):
    assert roles_of(table("subject,part,mr\n")) == ["mr"]
    with pytest.raises(CohortError, match="names no role"):
        roles_of(table("subject,part,class\n"))


def test_a_subject_may_lack_a_role_and_be_described(table):
    path = table("subject,mr,ct,class\nS1,a.nii,,t1\nS2,a.nii,b.nii,t2\n")
    first, second = read_table(path, ROLES, ["class"])
    assert (list(first.files), first.said) == (["mr"], {"class": "t1"})
    assert (list(second.files), second.said) == (["mr", "ct"], {"class": "t2"})


def test_a_fold_tests_some_subjects_and_trains_on_all_others(table):
    rows = read_table(table("subject,part,mr,ct\nS1,validation,a.nii,b.nii\nS2,test,a.nii,b.nii\n"), ROLES)
    assert [(row.subject, row.part) for row in fold(rows, ["S1"])] == [("S1", "test"), ("S2", "train")]
    with pytest.raises(CohortError, match="no subject nobody"):
        fold(rows, ["S1", "nobody"])


def test_without_parts_subjects_are_dealt_out_in_their_sorted_order(table):
    names = [f"S{number:02d}" for number in range(16)]
    lines = [f"{name},a.nii,b.nii" for name in reversed(names) for _ in range(2)]
    rows = read_table(table("\n".join(["subject,mr,ct", *lines])), ROLES)
    parts = {row.subject: row.part for row in rows}
    assert len({(row.subject, row.part) for row in rows}) == 16
    eight = ["train", "validation", "train", "test", "train", "train", "train", "test"]
    assert [parts[name] for name in names] == 2 * eight


# --- one grid -------------------------------------------------------------------------------------------------------

CENTRE_MM = np.array([10.0, -20.0, 5.0])
#: Values that linear interpolation reproduces, as functions of the place in mm from the centre, and their slopes.
SIGNAL = {"mr": (300.0, np.array([2.0, 1.5, 1.0])), "ct": (0.0, np.array([3.0, -2.0, 1.5]))}
AIR = {"mr": 0.0, "ct": -1000.0}


def rotation(about_z, about_x):
    z, x = np.radians(about_z), np.radians(about_x)
    first = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return first @ np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])


def centred(directions, spacing, shape):
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = CENTRE_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def from_centre(affine, shape):
    """Return every voxel's place in mm from the centre of the body, (3, I, J, K)."""
    index = np.indices(shape).reshape(3, -1)
    return ((affine[:3, :3] @ index).T + affine[:3, 3] - CENTRE_MM).T.reshape(3, *shape)


def signal(role, place):
    constant, slope = SIGNAL[role]
    return constant + np.tensordot(slope, place, 1)


def in_ellipse(place, grown_mm=0.0):
    return (place[0] / (40 + grown_mm)) ** 2 + (place[1] / (35 + grown_mm)) ** 2 < 1


def on_table(place):
    return (np.abs(place[1] + 45) < 1.5) & (np.abs(place[0]) < 60)


@pytest.fixture
def oblique_pair(tmp_path):
    """Return the row of a limb: MR tilted and stored P, S, L; CT straight, stored L, P, S, shorter, with a table."""
    tilt = rotation(8, 5)
    mr_affine = centred(np.stack([-tilt[:, 1], tilt[:, 2], -tilt[:, 0]], 1), (2.0, 3.0, 2.5), (60, 20, 50))
    ct_affine = centred(np.diag([-1.0, -1.0, 1.0]), (1.5, 1.5, 2.0), (120, 120, 20))
    mr_place, ct_place = from_centre(mr_affine, (60, 20, 50)), from_centre(ct_affine, (120, 120, 20))
    mr = np.where(in_ellipse(mr_place), signal("mr", mr_place), AIR["mr"])
    ct = np.where(in_ellipse(ct_place), signal("ct", ct_place), AIR["ct"])
    ct[on_table(ct_place)] = 150
    write(Image(mr[None].astype(np.float32), mr_affine, "none"), tmp_path / "mr.nii.gz")
    write(Image(ct[None].astype(np.float32), ct_affine, "HU"), tmp_path / "ct.nii.gz")
    return Row("S1", "train", {"mr": tmp_path / "mr.nii.gz", "ct": tmp_path / "ct.nii.gz"})


@pytest.fixture(params=[None, (2.0, 2.0, 4.0)], ids=["native spacing", "own spacing"])
def prepared(request, oblique_pair):
    study = Study({"mr": MR}, {"ct": CT}, spacing_mm=request.param)
    case = prepare(oblique_pair, study)
    return case, from_centre(case.affine, case.valid.shape), study


CT_HALF_HEIGHT_MM = 20.0


def test_prepared_volumes_lie_on_the_first_inputs_grid_in_ras_order(prepared):
    case, _, study = prepared
    assert Orientation.nearest(case.affine) == Orientation((0, 1, 2), (False, False, False))
    assert case.grid.spacing_mm == pytest.approx(study.spacing_mm or (2.5, 2.0, 3.0), rel=0.02)
    # Re-ordered, not turned: its axes stay those of the tilted MR.
    assert case.affine[:3, :3] / np.array(case.grid.spacing_mm) == pytest.approx(rotation(8, 5), abs=1e-5)
    assert case.volumes["mr"].shape == case.volumes["ct"].shape == case.valid.shape == case.body.shape


def test_a_prepared_case_says_on_which_grids_its_files_were(prepared):
    case, _, _ = prepared
    # MR is stored P, S, L and CT L, P, S: here they are R, A, S.
    assert case.scanned["mr"].spacing_mm == pytest.approx((2.5, 2.0, 3.0))
    assert case.scanned["mr"].extent_mm == pytest.approx((125, 120, 60))
    assert case.scanned["ct"].extent_mm == pytest.approx((180, 180, 40))


@pytest.mark.parametrize("role", ROLES)
def test_prepared_values_are_those_of_their_place_in_the_world(prepared, role):
    case, place, _ = prepared
    deep = in_ellipse(place, -6) & (np.abs(place[2]) < CT_HALF_HEIGHT_MM - 4)
    error = case.in_unit(role, case.volumes[role]) - signal(role, place)
    # Half a step of rounding, and a quarter of a millimetre.
    allowed = case.slopes[role] / 2 + 0.25 * np.linalg.norm(SIGNAL[role][1])
    assert deep.sum() > 1000
    assert np.abs(error[deep]).max() < allowed


def test_in_the_body_what_both_volumes_show_is_valid_and_outside_of_it_everything(prepared):
    case, place, _ = prepared
    deep, height = in_ellipse(place, -6), np.abs(place[2])
    assert case.valid[deep & (height < CT_HALF_HEIGHT_MM - 3)].all()
    assert case.body[deep & (height < CT_HALF_HEIGHT_MM - 3)].all()
    beyond = in_ellipse(place, -6) & (height > CT_HALF_HEIGHT_MM + 1)
    assert beyond.any()
    assert not case.valid[beyond].any()
    # Where the input shows no body the target is known: background.
    assert case.valid[~in_ellipse(place, 6)].all()


@pytest.mark.parametrize("role", ROLES)
def test_outside_of_the_body_there_is_background_and_no_table(prepared, role):
    case, place, _ = prepared
    outside = ~in_ellipse(place, 6)
    found = case.in_unit(role, case.volumes[role])[outside]
    assert np.abs(found - AIR[role]).max() <= case.slopes[role] / 2
    assert not case.body[outside].any()


def test_the_table_was_there_to_be_removed(oblique_pair):
    from MedGANLogic.images import read

    ct = read(oblique_pair.files["ct"], "HU")
    table = on_table(from_centre(ct.affine, ct.grid.shape))
    assert table.sum() > 1000
    assert (ct.voxels[0][table] == 150).all()


def test_prepared_volumes_are_cropped_to_the_body(prepared):
    case, place, _ = prepared
    margin = 4 * max(case.grid.spacing_mm)
    assert (np.abs(place[0]) < 40 + margin + 8).all()
    assert (np.abs(place[1]) < 35 + margin + 8).all()
    assert case.body.any(axis=(1, 2)).sum() > 70 / case.grid.spacing_mm[0]


def test_volumes_without_common_body_are_refused(oblique_pair, tmp_path):
    far = np.diag([2.0, 2.0, 2.0, 1.0])
    far[:3, 3] = 500
    write(Image(np.full((1, 20, 20, 20), 40.0, np.float32), far, "HU"), tmp_path / "far.nii.gz")
    row = Row("S1", "train", {**oblique_pair.files, "ct": tmp_path / "far.nii.gz"})
    with pytest.raises(CohortError, match="S1"):
        prepare(row, Study({"mr": MR}, {"ct": CT}))


def test_a_volume_with_missing_values_is_refused(oblique_pair, tmp_path):
    holed = np.full((20, 20, 20), 100, np.float32)
    holed[3, 3, 3] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(holed), str(tmp_path / "holed.nrrd"))
    with pytest.raises(CohortError, match="S1: mr"):
        prepare(
            Row("S1", "train", {**oblique_pair.files, "mr": tmp_path / "holed.nrrd"}), Study({"mr": MR}, {"ct": CT})
        )


# --- the packed file ------------------------------------------------------------------------------------------------


@pytest.fixture
def study():
    return Study({"mr": MR}, {"ct": CT}, seed=7, about={"title": "Toy"}, changes={"width": 4})


@pytest.fixture
def packed(toy_table, study):
    path = toy_table.with_suffix(".zip")
    cases = list(pack(read_table(toy_table, ROLES), study, path))
    return path, cases


def test_a_packed_cohort_opens_as_it_was(packed, study):
    path, cases = packed
    opened = unpack(path)
    assert [(case.subject, case.part) for case in opened] == [(case.subject, case.part) for case in cases]
    for case, again in zip(cases, opened, strict=True):
        assert again.slopes == case.slopes
        assert np.array_equal(again.affine, case.affine)
        for name in ROLES:
            assert again.scanned[name].matches(case.scanned[name], tolerance_mm=0)
            assert again.volumes[name].dtype == np.int16
            assert np.array_equal(again.volumes[name], case.volumes[name])
        assert np.array_equal(again.valid, case.valid)
        assert np.array_equal(again.body, case.body)
    assert packed_study(path) == study


def test_rounding_costs_at_most_half_a_step(packed, toy_table):
    from MedGANLogic.images import read

    path, _ = packed
    row = read_table(toy_table, ROLES)[0]
    case = unpack(path)[0]
    original = read(row.files["ct"], "HU")
    corner = np.rint(np.linalg.solve(original.affine, case.affine[:, 3])[:3]).astype(int)
    box = tuple(slice(start, start + length) for start, length in zip(corner, case.valid.shape, strict=True))
    error = np.abs(case.in_unit("ct", case.volumes["ct"]) - original.voxels[0][box])[case.body & case.valid]
    assert case.slopes["ct"] > 0
    assert 0 < error.max() <= case.slopes["ct"] / 2 + 1e-3


def test_the_step_is_half_of_the_noise_so_that_rounding_costs_a_quarter_of_it(tmp_path):
    noise = np.random.default_rng(0).normal(40, 12, (1, 40, 40, 10)).astype(np.float32)
    write(Image(noise, np.diag([2.0, 2.0, 4.0, 1]), "HU"), tmp_path / "ct.nii")
    write(Image(np.abs(noise) + 100, np.diag([2.0, 2.0, 4.0, 1]), "none"), tmp_path / "mr.nii")
    case = prepare(Row("S", "train", {r: tmp_path / f"{r}.nii" for r in ROLES}), Study({"mr": MR}, {"ct": CT}))
    assert case.slopes["ct"] == pytest.approx(6, rel=0.05)


def test_the_same_cohort_gives_the_same_bytes_on_another_day(packed, toy_table, study, monkeypatch):
    path, _ = packed
    before, tomorrow = path.read_bytes(), time.time() + 86_400
    path.unlink()
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    assert list(pack(read_table(toy_table, ROLES), study, path))
    assert path.read_bytes() == before


def test_no_damage_goes_unnoticed(packed):
    path, cases = packed
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for place in random.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            opened = unpack(path)
        except CohortError:
            refused += 1
            continue
        # A byte that means nothing (a date, a permission) may change; a voxel may not.
        for case, again in zip(cases, opened, strict=True):
            assert all(np.array_equal(case.volumes[role], again.volumes[role]) for role in ROLES)
            assert np.array_equal(case.valid, again.valid)
            assert np.array_equal(case.body, again.body)
    assert refused > 50


def test_what_is_no_packed_cohort_is_refused(packed, tmp_path):
    path, _ = packed
    whole = path.read_bytes()
    foreign = tmp_path / "foreign.zip"
    for content in (b"", b"subject,mr,ct\n", whole[: len(whole) // 2]):
        foreign.write_bytes(content)
        for reader in (unpack, packed_study):
            with pytest.raises(CohortError, match="is no packed cohort"):
                reader(foreign)
    for description in ("[]", "{}", "nonsense", json.dumps({"study": {}, "cases": [{"subject": "S"}]})):
        with zipfile.ZipFile(foreign, "w") as archive:
            archive.writestr("cohort.json", description)
        for reader in (unpack, packed_study):
            with pytest.raises(CohortError, match="is no packed cohort"):
                reader(foreign)
    with pytest.raises(CohortError, match="is no packed cohort"):
        unpack(tmp_path / "missing.zip")


class Trap:
    """An object that, unpickled, would write a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_a_packed_cohort_runs_no_code(packed, tmp_path, monkeypatch):
    path, _ = packed
    monkeypatch.chdir(tmp_path)
    trapped = tmp_path / "trapped.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(trapped, "w") as target:
        for name in source.namelist():
            if name == "0000/mr.npy":
                with target.open(name, "w") as stream:
                    np.lib.format.write_array(stream, np.array([Trap()]), allow_pickle=True)
            else:
                target.writestr(name, source.read(name))
    with pytest.raises(CohortError, match="is no packed cohort"):
        unpack(trapped)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("failure", [CohortError("broken"), KeyboardInterrupt()], ids=["error", "cancelled"])
def test_a_failure_leaves_nothing_behind(tmp_path, toy_cases, study, failure):
    made = iter([toy_cases[0]])

    def failing(row, _study):
        for case in made:
            return case
        raise failure

    with pytest.raises(type(failure)):
        list(pack([Row("a", "train", {}), Row("b", "train", {})], study, tmp_path / "toy.zip", failing))
    assert not list(tmp_path.iterdir())


def test_an_abandoned_packing_leaves_nothing_behind(tmp_path, toy_cases, study):
    packing = pack([Row("a", "train", {})] * 2, study, tmp_path / "toy.zip", lambda *_: toy_cases[0])
    next(packing)
    assert list(tmp_path.iterdir())
    packing.close()
    assert not list(tmp_path.iterdir())


BLOCKED = """
import sys
for name in ("SimpleITK", "monai", "tensorboard"):
    sys.modules[name] = None
from pathlib import Path
import torch
from MedGANLogic import experiment
from MedGANLogic.cohort import packed_study, unpack
folder, packed = Path("run"), Path(sys.argv[1])
folder.mkdir()
assert len(unpack(packed)) == 5
study = packed_study(packed)
what = experiment.Experiment("pix2pix", study, packed, folder, torch.device("cpu"), "test")
steps = [progress.step for progress in experiment.train(what, experiment.paced(2), None, False)]
assert steps == [1, 2], steps
assert (folder / "bundle" / "models" / "weights.safetensors").exists()
"""


def test_a_packed_cohort_trains_where_simpleitk_monai_and_tensorboard_are_missing(
    packed_toy_cohort, toy_study, tmp_path
):
    packed = packed_toy_cohort(toy_study())
    command = [sys.executable, "-c", BLOCKED, str(packed)]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr.decode()


def test_a_table_that_says_too_little_of_a_subject_is_refused_before_it_is_packed(toy_table, tmp_path, capsys):
    from MedGANLogic.__main__ import main

    header, *lines = toy_table.read_text(encoding="utf-8").splitlines()
    said = [f"{header},class", *(f"{line},{'t1' if number else ''}" for number, line in enumerate(lines))]
    toy_table.write_text("\n".join(said), encoding="utf-8")
    (tmp_path / "study.toml").write_text('inputs = ["mr"]\ntargets = ["ct"]\nclasses = ["t1", "t2"]\n')
    command = ["cohort", "pack", "--cohort", str(toy_table), "--study", str(tmp_path / "study.toml")]
    assert main([*command, "--out", str(tmp_path / "packed.zip")]) == 2
    assert "subject S0 (train): class ''" in capsys.readouterr().err
    assert not (tmp_path / "packed.zip").exists()
