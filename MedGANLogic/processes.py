"""Several processes that train one model: each draws its share of every batch, and gradients are averaged.

``torchrun --nproc-per-node N -m MedGANLogic train …`` starts them; alone, everything here does nothing. One machine is
what is tested. Several would need a shared folder for the cohort and the run, and nothing else of ours: torchrun finds
them (``--rdzv-endpoint``), and gloo or NCCL carries the gradients.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from MedGANLogic.errors import MedGANError


class ProcessesError(MedGANError):
    """A batch that cannot be shared, or too few devices."""


def own(device: torch.device) -> torch.device:
    """Return the device of this process: where torchrun started several on one machine, each has a GPU to itself.

    Raises ProcessesError where there are fewer.
    """
    local, together = (int(os.environ.get(name, default)) for name, default in (("LOCAL_RANK", 0), ("WORLD_SIZE", 1)))
    if device.type != "cuda" or together == 1:
        return device
    if local >= torch.cuda.device_count():
        raise ProcessesError(
            f"process {local + 1} of this machine has no GPU: torch sees {torch.cuda.device_count()}; start as many "
            "processes as GPUs, or train with --device cpu"
        )
    return torch.device("cuda", local)


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Meet the other processes that torchrun started, if it did, and part from them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        # NCCL talks over the current device, whatever the tensors are on.
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        # Who parts while another still works takes that one down.
        wait()
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """Return the number of this process; the first, 0, alone writes files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(batch: int) -> range:
    """Return the items of a batch that this process draws. Raises ProcessesError where they cannot be dealt evenly."""
    if batch % count():
        raise ProcessesError(f"a batch of {batch} cannot be dealt evenly to {count()} processes: change one of them")
    each = batch // count()
    return range(number() * each, (number() + 1) * each)


def average_gradients(weights: Sequence[Tensor]) -> None:
    """Replace the gradients of weights by their mean over all processes, in one message."""
    if count() == 1:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if not gradients:
        return
    message = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(message)
    message /= count()
    for gradient, part in zip(gradients, message.split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def jointly(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return a function of the images of all processes, (B, …) in the batch's order: this one's share, no gradient.

    What a network remembers of the images that it was shown is then the same in all processes.
    """
    if count() == 1:
        return function(images)
    mine = images.detach().float().contiguous()
    each = [torch.empty_like(mine) for _ in range(count())]
    distributed.all_gather(each, mine)
    first = number() * len(mine)
    return function(torch.cat(each))[first : first + len(mine)].to(images.dtype)


def wait() -> None:
    """Go on only when every process has come here."""
    if count() > 1:
        distributed.barrier()


def mean(value: Tensor) -> Tensor:
    """Return the mean of a value over all processes, without gradient."""
    if count() == 1:
        return value.detach()
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / count()


def any_says(flag: bool, device: torch.device) -> bool:
    """Return whether any process says so: all take the same way."""
    if count() == 1:
        return flag
    said = torch.tensor(float(flag), device=device)
    distributed.all_reduce(said, distributed.ReduceOp.MAX)
    return bool(said)
