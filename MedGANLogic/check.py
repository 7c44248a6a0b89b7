"""Does this image fit this model? Findings in words, before any work. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from MedGANLogic.catalogue import Card
from MedGANLogic.domain import Array, Domain, FixedWindow
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import Image, Orientation


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

Rule = Callable[[Card, Domain, Image], list[Finding]]


def check(card: Card, role: str, image: Image) -> list[Finding]:
    """Return all findings about an image that is to be the input ``role`` of a model, the gravest first.

    Looked at: channels, empty or constant voxels, NaN, label maps, modality (by header and by intensity), unit
    (a CT offset by 1024, activity instead of SUV), spacing, field of view, contrast, synthetic input.
    """
    domain = card.inputs[role]
    broken = _broken(image)
    if any(finding.level is Level.ERROR for finding in broken):
        return broken
    finite = np.where(np.isfinite(image.voxels), image.voxels, domain.background)
    image = Image(finite, image.affine, image.unit, image.facts)
    rules: tuple[Rule, ...] = (_header, _labels, _values, _extent, _contrast)
    found = [*broken, *(finding for rule in rules for finding in rule(card, domain, image))]
    return sorted(found, key=lambda finding: -finding.level)


def refuse(findings: list[Finding], forced: bool) -> None:
    """Raise RefusedError for errors, but for those that may be forced and are."""
    errors = [f for f in findings if f.level is Level.ERROR and not (forced and f.forceable)]
    if errors:
        hint = "" if forced or not all(f.forceable for f in errors) else " (--force translates it all the same)"
        raise RefusedError("; ".join(finding.text for finding in errors) + hint)


def contrast(domain: Domain, values: Array) -> list[float]:
    """Return the quantiles of the values in the body, in the network's range; empty where there is no body."""
    inside = values[domain.window.body(values)]
    if not inside.size:
        return []
    return [float(q) for q in np.quantile(domain.window.scale(values).to_network(inside), QUANTILES)]


def _broken(image: Image) -> list[Finding]:
    voxels = image.voxels
    if voxels.size == 0:
        return [Finding(Level.ERROR, f"the image is empty: {'×'.join(map(str, image.grid.shape))} voxels")]
    if voxels.shape[0] != 1:
        text = f"the image has {voxels.shape[0]} values per voxel (a colour or vector image): give one grey value"
        return [Finding(Level.ERROR, text)]
    finite = np.isfinite(voxels)
    missing = 1 - finite.mean()
    if missing > 0.5:
        return [Finding(Level.ERROR, f"{missing:.0%} of the voxels are NaN or infinite: nothing is left to translate")]
    inside = voxels[finite]
    if inside.min() == inside.max():
        return [Finding(Level.ERROR, f"every voxel has the value {inside.min():g}: the image shows nothing")]
    if missing > 0:
        return [Finding(Level.WARNING, f"{missing:.2%} of the voxels are NaN or infinite: taken as background")]
    return []


def _header(card: Card, domain: Domain, image: Image) -> list[Finding]:
    found = []
    said = image.facts.get("modality", "")
    if said and said != domain.modality:
        found.append(Finding(Level.ERROR, f"the file says modality {said}: {card.name} reads {domain.modality}"))
    if "SYNTHETIC" in image.facts.get("notes", ""):
        found.append(Finding(Level.WARNING, "the image is itself synthetic: errors add up"))
    part = image.facts.get("body part", "").lower()
    anatomy = [str(name).lower() for name in card.validity.get("anatomy", [])]
    if part and anatomy and not any(name in part or part in name for name in anatomy):
        found.append(Finding(Level.WARNING, f"the file says {part}: {card.name} is valid for {', '.join(anatomy)}"))
    return found


def _labels(_card: Card, _domain: Domain, image: Image) -> list[Finding]:
    values = image.voxels[0]
    inside = values != 0
    whole = np.array_equal(values, np.rint(values))
    pairs = inside[1:] & inside[:-1]
    alike = float((values[1:] == values[:-1])[pairs].mean()) if pairs.any() else 0.0
    if whole and alike > 0.8 and np.unique(values).size <= 512:
        text = f"the image looks like a label map ({np.unique(values).size} values, {alike:.0%} of neighbours equal)"
        return [Finding(Level.ERROR, text, forceable=True)]
    return []


def _values(card: Card, domain: Domain, image: Image) -> list[Finding]:
    values = image.voxels[0]
    expected = f"{card.name} reads {domain.modality} ({domain.unit})"
    if domain.unit != "HU":
        if _is_ct(values):
            return [Finding(Level.ERROR, f"the image looks like a CT in HU: {expected}", forceable=True)]
        if _is_offset_ct(values):
            text = f"the image looks like a CT with 1024 added: {expected}"
            return [Finding(Level.ERROR, text, forceable=True)]
    if domain.unit == "HU" and _is_offset_ct(values):
        return [Finding(Level.ERROR, "the CT seems to have 1024 added: say --input-unit HU+1024", forceable=True)]
    if domain.unit == "HU" and values.min() < -1600:
        text = f"the lowest value is {values.min():g} HU, below air: was an offset taken off twice?"
        return [Finding(Level.ERROR, text, forceable=True)]
    if domain.unit == "HU" and not _is_ct(values):
        text = f"the values {values.min():g} … {values.max():g} are not those of a CT with air: {expected}"
        return [Finding(Level.ERROR, text, forceable=True)]
    if domain.unit == "SUV" and np.quantile(values, 0.99) > 100:
        text = f"99 % of the values reach {np.quantile(values, 0.99):g}: that is activity (Bq/mL), not SUV"
        return [Finding(Level.ERROR, text, forceable=True)]
    return []


def _is_ct(values: Array) -> bool:
    """Air near -1000 in at least 1 % of the voxels, or fat and less in so many that no MR has it."""
    return bool(values.min() <= -500 and (values < -500).mean() > 0.01 and values.min() >= -1600) or bool(
        values.min() >= -1600 and (values < -30).mean() > 0.2 and values.max() > 100
    )


def _is_offset_ct(values: Array) -> bool:
    """Nothing below 0, and tissue packed between fat and muscle plus 1024, with next to nothing below.

    In a T1-weighted MR scaled to fat = 1000 muscle fills what is empty here.
    """
    inside = values[values > 60]
    if values.min() < -10 or inside.size < 0.02 * values.size:
        return False
    packed = ((inside > 850) & (inside < 1200)).mean()
    between = ((inside > 400) & (inside < 800)).mean()
    return bool(packed > 0.5 and between < 0.12 and np.quantile(inside, 0.999) > 1200)


def _extent(card: Card, _domain: Domain, image: Image) -> list[Finding]:
    grid = Orientation.nearest(image.affine).apply_to_grid(image.grid)
    found = []
    for axis, spacing, limits in zip("LPS", grid.spacing_mm, card.validity.get("spacing_mm", []), strict=False):
        low, high = limits
        if not low <= spacing <= high:
            far = not low / 3 <= spacing <= high * 3
            text = f"spacing along {_AXES[axis]} is {spacing:.2f} mm: {card.name} is valid from {low:g} to {high:g} mm"
            found.append(Finding(Level.ERROR if far else Level.WARNING, text, forceable=True))
    if 1 in grid.shape:
        found.append(Finding(Level.WARNING, "the image is one slice thick: it stands in for its own neighbours"))
    for axis, extent, limits in zip("LPS", grid.extent_mm, card.validity.get("extent_mm", []), strict=False):
        low, high = limits
        if not low <= extent <= high:
            text = f"field of view along {_AXES[axis]} is {extent:.0f} mm: {card.name} has seen {low:.0f} to {high:.0f}"
            found.append(Finding(Level.WARNING, text))
    return found


_AXES: Mapping[str, str] = {"L": "left–right", "P": "front–back", "S": "head–foot"}


def _contrast(card: Card, domain: Domain, image: Image) -> list[Finding]:
    """Compare the values in the body with those of the training cohort, if the card says them."""
    seen = contrast(domain, image.voxels[0])
    if not seen:
        return [Finding(Level.ERROR, "no body was found in the image: nothing stands out from its background")]
    limits = card.validity.get("contrast", {}).get(next(r for r, d in card.inputs.items() if d == domain), [])
    out = [(q, v, lo, hi) for q, v, (lo, hi) in zip(QUANTILES, seen, limits, strict=False) if not lo <= v <= hi]
    if not out:
        return []
    q, value, low, high = max(out, key=lambda item: max(item[2] - item[1], item[1] - item[3]))
    reason = "the window is fixed" if isinstance(domain.window, FixedWindow) else "relative to the brightest"
    return [
        Finding(
            Level.WARNING,
            f"the contrast is unlike the training images' ({q:.0%} quantile in the body {value:.2f}, there {low:.2f} "
            f"to {high:.2f}; {reason}): another sequence, contrast agent, or anatomy?",
        )
    ]
