"""The command line: exit codes, errors of one sentence, JSON that parses, folders that are taken up again."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import MedGANLogic
from MedGANLogic import __main__ as command_line
from MedGANLogic.__main__ import main
from MedGANLogic.bundle import WEIGHTS
from MedGANLogic.catalogue import BUNDLES_VARIABLE, CARD, RESEARCH_USE
from MedGANLogic.images import Image, read, write
from MedGANLogic.parts.operators.projection import KERNELS

VERBS = [
    "models",
    "recipes",
    "check",
    "verify",
    "translate",
    "cohort pack",
    "train",
    "evaluate",
    "sample",
    "curves",
    "simulate low-dose",
]


@pytest.fixture(autouse=True)
def known_models(pristine_toy, monkeypatch):
    """The toy can be named, and the machine's own models play no part."""
    monkeypatch.setenv(BUNDLES_VARIABLE, str(pristine_toy.parent))


@pytest.fixture
def medgan(capsys):
    """Run the command line and return its exit code, what it printed, and what it complained of."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def out(tmp_path):
    """An empty folder for results."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def folder_of_three(mr, tmp_path):
    """Two good files, a broken one between them, and what is no image."""
    folder = tmp_path / "in"
    folder.mkdir()
    write(mr, folder / "a.nii.gz")
    (folder / "b.nii.gz").write_bytes(b"no image at all")
    write(mr, folder / "c.nrrd")
    (folder / "readme.txt").write_text("not an image")
    return folder


def one_sentence(complaint):
    """Say whether a complaint is one line to a person, without a traceback."""
    lines = [line for line in complaint.splitlines() if line.strip()]
    return len(lines) == 1 and lines[0].startswith("medgan: ") and "Traceback" not in complaint


def events_in(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, medgan):
    code, text, _ = medgan(*verb.split(), "--help")
    assert code == 0
    assert text.startswith(f"usage: medgan {verb}")


def test_help_lists_every_verb_and_says_research_use(medgan):
    code, text, _ = medgan("--help")
    assert code == 0
    assert RESEARCH_USE in text
    assert all(f"  {verb.split()[0]} " in text for verb in VERBS)


def test_version_is_the_packages(medgan):
    assert medgan("--version")[:2] == (0, f"medgan {MedGANLogic.__version__}\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [("steps", 0), ("steps", -5), ("minutes", 0), ("minutes", "nan"), ("workers", -1), ("seed", -1), ("seed", 1.5)],
)
def test_training_is_not_begun_by_numbers_without_sense(option, value, out, medgan):
    code, _, complaint = medgan(
        "train", "--recipe", "l1", "--cohort", "c.csv", "--out", out / "run", f"--{option}", value
    )
    assert code == 2
    assert f"argument --{option}: '{value}' is no" in complaint
    assert not list(out.iterdir())


@pytest.mark.parametrize("verb", [["sample", "--set"], ["translate", "in.nii.gz", "--input"]])
def test_what_is_said_twice_is_refused(verb, out, medgan):
    name, *arguments, option = verb
    twice = [option, "age", "20", option, "age", "30"]
    code, _, complaint = medgan(name, "--model", "toy", *arguments, out / "out.nii.gz", *twice)
    assert code == 2
    assert one_sentence(complaint)
    assert "age is said twice, 20 and 30" in complaint


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["translate"],
        ["models", "--colour"],
        *(
            ["sample", "--model", "toy", "out.nii", option, value]
            for option, value in (("--n", "0"), ("--n", "1000000"))
        ),
        *([*verb, "--seed", "-1"] for verb in (["sample", "--model", "toy", "out.nii"], ["phantom", "out.nii"])),
    ],
    ids=" ".join,
)
def test_misuse_exits_with_2(arguments, medgan):
    code, _, complaint = medgan(*arguments)
    assert code == 2
    assert "usage: medgan" in complaint


def test_models_are_listed_for_people_and_for_programs(medgan):
    code, text, _ = medgan("models")
    assert code == 0
    assert "toy   A toy that has learnt nothing" in text
    assert "not measured" in text
    assert RESEARCH_USE in text
    code, text, _ = medgan("models", "--json")
    assert code == 0
    toy = next(entry for entry in json.loads(text) if entry["name"] == "toy")
    assert toy["inputs"]["mr"]["modality"] == "MR"
    assert len(toy["sha256"]) == 64


def test_recipes_are_listed_for_people_and_for_programs(medgan):
    code, text, _ = medgan("recipes", "--json")
    assert code == 0
    listed = {entry["name"]: entry for entry in json.loads(text)}
    assert "1611.07004" in listed["pix2pix"]["source"]
    code, text, _ = medgan("recipes")
    assert code == 0
    assert all(entry["title"] in text and entry["source"] in text for entry in listed.values())


def test_recipes_are_listed_before_torch_could_start():
    listing = "import sys; from MedGANLogic.__main__ import main; main(['recipes']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True)


def test_recipe_says_all_of_itself_and_what_its_marks_mean(medgan):
    code, text, _ = medgan("recipes", "cyclegan", "cgan")
    assert code == 0
    for said in ("arXiv:1703.10593", "mr (MR) to ct (CT)", "images (mr), images (ct)", "a class for each"):
        assert said in text
    assert "width 64, levels 9, patch 256, batch 1" in text
    assert "the discriminators move first" in text
    marks = {mark.partition(":")[0].strip("[]") for mark in re.findall(r"\[paper[^\]]*\]|\[seed\]|\[assumed\]", text)}
    legend = text[text.rindex("\n\n") :]
    assert all(f"[{mark}]" in legend for mark in marks)
    code, text, _ = medgan("recipes", "cyclegan", "--json")
    assert [entry["name"] for entry in json.loads(text)] == ["cyclegan"]


def test_recipe_that_there_is_not_is_one_sentence(medgan):
    code, _, complaint = medgan("recipes", "cyclgan")
    assert code == 2
    assert one_sentence(complaint) and "there are acgan, " in complaint


def test_check_speaks_to_people_and_to_programs(mr_file, ct_file, medgan):
    assert medgan("check", "--model", "toy", mr_file)[0] == 0
    code, text, _ = medgan("check", "--model", "toy", ct_file)
    assert code == 2
    assert text.startswith("error: the image looks like a CT in HU")
    code, text, _ = medgan("check", "--model", "toy", "--json", ct_file)
    assert code == 2
    found = json.loads(text)
    assert found[0]["level"] == "error"
    assert found[0]["forceable"] is True


def test_verify_tells_whole_from_broken(toy_folder, medgan):
    code, text, _ = medgan("verify", toy_folder)
    assert code == 0
    assert "toy: whole; not one of the models shipped, sha256 " in text
    (toy_folder / WEIGHTS).write_bytes(b"")
    code, _, complaint = medgan("verify", toy_folder)
    assert code == 2
    assert one_sentence(complaint)
    assert "differs from manifest.json" in complaint


def test_translate_writes_the_result_and_where_it_is(mr_file, out, medgan):
    code, text, _ = medgan("translate", "--model", "toy", "--device", "cpu", mr_file, out / "ct.nii.gz")
    assert code == 0
    assert text.startswith(f"{out / 'ct.nii.gz'}: 40×36×14 voxels in HU")
    assert RESEARCH_USE in text
    assert read(out / "ct.nii.gz", "HU").grid.matches(read(mr_file, "none").grid)


def test_translate_prints_its_provenance_for_programs(mr_file, out, medgan):
    code, text, _ = medgan("translate", "--model", "toy", "--json", mr_file, out / "ct.nii.gz")
    assert code == 0
    assert json.loads(text) == json.loads((out / "ct.nii.gz.medgan.json").read_text(encoding="utf-8"))


def test_translate_keeps_to_a_mask(mr, mr_file, out, medgan):
    inside = np.zeros(mr.voxels.shape, np.uint8)
    inside[:, 20:] = 1
    write(Image(inside, mr.affine, "label"), out / "mask.nii.gz")
    arguments = ["--model", "toy", "--mask", out / "mask.nii.gz", mr_file, out / "ct.nii.gz"]
    assert medgan("translate", *arguments)[0] == 0
    result = read(out / "ct.nii.gz", "HU").voxels
    assert (result[:, :20] == -1000).all()
    assert np.ptp(result[:, 20:]) > 0


@pytest.mark.parametrize(
    ("model", "source", "target", "reason"),
    [
        ("toi", "mr.nii.gz", "ct.nii.gz", "no model 'toi': there are "),
        ("toy", "nowhere.nii.gz", "ct.nii.gz", "nowhere.nii.gz does not exist"),
        ("toy", "broken.nii.gz", "ct.nii.gz", "broken.nii.gz could not be read"),
        ("toy", "cut.nii.gz", "ct.nii.gz", "cut.nii.gz is cut short"),
        ("toy", "ct-as-input.nii.gz", "ct.nii.gz", "looks like a CT in HU"),
        ("toy", "mr.nii.gz", "mr.nii.gz", "user data are never overwritten"),
        ("toy", "mr.nii.gz", "ct.jpg", "must end in one of"),
        ("toy", "mr.nii.gz", "ct.png", "ct.png holds one picture, the image has"),
        ("toy", "mr.nii.gz", "nowhere/ct.nii.gz", "does not exist"),
        ("toy", "empty", "ct.nii.gz", "holds no DICOM series"),
    ],
)
def test_users_mistake_is_one_sentence_and_exit_code_2(model, source, target, reason, mr_file, ct_file, medgan):
    folder = mr_file.parent
    (folder / "broken.nii.gz").write_bytes(b"no image at all")
    (folder / "cut.nii.gz").write_bytes(mr_file.read_bytes()[:-2000])
    (folder / "empty").mkdir()
    ct_file.rename(folder / "ct-as-input.nii.gz")
    before = sorted(path.name for path in folder.iterdir())
    code, _, complaint = medgan("translate", "--model", model, folder / source, folder / target)
    assert code == 2
    assert one_sentence(complaint), complaint
    assert reason in complaint
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_scanner_for_a_model_that_makes_nothing_finer_is_one_sentence(mr_file, out, medgan):
    code, _, complaint = medgan("translate", "--model", "toy", "--like", "k-space", mr_file, out / "ct.nii.gz")
    assert code == 2
    assert one_sentence(complaint)
    assert "makes no finer image" in complaint and not list(out.iterdir())


def test_device_that_is_not_there_is_one_sentence(mr_file, out, medgan):
    code, _, complaint = medgan("translate", "--model", "toy", "--device", "cuda:99", mr_file, out / "ct.nii.gz")
    assert code == 2
    assert one_sentence(complaint)
    assert "there is no cuda:99" in complaint


def test_unit_of_the_input_is_checked(mr_file, out, medgan):
    arguments = ["translate", "--model", "toy", "--input-unit", "HU", mr_file, out / "ct.nii.gz"]
    code, _, complaint = medgan(*arguments)
    assert code == 2
    assert "--input-unit HU gives HU, toy reads none" in complaint


def test_force_translates_the_wrong_modality_with_its_findings(ct_file, out, medgan):
    arguments = ["translate", "--model", "toy", ct_file, out / "ct.nii.gz"]
    assert "--force" in medgan(*arguments)[2]
    code, _, complaint = medgan(*arguments, "--force")
    assert code == 0
    assert "error: the image looks like a CT in HU" in complaint
    assert (out / "ct.nii.gz").exists()


def test_broken_model_is_one_sentence(toy_folder, mr_file, out, medgan):
    (toy_folder / CARD).write_text("{}")
    code, _, complaint = medgan("translate", "--model", toy_folder, mr_file, out / "ct.nii.gz")
    assert code == 2
    assert one_sentence(complaint)


def test_folder_goes_on_after_a_broken_file_and_is_taken_up_again(folder_of_three, mr, out, medgan, monkeypatch):
    arguments = ["translate", "--model", "toy", folder_of_three, out]
    code, _, complaint = medgan(*arguments)
    assert code == 2
    assert "medgan: b.nii.gz: " in complaint
    assert "1 of 3 files could not be translated" in complaint
    assert sorted(path.name for path in out.iterdir()) == [
        "a.nii.gz",
        "a.nii.gz.medgan.json",
        "c.nrrd",
        "c.nrrd.medgan.json",
    ]
    first = (out / "a.nii.gz").stat().st_mtime_ns
    write(mr, folder_of_three / "b.nii.gz")
    code, _, complaint = medgan(*arguments)
    assert code == 0
    assert complaint.count("done before") == 2
    assert (out / "b.nii.gz").exists()
    assert (out / "a.nii.gz").stat().st_mtime_ns == first


@pytest.mark.parametrize("lost", ["a.nii.gz", "a.nii.gz.medgan.json"])
def test_folder_repeats_what_is_not_whole(lost, folder_of_three, out, medgan):
    arguments = ["translate", "--model", "toy", folder_of_three, out]
    medgan(*arguments)
    (out / lost).unlink()
    _, _, complaint = medgan(*arguments)
    assert complaint.count("done before") == 1
    assert (out / lost).exists()


def test_folder_repeats_what_another_model_did(folder_of_three, out, toy_folder, saved_toy, medgan):
    medgan("translate", "--model", "toy", folder_of_three, out)
    other = saved_toy(toy_folder.parent / "other", name="other")
    _, _, complaint = medgan("translate", "--model", other, folder_of_three, out)
    assert "done before" not in complaint
    assert json.loads((out / "a.nii.gz.medgan.json").read_text())["model"] == "other"


def test_events_end_with_the_result(mr_file, out, medgan):
    events = out / "events.jsonl"
    arguments = ["translate", "--model", "toy", "--events", events, mr_file, out / "ct.nii.gz"]
    assert medgan(*arguments)[0] == 0
    *progress, result = events_in(events)
    assert [event["event"] for event in progress] == ["progress"] * len(progress)
    assert progress[-1]["done"] == progress[-1]["total"] == 14
    assert result["event"] == "result"
    assert result["output"] == str(out / "ct.nii.gz")
    assert result["provenance"]["synthetic"] is True


@pytest.mark.parametrize("source", ["nowhere.nii.gz", "ct.nii.gz"])
def test_events_end_with_the_error(source, ct_file, out, medgan):
    events = out / "events.jsonl"
    arguments = ["translate", "--model", "toy", "--events", events, ct_file.parent / source, out / "ct.nii.gz"]
    code, _, complaint = medgan(*arguments)
    assert code == 2
    last = events_in(events)[-1]
    assert last["event"] == "error"
    assert last["text"] in complaint


def test_cancelling_exits_with_130_and_leaves_nothing(mr_file, out, medgan, monkeypatch):
    def cancel(*_step):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line.Reporter, "__call__", cancel)
    code, _, complaint = medgan("translate", "--model", "toy", mr_file, out / "ct.nii.gz")
    assert code == 130
    assert one_sentence(complaint)
    assert list(out.iterdir()) == []


def test_evaluate_measures_hu(ct, out, medgan):
    write(ct, out / "reference.nii.gz")
    write(replace(ct, voxels=ct.voxels + 10), out / "prediction.nii.gz")
    arguments = ["evaluate", "--unit", "HU", "--reference", out / "reference.nii.gz"]
    arguments += ["--prediction", out / "prediction.nii.gz"]
    code, text, _ = medgan(*arguments, "--json")
    assert code == 0
    rows = {(row["metric"], row["region"]): row["value"] for row in json.loads(text)["rows"]}
    assert rows["MAE", "mask"] == pytest.approx(10)
    assert rows["bias", "mask"] == pytest.approx(10)
    code, text, _ = medgan(*arguments)
    assert code == 0
    assert "10.0" in text


def test_evaluate_counts_inside_a_mask_alone(ct, out, medgan):
    inside = np.zeros(ct.voxels.shape, np.uint8)
    inside[:, 10:20, 10:20] = 1
    write(ct, out / "reference.nii.gz")
    write(replace(ct, voxels=np.where(inside, ct.voxels + 7, 3000)), out / "prediction.nii.gz")
    write(Image(inside, ct.affine, "label"), out / "mask.nii.gz")
    files = [arg for name in ("reference", "prediction", "mask") for arg in (f"--{name}", out / f"{name}.nii.gz")]
    _, text, _ = medgan("evaluate", "--unit", "HU", "--json", *files)
    rows = {(row["metric"], row["region"]): row["value"] for row in json.loads(text)["rows"]}
    assert rows["MAE", "mask"] == pytest.approx(7)


def test_evaluate_measures_labels(out, medgan):
    true, predicted = np.zeros((1, 20, 20, 20), np.uint8), np.zeros((1, 20, 20, 20), np.uint8)
    true[:, 5:15, 5:15, 5:15] = 3
    predicted[:, 5:15, 5:15, 10:20] = 3
    write(Image(true, np.eye(4), "label"), out / "reference.nrrd")
    write(Image(predicted, np.eye(4), "label"), out / "prediction.nrrd")
    files = [arg for name in ("reference", "prediction") for arg in (f"--{name}", out / f"{name}.nrrd")]
    code, text, _ = medgan("evaluate", "--unit", "label", "--json", *files)
    assert code == 0
    rows = {(row["metric"], row["region"]): row["value"] for row in json.loads(text)["rows"]}
    assert rows["Dice", "label 3"] == pytest.approx(0.5)


def test_evaluate_measures_lesions(out, medgan):
    pet = np.ones((1, 30, 30, 10), np.float32)
    lesion = np.zeros(pet.shape, np.uint8)
    lesion[:, 12:18, 12:18, 3:7] = 1
    for name, voxels, unit in (
        ("pet", pet + 7 * lesion, "SUV"),
        ("made", pet + lesion, "SUV"),
        ("gtv", lesion, "label"),
    ):
        write(Image(voxels, np.diag([2.0, 2, 2, 1]), unit), out / f"{name}.nii.gz")
    files = ("--reference", out / "pet.nii.gz", "--prediction", out / "made.nii.gz", "--lesions", out / "gtv.nii.gz")
    code, text, _ = medgan("evaluate", "--unit", "SUV", "--json", *files)
    values = {row["metric"]: row["value"] for row in json.loads(text)["rows"] if row["region"] == "lesions"}
    assert (code, values["SUVmax error"], values["SUVmax of reference"], values["AUC"]) == (0, -6, 8, 1)


def test_evaluate_refuses_another_grid_in_one_sentence(ct, out, medgan):
    write(ct, out / "reference.nii.gz")
    write(replace(ct, voxels=ct.voxels[:, 1:]), out / "prediction.nii.gz")
    files = [arg for name in ("reference", "prediction") for arg in (f"--{name}", out / f"{name}.nii.gz")]
    code, _, complaint = medgan("evaluate", "--unit", "HU", *files)
    assert code == 2
    assert one_sentence(complaint)
    assert "another grid" in complaint


def test_simulated_low_dose_says_what_it_is(ct, ct_file, out, medgan):
    arguments = ("--photons", "1e5", "--bow-tie", "--modulation", "--seed", 3, "--events", out / "events.jsonl")
    code, text, _ = medgan("simulate", "low-dose", ct_file, out / "low.nii.gz", "--dose", "0.05-0.5", *arguments)
    assert code == 0
    assert "low.nii.gz: 32×32×10 voxels in HU" in text
    said = json.loads((out / "low.nii.gz.medgan.json").read_text(encoding="utf-8"))
    assert said["synthetic"] is True
    assert (said["photons"], said["seed"], said["kernel"]["name"], len(said["dose"])) == (1e5, 3, "standard", 10)
    assert events_in(out / "events.jsonl")[-1]["provenance"] == said
    made = read(out / "low.nii.gz", "HU")
    assert made.grid.matches(ct.grid)
    assert "SYNTHETIC" in made.facts["notes"]
    assert (made.voxels != np.rint(ct.voxels)).mean() > 0.5


def test_simulation_knows_every_kernel(medgan):
    _, text, _ = medgan("simulate", "low-dose", "--help")
    assert all(f"{name}," in text for name in KERNELS)


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--dose", "2"], "above 0 and below 1"),
        (["--dose", "0.25"], "say photons and kernel"),
        (["--dose", "0.25", "--electronic", "-1"], "electronic is -1: expected 0 or more"),
        (["--dose", "0.25", "--photons", "0"], "0 photons a ray"),
    ],
)
def test_a_simulation_without_sense_is_one_sentence(arguments, reason, ct_file, out, medgan):
    code, _, complaint = medgan("simulate", "low-dose", ct_file, out / "low.nii.gz", *arguments)
    assert code == 2
    assert one_sentence(complaint)
    assert reason in complaint
    assert not list(out.iterdir())


def test_module_runs_as_a_program(mr_file, out, pristine_toy):
    """From another folder, as a user would: exit code, result, no traceback."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(MedGANLogic.__file__).parents[1]),
        BUNDLES_VARIABLE: str(pristine_toy.parent),
        "PYTHONUTF8": "1",
    }
    shutil.copy(mr_file, out / "mr.nii.gz")
    run = subprocess.run(
        [sys.executable, "-m", "MedGANLogic", "translate", "--model", "toy", "mr.nii.gz", "ct.nii.gz"],
        cwd=out,
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(path.name for path in out.iterdir()) == ["ct.nii.gz", "ct.nii.gz.medgan.json", "mr.nii.gz"]


def test_events_that_cannot_be_written_are_said_in_one_sentence(mr_file, out, medgan):
    events = out / "no-such-folder" / "events.jsonl"
    code, _, complaint = medgan("translate", "--model", "toy", "--events", events, mr_file, out / "ct.nii.gz")
    assert code == 1
    assert one_sentence(complaint)
    assert not (out / "ct.nii.gz").exists()
