"""The flight recorder: what a run notes about itself, and the named alarms that it raises from that.

A ``Record`` is plain data and every rule a pure function of the last records, so that a recorder is made again from a
run's log. One recorder watches one phase: with other terms another gradient is usual. What is done about an alarm
(``OnAlarm``) is for the run to say, not for the recipe.
"""

import enum
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, avg_pool3d

#: Adversarial losses that nothing lowers below 0, by the name under which they are logged. At 0 the player is sure of
#: every image, and has nothing to learn. Wasserstein losses and the generator's side of the hinge have no floor.
FLOORED = frozenset({"called_real", "called_fake", "squared_real", "squared_fake", "more_real"})

#: All thresholds are [assumed]. A healthy game (pix2pix on one real pair, 1500 steps) came to 18 times its usual
#: gradient at three records in a row.
_EXPLODED, _EXPLODED_FOR = 100.0, 3
#: From here on no history is needed.
_BEYOND_ALL = 1e6
#: What is usual is the median of the last hundred records; of fewer than twenty it says little.
_FEWEST_USUAL, _MOST_USUAL = 20, 100
#: A critic that was sure has hardly any gradient, and gets it back when it is fooled: that is no explosion.
_LEAST_USUAL = 0.1
#: Softplus of logits at -7: the sigmoid's slope there is a thousandth too.
_SATURATED, _SATURATED_FOR = 1e-3, 20
#: Of what is real, healthy smooth translations (L1 alone, one real pair, from step 80 on) kept half and more.
_COLLAPSED, _COLLAPSED_FOR = 0.05, 10
#: Records in which a generator may make one grey image: many begin with nothing else (BEGAN for two hundred steps).
_BEGUN = 50
#: Training may pause by chance (a hinge that no image passes), not for a hundred steps.
_STILL_FOR = 10
#: More waiting than work.
_STARVED, _STARVED_FOR = 0.5, 5

#: Images that are compared, each with each: 28 pairs.
_COMPARED = 8
#: Voxels along an axis that are compared: what has collapsed shows at this size, at a few milliseconds (3D: 60).
_EDGE = 32

#: Wang 2004 (doi:10.1109/TIP.2003.819861): an 11-voxel Gaussian window of 1.5 voxels, K1 = 0.01, K2 = 0.03; Wang 2003
#: (doi:10.1109/ACSSC.2003.1292216): the exponents of five scales, finest first.
_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_POOL = {2: avg_pool2d, 3: avg_pool3d}

_SLOWER = "go back to the last healthy checkpoint and train at a lower learning rate (study: changes = { rate = … })"


class OnAlarm(enum.Enum):
    """What a run does about an alarm that harms: end, or go on from the last healthy checkpoint.

    A run that rolls back halves every learning rate and draws other batches, at most ``ROLL_BACKS`` times; then it
    ends.
    """

    STOP = "stop"
    ROLL_BACK = "roll back"


#: [assumed] After three the rate is an eighth: the cause is another one.
ROLL_BACKS = 3


@dataclass(frozen=True)
class Spread:
    """How the values of a tensor are spread; ``deviation`` is that of all of them (no n - 1)."""

    mean: float
    deviation: float
    low: float
    high: float


def loss_name(player: str, number: int, loss: str, tensors: Iterable[str]) -> str:
    """Return the name under which a player's term is logged: ``player/number loss(tensor, tensor)``."""
    return f"{player}/{number} {loss}({', '.join(tensors)})"


def named_in(name: str) -> tuple[str, str, str]:
    """Return the player, the loss and the tensors of a ``loss_name``."""
    player, _, term = name.partition("/")
    loss, _, tensors = term.partition(" ")[2].partition("(")
    return player, loss, tensors.removesuffix(")")


@dataclass(frozen=True)
class Record:
    """What a run notes at a step.

    ``losses``, unweighted, by ``loss_name``; ``gradients``, the norm over all weights that a player moves, and
    ``rates``, learning rates, by player; ``scores`` by the tensor's name in the game; ``made`` and ``real``, the
    ``diversity`` of what the generator makes and of what is real, None where it is not known; ``waiting``, the share
    of the time since the last record that was spent waiting for data, in [0, 1].
    """

    step: int
    losses: Mapping[str, float]
    gradients: Mapping[str, float]
    scores: Mapping[str, Spread]
    made: float | None
    real: float | None
    rates: Mapping[str, float]
    waiting: float
    seconds_per_step: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data for strict JSON; what is not finite becomes "nan", "inf" or "-inf"."""
        plain: dict[str, Any] = _spelt(asdict(self))
        return plain

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Make a record from a line of the log; further keys are left alone."""
        return cls(
            step=int(line["step"]),
            losses=_numbers(line["losses"]),
            gradients=_numbers(line["gradients"]),
            scores={name: Spread(**_numbers(spread)) for name, spread in line["scores"].items()},
            made=None if line["made"] is None else float(line["made"]),
            real=None if line["real"] is None else float(line["real"]),
            rates=_numbers(line["rates"]),
            waiting=float(line["waiting"]),
            seconds_per_step=float(line["seconds_per_step"]),
        )


def _spelt(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _spelt(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


@torch.no_grad()
def measure_scores(scores: Mapping[str, Tensor]) -> dict[str, Spread]:
    """Return the spread of every tensor, of any shape. A GPU is waited for once a tensor."""
    found = {}
    for name, score in scores.items():
        values = score.detach().float()
        spread = torch.stack([values.mean(), values.std(correction=0), values.min(), values.max()])
        found[name] = Spread(*spread.tolist())
    return found


class Gallery:
    """The last eight images of a kind, small and detached: with batches of one there is nothing to compare in one.

    ``images`` (n ≤ 8, C, *size) is all that it remembers: a checkpoint keeps it, None where there is none yet.
    """

    def __init__(self, images: Tensor | None = None) -> None:
        self.images = images

    def add(self, images: Tensor) -> None:
        """Take in a batch (n, C, *size). Where shape or device is another than before, it begins anew."""
        new = _small(images)
        known = self.images
        if known is not None and (known.shape[1:], known.device) == (new.shape[1:], new.device):
            new = torch.cat([known, new])
        self.images = new[-_COMPARED:].clone()

    def diversity(self) -> float | None:
        """Return the diversity of what it holds, None until it is full: fewer pairs say too little."""
        if self.images is None or len(self.images) < _COMPARED:
            return None
        return diversity(self.images)


@torch.no_grad()
def diversity(images: Tensor) -> float:
    """Return 1 - mean MS-SSIM over all pairs of the first eight images: 0 where all are equal, near 1 for noise.

    ``images`` (n ≥ 2, C, *size) in [-1, 1], two or three axes. They are averaged to at most 32 voxels an axis first. As
    many scales as leave six voxels on two axes, at most Wang's five, their exponents scaled to a sum of one: a single
    scale is SSIM. Window, edges and halving as in ``evaluation/metrics.py``; all channels count alike.
    float32, also under autocast. Raises ValueError for a single image.
    """
    if len(images) < 2:
        raise ValueError(f"diversity of {len(images)} image: there is no pair to compare")
    # Not a convolution, either: cuDNN rounds its factors to TF32, and a variance here is a difference of squares.
    with torch.autocast(images.device.type, enabled=False):
        shown = (_small(images[:_COMPARED]) + 1) / 2
        first, second = torch.combinations(torch.arange(len(shown), device=shown.device)).T
        return 1 - float(_similarity(shown, first, second).mean())


def _small(images: Tensor) -> Tensor:
    """Return images in float32, averaged over as few voxels as make every axis short."""
    size = images.shape[2:]
    factors = [math.ceil(count / _EDGE) for count in size]
    small: Tensor = _POOL[len(size)](images.detach().float(), factors)
    return small


def _similarity(images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the MS-SSIM (pairs,) of images (n, C, *size) with a range of one."""
    count = 1
    while count < len(_SCALES) and sum(axis >> count > _RADIUS for axis in images.shape[2:]) >= 2:
        count += 1
    result = torch.ones(len(first), device=images.device)
    for scale, exponent in enumerate(_SCALES[:count]):
        if scale:
            images = _halved(images)
        mean, square = _windowed(images), _windowed(images * images)
        variance = square - mean * mean
        covariance = _windowed(images[first] * images[second]) - mean[first] * mean[second]
        similarity = (2 * covariance + _C2) / (variance[first] + variance[second] + _C2)
        if scale == count - 1:
            bright = mean * mean
            similarity *= (2 * mean[first] * mean[second] + _C1) / (bright[first] + bright[second] + _C1)
        # A negative mean has no real power: it counts as no similarity at all.
        result *= similarity.flatten(1).mean(1).clamp_min(0) ** (exponent / sum(_SCALES[:count]))
    return result


def _windowed(values: Tensor) -> Tensor:
    """Return the Gaussian-weighted mean around each voxel, axis by axis; mirrored at the edge."""
    for axis in range(2, values.dim()):
        values = (values.transpose(axis, -1) @ _window(values.shape[axis]).to(values.device)).transpose(axis, -1)
    return values


def _window(count: int) -> Tensor:
    """Return the matrix (count, count), symmetric, that averages an axis around each voxel, mirrored at both ends."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1)
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    seen = (torch.arange(count)[:, None] + offsets) % (2 * count)
    seen = torch.minimum(seen, 2 * count - 1 - seen)
    return torch.zeros(count, count).scatter_add_(1, seen, (weights / weights.sum()).expand(count, -1))


def _halved(values: Tensor) -> Tensor:
    """Average pairs of voxels along every axis that keeps six; an odd last voxel is dropped."""
    factors = [2 if axis // 2 > _RADIUS else 1 for axis in values.shape[2:]]
    halved: Tensor = _POOL[len(factors)](values, factors)
    return halved


@dataclass(frozen=True)
class Alarm:
    """A rule that found something: the numbers, the cause and what to do, in words. ``harms`` the weights, or not."""

    name: str
    text: str
    harms: bool


#: What is wrong with the last of some records: by the player or loss that is to blame, in words.
Finding = Callable[[Sequence[Record]], Mapping[str, str]]


@dataclass(frozen=True)
class Rule:
    """An alarm is raised when the same is found at so many records in a row."""

    name: str
    finding: Finding
    in_a_row: int
    advice: str
    harms: bool = True

    def found(self, records: Sequence[Record], in_a_row: int) -> list[str]:
        """Return in words what is found at each of the last records."""
        if len(records) < in_a_row:
            return []
        findings = [self.finding(records[: len(records) - later]) for later in reversed(range(in_a_row))]
        return [words for blamed, words in findings[-1].items() if all(blamed in finding for finding in findings)]

    def alarm(self, records: Sequence[Record]) -> Alarm | None:
        """Return the alarm that the last record raises, if any."""
        if not (found := self.found(records, self.in_a_row)):
            return None
        row = f", for {self.in_a_row} records" if self.in_a_row > 1 else ""
        return Alarm(self.name, f"step {records[-1].step}: {'; '.join(found)}{row}. {self.advice}", self.harms)


def _not_finite(records: Sequence[Record]) -> dict[str, str]:
    named = {
        **{f"the loss {name}": [value] for name, value in records[-1].losses.items()},
        **{f"the gradient of {name}": [value] for name, value in records[-1].gradients.items()},
        **{f"the score {name}": [one.mean, one.low, one.high] for name, one in records[-1].scores.items()},
    }
    broken = {name: [value for value in values if not math.isfinite(value)] for name, values in named.items()}
    return {name: f"{name} is {values[0]}" for name, values in broken.items() if values}


def _exploding(records: Sequence[Record]) -> dict[str, str]:
    found = {}
    for player, norm in records[-1].gradients.items():
        known = [one.gradients[player] for one in records[-_MOST_USUAL - 1 : -1] if player in one.gradients]
        usual = max(median(known), _LEAST_USUAL) if len(known) >= _FEWEST_USUAL else math.inf
        if norm >= _EXPLODED * usual:
            found[player] = f"the gradient of {player} is {norm:.3g}, {norm / usual:.0f} times the usual {usual:.3g}"
    return found


def _beyond_all(records: Sequence[Record]) -> dict[str, str]:
    return {
        player: f"the gradient of {player} is {norm:.3g}, above {_BEYOND_ALL:.0e}"
        for player, norm in records[-1].gradients.items()
        if _BEYOND_ALL <= norm < math.inf
    }


def _saturated(records: Sequence[Record]) -> dict[str, str]:
    floored: dict[str, dict[str, float]] = {}
    for key, value in records[-1].losses.items():
        player, loss, _ = named_in(key)
        if loss in FLOORED:
            floored.setdefault(player, {})[key] = value
    return {
        player: f"{player} is sure of every image ({_listed(losses)}; all below {_SATURATED:g})"
        for player, losses in floored.items()
        if all(value < _SATURATED for value in losses.values())
    }


def _collapsed(records: Sequence[Record]) -> dict[str, str]:
    made, real = records[-1].made, records[-1].real
    if made is None or real is None or not made < _COLLAPSED * real:
        return {}
    if len(records) < _BEGUN and not any((one.made or 0) >= _COLLAPSED * (one.real or 1) for one in records):
        return {}
    return {"made": f"images that are made differ by {made:.2g} (1 - MS-SSIM), real ones by {real:.2g}"}


def _still(records: Sequence[Record]) -> dict[str, str]:
    gradients = records[-1].gradients
    return {player: f"the gradient of {player} is exactly 0" for player, norm in gradients.items() if norm == 0}


def _starved(records: Sequence[Record]) -> dict[str, str]:
    waiting = records[-1].waiting
    if not waiting > _STARVED:
        return {}
    return {"feed": f"{100 * waiting:.0f} % of the time is spent waiting for data"}


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2g}" for name, value in values.items())


RULES = (
    Rule("not finite", _not_finite, 1, f"The networks have diverged: {_SLOWER}."),
    Rule("exploding gradient", _exploding, _EXPLODED_FOR, f"Training is about to diverge: {_SLOWER}."),
    Rule("exploding gradient", _beyond_all, 1, f"Training is about to diverge: {_SLOWER}."),
    Rule(
        "critic saturated",
        _saturated,
        _SATURATED_FOR,
        "It has won, and its opponent no longer learns from it: go back to the last healthy checkpoint and give it a "
        "lower learning rate, fewer turns or less width, or take a recipe whose critic has no floor (wgan-gp).",
    ),
    Rule(
        "generator collapsed",
        _collapsed,
        _COLLAPSED_FOR,
        "The generator makes the same image whatever it is given: go back to the last healthy checkpoint and train at "
        "a lower learning rate (study: changes = { rate = … }) or with larger batches, or take a recipe with a "
        "gradient penalty (wgan-gp).",
    ),
    Rule(
        "player stands still",
        _still,
        _STILL_FOR,
        "Nothing that it could change reaches its losses: all units of a layer have died (every input below 0), or its "
        "opponent answers everything alike. Unless its terms weigh nothing yet, begin again with another seed, or with "
        "a lower rate (study: changes = { rate = … }).",
        harms=False,
    ),
    Rule(
        "feed starved",
        _starved,
        _STARVED_FOR,
        "The model is not harmed, but training takes longer than it need: give the loader more workers, read the "
        "cohort from a local disk, or take smaller patches.",
        harms=False,
    ),
)

_REMEMBERED = _MOST_USUAL + max(rule.in_a_row for rule in RULES)


class Recorder:
    """The last records of a phase and what they mean; made again from those in the log when a run is resumed."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = deque(records, maxlen=_REMEMBERED)

    def add(self, record: Record) -> list[Alarm]:
        """Take in a record and return the alarms that it raises; one that does not harm is raised when it begins."""
        before = list(self._records)
        self._records.append(record)
        raised = [(rule, alarm) for rule in RULES if (alarm := rule.alarm([*before, record]))]
        return [alarm for rule, alarm in raised if rule.harms or not rule.alarm(before)]

    @property
    def suspects(self) -> bool:
        """Whether a rule that harms may be about to raise its alarm: then no checkpoint is to be written."""
        records = list(self._records)
        return any(rule.harms and rule.found(records, 1) for rule in RULES)
