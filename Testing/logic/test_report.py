"""Reports refuse what does not compare, say mask and range, and survive JSON; summaries name the worst case."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedGANLogic.evaluation import Report, Row, compare, model_table, summarize
from MedGANLogic.images import Image, ImageError

AFFINE = np.diag([1.0, 1.0, 3.0, 1.0])


@pytest.fixture
def ct():
    """A cylinder of muscle with a fat rim and a bone, in air."""
    i, j = np.meshgrid(np.arange(48), np.arange(48), indexing="ij")
    radius = np.hypot(i - 24, j - 24)
    hu = np.select([radius < 5, radius < 15, radius < 20], [700.0, 50.0, -100.0], -1000.0)
    return Image(np.repeat(hu[None, :, :, None], 8, axis=3), AFFINE, "HU")


def with_voxels(image, voxels):
    return replace(image, voxels=voxels)


def test_ct_report_has_errors_per_tissue(ct):
    shift = np.select([ct.voxels > 250, ct.voxels > 0, ct.voxels > -300], [-90.0, 10.0, 0.0], 0.0)
    report = compare(ct, with_voxels(ct, ct.voxels + shift))
    assert report.value("bias", "bone") == pytest.approx(-90)
    assert report.value("MAE", "bone") == pytest.approx(90)
    assert report.value("MAE", "soft tissue") == pytest.approx(10)
    assert report.value("MAE", "fat") == 0
    assert report.value("MAE", "air, lung") is None
    rows = {(row.metric, row.region): row for row in report.rows}
    assert rows["PSNR", "mask"].range == (-1024, 3071)
    assert rows["MAE", "mask"].voxels == pytest.approx(8 * np.pi * 20**2, rel=0.02)
    assert rows["MAE", "bone"].voxels == (ct.voxels > 250).sum()
    squares = np.square(shift[ct.voxels > -300]).mean()
    assert rows["PSNR", "mask"].value == pytest.approx(10 * np.log10(4095**2 / squares), abs=0.05)


def test_default_mask_leaves_out_what_is_outside_of_the_body(ct):
    spoilt = with_voxels(ct, np.where(ct.voxels < -300, 5000.0, ct.voxels))
    assert compare(ct, spoilt).value("MAE", "mask") == 0


def test_given_mask_is_the_only_place_looked_at(ct):
    inside = np.zeros(ct.voxels.shape, np.uint8)
    inside[:, 20:28, 20:28, 2:6] = 3
    prediction = with_voxels(ct, np.where(inside, ct.voxels + 5, 1e4))
    report = compare(ct, prediction, replace(ct, voxels=inside, unit="label"))
    assert report.value("bias", "mask") == pytest.approx(5)
    assert report.rows[0].voxels == 8 * 8 * 4
    assert report.mask == "given"


@pytest.mark.parametrize(("unit", "shown"), [("SUV", "SUV"), ("none", "a.u.")])
def test_other_units_use_the_references_own_range(unit, shown):
    voxels = np.zeros((1, 20, 20, 6))
    voxels[:, 5:15, 5:15] = np.random.default_rng(0).uniform(2, 6, (1, 10, 10, 6))
    image = Image(voxels, AFFINE, unit)
    report = compare(image, with_voxels(image, voxels + 0.5))
    row = next(row for row in report.rows if row.metric == "PSNR")
    inside = voxels[voxels > 0]
    assert row.range == pytest.approx((inside.min(), inside.max()))
    assert row.value == pytest.approx(20 * np.log10(np.ptp(inside) / 0.5))
    assert row.voxels == inside.size
    assert {row.region for row in report.rows} == {"mask"}
    assert report.rows[0].unit == shown
    assert "background" in report.mask


def test_labels():
    first = np.zeros((1, 20, 20, 10), np.uint8)
    first[:, 4:10, 4:10, 3:7] = 1
    second = np.roll(first, 2, axis=3)
    first[:, 14:18, 14:18, 3:7] = 7
    report = compare(Image(first, AFFINE, "label"), Image(second, AFFINE, "label"))
    assert report.value("Dice", "label 1") == pytest.approx(0.5)
    assert report.value("HD95", "label 1") == pytest.approx(6.0)
    assert report.value("Dice", "label 7") == 0
    assert report.value("ASSD", "label 7") is None
    assert "label 7: the prediction lacks this label" in report.to_text()


def test_another_grid_is_refused_with_both_grids_and_the_remedy(ct):
    moved = AFFINE.copy()
    moved[0, 3] = 12.5
    with pytest.raises(ImageError, match=r"48×48×8 voxels of 1×1×3 mm from RAS \(12\.5.*from RAS \(0\.0.*on_grid"):
        compare(ct, replace(ct, affine=moved))
    with pytest.raises(ImageError, match="the mask lies on another grid"):
        compare(ct, ct, replace(ct, affine=moved, unit="label"))


def test_other_units_are_refused(ct):
    with pytest.raises(ImageError, match="'HU', the prediction in 'SUV'"):
        compare(ct, replace(ct, unit="SUV"))


def test_values_that_are_not_finite_are_counted(ct):
    voxels = ct.voxels.copy()
    voxels[0, 0, 0, :3] = np.nan
    voxels[0, 0, 1, 0] = np.inf
    with pytest.raises(ImageError, match="the prediction has 4 voxels"):
        compare(ct, with_voxels(ct, voxels))
    with pytest.raises(ImageError, match="the reference has 4 voxels"):
        compare(with_voxels(ct, voxels), ct)


def test_empty_mask_and_several_channels_are_refused(ct):
    with pytest.raises(ImageError, match="mask is empty"):
        compare(ct, ct, replace(ct, voxels=np.zeros(ct.voxels.shape), unit="label"))
    with pytest.raises(ImageError, match="2 channels"):
        compare(ct, with_voxels(ct, np.repeat(ct.voxels, 2, axis=0)))


def test_json_round_trip(ct):
    report = compare(ct, ct)
    assert report.value("PSNR", "mask") is None  # equal images: infinite
    text = json.dumps(report.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == report
    with pytest.raises(ValueError, match="not a report"):
        Report.from_json({"unit": "HU"})


def test_text_is_aligned_and_fits_a_windows_terminal(ct):
    text = compare(ct, with_voxels(ct, ct.voxels + 3)).to_text()
    text.encode("cp1252")
    lines = text.splitlines()
    rule = next(line for line in lines if line.startswith("---"))
    end = rule.index("  ", rule.index("  ", rule.index("  ") + 2) + 2)
    first = next(line for line in lines if line.startswith("mask"))
    assert first[:end].endswith("3.0")


def report_of(mae, bias, ssim):
    rows = (
        Row("MAE", "mask", mae, "HU", 9),
        Row("bias", "mask", bias, "HU", 9),
        Row("SSIM", "mask", ssim, "", 9, (0.0, 1.0), "" if ssim is not None else "why"),
    )
    return Report("HU", "given", (), rows)


def test_summary_is_mean_deviation_and_the_worst_subject():
    summary = summarize({"a": report_of(10, 1, 0.9), "b": report_of(20, -8, None), "c": report_of(60, 4, 0.7)})
    mae, bias, ssim = summary.rows
    assert (mae.mean, mae.deviation, mae.worst, mae.worst_subject) == (30, pytest.approx(700**0.5), 60, "c")
    assert (bias.mean, bias.worst, bias.worst_subject) == (-1, -8, "b")
    assert (ssim.subjects, ssim.undefined, ssim.worst_subject) == (2, ("b",), "c")
    assert summary.cell("MAE", "mask") == "30.0 ± 26.5"
    assert summary.cell("MAE", "bone") == "–"
    assert "undefined for b" in summary.to_text()
    json.dumps(summary.to_json(), allow_nan=False)


def test_one_subject_has_no_deviation_and_no_value_no_mean():
    summary = summarize({"a": report_of(10, 1, None)})
    assert summary.cell("MAE", "mask") == "10.0"
    assert summary.cell("SSIM", "mask") == "–"


def test_reports_that_do_not_compare_are_not_summed_up():
    with pytest.raises(ValueError, match="no report"):
        summarize({})
    with pytest.raises(ValueError, match=r"different units or masks.*HU \(body\); HU \(given\)"):
        summarize({"a": report_of(1, 1, 1), "b": replace(report_of(1, 1, 1), mask="body")})


def test_model_table_is_markdown():
    summaries = {"pix2pix": summarize({"a": report_of(10, 1, 0.9)}), "CycleGAN": summarize({"a": report_of(9, 1, 0.9)})}
    lines = model_table(summaries, [("MAE", "mask"), ("MAE", "bone")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["model", "MAE", "MAE, bone"]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["pix2pix", "10.0", "–"]
