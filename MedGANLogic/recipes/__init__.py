"""The published systems: one file each, and the folder is the list. ``load`` finds one by its file's name."""

import importlib
import pkgutil

from MedGANLogic.errors import MedGANError
from MedGANLogic.recipe import RecipeFunction


def names() -> tuple[str, ...]:
    """Return the names of all recipes, as the command line spells them (``wgan-gp`` is ``wgan_gp.py``)."""
    return tuple(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> RecipeFunction:
    """Return a recipe's function. Raises MedGANError for a name that no file has."""
    if name not in names():
        raise MedGANError(f"no recipe is called {name!r}: there are {', '.join(names())}")
    recipe: RecipeFunction = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").recipe
    return recipe
