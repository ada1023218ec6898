"""One colour an optimizer on MLflow's page, for its runs and for their mean.

A run has the colour that its tag says. A group of runs has the colour that the page works out from
the group's name, out of a palette of its own; so the name gets blanks behind it, which nobody sees
and with which the page arrives at the colour of the runs. That rule is not documented: where it
changes, runs keep their colour and groups get another.
"""

from __future__ import annotations

import hashlib
from itertools import product

GROUP_TAG = "bench.optimizer"
"""The tag by which the page groups runs."""
_PALETTE = (
    *("#a6630c", "#c83243", "#b45091", "#8a63bf", "#434a93", "#137dae", "#04867d", "#308613"),
    *("#facb66", "#1f272d", "#445461", "#5f7281", "#8396a5", "#93320b", "#be501e", "#de7921"),
    *("#f2be88", "#115026", "#277c43", "#3ba65e", "#8ddda8", "#9e102c", "#c82d4c", "#e65b77"),
    *("#f792a6", "#0e538b", "#2272b4", "#4299e0", "#8acaff"),
)
# The entries next to the colours that bench's own pictures have.
_METHODS = {"sgd": "#facb66", "cm": "#8acaff", "nag": "#2272b4", "hf": "#be501e", "hfm": "#3ba65e"}
_OTHERS = tuple(shade for shade in _PALETTE if shade not in _METHODS.values())
# The narrow ones, since a legend shows them at their width.
_BLANKS = "\u200a\u2009\u2006\u2008\u202f\u2005\u2004 \u00a0"


def color(label: str) -> str:
    """Return the colour of a method with this label as #rrggbb; the same on every machine."""
    if label in _METHODS:
        return _METHODS[label]
    return _OTHERS[hashlib.sha256(label.encode()).digest()[0] % len(_OTHERS)]


def group(label: str) -> str:
    """Return the label with the fewest blanks behind it that give its group its colour."""
    wanted = color(label)
    for count in range(5):
        for blanks in product(_BLANKS, repeat=count):
            name = label + "".join(blanks)
            if _of_group(f"tag.{GROUP_TAG}.{name}") == wanted:
                return name
    return label


def _of_group(name: str) -> str:
    """Return the colour that MLflow's page gives to a group."""
    low = high = 0
    units = name.encode("utf-16-le")
    for first, second in zip(units[::2], units[1::2], strict=True):
        low = (low + first + 256 * second) % 255
        high = (high + low) % 255
    return _PALETTE[(low | high << 8) % len(_PALETTE)]
