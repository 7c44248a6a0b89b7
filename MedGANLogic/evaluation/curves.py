"""Draw a run as its flight recorder saw it: losses, gradients, scores, diversity, validation, alarms, last sample."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.errors import MedGANError
from MedGANLogic.evaluation.sheet import (
    BACKGROUND,
    DIM,
    DPI,
    GREY,
    HEADING_SIZE,
    MARGIN,
    NOTE_LINE,
    NOTE_SIZE,
    TITLE_LINE,
    TITLE_SIZE,
    Pen,
    colour_map,
    text_width,
    wrapped,
)
from MedGANLogic.recorder import Record, named_in

Values = NDArray[np.float64]

_LINES = ("#4aa8ff", "#ffd166", "#7ddf9a", "#c8a6ff", "#b5ecff", "#ff9fc4", "#f2f4f7", "#9aa4b2")
_ALARM, _LATTICE = "#ff6a4d", "#232a35"

# Inches.
_CHART, _CHART_HEIGHT, _BETWEEN, _BELOW, _TICKS, _SHEET = 3.9, 1.5, 0.75, 0.5, 0.5, 4.5
#: Charts beside each other, alarms in words, and records over which a line is smoothed.
_ACROSS, _TOLD, _SMOOTHED = 2, 5, 60
#: An axis holds this share of many values: a single outlier does not flatten a line. Farther apart, it is logarithmic.
_HELD, _APART = 0.98, 30.0
_CHARTS = _TICKS + _ACROSS * _CHART + (_ACROSS - 1) * _BETWEEN
#: Height over width of a sample that is wide, and how much wider letters are drawn than they are measured.
_WIDE, _WIDER = 0.5, 1.04
_FOOTER = "Pale: every record. Strong: their running median. Axes hold 98 % of the values."


class CurvesError(MedGANError):
    """A folder that holds no run to draw, or a picture that cannot be written."""


@dataclass(frozen=True)
class Curves:
    """What a run's log says, in its order.

    ``validation`` as (step, score) by ``measure``, and ``best`` the lowest of the last phase: that of the run's
    bundle. ``alarms`` as (step, name, text); ``rolled_back`` as (from, to). ``sample`` is the last picture (H, W) in
    [0, 1] of what the networks made, of colours (H, W, 3), with its step; None where there is none.
    """

    records: tuple[Record, ...]
    validation: tuple[tuple[int, float], ...]
    best: tuple[int, float] | None
    measure: str
    alarms: tuple[tuple[int, str, str], ...]
    rolled_back: tuple[tuple[int, int], ...]
    sample: tuple[int, NDArray[Any]] | None


@dataclass(frozen=True)
class Line:
    """Values over steps, NaN where a step has none; ``deviation`` is drawn as a band around them.

    The value at the index ``ringed`` has a ring around it.
    """

    name: str
    steps: Values
    values: Values
    deviation: Values | None = None
    ringed: int | None = None


@dataclass(frozen=True)
class Chart:
    """One pair of axes: a heading, and lines that share a unit."""

    heading: str
    lines: tuple[Line, ...]

    @property
    def is_logarithmic(self) -> bool:
        """Whether its lines lie too far apart for a straight axis, and none reaches zero."""
        values = _finite(self.lines)
        if any(line.deviation is not None for line in self.lines) or not len(values) or values.min() <= 0:
            return False
        middles = [np.median(line.values[np.isfinite(line.values)]) for line in self.lines if len(_finite([line]))]
        return bool(max(max(middles) / min(middles), np.quantile(values, 0.99) / np.quantile(values, 0.01)) > _APART)


def read_curves(log: Path, samples: Path) -> Curves:
    """Read a run's log and its last sample. A line that is still being written is left out.

    Raises CurvesError where there is no log, where a line of it is broken, and where no line is a record.
    """
    try:
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise CurvesError(
            f"{log.parent} holds no run: {log.name} cannot be read ({error.strerror}); give the folder of "
            "'medgan train --out'"
        ) from error
    try:
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
        records = tuple(Record.from_json(entry) for entry in entries if "losses" in entry)
        scored = [
            (int(entry.get("phase", 0)), int(entry["step"]), float(entry["validation"]))
            for entry in entries
            if "validation" in entry
        ]
        measure = next((str(entry["measure"]) for entry in entries if "measure" in entry), "error")
        alarms = tuple(
            (int(entry["step"]), str(alarm["name"]), str(alarm["text"]))
            for entry in entries
            for alarm in entry.get("alarms", ())
        )
        back = tuple((int(one["step"]), int(one["rolled_back_to"])) for one in entries if "rolled_back_to" in one)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CurvesError(f"{log} is not the log of a run: {type(error).__name__} {error}") from error
    if not records:
        raise CurvesError(f"{log} holds no record yet, or those of an earlier version: there is nothing to draw")
    last_phase = max((phase for phase, _, _ in scored), default=0)
    decisive = [(step, score) for phase, step, score in scored if phase == last_phase and np.isfinite(score)]
    best = min(decisive, key=lambda one: one[1], default=None)
    last = max(samples.glob("*.npy"), default=None)
    sample = None if last is None else (int(last.stem), np.load(last, allow_pickle=False).astype(np.float32))
    return Curves(records, tuple(one[1:] for one in scored), best, measure, alarms, back, sample)


def charts_of(curves: Curves) -> list[Chart]:
    """Return the charts of a run: losses of every player, then what there is of the rest."""
    steps = np.array([record.step for record in curves.records], float)

    def over(name: str, values: Sequence[float | None], deviation: Sequence[float] | None = None) -> Line:
        return Line(name, steps, _with_gaps(values), None if deviation is None else _with_gaps(deviation))

    keys = dict.fromkeys(key for record in curves.records for key in record.losses)
    charts = [
        Chart(
            f"Losses of the {player}",
            tuple(
                over(words, [record.losses.get(key) for record in curves.records])
                for key, words in _in_words([key for key in keys if named_in(key)[0] == player]).items()
            ),
        )
        for player in dict.fromkeys(named_in(key)[0] for key in keys)
    ]
    moved = dict.fromkeys(name for record in curves.records for name in record.gradients)
    norms = tuple(over(name, [record.gradients.get(name) for record in curves.records]) for name in moved)
    charts.append(Chart("Gradient norm", norms))
    scored = dict.fromkeys(name for record in curves.records for name in record.scores)
    scores = tuple(
        over(
            name.replace("_", " "),
            [record.scores[name].mean if name in record.scores else None for record in curves.records],
            [record.scores[name].deviation if name in record.scores else np.nan for record in curves.records],
        )
        for name in scored
    )
    charts.append(Chart("Scores, mean ± deviation", scores))
    diverse = (over("made", [r.made for r in curves.records]), over("real", [r.real for r in curves.records]))
    charts.append(Chart("Diversity, 1 − MS-SSIM", diverse))
    at, found = np.array(curves.validation, float).reshape(-1, 2).T
    ringed = curves.validation.index(curves.best) if curves.best else None
    line = Line("ringed: the bundle's", at, found, ringed=ringed)
    charts.append(Chart(f"Validation: {curves.measure}, lower is better", (line,)))
    return [chart for chart in charts if len(_finite(chart.lines))]


def write_curves(path: str | os.PathLike[str], title: str, curves: Curves) -> None:
    """Write a PNG of a run. The file appears only when it is whole.

    Raises CurvesError for a name that does not end in .png or a folder that is not there, and ImportError without
    matplotlib.
    """
    path = Path(path)
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise CurvesError(f"{path}: expected a name that ends in .png, in a folder that is there")
    figure = _draw(title, curves)
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}.png")
    try:
        figure.savefig(partial, dpi=DPI, facecolor=BACKGROUND)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _with_gaps(values: Sequence[float | None]) -> Values:
    return np.array([np.nan if value is None else value for value in values], float)


def _finite(lines: Sequence[Line]) -> Values:
    values = np.concatenate([line.values for line in lines]) if lines else np.zeros(0)
    return np.asarray(values[np.isfinite(values)])


def _in_words(keys: Sequence[str]) -> dict[str, str]:
    """Return a player's losses in words: ``called real``; of one that stands there twice also what it is of."""
    losses = [named_in(key)[1] for key in keys]
    words = {}
    for key in keys:
        _, loss, tensors = named_in(key)
        said = f"{loss} of {tensors}" if tensors and losses.count(loss) > 1 else loss
        words[key] = said.replace("_", " ")
    return words


def _draw(title: str, curves: Curves) -> Any:
    """Return the figure; all places are in inches from its lower left corner."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures of a run need matplotlib: pip install medgan[plots]") from error

    charts = charts_of(curves)
    rows = [charts[first : first + _ACROSS] for first in range(0, len(charts), _ACROSS)]
    legends = [[_legend(chart) for chart in row] for row in rows]
    headings = [0.3 + NOTE_LINE * max(len(legend) for legend in row) for row in legends]
    width, body = _CHARTS + 2 * MARGIN, sum(headings) + len(rows) * (_CHART_HEIGHT + _BELOW)
    if curves.sample is not None:
        at, down, wide, high = _beside_or_below(curves.sample[1].shape, headings[0], body)
        width, body = max(width, at + wide + MARGIN), max(body, down + high + _BELOW)
    written = (width - 2 * MARGIN) / _WIDER
    notes = [(line, colour) for note, colour in _notes(curves) for line in wrapped(note, written, NOTE_SIZE, "normal")]
    bottom = MARGIN + len(notes) * NOTE_LINE
    heads = wrapped(title, written, TITLE_SIZE, "bold")
    total = bottom + body + 0.4 + len(heads) * TITLE_LINE + MARGIN
    width, total = (float(np.ceil(edge * DPI) / DPI) for edge in (width, total))

    figure = Figure(figsize=(width, total), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    pen = Pen(figure, width, total)
    for number, line in enumerate(heads):
        pen.write((MARGIN, total - MARGIN - 0.15 - number * TITLE_LINE), line, TITLE_SIZE).set_fontweight("bold")
    top = total - MARGIN - len(heads) * TITLE_LINE
    pen.write((MARGIN, top - 0.1), _subtitle(curves), NOTE_SIZE, colour=DIM)
    top -= 0.35
    last = max([record.step for record in curves.records] + [step for step, _ in curves.validation])
    place = top
    for row, legend, heading in zip(rows, legends, headings, strict=True):
        place -= heading + _CHART_HEIGHT
        for column, (chart, words) in enumerate(zip(row, legend, strict=True)):
            left = MARGIN + _TICKS + column * (_CHART + _BETWEEN)
            _chart(pen, (left, place, _CHART, _CHART_HEIGHT), chart, words, curves, last)
        place -= _BELOW
    if curves.sample is not None:
        _sample(pen, (at, top - down - high, wide, high), *curves.sample)
    for number, (note, colour) in enumerate(reversed(notes)):
        pen.write((MARGIN, MARGIN + number * NOTE_LINE), note, NOTE_SIZE, colour=colour)
    return figure


def _beside_or_below(shape: tuple[int, ...], heading: float, charted: float) -> tuple[float, float, float, float]:
    """Return a sample's left edge, its upper edge below that of the charts, its width and height.

    A wide one lies below the charts and is as wide as they are, any other beside them.
    """
    share = shape[0] / shape[1]
    if share < _WIDE:
        across = _CHARTS - _TICKS
        return MARGIN + _TICKS, charted + heading, across, across * share
    return MARGIN + _CHARTS + _BETWEEN, heading, _SHEET * min(1.0, 1 / share), _SHEET * min(1.0, share)


def _subtitle(curves: Curves) -> str:
    last = curves.records[-1]
    said = [f"step {last.step:,}", f"{last.seconds_per_step:.3g} s a step", f"waiting for data {last.waiting:.0%}"]
    if curves.best:
        step, score = curves.best
        said.append(f"best validation {score:.4g} at step {step:,}")
    return "   ·   ".join(said)


def _notes(curves: Curves) -> list[tuple[str, str]]:
    """Return the sentences below the charts, each with its colour: the last alarms, and how to read the lines."""
    told = [f"▼ {name}, {text}" for _, name, text in curves.alarms[-_TOLD:]]
    more = len(curves.alarms) - len(told)
    before = [f"▼ {more} alarms before these"] if more else []
    footer = [_FOOTER] if len(curves.records) >= _SMOOTHED else []
    return [*((alarm, _ALARM) for alarm in (*before, *told)), *((note, DIM) for note in footer)]


def _legend(chart: Chart) -> list[list[tuple[float, str, str]]]:
    """Return the names of a chart's lines, in rows that fit its width: (inches from the left, name, colour)."""
    rows: list[list[tuple[float, str, str]]] = [[]]
    across = 0.0
    for line, colour in zip(chart.lines, _colours(chart), strict=True):
        length = text_width(line.name, NOTE_SIZE, "normal") * _WIDER
        if across + length > _CHART and rows[-1]:
            rows.append([])
            across = 0.0
        rows[-1].append((across, line.name, colour))
        across += length + 0.2
    return rows


def _colours(chart: Chart) -> list[str]:
    return [_LINES[number % len(_LINES)] for number in range(len(chart.lines))]


def _chart(
    pen: Pen,
    box: tuple[float, float, float, float],
    chart: Chart,
    legend: list[list[tuple[float, str, str]]],
    curves: Curves,
    last: int,
) -> None:
    left, bottom, _, height = box
    top = bottom + height + 0.1
    for number, row in enumerate(reversed(legend)):
        for across, name, colour in row:
            pen.write((left + across, top + number * NOTE_LINE), name, NOTE_SIZE, colour)
    pen.write((left, top + len(legend) * NOTE_LINE + 0.03), chart.heading, HEADING_SIZE)
    axes = pen.axes(box)
    axes.set_facecolor(BACKGROUND)
    for line, colour in zip(chart.lines, _colours(chart), strict=True):
        _line(axes, line, colour)
        if line.ringed is not None:
            ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": _LINES[1]}
            axes.plot(line.steps[line.ringed], line.values[line.ringed], "o", clip_on=False, **ring)
    for begin, end in ((back, here) for here, back in curves.rolled_back):
        axes.axvspan(begin, end, color=_ALARM, alpha=0.12, linewidth=0)
    for step in dict.fromkeys(step for step, _, _ in curves.alarms):
        axes.axvline(step, color=_ALARM, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.plot(
            [step], [1.0], marker="v", color=_ALARM, markersize=5, clip_on=False, transform=axes.get_xaxis_transform()
        )
    _scale(axes, chart, last)


def _line(axes: Any, line: Line, colour: str) -> None:
    few = len(line.steps) < _SMOOTHED
    if line.deviation is not None:
        low, high = line.values - line.deviation, line.values + line.deviation
        axes.fill_between(line.steps, low, high, color=colour, alpha=0.15, linewidth=0)
    marker = "o" if len(line.steps) <= 25 else None
    axes.plot(
        line.steps,
        line.values,
        color=colour,
        linewidth=1.4 if few else 0.6,
        alpha=1 if few else 0.3,
        marker=marker,
        markersize=2.5,
    )
    if not few:
        axes.plot(line.steps, _running_median(line.values), color=colour, linewidth=1.6)


def _running_median(values: Values) -> Values:
    """Return the median of the values around each, over a thirtieth of them."""
    reach = max(1, len(values) // _SMOOTHED)
    padded = np.pad(values, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.array([np.median(known) if len(known := one[np.isfinite(one)]) else np.nan for one in windows])


def _scale(axes: Any, chart: Chart, last: int) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    spread = [value for line in chart.lines if line.deviation is not None for sign in (-1, 1)
              for value in (line.values + sign * line.deviation)]  # fmt: skip
    values = np.concatenate([_finite(chart.lines), np.array(spread, float)])
    held = _HELD if max(len(line.steps) for line in chart.lines) >= _SMOOTHED else 1.0
    low, high = np.quantile(values[np.isfinite(values)], [(1 - held) / 2, (1 + held) / 2])
    if chart.is_logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(0, max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(color=_LATTICE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=DIM, labelsize=8, length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _sample(pen: Pen, box: tuple[float, float, float, float], step: int, picture: NDArray[Any]) -> None:
    """Draw a picture in a box, under a heading."""
    top = box[1] + box[3] + 0.1
    pen.write((box[0], top + NOTE_LINE + 0.03), "Last sample", HEADING_SIZE)
    pen.write((box[0], top), f"step {step:,}", NOTE_SIZE, colour=DIM)
    axes = pen.axes(box)
    axes.imshow(picture, cmap=colour_map(GREY), vmin=0, vmax=1, aspect="auto", interpolation="hanning")
    axes.set_axis_off()
