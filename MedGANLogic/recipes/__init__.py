"""The published systems: one file each, and the folder is the list. ``load`` finds one by its file's name."""

import importlib
import pkgutil
from dataclasses import asdict
from types import ModuleType
from typing import Any

from MedGANLogic.degradation import Degraded
from MedGANLogic.errors import MedGANError
from MedGANLogic.recipe import RecipeFunction, build
from MedGANLogic.study import Study


def names() -> tuple[str, ...]:
    """Return the names of all recipes, as the command line spells them (``wgan-gp`` is ``wgan_gp.py``)."""
    return tuple(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> RecipeFunction:
    """Return a recipe's function. Raises MedGANError for a name that no file has."""
    recipe: RecipeFunction = _module(name).recipe
    return recipe


def example(name: str) -> Study:
    """Return what a study for a recipe looks like, at the recipe's published size."""
    study: Study = _module(name).EXAMPLE
    return study


def described(name: str) -> dict[str, Any]:
    """Return what a recipe says of itself, as plain data, without giving its networks any memory."""
    import torch

    module, study = _module(name), example(name)
    with torch.device("meta"):
        recipe = build(load(name), study)
    needs = [source.needs for phase in recipe.phases for source in phase.feed.sources]
    needs += [f"a {'class' if study.classes else 'number'} for each"] if study.condition.size else []
    needs += [f"{role}, a guide in training alone" for role in study.guides]
    degraded = [f"{role} is made of {made.of}" for role, made in study.made.items() if isinstance(made, Degraded)]
    return {
        "name": name,
        "title": recipe.title,
        "source": recipe.source,
        "task": study.task,
        "needs": [*dict.fromkeys(filter(None, needs)), *degraded],
        "settings": {"values": asdict(module.PUBLISHED), "marks": module.MARKS},
        "departures": list(recipe.departures),
    }


def _module(name: str) -> ModuleType:
    if name not in names():
        raise MedGANError(f"no recipe is called {name!r}: there are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
