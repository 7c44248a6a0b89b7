"""Reports refuse what does not compare, say mask and range, and survive JSON; summaries name the worst case."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedGANLogic.evaluation import Report, Row, compare, model_table, summarize
from MedGANLogic.images import UNMEASURED, Image, ImageError

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
    assert report.value("MAE", "lung") is None
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
    assert report.value("Dice", "mean of labels") == pytest.approx(0.25)
    assert report.value("HD95", "mean of labels") is None
    assert "HD95 of mean of labels: it has no value for label 7" in report.to_text()
    alone = compare(Image(second, AFFINE, "label"), Image(second, AFFINE, "label"))
    assert {row.region for row in alone.rows} == {"label 1"}


def test_a_photographs_distances_are_in_pixels():
    voxels = np.zeros((1, 20, 20, 1), np.uint8)
    voxels[:, 4:10, 4:10] = 1
    photograph = Image(voxels, np.eye(4), "label", {"size": UNMEASURED})
    report = compare(photograph, replace(photograph, voxels=np.roll(voxels, 2, axis=1), facts={}))
    assert {row.unit for row in report.rows if row.metric in ("HD95", "ASSD")} == {"pixels"}
    assert report.value("HD95", "label 1") == pytest.approx(2)
    assert "pixels" in report.to_text()


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


@pytest.fixture
def noisy_ct():
    """A body of soft tissue under grainy noise, in air."""
    i, j = np.meshgrid(np.arange(160), np.arange(160), indexing="ij")
    hu = np.repeat(np.where(np.hypot(i - 79.4, j - 79.7) < 70, 50.0, -1000.0)[..., None], 6, axis=2)
    noise = np.random.default_rng(5).normal(0, 30, hu.shape)
    return Image(blurred(hu + noise, 0.6)[None], np.diag([0.8, 0.8, 3.0, 1.0]), "HU")


def blurred(voxels, sigma):
    return ndimage.gaussian_filter(voxels, (sigma, sigma, 0))


def test_ct_report_says_how_noisy_and_sharp_both_images_are(noisy_ct):
    report = compare(noisy_ct, with_voxels(noisy_ct, blurred(noisy_ct.voxels[0], 1.0)[None]))
    assert report.value("noise SD", "flat soft tissue") < 0.6 * report.value(
        "noise SD of reference", "flat soft tissue"
    )
    frequency = [report.value(f"noise frequency{of}", "flat soft tissue") for of in ("", " of reference")]
    assert frequency[0] < 0.8 * frequency[1]
    assert 0.5 < report.value("NPS distance", "flat soft tissue") < 1
    width = [report.value(f"edge width{of}", "edges") for of in ("", " of reference")]
    # A step of voxels under Gaussians of 0.6 and 1.0 voxels: their squares add.
    assert width == pytest.approx([2.563 * 0.8 * (0.36 + 1) ** 0.5, 2.563 * 0.8 * 0.6], rel=0.12)
    rows = {row.metric: row for row in report.rows}
    assert rows["noise SD"].voxels % 32**2 == 0
    assert rows["edge width"].voxels > 100
    assert Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report


def test_equal_images_are_equally_noisy_and_sharp_however_they_are_stored(noisy_ct):
    turned = Image(noisy_ct.voxels.transpose(0, 3, 2, 1), noisy_ct.affine[:, [2, 1, 0, 3]], "HU")
    report = compare(turned, turned)
    assert report.value("NPS distance", "flat soft tissue") == 0
    upright = compare(noisy_ct, noisy_ct)
    for metric, region in (("noise SD", "flat soft tissue"), ("edge width", "edges")):
        assert report.value(metric, region) == pytest.approx(upright.value(metric, region), rel=0.02)


def test_what_cannot_be_measured_is_said_in_words(ct):
    report = compare(ct, ct)
    rows = {row.metric: row for row in report.rows}
    assert rows["NPS distance"].value is None
    assert "0 flat patches of soft tissue" in report.to_text()
    assert "noise SD" not in rows
    coarse = replace(ct, affine=np.diag([3.0, 3.0, 3.0, 1.0]))
    report = compare(coarse, coarse)
    assert "edge width of edges: voxels of 3 mm are too large" in report.to_text()


def test_windows_clip_both_images(ct):
    beyond = with_voxels(ct, np.select([ct.voxels > 600, ct.voxels < -900], [2000.0, -1024.0], ct.voxels))
    report = compare(ct, beyond)
    assert report.value("SSIM", "soft-tissue window") == pytest.approx(1)
    assert report.value("PSNR", "soft-tissue window") is None  # equal inside the window: infinite
    assert report.value("PSNR", "mask") is not None
    shifted = compare(ct, with_voxels(ct, np.where(np.abs(ct.voxels) < 150, ct.voxels + 20, ct.voxels)))
    inside = np.abs(ct.voxels[ct.voxels > -300]) < 150
    expected = 20 * np.log10(400 / (20 * np.sqrt(inside.mean())))
    assert shifted.value("PSNR", "soft-tissue window") == pytest.approx(expected, abs=0.1)
    rows = {(row.metric, row.region): row for row in shifted.rows}
    assert rows["SSIM", "lung window"].range == (-1350, 150)
    assert "lung window" not in {row.region for row in compare(replace(ct, unit="none"), replace(ct, unit="none")).rows}


def test_summary_of_what_is_measured_in_some_subjects_alone(ct, noisy_ct):
    summary = summarize({"small": compare(ct, ct), "large": compare(noisy_ct, noisy_ct)})
    rows = {row.metric: row for row in summary.rows if row.region == "flat soft tissue"}
    assert rows["NPS distance"].undefined == ("small",)
    assert (rows["noise SD"].subjects, rows["noise SD"].worst_subject) == (1, "large")
