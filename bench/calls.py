"""One call of the Python API: errors in the sentences of the command, the process as it was."""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import numpy as np
import torch

from bench.harness.cli.main import redacted_message
from bench.harness.comparison.session import Interruption
from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.harness.core.invocation import by_program
from bench.harness.core.notices import quiet
from bench.harness.core.text import visible
from bench.models.errors import ProblemError
from bench.optim.hyperparameters import Unavailable, UsageError
from bench.optim.plugins import Objects, objects

FRESH_SEED = 67280421310721
"""The state of torch's random generator in a new process, such as a command's."""


@contextmanager
def call(*given: str | None, progress: bool = True) -> Iterator[Objects]:
    """Do what a command would do, with the objects of this program by name.

    `given` are texts that may hold a password, such as the URL of a store.
    """
    with (
        _in_sentences([text for text in given if isinstance(text, str)]),
        _as_before(),
        by_program(),
        quiet(not progress),
        objects() as found,
    ):
        yield found


@contextmanager
def _as_before() -> Iterator[None]:
    """Compute as a new process does, and leave torch's settings as they were."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    # Methods that draw have streams of their own, which makes NumPy drop a normal that it holds.
    numpy = np.random.get_state()
    if dtype != torch.float32:
        torch.set_default_dtype(torch.float32)
    if device.type != "cpu":
        torch.set_default_device(None)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
        ):
            torch.default_generator.manual_seed(FRESH_SEED)
            yield
    finally:
        np.random.set_state(numpy)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)
        if device.type != "cpu":
            torch.set_default_device(device)


@contextmanager
def _in_sentences(given: Sequence[str]) -> Iterator[None]:
    """Raise what a command would print, without passwords."""
    try:
        yield
    except Interruption as end:
        if end.signal == "SIGTERM":
            # Whoever sent it asked this program to end, and not the comparison alone.
            signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt(redacted_message(end.message, given)) from None
    except click.ClickException as error:
        raise Usage(redacted_message(error.format_message(), given)) from None
    except UsageError as error:
        _raise(error, Usage(str(error)), given)
    except ProblemError as error:
        _raise(error, Usage(f"{error}."), given)
    except Unavailable as error:
        _raise(error, Infrastructure(str(error)), given)
    except BenchError as error:
        _raise(error, error, given)
    except Exception as error:
        if _tells_a_password(error, given):
            what = f"{type(error).__name__}: {error}"
            raise Infrastructure(redacted_message(what, given)) from None
        raise


def in_arguments(message: str) -> str:
    """Return a message that names arguments of a function in place of options of a command.

    >>> in_arguments("--tune-seeds 0: allowed are 1 to 9. See `bench run --seed 3`.")
    'tune_seeds=0: allowed are 1 to 9. See `bench run --seed 3`.'
    """
    # What stands in backticks is a command to type.
    parts = message.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = _OPTION.sub(_as_argument, parts[i])
    return "`".join(parts)


_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)(?: ([^\s:,]+)(?=:))?")


def _as_argument(found: re.Match[str]) -> str:
    name, value = found[1].replace("-", "_"), found[2]
    return name if value is None else f"{name}={value}"


def _raise(error: Exception, told: BenchError, given: Sequence[str]) -> Any:
    """Raise an error's sentence; what it comes from is left out where that tells a password."""
    told.args = (in_arguments(redacted_message(str(told), given)),)
    if _tells_a_password(error, given):
        raise type(told)(*told.args) from None
    if told is error:
        raise error
    raise told from error


def _tells_a_password(error: BaseException, given: Sequence[str]) -> bool:
    told = "".join(traceback.format_exception(error))
    return redacted_message(told, given) != visible(told, but="\n")
