"""docs/optimizers.md says of each of torch's optimizers and two packages' what `bench check` finds.

`python -m tests.harness.check.test_optimizers_page` tries them all, for a quarter of an hour,
and writes the tables. Those in AROUND are tried around another optimizer, and those in FACTORIES as
factories.py makes them.
"""

from __future__ import annotations

import inspect
import warnings
from collections import defaultdict
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch

from bench.harness.check.subject import check
from bench.optim.hyperparameters import UsageError
from bench.optim.torch.adapter import is_optimizer
from tests.harness.check import factories

PAGE = Path(__file__).parents[3] / "docs" / "optimizers.md"
BEGIN, END = "<!-- found -->\n", "<!-- end of found -->\n"
PACKAGES = {
    "torch.optim": "torch.optim.",
    "schedulefree": "schedulefree:",
    "pytorch_optimizer": "pytorch_optimizer:",
}
"""Modules, and how names of theirs are written."""
AROUND = {
    "pytorch_optimizer": {
        **dict.fromkeys("Lookahead OrthoGrad ScheduleFreeWrapper".split(), "torch.optim.AdamW"),
        # With smaller steps it never leaves its start in float32.
        "TRAC": "torch.optim.AdamW[inner.lr=0.1]",
        **dict.fromkeys("SAM FriendlySAM LookSAM".split(), "torch.optim.SGD[inner.lr=0.05]"),
        **dict.fromkeys("PCGrad SafeFP16Optimizer".split(), "torch.optim.SGD"),
    }
}
"""What is made of another optimizer: of which, and the values that follow."""
FACTORIES = {"pytorch_optimizer": "WSAM BSAM Ranger21 Muon AdaMuon AdaGO NorMuon MuonClip"}
"""What is made of a module, of groups, or of a number that has no default."""


@dataclass(frozen=True)
class Outcome:
    """What became of one optimizer."""

    state: str
    said: str = ""
    """Which laws do not hold, or why it is refused."""
    figure: str = ""
    """What the first of these laws says."""


def names(module: str) -> list[str]:
    return sorted(n for n, value in vars(import_module(module)).items() if is_optimizer(value))


def written(module: str, name: str) -> str:
    """How an optimizer is named on the command line."""
    if inner := AROUND.get(module, {}).get(name):
        of, bracket, values = inner.partition("[")
        return f"{PACKAGES[module]}{name}({of}){bracket}{values}"
    if name in FACTORIES.get(module, "").split():
        return f"{factories.__file__}:{name}"
    return f"{PACKAGES[module]}{name}"


def outcome(name: str) -> Outcome:
    try:
        findings = check(name, "quick", None).findings
    except UsageError as error:
        return Outcome("refused", str(error).removeprefix(name.partition("[")[0]).strip())
    broken = [finding for finding in findings if finding.state == "fails"]
    if not broken:
        return Outcome("holds")
    return Outcome("fails", "; ".join(f.law for f in broken), broken[0].figure)


def rendered(found: dict[str, dict[str, Outcome]]) -> str:
    """The tables, of outcomes by module and name."""
    lines = ["", "| package | tried | every law holds | a law does not | refused |"]
    lines += ["|---|---|---|---|---|"]
    for module, of in found.items():
        counts = [
            sum(each.state == s for each in of.values()) for s in ("holds", "fails", "refused")
        ]
        lines.append(f"| {module} | {len(of)} | {' | '.join(map(str, counts))} |")
    lines += ["", "### Every law holds", ""]
    for module, of in found.items():
        lines.append(f"* {module}: {', '.join(n for n, o in of.items() if o.state == 'holds')}.")
    lines += ["", "### A law does not hold", "", "| optimizer | laws | the first of them says |"]
    lines += ["|---|---|---|"]
    for module, of in found.items():
        for name, each in of.items():
            if each.state == "fails":
                lines.append(f"| {module} {name} | {each.said} | {each.figure} |")
    lines += ["", "### Refused", "", "| package | optimizers | the optimizer … |", "|---|---|---|"]
    for module, of in found.items():
        reasons: defaultdict[str, list[str]] = defaultdict(list)
        for name, each in of.items():
            if each.state == "refused":
                reasons[each.said].append(name)
        lines += [f"| {module} | {', '.join(ns)} | {said} |" for said, ns in reasons.items()]
    return "\n".join(lines) + made_by_factories() + "\n"


def made_by_factories() -> str:
    """What was tried around another optimizer, and the expression that each factory returns."""
    lines = ["", "", "### Tried around another optimizer", ""]
    lines += [f"* `{written(module, name)}`" for module, of in AROUND.items() for name in of]
    lines += ["", "### Tried through a factory", ""]
    lines += ["These are made of a module, of groups, or of a number that has no default."]
    lines += ["`groups` puts matrices into one group and all else into another.", ""]
    lines += ["| package | what the factory returns |", "|---|---|"]
    for module, of in FACTORIES.items():
        for name in of.split():
            source = inspect.getsource(getattr(factories, name))
            lines.append(f"| {module} | `{source.rpartition('return po.')[2].strip()}` |")
    return "\n".join(lines) + "\n"


def listed(page: str, module: str, name: str) -> Outcome:
    """What the page says of an optimizer, without figures."""
    for line in page.splitlines():
        if line.startswith(f"* {module}: ") and name in line.split(": ")[1].rstrip(".").split(", "):
            return Outcome("holds")
        if line.startswith(f"| {module} {name} | "):
            return Outcome("fails", line.split(" | ")[1])
        if line.startswith(f"| {module} | ") and name in line.split(" | ")[1].split(", "):
            return Outcome("refused", line.split(" | ", 2)[2].removesuffix(" |"))
    raise AssertionError(f"docs/optimizers.md has no {module} {name}. {__doc__}")


TRIED = {
    "torch.optim": "Adadelta Adafactor Adam AdamW ASGD Muon NAdam RAdam Rprop SGD SparseAdam",
    "schedulefree": "AdamWScheduleFree AdamWScheduleFreePaper AdamWScheduleFreeReference "
    "RAdamScheduleFree RAdamScheduleFreeClosure SGDScheduleFree SGDScheduleFreeClosure",
    "pytorch_optimizer": "AdaBelief AdaHessian AdaShift Gravity LOMO Lamb Lion LoRARite Lookahead "
    "MADGRAD Muon Prodigy SAM SPlus ScheduleFreeSGD SophiaH Yogi",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("module", TRIED)
def test_the_page_is_true_of_a_dozen(module: str) -> None:
    page = PAGE.read_text()
    with torch.random.fork_rng(devices=[]):
        for name in TRIED[module].split():
            found = outcome(written(module, name))
            said = listed(page, module, name)
            assert (found.state, found.said) == (said.state, said.said), name


def test_the_page_has_every_optimizer() -> None:
    page = PAGE.read_text()
    for module in PACKAGES:
        for name in names(module):
            listed(page, module, name)


def test_an_optimizer_is_found_on_the_page_under_its_own_outcome() -> None:
    found = {
        "torch.optim": {
            "A": Outcome("holds"),
            "B": Outcome("fails", "x, y", "z"),
            "C": Outcome("holds"),
        },
        "other": {"A": Outcome("refused", "is no."), "C": Outcome("refused", "is no.")},
    }
    page = rendered(found)
    assert listed(page, "torch.optim", "B") == Outcome("fails", "x, y")
    for module, of in found.items():
        for name in of.keys() - {"B"}:
            assert listed(page, module, name) == of[name]
    with pytest.raises(AssertionError, match="has no other B"):
        listed(page, "other", "B")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    every = {m: {n: outcome(written(m, n)) for n in names(m)} for m in PACKAGES}
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + rendered(every) + END + rest.partition(END)[2])
