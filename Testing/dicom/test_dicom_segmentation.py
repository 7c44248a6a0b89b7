"""A label map as DICOM SEG: names, colours, codes, and every voxel where it was."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from scans import DOMAINS, GRIDS, LABELS, SHAPE, made

from MedGANLogic.catalogue import Model
from MedGANLogic.dicom import DicomError, SeriesHeader, write
from MedGANLogic.domain import Label, Labels
from MedGANLogic.images import Image

Write = Callable[[Image], highdicom.seg.Segmentation]


@pytest.fixture
def segmented(source: SeriesHeader, model: Model, tmp_path: Path) -> Write:
    """Write a label map into a new folder and return its one file."""

    def run(image: Image) -> highdicom.seg.Segmentation:
        write(image, LABELS, model, source, tmp_path / "out")
        (file,) = (tmp_path / "out").iterdir()
        return highdicom.seg.segread(file)

    return run


def voxels_by_hand(seg: pydicom.Dataset, affine: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Segment numbers on a grid, put together frame by frame from the positions in the file."""
    numbers = np.zeros(shape, int)
    shared = seg.SharedFunctionalGroupsSequence[0]
    along = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            ras = (origin + column * along[0] * spacing[1] + row * along[1] * spacing[0]) * (-1, -1, 1)
            index = np.linalg.solve(affine, [*ras, 1])[:3]
            assert np.abs(index - index.round()).max() < 0.01
            numbers[tuple(index.round().astype(int))] = number
    return numbers


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_every_label_is_where_it_was(affine: NDArray[Any], segmented: Write) -> None:
    image = made("SEG", affine)
    seg = segmented(image)
    value_of = np.array([0, *(label.value for label in LABELS.window.labels)])
    np.testing.assert_array_equal(value_of[voxels_by_hand(seg, affine, SHAPE)], image.voxels[0])


def test_finer_grid_than_the_source(segmented: Write) -> None:
    grid = made("SEG").grid.with_spacing((0.35, 0.65, 1.0))
    image = made("SEG", grid.affine, grid.shape)
    numbers = voxels_by_hand(segmented(image), grid.affine, grid.shape)
    np.testing.assert_array_equal(numbers == 1, image.voxels[0] == 7)


def test_segments_are_the_labels(segmented: Write, model: Model) -> None:
    segments = segmented(made("SEG")).SegmentSequence
    assert [s.SegmentNumber for s in segments] == [1, 2, 3]
    for segment, label in zip(segments, LABELS.window.labels, strict=True):
        assert segment.SegmentLabel == label.name
        colour = CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
        np.testing.assert_allclose(colour, label.colour, atol=2)
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (model.card.name, model.sha256)
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    types = [s.SegmentedPropertyTypeCodeSequence[0] for s in segments]
    assert [(t.CodeValue, t.CodingSchemeDesignator) for t in types] == [
        ("71341001", "SCT"),
        ("85756007", "SCT"),
        ("55603005", "SCT"),
    ]


def test_segmentation_says_that_it_is_research(segmented: Write, source: SeriesHeader) -> None:
    seg = segmented(made("SEG"))
    assert seg.ImageType == ["DERIVED", "PRIMARY"]
    assert "SYNTHETIC, research use" in seg.SeriesDescription
    assert (seg.SyntheticData, seg.ContentQualification) == ("YES", "RESEARCH")
    assert {e.PurposeOfReferenceCodeSequence[0].CodeValue for e in seg.ContributingEquipmentSequence} >= {"109100"}
    named = seg.ReferencedSeriesSequence[0]
    assert named.SeriesInstanceUID == source.series_uid
    assert {i.ReferencedSOPInstanceUID for i in named.ReferencedInstanceSequence} == {
        header.SOPInstanceUID for header in source.headers
    }


def test_labels_may_be_named_in_any_script(source: SeriesHeader, model: Model, tmp_path: Path) -> None:
    labels = Labels((Label(1, "größer 筋", (1, 2, 3)),))
    image = replace(made("SEG"), voxels=np.ones((1, *SHAPE), np.uint8))
    write(image, replace(LABELS, window=labels), model, source, tmp_path / "out")
    seg = pydicom.dcmread(tmp_path / "out" / "00001.dcm")
    assert (seg.SegmentSequence[0].SegmentLabel, str(seg.PatientName)) == ("größer 筋", "Müller^Jürgen")


def test_empty_label_map_is_written(segmented: Write) -> None:
    seg = segmented(replace(made("SEG"), voxels=np.zeros((1, *SHAPE), np.uint8)))
    assert len(seg.SegmentSequence) == 3 and not seg.pixel_array.any()


@pytest.mark.parametrize("value", [1, 2.5, -7])
def test_label_without_a_name_is_refused(value: float, source: SeriesHeader, model: Model, tmp_path: Path) -> None:
    image = made("SEG")
    image.voxels[0, 0, 0, 0] = value
    with pytest.raises(DicomError, match=f"{value}.*no name"):
        write(image, DOMAINS["SEG"], model, source, tmp_path / "out")
