"""Passes over prepared volumes: everything is float32 in the network's range, slice axis first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from MedGANLogic.inference.plan import MemoryShortError, Plan, footprint, plan, search_footprint
from MedGANLogic.inference.search import search
from MedGANLogic.passes import Blend, Draw, Pass, Search, Step, Volume

#: Called with windows done and windows in all; may raise, and nothing has been written then.
Progress = Callable[[int, int], None]

#: Vectors that go through a generator together.
_DRAWN_TOGETHER = 16

#: The share of free memory that a prediction may plan with.
_SHARE = 0.6


def silent(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Prediction:
    """The volumes that the passes wrote, and how: one sentence per pass."""

    volumes: Mapping[str, Volume]
    account: tuple[str, ...]


def predict(
    passes: Sequence[Step],
    networks: Mapping[str, nn.Module],
    volumes: Mapping[str, Volume],
    device: torch.device,
    progress: Progress = silent,
    memory_bytes: float | None = None,
) -> Prediction:
    """Run passes one after the other; ``volumes`` are (S, H, W) by name, all of one shape, or vectors (n, length).

    Networks are put into evaluation mode on ``device`` and left there. When the memory runs out in spite of the plan,
    smaller windows are tried, then the CPU; the account says so. Raises MemoryShortError when nothing helps.
    """
    known: dict[str, Volume] = dict(volumes)
    account = []
    for one in passes:
        if isinstance(one, Blend):
            known.update(zip(one.writes, one.blended(known), strict=True))
            account.append(one.account)
            continue
        if isinstance(one, Draw):
            written, said = _drawn(one, networks[one.network], known, device, progress)
        elif isinstance(one, Pass):
            written, said = _run_pass(one, networks, known, device, progress, memory_bytes)
        else:
            raise TypeError(f"{type(one).__name__} is no step that can be run")
        known.update(written)
        account.append(said)
    return Prediction({name: volume for name, volume in known.items() if name not in volumes}, tuple(account))


def _drawn(
    one: Draw, network: nn.Module, known: Mapping[str, Volume], device: torch.device, progress: Progress
) -> tuple[dict[str, Volume], str]:
    """Make images of vectors: in 2D a slice of each, in 3D a volume of the only one."""
    vectors = np.concatenate([known[name] for name in one.reads], axis=1)
    network.to(device).eval()
    made = []
    for first in range(0, len(vectors), _DRAWN_TOGETHER):
        with torch.no_grad():
            made.append(network(torch.from_numpy(vectors[first : first + _DRAWN_TOGETHER]).to(device)).float().cpu())
        progress(min(first + _DRAWN_TOGETHER, len(vectors)), len(vectors))
    images = torch.cat(made).numpy()
    if one.dimensions == 3 and len(images) > 1:
        raise ValueError(f"{len(images)} volumes cannot be one: draw them one by one")
    channels = np.moveaxis(images, 1, 0) if one.dimensions == 2 else images[0]
    written = {name: np.ascontiguousarray(channels[place]) for place, name in enumerate(one.writes)}
    return written, f"{one.network}: {len(vectors)} drawn on {device}"


def _answering(one: Pass, networks: Mapping[str, nn.Module], device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the function from windows to answers: the network, or the search with it."""
    network = networks[one.network].to(device).eval()
    if isinstance(one, Search):
        return partial(_searched, one, network, networks[one.judge].to(device).eval())

    def answered(windows: Tensor) -> Tensor:
        with torch.no_grad():
            answers: Tensor = network(windows).float()
        return answers

    return answered


def _searched(one: Search, generator: nn.Module, judge: nn.Module, windows: Tensor) -> Tensor:
    """Search for windows that are the same, such as those of air, but once."""
    different, places = windows.unique(dim=0, return_inverse=True)
    return search(one, generator, judge, different)[places]


def _run_pass(
    one: Pass,
    networks: Mapping[str, nn.Module],
    volumes: Mapping[str, Volume],
    device: torch.device,
    progress: Progress,
    memory_bytes: float | None,
) -> tuple[dict[str, Volume], str]:
    seen = {name: np.moveaxis(np.flip(volumes[name], one.mirrored), one.axis, 0) for name in one.reads}
    shape = seen[one.reads[0]].shape
    per_voxel = _footprint(one, networks)
    tries = [(device, share) for share in (_SHARE, _SHARE / 4, _SHARE / 16)]
    tries += [(torch.device("cpu"), share) for share in (_SHARE, _SHARE / 8)] if device.type != "cpu" else []
    reasons = []
    for where, share in tries:
        try:
            memory = (memory_bytes or _free_bytes(where)) * share
            planned = plan(one, shape, per_voxel, memory)
            answers = _run_plan(planned, one, _answering(one, networks, where), seen, where, progress)
        except (RuntimeError, MemoryError) as error:
            if not _is_short_of_memory(error):
                raise
            reasons.append(str(error).splitlines()[0])
            continue
        mirrored = f", mirrored along {' and '.join(map(str, one.mirrored))}" if one.mirrored else ""
        said = (
            f"{one.network}: {len(planned.starts)} windows of {'×'.join(map(str, planned.size))} on {where}{mirrored}"
        )
        written = {
            name: np.ascontiguousarray(np.flip(np.moveaxis(volume, 0, one.axis), one.mirrored))
            for name, volume in answers.items()
        }
        return written, said + (f", after: {reasons[0]}" if reasons else "")
    raise MemoryShortError(f"{one.network} does not fit the memory in windows of any size: {reasons[0]}")


def _footprint(one: Pass, networks: Mapping[str, nn.Module]) -> float:
    if isinstance(one, Search):
        return search_footprint(networks[one.network], networks[one.judge], one)
    return footprint(networks[one.network], one)


def _is_short_of_memory(error: Exception) -> bool:
    """Know all the ways in which torch says it: its CPU allocator, cuDNN and cuBLAS raise a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        sign in str(error) for sign in ("DefaultCPUAllocator", "ALLOC_FAILED")
    )


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        # What torch keeps for later is not free for others, but is for us.
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def _run_plan(
    planned: Plan,
    one: Pass,
    answer_to: Callable[[Tensor], Tensor],
    volumes: Mapping[str, Volume],
    device: torch.device,
    progress: Progress,
) -> dict[str, Volume]:
    shape = volumes[one.reads[0]].shape
    margins = [one.margin if axis or one.dimensions == 3 else 0 for axis in range(3)]
    padding = [
        (margin, whole - length + margin) for whole, length, margin in zip(planned.padded, shape, margins, strict=True)
    ]
    # What lies beyond the image is dark, as where a patch of training reached beyond it.
    padded = [np.pad(volumes[name], padding, constant_values=-1) for name in one.reads]
    weights = np.kron(planned.weights(), np.ones(one.times, np.float32))
    written = [length * factor for length, factor in zip(planned.padded, one.times, strict=True)]
    total = np.zeros((len(one.writes), *written), np.float32)
    counted = np.zeros(written, np.float32)
    for first in range(0, len(planned.starts), planned.batch):
        starts = planned.starts[first : first + planned.batch]
        windows = np.stack([_window(padded, one, planned, start, shape[0]) for start in starts])
        answers = answer_to(torch.from_numpy(windows).to(device)).cpu().numpy()
        for start, answer in zip(starts, answers, strict=True):
            place = tuple(
                slice(begin * factor, (begin + length) * factor)
                for begin, length, factor in zip(start, planned.size, one.times, strict=True)
            )
            total[(slice(None), *place)] += answer.reshape(len(one.writes), *weights.shape) * weights
            counted[place] += weights
        progress(min(first + planned.batch, len(planned.starts)), len(planned.starts))
    total /= counted
    inside = tuple(slice(0, length * factor) for length, factor in zip(shape, one.times, strict=True))
    return {name: total[index][inside] for index, name in enumerate(one.writes)}


def _window(padded: Sequence[Volume], one: Pass, planned: Plan, start: Sequence[int], slices: int) -> Volume:
    rows, columns = (
        slice(begin, begin + length + 2 * one.margin) for begin, length in zip(start[1:], planned.size[1:], strict=True)
    )
    if one.dimensions == 3:
        last = start[0] + planned.size[0] + 2 * one.margin
        return np.stack([volume[start[0] : last, rows, columns] for volume in padded])
    shown = [min(max(start[0] + offset, 0), slices - 1) for offset in one.offsets]
    return np.stack([volume[index, rows, columns] for volume in padded for index in shown])
