"""A problem so small that a comparison on it takes moments: --problem tests.harness.small:make."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.harness.planning.request import Request
from bench.models.deep_autoencoders import DeepAutoencoder, Preset
from bench.models.problem import Data, DataSource, digest_of

PROBLEM = "tests.harness.small:make"
BUDGET = "gradients=3000"
QUICK_HF = "hf[lam=1,chunks=2,cg_max=20]"
"""Hessian-free with iterations that this budget can pay for."""


def make(preset: str) -> DeepAutoencoder:
    """Return a 16-8-3-8-16 autoencoder of 60 + 30 images of sloping planes, 4×4."""
    setting = Preset(
        side=4,
        hidden=(8, 3),
        train=60,
        test=30,
        budget=3_000,
        evaluations=6,
        targets=(1.0, 0.5),
        notes="4×4 images",
    )

    def load(setting: Preset, source: DataSource) -> Data:
        rng = np.random.default_rng(0)
        row, column = np.mgrid[-1:1:4j, -1:1:4j]
        slopes = rng.normal(0, 2, (setting.train + setting.test, 2))
        z = slopes[:, :1] * row.ravel() + slopes[:, 1:] * column.ravel()
        images = (np.round(2**16 / (1 + np.exp(-z))) / 2**16).astype(np.float32)
        train, test = images[: setting.train], images[setting.train :]
        digest = digest_of(train, test)
        return Data("planes (generated)", digest, train, test, train, test, image_shape=(4, 4))

    return DeepAutoencoder("small", preset, setting, load)


def request(store_url: str, optimizers: str = "nag[batch=20]", **given: Any) -> Request:
    """Return what `bench compare` makes of its options; what is given replaces what is usual."""
    usual: dict[str, Any] = {
        "problem": PROBLEM,
        "preset": "quick",
        "seeds": 2,
        "tune": "none",
        "budget": BUDGET,
        "precision": "fp32",
        "timed": False,
        "fresh": False,
        "dry_run": False,
        "device": "cpu",
        "threads": 1,
        "data_dir": None,
        "no_mlflow": True,
    }
    return Request(optimizers=optimizers, store=store_url, **{**usual, **given})
