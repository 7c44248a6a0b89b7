"""Picture and tables of docs/phantoms.md: ``python Testing/logic/make_phantom_page.py``; takes a minute."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.evaluation.sheet import Cut, Plane, slice_as_drawn
from MedGANLogic.images import Grid, Image
from MedGANLogic.phantom import Phantom, Tissue, centred_grid, head, inserts, thigh
from MedGANLogic.phantom.head_tissues import TISSUES as HEAD
from MedGANLogic.phantom.inserts import BARS, CONTRASTS_HU, DIAMETERS_MM, EDGE
from MedGANLogic.phantom.thigh import TISSUES as THIGH

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, PICTURE = DOCS / "phantoms.md", DOCS / "phantoms.png"
SEED = 2
TILE, GAP = 236, 4
#: Windows in HU, in MR's and in PET's unit.
BRAIN, SOFT_TISSUE, BRIGHTNESS, HOT, WARM = (0, 80), (-160, 240), (0, 900), (0, 10), (0, 5)

Pixels = NDArray[np.uint8]


def with_tables(page: str) -> str:
    """Return the page with the tables between its marks made anew."""
    tables = {"head": _tissues(HEAD), "thigh": _tissues(THIGH), "inserts": _inserts()}
    for name, table in tables.items():
        before, mark, rest = page.partition(f"<!-- table: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        page = before + mark + table + end + after
    return page


def _tissues(tissues: Sequence[Tissue]) -> str:
    rows = [
        f"| {t.label} | {t.name} | {t.hu:g} | {t.t1_ms:g} | {t.t2_ms:g} | {t.proton_density:.2f} | {t.mr_level:.0f} "
        f"| {t.suv:g} | {t.source} |"
        for t in tissues
    ]
    columns = (
        "| | tissue | HU | T1 ms | T2 ms | protons | MR | SUV | source |\n|---:|---|---:|---:|---:|---:|---:|---:|---|"
    )
    return "\n".join([columns, *rows]) + "\n"


def _inserts() -> str:
    def listed(values: Sequence[float]) -> str:
        return ", ".join(f"{value:g}" for value in values)

    return (
        "| insert | contrast, HU | size |\n|---|---|---|\n"
        f"| rods | {listed(CONTRASTS_HU)} | diameters {listed(DIAMETERS_MM)} mm |\n"
        f"| disc | {EDGE.contrast_hu:g} | diameter {2 * EDGE.radius_mm:g} mm |\n"
        f"| bars | {BARS[0].contrast_hu:g} | {listed([group.frequency_per_mm for group in BARS])} line pairs a mm |\n"
    )


def main() -> None:
    """Write the picture, and the page's tables."""
    from PIL import Image as Picture

    slab = 15
    rows = [
        _row(head(SEED, _at((184, 236, slab), (0, 0, -58))), Plane.AXIAL, SOFT_TISSUE, HOT),
        _row(head(SEED, _at((184, 236, slab), (0, 0, -13))), Plane.AXIAL, BRAIN, HOT),
        _row(head(SEED, _at((184, slab, 140), (0, 0, 0))), Plane.CORONAL, BRAIN, HOT),
        _row(head(SEED, _at((slab, 236, 140), (10, 0, 0))), Plane.SAGITTAL, BRAIN, HOT),
        _row(thigh(7, _at((180, 180, slab), (0, 0, 0))), Plane.AXIAL, SOFT_TISSUE, WARM),
        _inserts_row(),
    ]
    sheet = Picture.fromarray(np.concatenate(rows))
    sheet.quantize(128, dither=Picture.Dither.NONE).save(PICTURE, optimize=True)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _at(shape: tuple[int, int, int], middle_mm: tuple[float, float, float]) -> Grid:
    affine = centred_grid(shape, (1.0, 1.0, 1.0)).affine.copy()
    affine[:3, 3] += middle_mm
    return Grid(shape, affine)


def _row(scan: Phantom, plane: Plane, ct: tuple[float, float], pet: tuple[float, float]) -> Pixels:
    labels = _drawn(scan.tissues, plane).astype(int)
    colours = np.array(
        [colorsys.hsv_to_rgb(n * 0.381 % 1, 0.55, 0.35 + 0.6 * (n * 0.618 % 1)) for n in range(len(scan.table))]
    )
    colours[0] = 0
    shades = ((scan.ct, ct), (scan.mr, BRIGHTNESS), (scan.pet, pet))
    tiles = [_grey(_drawn(image, plane), window) for image, window in shades]
    return _side_by_side([*tiles, (255 * colours[labels]).astype(np.uint8)])


def _inserts_row() -> Pixels:
    grid = centred_grid((232, 232, 4), (0.9, 0.9, 4.0))
    quiet, loud = inserts(0, 0.0, grid).ct, inserts(0, 4.0, grid).ct
    shown = ((quiet, 3, (-25, 25)), (loud, 3, (-25, 25)), (loud, 0, (-25, 25)), (quiet, 3, (-200, 1000)))
    return _side_by_side([_grey(_drawn(image, Plane.AXIAL, index), window) for image, index, window in shown])


def _drawn(image: Image, plane: Plane, index: int | None = None) -> NDArray[np.float64]:
    middle = image.grid.shape[plane] // 2
    return slice_as_drawn(image, Cut(plane, middle if index is None else index)).pixels.astype(np.float64)


def _grey(pixels: NDArray[np.float64], window: tuple[float, float]) -> Pixels:
    low, high = window
    shade = np.clip((pixels - low) / (high - low), 0, 1) * 255
    return np.repeat(shade[..., None].astype(np.uint8), 3, axis=2)


def _side_by_side(tiles: Sequence[Pixels]) -> Pixels:
    padded = []
    for tile in tiles:
        left = (TILE - tile.shape[1]) // 2
        padded.append(
            np.pad(tile, ((GAP // 2, GAP // 2), (left + GAP // 2, TILE - tile.shape[1] - left + GAP // 2), (0, 0)))
        )
    return np.concatenate(padded, axis=1)


if __name__ == "__main__":
    main()
