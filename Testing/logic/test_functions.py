"""The picture of what the shipped models do: whom it shows, and what it says of what it cannot show."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import save_toy

from MedGANLogic import catalogue
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Image, write

STUDIES = Path(__file__).resolve().parents[2] / "Resources" / "Studies"


@pytest.fixture(scope="module")
def functions():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("functions", STUDIES / "functions.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_no_shipped_model_is_shown_on_whom_it_has_seen_without_a_word(functions):
    known = functions.cases(STUDIES / "functions.toml")
    for model in catalogue.models():
        functions.refuse_seen(model, known[model.card.name])
    for name, seen in (("mr-to-ct-limb", "STS_002"), ("denoise-ct", "LIDC-IDRI-0314")):
        with pytest.raises(MedGANError, match=f"{name} has seen {seen}"):
            functions.refuse_seen(catalogue.find(name), replace(known[name], subject=seen))
    assert known["retinal-vessels"].called == "child 04, from its training"
    with pytest.raises(MedGANError, match="retinal-vessels has seen child 04"):
        functions.refuse_seen(catalogue.find("retinal-vessels"), replace(known["retinal-vessels"], seen=False))
    with pytest.raises(MedGANError, match="finer-ct never saw LIDC-IDRI-0314"):
        functions.refuse_seen(catalogue.find("finer-ct"), replace(known["finer-ct"], seen=True))


def test_what_has_no_row_is_told_of_with_the_reason(functions, tmp_path):
    there = functions.Case("A", "a.nii.gz", ("b.nii.gz",))
    (tmp_path / "a.nii.gz").touch()
    said = functions.left_out({"new": None, "toy": None}, {"toy": there, "planned": there}, tmp_path)
    assert said == {"new": "no case in functions.toml", "planned": "no such model yet", "toy": "not there: b.nii.gz"}
    (tmp_path / "b.nii.gz").touch()
    assert functions.left_out({"toy": None}, {"toy": there}, tmp_path) == {}


@pytest.mark.parametrize("task", ["segment", "magnify", "two-inputs"])
def test_a_row_shows_every_input_the_result_the_truth_and_the_difference(task, functions, tmp_path, mr, monkeypatch):
    model = catalogue.read(save_toy(task, tmp_path))
    card = replace(model.card, training={**model.card.training, "test_subjects": []})
    write(mr, tmp_path / "mr.nii.gz")
    write(Image(np.where(mr.voxels > 100, mr.voxels - 260, mr.voxels - 1000), mr.affine, "HU"), tmp_path / "ct.nii.gz")
    write(Image((mr.voxels > 320).astype(np.int16), mr.affine, "label"), tmp_path / "label.nii.gz")
    cases = {
        "segment": functions.Case("A", "label.nii.gz", ("mr.nii.gz",)),
        "magnify": functions.Case("A", "mr.nii.gz", simulated=("coarser", "--by", "2", "2", "1")),
        "two-inputs": functions.Case("A", "mr.nii.gz", ("mr.nii.gz", "ct.nii.gz")),
    }
    drawn = []
    monkeypatch.setattr(functions, "write_sheet", lambda *sheet: drawn.append(sheet[1:]))
    functions.row(replace(model, card=card), cases[task], tmp_path, tmp_path)
    ((title, panels, cuts, said),) = drawn
    assert title == f"{card.name}: {card.title} (A, never seen)"
    assert len(panels) == len(card.inputs) + 3
    assert len({panel.image.grid.shape for panel in panels}) == 1
    *inputs, result, truth, difference = (panel.image for panel in panels)
    assert [one.unit for one in inputs] == [domain.unit for domain in card.inputs.values()]
    assert np.allclose(result.voxels - truth.voxels, difference.voxels, atol=1e-3)
    assert ("medgan simulate coarser" in said) == (task == "magnify")
    if task == "segment":
        counts = (truth.voxels[0] > 0).sum(axis=(0, 1))
        assert counts[cuts[0].index] == counts.max()


def test_rows_of_any_width_are_stacked(functions, tmp_path):
    from PIL import Image as Picture

    for name, size in (("a", (30, 10)), ("b", (20, 15))):
        Picture.new("RGB", size, (12, 15, 20)).save(tmp_path / f"{name}.png")
    functions.stacked([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "both.png")
    assert Picture.open(tmp_path / "both.png").size == (30, 25)
