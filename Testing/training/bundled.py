"""A recipe's networks as a bundle that was saved and opened: for what a model does when it is used."""

from MedGANLogic.bundle import describe, open_bundle, rounded, save
from MedGANLogic.catalogue import Card


def bundled(recipe, networks, study, folder):
    """Return a bundle of networks, opened, for a recipe's passes."""
    used = {name: rounded(networks[name].eval()) for one in recipe.passes for name in one.networks}
    card = Card(
        name="toy",
        title=recipe.title,
        task=study.task,
        inputs=study.inputs,
        targets=study.targets,
        spacing_mm=None,
        plane=study.plane,
        networks=describe(used, recipe.passes),
        passes=recipe.passes,
        validity={},
        training={"recipe": recipe.title, "source": recipe.source, "study": study.to_json()},
        departures=recipe.departures,
        measured={},
        licence="CC0",
        finer=study.finer_axes,
        strength=study.strength,
        chance=recipe.chance,
    )
    return open_bundle(save(card, used, "# Toy\n", folder / "bundle"))
