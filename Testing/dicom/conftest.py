"""What the tests of DICOM share: a source series, and a model that needs no weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from scans import scan

from MedGANLogic.catalogue import Card, Model
from MedGANLogic.dicom import SeriesHeader, open_series
from MedGANLogic.domain import CT, MR


@pytest.fixture(scope="session")
def model() -> Model:
    """A model of which no more is there than its card."""
    card = Card(
        name="mr-to-ct-toy",
        title="A toy that has learnt nothing",
        task="mr-to-ct",
        inputs={"mr": MR},
        targets={"ct": CT},
        spacing_mm=None,
        plane="axial",
        networks={},
        passes=(),
        validity={},
        training={},
        departures=(),
        measured={},
        licence="Apache-2.0",
    )
    return Model(card, Path("nowhere"), "ab" * 32)


@pytest.fixture
def source_folder(tmp_path: Path) -> Path:
    """An oblique MR series."""
    return scan(tmp_path / "mr")


@pytest.fixture
def source(source_folder: Path) -> SeriesHeader:
    """Its headers."""
    return open_series(source_folder)


@pytest.fixture
def change(source_folder: Path) -> Callable[..., None]:
    """Change the header of every file of the source series, or of one; None takes an attribute out."""

    def apply(name: str = "*", **attributes: Any) -> None:
        for file in source_folder.glob(name):
            header = pydicom.dcmread(file)
            for keyword, value in attributes.items():
                if value is None:
                    delattr(header, keyword)
                else:
                    setattr(header, keyword, value)
            header.save_as(file)

    return apply
