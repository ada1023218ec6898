"""The laws that every optimizer must satisfy, on small problems."""

from __future__ import annotations

from collections.abc import Callable

from bench.harness.check import averages, minimum
from bench.harness.check.fleet_laws import FleetLaws
from bench.harness.check.laws import Finding, Law, check_laws, one_thread
from bench.harness.check.run_laws import RunLaws
from bench.harness.check.step_laws import StepLaws
from bench.optim.objective import Method

QUICK = (
    "inputs and settings stay unchanged",
    "moves the parameters it is given",
    "reports the loss",
    "evaluates the loss at every new point",
    "ledger shows the declared cost",
    "same seed, same run",
    "trials do not change each other",
    "a longer run begins the same way",
    "an average that it keeps is evaluated",
    "evaluation does not change the run",
)
"""Laws without which a result may be wrong and nothing says so; the others take longer."""


def quick_laws(make: Callable[..., Method]) -> list[Finding]:
    """Check the laws named in QUICK; `make` creates the method each time, with values if given.

    What the method prints goes to stderr. It takes about as long as 200 steps on a tiny network.
    """
    with one_thread():
        return check_laws(MethodLaws(make).quick())


class MethodLaws(StepLaws, RunLaws, FleetLaws):
    """The laws for one method; `make` creates it each time, with other values if given."""

    def laws(self) -> dict[str, Law]:
        """Return every law by its name."""
        return {
            "hyperparameters are declared": self.declared,
            # Before all other steps: a setting that a step changes stays changed afterwards.
            "inputs and settings stay unchanged": self.inputs,
            "steps in float64": self.in_float64,
            "moves the parameters it is given": self.moves,
            "the step size takes effect": self.effects,
            "reaches the minimum of a quadratic": lambda: minimum.check(self.make, self.dtype),
            "reports the loss": self.reports,
            "evaluates the loss at every new point": self.evaluates,
            "ledger shows the declared cost": self.cost,
            "same seed, same run": self.repeats,
            "trials do not change each other": self.others,
            "a longer run begins the same way": self.longer,
            "an average that it keeps is evaluated": lambda: averages.check(self.make, self.dtype),
            "evaluation does not change the run": self.evaluation,
            "saved state is restored exactly": self.round_trip,
            "a resumed run equals a straight run": self.resumes,
            "2 ranks equal 1 process": self.ranks,
            "a row of a fleet equals the trial alone": self.rows,
            "padding stays 0": self.padding,
        }

    def quick(self) -> dict[str, Law]:
        """Return the laws that cost a few steps each, by name, for every comparison to try."""
        return {name: law for name, law in self.laws().items() if name in QUICK}
