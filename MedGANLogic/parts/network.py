"""What every network shares."""

import inspect
from typing import Any, Self

from torch import nn


class Network(nn.Module):
    """A network that remembers the arguments it was built from, so that a bundle can hold it without code.

    Arguments are whole numbers; their names and values are in ``arguments``.
    """

    arguments: dict[str, int]

    def __new__(cls, *values: int, **named: int) -> Self:
        network = super().__new__(cls)
        # Partial, because copying makes an empty network first and fills it afterwards.
        bound = inspect.signature(cls.__init__).bind_partial(network, *values, **named)
        arguments: dict[str, Any] = dict(bound.arguments)
        arguments.pop("self")
        object.__setattr__(network, "arguments", arguments)
        return network
