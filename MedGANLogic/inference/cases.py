"""Prediction of a cohort's cases: the user's prediction, on volumes that are prepared already."""

from collections.abc import Mapping, Sequence

from torch import nn

from MedGANLogic.cohort import Case
from MedGANLogic.images import Image
from MedGANLogic.inference.predict import predict
from MedGANLogic.inference.translate import from_network, to_network
from MedGANLogic.passes import Pass
from MedGANLogic.study import Study


def predict_case(passes: Sequence[Pass], networks: Mapping[str, nn.Module], study: Study, case: Case) -> Image:
    """Return a case's first target as the networks predict it: on the case's grid, in the target's unit."""
    role, domain = next(iter(study.targets.items()))
    volumes = {name: to_network(case.image(name, of), of, study.plane)[0] for name, of in study.inputs.items()}
    device = next(networks[passes[0].network].parameters()).device
    prediction = predict(passes, networks, volumes, device)
    return from_network(prediction.volumes, role, domain, case.grid, study.plane, case.grid)
