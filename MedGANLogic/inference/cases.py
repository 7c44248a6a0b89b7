"""Prediction of a cohort's cases: the user's prediction, on volumes that are prepared already."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from MedGANLogic.cohort import Case
from MedGANLogic.images import Image
from MedGANLogic.inference.predict import predict
from MedGANLogic.inference.translate import from_network
from MedGANLogic.passes import Step, Volume, slices_first
from MedGANLogic.study import Study


def predict_case(passes: Sequence[Step], networks: Mapping[str, nn.Module], study: Study, case: Case) -> Image:
    """Return a case's first target as the networks predict it: on the case's grid, in the target's unit."""
    role, domain = next(iter(study.targets.items()))
    volumes = predicted_volumes(passes, networks, study, case)
    # What has no unit keeps the brightness of the image that it was made from, as for a user.
    alike = [study.source(name) for name, of in study.inputs.items() if of == domain]
    scale = case.scale(alike[0], domain) if alike else None
    whole = slices_first(case.valid, study.plane).shape
    volumes = {name: _filled(volume, whole) for name, volume in volumes.items()}
    return from_network(volumes, role, domain, case.grid, study.plane, case.grid, scale)


def _filled(volume: Volume, shape: Sequence[int]) -> Volume:
    """Repeat the edge where a case ends within a voxel of its coarser volumes."""
    missing = [(0, max(0, whole - length)) for whole, length in zip(shape, volume.shape, strict=True)]
    return np.pad(volume, missing, mode="edge") if any(more for _, more in missing) else volume


def predicted_volumes(
    passes: Sequence[Step], networks: Mapping[str, nn.Module], study: Study, case: Case
) -> Mapping[str, Volume]:
    """Return all volumes that the passes write for a case, in the network's range, slices first."""
    device = next(networks[passes[0].networks[0]].parameters()).device
    return predict(passes, networks, case_inputs(study, case), device).volumes


def case_inputs(study: Study, case: Case) -> dict[str, Volume]:
    """Return the volumes that a study's networks read, by name, in their range, slices first.

    A role that is made of another is made of it here, as the feed does it; of several ways by the first.
    """
    volumes: dict[str, Volume] = {}
    for role, domain in study.inputs.items():
        made, source = study.made.get(role), study.source(role)
        values = slices_first(case.in_unit(source, case.volumes[source]), study.plane)
        if made and made.degraded:
            values = made.degraded[0].apply(values, study.dimensions)
        shown = domain.window.shown_as_input(values, case.scale(source, study.domains[source]))
        names = domain.window.input_volumes(role)
        volumes |= {name: np.ascontiguousarray(one) for name, one in zip(names, shown, strict=True)}
    return volumes
