"""Label maps: how likely each label is, and what is done to the map once a network has written it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from PIL import Image as Picture

from MedGANLogic.__main__ import main
from MedGANLogic.bundle import MONAI_RUN, open_bundle
from MedGANLogic.catalogue import BundleError, Card
from MedGANLogic.catalogue import read as read_bundle
from MedGANLogic.domain import Label, Labels
from MedGANLogic.finishing import Finish, HolesFilled, LargestComponent, finish
from MedGANLogic.images import Image, read
from MedGANLogic.inference.translate import translate, translate_file
from MedGANLogic.presenters.translation import account
from MedGANLogic.study import Study, StudyError

TWO = Labels((Label(1, "rim", (200, 0, 0)), Label(5, "core", (0, 200, 0))))
STEPS = (LargestComponent(), HolesFilled())


def shells(*shape: int) -> np.ndarray[Any, Any]:
    """Return a ball of rim, hollow but for a core, with a speck of each label in two corners."""
    values = np.zeros(shape, np.int16)
    centre = [np.arange(n) - n // 2 for n in shape]
    distance = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*centre, indexing="ij")))
    values[distance < 9] = 1
    values[distance < 6] = 0
    values[distance < 3] = 5
    values[:2, :2, :2], values[-2:, -2:, -2:] = 1, 5
    return values


@pytest.mark.parametrize("shape", [(24, 24, 24), (24, 24, 1), (24, 1, 24)], ids=str)
def test_specks_go_and_holes_are_filled_around_what_is_another_label(shape: tuple[int, int, int]) -> None:
    values = shells(*shape)
    done, said = finish(values, TWO, STEPS)
    specks = np.zeros(shape, bool)
    specks[:2, :2, :2] = specks[-2:, -2:, -2:] = True
    distance = np.sqrt(
        sum(np.square(axis) for axis in np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"))
    )
    hole = (distance < 6) & (distance >= 3)
    expected = np.where(specks & (distance >= 9), 0, np.where(hole, 1, values))
    np.testing.assert_array_equal(done, expected)
    assert said == [
        {
            "kind": "LargestComponent",
            "removed": {label.name: int((specks & (values == label.value)).sum()) for label in TWO.labels},
        },
        {"kind": "HolesFilled", "filled": {"rim": int(hole.sum()), "core": 0}},
    ]


def test_what_touches_by_a_corner_is_one_part_and_a_slit_of_a_corner_leads_nowhere() -> None:
    values = np.zeros((5, 5, 1), np.int16)
    values[[0, 1, 2], [0, 1, 2]] = 1
    values[4, 4] = 1
    assert LargestComponent().finished(values, TWO)[1]["rim"] == 1
    ring = np.zeros((5, 5, 1), np.int16)
    ring[1:4, 1:4] = 1
    ring[2, 2] = ring[1, 1] = 0
    filled, said = HolesFilled().finished(ring, TWO)
    assert said["rim"] == 1 and filled[2, 2, 0] == 1 and filled[1, 1, 0] == 0


def test_a_map_without_a_label_stays_as_it_is() -> None:
    done, said = finish(np.zeros((4, 4, 4), np.int16), TWO, STEPS)
    assert not done.any() and [list(step.values())[1] for step in said] == [{"rim": 0, "core": 0}] * 2


def test_a_study_declares_steps_and_a_card_keeps_them() -> None:
    data = {
        "inputs": ["mr"],
        "targets": {"tissues": toys.SEGMENTATION.to_json()},
        "finish": [{"kind": "LargestComponent"}, {"kind": "HolesFilled"}],
    }
    study = Study.from_json(data)
    assert study.finish == STEPS and Study.from_json(study.to_json()) == study
    card = replace(toys.CARDS["segment"](), finish=STEPS)
    assert Card.from_json(json.loads(json.dumps(card.to_json()))) == card
    assert Card.from_json({k: v for k, v in card.to_json().items() if k != "finish"}).finish == ()
    with pytest.raises(
        StudyError, match="finish: kind 'Smoothed' is not known: there are LargestComponent, HolesFilled"
    ):
        Study.from_json({**data, "finish": [{"kind": "Smoothed"}]})
    with pytest.raises(StudyError, match="finish is for label maps: no target is one"):
        Study.from_json({**data, "targets": ["ct"]})
    with pytest.raises(BundleError, match="a finishing step needs a label map"):
        Card.from_json(replace(toys.CARDS["translate"](), finish=STEPS).to_json())
    assert {kind.__name__ for kind in Finish.kinds().values()} == {"LargestComponent", "HolesFilled"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    plain = toys.CARDS["segment"]()
    cards = [plain, replace(plain, name="finished", finish=STEPS), toys.CARDS["two-targets"]()]
    cards.append(toys.photographed("segmentation", toys.SEGMENTATION))
    return {card.name: toys.save_card(card, folder) for card in cards}


def test_probabilities_are_those_that_the_map_follows_from(folders: dict[str, Path], mr: Image) -> None:
    done = translate(open_bundle(read_bundle(folders["toy-segment"])), mr)
    likely = done.probabilities()
    assert list(likely) == ["fat", "bone"]
    shares = np.stack([one.image.voxels[0] for one in likely.values()])
    background = 1 - shares.sum(axis=0)
    assert shares.min() >= 0 and shares.max() <= 1 and background.min() > -1e-6
    assert all(one.image.grid.matches(mr.grid) and one.image.unit == "none" for one in likely.values())
    winner = np.array([0, 1, 7])[np.argmax([background, *shares], axis=0)]
    decided = np.sort([background, *shares], axis=0)[-2:]
    sure = decided[1] - decided[0] > 1e-5
    np.testing.assert_array_equal(done.image.voxels[0][sure], winner[sure])
    # In air the toy is as unsure as can be.
    assert sure.mean() > 0.5 and {one.provenance["label"] for one in likely.values()} == {"fat", "bone"}
    assert all("SYNTHETIC probability" in one.image.facts["notes"] for one in likely.values())


def test_probabilities_are_the_softmax_of_scores_however_large() -> None:
    shares = np.float32([0.2, 0.3, 0.5]).reshape(3, 1)
    for more in (0.0, 1000.0):
        found = TWO.probabilities(np.log(shares) + np.float32(more))
        np.testing.assert_allclose(found, shares[1:], atol=1e-4)


def test_outside_of_a_mask_nothing_is_likely_and_values_have_no_probabilities(
    folders: dict[str, Path], mr: Image
) -> None:
    inside = np.zeros((1, *mr.grid.shape), np.uint8)
    inside[:, 10:20, 8:30, 3:9] = 1
    bundle = open_bundle(read_bundle(folders["toy-two-targets"]))
    done = translate(bundle, mr, mask=Image(inside, mr.affine, "label"))
    assert done.probabilities() == {}
    for one in done.further["tissues"].probabilities().values():
        assert not one.image.voxels[inside == 0].any() and one.image.voxels[inside > 0].all()


def test_the_command_line_writes_them_beside_the_map(
    folders: dict[str, Path], mr_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["translate", "--model", str(folders["toy-segment"]), "--probabilities", str(mr_file)]
    assert main([*command, str(tmp_path / "seg.nii.gz")]) == 0
    done = translate(open_bundle(read_bundle(folders["toy-segment"])), read(mr_file, "none"))
    for name, one in done.probabilities().items():
        place = tmp_path / f"seg-probability-{name}.nii.gz"
        np.testing.assert_allclose(read(place, "none").voxels, one.image.voxels, atol=1e-6)
        assert json.loads((tmp_path / f"{place.name}.medgan.json").read_text())["label"] == name
    said = json.loads((tmp_path / "seg.nii.gz.medgan.json").read_text())
    assert [Path(one["output"]).name for one in said["further"]] == [
        f"seg-probability-{name}.nii.gz" for name in ("fat", "bone")
    ]
    assert main([*command, str(tmp_path / "seg.nii.gz")]) == 0 and "done before" in capsys.readouterr().err
    toy = toys.save_toy("translate", tmp_path)
    assert main(["translate", "--model", str(toy), "--probabilities", str(mr_file), str(tmp_path / "ct.nii.gz")]) == 2
    assert "makes no label map" in capsys.readouterr().err


def test_beside_a_png_of_labels_probabilities_are_tiff(folders: dict[str, Path], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(20, 250, (12, 16, 3)).astype(np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "eye.png")
    model = str(folders["toy-segmentation"])
    assert (
        main(["translate", "--model", model, "--probabilities", str(tmp_path / "eye.png"), str(tmp_path / "v.png")])
        == 0
    )
    fat = read(tmp_path / "v-probability-fat.tif", "none")
    assert fat.voxels.shape == (1, 16, 12, 1) and 0 <= fat.voxels.min() < fat.voxels.max() <= 1
    assert "SYNTHETIC probability of fat" in fat.facts["notes"]


def test_a_finished_map_is_what_every_way_of_asking_gives(
    folders: dict[str, Path], mr: Image, mr_file: Path, tmp_path: Path
) -> None:
    raw, done = (translate(open_bundle(read_bundle(folders[name])), mr) for name in ("toy-segment", "finished"))
    expected, said = finish(raw.image.voxels[0], toys.TISSUES, STEPS)
    # The toy's answers are all over the place: each step has something to do.
    assert all(sum(next(iter(step[key].values() for key in ("removed", "filled") if key in step))) > 0 for step in said)
    np.testing.assert_array_equal(done.image.voxels[0], expected)
    assert done.provenance["finish"] == said and raw.provenance["finish"] == []
    told = [text for title, text in account(done.provenance) if title == "Finished"]
    assert told[0] == "LargestComponent: removed {fat} of fat, {bone} of bone (voxels)".format(**said[0]["removed"])
    assert told[1].startswith("HolesFilled: filled") and "Finished" not in dict(account(raw.provenance))
    assert "finish" in json.loads((folders["finished"] / "configs" / "medgan.json").read_text())
    monai_bundle = pytest.importorskip("monai.bundle")
    ours = translate_file(str(folders["finished"]), str(mr_file), str(tmp_path / "ours.nii.gz"), device="cpu")
    with pytest.warns(UserWarning, match="parsing config_file"):
        monai_bundle.run(
            config_file=str(folders["finished"] / MONAI_RUN),
            bundle_root=str(folders["finished"]),
            input=str(mr_file),
            output=str(tmp_path / "theirs.nii.gz"),
        )
    theirs = json.loads((tmp_path / "theirs.nii.gz.medgan.json").read_text())
    assert theirs["finish"] == ours["finish"] and theirs["finish"][0]["removed"]["fat"] > 0
    np.testing.assert_array_equal(*(read(tmp_path / f"{name}.nii.gz", "label").voxels for name in ("ours", "theirs")))


def test_labels_of_one_name_are_told_apart_by_their_value(tmp_path: Path, mr_file: Path) -> None:
    twins = Labels((Label(1, "left/right", (1, 1, 1)), Label(2, "left right", (2, 2, 2))))
    card = toys.CARDS["segment"]()
    card = replace(card, targets={"tissues": replace(toys.SEGMENTATION, window=twins)}, passes=(_writing(card, twins),))
    folder = toys.save_card(card, tmp_path)
    assert main(["translate", "--model", str(folder), "--probabilities", str(mr_file), str(tmp_path / "s.nrrd")]) == 0
    assert sorted(path.name for path in tmp_path.glob("s-probability-*.nrrd")) == [
        "s-probability-1-left-right.nrrd",
        "s-probability-2-left-right.nrrd",
    ]


def _writing(card: Card, labels: Labels) -> Any:
    (one,) = card.passes
    return replace(one, writes=labels.volumes("tissues"))


def test_results_of_a_series_have_no_probabilities(folders: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    model = str(folders["toy-segment"])
    command = ["translate", "--model", model, "--dicom", "--probabilities", str(tmp_path), str(tmp_path / "out")]
    assert main(command) == 2 and "holds no probabilities" in capsys.readouterr().err
