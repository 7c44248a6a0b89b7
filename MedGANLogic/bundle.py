"""Bundles: what training leaves and prediction reads. A folder that holds no code, opened without running any.

configs/medgan.json       the card: all that we read
configs/metadata.json     for MONAI's own tools
configs/inference.json    so that ``monai.bundle run`` works
models/weights.safetensors
README.md                 the card for people
manifest.json             SHA-256 of every file above
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from MedGANLogic import __version__
from MedGANLogic.catalogue import (
    CARD,
    MANIFEST,
    RESEARCH_USE,
    BundleError,
    Card,
    Model,
    NetworkCard,
    read,
    read_json,
    sha256,
)
from MedGANLogic.parts.discriminators.dcgan import DCGANDiscriminator
from MedGANLogic.parts.generators.cascaded_unet import CascadedUNet
from MedGANLogic.parts.generators.dcgan import DCGANGenerator
from MedGANLogic.parts.generators.denoising_cnn import PlainCNN, ValidResidualCNN
from MedGANLogic.parts.generators.dual_resolution import DualResolutionCNN
from MedGANLogic.parts.generators.fcn import FCN4s, MultiLevelFCN, ResidualFCN
from MedGANLogic.parts.generators.global_convolution import GlobalConvolutionalNetwork
from MedGANLogic.parts.generators.leaky_resnet import NearestResNet, ResizedResNet, ShuffledResNet, SliceResNet
from MedGANLogic.parts.generators.magnifying_resnet import MagnifyingResNet
from MedGANLogic.parts.generators.multilevel_dense import MultiLevelDenseNet
from MedGANLogic.parts.generators.norm_free_unet import ResidualUNet
from MedGANLogic.parts.generators.plain_unet import DeeplySupervisedUNet, FineUNet, PlainUNet
from MedGANLogic.parts.generators.progressive import ProgressiveGenerator
from MedGANLogic.parts.generators.red_cnn import ResidualEncoderDecoder
from MedGANLogic.parts.generators.residual import ResidualTranslator
from MedGANLogic.parts.generators.segmenting_cnn import DilatedCNN, ValidPatchCNN
from MedGANLogic.parts.generators.segmentor import SummedUNet
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.generators.subpixel_resnet import SubpixelResNet
from MedGANLogic.parts.generators.upsampling import UpsamplingDecoder
from MedGANLogic.parts.generators.valid_cnn import ValidCNN
from MedGANLogic.parts.network import Network
from MedGANLogic.passes import Draw, Pass, Search, Step

WEIGHTS = Path("models", "weights.safetensors")
MONAI_RUN = Path("configs", "inference.json")
MONAI_METADATA = Path("configs", "metadata.json")

#: The networks that a bundle may name, by exact class: all that predict.
NETWORKS: Mapping[str, type[Network]] = {
    network.__name__: network
    for network in (
        CascadedUNet,
        DCGANDiscriminator,
        DCGANGenerator,
        DeeplySupervisedUNet,
        DilatedCNN,
        DualResolutionCNN,
        FCN4s,
        FineUNet,
        GlobalConvolutionalNetwork,
        MultiLevelDenseNet,
        MagnifyingResNet,
        MultiLevelFCN,
        NearestResNet,
        PlainCNN,
        PlainUNet,
        ProgressiveGenerator,
        ResidualEncoderDecoder,
        ResidualFCN,
        ResidualTranslator,
        ResidualUNet,
        ResizedResNet,
        ShuffledResNet,
        SliceResNet,
        SummedUNet,
        StridedUNet,
        SubpixelResNet,
        UpsamplingDecoder,
        ValidCNN,
        ValidPatchCNN,
        ValidResidualCNN,
    )
}

#: What a network's arguments may be, by their name; those that are not listed lie in ``_OTHER_ARGUMENT``.
ARGUMENTS: Mapping[str, range] = {
    "dimensions": range(2, 4),
    "in_channels": range(1, 257),
    "out_channels": range(1, 65),
    "width": range(2, 1025),
    "levels": range(1, 13),
    "doublings": range(1, 5),
    "blocks": range(65),
    "times": range(1, 17),
    "latent": range(1, 4097),
    "size": range(4, 1025),
    "outputs": range(1, 4097),
}
_OTHER_ARGUMENT = range(65)

_SUFFIXES = (".json", ".safetensors", ".md", ".txt", ".png")
_LARGEST_WEIGHTS = 1 << 32
_LARGEST_FILE_COUNT = 64
_FLOATS = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its model's card and the networks with their weights, in evaluation mode on the CPU."""

    model: Model
    networks: Mapping[str, nn.Module]

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the file of weights."""
        return sha256(self.model.folder / WEIGHTS)

    @property
    def card(self) -> Card:
        """What the bundle says of itself."""
        return self.model.card


def rounded(network: nn.Module) -> nn.Module:
    """Round a network's weights in place to what is stored, so that what is measured is what is saved.

    That is float16, and float32 where a tensor would overflow.
    """
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(_stored(value))
    return network


def describe(networks: Mapping[str, nn.Module], passes: tuple[Step, ...]) -> dict[str, NetworkCard]:
    """Return the cards of the networks that passes use. Raises BundleError for those that no bundle may hold."""
    cards = {}
    for name in dict.fromkeys(name for one in passes for name in one.networks):
        network = networks[name]
        if type(network) is not NETWORKS.get(type(network).__name__) or not isinstance(network, Network):
            raise BundleError(f"{type(network).__name__} is not among the networks of a bundle: {', '.join(NETWORKS)}")
        cards[name] = NetworkCard(type(network).__name__, network.arguments)
        _without_memory(cards[name])
    return cards


def save(
    card: Card,
    networks: Mapping[str, nn.Module],
    readme: str,
    folder: Path,
    pictures: Mapping[str, bytes] | None = None,
) -> Model:
    """Write a bundle and return it as found again; the folder appears, or is replaced, only when it is whole.

    ``pictures`` are PNG files by their path in the folder, for the card. Weights are stored as ``rounded`` leaves
    them: without it, saved and opened will differ. Raises BundleError for a card or weights that could not be opened
    again; what was in the folder before is then still there.
    """
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "configs").mkdir(parents=True)
        (partial / "models").mkdir()
        _write_json(partial / CARD, card.to_json())
        _write_json(partial / MONAI_METADATA, _metadata(card))
        _write_json(partial / MONAI_RUN, _monai_run())
        weights = {
            f"{name}.{key}": _stored(value).contiguous()
            for name in card.networks
            for key, value in networks[name].state_dict().items()
        }
        save_file(weights, partial / WEIGHTS)
        # safetensors keeps its files to their owner; a shared installation is read by others.
        (partial / WEIGHTS).chmod(0o644)
        (partial / "README.md").write_text(readme, encoding="utf-8")
        for name, content in (pictures or {}).items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        _write_json(partial / MANIFEST, {path.relative_to(partial).as_posix(): sha256(path) for path in files})
        _verify_files(partial)
        _weights(Card.from_json(read_json(partial / CARD)), partial)
        _replace(folder, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read(folder)


def verify(folder: Path) -> Model:
    """Check a whole bundle without giving any network memory.

    Raises BundleError, with a sentence, for: a file that the manifest does not name or that differs from it, links,
    paths that lead outside, pickles, anything in a JSON that MONAI would run, unknown classes or arguments, weights
    that do not fit them or are not finite.
    """
    return _verified(folder)[0]


def open_bundle(model: Model) -> Bundle:
    """Verify a bundle and load its networks. Raises BundleError for anything that ``verify`` refuses."""
    model, weights = _verified(model.folder)
    networks = {}
    for name, card in model.card.networks.items():
        network = NETWORKS[card.kind](**card.arguments)
        network.load_state_dict({key: weights[f"{name}.{key}"] for key in network.state_dict()})
        networks[name] = network.eval()
    return Bundle(model, networks)


def _stored(value: torch.Tensor) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    # A running variance may lie beyond 65504, where float16 ends.
    return half if bool(half.isfinite().all()) else value


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _replace(folder: Path, partial: Path) -> None:
    """Put a whole folder in the place of another, which goes only when the new one stands."""
    former = folder.with_name(f".{folder.name}.former-{os.getpid()}")
    if folder.exists():
        folder.rename(former)
    try:
        partial.rename(folder)
    except OSError:
        if former.exists():
            former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _verified(folder: Path) -> tuple[Model, dict[str, torch.Tensor]]:
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{folder} is no folder or a link")
    _verify_files(folder)
    model = read(folder)
    return model, _weights(model.card, folder)


def _verify_files(folder: Path) -> None:
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or len(manifest) > _LARGEST_FILE_COUNT:
        raise BundleError(f"{MANIFEST} must be a table of at most {_LARGEST_FILE_COUNT} files")
    found = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(f"{path} is a link or a device: a bundle holds files only")
        if path.is_file() and path != folder / MANIFEST:
            found.add(path.relative_to(folder).as_posix())
    if unknown := found - set(manifest):
        raise BundleError(f"{', '.join(sorted(unknown))}: not in {MANIFEST}")
    for name, expected in manifest.items():
        # Only names that were found inside the folder are read, so that no ".." or absolute path leads outside.
        if name not in found:
            raise BundleError(f"{name} stands in {MANIFEST} but is not in the bundle")
        if Path(name).suffix not in _SUFFIXES:
            raise BundleError(f"{name}: a bundle holds no {Path(name).suffix or 'such'} files")
        if sha256(folder / name) != expected:
            raise BundleError(f"{name} differs from {MANIFEST}: the bundle is damaged or was changed")
        if Path(name).suffix == ".json":
            _refuse_targets(Path(name), read_json(folder / name))


def _refuse_targets(name: Path, data: Any) -> None:
    """Refuse what MONAI would call (``_target_``) or read in (``%``), but for the one configuration that we write."""
    if name == MONAI_RUN:
        if data != _monai_run():
            raise BundleError(f"{name.as_posix()} is not the one that MedGAN writes: MONAI would run what it names")
    elif any(sign in json.dumps(data) for sign in ('"_target_"', '"%')):
        raise BundleError(f"{name.as_posix()} holds a '_target_' or '%', which MONAI would run or read in")


def _weights(card: Card, folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of all networks of a card, by network and name. Raises BundleError where they do not fit."""
    networks = {name: _without_memory(network) for name, network in card.networks.items()}
    # What looks from several sides asks the same of its network from each.
    for one in {_asked(one): one for one in card.passes}.values():
        _refuse_misfit(one, card, networks)
    expected = {f"{name}.{key}": value for name, of in networks.items() for key, value in of.state_dict().items()}
    path = folder / WEIGHTS
    if not path.is_file() or path.stat().st_size > _LARGEST_WEIGHTS:
        raise BundleError(f"{WEIGHTS.as_posix()} is missing or larger than {_LARGEST_WEIGHTS} bytes")
    try:
        with safe_open(path, framework="pt") as stored:
            if odd := sorted(set(stored.keys()) ^ set(expected)):
                raise BundleError(f"{WEIGHTS.as_posix()} does not fit the card's networks: {', '.join(odd[:3])}")
            return {name: _weight(name, stored.get_tensor(name), value) for name, value in expected.items()}
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{WEIGHTS.as_posix()} is no safetensors file: {error}") from error


def _without_memory(card: NetworkCard) -> Network:
    """Build a network on no memory at all: a card that asks for a terabyte costs nothing."""
    if card.kind not in NETWORKS:
        raise BundleError(f"network class {card.kind!r} is not allowed: there are {', '.join(NETWORKS)}")
    for name, value in card.arguments.items():
        allowed = ARGUMENTS.get(name, _OTHER_ARGUMENT)
        if value not in allowed:
            raise BundleError(f"{card.kind}: {name} is {value}, allowed is {allowed[0]} to {allowed[-1]}")
    try:
        with torch.device("meta"):
            return NETWORKS[card.kind](**card.arguments).eval()
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise BundleError(f"{card.kind} cannot be built from {dict(card.arguments)}: {error}") from error


def _asked(one: Step) -> Step:
    """Return a step as it would be under other names, along the first axis and not mirrored."""
    return replace(one, writes=("",) * len(one.writes), axis=0, mirrored=()) if type(one) is Pass else one


def _refuse_misfit(one: Step, card: Card, networks: Mapping[str, Network]) -> None:
    """Refuse a step whose smallest window does not go through its network, tried on no memory at all."""
    shown: tuple[int, ...]
    expected: tuple[int, ...]
    if isinstance(one, Search):
        shown, expected = (1, one.latent), (1, 1, *(one.multiple,) * one.dimensions)
    elif isinstance(one, Pass):
        shown = (1, one.channels, *(one.multiple + 2 * one.margin,) * one.dimensions)
        expected = (1, len(one.writes), *(one.multiple * factor for factor in one.times[-one.dimensions :]))
    elif isinstance(one, Draw):
        shown = (1, sum(len(card.chance[name].draw(np.random.default_rng(0))) for name in one.reads))
        expected = (1, len(one.writes))
    else:
        return
    name = one.networks[0]
    try:
        answer = networks[name](torch.empty(shown, device="meta"))
    except (RuntimeError, ValueError, IndexError) as error:
        raise BundleError(f"the pass by {name} does not fit its network: {error}") from error
    # How large an image a vector gives is the network's to say.
    if answer.shape[: len(expected)] != expected or answer.dim() != 2 + one.dimensions:
        raise BundleError(f"the pass by {name} does not fit its network: it writes {tuple(answer.shape)}")
    if isinstance(one, Search):
        _refuse_judge(networks[one.judge], answer)


def _refuse_judge(judge: Network, image: torch.Tensor) -> None:
    try:
        judge.features(image)  # type: ignore[operator]  # whether it has any is what is asked
    except (AttributeError, TypeError, RuntimeError, ValueError, IndexError) as error:
        raise BundleError(f"{type(judge).__name__} cannot judge what is searched for: {error}") from error


def _weight(name: str, stored: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return a stored tensor in the type that the network expects. Raises BundleError where it does not fit."""
    allowed = _FLOATS if expected.is_floating_point() else (expected.dtype,)
    if stored.shape != expected.shape or stored.dtype not in allowed:
        raise BundleError(
            f"{name} is {stored.dtype} {list(stored.shape)}: its network expects "
            f"{' or '.join(map(str, allowed))} {list(expected.shape)}"
        )
    if not torch.isfinite(stored).all():
        raise BundleError(f"{name} holds NaN or infinite numbers")
    return stored.to(expected.dtype)


def _metadata(card: Card) -> dict[str, Any]:
    return {
        "version": __version__,
        "changelog": {__version__: "first release"},
        "monai_version": "1.6.1",
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"medgan": __version__},
        "task": card.task,
        "description": f"{card.title}. {RESEARCH_USE}",
        "copyright": card.licence,
        "network_data_format": {
            "inputs": {role: {"type": "image", "modality": d.modality} for role, d in card.inputs.items()},
            "outputs": {role: {"type": "image", "modality": d.modality} for role, d in card.targets.items()},
        },
    }


def _monai_run() -> dict[str, Any]:
    """Return a MONAI configuration without ``$``: one target, our own ``translate`` on files.

    A bundle that holds another one is refused, so it stays as it is for as long as the card's format.
    """
    return {
        "bundle_root": ".",
        "input": "",
        "output": "",
        "run": {
            "_target_": "MedGANLogic.inference.translate.translate_file",
            "bundle": "@bundle_root",
            "input_path": "@input",
            "output_path": "@output",
        },
    }
