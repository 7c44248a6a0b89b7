"""Photographs in training: a cohort keeps their colours, patches show them, and a model of real ones segments."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from MedGANLogic.__main__ import main
from MedGANLogic.cohort import CohortError, Row, pack, prepare, unpack
from MedGANLogic.degradation import Averaged
from MedGANLogic.domain import PHOTOGRAPH, Domain, Label, Labels
from MedGANLogic.feeds import Augmentation, Feed, Pair, Pool
from MedGANLogic.study import Study

WIDE, HIGH = 48, 40
VESSELS = Domain("SEG", "label", Labels((Label(1, "vessel", (200, 40, 40)),)), 0.0)
STUDY = Study({"eye": PHOTOGRAPH}, {"vessels": VESSELS}, neighbours=0)


@pytest.fixture
def row(tmp_path):
    """Return a photograph whose vessels alone are (200, 100, 50), in a black frame, and its mask of one bit."""
    down, across = np.mgrid[0:HIGH, 0:WIDE]
    vessels = (down + across) % 11 < 3
    beside = np.stack([np.full_like(across, 90), np.full_like(across, 60), 210 - across], axis=-1)
    pixels = np.where(vessels[..., None], (200, 100, 50), beside).astype(np.uint8)
    frame = (down < 6) | (across > 40)
    pixels[frame] = 0
    Picture.fromarray(pixels).save(tmp_path / "eye.png")
    Picture.fromarray(vessels & ~frame).save(tmp_path / "vessels.png")
    return Row("S1", "train", {role: tmp_path / f"{role}.png" for role in STUDY.domains})


def test_a_packed_cohort_keeps_colours_to_the_last_bit(row, tmp_path):
    case = prepare(row, STUDY)
    # The frame but for a margin of 4 is cropped off; axes run to the right and front: against columns and rows.
    pixels = np.asarray(Picture.open(row.files["eye"]))[2:, : 40 + 1 + 4][::-1, ::-1]
    assert case.volumes["eye"].shape == (3, *case.valid.shape) == (3, 45, 38, 1)
    np.testing.assert_array_equal(case.in_unit("eye", case.volumes["eye"])[..., 0].T, pixels)
    np.testing.assert_array_equal(case.body[..., 0].T, pixels.any(axis=-1))
    assert list(pack([row], STUDY, tmp_path / "c.zip"))
    (again,) = unpack(tmp_path / "c.zip")
    np.testing.assert_array_equal(again.volumes["eye"], case.volumes["eye"])
    assert again.image("eye", PHOTOGRAPH).voxels.shape == (3, 45, 38, 1)


@pytest.mark.parametrize(
    ("role", "pixels", "said"),
    [
        ("eye", np.full((HIGH, WIDE), 99, np.uint8), "S1: eye has 1 value per voxel: the study expects colours"),
        ("vessels", np.full((HIGH, WIDE, 3), (1, 2, 3)), "S1: vessels has 3 values per voxel: .* grey"),
        ("vessels", np.eye(HIGH, WIDE) * 255, r"black and white \(0 and 255\): give its label the value 255"),
    ],
)
def test_what_is_not_as_the_study_says_is_refused_in_words(row, role, pixels, said):
    Picture.fromarray(pixels.astype(np.uint8)).save(row.files[role])
    with pytest.raises(CohortError, match=said):
        prepare(row, STUDY)


def test_patches_show_colours_where_the_labels_are(row):
    pool = Pool(STUDY, [prepare(row, STUDY)])
    # Neither bent nor shaded: a vessel's colour alone says where one is, mirrored and turned as the labels are.
    feed = Feed(1, Pair((16, 16), Augmentation(contrast=0.0)))
    for number in range(8):
        drawn = feed.draw(pool, (0,), number, 0)
        assert drawn["input"].shape == (3, 16, 16) and drawn["target"].shape == (2, 16, 16)
        colours = PHOTOGRAPH.window.scale(drawn["input"]).to_unit(drawn["input"])
        is_vessel = np.abs(colours - np.float32([200, 100, 50]).reshape(3, 1, 1)).max(axis=0) < 0.01
        np.testing.assert_array_equal(is_vessel, drawn["target"][1] == 1)


def test_contrast_is_the_same_for_all_colours(row):
    pool = Pool(STUDY, [prepare(row, STUDY)])
    plain, shaded = (
        Feed(1, Pair((16, 16), Augmentation(contrast=contrast))).draw(pool, (0,), 3, 0)["input"]
        for contrast in (0.0, 0.2)
    )
    lit, after = (plain + 1) / 2, (shaded + 1) / 2
    seen = (lit > 0.05) & (after < 0.99)
    # after = gain · lit ** gamma: one straight line in logarithms for all colours.
    gamma, gain = np.polyfit(np.log(lit[seen]), np.log(after[seen]), 1)
    assert abs(gamma - 1) + abs(gain) > 0.01
    np.testing.assert_allclose(after[seen], np.exp(gain) * lit[seen] ** gamma, rtol=1e-4)


def test_a_coarser_photograph_is_made_colour_by_colour(row):
    study = Study({"coarse": PHOTOGRAPH}, {"eye": PHOTOGRAPH}, neighbours=0, made={"coarse": Averaged("eye", 2)})
    pool = Pool(study, [prepare(replace(row, files={"eye": row.files["eye"]}), study)])
    drawn = Feed(1, Pair((16, 16), Augmentation(contrast=0.0))).draw(pool, (0,), 0, 0)
    assert drawn["input"].shape == (3, 8, 8)
    boxes = drawn["target"].reshape(3, 8, 2, 8, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(drawn["input"], boxes, atol=1e-6)


TOML = """
inputs = ["photograph"]
dimensions = 2
neighbours = 0
changes = { width = 4, levels = 2, patch = 32, batch = 2 }

[targets.vessels]
modality = "SEG"
window = { name = "Labels", labels = [{ value = 1, name = "blood vessel", snomed = "59820001" }] }
"""


def test_segan_learns_from_fundus_photographs_and_segments_a_jpeg(shared_data, tmp_path, monkeypatch):
    # The middle of four children's left eyes: whole ones take minutes to pack.
    source = shared_data / "fundus_2d" / "chasedb1"
    if not source.is_dir():
        pytest.skip(f"no fundus photographs at {source}")
    box = (430, 430, 526, 516)
    with (tmp_path / "eyes.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["subject", "part", "photograph", "vessels"])
        for child, part in enumerate(("train", "train", "validation", "test"), start=1):
            names = (f"Image_{child:02d}L.jpg", f"Image_{child:02d}L_1stHO.png")
            for name in names:
                Picture.open(source / name).crop(box).save(tmp_path / name)
            table.writerow([f"child {child}", part, *names])
    (tmp_path / "study.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["cohort", "pack", "--cohort", "eyes.csv", "--study", "study.toml", "--out", "eyes.zip"]) == 0
    assert {case.volumes["photograph"].shape[0] for case in unpack(tmp_path / "eyes.zip")} == {3}
    assert main(["train", "--recipe", "segan", "--cohort", "eyes.zip", "--out", "run", "--steps", "20"]) == 0
    picture = np.load(max((tmp_path / "run" / "samples").glob("*.npy")))
    assert picture.ndim == 3 and picture.shape[-1] == 3 and np.ptp(picture, axis=-1).max() > 0.1
    assert main(["translate", "--model", "run/bundle", "Image_04L.jpg", "found.png"]) == 0
    found = Picture.open(tmp_path / "found.png")
    assert found.size == (96, 86) and set(np.unique(np.asarray(found))) <= {0, 1}
    # The other eye of another child, whole: as large as it is.
    assert main(["translate", "--model", "run/bundle", str(source / "Image_07R.jpg"), "whole.png"]) == 0
    assert Picture.open(tmp_path / "whole.png").size == (999, 960)
