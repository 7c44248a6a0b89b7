"""Does this image fit this model? Findings in words, before any work. No torch."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from MedGANLogic.catalogue import Card
from MedGANLogic.domain import HIGHEST_COLOUR, Array, Domain, Labels, PercentileWindow
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Image, Orientation
from MedGANLogic.passes import Pass


class Level(IntEnum):
    """How much a finding weighs."""

    NOTE = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One sentence about an image and a model. ``forceable``: an error that the user may override."""

    level: Level
    text: str
    forceable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a program that reads."""
        return {"level": self.level.name.lower(), "text": self.text, "forceable": self.forceable}


class RefusedError(MedGANError):
    """An image that does not fit; the message holds the findings that stop the work."""


#: Quantiles of the values in the body, in the network's range, by which a cohort's contrast is known again.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Rule = Callable[[Card, str, Image], list[Finding]]

# By these a CT is known among images without a unit. Of all voxels above air, between fat and muscle lie at least 30 %
# (36 real CTs of head, chest, trunk and limbs: 33 to 89 %); the emptiness between lung and fat holds less than a
# quarter as many (real CTs: to 16 %, to 25 % with 80 HU of noise added; real MRs scaled to fat = 1000: from 36 %); and
# bone is there, but no more than a quarter (real CTs: 0.4 to 12 %). Of 65 real MRs scaled to 25 brightnesses each, from
# 200 to 4000, 0.8 % look like a CT with 1024 added; none does as it was published.
_TISSUE_HU = (-174, 176)
_EMPTINESS_HU = (-624, -224)
_ABOVE_AIR_HU = -964
_BONE_HU = 300
_LEAST_TISSUE = 0.3
_LARGEST_EMPTINESS = 0.25
_BONE_SHARE = (0.002, 0.25)
# Air, also of a noisy or a cone-beam CT: real CTs have 18 % and more of it; cropped close to the skin 1 % remains.
_AIR_HU = -700
_AIR_SHARE = 0.01
# Nine in ten neighbours in a label map are equal, but for its background; in an 8-bit MR no more than one in four.
_ALIKE = 0.8
_MOST_LABELS = 512
# No tissue takes up a hundred times the mean dose over the body in 1 % of the image; activity is in the thousands.
_HIGHEST_SUV = 100.0
_ENOUGH_VOXELS = 1 << 21


def check(card: Card, role: str, image: Image) -> list[Finding]:
    """Return all findings about an image that is to be the input ``role`` of a model, the gravest first.

    Looked at: grey or colours, empty or constant voxels, NaN, label maps, modality (by header and by intensity), unit
    (a CT offset by 1024, activity instead of SUV, colours beyond 0 to 255), spacing, field of view, contrast, synthetic
    input; of an input that is a label map: values that are none of its labels.
    """
    labelled = isinstance(card.inputs[role].window, Labels)
    broken = _broken(image, f"{card.name} reads", card.inputs[role].window.components, labelled)
    if any(finding.level is Level.ERROR for finding in broken):
        return broken
    if broken:
        background = image.voxels.dtype.type(card.inputs[role].background)
        finite = np.where(np.isfinite(image.voxels), image.voxels, background)
        image = Image(finite, image.affine, image.unit, image.facts)
    rules: tuple[Rule, ...] = (_header, _known) if labelled else (_header, _labels, _values, _extent, _contrast)
    found = [*broken, *(finding for rule in rules for finding in rule(card, role, image))]
    return sorted(found, key=lambda finding: -finding.level)


def absent(card: Card, given: Collection[str]) -> dict[str, list[Finding]]:
    """Return a warning, by role, for every input that may be left out and was."""
    text = "no labels are given: taken as background everywhere"
    return {role: [Finding(Level.WARNING, text)] for role in card.optional_inputs if role not in given}


def gathered(found: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Return what was found about a model's inputs, by role, the gravest first; of several inputs it says which."""
    every = [
        replace(finding, text=f"{role}: {finding.text}") if len(found) > 1 else finding
        for role, findings in found.items()
        for finding in findings
    ]
    return sorted(every, key=lambda finding: -finding.level)


def refuse(findings: list[Finding], forced: bool) -> None:
    """Raise RefusedError for errors, but for those that may be forced and are."""
    errors = [f for f in findings if f.level is Level.ERROR and not (forced and f.forceable)]
    if errors:
        hint = "" if forced or not all(f.forceable for f in errors) else " (--force translates it all the same)"
        raise RefusedError("; ".join(finding.text for finding in errors) + hint)


def contrast(domain: Domain, values: Array) -> list[float]:
    """Return the quantiles of the values in the body, in the network's range; empty where there is no body."""
    inside = values[..., domain.window.body(values)]
    if not inside.size:
        return []
    return [float(q) for q in np.quantile(domain.window.scale(values).to_network(inside), QUANTILES)]


def _broken(image: Image, reads: str, components: int, may_be_empty: bool) -> list[Finding]:
    voxels = image.voxels
    if voxels.size == 0:
        return [Finding(Level.ERROR, f"the image is empty: {'×'.join(map(str, image.grid.shape))} voxels")]
    found = voxels.shape[0]
    if found != components:
        kind = "grey" if found == 1 else "a colour or vector image"
        wanted = (
            "colours (red, green, blue): give a colour photograph" if components == 3 else "one: give one grey value"
        )
        text = f"the image has {found} value{'s' if found > 1 else ''} per voxel ({kind}), {reads} {wanted}"
        return [Finding(Level.ERROR, text)]
    finite = np.isfinite(voxels)
    missing = 1 - finite.mean()
    if missing > 0.5:
        return [Finding(Level.ERROR, f"{missing:.0%} of the voxels are NaN or infinite: nothing is left to translate")]
    inside = voxels[finite] if missing else voxels
    if inside.min() == inside.max() and not may_be_empty:
        return [Finding(Level.ERROR, f"every voxel has the value {inside.min():g}: the image shows nothing")]
    if missing > 0:
        return [Finding(Level.WARNING, f"{missing:.2%} of the voxels are NaN or infinite: taken as background")]
    return []


def _sample(values: Array) -> Array:
    """Thin out a large volume evenly: shares and quantiles are the same, and the user does not wait."""
    step = math.ceil((values.size / _ENOUGH_VOXELS) ** (1 / 3))
    return values[..., ::step, ::step, ::step]


def _header(card: Card, role: str, image: Image) -> list[Finding]:
    domain = card.inputs[role]
    found = []
    if "size" in image.facts:
        found.append(Finding(Level.NOTE, image.facts["size"]))
    said = image.facts.get("modality", "")
    if said and said != domain.modality:
        found.append(Finding(Level.ERROR, f"the file says modality {said}: {card.name} reads {domain.modality}"))
    if any("SYNTHETIC" in image.facts.get(fact, "") for fact in ("notes", "series")):
        found.append(Finding(Level.WARNING, "the image is itself synthetic: errors add up"))
    if "uptake" in image.facts:
        found.append(Finding(Level.NOTE, image.facts["uptake"]))
    part = image.facts.get("body part", "").lower()
    anatomy = [str(name).lower() for name in card.validity.get("anatomy", [])]
    if part and anatomy and not any(name in part or part in name for name in anatomy):
        found.append(Finding(Level.WARNING, f"the file says {part}: {card.name} is valid for {', '.join(anatomy)}"))
    return found


def _labels(_card: Card, _role: str, image: Image) -> list[Finding]:
    if len(image.voxels) > 1:
        return []
    # Along the longest axis, so that a single slice in any direction has neighbours.
    values = np.moveaxis(image.voxels[0], int(np.argmax(image.grid.shape)), 0)
    levels, counts = np.unique(_sample(values), return_counts=True)
    if levels.size > _MOST_LABELS or (values.dtype.kind == "f" and not np.array_equal(values, np.rint(values))):
        return []
    inside = values != levels[counts.argmax()]
    pairs = inside[1:] & inside[:-1]
    alike = float((values[1:] == values[:-1])[pairs].mean()) if pairs.any() else 0.0
    if alike > _ALIKE:
        text = f"the image looks like a label map (whole numbers, {alike:.0%} of neighbours equal)"
        return [Finding(Level.ERROR, text, forceable=True)]
    return []


def _known(card: Card, role: str, image: Image) -> list[Finding]:
    """Compare the values of a label map with the labels that the model reads."""
    window = card.inputs[role].window
    labels = window.labels if isinstance(window, Labels) else ()
    found = set(np.unique(image.voxels[0]).tolist()) - {0}
    known = {label.value for label in labels}
    if not found:
        return [Finding(Level.WARNING, "the label map is background everywhere")]
    if not found - known:
        return []
    strange = ", ".join(f"{value:g}" for value in sorted(found - known)[:5])
    meant = ", ".join(f"{label.value} ({label.name})" for label in labels)
    text = f"the values {strange} are none of its labels, {meant}: taken as background"
    return [Finding(Level.WARNING if found & known else Level.ERROR, text, forceable=True)]


def _values(card: Card, role: str, image: Image) -> list[Finding]:
    values, domain = _sample(image.values), card.inputs[role]
    if domain.window.components == 3:
        doubt = _colour_doubt(values)
    else:
        doubt = ct_doubt(values) if domain.unit == "HU" else _foreign_doubt(values, domain.unit)
    expected = f"{card.name} reads {domain.modality} ({domain.unit})"
    return [Finding(Level.ERROR, doubt.format(expected=expected), forceable=True)] if doubt else []


def ct_doubt(values: Array) -> str:
    """Say why the values cannot be those of a CT in HU; nothing where they can."""
    if _is_ct(values):
        return ""
    if _is_ct(values, stored_with=1024):
        return "the CT seems to have 1024 added: say --input-unit HU+1024"
    if _is_ct(values, stored_with=-1024):
        return f"the lowest value is {values.min():g} HU, tissue lies near -1024: was an offset taken off twice?"
    if not _has_air(values):
        return f"the values {values.min():g} … {values.max():g} are not those of a CT with air: {{expected}}"
    return ""


def _foreign_doubt(values: Array, unit: str) -> str:
    """Say why the values cannot be those of an MR or PET; nothing where they can."""
    if _is_ct(values):
        return "the image looks like a CT in HU: {expected}"
    if _is_ct(values, stored_with=1024):
        return "the image looks like a CT with 1024 added: {expected}"
    if unit == "SUV" and (high := np.quantile(values, 0.99)) > _HIGHEST_SUV:
        return (
            f"1 % of the values exceed {high:g}: that is activity (Bq/mL), not SUV: give its DICOM series, which says "
            "dose and weight, or divide by the dose per gram"
        )
    return ""


def _colour_doubt(values: Array) -> str:
    """Say why the values cannot be colours on the scale of 8 bits; nothing where they can."""
    low, high = values.min(), values.max()
    if low < 0 or not 1 < high <= HIGHEST_COLOUR:
        return f"the values {low:g} … {high:g} are not colours from 0 to {HIGHEST_COLOUR:g}: {{expected}}"
    return ""


def _has_air(hu: Array) -> bool:
    return bool((hu < _AIR_HU).mean() > _AIR_SHARE)


def _is_ct(values: Array, stored_with: float = 0.0) -> bool:
    """Say whether the values, less what was added to them, look like a CT in HU by air, fat to muscle, and bone."""
    inside = values[values > _ABOVE_AIR_HU + stored_with] - np.float32(stored_with)
    if not _has_air(values - np.float32(stored_with)) or inside.size < 0.02 * values.size:
        return False
    tissue, emptiness = (((inside > low) & (inside < high)).mean() for low, high in (_TISSUE_HU, _EMPTINESS_HU))
    least, most = _BONE_SHARE
    bone = (inside > _BONE_HU).mean()
    return bool(tissue > _LEAST_TISSUE and emptiness < _LARGEST_EMPTINESS * tissue and least < bone < most)


def _extent(card: Card, _role: str, image: Image) -> list[Finding]:
    grid = Orientation.nearest(image.affine).apply_to_grid(image.grid)
    found = []
    measured = "size" not in image.facts
    spacings = grid.spacing_mm if measured else ()
    for axis, spacing, limits in zip("LPS", spacings, card.validity.get("spacing_mm", []), strict=False):
        low, high = limits
        if not low <= spacing <= high:
            far = not low / 3 <= spacing <= high * 3
            text = f"spacing along {_AXES[axis]} is {spacing:.2f} mm: {card.name} is valid from {low:g} to {high:g} mm"
            found.append(Finding(Level.ERROR if far else Level.WARNING, text, forceable=True))
    if 1 in grid.shape and not _slice_by_slice(card):
        found.append(Finding(Level.WARNING, "the image is one slice thick: it stands in for its own neighbours"))
    extents = grid.extent_mm if measured else grid.shape
    for axis, extent, limits in zip("LPS", extents, card.validity.get("extent_mm", []), strict=False):
        low, high = limits
        if not low <= extent <= high:
            unit = "mm" if measured else "pixels"
            seen = f"{card.name} has seen {low:.0f} to {high:.0f}"
            text = f"field of view along {_AXES[axis]} is {extent:.0f} {unit}: {seen}"
            found.append(Finding(Level.WARNING, text))
    return found


def _slice_by_slice(card: Card) -> bool:
    """Say whether a model looks at no more than one slice at a time."""
    passes = [one for one in card.passes if isinstance(one, Pass)]
    return bool(passes) and all(one.dimensions == 2 and not one.neighbours for one in passes)


_AXES: Mapping[str, str] = {"L": "left–right", "P": "front–back", "S": "head–foot"}


#: What changes an image's contrast, by modality.
_OTHERS: Mapping[str, str] = {"PT": "tracer, time after the injection, unit (kBq/mL)", "XC": "camera, light"}


def _contrast(card: Card, role: str, image: Image) -> list[Finding]:
    """Compare the values in the body with those of the training cohort, if the card says them."""
    domain = card.inputs[role]
    seen = contrast(domain, _sample(image.values))
    if not seen:
        return [Finding(Level.ERROR, "no body was found in the image: nothing stands out from its background")]
    limits = card.validity.get("contrast", {}).get(role, [])
    out = [(q, v, lo, hi) for q, v, (lo, hi) in zip(QUANTILES, seen, limits, strict=False) if not lo <= v <= hi]
    if not out:
        return []
    q, value, low, high = max(out, key=lambda item: max(item[2] - item[1], item[1] - item[3]))
    reason = "relative to the brightest" if isinstance(domain.window, PercentileWindow) else "the window is fixed"
    other = _OTHERS.get(domain.modality, "sequence, contrast agent")
    return [
        Finding(
            Level.WARNING,
            f"the contrast is unlike the training images' ({q:.0%} quantile in the body {value:.2f}, there {low:.2f} "
            f"to {high:.2f}; {reason}): another {other}, or anatomy?",
        )
    ]
