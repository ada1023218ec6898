"""What came of the laws that `bench.check` tried."""

from __future__ import annotations

import html
from dataclasses import asdict
from functools import cached_property

import pandas as pd

from bench.frames import LAWS, frame
from bench.harness.check import subject
from bench.harness.core.text import visible


class CheckResult:
    """What came of every law, as `bench.check` returns it.

    Attributes:
        name: what was checked.
        kind: "problem" or "optimizer".
        ok: whether no law is broken.
    """

    def __init__(self, checked: subject.LawReport) -> None:
        self.name, self.kind = checked.name, checked.kind
        self.ok: bool = not checked.broken
        self._checked = checked

    @cached_property
    def laws(self) -> pd.DataFrame:
        """A row for each law: its name, "holds", "fails" or "not applicable", and the figure."""
        return frame(LAWS, map(asdict, self._checked.findings))

    def __str__(self) -> str:
        findings = self._checked.findings
        wide = max((len(finding.law) for finding in findings), default=0)
        lines = [f"{f.state:<14}  {f.law:<{wide}}  {visible(f.figure)}" for f in findings]
        return "\n".join([*lines, self._ending])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{_text(cell)}</td>" for cell in cells)
            for cells in ((f.state, f.law, f.figure) for f in self._checked.findings)
        )
        return f"<div><table>{rows}</table><p>{_text(self._ending)}</p></div>"

    @property
    def _ending(self) -> str:
        count, broken = len(self._checked.findings), self._checked.broken
        if broken:
            return f"{broken} of {count} laws do not hold for {visible(self.name)}."
        return f"No law is broken for {visible(self.name)}."


def _text(text: str) -> str:
    return html.escape(visible(text))
