"""Compare a prediction with its reference, and sum such comparisons up over subjects.

A number without its mask and range cannot be compared with another one, so a report carries both.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from MedGANLogic.domain import MR, PET, Array
from MedGANLogic.evaluation import metrics
from MedGANLogic.evaluation.body import BODY_ABOVE_HU, body_mask
from MedGANLogic.evaluation.consistency import consistency_error
from MedGANLogic.evaluation.lesion_volume import Volumes, lesion_volumes
from MedGANLogic.evaluation.lesions import (
    SURROUNDINGS_MM,
    area_under_curve,
    contrast,
    highest_uptake,
    mean_uptake,
    peak_uptake,
    surroundings,
)
from MedGANLogic.evaluation.metrics import Mask, Undefined
from MedGANLogic.evaluation.noise import flat_patches, noise_power, noise_power_distance
from MedGANLogic.evaluation.resolution import RISE_HU, edge_width, strong_edges
from MedGANLogic.images import Grid, Image, ImageError, Orientation

#: PSNR and SSIM of CT are over this range, whatever the image holds: twelve bits from -1024 HU, as in SynthRAD 2025.
CT_RANGE_HU = (-1024.0, 3071.0)

#: The windows that papers on low-dose CT show, and count PSNR and SSIM in: of the abdomen (RED-CNN's released code),
#: and of the chest (ldct-benchmark, arXiv:2401.04661: centre -600, width 1500). Values are clipped to them.
WINDOWS_HU: Mapping[str, tuple[float, float]] = {
    "soft-tissue window": (-160.0, 240.0),
    "lung window": (-1350.0, 150.0),
}

#: The region of a row that is over the whole mask, of noise, of sharpness,
WHOLE = "mask"
FLAT = "flat soft tissue"
EDGES = "edges"
#: … of the mean over all labels of a map that has several,
LABELS = "mean of labels"
#: … and of what a map of lesions marks, all of them together.
LESIONS = "lesions"

#: … and of the image that a result was made of.
INPUT = "input"

#: Every metric that a report may hold, in a table's order, with a number that grows as its value gets worse.
METRICS: Mapping[str, Callable[[float], float]] = {
    "MAE": operator.pos,
    "bias": abs,
    "RMSE": operator.pos,
    "PSNR": operator.neg,
    "SSIM": operator.neg,
    "MS-SSIM": operator.neg,
    "SUVmean error": abs,
    "SUVmean of reference": operator.pos,
    "SUVmax error": abs,
    "SUVmax of reference": operator.pos,
    "SUVpeak error": abs,
    "SUVpeak of reference": operator.pos,
    "HFEN": operator.pos,
    "consistency": operator.pos,
    "volume error": abs,
    "volume mismatch": operator.pos,
    "AUC": operator.neg,
    "AUC of reference": operator.neg,
    "contrast": operator.neg,
    "contrast of reference": operator.neg,
    "Dice": operator.neg,
    "HD95": operator.pos,
    "ASSD": operator.pos,
    "NPS distance": operator.pos,
    "noise SD": operator.pos,
    "noise SD of reference": operator.pos,
    "noise frequency": operator.neg,
    "noise frequency of reference": operator.neg,
    "edge width": operator.pos,
    "edge width of reference": operator.pos,
}

#: How a value of each unit is printed. Text keeps to characters of Windows' Western code page, for its terminals.
FORMATS: Mapping[str, str] = {
    "HU": ".1f",
    "SUV": ".3f",
    "a.u.": ".4g",
    "dB": ".2f",
    "mm": ".2f",
    "pixels": ".2f",
    "1/mm": ".3f",
    # A bundle's JSON holds no text that begins with the sign: MONAI would read a file for it.
    "per cent": ".2f",
    "": ".3f",
}


#: How lesions' numbers came about.
LESIONS_IN_WORDS = (
    "Lesions: all that their map marks in the mask, together. SUVpeak is the highest mean over a sphere of 1 cm³ with "
    "its centre in them; errors are prediction minus reference.",
    f"AUC: how often a lesion's voxel is higher than one of the surroundings, {SURROUNDINGS_MM[0]:g} to "
    f"{SURROUNDINGS_MM[1]:g} mm from the edge: 1 seen whole, 0.5 not to be seen. Contrast: the ratio of their means.",
)


@dataclass(frozen=True)
class Row:
    """One number: metric, region of the mask, unit, the range it depends on, the voxels it is of.

    ``value`` is None where the metric is undefined, and ``reason`` says why. ``range`` is in the images' unit.
    """

    metric: str
    region: str
    value: float | None
    unit: str
    voxels: int
    range: tuple[float, float] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What a comparison found: the images' unit, the mask in words, notes on how to read the numbers, and the rows."""

    unit: str
    mask: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    def value(self, metric: str, region: str) -> float | None:
        """Return one number; None where it is undefined, or the report has no such row."""
        values = [row.value for row in self.rows if (row.metric, row.region) == (metric, region)]
        return values[0] if values else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data (no NaN, no infinity) from which ``from_json`` makes an equal report."""
        rows = [{**asdict(row), "range": None if row.range is None else list(row.range)} for row in self.rows]
        return {"unit": self.unit, "mask": self.mask, "notes": list(self.notes), "rows": rows}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Report":
        """Make a report from plain data. Raises ValueError where it is none."""
        try:
            rows = tuple(
                Row(**{**row, "range": None if row["range"] is None else tuple(row["range"])}) for row in data["rows"]
            )
            return Report(data["unit"], data["mask"], tuple(data["notes"]), rows)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a report: {error!r}") from error

    def to_text(self) -> str:
        """Return the report as an aligned table for a terminal."""
        header = ("region", "metric", "value", "unit", "range", "voxels")
        cells = []
        previous = ""
        for row in self.rows:
            region, previous = ("" if row.region == previous else row.region), row.region
            span = "" if row.range is None else f"{row.range[0]:.4g} … {row.range[1]:.4g}"
            cells.append((region, row.metric, _shown(row.unit, row.value), row.unit, span, f"{row.voxels:,}"))
        reasons = [f"{row.metric} of {row.region}: {row.reason}" for row in self.rows if row.reason]
        lines = [f"Mask   {self.mask}", "", *_table(header, cells, "llrllr"), ""]
        return "\n".join([*lines, *(f"–  {reason}" for reason in reasons), *(f"·  {note}" for note in self.notes)])


@dataclass(frozen=True)
class SummaryRow:
    """One metric over subjects: mean and sample standard deviation of those defined, and the worst subject.

    ``mean``, ``worst`` and ``worst_subject`` are None where no subject has a value, ``deviation`` where fewer than two.
    """

    metric: str
    region: str
    unit: str
    mean: float | None
    deviation: float | None
    subjects: int
    undefined: tuple[str, ...]
    worst: float | None
    worst_subject: str | None


@dataclass(frozen=True)
class Summary:
    """The reports of several subjects in one table; all were made with the same kind of mask."""

    unit: str
    mask: str
    rows: tuple[SummaryRow, ...]

    def cell(self, metric: str, region: str) -> str:
        """Return ``mean ± SD`` as shown in a table, or a dash where no subject has this number."""
        for row in self.rows:
            if (row.metric, row.region) == (metric, region):
                return _mean_and_deviation(row)
        return "–"

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without NaN and infinity."""
        rows = [{**asdict(row), "undefined": list(row.undefined)} for row in self.rows]
        return {"unit": self.unit, "mask": self.mask, "rows": rows}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Summary":
        """Make a summary from plain data. Raises ValueError where it is none."""
        try:
            rows = tuple(SummaryRow(**{**row, "undefined": tuple(row["undefined"])}) for row in data["rows"])
            return Summary(data["unit"], data["mask"], rows)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a summary: {error!r}") from error

    def to_text(self) -> str:
        """Return the summary as an aligned table for a terminal."""
        header = ("region", "metric", "mean ± SD", "unit", "n", "worst", "subject")
        cells = []
        previous = ""
        for row in self.rows:
            region, previous = ("" if row.region == previous else row.region), row.region
            worst = (_shown(row.unit, row.worst), row.worst_subject or "")
            cells.append((region, row.metric, _mean_and_deviation(row), row.unit, str(row.subjects), *worst))
        missing = [
            f"–  {row.metric} of {row.region} is undefined for {', '.join(row.undefined)}"
            for row in self.rows
            if row.undefined
        ]
        return "\n".join([f"Mask   {self.mask}", "", *_table(header, cells, "llrlrrl"), "", *missing])


def compare(
    reference: Image,
    prediction: Image,
    mask: Image | None = None,
    tissues_hu: Array | None = None,
    lesions: Image | None = None,
) -> Report:
    """Measure a prediction against its reference, both (1, I, J, K) on one grid and in one unit.

    By the unit: HU gives error metrics, PSNR and SSIM over -1024 … 3071 HU and in two windows, errors per tissue class,
    and noise and sharpness in axial slices where the reference has flat soft tissue and strong edges; SUV and images
    without unit give the errors, PSNR and SSIM over the reference's own range in the mask; labels give Dice, HD95 and
    ASSD per label, and their mean over several. ``mask`` is an image whose voxels above zero count; without one, HU
    uses the reference's body, SUV and images without unit what exceeds their domain's background, and labels the whole
    volume. ``tissues_hu`` (I, J, K) tells tissues apart where the reference is too noisy to (``coarse_part``).
    ``lesions`` is a label map: for SUV, what it marks is measured as well, within the mask. Raises ImageError for
    different grids or units, several channels, values that are not finite, an empty mask, and lesions in another unit
    than SUV.
    """
    _refuse_unlike(reference, prediction)
    inside, mask_in_words = _mask(reference, mask)
    if lesions is not None:
        if reference.unit != "SUV":
            raise ImageError(f"lesions are measured in SUV: the reference is in {reference.unit!r}")
        marked = _marked(reference, lesions, "map of lesions")
    if not inside.any():
        raise ImageError(f"the mask is empty ({mask_in_words}): give one with at least one voxel above zero")
    if reference.unit == "label":
        rows = _label_rows(reference, prediction, inside)
        note = "HD95 and ASSD: between surface voxels' centres; the image's edge is no surface."
        return Report("label", mask_in_words, (note,), rows)
    true, predicted = reference.voxels[0], prediction.voxels[0]
    of_ct: tuple[str, ...] = ()
    if reference.unit == "HU":
        low, high = CT_RANGE_HU
        rows = (
            *_error_rows(true, predicted, inside, (low, high), "HU"),
            *_window_rows(true, predicted, inside),
            *_tissue_rows(true, predicted, inside, true if tissues_hu is None else tissues_hu),
            *_appearance_rows(reference, prediction, inside),
        )
        origin, of_ct = "fixed", _ct_in_words("" if tissues_hu is None else "'s coarse part")
    else:
        low, high = float(true[inside].min()), float(true[inside].max())
        rows = _error_rows(true, predicted, inside, (low, high), "SUV" if reference.unit == "SUV" else "a.u.")
        origin = "the reference's own in the mask"
    of_lesions: tuple[str, ...] = ()
    if lesions is not None:
        rows += _lesion_rows(true, predicted, marked & inside, inside, reference.grid.spacing_mm)
        of_lesions = LESIONS_IN_WORDS
    notes = (
        "bias is prediction minus reference.",
        f"PSNR and SSIM: range {low:.4g} … {high:.4g}, {origin}; nothing is clipped.",
        "SSIM: 3-D Gaussian window of 11 voxels, mean over the mask, both images set to the range's low end outside.",
        *of_ct,
        *of_lesions,
    )
    return Report(reference.unit, mask_in_words, notes, rows)


def detail_row(reference: Image, prediction: Image, mask: Mask) -> Row:
    """Return how far fine detail is off: HFEN, for what is made finer."""
    voxels = reference.voxels[0], prediction.voxels[0], mask
    return _row("HFEN", WHOLE, "", mask, partial(metrics.high_frequency_error, *voxels))


def consistency_row(given: Image, result: Image, degrade: Callable[[Image], Image], mask: Mask | None = None) -> Row:
    """Return how far a result, seen again by the scanner that gave its input, is from it: ``consistency_error``.

    In the mask (I, J, K) on the input's grid; without one, where ``compare`` would count voxels of the input.
    """
    inside = _mask(given, None)[0] if mask is None else mask
    return _row("consistency", INPUT, "per cent", inside, partial(consistency_error, given, result, degrade, inside))


def lesion_volume_rows(reference: Image, prediction: Image, lesions: Image) -> tuple[Row, ...]:
    """Return how well lesions keep their volume, all together and one by one, in per cent of the reference's."""
    marked = _marked(reference, lesions, "map of lesions")

    def volumes() -> Volumes:
        return lesion_volumes(reference.voxels[0], prediction.voxels[0], marked, reference.grid.spacing_mm)

    row = partial(_row, region=LESIONS, unit="per cent", voxels=marked)
    return (
        row("volume error", measure=lambda: volumes().error),
        row("volume mismatch", measure=lambda: volumes().mismatch),
    )


def summarize(reports: Mapping[str, Report]) -> Summary:
    """Sum the reports of several subjects up, by subject: mean, SD (n − 1) and the worst case of every number.

    Raises ValueError for no report, and for reports of different units or kinds of mask: their numbers do not compare.
    """
    if not reports:
        raise ValueError("no report to sum up")
    kinds = {f"{report.unit} ({report.mask})" for report in reports.values()}
    if len(kinds) > 1:
        raise ValueError(f"reports of different units or masks do not compare: {'; '.join(sorted(kinds))}")
    keys = list(dict.fromkeys((row.region, row.metric, row.unit) for report in reports.values() for row in report.rows))
    regions = list(dict.fromkeys(region for region, _, _ in keys))
    keys.sort(key=lambda key: (regions.index(key[0]), list(METRICS).index(key[1])))
    first = next(iter(reports.values()))
    return Summary(first.unit, first.mask, tuple(_summary_row(reports, *key) for key in keys))


def model_table(summaries: Mapping[str, Summary], columns: Sequence[tuple[str, str]]) -> str:
    """Return a Markdown table, aligned for a terminal too: a row per model, a column per (metric, region)."""
    header = ["model", *(metric if region == WHOLE else f"{metric}, {region}" for metric, region in columns)]
    cells = [[model, *(summary.cell(*column) for column in columns)] for model, summary in summaries.items()]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    sides = "l" + "r" * len(columns)
    return "\n".join(f"| {' | '.join(_aligned(row, widths, sides))} |" for row in (header, rule, *cells))


def _refuse_unlike(reference: Image, prediction: Image) -> None:
    for name, image in (("reference", reference), ("prediction", prediction)):
        if image.voxels.shape[0] != 1:
            raise ImageError(f"the {name} has {image.voxels.shape[0]} channels: compare one at a time")
    _refuse_other_grid(reference.grid, prediction.grid, "prediction")
    if reference.unit != prediction.unit:
        raise ImageError(
            f"the reference is in {reference.unit!r}, the prediction in {prediction.unit!r}: "
            "read both with the same unit, or convert one"
        )
    for name, image in (("reference", reference), ("prediction", prediction)):
        broken = int(np.count_nonzero(~np.isfinite(image.voxels)))
        if broken:
            raise ImageError(f"the {name} has {broken:,} voxels that are NaN or infinite: no metric is valid with them")


def _refuse_other_grid(expected: Grid, found: Grid, name: str) -> None:
    if not expected.matches(found):
        raise ImageError(
            f"the {name} lies on another grid than the reference ({_placed(found)}; reference: {_placed(expected)}): "
            "resample it first, with Image.on_grid(reference.grid, …) or Slicer's Resample Scalar/Vector/DWI Volume"
        )


def _placed(grid: Grid) -> str:
    shape = "×".join(map(str, grid.shape))
    spacing = "×".join(f"{s:.3g}" for s in grid.spacing_mm)
    corner = ", ".join(f"{x:.1f}" for x in grid.affine[:3, 3])
    return f"{shape} voxels of {spacing} mm from RAS ({corner}) mm"


def _mask(reference: Image, given: Image | None) -> tuple[Mask, str]:
    """Return the mask and how it was made, in words that are the same for every subject."""
    values = reference.voxels[0]
    if given is not None:
        return _marked(reference, given, "mask"), "given"
    if reference.unit == "HU":
        return body_mask(reference), f"body of the reference: above {BODY_ABOVE_HU:g} HU, without table, holes filled"
    if reference.unit == "label":
        return np.ones(values.shape, bool), "the whole volume"
    if reference.unit == "SUV":
        return PET.window.body(values), "reference without background: above 0.1 SUV"
    return MR.window.body(values), "reference without background: above 5 % of the 99th percentile of values over 0"


def _marked(reference: Image, given: Image, name: str) -> Mask:
    """Return where a label map on the reference's grid is above zero."""
    if given.voxels.shape[0] != 1:
        raise ImageError(f"the {name} has {given.voxels.shape[0]} channels: give one")
    _refuse_other_grid(reference.grid, given.grid, name)
    return np.asarray(given.voxels[0] > 0)


def _row(metric: str, region: str, unit: str, voxels: Mask, measure: Callable[[], float]) -> Row:
    return _counted_row(metric, unit, measure, region, int(np.count_nonzero(voxels)))


def _counted_row(metric: str, unit: str, measure: Callable[[], float], region: str, count: int) -> Row:
    try:
        return Row(metric, region, measure(), unit, count)
    except Undefined as undefined:
        return Row(metric, region, None, unit, count, reason=str(undefined))


def _error_rows(true: Array, predicted: Array, inside: Mask, limits: tuple[float, float], unit: str) -> tuple[Row, ...]:
    pair = (true, predicted, inside)
    low, span = limits[0], limits[1] - limits[0]
    plain = (
        _row("MAE", WHOLE, unit, inside, partial(metrics.mean_absolute_error, *pair)),
        _row("bias", WHOLE, unit, inside, partial(metrics.mean_error, *pair)),
        _row("RMSE", WHOLE, unit, inside, partial(metrics.root_mean_square_error, *pair)),
    )
    multi_scale = _row(
        "MS-SSIM", WHOLE, "", inside, partial(metrics.multi_scale_structural_similarity, *pair, low, span)
    )
    return (*plain, *_similarity_rows(*pair, limits, WHOLE), replace(multi_scale, range=limits))


def _similarity_rows(
    true: Array, predicted: Array, inside: Mask, limits: tuple[float, float], region: str
) -> tuple[Row, ...]:
    pair = (true, predicted, inside)
    low, span = limits[0], limits[1] - limits[0]
    rows = (
        _row("PSNR", region, "dB", inside, partial(metrics.peak_signal_to_noise_ratio, *pair, span)),
        _row("SSIM", region, "", inside, partial(metrics.structural_similarity, *pair, low, span)),
    )
    return tuple(replace(row, range=limits) for row in rows)


def _window_rows(true: Array, predicted: Array, inside: Mask) -> tuple[Row, ...]:
    rows: list[Row] = []
    for name, limits in WINDOWS_HU.items():
        rows += _similarity_rows(np.clip(true, *limits), np.clip(predicted, *limits), inside, limits, name)
    return tuple(rows)


def _tissue_rows(true: Array, predicted: Array, inside: Mask, by: Array) -> tuple[Row, ...]:
    rows = []
    for tissue in metrics.TISSUES:
        where = tissue.within(by, inside)
        pair = (true, predicted, where)
        rows += [
            _row("MAE", tissue.name, "HU", where, partial(metrics.mean_absolute_error, *pair)),
            _row("bias", tissue.name, "HU", where, partial(metrics.mean_error, *pair)),
        ]
    return tuple(rows)


def _appearance_rows(reference: Image, prediction: Image, inside: Mask) -> tuple[Row, ...]:
    """Return how noisy and how sharp both are in axial slices, measured at the same places."""
    orientation = Orientation.nearest(reference.affine)
    true, predicted, where = (orientation.apply(of)[0] for of in (reference.voxels, prediction.voxels, inside[None]))
    spacing_mm = orientation.apply_to_grid(reference.grid).spacing_mm
    return (
        *_noise_rows(true, predicted, where, spacing_mm),
        *_edge_rows(true, predicted, where, spacing_mm),
    )


def _noise_rows(true: Array, predicted: Array, inside: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Row, ...]:
    try:
        patches = flat_patches(true, inside, spacing_mm)
    except Undefined as undefined:
        return (Row("NPS distance", FLAT, None, "", 0, reason=str(undefined)),)
    found, of_reference = noise_power(predicted, patches), noise_power(true, patches)
    row = partial(_counted_row, region=FLAT, count=patches.voxels)
    return (
        row("NPS distance", "", partial(noise_power_distance, found, of_reference)),
        row("noise SD", "HU", lambda: found.deviation_hu),
        row("noise SD of reference", "HU", lambda: of_reference.deviation_hu),
        row("noise frequency", "1/mm", found.mean_frequency_per_mm),
        row("noise frequency of reference", "1/mm", of_reference.mean_frequency_per_mm),
    )


def _edge_rows(true: Array, predicted: Array, inside: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Row, ...]:
    try:
        edges = strong_edges(true, inside, spacing_mm)
    except Undefined as undefined:
        return (Row("edge width", EDGES, None, "mm", 0, reason=str(undefined)),)
    row = partial(_counted_row, region=EDGES, unit="mm", count=len(edges.voxels))
    return (
        row("edge width", measure=partial(edge_width, predicted, edges)),
        row("edge width of reference", measure=partial(edge_width, true, edges)),
    )


def _lesion_rows(
    true: Array, predicted: Array, lesion: Mask, inside: Mask, spacing_mm: tuple[float, float, float]
) -> tuple[Row, ...]:
    """Return how far off a lesion's uptake is, and how clearly it stands out in both images."""
    row = partial(_counted_row, region=LESIONS, count=int(np.count_nonzero(lesion)))
    uptakes: Mapping[str, Callable[[Array], float]] = {
        "SUVmean": partial(mean_uptake, lesion=lesion),
        "SUVmax": partial(highest_uptake, lesion=lesion),
        "SUVpeak": partial(peak_uptake, lesion=lesion, spacing_mm=spacing_mm),
    }
    rows = []
    for name, uptake in uptakes.items():
        rows += [
            row(f"{name} error", "SUV", partial(_difference, uptake, true, predicted)),
            row(f"{name} of reference", "SUV", partial(uptake, true)),
        ]
    try:
        shell = surroundings(lesion, inside, spacing_mm)
    except Undefined as undefined:
        return (*rows, Row("AUC", LESIONS, None, "", 0, reason=str(undefined)))
    for name, seen in (("AUC", area_under_curve), ("contrast", contrast)):
        rows += [
            row(name, "", partial(seen, predicted, lesion, shell)),
            row(f"{name} of reference", "", partial(seen, true, lesion, shell)),
        ]
    return tuple(rows)


def _difference(of: Callable[[Array], float], true: Array, predicted: Array) -> float:
    return of(predicted) - of(true)


def _ct_in_words(part: str) -> tuple[str, ...]:
    return (
        "Windows: both images are clipped to them first.",
        _tissues_in_words(part),
        "Noise: in patches of 24 mm that are flat in the reference. Frequency is the spectrum's centre, NPS distance "
        "the share of the reference's noise by which the spectra differ: 0 equal, 1 no noise at all.",
        f"Edges: where the reference rises by {RISE_HU:g} HU in the slice; from 10 to 90 % of the median profile.",
    )


def _tissues_in_words(part: str) -> str:
    classes = [
        f"{tissue.name} {tissue.low_hu:g} … {tissue.high_hu:g}".replace("-inf … ", "< ").replace(" … inf", " and more")
        for tissue in metrics.TISSUES
    ]
    return f"Tissues by the reference{part}'s HU: {'; '.join(classes)}; what lies between counts in none."


def _label_rows(reference: Image, prediction: Image, inside: Mask) -> tuple[Row, ...]:
    rows = []
    # A pixel of a photograph counts as 1 mm on its grid, and is none.
    spacing_mm, length = reference.grid.spacing_mm, "pixels" if "size" in reference.facts else "mm"
    true, predicted = (np.where(inside, image.voxels[0], 0) for image in (reference, prediction))
    for label in np.union1d(true, predicted):
        if label == 0:
            continue
        pair, name = (true == label, predicted == label), f"label {int(label)}"
        rows += [
            _row("Dice", name, "", pair[0], partial(metrics.dice, *pair)),
            _row("HD95", name, length, pair[0], partial(metrics.hausdorff_distance_95, *pair, spacing_mm)),
            _row("ASSD", name, length, pair[0], partial(metrics.average_symmetric_surface_distance, *pair, spacing_mm)),
        ]
    return (*rows, *_mean_rows(rows))


def _mean_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the mean of each metric over labels, where there are several; undefined where one of them is."""
    by_metric: dict[str, list[Row]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    return tuple(
        _counted_row(metric, of[0].unit, partial(_mean_of, of), LABELS, sum(row.voxels for row in of))
        for metric, of in by_metric.items()
        if len(of) > 1
    )


def _mean_of(rows: Sequence[Row]) -> float:
    known = [row.value for row in rows if row.value is not None]
    if len(known) < len(rows):
        raise Undefined(f"it has no value for {', '.join(row.region for row in rows if row.value is None)}")
    return float(np.mean(known))


def _summary_row(reports: Mapping[str, Report], region: str, metric: str, unit: str) -> SummaryRow:
    found = {
        subject: row.value
        for subject, report in reports.items()
        for row in report.rows
        if (row.metric, row.region) == (metric, region)
    }
    values = {subject: value for subject, value in found.items() if value is not None}
    undefined = tuple(subject for subject, value in found.items() if value is None)
    if not values:
        return SummaryRow(metric, region, unit, None, None, 0, undefined, None, None)
    worst = max(values, key=lambda subject: METRICS[metric](values[subject]))
    numbers = list(values.values())
    deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return SummaryRow(
        metric, region, unit, float(np.mean(numbers)), deviation, len(numbers), undefined, values[worst], worst
    )


def _mean_and_deviation(row: SummaryRow) -> str:
    mean = _shown(row.unit, row.mean)
    return mean if row.deviation is None else f"{mean} ± {_shown(row.unit, row.deviation)}"


def _shown(unit: str, value: float | None) -> str:
    return "–" if value is None else f"{value:{FORMATS[unit]}}"


def _table(header: Sequence[str], cells: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Return header, rule and rows with aligned columns; ``sides`` has l or r for each."""
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    rule = "  ".join("-" * width for width in widths)
    header_line, *lines = ("  ".join(_aligned(row, widths, sides)).rstrip() for row in (header, *cells))
    return [header_line, rule, *lines]


def _aligned(row: Sequence[str], widths: Sequence[int], sides: str) -> list[str]:
    pairs = zip(row, widths, sides, strict=True)
    return [text.ljust(width) if side == "l" else text.rjust(width) for text, width, side in pairs]
