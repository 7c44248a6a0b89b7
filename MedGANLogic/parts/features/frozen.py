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

from MedGANLogic.errors import MedGANError
from MedGANLogic.parts.features.small import SmallFeatures
from MedGANLogic.parts.features.vgg19 import VGG19Features
from MedGANLogic.parts.network import Network

#: The last convolution of VGG19, by which a file of its weights is known.
_LAST_OF_VGG19 = "features.34.weight"
_SEED = 0


class FeaturesError(MedGANError):
    """A file of weights that no feature network can use."""


class FrozenFeatures(nn.Module):
    """Features of an image by a network that stays as it is: gradients reach the image, never the weights.

    ``sha256`` is that of the file, or of the weights where they were drawn: what a card says of where they came from.
    ``departures`` says what is other than in the papers, which compare features of VGG19.
    """

    def __init__(self, network: Network, sha256: str, *departures: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.sha256 = sha256
        self.departures = departures

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.network(image)
        return features

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - torch's signature
        """Stay in evaluation mode."""
        return super().train(False)


def frozen_features(
    path: Path | str | None, dimensions: int, in_channels: int, width: int, levels: int
) -> FrozenFeatures:
    """Return the feature network whose weights lie in a file (.safetensors, or .pth without code).

    VGG19 in torchvision's layout where the file holds that, for 2D images of 1 or 3 channels, whatever ``width`` and
    ``levels``; else a ``SmallFeatures`` of these numbers. Without a file its weights are drawn, always the same: random
    features, which recipes name as a departure. Raises FeaturesError for a file that cannot be read or does not fit.
    """
    # Building draws weights: from one seed, so that they are always the same; the recipe's own draws stay as they are.
    # A hash needs them in memory even where the recipe's networks are given none.
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        torch.manual_seed(_SEED)
        if path is not None:
            return _loaded(Path(path), dimensions, in_channels, width, levels)
        drawn = SmallFeatures(dimensions, in_channels, width, levels)
    sha256 = hashlib.sha256(safetensors.torch.save(drawn.state_dict())).hexdigest()
    return FrozenFeatures(drawn, sha256, "features of a small network with random weights instead of VGG19's [assumed]")


def _loaded(path: Path, dimensions: int, in_channels: int, width: int, levels: int) -> FrozenFeatures:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FeaturesError(f"{path} cannot be read: {error.strerror}") from error
    weights = _weights(path, content)
    network = (
        _vgg19(path, weights, dimensions, in_channels)
        if _LAST_OF_VGG19 in weights
        else SmallFeatures(dimensions, in_channels, width, levels)
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise FeaturesError(f"{path} does not fit {type(network).__name__} {network.arguments}: {error}") from error
    ours = isinstance(network, SmallFeatures)
    departures = ("features of a small network of our own instead of VGG19's [assumed]",) if ours else ()
    return FrozenFeatures(network, hashlib.sha256(content).hexdigest(), *departures)


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
