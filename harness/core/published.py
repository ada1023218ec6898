"""Published figures as data, with their sources.

Sutskever, Martens, Dahl & Hinton 2013, "On the importance of initialization and momentum in
deep learning", ICML (PMLR 28:1139–1147): the tables. Martens 2010, "Deep learning via
Hessian-free optimization", ICML: the settings and the log of his published program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TABLES = "Sutskever et al. 2013"
NOTE = (
    "published: Sutskever et al. 2013, Table 1, training squared error after 750,000 updates, "
    "the best of six learning rates; HF is Martens 2010 as printed there."
)
"""The footnote that reports print with published values."""

TABLE_1: Mapping[str, Mapping[str, float | None]] = {
    # task → column → training squared error; None: not printed.
    # "0" is SGD, N is NAG, M is CM, the number mu_max. SGD_C is Chapelle & Erhan 2011,
    # HF+ the momentum-like HF of section 5, HF* Martens 2010 with L2.
    "curves": {
        "0": 0.48,
        "0.9N": 0.16,
        "0.99N": 0.096,
        "0.995N": 0.091,
        "0.999N": 0.074,
        "0.9M": 0.15,
        "0.99M": 0.10,
        "0.995M": 0.10,
        "0.999M": 0.10,
        "SGD_C": 0.16,
        "HF+": 0.058,
        "HF*": 0.11,
    },
    "mnist": {
        "0": 2.1,
        "0.9N": 1.0,
        "0.99N": 0.73,
        "0.995N": 0.75,
        "0.999N": 0.80,
        "0.9M": 1.0,
        "0.99M": 0.77,
        "0.995M": 0.84,
        "0.999M": 0.90,
        "SGD_C": 0.9,
        "HF+": 0.69,
        "HF*": 1.40,
    },
    "faces": {
        "0": 36.4,
        "0.9N": 14.2,
        "0.99N": 8.5,
        "0.995N": 7.8,
        "0.999N": 7.7,
        "0.9M": 15.3,
        "0.99M": 8.7,
        "0.995M": 8.3,
        "0.999M": 9.3,
        "SGD_C": None,
        "HF+": 7.5,
        "HF*": 12.0,
    },
}

TABLE_2: Mapping[str, tuple[float, float]] = {
    # NAG's training squared error before and after the last 1,000 updates at mu = 0.9.
    "curves": (0.096, 0.074),
    "mnist": (1.20, 0.73),
    "faces": (10.83, 7.7),
}

TABLE_3: Mapping[float, float] = {
    # Curves: factor on the scale of the sparse initialisation → training squared error.
    0.25: 16.0,
    0.5: 16.0,
    1.0: 0.074,
    2.0: 0.083,
    4.0: 0.35,
}

TABLE_5: Mapping[str, Mapping[str, float]] = {
    # task → column → zero-one loss, mean of 4 seeds; "biases": only biases are trained.
    "add[T=80]": {
        "biases": 0.82,
        "0": 0.39,
        "0.9N": 0.02,
        "0.98N": 0.21,
        "0.995N": 0.00025,
        "0.9M": 0.43,
        "0.98M": 0.62,
        "0.995M": 0.036,
    },
    "mul[T=80]": {
        "biases": 0.84,
        "0": 0.48,
        "0.9N": 0.36,
        "0.98N": 0.22,
        "0.995N": 0.0013,
        "0.9M": 0.029,
        "0.98M": 0.025,
        "0.995M": 0.37,
    },
    "mem5[T=200]": {
        "biases": 2.5,
        "0": 1.27,
        "0.9N": 1.02,
        "0.98N": 0.96,
        "0.995N": 0.63,
        "0.9M": 1.12,
        "0.98M": 1.09,
        "0.995M": 0.92,
    },
    "mem20[T=80]": {
        "biases": 8.0,
        "0": 5.37,
        "0.9N": 2.77,
        "0.98N": 0.0144,
        "0.995N": 0.00005,
        "0.9M": 1.75,
        "0.98M": 0.0017,
        "0.995M": 0.053,
    },
}


@dataclass(frozen=True)
class LogLine:
    """One line of the log of Martens' program on his Curves file, seed 1234."""

    iteration: int
    cg_steps: int
    """Conjugate-gradient steps since the start."""
    train_squared_error: float


MARTENS_LOG: tuple[LogLine, ...] = (
    LogLine(1, 13, 107.2),
    LogLine(10, 123, 16.90),
    LogLine(25, 415, 16.59),
    LogLine(40, 621, 15.11),
    LogLine(50, 1_003, 12.21),
    LogLine(60, 1_784, 8.54),
    LogLine(70, 3_203, 4.35),
    LogLine(80, 5_221, 1.094),
    LogLine(90, 7_721, 0.588),
    LogLine(100, 10_221, 0.383),
    LogLine(150, 22_721, 0.171),
    LogLine(200, 35_221, 0.138),
    LogLine(300, 60_221, 0.125),
)

_MOMENTUM = {"batch": 200, "l2": 0.0}
_SCHEDULE = {"period": 250, "final": 1_000, "final_mu": 0.9, "schedule": "sutskever"}
_HF = {
    "batch": 0,
    "lam": 45.0,
    "lam_factor": 1.5,
    "cg_max": 250,
    "cg_tolerance": 5e-4,
    "decay": 0.95,
    "precondition": True,
    "exponent": 0.75,
}
_HF_BY_TASK = {
    "curves": {"l2": 2e-5, "chunks": 4},
    "mnist": {"l2": 1e-5, "chunks": 8},
    "faces": {"l2": 1e-5, "chunks": 20},
}
_COLUMN_LETTER = {"nag": "N", "cm": "M"}


def published_value(
    problem: str, preset: str, method_name: str, hyperparameters: Mapping[str, Any]
) -> float | None:
    """Return the printed training squared error of a method at the published settings.

    None unless the preset is `paper` and the hyperparameters are those of a row of Table 1.
    The learning rate may be any, because the table gives the best over a grid of rates.
    """
    if preset != "paper" or problem not in TABLE_1:
        return None
    row = TABLE_1[problem]
    if method_name == "hf":
        settings = _HF | _HF_BY_TASK[problem]
        return row["HF*"] if _includes(hyperparameters, settings) else None
    if method_name == "hfm":
        # λ₀ and the preconditioner of HF† are not printed.
        recipe = {"recipe": problem, "length": 1.0, "batch": 0}
        return row["HF+"] if _includes(hyperparameters, recipe) else None
    if method_name == "sgd":
        return row["0"] if _includes(hyperparameters, _MOMENTUM) else None
    if method_name not in _COLUMN_LETTER or not _includes(hyperparameters, _MOMENTUM | _SCHEDULE):
        return None
    return row.get(f"{float(hyperparameters.get('mu_max', -1)):g}{_COLUMN_LETTER[method_name]}")


def _includes(given: Mapping[str, Any], published: Mapping[str, Any]) -> bool:
    return all(name in given and given[name] == value for name, value in published.items())
