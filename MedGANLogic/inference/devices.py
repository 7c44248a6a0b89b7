"""Where networks can run on this machine, and why not elsewhere."""

import os
from dataclasses import dataclass

import torch

from MedGANLogic.errors import MedGANError


class DeviceError(MedGANError):
    """A device that is not there."""


@dataclass(frozen=True)
class Device:
    """A device by the name that ``choose_device`` takes, and in words."""

    name: str
    text: str


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


def devices() -> tuple[Device, ...]:
    """Return the devices of this machine, the fastest first."""
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(Device(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    return (*found, Device("cpu", f"CPU, {os.cpu_count()} cores"))


def why_no_gpu() -> str:
    """Say why torch sees no GPU; nothing where it sees one."""
    if torch.cuda.device_count():
        return ""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA: install a build with CUDA to use an NVIDIA GPU"
    return f"torch {torch.__version__} finds no NVIDIA GPU with a driver for CUDA {torch.version.cuda}"
