"""Picture sheets show the right side on the left, true proportions, and leave nothing behind when they fail."""

import itertools

import numpy as np
import pytest

from MedGANLogic.evaluation import (
    Cut,
    Panel,
    Plane,
    axial_cuts,
    cuts_through,
    error_panel,
    sheet,
    translation_panels,
    write_sheet,
)
from MedGANLogic.evaluation.sheet import scale_bar_mm, slice_as_drawn
from MedGANLogic.images import Image, ImageError

SHAPE = (20, 16, 10)
SPACING_MM = (1.0, 2.0, 4.0)
BLOB = (17, 12, 8)  # towards patient right, anterior, superior


def image(unit="none", value=100.0):
    voxels = np.zeros((1, *SHAPE), np.float32)
    voxels[(0, *BLOB)] = value
    return Image(voxels, np.diag([*SPACING_MM, 1.0]), unit)


def stored_as(upright, axes, flips):
    """Store the same volume with other axes, each voxel at its place in the world."""
    voxels = np.flip(upright.voxels.transpose(0, *(axis + 1 for axis in axes)), [n + 1 for n in range(3) if flips[n]])
    affine = np.eye(4)
    affine[:3, 3] = upright.affine[:3, 3]
    for new, axis in enumerate(axes):
        column = upright.affine[:3, axis]
        affine[:3, new] = -column if flips[new] else column
        if flips[new]:
            affine[:3, 3] += column * (upright.voxels.shape[axis + 1] - 1)
    return Image(np.ascontiguousarray(voxels), affine, upright.unit)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_radiological_convention_for_every_axis_order(axes, flips):
    stored = stored_as(image(), axes, flips)
    point = (BLOB[0] * 1.0, BLOB[1] * 2.0, BLOB[2] * 4.0)
    axial, coronal, sagittal = (slice_as_drawn(stored, cut) for cut in cuts_through(stored.grid, point))
    # Right is left, anterior is up (axial) or left (sagittal), superior is up.
    assert np.argwhere(axial.pixels).tolist() == [[15 - 12, 19 - 17]]
    assert np.argwhere(coronal.pixels).tolist() == [[9 - 8, 19 - 17]]
    assert np.argwhere(sagittal.pixels).tolist() == [[9 - 8, 15 - 12]]
    assert axial.extent_mm == (32, 20)
    assert coronal.extent_mm == (40, 20)
    assert sagittal.extent_mm == (40, 32)


def test_letters_agree_with_the_pictures():
    assert sheet.EDGES[Plane.AXIAL] == "RLAP"
    assert sheet.EDGES[Plane.CORONAL] == "RLSI"
    assert sheet.EDGES[Plane.SAGITTAL] == "APSI"


def test_a_slice_that_does_not_exist_is_refused():
    with pytest.raises(ImageError, match="axial slice 10 does not exist: the volume has 10"):
        slice_as_drawn(image(), Cut(Plane.AXIAL, 10))


def test_cuts_stay_within_the_grid():
    assert [cut.index for cut in cuts_through(image().grid, (1e4, -1e4, 8.9))] == [2, 0, 19]
    assert [cut.index for cut in axial_cuts(image().grid, 2)] == [7, 2]
    assert [cut.index for cut in axial_cuts(image().grid, 1)] == [5]


@pytest.mark.parametrize(("width", "bar"), [(20, 5), (26, 10), (250, 100), (400, 100), (512, 200), (4.9, 1)])
def test_scale_bar_is_round_and_at_most_two_fifths(width, bar):
    assert scale_bar_mm(width) == bar


def figure_of(*panels, cuts):
    pytest.importorskip("matplotlib")
    figure = sheet._draw("title", panels, cuts, "")
    figure.canvas.draw()
    return figure


def test_pictures_and_scale_bar_have_true_proportions():
    from matplotlib.patches import Rectangle

    figure = figure_of(Panel("MR", image(), 0, 100), cuts=cuts_through(image().grid, (0.0, 0.0, 0.0)))
    boxes = [axes.get_window_extent() for axes in figure.axes[:3]]
    sizes_mm = [(20, 32), (20, 40), (32, 40)]  # width, height
    scales = (np.array([box.size for box in boxes]) / sizes_mm).ravel()
    np.testing.assert_allclose(scales, scales[0], rtol=1e-6)  # one scale in pixels per mm on the whole sheet
    bars = [artist for artist in figure.artists if isinstance(artist, Rectangle)]
    lengths = [bar.get_window_extent().width / scales[0] for bar in bars]
    np.testing.assert_allclose(lengths, [5, 5, 10], rtol=1e-6)
    assert {text.get_text() for text in figure.texts} >= {"5 mm", "10 mm"}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_no_text_is_cut_off(count):
    panel = Panel("A heading that is much too long for its narrow column", image(), 0, 100)
    long = "WIDE WORDS MAKE A TITLE THAT HAS TO WRAP AROUND " * 2
    figure = sheet._draw(long, [panel] * count, [Cut(Plane.SAGITTAL, 3)], long * 3)
    figure.canvas.draw()
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text.get_text()
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height, text.get_text()


def test_error_is_prediction_minus_reference():
    reference = Image(np.full((1, *SHAPE), 1000, np.uint16), image().affine, "HU")
    prediction = Image(np.full((1, *SHAPE), 400, np.uint16), image().affine, "HU")
    panel = error_panel(reference, prediction, 200.0)
    assert (panel.low, panel.high) == (-200, 200)
    assert (panel.image.voxels == -600).all()
    blue, red = (sheet.colour_map(panel.colours)(value)[:3] for value in (0.25, 0.75))
    assert blue[2] > blue[0] and red[0] > red[2]


def test_columns_with_and_without_truth():
    random = np.random.default_rng(0)
    mr, ct = (Image(random.normal(50, 9, (1, *SHAPE)), image().affine, unit) for unit in ("none", "HU"))
    assert [panel.title for panel in translation_panels(mr, ct)] == ["Input MR", "Synthetic CT"]
    panels = translation_panels(mr, ct, ct)
    assert [panel.title for panel in panels[2:]] == ["True CT", "Synthetic − true"]
    assert [(panel.low, panel.high) for panel in panels[1:]] == [(-160, 240), (-160, 240), (-200, 200)]


def test_the_file_is_written_and_small(tmp_path):
    picture = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    mr, ct = (Image(random.normal(40, 90, (1, 64, 64, 12)), image().affine, unit) for unit in ("none", "HU"))
    path = tmp_path / "Übersicht.png"
    write_sheet(path, "A title", translation_panels(mr, ct, ct), axial_cuts(mr.grid, 1), "cost: $5 and $6")
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size < 400_000
    with picture.open(path) as loaded:
        assert loaded.convert("RGB").getpixel((2, 2)) == (0x0C, 0x0F, 0x14)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(figure, path, colours):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(sheet, "_save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_sheet(tmp_path / "a.png", "", [Panel("MR", image(), 0, 1)], [Cut(Plane.AXIAL, 1)])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn_is_refused(tmp_path):
    panel, cut = Panel("MR", image(), 0, 1), Cut(Plane.AXIAL, 1)
    with pytest.raises(ImageError, match=r"\.png"):
        write_sheet(tmp_path / "a.jpg", "", [panel], [cut])
    with pytest.raises(ImageError, match="at least one of each"):
        write_sheet(tmp_path / "a.png", "", [panel], [])
    other = Image(image().voxels, np.eye(4), "HU")
    with pytest.raises(ImageError, match="'CT' lies on another grid than 'MR'"):
        write_sheet(tmp_path / "a.png", "", [panel, Panel("CT", other, 0, 1)], [cut])


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install medgan\[plots\]"):
        write_sheet(tmp_path / "a.png", "", [Panel("MR", image(), 0, 1)], [Cut(Plane.AXIAL, 1)])
    assert not list(tmp_path.iterdir())
