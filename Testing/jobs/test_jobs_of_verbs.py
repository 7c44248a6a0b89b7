"""The command line in a child process: what a panel runs, with the model that is shipped."""

import json

import numpy as np
import pytest
from toys import save_toy
from watching import eventually

from MedGANLogic import catalogue
from MedGANLogic.__main__ import main
from MedGANLogic.bundle import open_bundle
from MedGANLogic.images import read, write
from MedGANLogic.inference.translate import translate
from MedGANLogic.jobs import Job, State
from MedGANLogic.phantom import centred_grid, thigh

MODEL = "mr-to-ct-limb"
STUDY = """
inputs = ["mr"]
targets = ["ct"]
neighbours = 0
changes = { width = 4, levels = 3, patch = 32, batch = 2 }
"""


def phantom(slices):
    """A coarse digital thigh of so many slices."""
    return thigh(0, centred_grid((64, 64, slices), (3.0, 3.0, 5.0))).mr


def begin(job, image, output):
    """Start to translate an image, as a panel does."""
    write(image, job.folder / "in.npy")
    job.start("translate", "--model", MODEL, "--device", "cpu", job.folder / "in.npy", output)


def test_translation_is_that_of_this_process_bit_by_bit(verb):
    image, events = phantom(8), []
    begin(verb, image, verb.folder / "out.npy")
    assert verb.wait(events.append, timeout=120) is State.DONE, verb.error
    expected = translate(open_bundle(catalogue.find(MODEL)), image, "cpu")
    found = read(verb.result["output"], "HU")
    np.testing.assert_array_equal(found.voxels, expected.image.voxels)
    np.testing.assert_array_equal(found.affine, image.affine)
    assert found.facts == expected.image.facts
    assert verb.result["provenance"]["findings"] == expected.provenance["findings"]
    *progress, _result = events
    assert progress[-1]["done"] == progress[-1]["total"]


def test_cancelled_translation_leaves_no_output(verb, place):
    begin(verb, phantom(48), place / "out.nii.gz")
    assert eventually(verb.poll, 120), verb.error
    verb.cancel()
    assert verb.wait(timeout=2) is State.CANCELLED
    assert list(place.iterdir()) == [verb.folder]
    assert "cancelled; nothing half-written is left" in verb.last_lines()[-1]


def test_full_disk_is_said_in_one_sentence(environment, small_disk, tmp_path):
    with Job(environment=environment, place=small_disk) as job:
        write(phantom(8), tmp_path / "in.npy")
        job.start("translate", "--model", MODEL, "--device", "cpu", tmp_path / "in.npy", job.folder / "out.npy")
        assert job.wait(timeout=120) is State.FAILED
        assert job.error.startswith(f"{job.folder / 'out.npy'} could not be written")
        assert not list(job.folder.glob("*out*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["translate", "--model", "nobody", "in.npy", "out.npy"], "no model 'nobody': there are"),
        (["train", "--out", "run", "--cohort", "nowhere.csv"], "nowhere.csv does not exist"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_users_mistake_is_said_as_on_the_command_line(arguments, said, verb):
    verb.start(*arguments)
    assert verb.wait(timeout=120) is State.FAILED
    assert said in verb.error


def told(path):
    """Return the kinds of events in a file, one after the other."""
    return [json.loads(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_translation_that_was_done_before_has_a_result_too(tmp_path):
    write(phantom(4), tmp_path / "in.nii.gz")
    model = save_toy("translate", tmp_path)
    for events in ("first", "second"):
        arguments = ["translate", "--model", model, tmp_path / "in.nii.gz", tmp_path / "out.nii.gz"]
        assert main([str(one) for one in [*arguments, "--force", "--events", tmp_path / events]]) == 0
    assert told(tmp_path / "first")[-1] == "result"
    assert told(tmp_path / "second") == ["result"]


def test_training_ends_with_a_result(tmp_path):
    lines = ["subject,part,mr,ct"]
    for seed, part in enumerate(["train", "validation", "test"]):
        drawn = thigh(seed, centred_grid((40, 40, 6), (5.0, 5.0, 8.0)))
        write(drawn.mr, tmp_path / f"mr{seed}.nii")
        write(drawn.ct, tmp_path / f"ct{seed}.nii")
        lines.append(f"S{seed},{part},mr{seed}.nii,ct{seed}.nii")
    (tmp_path / "cohort.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "study.toml").write_text(STUDY)
    options = {
        "recipe": "l1",
        "cohort": tmp_path / "cohort.csv",
        "study": tmp_path / "study.toml",
        "out": tmp_path / "run",
        "steps": 2,
        "device": "cpu",
        "events": tmp_path / "events",
    }
    assert main(["train", *(str(part) for name, value in options.items() for part in (f"--{name}", value))]) == 0
    result = json.loads((tmp_path / "events").read_text(encoding="utf-8").splitlines()[-1])
    assert result == {"event": "result", "output": str(tmp_path / "run" / "bundle")}
