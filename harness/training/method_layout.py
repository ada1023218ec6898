"""The network that a method trains, for a method that asks for its parameters by name."""

from __future__ import annotations

from bench.harness.core.errors import BrokenContract
from bench.models.layout import Layout
from bench.optim.objective import Method


def for_layout(method: Method, layout: Layout) -> Method:
    """Return the method for a θ of this layout; the method itself if it does not ask.

    Raises UsageError where the method cannot train such a network, and BrokenContract where it
    returns something else than a method of its name.
    """
    asks = getattr(method, "for_layout", None)
    if asks is None:
        return method
    made: Method = asks(layout)
    if getattr(made, "name", None) != method.name or not callable(getattr(made, "step", None)):
        raise BrokenContract(
            f"`for_layout` of {method.name} returned a {type(made).__name__}. It must return the "
            "method for this network, or the method itself."
        )
    return made
