"""A synthetic CT, MR or PET lies where its source lies, says what it is, and appears whole or not at all."""

import errno
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scans import DOMAINS, GRIDS, OBLIQUE, SHAPE, SOP_CLASSES, made, scan

from MedGANLogic import __version__
from MedGANLogic.catalogue import Model
from MedGANLogic.dicom import DicomError, SeriesHeader, open_series, refuse_place, write
from MedGANLogic.domain import CT, Domain, FixedWindow
from MedGANLogic.images import Image, Orientation, fingerprint, read

TARGETS = ["CT", "MR", "PT"]


@pytest.fixture
def written(source: SeriesHeader, model: Model, tmp_path: Path) -> Callable[[Image, str], list[pydicom.Dataset]]:
    """Write an image into a new folder and return what pydicom reads there, in the order of the files' names."""

    def run(image: Image, target: str) -> list[pydicom.Dataset]:
        write(image, DOMAINS[target], model, source, tmp_path / "out")
        return [pydicom.dcmread(file) for file in sorted((tmp_path / "out").iterdir())]

    return run


def half_a_step(image: Image) -> float:
    return 0.5 if image.unit == "HU" else float(np.abs(image.voxels).max() / 32767 / 2)


def upright(image: Image) -> Image:
    return image.with_orientation(Orientation.nearest(image.affine))


def places_and_values(slices: list[pydicom.Dataset]) -> tuple[NDArray[Any], NDArray[Any]]:
    """RAS places and values of all voxels, as PS3.3 C.7.6.2.1.1 and C.11.1 say them: no code of ours or of ITK."""
    places, values = [], []
    for one in slices:
        along_row, along_column = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        row, column = np.indices((one.Rows, one.Columns))
        lps = (
            np.array(one.ImagePositionPatient, float)
            + column[..., None] * along_row * one.PixelSpacing[1]
            + row[..., None] * along_column * one.PixelSpacing[0]
        )
        places.append(lps * (-1, -1, 1))
        values.append(one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept))
    return np.array(places).reshape(-1, 3), np.array(values).ravel()


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("target", TARGETS)
class TestOnAnyGrid:
    def test_every_voxel_is_where_it_was(
        self, target: str, affine: NDArray[Any], written: Callable[..., list[pydicom.Dataset]]
    ) -> None:
        image = made(target, affine)
        places, values = places_and_values(written(image, target))
        index = np.linalg.solve(affine, np.c_[places, np.ones(len(places))].T)[:3]
        nearest = np.rint(index).astype(int)
        assert np.linalg.norm(affine[:3, :3] @ (index - nearest), axis=0).max() < 0.01
        assert len({*zip(*nearest, strict=True)}) == np.prod(SHAPE)
        assert np.abs(image.voxels[0][tuple(nearest)] - values).max() <= half_a_step(image) * 1.001

    def test_our_own_reader_returns_it(
        self, target: str, affine: NDArray[Any], written: Callable[..., list[pydicom.Dataset]], tmp_path: Path
    ) -> None:
        image = made(target, affine)
        written(image, target)
        again, expected = upright(read(tmp_path / "out", image.unit)), upright(image)
        assert again.grid.matches(expected.grid, 0.01)
        assert np.abs(again.voxels - expected.voxels).max() <= half_a_step(image) * 1.001
        assert again.facts["modality"] == target


@pytest.mark.parametrize("target", TARGETS)
def test_simpleitk_reads_it_without_our_help(
    target: str, written: Callable[..., list[pydicom.Dataset]], tmp_path: Path
) -> None:
    image = made(target)
    written(image, target)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "out"))
    loaded = sitk.ReadImage(names)
    np.testing.assert_allclose(
        loaded.TransformIndexToPhysicalPoint((1, 2, 3)), (OBLIQUE @ [1, 2, 3, 1])[:3] * (-1, -1, 1), atol=0.01
    )
    assert loaded[1, 2, 3] == pytest.approx(image.voxels[0, 1, 2, 3], abs=half_a_step(image) * 1.001)


@pytest.mark.parametrize("target", TARGETS)
def test_finer_grid_than_the_source_keeps_its_box(
    target: str, written: Callable[..., list[pydicom.Dataset]], source: SeriesHeader, tmp_path: Path
) -> None:
    grid = made(target).grid.with_spacing((0.35, 0.65, 1.0))
    image = made(target, grid.affine, grid.shape)
    slices = written(image, target)
    assert len(slices) == 12
    assert read(tmp_path / "out", image.unit).grid.matches(grid, 0.01)
    named = [one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in slices]
    assert named == [header.SOPInstanceUID for header in source.headers for _ in range(3)]


@pytest.mark.parametrize("target", TARGETS)
def test_slice_alone_is_written(target: str, written: Callable[..., list[pydicom.Dataset]]) -> None:
    assert len(written(made(target, shape=(5, 6, 1)), target)) == 1


def test_dark_image_is_written(written: Callable[..., list[pydicom.Dataset]]) -> None:
    image = replace(made("PT"), voxels=np.zeros((1, *SHAPE)))
    assert not written(image, "PT")[0].pixel_array.any()


def test_suv_keeps_its_small_differences(written: Callable[..., list[pydicom.Dataset]]) -> None:
    """A bladder of SUV 100 beside muscle: whole numbers would leave a dozen grey levels of it."""
    suv = np.r_[np.linspace(0.5, 1, 119), 100].reshape(1, *SHAPE)
    _, values = places_and_values(written(replace(made("PT"), voxels=suv), "PT"))
    assert np.unique(values.round(6)).size == 120


@pytest.mark.parametrize(
    "target, image_type, said",
    [
        ("CT", ["DERIVED", "SECONDARY", "AXIAL"], {"RescaleType": "HU", "RescaleSlope": 1}),
        ("MR", ["DERIVED", "SECONDARY", "OTHER"], {"ScanningSequence": "RM"}),
        ("PT", ["DERIVED", "PRIMARY"], {"Units": "GML", "SUVType": "BW", "RescaleIntercept": 0, "NumberOfSlices": 4}),
    ],
)
def test_image_says_that_it_is_synthetic(
    target: str,
    image_type: list[str],
    said: dict[str, Any],
    written: Callable[..., list[pydicom.Dataset]],
    model: Model,
) -> None:
    slices = written(made(target), target)
    assert len({one.SOPInstanceUID for one in slices}) == 4 == len({one.InstanceNumber for one in slices})
    for one in slices:
        assert (one.SOPClassUID, one.Modality, one.ImageType) == (SOP_CLASSES[target], target, image_type)
        assert {name: one[name].value for name in said} == said
        assert "SYNTHETIC" in one.SeriesDescription and "research use" in one.SeriesDescription
        assert (one.SyntheticData, one.ContentQualification, one.BurnedInAnnotation) == ("YES", "RESEARCH", "NO")
        assert model.card.name in one.DerivationDescription and "Not a medical device" in one.DerivationDescription
        assert one.DerivationCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        (equipment,) = one.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        for item in (one, equipment):
            assert (item.Manufacturer, item.ManufacturerModelName) == ("MedGAN", model.card.name)
            assert (item.SoftwareVersions, item.DeviceSerialNumber) == (__version__, model.sha256)


@pytest.mark.parametrize("target", [*TARGETS, "SEG"])
def test_patient_study_and_frame_are_the_sources(
    target: str, written: Callable[..., list[pydicom.Dataset]], source: SeriesHeader
) -> None:
    before = source.headers[0]
    for one in written(made(target), target):
        for name in [
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "PatientWeight",
            "PatientIdentityRemoved",
            "DeidentificationMethod",
            "StudyInstanceUID",
            "StudyID",
            "StudyDate",
            "StudyTime",
            "StudyDescription",
            "AccessionNumber",
            "ReferringPhysicianName",
            "FrameOfReferenceUID",
            "BodyPartExamined",
            "RecognizableVisualFeatures",
            "LongitudinalTemporalInformationModified",
        ]:
            assert one[name].value == before[name].value, name
        assert str(one.PatientName) == "Müller^Jürgen"


@pytest.mark.parametrize("target", [*TARGETS, "SEG"])
def test_series_is_a_new_one_without_the_scanners_own_words(
    target: str, written: Callable[..., list[pydicom.Dataset]], source: SeriesHeader
) -> None:
    for one in written(made(target), target):
        assert one.SeriesInstanceUID.startswith("2.25.") and one.SeriesInstanceUID != source.series_uid
        assert one.SOPInstanceUID.startswith("2.25.") and one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
        assert one.SeriesNumber == 1003
        assert "ProtocolName" not in one and not any(element.tag.is_private for element in one.iterall())


@pytest.mark.parametrize("target, kept", [("CT", "FFS"), ("MR", "FFS"), ("PT", None)])
def test_planning_systems_learn_how_the_patient_lay(
    target: str, kept: str | None, written: Callable[..., list[pydicom.Dataset]]
) -> None:
    assert written(made(target), target)[0].get("PatientPosition") == kept


@pytest.mark.parametrize("name", ["one\ntwo", "a\\b", "x" * 200, "größe"])
@pytest.mark.parametrize("target", ["CT", "SEG"])
def test_any_name_of_a_model_fits(target: str, name: str, source: SeriesHeader, model: Model, tmp_path: Path) -> None:
    named = replace(model, card=replace(model.card, name=name))
    write(made(target), DOMAINS[target], named, source, tmp_path / "out")
    one = pydicom.dcmread(tmp_path / "out" / "00001.dcm")
    assert len(one.SeriesDescription) <= 64 and "\n" not in one.SeriesDescription
    assert isinstance(one.ManufacturerModelName, str)


@pytest.mark.parametrize("target", ["CT", "SEG"])
@pytest.mark.parametrize(
    "nonsense",
    [
        {"PatientSex": "MALE"},
        {"PatientBirthDate": "ANON"},
        {"StudyTime": "X"},
        {"SeriesNumber": None},
        {"StudyID": None},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_a_deidentifier_leaves_stops_nothing(
    target: str,
    nonsense: dict[str, Any],
    change: Callable[..., None],
    source_folder: Path,
    model: Model,
    tmp_path: Path,
) -> None:
    change(**nonsense)
    write(made(target), DOMAINS[target], model, open_series(source_folder), tmp_path / "out")
    one = pydicom.dcmread(tmp_path / "out" / "00001.dcm")
    assert all(one[name].value == value for name, value in nonsense.items() if value)


@pytest.mark.parametrize("target", ["CT", "SEG"])
class TestFolder:
    def test_source_stays_as_it_is(
        self, target: str, source: SeriesHeader, written: Callable[..., list[pydicom.Dataset]]
    ) -> None:
        before = fingerprint(source.folder)
        written(made(target), target)
        assert fingerprint(source.folder) == before

    def test_empty_folder_is_filled(
        self, target: str, written: Callable[..., list[pydicom.Dataset]], tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        assert written(made(target), target)

    def test_failure_leaves_nothing(
        self, target: str, source: SeriesHeader, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved = pydicom.Dataset.save_as

        def full(self: pydicom.Dataset, path: Path, **options: Any) -> None:
            saved(self, path, **options)
            if path.name == ("00003.dcm" if target == "CT" else "00001.dcm"):
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(pydicom.Dataset, "save_as", full)
        with pytest.raises(DicomError, match="No space left"):
            write(made(target), DOMAINS[target], model, source, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["mr"]

    def test_what_reads_back_otherwise_is_not_kept(
        self, target: str, source: SeriesHeader, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved = pydicom.Dataset.save_as

        def damaged(self: pydicom.Dataset, path: Path, **options: Any) -> None:
            self.PixelData = bytes(len(self.PixelData))
            saved(self, path, **options)

        monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
        with pytest.raises(RuntimeError, match="do not say what the image says"):
            write(made(target), DOMAINS[target], model, source, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["mr"]


@pytest.mark.parametrize(
    "place, reason",
    [
        ("full", "not an empty folder"),
        ("full/file", "not an empty folder"),
        ("nowhere/out", "does not exist"),
        ("mr", "the source's folder"),
        ("mr/out", "the source's folder"),
        ("full/../mr/out", "the source's folder"),
    ],
)
def test_place_is_refused(place: str, reason: str, source: SeriesHeader, model: Model, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DicomError, match=reason):
        refuse_place(tmp_path / place, source)
    with pytest.raises(DicomError, match=reason):
        write(made("CT"), CT, model, source, tmp_path / place)


CT_IMAGE = made("CT")
SHEAR = OBLIQUE @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "image, domain, reason",
    [
        (replace(CT_IMAGE, voxels=np.full((1, *SHAPE), np.nan)), CT, "NaN"),
        (replace(CT_IMAGE, voxels=np.zeros((2, *SHAPE))), CT, "one for every voxel"),
        (replace(CT_IMAGE, voxels=np.full((1, *SHAPE), 4e4)), CT, "16 bits"),
        (replace(CT_IMAGE, affine=SHEAR), CT, "sheared"),
        (made("MR"), CT, "expected HU"),
        (CT_IMAGE, Domain("US", "HU", FixedWindow(0, 1, 0), 0), "US in HU"),
        (made("MR"), Domain("PT", "none", FixedWindow(0, 1, 0), 0), "PT in none"),
    ],
    ids=["NaN", "two channels", "beyond 16 bits", "sheared", "other unit", "no IOD", "PET without SUV"],
)
def test_image_that_cannot_be_stored_is_refused(
    image: Image, domain: Domain, reason: str, source: SeriesHeader, model: Model, tmp_path: Path
) -> None:
    with pytest.raises(DicomError, match=reason):
        write(image, domain, model, source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mr"]


def test_series_in_one_file_is_a_source_too(tmp_path: Path, model: Model) -> None:
    """An enhanced CT holds its slices as frames, which have no position at the top."""
    from highdicom.legacy import LegacyConvertedEnhancedCTImage
    from pydicom.uid import generate_uid

    slices = [pydicom.dcmread(file) for file in sorted(scan(tmp_path / "ct", "CT").iterdir())]
    enhanced = LegacyConvertedEnhancedCTImage(
        slices, generate_uid(), 9, generate_uid(), 1, transfer_syntax_uid=slices[0].file_meta.TransferSyntaxUID
    )
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "a.dcm")
    source = open_series(tmp_path / "enhanced")
    for target in DOMAINS:
        write(made(target), DOMAINS[target], model, source, tmp_path / target)
        one = pydicom.dcmread(tmp_path / target / "00001.dcm")
        assert one.FrameOfReferenceUID == slices[0].FrameOfReferenceUID


def test_without_highdicom_it_says_what_to_install(source_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DicomError, match=r"pip install 'medgan\[dicom\]'"):
        open_series(source_folder)
