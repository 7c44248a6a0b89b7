"""The published systems: one file each, and the folder is the list. ``load`` finds one by its file's name."""

import ast
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from MedGANLogic.errors import MedGANError
from MedGANLogic.study import Settings, Study

if TYPE_CHECKING:
    from MedGANLogic.recipe import RecipeFunction

#: How sure one is of what a recipe says: each mark covers the words before it.
MARKS: Mapping[str, str] = {
    "[paper]": "the paper says so",
    "[paper: released code]": "the authors' code does so",
    "[paper?]": "remembered of the paper, not looked up again",
    "[seed]": "a review of the field says so",
    "[assumed]": "our choice: not published, or not known",
}


def names() -> tuple[str, ...]:
    """Return the names of all recipes, as the command line spells them (``wgan-gp`` is ``wgan_gp.py``)."""
    return tuple(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> "RecipeFunction":
    """Return a recipe's function. Raises MedGANError for a name that no file has."""
    recipe: RecipeFunction = _module(name).recipe
    return recipe


def example(name: str) -> Study:
    """Return what a study for a recipe looks like, at the recipe's published size."""
    study: Study = _module(name).EXAMPLE
    return study


def published(name: str) -> Settings:
    """Return the paper's settings, which a study may change."""
    settings: Settings = _module(name).PUBLISHED
    return settings


def titles() -> list[dict[str, str]]:
    """Return name, title, source and a line about every recipe, read in its file: to run it, torch must start first."""
    return [{"name": name, **_read(Path(__path__[0], _file(name)).with_suffix(".py"))} for name in names()]


def _read(file: Path) -> dict[str, str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    keywords = [keyword for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords]
    said = {one.arg: ast.literal_eval(one.value) for one in keywords if one.arg in ("title", "source")}
    return {"title": said["title"], "source": said["source"], "about": ast.get_docstring(tree) or ""}


def described(name: str) -> dict[str, Any]:
    """Return what a recipe says of itself, as plain data, without giving its networks any memory."""
    import torch

    study = example(name)
    with torch.device("meta"):
        recipe = load(name)(study)
    needs = [source.needs for phase in recipe.phases for source in phase.feed.sources]
    needs += [f"a {'class' if study.classes else 'number'} for each"] if study.condition.size else []
    needs += [f"{role}, a guide in training alone" for role in study.guides]
    degraded = [f"{role} is made of {study.source(role)}" for role, made in study.made.items() if made.degraded]
    return {
        "name": name,
        "title": recipe.title,
        "source": recipe.source,
        "task": study.task,
        "needs": [*dict.fromkeys(filter(None, needs)), *degraded],
        "example": {
            "inputs": {role: domain.modality for role, domain in study.inputs.items()},
            "targets": {role: domain.modality for role, domain in study.targets.items()},
            "dimensions": study.dimensions,
        },
        "settings": {"values": published(name).numbers, "marks": _module(name).MARKS},
        "departures": list(recipe.departures),
    }


def _module(name: str) -> ModuleType:
    if name not in names():
        raise MedGANError(f"no recipe is called {name!r}: there are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{_file(name)}")


def _file(name: str) -> str:
    return name.replace("-", "_")
