"""Synthetic images as DICOM: a CT, MR or PET series, or a segmentation, beside the series that it was made from.

CT, MR and PET are written as CT, MR and PET Image Storage, one file a slice: it is the only kind of image that planning
systems and SUV tools take as such (a secondary capture has no place, a parametric map is refused by most, and few read
the enhanced kinds). They are told from acquired images by their Image Type, DERIVED\\SECONDARY (DERIVED\\PRIMARY for
PET and SEG, whose modules know no SECONDARY), by Synthetic Data YES, by their contributing equipment, and by the
description of their series. Segmentations are binary SEG, which every reader of SEG knows.

highdicom and pydicom are an extra of MedGAN; both are imported where they are used.
"""

import copy
import datetime
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedGANLogic import __version__
from MedGANLogic.catalogue import RESEARCH_USE, Model
from MedGANLogic.domain import Array, Domain, Label, Labels
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Image, Orientation, read

if TYPE_CHECKING:
    from pydicom import Dataset

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_INT16 = 32767
# Voxels of a series that is read back lie within this of where they belong.
_TOLERANCE_MM = 0.01
# Behind the series of the scanner in a study's list, and never one of its numbers.
_SERIES_NUMBER_OFFSET = 1000
# What a DICOM name, code meaning or series description may hold.
_LONGEST_NAME = 64

_REQUIRED = (
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SOPClassUID",
    "SOPInstanceUID",
)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
# Attributes that every study must have and may leave empty.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
# What is shown, where it is, and what de-identification has left: true of the result as of its source.
_KEPT = (
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "BodyPartExamined",
    "RecognizableVisualFeatures",
    "LongitudinalTemporalInformationModified",
)


class DicomError(MedGANError):
    """A series that cannot be read or written as DICOM, said in words."""


@dataclass(frozen=True)
class SeriesHeader:
    """The headers of the one series in a folder, without its pixels."""

    folder: Path
    headers: "tuple[Dataset, ...]"

    @property
    def modality(self) -> str:
        """The DICOM code: CT, MR, PT, …"""
        return str(self.headers[0].Modality)

    @property
    def body_part(self) -> str:
        """The body part examined, as the scanner named it; empty where it did not."""
        return str(self.headers[0].get("BodyPartExamined", ""))

    @property
    def study_uid(self) -> str:
        """The study that the series belongs to."""
        return str(self.headers[0].StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        """The series itself."""
        return str(self.headers[0].SeriesInstanceUID)

    @property
    def frame_of_reference_uid(self) -> str:
        """What the positions of the series' voxels are relative to."""
        return str(self.headers[0].FrameOfReferenceUID)

    def nearest(self, position_lps_mm: Array, normal: Array) -> "Dataset":
        """Return the header of the slice that is nearest to a position along a plane's normal."""
        if len(self.headers) == 1:
            return self.headers[0]
        positions = np.array([header.ImagePositionPatient for header in self.headers], float)
        return self.headers[int(np.argmin(np.abs((positions - position_lps_mm) @ normal)))]


def open_series(folder: str | os.PathLike[str]) -> SeriesHeader:
    """Read the headers of the one DICOM series in a folder.

    Raises DicomError for no or several series, for a header that lacks what places a result beside it, and where
    highdicom is not installed.
    """
    _highdicom()
    import pydicom
    from pydicom.misc import is_dicom

    folder = Path(folder)
    if not folder.is_dir():
        raise DicomError(f"{folder} is no folder: give the folder of a DICOM series")
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.upper() != "DICOMDIR"]
    named = {file.name: pydicom.dcmread(file, stop_before_pixels=True) for file in files if is_dicom(file)}
    if not named:
        raise DicomError(f"{folder} holds no DICOM series")
    for file_name, header in named.items():
        # The frames of an enhanced image have places of their own.
        required = _REQUIRED if "NumberOfFrames" in header else _REQUIRED + _PLACE
        if missing := [name for name in required if not header.get(name)]:
            raise DicomError(f"{folder}: {file_name} has no {', '.join(missing)}: export it again")
        if header.SOPClassUID.is_private:
            raise DicomError(
                f"{folder}: {file_name} is of a kind that only its vendor knows: export it as CT, MR or PET"
            )
    for name, what in (("SeriesInstanceUID", "series"), ("FrameOfReferenceUID", "frames of reference")):
        if len(found := {str(header[name].value) for header in named.values()}) > 1:
            raise DicomError(f"{folder} holds {len(found)} {what}: give a folder with one ({', '.join(sorted(found))})")
    return SeriesHeader(folder, tuple(named.values()))


def refuse_place(folder: str | os.PathLike[str], source: SeriesHeader) -> None:
    """Raise DicomError for a folder that a series may not be written to: one with files, or in the source's."""
    folder = Path(folder)
    if source.folder.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise DicomError(f"{folder} is in the source's folder, which stays as it is: give another one")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DicomError(f"{folder} is there and not an empty folder: give a new or an empty one")
    if not folder.parent.is_dir():
        raise DicomError(f"the folder {folder.parent} does not exist")


def write(image: Image, domain: Domain, model: Model, source: SeriesHeader, folder: str | os.PathLike[str]) -> None:
    """Write an image that ``model`` made from ``source`` as a new series of the same study and frame of reference.

    The image may lie on any grid in the source's frame of reference. HU are rounded to whole numbers, other values to
    1/32767 of the largest; a label map becomes one file that leaves slices without a label out. The folder appears
    when it is whole and was read back equal, to half a step and 0.01 mm; a failure leaves nothing. Raises DicomError
    for a folder that ``refuse_place`` refuses, and for an image that cannot be stored as what the domain says.
    """
    folder = Path(folder)
    refuse_place(folder, source)
    _refuse_unfit(image, domain)
    image = _right_handed(image)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir()
        if isinstance(domain.window, Labels):
            _save([_segmentation(image, domain.window, model, source)], partial)
            faithful = _same_labels(image, domain.window, partial)
        else:
            _save(_slices(image, domain.modality, model, source), partial)
            faithful = _same_values(image, partial)
        if not faithful:
            raise RuntimeError("the DICOM files do not say what the image says: please report this")
        if folder.is_dir():
            folder.rmdir()  # Windows renames onto no folder, be it empty
        partial.replace(folder)
    except OSError as error:
        raise DicomError(f"{folder} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class _Kind:
    """How images of a modality are stored: SOP class, unit, image type, and what else its modules ask for.

    ``kept`` is what holds of the source as well: how the patient lay, and which side is shown.
    """

    sop_class_uid: str
    unit: str
    image_type: tuple[str, ...]
    kept: tuple[str, ...]
    attributes: Mapping[str, Any]


# None stands for what must be there and is unknown: no tube, no coil and no tracer made these images.
_KINDS: Mapping[str, _Kind] = {
    "CT": _Kind(
        "1.2.840.10008.5.1.4.1.1.2",
        "HU",
        ("DERIVED", "SECONDARY", "AXIAL"),
        ("PatientPosition", "Laterality"),
        {
            "PatientPosition": None,
            "KVP": None,
            "AcquisitionNumber": None,
            "RescaleType": "HU",
            "WindowCenter": "40",
            "WindowWidth": "400",
        },
    ),
    "MR": _Kind(
        "1.2.840.10008.5.1.4.1.1.4",
        "none",
        ("DERIVED", "SECONDARY", "OTHER"),
        ("PatientPosition", "Laterality"),
        {
            "PatientPosition": None,
            "ScanningSequence": "RM",
            "SequenceVariant": "NONE",
            "ScanOptions": None,
            "MRAcquisitionType": None,
            "RepetitionTime": None,
            "EchoTime": None,
            "EchoTrainLength": None,
        },
    ),
    "PT": _Kind(
        "1.2.840.10008.5.1.4.1.1.128",
        "SUV",
        ("DERIVED", "PRIMARY"),
        ("PatientOrientationCodeSequence", "PatientGantryRelationshipCodeSequence", "Laterality"),
        {
            "Units": "GML",
            "SUVType": "BW",
            "SeriesType": ["STATIC", "IMAGE"],
            "CountsSource": "EMISSION",
            # An SUV is what remains after every correction; nothing here decays any more.
            "DecayCorrection": "NONE",
            "CorrectedImage": None,
            "CollimatorType": None,
            "RadiopharmaceuticalInformationSequence": [],
            "PatientOrientationCodeSequence": [],
            "PatientGantryRelationshipCodeSequence": [],
            "AcquisitionDate": None,
            "AcquisitionTime": None,
            "ActualFrameDuration": None,
            "FrameReferenceTime": "0",
        },
    ),
}


def _save(datasets: "Iterable[Dataset]", folder: Path) -> None:
    for number, dataset in enumerate(datasets, start=1):
        dataset.save_as(folder / f"{number:05}.dcm", enforce_file_format=True)


def _same_values(image: Image, folder: Path) -> bool:
    written = read(folder, image.unit)
    # Half a step, and a hair for float32.
    return written.grid.matches(image.grid, _TOLERANCE_MM) and bool(
        np.abs(written.voxels - image.voxels).max() <= 0.501 * _step(image)
    )


def _same_labels(image: Image, labels: Labels, folder: Path) -> bool:
    expected = _numbered(image, labels)
    if not expected.array.any():
        return True
    written = _highdicom().seg.segread(folder / "00001.dcm").get_volume(combine_segments=True)
    return bool(np.array_equal(written.match_geometry(expected, tol=_TOLERANCE_MM).array, expected.array))


def _slices(image: Image, modality: str, model: Model, source: SeriesHeader) -> "Iterator[Dataset]":
    """Yield a series' slices, the first at the beginning of the third axis."""
    from pydicom.uid import generate_uid
    from pydicom.valuerep import format_number_as_ds

    template = _template(image, modality, model, source)
    lps, step = _LPS_FROM_RAS @ image.affine, _step(image)
    normal = lps[:3, 2] / np.linalg.norm(lps[:3, 2])
    for k in range(image.grid.shape[2]):
        position = lps[:3, 3] + k * lps[:3, 2]
        dataset = copy.deepcopy(template)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
        dataset.InstanceNumber = k + 1
        if modality == "PT":
            dataset.ImageIndex = k + 1
        dataset.ImagePositionPatient = [format_number_as_ds(float(length)) for length in position]
        dataset.SourceImageSequence = [_reference(source.nearest(position, normal))]
        dataset.PixelData = np.rint(image.voxels[0, :, :, k].T / step).astype("<i2").tobytes()
        yield dataset


def _template(image: Image, modality: str, model: Model, source: SeriesHeader) -> "Dataset":
    """Return what all slices of a series have in common."""
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    highdicom, kind = _highdicom(), _KINDS[modality]
    dataset: Dataset = highdicom.SOPClass(
        study_instance_uid=source.study_uid,
        sop_class_uid=kind.sop_class_uid,
        sop_instance_uid=generate_uid(prefix=None),
        modality=modality,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **_series(modality, model, source),
    )
    dataset.copy_patient_and_study_information(source.headers[0])
    dataset.SyntheticData = "YES"
    dataset.ContributingEquipmentSequence = [_equipment(model)]
    dataset.ImageType = list(kind.image_type)
    dataset.DerivationDescription = _text(f"SYNTHETIC {modality} by MedGAN {model.card.name}. {RESEARCH_USE}", 1024)
    dataset.DerivationCodeSequence = [highdicom.sr.CodedConcept.from_code(codes.DCM.ArtificialIntelligence)]
    dataset.BurnedInAnnotation = "NO"
    dataset.PositionReferenceIndicator = None
    if modality == "PT":
        dataset.NumberOfSlices = image.grid.shape[2]
    for name, value in kind.attributes.items():
        setattr(dataset, name, value)
    _keep(dataset, ("SpecificCharacterSet", *_KEPT, *kind.kept), source)
    _describe_pixels(dataset, image)
    return dataset


def _describe_pixels(dataset: "Dataset", image: Image) -> None:
    """Say how a slice lies and how its values are stored: signed, with 0 as 0."""
    from pydicom.valuerep import format_number_as_ds

    spacing = [format_number_as_ds(length) for length in image.grid.spacing_mm]
    directions = (_LPS_FROM_RAS @ image.affine)[:3, :2] / image.grid.spacing_mm[:2]
    dataset.ImageOrientationPatient = [format_number_as_ds(float(part)) for part in directions.T.ravel()]
    dataset.PixelSpacing = [spacing[1], spacing[0]]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = spacing[2]
    dataset.Columns, dataset.Rows = image.grid.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = "0", format_number_as_ds(_step(image))


def _segmentation(image: Image, labels: Labels, model: Model, source: SeriesHeader) -> "Dataset":
    from pydicom.uid import generate_uid

    highdicom = _highdicom()
    segmentation: Dataset = highdicom.seg.Segmentation(
        source_images=[_nameless(source.headers[0]), *source.headers[1:]],
        pixel_array=_numbered(image, labels, source.frame_of_reference_uid),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(number, label, model) for number, label in enumerate(labels.labels, start=1)],
        sop_instance_uid=generate_uid(prefix=None),
        content_label="SYNTHETIC",
        content_description=_text(f"Segmentation by MedGAN {model.card.name}"),
        contributing_equipment=[_equipment(model)],
        specific_character_set="ISO_IR 192",
        **_series("segmentation", model, source),
    )
    segmentation.copy_patient_and_study_information(source.headers[0])
    segmentation.SyntheticData = "YES"
    _keep(segmentation, _KEPT, source)
    if all(label.name.isascii() for label in labels.labels):
        # Some archives compare a patient's name byte by byte.
        _keep(segmentation, ("SpecificCharacterSet",), source)
    return segmentation


def _nameless(header: "Dataset") -> "Dataset":
    """Return a header without patient and study: highdicom stops at a date that is none, which de-identifiers write."""
    header = copy.deepcopy(header)
    for name in _MAY_BE_EMPTY:
        setattr(header, name, None)
    return header


def _segment(number: int, label: Label, model: Model) -> Any:
    from pydicom.sr.codedict import codes

    highdicom = _highdicom()
    # Slicer, too, calls a segment of which nothing is known a tissue.
    known = highdicom.sr.CodedConcept(label.snomed, "SCT", _line(label.name)) if label.snomed else codes.SCT.Tissue
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=_line(label.name),
        segmented_property_category=codes.SCT.AnatomicalStructure if label.snomed else codes.SCT.Tissue,
        segmented_property_type=known,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_text(model.card.name),
            family=codes.DCM.ArtificialIntelligence,
            version=model.sha256,
            source="MedGAN",
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(*label.colour),
    )


def _numbered(image: Image, labels: Labels, frame_of_reference_uid: str | None = None) -> Any:
    """Return a volume of segment numbers, which run from 1 without a gap, slices first."""
    highdicom = _highdicom()
    numbers = np.zeros(image.grid.shape, np.min_scalar_type(len(labels.labels)))
    for number, label in enumerate(labels.labels, start=1):
        numbers[image.voxels[0] == label.value] = number
    affine = (_LPS_FROM_RAS @ image.affine)[:, [2, 1, 0, 3]]
    return highdicom.Volume(numbers.transpose(2, 1, 0), affine, "PATIENT", frame_of_reference_uid)


def _series(what: str, model: Model, source: SeriesHeader) -> dict[str, Any]:
    """Return what every instance says of its series and of the software that made it, as highdicom calls it."""
    from pydicom.uid import generate_uid

    now = datetime.datetime.now()
    return {
        "series_instance_uid": generate_uid(prefix=None),
        "series_number": int(source.headers[0].get("SeriesNumber") or 0) + _SERIES_NUMBER_OFFSET,
        "series_description": _text(f"SYNTHETIC, research use: {what} by {model.card.name}"),
        "series_date": now.date(),
        "series_time": now.time(),
        "instance_number": 1,
        "manufacturer": "MedGAN",
        "manufacturer_model_name": _text(model.card.name),
        "software_versions": __version__,
        "device_serial_number": model.sha256,
        "content_qualification": "RESEARCH",
    }


def _keep(dataset: "Dataset", names: tuple[str, ...], source: SeriesHeader) -> None:
    """Copy what the source says of attributes, where it says it."""
    for name in names:
        if name in source.headers[0]:
            dataset[name] = source.headers[0][name]


def _equipment(model: Model) -> Any:
    from pydicom.sr.codedict import codes

    return _highdicom().ContributingEquipment(
        manufacturer="MedGAN",
        purpose_of_reference=codes.DCM.SynthesizingEquipment,
        manufacturer_model_name=_text(model.card.name),
        software_versions=__version__,
        device_serial_number=model.sha256,
        contribution_description=_text(f"{model.card.title}. {RESEARCH_USE}", 1024),
    )


def _reference(header: "Dataset") -> "Dataset":
    """Return an item that names a source image by its class and instance."""
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    purpose = _highdicom().sr.CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _step(image: Image) -> float:
    """Return the difference between neighbouring stored values, in the unit; a decimal string of DICOM holds it."""
    from pydicom.valuerep import format_number_as_ds

    if image.unit == "HU":
        return 1.0
    largest = float(np.abs(image.voxels).max())
    return float(format_number_as_ds(largest / _INT16)) if largest else 1.0


def _refuse_unfit(image: Image, domain: Domain) -> None:
    """Refuse what cannot be stored, before any file is there."""
    voxels, window = image.voxels, domain.window
    if voxels.shape[0] != 1 or voxels.size == 0:
        raise DicomError(f"the image has {'×'.join(map(str, voxels.shape))} values: expected one for every voxel")
    if not np.isfinite(voxels).all():
        raise DicomError(f"{(~np.isfinite(voxels)).mean():.2%} of the voxels are NaN or infinite: nothing was written")
    directions = image.affine[:3, :3] / image.grid.spacing_mm
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise DicomError("the image has sheared axes, which DICOM does not know: resample it to a box first")
    if image.unit != domain.unit:
        raise DicomError(f"the image is in {image.unit}: expected {domain.unit}")
    if isinstance(window, Labels):
        unknown = np.setdiff1d(voxels, [0, *(label.value for label in window.labels)])
        if unknown.size:
            raise DicomError(
                f"the image holds the labels {unknown[:5].tolist()}, which have no name: nothing was written"
            )
    elif domain.modality not in _KINDS or _KINDS[domain.modality].unit != domain.unit:
        known = ", ".join(f"{modality} in {kind.unit}" for modality, kind in _KINDS.items())
        raise DicomError(f"{domain.modality} in {domain.unit} cannot be written as DICOM: expected {known}, or labels")
    elif domain.unit == "HU" and np.abs(voxels).max() > _INT16:
        raise DicomError(f"the image runs from {voxels.min():g} to {voxels.max():g} HU: expected what 16 bits hold")


def _right_handed(image: Image) -> Image:
    """Turn the slices' order round where it runs against columns × rows: readers sort them along it."""
    if np.linalg.det(image.affine[:3, :3]) > 0:
        return image
    return image.with_orientation(Orientation((0, 1, 2), (False, False, True)))


def _text(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a text of ours in letters that every character set has: a result keeps its source's."""
    return _line(text.encode("ascii", "replace").decode(), longest)


def _line(text: str, longest: int = _LONGEST_NAME) -> str:
    r"""Return a text as DICOM takes it: one line, so long at most, without the \ that separates values."""
    return " ".join(text.split()).replace("\\", "/")[:longest]


def _highdicom() -> Any:
    """Import highdicom with the parts that are used. Raises DicomError where it is not installed."""
    try:
        import highdicom.color
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        raise DicomError(f"DICOM needs highdicom ({error}): pip install 'medgan[dicom]'") from error
    return highdicom
