"""Toy bundles of every task: they have learnt nothing, and declare everything that a model may declare.

A model of another task must work, and show up in every front end, by what its card says. These cards say it.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from MedGANLogic.bundle import NETWORKS, rounded, save
from MedGANLogic.catalogue import Card, NetworkCard
from MedGANLogic.chance import Chance, Codes, Condition, Normal
from MedGANLogic.domain import CT, MR, PET, PHOTOGRAPH, Domain, Label, Labels
from MedGANLogic.passes import Chosen, Draw, Pass, Step

TISSUES = Labels((Label(1, "fat", (230, 220, 70), "55603005"), Label(7, "bone", (241, 214, 145), "272673000")))
SEGMENTATION = Domain("SEG", "label", TISSUES, 0.0)
SAID = Condition(("head", "thigh"), {"age": (20.0, 90.0)})


def _card(
    name: str,
    task: str,
    inputs: dict[str, Domain],
    targets: dict[str, Domain],
    passes: tuple[Step, ...] = (),
    networks: dict[str, NetworkCard] | None = None,
    chance: dict[str, Chance] | None = None,
    **further,
) -> Card:
    reads = tuple(name for role, domain in inputs.items() for name in domain.window.input_volumes(role))
    reads = reads or tuple(chance)
    writes = tuple(volume for role, domain in targets.items() for volume in domain.window.volumes(role))
    return Card(
        name=name,
        title=f"A toy for {task}",
        task=task,
        inputs=inputs,
        targets=targets,
        spacing_mm=None,
        plane="axial",
        networks=networks or {"generator": _unet(len(reads), len(writes))},
        passes=passes or (_pass(reads, writes),),
        validity={"anatomy": ["thigh"]},
        training={"system": "none", "subjects": {"train": 0}},
        departures=(),
        measured={},
        licence="Apache-2.0",
        chance=chance or {},
        **further,
    )


def _pass(reads: tuple[str, ...], writes: tuple[str, ...], network: str = "generator", **cut: int) -> Pass:
    return Pass(network, reads, writes, dimensions=2, neighbours=0, multiple=4, **cut)


def _unet(inputs: int, outputs: int) -> NetworkCard:
    return _network("PlainUNet", in_channels=inputs, out_channels=outputs, width=4, levels=2)


def _network(kind: str, **arguments: int) -> NetworkCard:
    return NetworkCard(kind, {"dimensions": 2, **arguments})


def _blended() -> Card:
    chosen = Chosen(("soft", "hard"), ("ct",), at=0.0)
    passes = (_pass(("mr",), ("soft",), "first"), _pass(("mr",), ("hard",), "second"), chosen)
    networks = {"first": _unet(1, 1), "second": _unet(1, 1)}
    return _card("toy-blend", "blended-ct", {"mr": MR}, {"ct": CT}, passes, networks)


def _drawn() -> Card:
    chance = {"noise": Normal((5,)), "said": SAID, "codes": Codes((1,))}
    networks = {"generator": _network("DCGANGenerator", latent=9, out_channels=1, width=2, size=16)}
    passes = (Draw("generator", tuple(chance), ("ct",), dimensions=2),)
    return _card("toy-draw", "draw", {}, {"ct": CT}, passes, networks, chance)


def _magnifying() -> Card:
    network = _network("SubpixelResNet", in_channels=1, out_channels=1, width=4, blocks=1, doublings=1)
    passes = (_pass(("mr",), ("fine",), finer=2),)
    return _card("toy-magnify", "magnify", {"mr": MR}, {"fine": MR}, passes, {"generator": network}, finer=(2, 2, 1))


def _valid() -> Card:
    network = _network("ValidCNN", in_channels=1, out_channels=1, width=4)
    passes = (_pass(("mr",), ("ct",), margin=8),)
    return _card("toy-margin", "context-ct", {"mr": MR}, {"ct": CT}, passes, {"generator": network})


#: A card for every task, by its name.
CARDS: dict[str, Callable[[], Card]] = {
    "translate": lambda: _card("toy-translate", "mr-to-ct", {"mr": MR}, {"ct": CT}),
    "two-inputs": lambda: _card("toy-two-inputs", "mr-to-pet", {"mr": MR, "ct": CT}, {"pet": PET}),
    "guided": lambda: _card("toy-guided", "guided-pet", {"ct": CT, "tumour": SEGMENTATION}, {"pet": PET}),
    "two-targets": lambda: _card("toy-two-targets", "mr-to-all", {"mr": MR}, {"ct": CT, "tissues": SEGMENTATION}),
    "denoise": lambda: _card("toy-denoise", "denoise-ct", {"ct": CT}, {"clean": CT}, strength=0.75),
    "finer": lambda: _card("toy-finer", "super-resolution", {"mr": MR}, {"fine": MR}, finer=(1, 2, 3)),
    "magnify": _magnifying,
    "margin": _valid,
    "blend": _blended,
    "segment": lambda: _card("toy-segment", "segmentation", {"mr": MR}, {"tissues": SEGMENTATION}),
    "sample": lambda: _card("toy-sample", "sample", {}, {"ct": CT}, chance={"noise": Normal((6, 16, 12))}),
    "draw": _drawn,
}
#: Those that have no input.
SAMPLERS = ("sample", "draw")


def photographed(task: str, target: Domain) -> Card:
    """Return the card of a model that makes something of a colour photograph."""
    return _card(f"toy-{task}", task, {"eye": PHOTOGRAPH}, {"result": target})


def save_toy(task: str, folder: Path) -> Path:
    """Save a task's toy bundle as ``folder/NAME`` and return that folder."""
    return save_card(CARDS[task](), folder)


def save_card(card: Card, folder: Path) -> Path:
    """Save the toy bundle of a card as ``folder/NAME`` and return that folder."""
    networks = {name: _random(network, seed) for seed, (name, network) in enumerate(card.networks.items())}
    return save(card, networks, "# A toy\n", folder / card.name).folder


def _random(card: NetworkCard, seed: int) -> torch.nn.Module:
    """Return a network whose answers differ from place to place and fill the window."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = NETWORKS[card.kind](**card.arguments)
        for weight in network.parameters():
            if weight.dim() > 1:
                torch.nn.init.kaiming_normal_(weight)
    return rounded(network.eval())
