"""Methods: optimizers with their backends and hyperparameters."""

from typing import Any

__all__ = ["resolve"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: the text grammar must be importable without torch.
    if name == "resolve":
        from bench.optim.registry import resolve

        return resolve
    raise AttributeError(f"module 'bench.optim' has no attribute {name!r}")
