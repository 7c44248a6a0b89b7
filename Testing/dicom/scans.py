"""Series as scanners write them, made on the spot: no patient is in them, and nothing of MedGAN made them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from MedGANLogic.domain import CT, MR, PET, Domain, Label, Labels
from MedGANLogic.images import Image

SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}
OF_MODALITY: dict[str, dict[str, Any]] = {
    "CT": {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": "120",
        "AcquisitionNumber": "1",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
    },
    "MR": {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "ScanningSequence": "SE",
        "SequenceVariant": "NONE",
        "ScanOptions": None,
        "MRAcquisitionType": "2D",
        "RepetitionTime": "500",
        "EchoTime": "10",
        "EchoTrainLength": "1",
    },
    "PT": {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SeriesDate": "20200102",
        "SeriesTime": "101112",
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "SeriesType": ["STATIC", "IMAGE"],
        "DecayCorrection": "NONE",
        "CorrectedImage": ["ATTN"],
        "CollimatorType": "NONE",
        "RadiopharmaceuticalInformationSequence": [],
        "PatientOrientationCodeSequence": [],
        "PatientGantryRelationshipCodeSequence": [],
        "AcquisitionDate": "20200102",
        "AcquisitionTime": "101112",
        "ActualFrameDuration": "60000",
        "FrameReferenceTime": "0",
        "RescaleIntercept": "0",
        "RescaleSlope": "2.5",
    },
}
LABELS = Domain(
    "SEG",
    "label",
    Labels(
        (
            Label(7, "Femur", (241, 214, 145), "71341001"),
            Label(2, "Muscle", (192, 104, 88)),
            Label(300, "Fat", (230, 220, 70), "55603005"),
        )
    ),
    0.0,
)
DOMAINS = {"CT": CT, "MR": MR, "PT": PET, "SEG": LABELS}
SHAPE = (5, 6, 4)


def turned(degrees: float, flips: tuple[int, int, int] = (1, 1, 1)) -> NDArray[np.float64]:
    """Voxels of .7 × 1.3 × 3.1 mm, turned about an axis that is none of R, A, S, with some axes the other way."""
    x, y, z = np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross) * (0.7, 1.3, 3.1) * flips
    affine[:3, 3] = (-31.7, 12.3, 870.123456789)
    return affine


GRIDS = {
    f"{degrees} degrees, {flips}": turned(degrees, flips)
    for degrees, flips in [(0, (1, 1, 1)), (0, (-1, -1, -1)), *((23, f) for f in itertools.product((1, -1), repeat=3))]
}
OBLIQUE = turned(23)


def scan(
    folder: Path, modality: str = "MR", affine: NDArray[np.float64] = OBLIQUE, shape: tuple[int, int, int] = SHAPE
) -> Path:
    """Write a series as a scanner would, (I, J, K) voxels on a RAS grid, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    study, series, frame = (generate_uid(prefix=None) for _ in range(3))
    for k in range(shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SpecificCharacterSet = "ISO_IR 100"
        image.PatientName, image.PatientID = "Müller^Jürgen", "4711"
        image.PatientBirthDate, image.PatientSex, image.PatientWeight = "19500401", "M", "81.5"
        image.PatientIdentityRemoved, image.DeidentificationMethod = "YES", "for a test"
        image.StudyInstanceUID, image.StudyID, image.AccessionNumber = study, "17", "A1"
        image.StudyDate, image.StudyTime, image.StudyDescription = "20200102", "101112", "Thigh"
        image.ReferringPhysicianName = "Straße^A"
        image.SeriesInstanceUID, image.SeriesNumber, image.Modality = series, "3", modality
        image.SeriesDescription, image.ProtocolName = "t1 tse", "thigh protocol"
        image.PatientPosition, image.BodyPartExamined, image.Laterality = "FFS", "LEG", "L"
        image.Manufacturer, image.InstitutionName = "Scanner Inc", "Hospital"
        image.FrameOfReferenceUID, image.PositionReferenceIndicator = frame, None
        image.LongitudinalTemporalInformationModified = "REMOVED"
        image.RecognizableVisualFeatures = "NO"
        image.SOPClassUID, image.SOPInstanceUID = SOP_CLASSES[modality], generate_uid(prefix=None)
        image.InstanceNumber = k + 1
        image.ContentDate, image.ContentTime = "20200102", "101112"
        image.ImageOrientationPatient = [f"{part:.12f}"[:16] for part in (lps[:3, :2] / spacing[:2]).T.ravel()]
        image.ImagePositionPatient = [f"{part:.9f}" for part in lps[:3, 3] + k * lps[:3, 2]]
        image.PixelSpacing = [str(spacing[1].round(6)), str(spacing[0].round(6))]
        image.SliceThickness = str(spacing[2].round(6))
        image.Rows, image.Columns = shape[1], shape[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
        for name, value in OF_MODALITY[modality].items():
            setattr(image, name, value)
        if modality == "PT":
            image.NumberOfSlices, image.ImageIndex = shape[2], k + 1
            del image.PatientPosition
        image.private_block(0x0029, "SCANNER INC", create=True).add_new(0x01, "LO", "a secret")
        values = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape[1], shape[0]) + 100 * k
        image.PixelData = values.tobytes()
        image.save_as(folder / f"scan{k}.dcm", enforce_file_format=True)
    return folder


def made(target: str, affine: NDArray[np.float64] = OBLIQUE, shape: tuple[int, int, int] = SHAPE) -> Image:
    """An image as a model would return it: no two voxels alike where the domain allows it."""
    random = np.random.default_rng(0)
    voxels = {
        "CT": random.permutation(np.prod(shape)) * 13.37 - 1024,
        "MR": random.random(shape),
        "PT": random.gamma(0.5, 4, shape) - 0.1,
        "SEG": random.choice([0, 7, 2, 300], shape),
    }[target]
    return Image(voxels.reshape(1, *shape).astype(np.float32), affine, DOMAINS[target].unit)
