"""The series that a result is put beside: what its headers say, and which folders are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scans import OBLIQUE, scan

from MedGANLogic.dicom import DicomError, SeriesHeader, open_series


def test_header_says_what_the_files_say(source: SeriesHeader, source_folder: Path) -> None:
    file = pydicom.dcmread(source_folder / "scan2.dcm")
    assert (source.modality, source.body_part) == ("MR", "LEG")
    assert source.study_uid == file.StudyInstanceUID
    assert source.series_uid == file.SeriesInstanceUID
    assert source.frame_of_reference_uid == file.FrameOfReferenceUID
    assert len(source.headers) == 4 and not any("PixelData" in header for header in source.headers)


def test_unnamed_body_part_is_empty(change: Callable[..., None], source_folder: Path) -> None:
    change(BodyPartExamined=None)
    assert open_series(source_folder).body_part == ""


@pytest.mark.parametrize("slice_index, nearest", [(-5, 0), (0, 0), (1.4, 1), (1.6, 2), (99, 3)])
def test_nearest_slice_is_found_along_the_normal(source: SeriesHeader, slice_index: float, nearest: int) -> None:
    lps = np.diag([-1, -1, 1, 1]) @ OBLIQUE
    normal = lps[:3, 2] / np.linalg.norm(lps[:3, 2])
    # Far off in the plane: only the way along the normal counts.
    found = source.nearest((lps @ [50, -80, slice_index, 1])[:3], normal)
    assert found.InstanceNumber == nearest + 1


def test_what_is_no_image_lies_beside_a_series_unharmed(source_folder: Path) -> None:
    (source_folder / "notes.txt").write_text("no DICOM")
    (source_folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (source_folder / "folder").mkdir()
    assert len(open_series(source_folder).headers) == 4


@pytest.mark.parametrize(
    "name",
    [
        "Modality",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
    ],
)
def test_header_without_what_places_a_result_is_refused(
    name: str, change: Callable[..., None], source_folder: Path
) -> None:
    change("scan1.dcm", **{name: None})
    with pytest.raises(DicomError, match=f"scan1.dcm has no {name}"):
        open_series(source_folder)


@pytest.mark.parametrize(
    "attributes, reason",
    [
        ({"SeriesInstanceUID": "1.2.3"}, "2 series"),
        ({"FrameOfReferenceUID": "1.2.3"}, "2 frames of reference"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "only its vendor knows"),
    ],
    ids=["two series", "two frames of reference", "private kind"],
)
def test_folder_that_is_not_one_series_is_refused(
    attributes: dict[str, Any], reason: str, change: Callable[..., None], source_folder: Path
) -> None:
    change("scan1.dcm", **attributes)
    with pytest.raises(DicomError, match=reason):
        open_series(source_folder)


def test_folder_without_a_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match="holds no DICOM series"):
        open_series(tmp_path)


@pytest.mark.parametrize("name", ["scan1.dcm", "missing"])
def test_what_is_no_folder_is_refused(name: str, source_folder: Path) -> None:
    with pytest.raises(DicomError, match="is no folder"):
        open_series(source_folder / name)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_any_modality_is_a_source(modality: str, tmp_path: Path) -> None:
    assert open_series(scan(tmp_path / "a", modality)).modality == modality
