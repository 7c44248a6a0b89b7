"""How good networks are on subjects kept apart, while they are trained: one number, lower is better."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MedGANLogic.cohort import Case, CohortError
from MedGANLogic.degradation import Predicted
from MedGANLogic.domain import Labels, in_unit
from MedGANLogic.evaluation.distribution import sliced_wasserstein
from MedGANLogic.evaluation.metrics import agreement
from MedGANLogic.feeds import Batches, Pool
from MedGANLogic.images import Image
from MedGANLogic.inference.cases import case_inputs, predict_case
from MedGANLogic.passes import slices_first
from MedGANLogic.recipe import ExponentialAverage, Networks, Recipe
from MedGANLogic.study import Study

Picture = NDArray[np.float32]

#: Images that are made, and as many real ones, where no pair says what is right.
_COMPARED = 32


@dataclass(frozen=True)
class Score:
    """The number, what it measures, and a picture of what was made: (H, W) in [0, 1], or (H, W, 3) in colours."""

    value: float
    measure: str
    picture: Picture


def validate(networks: Networks, recipe: Recipe, study: Study, cases: Sequence[Case]) -> Score:
    """Score networks in evaluation mode on cases that ``refuse_incomparable`` lets pass.

    On those that have what goes in and what should come out, by the user's own prediction: the mean over subjects of
    the first target's MAE in its unit, or of 1 - Dice over its labels, where the case is valid body; of inputs that are
    made in several ways, by each of them. Where there is none, by the sliced Wasserstein distance between what the last
    phase's game makes and what is real.
    """
    if paired := _paired(study, cases):
        cases = paired
        predicted = [
            (one, case, predict_case(recipe.passes, networks, one, case)) for case in cases for one in study.by_one_way
        ]
        errors = [case_error(case, image, one) for one, case, image in predicted]
        return Score(float(np.mean(errors)), measure_of(study, cases), _side_by_side(*predicted[0]))
    made, real = _played(networks, recipe, study, cases)
    return Score(sliced_wasserstein(made, real), measure_of(study, cases), _sheet(made, study))


def refuse_incomparable(recipe: Recipe, study: Study, cases: Sequence[Case]) -> None:
    """Raise CohortError where nothing can be compared.

    So it is where no case is a pair, and the last phase's game makes nothing that is alike or the cases lack what it
    is played with.
    """
    if _paired(study, cases):
        return
    phase = recipe.phases[-1]
    if not phase.game.made:
        raise CohortError(f"no subject kept for validation has all of {', '.join(study.columns)}: fill in the table")
    Batches(phase.feed, Pool(study, cases), ())


def _paired(study: Study, cases: Sequence[Case]) -> list[Case]:
    """Return the cases that have what goes in and what should come out."""
    if not study.inputs or any(isinstance(made, Predicted) for made in study.made.values()):
        return []
    return [case for case in cases if set(study.measured_columns) <= case.volumes.keys()]


def measure_of(study: Study, cases: Sequence[Case]) -> str:
    """Return what cases are scored by."""
    if not _paired(study, cases):
        return "sliced Wasserstein distance"
    target = next(iter(study.targets.values()))
    return "1 - Dice" if isinstance(target.window, Labels) else f"MAE{in_unit(target.unit)}"


def case_error(case: Case, predicted: Image, study: Study) -> float:
    """Return a prediction's MAE in the target's unit, or 1 - mean Dice over its labels, where the case is valid body.

    A label that neither has counts as found.
    """
    role, domain = next(iter(study.targets.items()))
    counted = case.valid & case.body
    truth, found = (of[..., counted] for of in (case.in_unit(role, case.volumes[role]), predicted.values))
    if not isinstance(domain.window, Labels):
        return float(np.abs(found - truth).mean())
    return float(np.mean([1 - agreement(truth == label.value, found == label.value) for label in domain.window.labels]))


def _played(networks: Networks, recipe: Recipe, study: Study, cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
    """Return what the last phase's game makes of the cases, and what is real there, (n, C, *size).

    Where an average of a network predicts, it plays in that one's place.
    """
    phase = recipe.phases[-1]
    acts = [act for player in phase.players for act in player.after if isinstance(act, ExponentialAverage)]
    used = {name for one in recipe.passes for name in one.networks}
    networks = {**networks, **{act.of: networks[act.into] for act in acts if act.into in used}}
    batches = Batches(phase.feed, Pool(study, cases), (study.seed,))
    device = next(weight.device for network in networks.values() for weight in network.parameters())
    made, real = [], []
    with torch.no_grad():
        for number in range(-(-_COMPARED // phase.feed.batch)):
            batch = {name: value.to(device) for name, value in batches[number].items()}
            game = phase.game(networks, batch, 0, 1.0)
            made.append(getattr(game, game.made).float().cpu())
            real.append(getattr(game, game.real).float().cpu())
    return torch.cat(made)[:_COMPARED], torch.cat(real)[:_COMPARED]


def _sheet(made: Tensor, study: Study) -> Picture:
    """Lay sixteen images out in four rows; of volumes their middle slices."""
    channels = made[:16, : next(iter(study.targets.values())).window.components]
    planes = channels if made.dim() == 4 else channels[:, :, made.shape[2] // 2]
    rows = [np.concatenate([*row.numpy()], axis=2) for row in planes.split(4) if len(row) == 4] or [planes[0].numpy()]
    return _picture(np.concatenate(rows, axis=1))


def _side_by_side(study: Study, case: Case, predicted: Image) -> Picture:
    """Show input, prediction and target in the case's middle slice, each in its window."""
    role, target = next(iter(study.targets.items()))
    scale = case.scale(role, target)
    first = next(iter(study.inputs.values()))
    shown = [np.stack(list(case_inputs(study, case).values())[: first.window.components])]
    for values in (predicted.values, case.in_unit(role, case.volumes[role])):
        written = target.window.shown(slices_first(values, study.plane), scale)
        shown.append(_grey(written) if isinstance(target.window, Labels) else written)
    middle = [volumes[:, volumes.shape[1] // 2] for volumes in shown]
    finest = middle[-1].shape[1:]
    enlarged = [np.kron(one, np.ones([f // o for f, o in zip(finest, one.shape[1:], strict=True)])) for one in middle]
    height = min(one.shape[1] for one in enlarged)
    colours = max(len(one) for one in enlarged)
    return _picture(np.concatenate([np.repeat(one[:, :height], colours // len(one), 0) for one in enlarged], axis=2))


def _picture(shown: NDArray[np.float32]) -> Picture:
    """Turn (1, H, W) or (3, H, W) in [-1, 1] into a picture."""
    lit = np.asarray((shown + 1) / 2, np.float32)
    return lit[0] if len(lit) == 1 else np.moveaxis(lit, 0, -1)


def _grey(shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one volume in [-1, 1] of labels, as grey steps: (1, …)."""
    return np.asarray(2 * shown.argmax(axis=0)[None] / (len(shown) - 1) - 1, np.float32)
