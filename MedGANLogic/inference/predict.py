"""Passes over prepared volumes: everything is float32 in the network's range, slice axis first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import nn

from MedGANLogic.inference.plan import MemoryShortError, Plan, footprint, plan
from MedGANLogic.passes import Pass

Volume = NDArray[np.float32]

#: Called with windows done and windows in all; may raise, and nothing has been written then.
Progress = Callable[[int, int], None]

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
    passes: Sequence[Pass],
    networks: Mapping[str, nn.Module],
    volumes: Mapping[str, Volume],
    device: torch.device,
    progress: Progress = silent,
    memory_bytes: float | None = None,
) -> Prediction:
    """Run passes one after the other; ``volumes`` are (S, H, W) by name, all of one shape.

    Networks are put into evaluation mode on ``device`` and left there. When the memory runs out in spite of the plan,
    smaller windows are tried, then the CPU; the account says so. Raises MemoryShortError when nothing helps.
    """
    known = dict(volumes)
    account = []
    for one in passes:
        written, said = _run_pass(one, networks[one.network], known, device, progress, memory_bytes)
        known.update(written)
        account.append(said)
    return Prediction({name: volume for name, volume in known.items() if name not in volumes}, tuple(account))


def _run_pass(
    one: Pass,
    network: nn.Module,
    volumes: Mapping[str, Volume],
    device: torch.device,
    progress: Progress,
    memory_bytes: float | None,
) -> tuple[dict[str, Volume], str]:
    shape = volumes[one.reads[0]].shape
    per_voxel = footprint(network, one)
    tries = [(device, share) for share in (_SHARE, _SHARE / 4, _SHARE / 16)]
    tries += [(torch.device("cpu"), share) for share in (_SHARE, _SHARE / 8)] if device.type != "cpu" else []
    reasons = []
    for where, share in tries:
        try:
            memory = (memory_bytes or _free_bytes(where)) * share
            planned = plan(one, shape, per_voxel, memory)
            volumes_written = _run_plan(planned, one, network.to(where).eval(), volumes, where, progress)
        except (RuntimeError, MemoryError) as error:
            if not _is_short_of_memory(error):
                raise
            reasons.append(str(error).splitlines()[0])
            continue
        said = f"{one.network}: {len(planned.starts)} windows of {'×'.join(map(str, planned.size))} on {where}"
        return volumes_written, said + (f", after: {reasons[0]}" if reasons else "")
    raise MemoryShortError(f"{one.network} does not fit the memory in windows of any size: {reasons[0]}")


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
    network: nn.Module,
    volumes: Mapping[str, Volume],
    device: torch.device,
    progress: Progress,
) -> dict[str, Volume]:
    shape = volumes[one.reads[0]].shape
    padding = [(0, whole - length) for whole, length in zip(planned.padded, shape, strict=True)]
    # What lies beyond the image is dark, as where a patch of training reached beyond it.
    padded = [np.pad(volumes[name], padding, constant_values=-1) for name in one.reads]
    weights = planned.weights()
    total = np.zeros((len(one.writes), *planned.padded), np.float32)
    counted = np.zeros(planned.padded, np.float32)
    for first in range(0, len(planned.starts), planned.batch):
        starts = planned.starts[first : first + planned.batch]
        windows = np.stack([_window(padded, one, planned, start, shape[0]) for start in starts])
        with torch.no_grad():
            answers = network(torch.from_numpy(windows).to(device)).float().cpu().numpy()
        for start, answer in zip(starts, answers, strict=True):
            place = tuple(slice(begin, begin + length) for begin, length in zip(start, planned.size, strict=True))
            total[(slice(None), *place)] += answer.reshape(len(one.writes), *planned.size) * weights
            counted[place] += weights
        progress(min(first + planned.batch, len(planned.starts)), len(planned.starts))
    total /= counted
    inside = tuple(slice(0, length) for length in shape)
    return {name: np.ascontiguousarray(total[index][inside]) for index, name in enumerate(one.writes)}


def _window(padded: Sequence[Volume], one: Pass, planned: Plan, start: Sequence[int], slices: int) -> Volume:
    rows, columns = (slice(begin, begin + length) for begin, length in zip(start[1:], planned.size[1:], strict=True))
    if one.dimensions == 3:
        return np.stack([volume[start[0] : start[0] + planned.size[0], rows, columns] for volume in padded])
    shown = [min(max(start[0] + offset, 0), slices - 1) for offset in one.offsets]
    return np.stack([volume[index, rows, columns] for volume in padded for index in shown])
