"""Draw slices of several volumes side by side, as a radiologist expects them, and write the picture."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.domain import HIGHEST_COLOUR, MR, Array
from MedGANLogic.images import Grid, Image, ImageError, Orientation

#: Colour maps as stops from low to high. The diverging one is dark at zero, so that air does not glare.
GREY = ("#000000", "#ffffff")
DIVERGING = ("#b5ecff", "#2f8fe0", "#12365c", "#0c0f14", "#66201c", "#e8532f", "#ffd9a0")

#: The windows that CT (soft tissue: W 400 L 40) and PET are shown in, and the limit of a CT's error.
CT_WINDOW_HU = (-160.0, 240.0)
PET_WINDOW_SUV = (0.0, 5.0)
CT_ERROR_HU = 200.0

_UNITS = {"HU": "HU", "SUV": "SUV", "none": "a.u.", "label": "label"}
BACKGROUND, _TEXT, DIM, _MARK = "#0c0f14", "#f2f4f7", "#9aa4b2", "#ffd166"

# Inches. The longest picture edge decides how many millimetres an inch shows, the same on the whole sheet.
_COLUMN, _NARROWEST_COLUMN, _TALLEST_ROW = 2.5, 1.9, 2.9
_GAP, MARGIN = 0.1, 0.25
DPI = 100

# Points, and inches from line to line.
TITLE_SIZE, HEADING_SIZE, NOTE_SIZE = 14.0, 11.0, 8.5
TITLE_LINE, NOTE_LINE = 0.3, 0.19

_FOOTER = "Patient right is on the left (radiological convention). Research use only."
#: Of photographs, which know neither sides nor sizes.
_PLAIN_FOOTER = "Photographs as they are. Research use only."

Box = tuple[float, float, float, float]


class Plane(IntEnum):
    """The plane of a slice, as the axis across it in R, A, S order."""

    SAGITTAL = 0
    CORONAL = 1
    AXIAL = 2


#: Letters at left, right, top and bottom of a picture in radiological convention: patient right on its left.
EDGES = {Plane.SAGITTAL: "APSI", Plane.CORONAL: "RLSI", Plane.AXIAL: "RLAP"}


@dataclass(frozen=True)
class Cut:
    """One slice: its plane and its index towards R, A or S in the volume re-ordered to its nearest axes."""

    plane: Plane
    index: int


@dataclass(frozen=True)
class Panel:
    """One column of a sheet: a volume, the window it is shown in (in its unit), and the colours from low to high."""

    title: str
    image: Image
    low: float
    high: float
    colours: tuple[str, ...] = GREY

    @property
    def is_coloured(self) -> bool:
        """Whether the volume has colours of its own."""
        return len(self.image.voxels) == 3


@dataclass(frozen=True)
class Slice:
    """Pixels (rows from the top, columns from the left; colours last) as drawn; a pixel's height and width in mm."""

    pixels: Array
    height_mm: float
    width_mm: float

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Height and width of the whole slice."""
        return self.pixels.shape[0] * self.height_mm, self.pixels.shape[1] * self.width_mm


def slice_as_drawn(image: Image, cut: Cut) -> Slice:
    """Return a slice of a volume (1, I, J, K), or (3, I, J, K) in colours, in any orientation, as radiologists see it.

    Patient right is on the left, anterior (axial) or superior (coronal, sagittal) at the top, and anterior on the left
    of a sagittal slice. Raises ImageError for other channels and for a slice beyond the volume.
    """
    if image.voxels.shape[0] not in (1, 3):
        raise ImageError(f"the image has {image.voxels.shape[0]} channels: draw one at a time")
    upright = image.with_orientation(Orientation.nearest(image.affine))
    count = upright.grid.shape[cut.plane]
    if not 0 <= cut.index < count:
        raise ImageError(f"{cut.plane.name.lower()} slice {cut.index} does not exist: the volume has {count}")
    across, down = (axis for axis in range(3) if axis != cut.plane)
    # Re-ordered voxels run towards R, A and S, pixels to the right and down: both axes of every plane turn round.
    pixels = np.take(upright.values, cut.index, axis=int(cut.plane) - 3).T[::-1, ::-1]
    return Slice(pixels, upright.grid.spacing_mm[down], upright.grid.spacing_mm[across])


def cuts_through(grid: Grid, point_mm: tuple[float, float, float]) -> tuple[Cut, Cut, Cut]:
    """Return the axial, coronal and sagittal cut nearest to a point in RAS mm, kept within the grid."""
    upright = Orientation.nearest(grid.affine).apply_to_grid(grid)
    voxel = np.linalg.solve(upright.affine, [*point_mm, 1.0])[:3]
    index = [int(np.clip(round(float(v)), 0, n - 1)) for v, n in zip(voxel, upright.shape, strict=True)]
    return (
        Cut(Plane.AXIAL, index[Plane.AXIAL]),
        Cut(Plane.CORONAL, index[Plane.CORONAL]),
        Cut(Plane.SAGITTAL, index[Plane.SAGITTAL]),
    )


def axial_cuts(grid: Grid, count: int) -> tuple[Cut, ...]:
    """Return evenly spaced axial cuts from superior to inferior, the outermost half a step within the grid.

    There are fewer where the grid has fewer slices.
    """
    slices = Orientation.nearest(grid.affine).apply_to_grid(grid).shape[Plane.AXIAL]
    places = (int(slices * (2 * step + 1) / (2 * count)) for step in reversed(range(count)))
    return tuple(Cut(Plane.AXIAL, place) for place in dict.fromkeys(places))


def error_panel(reference: Image, prediction: Image, limit: float) -> Panel:
    """Return prediction minus reference from -limit to limit, in the images' unit: red is too high, blue too low.

    Raises ImageError where the two lie on different grids.
    """
    if not reference.grid.matches(prediction.grid):
        raise ImageError("reference and prediction lie on different grids: resample one with Image.on_grid first")
    difference = prediction.voxels.astype(np.float32) - reference.voxels.astype(np.float32)
    image = Image(difference, reference.affine, reference.unit)
    return Panel("Synthetic − true", image, -limit, limit, DIVERGING)


def translation_panels(source: Image, synthetic: Image, truth: Image | None = None) -> tuple[Panel, ...]:
    """Return the columns of a translation: input and output, and where there is a truth, the truth and the error.

    HU are shown at W 400 L 40 with errors to ±200 HU, SUV from 0 to 5; images without unit from their 0.5th to their
    99.5th percentile in the body, the output as its truth. Errors other than HU reach half of the window's width.
    """
    low, high = _window(synthetic if truth is None else truth)
    panels = (
        Panel(f"Input {_modality(source)}", source, *_window(source)),
        Panel(f"Synthetic {_modality(synthetic)}", synthetic, low, high),
    )
    if truth is None:
        return panels
    limit = CT_ERROR_HU if truth.unit == "HU" else (high - low) / 2
    return (*panels, Panel(f"True {_modality(truth)}", truth, low, high), error_panel(truth, synthetic, limit))


def scale_bar_mm(width_mm: float) -> float:
    """Return the longest round length (1, 2 or 5 times a power of ten) of at most two fifths of a picture's width."""
    power = 10 ** np.floor(np.log10(0.4 * width_mm))
    return float(max(factor * power for factor in (1, 2, 5) if factor * power <= 0.4 * width_mm))


def write_sheet(
    path: str | os.PathLike[str], title: str, panels: Sequence[Panel], cuts: Sequence[Cut], caption: str = ""
) -> None:
    """Write a PNG with a column per panel and a row per cut, in one scale, with colour bars and orientation.

    All panels lie on one grid. The file is written under a temporary name and then renamed: a failure leaves nothing.
    Raises ImageError for no panel or cut, other grids and a name that does not end in .png, and ImportError without
    matplotlib.
    """
    path = Path(path)
    _refuse_undrawable(path, panels, cuts)
    figure = _draw(title, panels, cuts, caption)
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}.png")
    try:
        is_coloured = any(panel.is_coloured for panel in panels)
        _save(figure, partial, [] if is_coloured else sorted({GREY, *(panel.colours for panel in panels)}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _refuse_undrawable(path: Path, panels: Sequence[Panel], cuts: Sequence[Cut]) -> None:
    if path.suffix.lower() != ".png":
        raise ImageError(f"{path.name}: the name must end in .png")
    if not panels or not cuts:
        raise ImageError(f"{len(panels)} panels and {len(cuts)} cuts: a sheet needs at least one of each")
    for panel in panels[1:]:
        if not panel.image.grid.matches(panels[0].image.grid):
            raise ImageError(
                f"{panel.title!r} lies on another grid than {panels[0].title!r}: resample it with Image.on_grid first"
            )


def _save(figure: Any, path: Path, colours: Sequence[tuple[str, ...]]) -> None:
    """Save a figure in the colours of some maps; in its own where there are none."""
    from PIL import Image as Picture  # matplotlib brings Pillow along

    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(np.int64)
    if not colours:
        Picture.fromarray(pixels.astype(np.uint8)).save(path, optimize=True, dpi=(DPI, DPI))
        return
    # Noise makes true colour large; 256 colours take a third of the space. They are those of the colour maps and the
    # marks: a palette drawn from the picture itself leaves bands in the colour bars.
    palette = _palette(colours)
    packed, where = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    found = packed[:, None] // np.array([1 << 16, 1 << 8, 1]) % 256
    nearest = np.square(found[:, None] - palette[None]).sum(axis=2).argmin(axis=1).astype(np.uint8)
    picture = Picture.fromarray(nearest[where].reshape(pixels.shape[:2])).convert("P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    picture.save(path, optimize=True, dpi=(DPI, DPI))


def _palette(colours: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """Return 256 colours (R, G, B in 0 … 255): the sheet's own marks in eight strengths, the rest for colour maps."""
    marks = [colour_map(("#000000", mark))(np.linspace(0, 1, 8)) for mark in (_MARK, DIM)]
    share = (256 - 2 * 8 - 1) // len(colours)
    maps = [colour_map(stops)(np.linspace(0, 1, share)) for stops in colours]
    table = np.concatenate([colour_map((BACKGROUND, _TEXT))([0.0]), *marks, *maps])[:, :3]
    return np.asarray(np.rint(np.pad(table, ((0, 256 - len(table)), (0, 0))) * 255), np.int64)


def _modality(image: Image) -> str:
    if len(image.voxels) == 3:
        return "photograph"
    return {"HU": "CT", "SUV": "PET", "none": "MR", "label": "labels"}[image.unit]


def _window(image: Image) -> tuple[float, float]:
    if len(image.voxels) == 3:
        return 0.0, HIGHEST_COLOUR
    if image.unit == "HU":
        return CT_WINDOW_HU
    if image.unit == "SUV":
        return PET_WINDOW_SUV
    if image.unit == "label":
        return 0.0, float(max(1, image.voxels.max()))
    scale = MR.window.scale(image.voxels)
    return scale.low, scale.high


def _draw(title: str, panels: Sequence[Panel], cuts: Sequence[Cut], caption: str) -> Any:
    """Return the figure; all places are in inches from its lower left corner, so that no text is cut off."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("picture sheets need matplotlib: pip install medgan[plots]") from error

    drawn = [[slice_as_drawn(panel.image, cut) for panel in panels] for cut in cuts]
    tallest = max(row[0].extent_mm[0] for row in drawn)
    widest = max(row[0].extent_mm[1] for row in drawn)
    mm_per_inch = max(widest / _COLUMN, tallest / _TALLEST_ROW)
    heights = [row[0].extent_mm[0] / mm_per_inch for row in drawn]
    # Narrower than this, titles and colour bars would run into each other.
    column = max(widest / mm_per_inch, _NARROWEST_COLUMN)
    width = 2 * MARGIN + len(panels) * column + (len(panels) - 1) * _GAP
    slots = [MARGIN + number * (column + _GAP) for number in range(len(panels))]
    title_lines = wrapped(title, width - 2 * MARGIN, TITLE_SIZE, "bold")
    measured = "size" not in panels[0].image.facts
    footer = _FOOTER if measured else _PLAIN_FOOTER
    notes = [line for note in (caption, footer) for line in wrapped(note, width - 2 * MARGIN, NOTE_SIZE, "normal")]
    bars = MARGIN + len(notes) * NOTE_LINE + 0.55
    pictures = bars + 0.25
    top = pictures + sum(heights) + _GAP * (len(cuts) - 1)
    total = top + 0.45 + len(title_lines) * TITLE_LINE + MARGIN
    width, total = (float(np.ceil(edge * DPI) / DPI) for edge in (width, total))  # half a pixel would stay black

    figure = Figure(figsize=(width, total), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    pen = Pen(figure, width, total)
    for number, line in enumerate(title_lines):
        pen.write((MARGIN, total - MARGIN - 0.15 - number * TITLE_LINE), line, TITLE_SIZE).set_fontweight("bold")
    bottom = top + _GAP
    for height, cut, row in zip(heights, cuts, drawn, strict=True):
        bottom -= height + _GAP
        for slot, panel, part in zip(slots, panels, row, strict=True):
            wide = part.extent_mm[1] / mm_per_inch
            box = (slot + (column - wide) / 2, bottom, wide, height)
            pen.picture(box, part, panel)
            if measured:
                pen.letters(box, EDGES[cut.plane])
            if measured and slot == slots[0]:  # one scale for the whole sheet: a bar in its first column says enough
                pen.scale_bar(box, scale_bar_mm(part.extent_mm[1]), mm_per_inch)
    for slot, panel in zip(slots, panels, strict=True):
        size = HEADING_SIZE * min(1.0, column / max(text_width(panel.title, HEADING_SIZE, "normal"), 1e-6))
        pen.write((slot + column / 2, top + 0.13), panel.title, size, align="center")
        if not panel.is_coloured:
            pen.colour_bar((slot + 0.15 * column, bars, 0.7 * column, 0.09), panel)
    for number, note in enumerate(reversed(notes)):
        pen.write((MARGIN, MARGIN + number * NOTE_LINE), note, NOTE_SIZE, colour=DIM)
    return figure


def text_width(text: str, size: float, weight: str) -> float:
    """Return how many inches a line takes at a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    points, _, _ = TextToPath().get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)
    return float(points) / 72


def wrapped(text: str, width: float, size: float, weight: str) -> list[str]:
    """Break a text into lines of at most so many inches."""
    letters = int(len(text) * min(1.0, width / max(text_width(text, size, weight), 1e-6)))
    for limit in range(letters + 4, 1, -1):
        lines = textwrap.wrap(text, limit)
        if all(text_width(line, size, weight) <= width for line in lines):
            return lines
    return [text]


class Pen:
    """Draws on a figure at places in inches."""

    def __init__(self, figure: Any, width: float, height: float) -> None:
        self.figure = figure
        self.width = width
        self.height = height

    def axes(self, box: Box) -> Any:
        x, y, w, h = box
        return self.figure.add_axes((x / self.width, y / self.height, w / self.width, h / self.height))

    def write(self, at: tuple[float, float], text: str, size: float, colour: str = _TEXT, align: str = "left") -> Any:
        across, up = at[0] / self.width, at[1] / self.height
        # parse_math: a dollar sign in a caption is a dollar sign.
        return self.figure.text(across, up, text, fontsize=size, color=colour, ha=align, parse_math=False)

    def outlined(self, at: tuple[float, float], text: str, colour: str, align: str) -> None:
        from matplotlib.patheffects import withStroke

        written = self.write(at, text, 8, colour, align)
        written.set_path_effects([withStroke(linewidth=2, foreground="black")])

    def picture(self, box: Box, part: Slice, panel: Panel) -> None:
        axes = self.axes(box)
        colours = colour_map(panel.colours)
        # imshow takes colours as they are, from 0 to 1.
        pixels = np.clip(part.pixels / panel.high, 0, 1) if panel.is_coloured else part.pixels
        # The box already has the slice's physical proportions; "auto" lets unequal pixels fill it.
        axes.imshow(pixels, cmap=colours, vmin=panel.low, vmax=panel.high, aspect="auto", interpolation="hanning")
        axes.set_axis_off()

    def letters(self, box: Box, edges: str) -> None:
        x, y, w, h = box
        inset, half = 0.09, 0.04  # half a letter's height
        left, right = (x + inset, y + h / 2 - half), (x + w - inset, y + h / 2 - half)
        top, bottom = (x + w / 2, y + h - inset - half), (x + w / 2, y + inset - half)
        for letter, at in zip(edges, (left, right, top, bottom), strict=True):
            self.outlined(at, letter, _MARK, "center")

    def scale_bar(self, box: Box, length_mm: float, mm_per_inch: float) -> None:
        from matplotlib.patches import Rectangle

        x, y = box[0] + 0.1, box[1] + 0.1
        bar = Rectangle(
            (x / self.width, y / self.height),
            length_mm / mm_per_inch / self.width,
            0.035 / self.height,
            transform=self.figure.transFigure,
            facecolor=_TEXT,
            edgecolor="black",
            linewidth=0.4,
        )
        self.figure.add_artist(bar)
        self.outlined((x, y + 0.08), f"{length_mm:g} mm", _TEXT, "left")

    def colour_bar(self, box: Box, panel: Panel) -> None:
        axes = self.axes(box)
        ramp = np.linspace(panel.low, panel.high, 256)[None]
        axes.imshow(ramp, cmap=colour_map(panel.colours), aspect="auto", extent=(panel.low, panel.high, 0, 1))
        span, middle = panel.high - panel.low, (panel.low + panel.high) / 2
        ticks = (panel.low, middle, panel.high)
        axes.set_xticks(ticks, [_number(tick, span) for tick in ticks])
        axes.set_yticks([])
        axes.tick_params(colors=DIM, labelsize=8, length=2, pad=2)
        for spine in axes.spines.values():
            spine.set(edgecolor=DIM, linewidth=0.5)
        about = f"W {_number(span, span)}  L {_number(middle, span)}"
        if middle == 0:
            about = f"±{_number(panel.high, span)}"
        unit = _UNITS[panel.image.unit]
        self.write((box[0] + box[2] / 2, box[1] - 0.35), f"{unit}   {about}", NOTE_SIZE, DIM, "center")


def _number(value: float, span: float) -> str:
    """Return a value with about three digits of its window's span."""
    decimals = max(0, 1 - int(np.floor(np.log10(span)))) if span > 0 else 0
    return f"{value:.{decimals}f}".replace("-", "−")


def colour_map(colours: tuple[str, ...]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("panel", colours)
