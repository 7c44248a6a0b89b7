"""Small frozen descriptions that a bundle or study holds as plain data, told apart by their class's name. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Self


class Plain:
    """A frozen dataclass of numbers, texts and tuples of them: its subclasses are the kinds that may be named."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which ``from_json`` of a common base makes an equal object."""
        return {"kind": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]

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
            return known[name](**{key: _as(types[key], value) for key, value in given.items()})
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error


def _as(expected: Any, value: Any) -> Any:
    """Return a value in the type of its field. Raises ValueError where it is of another."""
    if expected is float and type(value) in (int, float):
        return float(value)
    if expected in (int, str) and type(value) is expected:
        return value
    if expected == tuple[str, ...] and _all(str, value):
        return tuple(value)
    if expected == tuple[int, ...] and _all(int, value):
        return tuple(value)
    if expected == dict[str, tuple[float, float]] and isinstance(value, dict):
        return {str(name): (float(low), float(high)) for name, (low, high) in value.items()}
    raise ValueError(f"expected {expected}, found {value!r}")


def _all(kind: type, value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(one) is kind for one in value)
