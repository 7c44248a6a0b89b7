"""A PET series becomes SUV as its tags say, against closed forms; what is missing or contradicts is said in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from scans import made, scan

from MedGANLogic.dicom import open_series, write
from MedGANLogic.domain import PET
from MedGANLogic.images import ImageError, read, read_as_said
from MedGANLogic.suv import SuvError

HALF_LIFE_S = 6586.2
DOSE_BQ = 370e6
WEIGHT_KG = 81.5
#: One hour from the injection at 9:11:12 to the scan at 10:11:12.
LEFT = 2 ** (-3600 / HALF_LIFE_S)
FACTOR = WEIGHT_KG * 1000 / (DOSE_BQ * LEFT)

# Times that no VR allows are written on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR TM")

Edit = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PET of four slices as a scanner writes it; activity is corrected to the scan's start."""
    folder = scan(tmp_path / "pet", "PT")
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.CorrectedImage, header.DecayCorrection = ["DECY", "ATTN", "SCAT"], "START"
        tracer = Dataset()
        tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = str(DOSE_BQ), str(HALF_LIFE_S)
        tracer.RadiopharmaceuticalStartTime = "091112"
        header.RadiopharmaceuticalInformationSequence = [tracer]
        header.save_as(file)
    return folder


@pytest.fixture
def edit(folder: Path) -> Edit:
    """Change every slice, or one; what belongs to the tracer is found there. None takes a tag out."""

    def apply(name: str = "*", **tags: Any) -> None:
        for file in folder.glob(name):
            header = pydicom.dcmread(file)
            for tag, value in tags.items():
                tracer = tag.startswith("Radio") and not tag.endswith("Sequence")
                of = header.RadiopharmaceuticalInformationSequence[0] if tracer else header
                if value is None:
                    delattr(of, tag)
                else:
                    setattr(of, tag, value)
            header.save_as(file)

    return apply


def stored(folder: Path) -> Any:
    """What the files hold, each slice with its own slope: (1, I, J, K)."""
    headers = [pydicom.dcmread(folder / f"scan{k}.dcm") for k in range(4)]
    return np.stack([header.pixel_array.T * float(header.RescaleSlope) for header in headers], axis=-1)[None]


def test_activity_at_the_scans_start_is_divided_by_the_dose_left_per_gram(folder: Path) -> None:
    pet = read(folder, "SUV")
    assert pet.unit == "SUV"
    assert pet.voxels == pytest.approx(stored(folder) * FACTOR, rel=1e-6)
    assert pet.facts["uptake"] == (
        "SUV by body weight: 81.5 kg, 370 MBq injected 60.0 min before the scan, half-life 109.8 min"
    )


@pytest.mark.parametrize("slopes", [("1.5", "2.5", "0.3", "7"), ("1", "0.3", "0.007", "2.5")])
def test_every_slice_has_its_own_slope(slopes: tuple[str, ...], folder: Path, edit: Edit) -> None:
    for k, slope in enumerate(slopes):
        edit(f"scan{k}.dcm", RescaleSlope=slope)
    assert read(folder, "SUV").voxels == pytest.approx(stored(folder) * FACTOR, rel=1e-6)


def test_what_the_user_says_is_suv_stays_as_it_is(folder: Path) -> None:
    assert np.array_equal(read_as_said(folder, "SUV").voxels, stored(folder).astype(np.float32))


def test_activity_at_the_injection_is_divided_by_the_whole_dose(folder: Path, edit: Edit) -> None:
    edit(DecayCorrection="ADMIN")
    assert read(folder, "SUV").voxels == pytest.approx(stored(folder) * FACTOR * LEFT, rel=1e-6)


def test_activity_that_nobody_corrected_decays_from_slice_to_slice(folder: Path, edit: Edit) -> None:
    edit(DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration="1200000")
    for k in range(4):
        edit(f"scan{k}.dcm", AcquisitionTime=f"10{11 + 20 * k:02}12" if k < 3 else "111112")
    moments = 3600 + 1200 * np.arange(4)
    # The mean over each frame of 20 minutes, by many small steps.
    steps = (np.arange(100_000) + 0.5) / 100_000 * 1200
    left = [np.mean(2 ** (-(moment + steps) / HALF_LIFE_S)) for moment in moments]
    assert read(folder, "SUV").voxels == pytest.approx(stored(folder) * WEIGHT_KG * 1000 / DOSE_BQ / left, rel=1e-6)


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({"SeriesTime": "100000", "AcquisitionTime": "101112"}, 48 * 60 + 48),
        ({"SeriesTime": "235959", "AcquisitionTime": "101112.5"}, 3600.5),
        ({"SeriesTime": "10:11:12"}, 3600),
        (
            {
                "RadiopharmaceuticalStartDateTime": "20200102084112.000000+0100",
                "RadiopharmaceuticalStartTime": None,
            },
            5400,
        ),
        ({"RadiopharmaceuticalStartDateTime": "20200102091112"}, 3600),
        (
            {
                "SeriesDate": "20200103",
                "AcquisitionDate": "20200103",
                "SeriesTime": "000500",
                "AcquisitionTime": "000500",
                "RadiopharmaceuticalStartTime": "233500",
            },
            1800,
        ),
    ],
    ids=["series before the first slice", "series made later", "colons", "with its day", "both", "midnight"],
)
def test_the_time_between_injection_and_scan(tags: dict[str, Any], seconds: float, folder: Path, edit: Edit) -> None:
    edit(**tags)
    expected = stored(folder) * WEIGHT_KG * 1000 / DOSE_BQ * 2 ** (seconds / HALF_LIFE_S)
    assert read(folder, "SUV").voxels == pytest.approx(expected, rel=1e-6)


def test_the_start_is_the_earliest_slices_or_ges_own(folder: Path, edit: Edit) -> None:
    edit(SeriesTime="180000")
    edit("scan2.dcm", AcquisitionTime="100112")
    earliest = 2 ** (3000 / HALF_LIFE_S)
    expected = stored(folder) * WEIGHT_KG * 1000 / DOSE_BQ
    assert read(folder, "SUV").voxels == pytest.approx(expected * earliest, rel=1e-6)
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20200102095112.00")
        header.save_as(file)
    assert read(folder, "SUV").voxels == pytest.approx(expected * 2 ** (2400 / HALF_LIFE_S), rel=1e-6)


@pytest.mark.parametrize(
    ("to_suv", "to_activity", "factor"),
    [("0.00025", "2", 0.00025), ("0", "2", 2 * FACTOR), (None, "2", 2 * FACTOR)],
    ids=["to SUV", "zero", "to activity"],
)
@pytest.mark.parametrize("representation", ["DS", "UN"])
def test_philips_counts_take_its_own_factors(
    to_suv: str | None, to_activity: str, factor: float, representation: str, folder: Path, edit: Edit
) -> None:
    edit(Units="CNTS")
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        block = header.private_block(0x7053, "Philips PET Private Group", create=True)
        for element, text in ((0x00, to_suv), (0x09, to_activity)):
            if text is not None:
                block.add_new(element, representation, text if representation == "DS" else f"{text:10}".encode())
        header.save_as(file)
    assert read(folder, "SUV").voxels == pytest.approx(stored(folder) * factor, rel=1e-6)


def test_grams_per_millilitre_are_suv_already(folder: Path, edit: Edit) -> None:
    edit(Units="GML", RadiopharmaceuticalInformationSequence=[], PatientWeight=None)
    assert np.array_equal(read(folder, "SUV").voxels, stored(folder).astype(np.float32))


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Units": None}, r"Units \(0054,1001\), the unit of the values, is missing"),
        ({"Units": "PROPCPS"}, r"Units \(0054,1001\) are PROPCPS: expected BQML"),
        ({"Units": "CNTS"}, r"\(7053,1000\) to SUV or \(7053,1009\) to activity are missing"),
        ({"Units": "GML", "SUVType": "LBM"}, r"SUVType \(0054,1006\) is LBM"),
        ({"PatientWeight": None}, r"PatientWeight \(0010,1030\), what the dose is spread over, in kg, is missing"),
        ({"PatientWeight": ""}, r"PatientWeight \(0010,1030\).* empty"),
        ({"PatientWeight": "81500"}, r"is 81500: expected 0.5 to 400 kg"),
        ({"RadionuclideTotalDose": None}, r"RadionuclideTotalDose \(0018,1074\), the injected dose, in Bq, is missing"),
        ({"RadionuclideTotalDose": "370"}, r"is 370: expected 1e\+06 to 2e\+10 Bq"),
        ({"RadionuclideHalfLife": None}, r"RadionuclideHalfLife \(0018,1075\), how fast the dose decays, in s"),
        ({"RadionuclideHalfLife": "109.8"}, r"by 12 half-lives of 109.8 s at most"),
        ({"RadiopharmaceuticalStartTime": None}, r"RadiopharmaceuticalStartTime \(0018,1072\), when the dose"),
        ({"RadiopharmaceuticalStartTime": "noon"}, r"\(0018,1072\): '20200102noon' is no date and time"),
        ({"RadiopharmaceuticalStartTime": "101500"}, r"expected the injection before"),
        ({"RadiopharmaceuticalStartDateTime": "20190102091112"}, r"2019-01-02 09:11:12 .* began at 2020-01-02"),
        ({"RadiopharmaceuticalStartDateTime": "20200102081112"}, r"08:11:12 and .* 09:11:12, which contradict"),
        ({"RadiopharmaceuticalInformationSequence": []}, r"\(0054,0016\), the dose, its half-life and when"),
        ({"RadiopharmaceuticalInformationSequence": [Dataset(), Dataset()]}, "tells of 2 injections"),
        ({"AcquisitionTime": None}, r"AcquisitionTime \(0008,0032\), when a slice was scanned, is missing"),
        ({"AcquisitionDate": ""}, r"AcquisitionDate \(0008,0022\), the day of the scan"),
        ({"DecayCorrection": None}, r"DecayCorrection \(0054,1102\), the time that activity is corrected to"),
        ({"DecayCorrection": "LATER"}, "is LATER: expected START, ADMIN or NONE"),
        ({"DecayCorrection": "NONE"}, "says DECY, ATTN, SCAT and DecayCorrection .* NONE, which contradict"),
        ({"CorrectedImage": ["ATTN"]}, "says ATTN and DecayCorrection .* START, which contradict"),
        ({"CorrectedImage": "DECY"}, "says DECY: without correction of attenuation"),
        ({"CorrectedImage": None}, "says nothing: without correction of attenuation"),
        (
            {"DecayCorrection": "NONE", "CorrectedImage": "ATTN", "ActualFrameDuration": None},
            r"ActualFrameDuration \(0018,1242\), how long a slice was scanned",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_said_in_words(
    tags: dict[str, Any], said: str, folder: Path, edit: Edit
) -> None:
    edit(**tags)
    with pytest.raises(SuvError, match=said) as refused:
        read(folder, "SUV")
    assert "if the values are SUV already, say --input-unit SUV" in str(refused.value)


@pytest.mark.parametrize("tags", [{"PatientWeight": "70"}, {"RadionuclideTotalDose": "400000000"}, {"Units": "GML"}])
def test_slices_that_do_not_agree_are_refused(tags: dict[str, Any], folder: Path, edit: Edit) -> None:
    edit("scan1.dcm", **tags)
    with pytest.raises(SuvError, match="differs between slices"):
        read(folder, "SUV")


def test_activity_of_a_file_says_no_suv(folder: Path) -> None:
    with pytest.raises(ImageError, match="Bq/mL is activity, which says no SUV without dose and weight"):
        read(folder, "Bq/mL")


def test_a_result_is_written_in_suv_and_read_back(folder: Path, model: Any, tmp_path: Path) -> None:
    image = made("PT")
    write(image, PET, model, open_series(folder), tmp_path / "made")
    again = read(tmp_path / "made", "SUV")
    assert np.abs(again.voxels - image.voxels).max() <= np.abs(image.voxels).max() / 32767
    assert again.facts["uptake"] == "SUV by body weight, as it is stored"
