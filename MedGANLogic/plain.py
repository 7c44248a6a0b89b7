"""Small frozen descriptions that a bundle or study holds as plain data, told apart by their class's name. No torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin


class Plain:
    """A frozen dataclass of numbers, texts, others of its kind and tuples of them; its subclasses may be named."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` of a common base makes an equal object."""
        own = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return {"kind": type(self).__name__, **own}

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Return this class, if it is no mere base, and all below it, by name."""
        below = {name: kind for sub in cls.__subclasses__() for name, kind in sub.kinds().items()}
        return below if cls.__dict__.get("__dataclass_fields__") is None else {cls.__name__: cls, **below}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], kind: str | None = None) -> Self:
        """Make an object from plain data; ``kind`` stands in for one that is not said.

        Raises ValueError for an unknown kind, a field that is unknown or missing, and a value of another type.
        """
        known = cls.kinds()
        name = data.get("kind", kind)
        if name not in known:
            raise ValueError(f"kind {name!r} is not known: there are {', '.join(known)}")
        given = {key: value for key, value in data.items() if key != "kind"}
        types = {field.name: field.type for field in fields(known[name])}  # type: ignore[arg-type]
        if unknown := given.keys() - types.keys():
            raise ValueError(f"{name} has no {', '.join(sorted(unknown))}: there are {', '.join(types)}")
        try:
            return known[name](**{key: typed(types[key], value) for key, value in given.items()})
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Plain):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return tuple(_plain(one) for one in value) if isinstance(value, tuple) else value


def typed(expected: Any, value: Any) -> Any:
    """Return plain data as a value of an annotated type; a whole number is a number.

    Raises ValueError where it is of another.
    """
    kind, inner = get_origin(expected), get_args(expected)
    if expected is Any:
        return value
    if kind is UnionType:
        for one in inner:
            with suppress(ValueError):
                return typed(one, value)
    elif kind is tuple and isinstance(value, list | tuple):
        each = inner[:1] * len(value) if inner[-1] is ... else inner
        if len(each) == len(value):
            return tuple(typed(one, item) for one, item in zip(each, value, strict=True))
    elif kind in (dict, Mapping) and isinstance(value, Mapping):
        return {str(name): typed(inner[1], item) for name, item in value.items()}
    elif isinstance(expected, type) and issubclass(expected, Plain) and isinstance(value, Mapping):
        return expected.from_json(value)
    elif expected is float and type(value) in (int, float):
        return float(value)
    elif type(value) is expected:
        return value
    raise ValueError(f"expected {_in_words(expected)}, found {value!r}")


def _in_words(expected: Any) -> str:
    kind, inner = get_origin(expected), get_args(expected)
    if kind is None:
        return {int: "a whole number", float: "a number", str: "a text"}.get(expected, "a table")
    if kind is UnionType:
        return " or ".join(_in_words(one) for one in inner if one is not NoneType)
    if kind is tuple:
        of = _in_words(inner[0]).partition(" ")[2]
        return f"a list of {of}s" if inner[-1] is ... else f"{len(inner)} {of}s"
    return "a table"
