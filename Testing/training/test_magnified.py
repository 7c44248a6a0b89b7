"""Super-resolution as it is measured: what it is compared with, detail, lesions' volumes, agreement with the input."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from bundled import bundled

from MedGANLogic import recipes
from MedGANLogic.__main__ import main
from MedGANLogic.bundle import open_bundle, save
from MedGANLogic.catalogue import read as read_model
from MedGANLogic.cohort import read_table
from MedGANLogic.degradation import Averaged, KSpaceCropped, Mixed, SliceProfile
from MedGANLogic.domain import MR, Domain, PercentileWindow
from MedGANLogic.evaluation.consistency import consistency_error
from MedGANLogic.evaluation.interpolation import spline, zero_filled
from MedGANLogic.evaluation.lesion_volume import lesion_volumes
from MedGANLogic.evaluation.metrics import Undefined, high_frequency_error
from MedGANLogic.evaluation.protocols import Drawn, Magnification, protocol_of
from MedGANLogic.images import Image, write
from MedGANLogic.inference.predict import silent
from MedGANLogic.measure import Folds, measure
from MedGANLogic.recipe import build
from MedGANLogic.study import SUPER_RESOLUTION

WHOLE_MR = Domain("MR", "none", PercentileWindow(0.0, 100.0), 0.0)
MIXED = Mixed((KSpaceCropped("fine", 2), SliceProfile("fine", 2, 1.2)))
AFFINE = np.array([[-1.5, 0, 0.4, 40.0], [0, 1.5, 0, -20.0], [0.2, 0, 3.0, 5.0], [0, 0, 0, 1]])
AFFINE[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (1.5, 1.5, 3.0)


def waves(shape, periods):
    places = [np.cos(np.pi * n * (np.arange(length) + 0.5) / length) for n, length in zip(periods, shape, strict=True)]
    return np.einsum("i,j,k->ijk", *places)


def test_a_spline_goes_through_what_is_smooth_and_sees_no_edge():
    fine = 300 + 100 * waves((32, 24, 6), (5, 4, 0))
    way = KSpaceCropped("fine", 2)
    image = Image(fine[None].astype(np.float32), AFFINE, "none")
    coarse = way.of_image(image, 2, "axial")
    grid = coarse.grid.finer((2, 2, 1))
    assert grid.matches(image.grid)
    assert np.abs(spline(coarse, grid).voxels - fine).max() < 1
    # What is below half of the highest frequency zero-filling gives back as it was.
    assert np.abs(zero_filled(coarse, grid, 2, 2, "axial").voxels - fine).max() < 0.01
    assert np.abs(coarse.on_grid(grid, outside=0).voxels - fine).max() > 2


def test_detail_that_is_lost_is_an_error_of_one_and_of_scale_its_share():
    random = np.random.default_rng(0)
    image, mask = random.normal(100, 20, (40, 30, 8)), np.ones((40, 30, 8), bool)
    assert high_frequency_error(image, image + 50, mask) < 1e-9
    assert high_frequency_error(image, np.full_like(image, 7.0), mask) == pytest.approx(1)
    assert high_frequency_error(image, 1.1 * image, mask) == pytest.approx(0.1)
    with pytest.raises(Undefined):
        high_frequency_error(np.ones((20, 20, 1)), image[:20, :20, :1], np.ones((20, 20, 1), bool))


def test_detail_is_the_papers_laplacian_of_a_gaussian_of_fifteen_voxels():
    places = np.arange(-7, 8)
    i, j = np.meshgrid(places, places, indexing="ij")
    gauss = np.exp(-(i**2 + j**2) / (2 * 1.5**2))
    kernel = gauss / gauss.sum() * (i**2 + j**2 - 2 * 1.5**2) / 1.5**4
    kernel -= kernel.mean()
    random = np.random.default_rng(1)
    true, found = random.normal(0, 1, (2, 33, 33))
    mask = np.zeros((33, 33, 1), bool)
    mask[16, 16] = True
    centre = [float((kernel * image[9:24, 9:24]).sum()) for image in (true, found)]
    expected = abs(centre[1] - centre[0]) / abs(centre[0])
    # Axis by axis the means that are taken off are those of each axis: a thousandth of the kernel.
    assert high_frequency_error(true[..., None], found[..., None], mask) == pytest.approx(expected, rel=0.03)


def balls(radii, spread=1.2):
    """Return three bright balls of given radii in mm on a darker ground, smooth at their edges, and the balls."""
    centres = ((12, 12, 12), (12, 34, 12), (34, 20, 12))
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in (46, 46, 24)), indexing="ij"))
    image, marked = np.full(places.shape[1:], 100.0), np.zeros(places.shape[1:], bool)
    for centre, radius in zip(centres, radii, strict=True):
        distance = np.sqrt(((places - np.array(centre)[:, None, None, None]) ** 2).sum(0))
        image += 100 / (1 + np.exp((distance - radius) / spread * 2))
        marked |= distance < radius
    return image, marked


def test_lesions_that_grow_and_shrink_are_told_one_by_one_and_together():
    reference, marked = balls((5, 5, 6))
    same = lesion_volumes(reference, reference, marked, (1.0, 1.0, 1.0))
    assert (same.error, same.mismatch, len(same.reference)) == (0, 0, 3)
    # Half a millimetre more and less: 33 % and 27 % of a ball's volume.
    other, _ = balls((5.5, 4.5, 6))
    found = lesion_volumes(reference, other, marked, (1.0, 1.0, 1.0))
    shares = (found.prediction / found.reference - 1).tolist()
    # A soft edge is a little farther out than half of its height.
    assert shares == pytest.approx([0.33, -0.27, 0], abs=0.09)
    assert found.error == pytest.approx(100 * (found.prediction.sum() / found.reference.sum() - 1))
    assert abs(found.error) < 3
    assert found.mismatch > 12
    # Dark lesions are told as well as bright ones, and brightness as such changes nothing.
    dark = lesion_volumes(-reference, -other, marked, (1.0, 1.0, 1.0))
    assert dark.prediction.tolist() == found.prediction.tolist()


def test_a_lesion_that_does_not_stand_out_is_not_measured():
    reference, marked = balls((5, 5, 6))
    noise = np.random.default_rng(0).normal(0, 400, reference.shape)
    with pytest.raises(Undefined, match="no lesion of 10 voxels stands out"):
        lesion_volumes(reference + noise, reference, marked, (1.0, 1.0, 1.0))


@pytest.fixture
def study(toy_study):
    domains = {"inputs": {"mr": WHOLE_MR}, "targets": {"fine": WHOLE_MR}}
    return replace(toy_study(2, 0, example=SUPER_RESOLUTION), **domains, made={"mr": MIXED}, strength=1.0)


@pytest.fixture
def model(study, tmp_path):
    """Return a maker of an untrained model, which interpolates, that never saw S0."""

    def make(study):
        recipe = build(recipes.load("residual-sr"), study)
        bundle = bundled(recipe, recipe.networks, study, tmp_path)
        subjects = {"train": 1, "validation": 0, "test": 1}
        about = {"recipe": "residual-sr", "system": recipe.title, "subjects": subjects, "test_subjects": ["S0"]}
        training = {**bundle.card.training, **about, "steps": 1, "best_step": 1, "command": "none"}
        validity = {"anatomy": [], "spacing_mm": [[1, 9]] * 3, "extent_mm": [[1, 900]] * 3, "contrast": {}}
        card = replace(bundle.card, training=training, validity=validity)
        return open_bundle(save(card, bundle.networks, "# Toy\n", tmp_path / "model"))

    return make


@pytest.fixture
def table(tmp_path, toy_case):
    path = tmp_path / "table.csv"
    case = toy_case("S0", "test", 3)
    affine = AFFINE
    signal = Image(case.image("mr", MR).voxels, affine, "none")
    write(signal, tmp_path / "fine.nii")
    lesion = np.zeros(signal.voxels.shape, np.uint8)
    lesion[0, 16:24, 14:22, 4:8] = 1
    bright = replace(signal, voxels=np.where(lesion > 0, np.float32(900), signal.voxels))
    write(bright, tmp_path / "fine.nii")
    write(Image(lesion, affine, "label"), tmp_path / "lesion.nii")
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["subject", "fine", "lesion"], ["S0", "fine.nii", "lesion.nii"]])
    return path


def test_what_is_made_finer_is_compared_with_what_was_there_by_every_way(study, model, table):
    bundle = model(study)
    assert protocol_of(study) is Magnification
    text = measure(bundle, Folds([bundle]), {}, table, None, "by hand", silent, Drawn(lesions="lesion"))
    found = read_model(bundle.model.folder).card.measured
    (of,) = found["tables"]
    held = "this model, held to its scanner"
    assert set(of["by_case"]) == {"this model", held, "cubic B-spline", "linear", "zero-filled"}
    cases = ["S0, KSpaceCropped 2", "S0, SliceProfile 2, thickness 1.2"]
    assert [list(one) for one in of["by_case"].values()] == [cases] * 5
    numbers = {name: [list(case.values()) for case in one.values()] for name, one in of["by_case"].items()}
    assert not [value for one in numbers.values() for case in one for value in case if value is None]
    # Of what an MR scanner crops, zero-filling gives the input back to rounding.
    kept = {name: one[cases[0]]["consistency, input"] for name, one in of["by_case"].items()}
    assert max(kept["zero-filled"], kept[held]) < 0.01 < min(kept["linear"], kept["this model"])
    psnr = {name: one[cases[0]]["PSNR, mask"] for name, one in of["by_case"].items()}
    assert psnr["zero-filled"] > psnr["linear"]
    assert psnr["this model"] > psnr["linear"] - 1
    assert all(way in text for way in ("KSpaceCropped 2", "SliceProfile 2, thickness 1.2", "HFEN"))
    json.dumps(found, allow_nan=False)


def test_a_model_that_is_held_to_its_input_is_measured_as_consistent(study, model, table):
    way = Averaged("fine", (1, 2, 2))
    bundle = model(replace(study, made={"mr": way}, consistent=way))
    measure(bundle, Folds([bundle]), {}, table, None, "by hand", silent)
    (of,) = read_model(bundle.model.folder).card.measured["tables"]
    kept = {name: one["S0"]["consistency, input"] for name, one in of["by_case"].items()}
    assert kept["this model"] < 0.5 < kept["cubic B-spline"]


def test_of_several_inputs_the_first_is_what_a_result_is_held_to(study, table):
    way, other = KSpaceCropped("fine", 2), Averaged("fine", 2)
    several = replace(study, inputs={"mr": WHOLE_MR, "again": WHOLE_MR}, made={"mr": way, "again": other})
    protocol = Magnification(several)
    (row,) = read_table(table, ("fine",))
    given = protocol.given(row)
    (held,) = protocol.further(given, spline(given["again"], protocol.grid(given["again"]))).values()
    assert np.allclose(way.of_image(held, 2, "axial").voxels, given["mr"].voxels, atol=0.05)


def test_evaluate_tells_whether_a_result_agrees_with_its_input(tmp_path, capsys):
    fine = Image((300 + 100 * waves((32, 24, 6), (5, 4, 1)))[None].astype(np.float32), AFFINE, "none")
    way = KSpaceCropped("scan", (1, 2, 2))
    coarse = way.of_image(fine, 3, "axial")
    other = spline(coarse, fine.grid)
    for name, image in (("fine", fine), ("coarse", coarse), ("other", other)):
        write(image, tmp_path / f"{name}.nii.gz")
    files = [str(tmp_path / f"{name}.nii.gz") for name in ("fine", "other", "coarse")]
    options = ["--input", files[2], "--by", "2", "2", "1", "--like", "k-space"]
    assert (
        main(["evaluate", "--reference", files[0], "--prediction", files[1], "--unit", "none", *options, "--json"]) == 0
    )
    rows = {(row["metric"], row["region"]): row for row in json.loads(capsys.readouterr().out)["rows"]}
    expected = consistency_error(coarse, other, lambda image: way.of_image(image, 3, "axial"), coarse.voxels[0] > 0)
    assert rows["consistency", "input"]["value"] == pytest.approx(expected, rel=0.01)
    assert rows["consistency", "input"]["unit"] == "per cent"
