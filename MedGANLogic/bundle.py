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
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
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
from MedGANLogic.parts.generators.plain_unet import PlainUNet
from MedGANLogic.parts.generators.strided_unet import StridedUNet
from MedGANLogic.parts.network import Network
from MedGANLogic.passes import Pass

WEIGHTS = Path("models", "weights.safetensors")

#: The networks that a bundle may name, by exact class. Their arguments are checked by building on no memory at all.
NETWORKS: Mapping[str, type[Network]] = {network.__name__: network for network in (PlainUNet, StridedUNet)}

_LARGEST_WEIGHTS = 1 << 32
_LARGEST_FILE_COUNT = 64


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its model's card and the networks with their weights, in evaluation mode on the CPU."""

    model: Model
    networks: Mapping[str, nn.Module]

    @property
    def card(self) -> Card:
        """What the bundle says of itself."""
        return self.model.card


def rounded(network: nn.Module) -> nn.Module:
    """Round a network's weights in place to what is stored (float16), so that what is measured is what is saved."""
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(_stored(value))
    return network


def describe(networks: Mapping[str, nn.Module], passes: tuple[Pass, ...]) -> dict[str, NetworkCard]:
    """Return the cards of the networks that passes use. Raises BundleError for a class that no bundle may hold."""
    cards = {}
    for name in dict.fromkeys(one.network for one in passes):
        network = networks[name]
        if type(network) is not NETWORKS.get(type(network).__name__) or not isinstance(network, Network):
            raise BundleError(f"{type(network).__name__} is not among the networks of a bundle: {', '.join(NETWORKS)}")
        cards[name] = NetworkCard(type(network).__name__, network.arguments)
    return cards


def save(card: Card, networks: Mapping[str, nn.Module], readme: str, folder: Path) -> Model:
    """Write a bundle and return it as found again; the folder appears, or is replaced, only when it is whole.

    Weights are stored in float16: round them first (``rounded``), or saved and opened will differ.
    """
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "configs").mkdir(parents=True)
        (partial / "models").mkdir()
        _write_json(partial / CARD, card.to_json())
        _write_json(partial / "configs" / "metadata.json", _metadata(card))
        _write_json(partial / "configs" / "inference.json", _monai_run())
        weights = {
            f"{name}.{key}": _stored(value).contiguous()
            for name in card.networks
            for key, value in networks[name].state_dict().items()
        }
        save_file(weights, partial / WEIGHTS)
        (partial / "README.md").write_text(readme, encoding="utf-8")
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        _write_json(partial / MANIFEST, {path.relative_to(partial).as_posix(): sha256(path) for path in files})
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read(folder)


def verify(folder: Path) -> Model:
    """Check a whole bundle without building anything.

    Raises BundleError, with a sentence, for: a file that the manifest does not name or that differs from it, links,
    paths that lead outside, ``$`` in any JSON, pickles, unknown classes or arguments, weights that do not fit them.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{folder} is no folder or a link")
    _verify_files(folder)
    for config in folder.glob("**/*.json"):
        read_json(config)
    model = read(folder)
    _verify_weights(model)
    return model


def open_bundle(model: Model) -> Bundle:
    """Verify a bundle and load its networks. Raises BundleError for anything that ``verify`` refuses."""
    verify(model.folder)
    stored = load_file(model.folder / WEIGHTS)
    networks = {}
    for name, card in model.card.networks.items():
        network = NETWORKS[card.kind](**card.arguments)
        state = {key: stored[f"{name}.{key}"].to(value.dtype) for key, value in network.state_dict().items()}
        network.load_state_dict(state)
        networks[name] = network.eval()
    return Bundle(model, networks)


def _stored(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.float16) if value.is_floating_point() else value


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _verify_files(folder: Path) -> None:
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or len(manifest) > _LARGEST_FILE_COUNT:
        raise BundleError(f"{MANIFEST} must be a table of at most {_LARGEST_FILE_COUNT} files")
    found = {MANIFEST}
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise BundleError(f"{path} is a link: a bundle holds files only")
        if path.is_file():
            found.add(path.relative_to(folder).as_posix())
    if unknown := found - set(manifest) - {MANIFEST}:
        raise BundleError(f"{', '.join(sorted(unknown))}: not in {MANIFEST}")
    for name, expected in manifest.items():
        # Only names that were found inside the folder are read, so that no ".." or absolute path leads outside.
        if name not in found:
            raise BundleError(f"{name} stands in {MANIFEST} but is not in the bundle")
        if Path(name).suffix not in (".json", ".safetensors", ".md", ".txt"):
            raise BundleError(f"{name}: a bundle holds no {Path(name).suffix or 'such'} files")
        if sha256(folder / name) != expected:
            raise BundleError(f"{name} differs from {MANIFEST}: the bundle is damaged or was changed")


def _verify_weights(model: Model) -> None:
    header = _weights_header(model.folder / WEIGHTS)
    expected: dict[str, list[int]] = {}
    for name, card in model.card.networks.items():
        if card.kind not in NETWORKS:
            raise BundleError(f"network class {card.kind!r} is not allowed: there are {', '.join(NETWORKS)}")
        try:
            # On no memory at all: a card that asks for a terabyte costs nothing.
            with torch.device("meta"):
                network = NETWORKS[card.kind](**card.arguments)
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
            raise BundleError(f"{card.kind} cannot be built from {dict(card.arguments)}: {error}") from error
        expected |= {f"{name}.{key}": list(value.shape) for key, value in network.state_dict().items()}
    shapes = {name: entry.get("shape") for name, entry in header.items()}
    if shapes != expected:
        odd = sorted(set(shapes) ^ set(expected)) or sorted(n for n in shapes if shapes[n] != expected[n])
        raise BundleError(f"{WEIGHTS} does not fit the card's networks: {', '.join(odd[:3])}")
    for one in model.card.passes:
        arguments = model.card.networks[one.network].arguments
        if (arguments.get("dimensions"), arguments.get("in_channels"), arguments.get("out_channels")) != (
            one.dimensions,
            one.channels,
            len(one.writes),
        ):
            raise BundleError(f"the pass by {one.network} does not fit its network's channels and dimensions")


def _weights_header(path: Path) -> dict[str, Any]:
    """Read what a safetensors file says it holds: eight bytes of length, then JSON. Nothing else is touched."""
    if not path.is_file() or path.stat().st_size > _LARGEST_WEIGHTS:
        raise BundleError(f"{WEIGHTS} is missing or larger than {_LARGEST_WEIGHTS} bytes")
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 1 << 20:
                raise BundleError(f"{WEIGHTS} has a header of {length} bytes: it is no file of ours")
            header = json.loads(stream.read(length))
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{WEIGHTS} is no safetensors file: {error}") from error
    header.pop("__metadata__", None)
    return dict(header)


def _metadata(card: Card) -> dict[str, Any]:
    return {
        "version": __version__,
        "changelog": {__version__: "first release"},
        "monai_version": "1.6.1",
        "pytorch_version": torch.__version__.split("+")[0],
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
    """Return a MONAI configuration without ``$``: one target, our own ``translate`` on files."""
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
