"""Toy bundles of every task: they have learnt nothing, and declare everything that a model may declare.

A model of another task must work, and show up in every front end, by what its card says. These cards say it.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from MedGANLogic.bundle import describe, rounded, save
from MedGANLogic.catalogue import Card
from MedGANLogic.chance import Normal
from MedGANLogic.domain import CT, MR, PET, Domain, Label, Labels
from MedGANLogic.parts.generators.plain_unet import PlainUNet
from MedGANLogic.passes import Pass

TISSUES = Labels((Label(1, "fat", (230, 220, 70), "55603005"), Label(7, "bone", (241, 214, 145), "272673000")))
SEGMENTATION = Domain("SEG", "label", TISSUES, 0.0)


def _card(name: str, task: str, inputs: dict[str, Domain], targets: dict[str, Domain], **further) -> Card:
    reads = tuple(inputs or further["chance"])
    writes = tuple(volume for role, domain in targets.items() for volume in domain.window.volumes(role))
    passes = (Pass("generator", reads, writes, dimensions=2, neighbours=0, multiple=4),)
    return Card(
        name=name,
        title=f"A toy for {task}",
        task=task,
        inputs=inputs,
        targets=targets,
        spacing_mm=None,
        plane="axial",
        networks=describe({"generator": _network(passes[0])}, passes),
        passes=passes,
        validity={"anatomy": ["thigh"]},
        training={"system": "none", "subjects": {"train": 0}},
        departures=(),
        measured={},
        licence="Apache-2.0",
        **further,
    )


def _network(one: Pass) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(len(one.reads) + 8 * len(one.writes))
        network = PlainUNet(2, one.channels, len(one.writes), width=4, levels=2)
        torch.nn.init.normal_(network.output.weight, std=0.5)
    return rounded(network.eval())


#: A card for every task, by its name.
CARDS: dict[str, Callable[[], Card]] = {
    "translate": lambda: _card("toy-translate", "mr-to-ct", {"mr": MR}, {"ct": CT}),
    "two-inputs": lambda: _card("toy-two-inputs", "mr-to-pet", {"mr": MR, "ct": CT}, {"pet": PET}),
    "denoise": lambda: _card("toy-denoise", "denoise-ct", {"ct": CT}, {"clean": CT}, strength=0.75),
    "finer": lambda: _card("toy-finer", "super-resolution", {"mr": MR}, {"fine": MR}, finer=(1, 2, 3)),
    "segment": lambda: _card("toy-segment", "segmentation", {"mr": MR}, {"tissues": SEGMENTATION}),
    "sample": lambda: _card("toy-sample", "sample", {}, {"ct": CT}, chance={"noise": Normal((6, 16, 12))}),
}


def save_toy(task: str, folder: Path) -> Path:
    """Save a task's toy bundle as ``folder/NAME`` and return that folder."""
    card = CARDS[task]()
    return save(card, {"generator": _network(card.passes[0])}, "# A toy\n", folder / card.name).folder
