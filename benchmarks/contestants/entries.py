"""The contestants: what each is called, and what is tuned of it on a problem.

Every learning rate has a range of three decades, and of every method but `sgd`, which has nothing
else, one or two other numbers are tuned that its authors name. Weight decay and L2 are 0 for all,
since the error on the training set is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.harness.core.errors import Usage

PROBLEMS = ("curves", "mnist", "add", "faces")

SMALL_RATES = ("faces", "add")
"""Problems whose recorded learning rates of `sgd`, `cm` and `nag` are ten times smaller."""


@dataclass(frozen=True)
class Contestant:
    """A method: its name in the table, and its entry with ranges."""

    name: str
    entry: str


def contestants(problem: str) -> list[Contestant]:
    """Return the contestants on a problem; Usage for a problem that the table lacks."""
    if problem not in PROBLEMS:
        raise Usage(f"{problem}: the table has {', '.join(PROBLEMS)}. Choose one of them.")
    return [Contestant(name, entry) for name, entry in _entries(problem).items()]


def _entries(problem: str) -> Mapping[str, str]:
    recurrent = problem == "add"
    rate = "lr=0.0001..0.1" if problem in SMALL_RATES else "lr=0.001..1"
    # A torch optimizer has 200 cases in a batch unless it is told; of `add` the others have 100.
    batch = "batch=100," if recurrent else ""
    damping = "lam=0.01..10,chunks=10" if recurrent else "lam=0.1..100,chunks=1..16"
    # The recurrent network has no hidden layer between others: its matrix of states is Wh.
    hidden = "Wh" if recurrent else "hidden"
    adam = f"{batch}lr=0.0001..0.1,betas=(0.9,0.9..0.9999),weight_decay=0"
    return {
        "sgd": f"sgd[{rate}]",
        "cm": f"cm[{rate},mu_max=0.9..0.999]",
        "nag": f"nag[{rate},mu_max=0.9..0.999]",
        "hf": f"hf[{damping},l2=0]",
        "AdamW": f"torch.optim.AdamW[{adam}]",
        "NAdamW": f"torch.optim.NAdam[{adam},decoupled_weight_decay=true]",
        "Muon + AdamW": (
            f"torch.optim.Muon[on={hidden},{batch}lr=0.001..1,weight_decay=0]"
            "+torch.optim.AdamW[on=rest,lr=0.0001..0.1,weight_decay=0]"
        ),
        "SOAP": (
            f"pytorch_optimizer:SOAP[{batch}lr=0.0001..0.1,betas=(0.95,0.9..0.999),weight_decay=0]"
        ),
        "Shampoo": (
            f"pytorch_optimizer:Shampoo[{batch}lr=0.01..10,matrix_eps=1e-8..1e-2,"
            "preconditioning_compute_steps=20]"
        ),
        "PSGD Kron": f"pytorch_optimizer:Kron[{batch}lr=0.0001..0.1,momentum=0.8..0.99]",
        "schedule-free AdamW": (
            f"schedulefree:AdamWScheduleFree[{batch}lr=0.0001..0.1,betas=(0.8..0.99,0.999),"
            "warmup_steps=10..500]"
        ),
        "Prodigy": f"pytorch_optimizer:Prodigy[{batch}d_coef=0.03..30,betas=(0.9,0.9..0.9999)]",
    }
