"""The functions of the Python API: each fills in what its command would, and calls its code."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bench import frames
from bench.budget_result import BudgetResult
from bench.calls import call
from bench.check_result import CheckResult
from bench.harness.check import subject
from bench.harness.cli.main import settings_for
from bench.harness.cli.options import store_url
from bench.harness.comparison import budget_curve as running
from bench.harness.comparison import compare as comparing
from bench.harness.core.errors import Usage
from bench.harness.nightly.noise import measure_noise
from bench.harness.nightly.noise_table import with_thresholds
from bench.harness.nightly.suite import StorageOptions, Suite
from bench.harness.planning.request import Mode, Request
from bench.harness.store.results import Store
from bench.models.problem import Problem
from bench.objects import text_of_optimizers, text_of_problem
from bench.optim.hyperparameters import nearest
from bench.optim.plugins import Objects
from bench.result import Result

STORE = "sqlite:///mlruns/bench.db"


def compare(
    optimizers: Any,
    problem: Any = "curves",
    *,
    preset: str | None = None,
    seeds: int | None = None,
    tune: Literal["grid"] | int | None = None,
    tune_seeds: int = 2,
    extend: bool = False,
    budget: str | None = None,
    precision: str = "fp32",
    device: str = "auto",
    threads: int | None = None,
    nproc_per_node: int | None = None,
    mode: Mode = "trials",
    metric: str | None = None,
    timed: bool = False,
    fresh: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    store: str | None = None,
    mlflow: bool | None = None,
    tracking_uri: str | None = None,
    progress: bool = True,
) -> Result:
    """Compare optimizers on a problem, as `bench compare` does, with a verdict for every pair.

    Args:
        optimizers: a list. Each entry is a text as on the command line ("nag[lr=0.01|0.02]"), a
            class (a method of bench or a torch optimizer), a function that makes a torch optimizer
            from parameters, or one of these with values: `bench.optimizer(…, lr=[0.01, 0.1])`. A
            single text with commas works too.
        problem: a text as on the command line, a problem, a class or function that makes one from a
            preset, or what `bench.problem` returns.
        preset: "quick" (the default), "standard" or "paper"; of a problem that exists already, its
            own.
        seeds: how many; by default the fewest with which a verdict can be reached.
        tune: "grid", or a number of points of the declared ranges, to choose hyperparameters first.
        tune_seeds: seeds on which every point is tried.
        extend: let grids grow while a best value is at their edge.
        budget: "gradients=600000", "updates=…", "examples=…" or "seconds=…"; by default the
            preset's.
        precision: "fp32", "tf32" or "fp64".
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; by default torch's choice.
        nproc_per_node: train on so many ranks of this machine.
        mode: "trials", ranks train a fleet each, or "data", all of them each fleet.
        metric: what is judged: "train_" or "test_" and the name of the problem's metric, or
            "train_loss" or "test_loss"; by default the problem's metric on training data.
        timed: run each trial alone, so that seconds are ranked.
        fresh: run again what is on record.
        data_dir: a folder that is searched for data first.
        store: the URL of the database with the results; by default the environment's BENCH_STORE,
            bench.toml's, or mlruns/bench.db.
        mlflow: whether results are copied to MLflow; by default they are, unless bench.toml says
            `no-mlflow`.
        tracking_uri: another MLflow than the one in the store's database.
        progress: show notices, and a bar for each fleet in a terminal or a notebook.

    Returns:
        The recorded comparison.

    Raises:
        bench.Usage: where something is not allowed; the message says what is.
        bench.Infrastructure: where data, store, device or a process failed.
        KeyboardInterrupt: after Ctrl-C, when what was measured is recorded. The same call again
            runs only the trials that have not ended.

    Example:
        result = bench.compare(["nag", "hf"], problem="curves", seeds=6)
        result.verdicts
    """
    with call(store, tracking_uri, progress=progress) as objects:
        request = _request(
            optimizers,
            problem,
            objects,
            preset=preset,
            seeds=seeds,
            tune=tune,
            tune_seeds=tune_seeds,
            extend=extend,
            budget=budget,
            precision=precision,
            device=device,
            threads=threads,
            nproc_per_node=nproc_per_node,
            mode=mode,
            metric=metric,
            timed=timed,
            fresh=fresh,
            data_dir=data_dir,
            store=store,
            mlflow=mlflow,
            tracking_uri=tracking_uri,
        )
        summary = comparing.compare(request)
        assert summary is not None
    return Result(request.store, summary["comparison"])


def compare_budgets(
    optimizers: Any, budgets: str, problem: Any = "curves", **options: Any
) -> BudgetResult:
    """Compare optimizers at several budgets, as `bench compare --budgets` does.

    Each budget is run to its own end, and recorded as a comparison of its own.

    Args:
        optimizers: as for `bench.compare`.
        budgets: "gradients=1e5|3e5|1e6", "updates=…", "examples=…" or "seconds=…", the smallest
            first.
        problem: as for `bench.compare`.
        options: the other arguments of `bench.compare`, without `budget`.

    Returns:
        The results as a curve for each method, with the verdicts at each budget.

    Raises:
        bench.Usage: where something is not allowed; the message says what is.
        bench.Infrastructure: where data, store, device or a process failed.
        KeyboardInterrupt: after Ctrl-C, when what was measured is recorded. The same call again
            runs only the trials that have not ended.

    Example:
        bench.compare_budgets(["nag", "sgd"], "updates=300|1000|3000").figure()
    """
    known = inspect.signature(compare).parameters
    for name in options.keys() - known.keys():
        raise TypeError(f"bench.compare_budgets has no argument {name!r}{nearest(name, known)}")
    store, tracking_uri = options.get("store"), options.get("tracking_uri")
    with call(store, tracking_uri, progress=options.pop("progress", True)) as objects:
        if not isinstance(budgets, str):
            raise Usage(
                f"budgets={budgets!r} is of type {type(budgets).__name__}; give a text, as in "
                "budgets='updates=300|1000|3000'."
            )
        request = _request(optimizers, problem, objects, **options)
        found = running.compare_budgets(request, budgets)
        assert found is not None
    return BudgetResult(request.store, found.summary)


def _request(optimizers: Any, problem: Any, objects: Objects, **given: Any) -> Request:
    """Return the request; an argument of `compare` that is not given has its default there."""
    declared = inspect.signature(compare).parameters
    options = {name: each.default for name, each in declared.items()} | given
    whole: dict[str, Any] = {
        name: _whole(name, options[name]) for name in ("seeds", "threads", "nproc_per_node")
    }
    words = {
        "precision": ("fp32", "tf32", "fp64"),
        "device": ("auto", "cpu", "cuda"),
        "mode": ("trials", "data"),
    }
    chosen: dict[str, Any] = {n: _one_of(n, options[n], allowed) for n, allowed in words.items()}
    settings = settings_for("compare")
    tune, data_dir, mlflow = (options[name] for name in ("tune", "data_dir", "mlflow"))
    return Request(
        optimizers=text_of_optimizers(optimizers, objects),
        problem=text_of_problem(problem, objects),
        preset=_preset(options["preset"], problem),
        tune="none" if tune is None else str(tune),
        tune_seeds=_whole("tune_seeds", options["tune_seeds"]) or 0,
        budget=_text("budget", options["budget"], "gradients=600000"),
        dry_run=False,
        data_dir=settings["data_dir"] if data_dir is None else os.fspath(data_dir),
        store=store_url(_text("store", options["store"], STORE) or settings["store"]),
        no_mlflow=settings["no_mlflow"] if mlflow is None else not mlflow,
        tracking_uri=_tracking(options["tracking_uri"], settings),
        **{name: options[name] for name in ("timed", "fresh", "extend", "metric")},
        **whole,
        **chosen,
    )


def load(id: str, store: str | None = None, *, metric: str | None = None) -> Result:
    """Return a recorded comparison.

    Args:
        id: its id, or the beginning of it.
        store: the URL of the database with the results; by default as for `bench.compare`.
        metric: judge by this metric, as for `bench.compare`; by default as it was recorded.

    Returns:
        The comparison, done or not.

    Raises:
        bench.Usage: where there is no such comparison, or several; it names the nearest.
        bench.Infrastructure: where there is no such store.

    Example:
        bench.load("3f2a").table
    """
    with call(store, progress=False):
        if not isinstance(id, str):
            raise Usage(
                f"id={id!r} is of type {type(id).__name__}; give the id of a comparison as a text, "
                "as in bench.load('3f2a'). bench.comparisons() lists them."
            )
        url = _store(store)
        with Store.open(url, create=False) as opened:
            opened.end_abandoned()
    return Result(url, id, metric)


def comparisons(store: str | None = None) -> pd.DataFrame:
    """Return all recorded comparisons, single runs and tunings, the newest first.

    Args:
        store: the URL of the database with the results; by default as for `bench.compare`.

    Returns:
        A table with a row for each.

    Raises:
        bench.Infrastructure: where there is no such store.

    Example:
        bench.comparisons().query("problem == 'curves'")
    """
    with call(store, progress=False), Store.open(_store(store), create=False) as opened:
        opened.end_abandoned()
        found = opened.comparisons(None)
        open_ = [record.id for record in found if record.summary is None]
        begun = opened.methods_and_seeds(open_)
        return frames.comparisons(found, {id: list(begun.get(id, ())) for id in open_})


def check(
    what: Any, *, preset: str | None = None, data_dir: str | os.PathLike[str] | None = None
) -> CheckResult:
    """Try the laws on a problem or an optimizer, as `bench check` does.

    Args:
        what: an optimizer or a problem, as `bench.compare` takes it.
        preset: of a problem.
        data_dir: a folder that is searched for data first.

    Returns:
        What came of every law. A broken law is no error: `ok` says whether there is one.

    Raises:
        bench.Usage: where it is neither a problem nor an optimizer.
        bench.Infrastructure: where data is missing.

    Example:
        bench.check("nag").ok
    """
    with call(progress=False) as objects:
        settings = settings_for("check", "what")
        is_problem = isinstance(what, Problem)
        text = text_of_problem(what, objects) if is_problem else text_of_optimizers(what, objects)
        folder = settings["data_dir"] if data_dir is None else os.fspath(data_dir)
        return CheckResult(subject.check(text, _preset(preset, what), folder))


def noise(
    suite: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    store: str | None = None,
    mlflow: bool | None = None,
    tracking_uri: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure how much a suite's metrics scatter where nothing changes, as `bench noise` does.

    Args:
        suite: the suite's file.
        data_dir: a folder that is searched for data first.
        store: the URL of the database with the results; by default as for `bench.compare`.
        mlflow: whether results are copied to MLflow; by default as for `bench.compare`.
        tracking_uri: another MLflow than the one in the store's database.
        progress: show notices, and a bar for each fleet in a terminal or a notebook.

    Returns:
        A table with a row for each metric: its standard deviation, and the threshold of a night.

    Raises:
        bench.Usage: where the suite is not as it should be.
        bench.Infrastructure: where data, store, device or a process failed.

    Example:
        bench.noise("nightly.toml")
    """
    with call(store, tracking_uri, progress=progress):
        settings = settings_for("noise", os.fspath(suite))
        folder = settings["data_dir"] if data_dir is None else os.fspath(data_dir)
        without = settings["no_mlflow"] if mlflow is None else not mlflow
        url = store_url(store or settings["store"])
        options = StorageOptions(url, folder, without, _tracking(tracking_uri, settings))
        read = Suite.read(Path(suite))
        # What a module of the user's prints is no result.
        with redirect_stdout(sys.stderr):
            body = measure_noise(read, options)
        return frames.frame(frames.NOISE, with_thresholds(body)["metrics"])


def _store(given: str | None) -> str:
    return store_url(_text("store", given, STORE) or settings_for("show", "id")["store"])


def _preset(given: str | None, of: Any) -> str:
    own = of.preset if isinstance(of, Problem) else None
    if own is not None and given not in (None, own):
        raise Usage(f"preset={given!r}: this problem was made at preset {own}. Leave it out.")
    return str(given or own or "quick")


def _tracking(given: str | None, settings: dict[str, Any]) -> str | None:
    if given and "://" not in given:
        raise Usage(
            f"tracking_uri={given!r}: write the address of a tracking server, as in "
            "https://mlflow.example.org, or the URL of a database."
        )
    return given or settings["tracking_uri"]


def _one_of(name: str, given: str, allowed: tuple[str, ...]) -> str:
    if given not in allowed:
        raise Usage(
            f"{name}={given!r}{nearest(str(given), allowed)} Allowed: {', '.join(allowed)}."
        )
    return given


def _text(name: str, given: str | None, example: str) -> str | None:
    if given is not None and not isinstance(given, str):
        raise Usage(
            f"{name}={given!r} is of type {type(given).__name__}; give a text, as in "
            f"{name}={example!r}."
        )
    return given


def _whole(name: str, given: int | None) -> int | None:
    if given is not None and (isinstance(given, bool) or not hasattr(given, "__index__")):
        raise Usage(f"{name}={given!r} is not a whole number.")
    return None if given is None else int(given)
