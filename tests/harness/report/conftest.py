import math

import numpy as np
import pytest

from bench.harness.analysis.summary import summarize
from bench.harness.core.records import Ledger, Measurement, TrialRecord
from bench.harness.core.spec import Budget, Protocol

PROTOCOL = Protocol(
    "curves", {}, "paper", "curves (generated)", "d" * 64, "sparse", "cross-entropy",
    "train_squared_error", "lower", Budget("gradients", 750_000), "fp32", 12,
)  # fmt: skip
LEVEL = {"sgd": 0.48, "cm": 0.1, "nag": 0.096, "hf": 0.11, "hfm": 0.058}


def _curve(level, rng, diverges):
    out = []
    for i, spent in enumerate([0, *np.geomspace(10, 750_000, 12)]):
        share = math.log(spent + 1) / math.log(750_001)
        value = level * (120 / level) ** (1 - share**2) * math.exp(rng.normal(0, 0.03))
        value = math.nan if diverges and i > 8 else value
        seconds = spent / 500
        ledger = Ledger(int(spent), int(spent) * 200, spent, seconds=seconds, fleet_seconds=seconds)
        # As hf tells it; before the first update there is nothing to tell.
        diagnostics = {
            "lambda": 45 / 1.5**i, "rho": 0.5, "cg_steps": 10.0 + i, "iterate": 5.0, "rate": 1.0,
            "model_decrease": value, "decrease": value / 2, "evaluations": 3.0,
        } if i else {}  # fmt: skip
        out.append(Measurement(i, ledger, value, 1.1 * value, value, value, diagnostics))
        if math.isnan(value):
            break
    return out


@pytest.fixture
def compared():
    """Return a function that makes (summary, trials, measurements) of named methods."""

    def make(*methods, seeds=6, diverged=(), published=None, reproduce="bench compare"):
        rng = np.random.default_rng(1)
        trials, measurements = [], {}
        for method in methods:
            name = method.split("[")[0]
            for seed in range(seeds):
                gone = (method, seed) in diverged
                taken = _curve(LEVEL[name] * math.exp(rng.normal(0, 0.05)), rng, gone)
                id = len(trials)
                measurements[id] = taken
                last = taken[-1]
                trials.append(
                    TrialRecord(
                        id, f"{id:032x}", f"key{id}", 1, PROTOCOL.key, method, name, "torch",
                        {"lr": 0.01, "mu_max": 0.99}, method, seed, "reported",
                        "diverged" if gone else "budget", None, last.ledger, "shared",
                        None if gone else last.train_metric, None if gone else last.test_metric,
                        "source", "context", 4, None, None, None,
                    )
                )  # fmt: skip
        summary = summarize(
            comparison_id="c1", protocol=PROTOCOL, trials=trials, measurements=measurements,
            targets=(1.0, 0.2), margin=0.05, log_scale=True,
            published=lambda *_: published, reproduce=reproduce,
        )  # fmt: skip
        return summary, trials, measurements

    return make
