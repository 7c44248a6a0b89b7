"""Feature networks that nothing trains, from a local file or drawn from a seed; nothing is ever downloaded."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from MedGANLogic.catalogue import resource
from MedGANLogic.errors import MedGANError
from MedGANLogic.parts.features.small import SmallFeatures
from MedGANLogic.parts.features.vgg19 import VGG19Features
from MedGANLogic.parts.network import Network

#: The last convolution of VGG19, by which a file of its weights is known, and the first of our own networks.
_LAST_OF_VGG19 = "features.34.weight"
_FIRST = "features.0.weight"


class FeaturesError(MedGANError):
    """A file of weights that no feature network can use."""


class FrozenFeatures(nn.Module):
    """Features of an image by a network that stays as it is: gradients reach the image, never the weights.

    The network reads ``at_once`` channels; of an image that has several times as many, each such group is described by
    itself, and its features stand side by side. ``sha256`` is that of the file of weights: what a card says of where
    they came from. ``departures`` says what is other than in the papers, which compare features of VGG19.
    """

    def __init__(self, network: Network, at_once: int, sha256: str, *departures: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.at_once = at_once
        self.sha256 = sha256
        self.departures = departures

    def forward(self, image: Tensor) -> Tensor:
        groups = image.unflatten(1, (-1, self.at_once)).flatten(0, 1)
        features: Tensor = self.network(groups)
        joined: Tensor = features.unflatten(0, (len(image), -1)).flatten(1, 2)
        return joined

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - torch's signature
        """Stay in evaluation mode."""
        return super().train(False)


def frozen_features(path: Path | str | None, dimensions: int, in_channels: int) -> FrozenFeatures:
    """Return the feature network whose weights lie in a file (.safetensors, or .pth without code).

    VGG19 in torchvision's layout where the file holds that, for 2D images of 1 or 3 channels; else a ``SmallFeatures``
    of the numbers that the weights have. Without a file the one that is shipped, of one channel
    (``Resources/Features``). Raises FeaturesError for a file that cannot be read or does not fit.
    """
    found = resource(f"Features/small-{dimensions}d.safetensors") if path is None else Path(path)
    # Building draws weights: a recipe's own draws stay as they are. Weights are read into memory even where the
    # recipe's networks are given none.
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        return _loaded(found, dimensions, in_channels)


def _loaded(path: Path, dimensions: int, in_channels: int) -> FrozenFeatures:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FeaturesError(f"{path} cannot be read: {error.strerror}") from error
    weights = _weights(path, content)
    fitting = _vgg19 if _LAST_OF_VGG19 in weights else _small
    network = fitting(path, weights, dimensions, in_channels)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise FeaturesError(f"{path} does not fit {type(network).__name__} {network.arguments}: {error}") from error
    ours = isinstance(network, SmallFeatures)
    departures = ("features of a small network of our own instead of VGG19's [assumed]",) if ours else ()
    # VGG19 does not say how many: it reads grey as it reads colours.
    at_once = network.arguments.get("in_channels", in_channels)
    return FrozenFeatures(network, at_once, hashlib.sha256(content).hexdigest(), *departures)


def _weights(path: Path, content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a file without running anything in it, less VGG19's classifier."""
    try:
        if path.suffix == ".safetensors":
            stored = safetensors.torch.load(content)
        else:
            stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FeaturesError(f"{path} is no file of weights (.safetensors, or .pth without code): {error}") from error
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise FeaturesError(f"{path} holds something else than weights by name: give a state_dict")
    return {name: value for name, value in stored.items() if not name.startswith("classifier.")}


def _vgg19(path: Path, weights: Mapping[str, Tensor], dimensions: int, in_channels: int) -> Network:
    if dimensions != 2 or in_channels not in (1, 3):
        raise FeaturesError(
            f"{path} is VGG19, for 2D images of 1 or 3 channels; these are {dimensions}D with {in_channels}: "
            "train in 2D, or give no file"
        )
    return VGG19Features(len(weights[_LAST_OF_VGG19]) // 8)


def _small(path: Path, weights: Mapping[str, Tensor], dimensions: int, in_channels: int) -> Network:
    """Return a network as wide and deep as the weights say, of as many channels."""
    first = weights.get(_FIRST, torch.empty(0))
    if first.dim() != 2 + dimensions or not first.numel() or in_channels % first.shape[1]:
        raise FeaturesError(
            f"{path} holds neither VGG19 nor a SmallFeatures for {dimensions}D images of {in_channels} channels: "
            f"{_FIRST} is {list(first.shape)}"
        )
    width, at_once = first.shape[:2]
    # Of every level two convolutions, each with weights and biases.
    return SmallFeatures(dimensions, at_once, width, len(weights) // 4)
