"""The main job: an image in, its translation out, on the input's grid, in the output's unit."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MedGANLogic import __version__
from MedGANLogic.bundle import Bundle, open_bundle
from MedGANLogic.catalogue import RESEARCH_USE, Model, find
from MedGANLogic.check import Finding, check, refuse
from MedGANLogic.domain import Domain, Scale
from MedGANLogic.errors import MedGANError
from MedGANLogic.images import (
    Grid,
    Image,
    ImageError,
    Orientation,
    fingerprint,
    read,
    suffix_of,
    without_surroundings,
    write,
)
from MedGANLogic.inference.predict import Progress, Volume, predict, silent
from MedGANLogic.passes import slices_back, slices_first


class DeviceError(MedGANError):
    """A device that is not there."""


@dataclass(frozen=True)
class Translation:
    """A translated image and everything that is worth knowing about how it came to be (plain data)."""

    image: Image
    provenance: Mapping[str, Any]


def choose_device(name: str) -> torch.device:
    """Return the device of a name: ``auto`` is the first CUDA device, or the CPU. Raises DeviceError for none."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"no device is called {name!r}: auto, cpu, cuda:0, …") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"there is no {name}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices"
        )
    return device


def translate(
    bundle: Bundle,
    image: Image,
    device: str = "auto",
    mask: Image | None = None,
    force: bool = False,
    progress: Progress = silent,
    memory_bytes: float | None = None,
) -> Translation:
    """Translate an image: same grid, the target's unit, float32.

    Outside of ``mask`` (any grid; resampled by nearest neighbour) the result is the target's background. Findings of
    ``check`` that are errors raise RefusedError before any work, unless they may be forced and are; warnings go into
    the provenance. ``progress`` is called between windows and may raise to cancel. Raises ImageError for a mask that
    misses the image, MemoryShortError when not even the smallest window fits.
    """
    card, chosen = bundle.card, choose_device(device)
    if len(card.inputs) != 1 or len(card.targets) != 1:
        raise ImageError(f"{card.name} reads {', '.join(card.inputs)} and writes {', '.join(card.targets)}: not one")
    (role, domain), (target_role, target) = next(iter(card.inputs.items())), next(iter(card.targets.items()))
    findings = check(card, role, image)
    refuse(findings, force)
    shown = None if mask is None else _inside(mask, image.grid)
    began = time.monotonic()

    orientation = Orientation.nearest(image.affine)
    prepared = prepare(image.with_orientation(orientation), domain, card.spacing_mm)
    volume, _ = to_network(prepared, domain, card.plane)
    prediction = predict(card.passes, bundle.networks, {role: volume}, chosen, progress, memory_bytes)
    result = from_network(prediction.volumes[target_role], prepared.grid, target, card.plane)
    result = result.on_grid(orientation.apply_to_grid(image.grid), outside=target.background)
    result = result.without_orientation(orientation, image.grid)

    # The contract of the product, checked on every run: the input's grid, a value for every voxel.
    if not result.grid.matches(image.grid) or not np.isfinite(result.voxels).all():
        raise RuntimeError("the result is not on the input's grid or not finite: please report this")
    if shown is not None:
        result = replace(result, voxels=np.where(shown, result.voxels, np.float32(target.background)))
    provenance = _provenance(bundle.model, findings, prediction.account, time.monotonic() - began, image, result)
    notes = f"SYNTHETIC {target.modality} ({target.unit}) by MedGAN {card.name}, research use only"
    return Translation(replace(result, facts={"modality": target.modality, "notes": notes}), provenance)


def prepare(image: Image, domain: Domain, spacing_mm: tuple[float, float, float] | None) -> Image:
    """Bring an image in R, A, S order to a model's spacing, its surroundings and NaN set to background."""
    finite = np.where(np.isfinite(image.voxels), image.voxels, domain.background)
    grid = image.grid.with_spacing(spacing_mm) if spacing_mm else image.grid
    return without_surroundings(replace(image, voxels=finite).on_grid(grid, outside=domain.background), domain)[0]


def to_network(image: Image, domain: Domain, plane: str) -> tuple[Volume, Scale]:
    """Return a prepared image's voxels in the network's range, slices first, and the scale that did it."""
    scale = domain.window.scale(image.voxels)
    return scale.to_network(slices_first(image.voxels[0], plane)), scale


def from_network(volume: Volume, grid: Grid, domain: Domain, plane: str) -> Image:
    """Return a predicted volume as an image in its unit; a domain without a fixed window (MR) runs from 0 to 1."""
    scale = domain.window.scale(np.zeros(1, np.float32))
    return Image(scale.to_unit(slices_back(volume, plane))[None], grid.affine, domain.unit)


def translate_file(
    bundle: str | Bundle,
    input_path: str,
    output_path: str,
    device: str = "auto",
    mask_path: str | None = None,
    input_unit: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Translate a file or DICOM folder into a file; return the provenance, also written beside it as JSON.

    ``bundle`` is a model's name, a bundle's folder, or an opened bundle. The output appears only when it is whole;
    beside ``ct.nii.gz`` stands ``ct.nii.gz.medgan.json``. Raises what ``read``, ``translate`` and ``write`` raise.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(find(bundle))
    output = Path(output_path)
    _refuse_place(output, [Path(path) for path in (input_path, mask_path) if path])
    domain = next(iter(opened.card.inputs.values()))
    image = read(input_path, input_unit or domain.unit)
    if image.unit != domain.unit:
        raise ImageError(f"--input-unit {input_unit} gives {image.unit}, {opened.card.name} reads {domain.unit}")
    mask = read(mask_path, "label") if mask_path else None
    done = translate(opened, image, device, mask, force, progress)
    request = asked(opened, input_path, mask_path, input_unit, force)
    provenance = {**done.provenance, "input": str(input_path), "output": str(output_path), "asked": request}
    sidecar = sidecar_of(output)
    partial = sidecar.with_name(f".{sidecar.name}.partial-{os.getpid()}")
    try:
        partial.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        write(done.image, output)
        partial.replace(sidecar)
    except OSError as error:
        raise ImageError(f"{output} could not be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return provenance


def asked(
    bundle: Bundle, input_path: str, mask_path: str | None, input_unit: str | None, force: bool
) -> dict[str, Any]:
    """Return what a result follows from: the same answer means the same result."""
    return {
        "model_sha256": bundle.model.sha256,
        "input_sha256": fingerprint(Path(input_path)),
        "mask_sha256": fingerprint(Path(mask_path)) if mask_path else None,
        "input_unit": input_unit,
        "force": force,
    }


def finished(output: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the provenance of an output that is there and followed from the same request; else None."""
    try:
        said = json.loads(sidecar_of(output).read_text(encoding="utf-8"))
        return dict(said) if output.is_file() and said["asked"] == request else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sidecar_of(output: Path) -> Path:
    """Return where a result's provenance stands: beside ``ct.nii.gz``, ``ct.nii.gz.medgan.json``."""
    return output.with_name(output.name + ".medgan.json")


def _refuse_place(output: Path, sources: Sequence[Path]) -> None:
    """Refuse, before any work, an output that cannot be written, or that would overwrite what is read."""
    suffix_of(output)
    if not output.parent.is_dir():
        raise ImageError(f"the folder {output.parent} does not exist")
    if not os.access(output.parent, os.W_OK):
        raise ImageError(f"the folder {output.parent} may not be written to: choose another one")
    if output.is_dir():
        raise ImageError(f"{output} is a folder: give a file's name")
    # By file, not by name: "CT.nii" and "ct.nii" are one on Windows and macOS.
    if output.exists() and any(source.exists() and output.samefile(source) for source in sources):
        raise ImageError(f"{output} is the input or its mask: user data are never overwritten")


def _inside(mask: Image, grid: Grid) -> Any:
    inside = mask.on_grid(grid, outside=0.0, nearest=True).voxels[0] > 0
    if not inside.any():
        raise ImageError("the mask has no voxel inside the image: are both of the same patient and frame of reference?")
    return inside


def _provenance(
    model: Model, findings: list[Finding], account: tuple[str, ...], seconds: float, image: Image, result: Image
) -> dict[str, Any]:
    return {
        "synthetic": True,
        "use": RESEARCH_USE,
        "model": model.card.name,
        "model_sha256": model.sha256,
        "medgan": __version__,
        "torch": torch.__version__,
        "unit": result.unit,
        "shape": list(result.grid.shape),
        "spacing_mm": list(result.grid.spacing_mm),
        "affine_ras_mm": result.affine.tolist(),
        "input_unit": image.unit,
        "findings": [finding.to_json() for finding in findings],
        "passes": list(account),
        "seconds": round(seconds, 2),
    }
