"""Standardised uptake values from what a DICOM series of a PET says of itself. No torch; pydicom where it is used.

SUV by body weight is activity per mL over injected dose per gram. How tags lead to it: QIBA's vendor-neutral
pseudo-code ("happy path", in the appendix of its FDG-PET/CT profile), which knows activity that is corrected for decay
to the scan's start (START); DICOM PS3.3 C.8.9.1 has it to the injection (ADMIN), and not at all (NONE), too.
"""

import datetime
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MedGANLogic.errors import MedGANError

if TYPE_CHECKING:
    from pydicom import Dataset

#: What a tag is for, in the words of an error.
_WHAT = {
    "Units": "the unit of the values",
    "DecayCorrection": "the time that activity is corrected to",
    "PatientWeight": "what the dose is spread over, in kg",
    "RadiopharmaceuticalInformationSequence": "the dose, its half-life and when it was injected",
    "RadionuclideTotalDose": "the injected dose, in Bq",
    "RadionuclideHalfLife": "how fast the dose decays, in s",
    "RadiopharmaceuticalStartTime": "when the dose was injected",
    "AcquisitionDate": "the day of the scan",
    "AcquisitionTime": "when a slice was scanned",
    "ActualFrameDuration": "how long a slice was scanned, in ms",
}
#: Values that can be meant, so that grams, MBq and minutes are found out [assumed].
_LIMITS = {
    "PatientWeight": (0.5, 400.0),
    "RadionuclideTotalDose": (1e6, 2e10),
    "RadionuclideHalfLife": (10.0, 1e7),
    "ActualFrameDuration": (1.0, 1e8),
}
#: After so many half-lives nothing is left to be seen: a date must be wrong [assumed].
_MOST_HALF_LIVES = 12.0
#: By so much may two times of one injection differ.
_SAME_TIME_S = 60.0

_GE_SCAN_START = (0x0009, "GEMS_PETD_01", 0x0D)
_PHILIPS = (0x7053, "Philips PET Private Group")
_PHILIPS_SUV, _PHILIPS_ACTIVITY = 0x00, 0x09

_OVERRIDE = "if the values are SUV already, say --input-unit SUV, or save them as NIfTI"


class SuvError(MedGANError):
    """A PET series that cannot be turned into SUV, said in words: which tag, what it is for, what to do."""


@dataclass(frozen=True)
class Conversion:
    """By what each slice's values, its own slope applied, are multiplied to become SUV, and why in words."""

    factors: NDArray[np.float64]
    words: str


def conversion(files: Sequence[str]) -> Conversion:
    """Return how the slices of a DICOM series of a PET, one file each, become SUV by body weight.

    ``BQML`` is divided by the dose that is left for each gram of the patient; ``CNTS`` takes Philips' private factors;
    ``GML`` is SUV already. Raises SuvError for a tag that is missing, impossible or contradicts another, and where
    pydicom is not installed.
    """
    headers = [_header(file) for file in files]
    units = _same(headers, "Units")
    if units == "GML":
        kind = str(headers[0].get("SUVType") or "BW")
        if kind != "BW":
            raise SuvError(f"SUVType (0054,1006) is {kind}: expected BW, by body weight; {_OVERRIDE}")
        return Conversion(np.ones(len(headers)), "SUV by body weight, as it is stored")
    if units == "CNTS":
        return _of_counts(headers)
    if units == "BQML":
        dose, words = _dose_per_gram(headers)
        return Conversion(1 / dose, words)
    raise SuvError(f"Units (0054,1001) are {units}: expected BQML, GML or Philips' CNTS; {_OVERRIDE}")


def _header(file: str) -> "Dataset":
    try:
        import pydicom
    except ImportError as error:
        raise SuvError(
            f"a PET series becomes SUV by its headers, which needs pydicom ({error}): pip install 'medgan[dicom]'; "
            f"{_OVERRIDE}"
        ) from error
    return pydicom.dcmread(file, stop_before_pixels=True)


def _of_counts(headers: "Sequence[Dataset]") -> Conversion:
    """Return the conversion of Philips' counts: by its factor to SUV, else by that to activity."""
    to_suv, to_activity = (
        np.array([float(_private(header, *_PHILIPS, element) or 0) for header in headers])
        for element in (_PHILIPS_SUV, _PHILIPS_ACTIVITY)
    )
    if (to_suv > 0).all():
        return Conversion(to_suv, "SUV by body weight, by Philips' factor (7053,1000)")
    if (to_activity > 0).all():
        dose, words = _dose_per_gram(headers)
        return Conversion(to_activity / dose, f"{words}; activity by Philips' factor (7053,1009)")
    raise SuvError(
        "Units (0054,1001) are CNTS, and Philips' private factors (7053,1000) to SUV or (7053,1009) to activity are "
        f"missing: export the series with its private tags; {_OVERRIDE}"
    )


def _dose_per_gram(headers: "Sequence[Dataset]") -> tuple[NDArray[np.float64], str]:
    """Return the dose in Bq/g that was left when each slice shows the patient, and how it was found in words."""
    correction = _same(headers, "DecayCorrection")
    _refuse_uncorrected(headers, correction)
    weight = _number("PatientWeight", _same(headers, "PatientWeight"))
    tracers = [_tracer(header) for header in headers]
    names = ("RadionuclideTotalDose", "RadionuclideHalfLife")
    dose, half_life = (_number(name, _same(tracers, name)) for name in names)
    words = f"SUV by body weight: {weight:g} kg, {dose / 1e6:.4g} MBq"
    if correction == "ADMIN":
        return np.full(len(headers), dose / (1000 * weight)), f"{words}; activity is that at the injection"
    scanned = [_scanned(header) for header in headers]
    first = _scan_start(headers[0], min(scanned)) if correction == "START" else min(scanned)
    before = (first - _injected(tracers[0], first, half_life)).total_seconds()
    left = np.full(len(headers), 2.0 ** (-before / half_life))
    words += f" injected {before / 60:.1f} min before the scan, half-life {half_life / 60:.1f} min"
    if correction == "NONE":
        after = np.array([(begun - first).total_seconds() for begun in scanned])
        lasting = [_number("ActualFrameDuration", _said(header, "ActualFrameDuration")) / 1000 for header in headers]
        # A slice shows the mean over its frame of what decays meanwhile.
        decays = math.log(2) * np.array(lasting) / half_life
        left *= 2.0 ** (-after / half_life) * -np.expm1(-decays) / decays
        words += "; the scan's own decay taken out"
    return dose * left / (1000 * weight), words


def _refuse_uncorrected(headers: "Sequence[Dataset]", correction: str) -> None:
    """Refuse what is no activity, and what contradicts itself about decay."""
    if correction not in ("START", "ADMIN", "NONE"):
        raise SuvError(f"DecayCorrection (0054,1102) is {correction}: expected START, ADMIN or NONE; {_OVERRIDE}")
    said = headers[0].get("CorrectedImage") or []
    done = [said] if isinstance(said, str) else [str(one) for one in said]
    found = f"CorrectedImage (0028,0051) says {', '.join(done) or 'nothing'}"
    if "ATTN" not in done:
        raise SuvError(f"{found}: without correction of attenuation (ATTN) the values are no activity; {_OVERRIDE}")
    if ("DECY" in done) != (correction != "NONE"):
        raise SuvError(
            f"{found} and DecayCorrection (0054,1102) {correction}, which contradict each other; {_OVERRIDE}"
        )


def _tracer(header: "Dataset") -> "Dataset":
    """Return what is said of the injection."""
    items = _said(header, "RadiopharmaceuticalInformationSequence")
    if len(items) > 1:
        raise SuvError(
            f"RadiopharmaceuticalInformationSequence (0054,0016) tells of {len(items)} injections: SUV is of one; "
            f"{_OVERRIDE}"
        )
    one: Dataset = items[0]
    return one


def _scan_start(header: "Dataset", earliest: datetime.datetime) -> datetime.datetime:
    """Return what activity is corrected to: the series' time, unless the series was made after the scan."""
    if header.get("SeriesDate") and header.get("SeriesTime"):
        series = _moment(header, "SeriesDate", "SeriesTime")
        if series <= earliest:
            return series
    said = _private(header, *_GE_SCAN_START)
    return _parsed("GE's scan start (0009,100D)", str(said)) if said else earliest


def _scanned(header: "Dataset") -> datetime.datetime:
    for name in ("AcquisitionDate", "AcquisitionTime"):
        _said(header, name)
    return _moment(header, "AcquisitionDate", "AcquisitionTime")


def _injected(tracer: "Dataset", scan: datetime.datetime, half_life_s: float) -> datetime.datetime:
    """Return when the dose was injected; a time without its day is the last one before the scan."""
    said = tracer.get("RadiopharmaceuticalStartDateTime")
    if said:
        injected = _parsed("RadiopharmaceuticalStartDateTime (0018,1078)", str(said))
    else:
        injected = _at(scan, _said(tracer, "RadiopharmaceuticalStartTime"))
        if injected > scan:
            injected -= datetime.timedelta(days=1)
    if said and tracer.get("RadiopharmaceuticalStartTime"):
        other = _at(injected, tracer.RadiopharmaceuticalStartTime)
        if abs((other - injected).total_seconds()) > _SAME_TIME_S:
            raise SuvError(
                f"RadiopharmaceuticalStartDateTime (0018,1078) is {injected:%H:%M:%S} and RadiopharmaceuticalStartTime "
                f"(0018,1072) {other:%H:%M:%S}, which contradict each other; {_OVERRIDE}"
            )
    if not 0 <= (scan - injected).total_seconds() <= _MOST_HALF_LIVES * half_life_s:
        raise SuvError(
            f"the dose was injected at {injected:%Y-%m-%d %H:%M:%S} (0018,1078 or 0018,1072) and the scan began at "
            f"{scan:%Y-%m-%d %H:%M:%S} (0008,0021 and 0008,0031, or 0008,0022 and 0008,0032): expected the injection "
            f"before, by {_MOST_HALF_LIVES:g} half-lives of {half_life_s:g} s at most; {_OVERRIDE}"
        )
    return injected


def _moment(header: "Dataset", date: str, time: str) -> datetime.datetime:
    name = f"{date} {_tag(date)} and {time} {_tag(time)}"
    return _parsed(name, f"{header.get(date)}{_digits(header.get(time))}")


def _at(day: datetime.datetime, time: Any) -> datetime.datetime:
    return _parsed("RadiopharmaceuticalStartTime (0018,1072)", f"{day:%Y%m%d}{_digits(time)}")


def _digits(time: Any) -> str:
    return str(time).replace(":", "")  # as ACR-NEMA wrote it


def _parsed(name: str, text: str) -> datetime.datetime:
    """Read YYYYMMDDHH with minutes, seconds and their fraction if there are any; a zone behind is the scanner's own."""
    found = re.fullmatch(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?", text.strip())
    try:
        if found:
            day, hour, minute, second = (found[1], found[2], found[3] or "00", found[4] or "00")
            whole = datetime.datetime.strptime(f"{day}{hour}{minute}{second}", "%Y%m%d%H%M%S")
            return whole + datetime.timedelta(seconds=float(found[5] or 0))
    except ValueError:
        pass
    raise SuvError(f"{name}: {text!r} is no date and time (YYYYMMDD, HHMMSS); {_OVERRIDE}")


def _number(name: str, text: Any) -> float:
    """Return a number that a tag holds. Raises SuvError where it cannot be meant."""
    low, high = _LIMITS[name]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        unit = _WHAT[name].rpartition(" ")[2]
        raise SuvError(f"{name} {_tag(name)} is {text}: expected {low:g} to {high:g} {unit}; {_OVERRIDE}")
    return number


def _same(headers: "Sequence[Dataset]", name: str) -> str:
    """Return what every slice says of something; they must agree."""
    found = {str(_said(header, name)) for header in headers}
    if len(found) > 1:
        raise SuvError(
            f"{name} {_tag(name)}, {_WHAT[name]}, differs between slices ({', '.join(sorted(found))}): give one series"
        )
    return found.pop()


def _said(header: "Dataset", name: str) -> Any:
    value = header.get(name)
    if value is None or value == "" or (name == "RadiopharmaceuticalInformationSequence" and not value):
        raise SuvError(
            f"{name} {_tag(name)}, {_WHAT[name]}, is missing or empty: export the series again with it; {_OVERRIDE}"
        )
    return value


def _private(header: "Dataset", group: int, creator: str, element: int) -> Any:
    """Return a vendor's own value as text or number; None where it is not there."""
    try:
        value = header.private_block(group, creator)[element].value
    except KeyError:
        return None
    # Bytes, where neither the file nor pydicom knows how it is written.
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else value


def _tag(name: str) -> str:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(name) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
