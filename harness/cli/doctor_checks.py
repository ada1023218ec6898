"""The checks of `bench doctor`, one function for each subject."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.harness.core.errors import BenchError, Infrastructure, Usage

if TYPE_CHECKING:
    from sqlalchemy import URL

    from bench.harness.store.results import Store

_GIB = 2**30
_MIN_FREE_BYTES = 2**28
"""With less free disk space, recording is likely to fail in the middle of a comparison."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    state: Literal["ok", "missing", "problem"]
    name: str
    detail: str
    """What the machine has, or else what to do."""
    needed: bool = True
    """Whether a comparison on the CPU needs the subject of this check."""


def examine(store: str, data_dir: str | None) -> list[Finding]:
    """Run all checks; an error in one check is reported as a problem and does not stop the others.

    Raises Usage if `store` or `data_dir` is not valid.
    """
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": _python,
        "torch": _torch,
        "libraries": _libraries,
        "machine": _machine,
        "GPU": _gpu,
        "numba-cuda": _numba_cuda,
        "numba cache": _numba_cache,
        "store": partial(_store, store),
        "data": partial(_data, data_dir),
        "torch.distributed": _distributed,
    }
    return [finding for name, check in checks.items() for finding in _safely(name, check)]


def _safely(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Usage:
        raise
    # A broken installation can raise any of these: libraries do not load, numba has no folder.
    except (BenchError, ImportError, OSError, RuntimeError, AttributeError) as error:
        needed = name not in ("GPU", "numba-cuda", "torch.distributed")
        yield Finding("problem", name, str(error), needed)


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} in {sys.prefix}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("ok", "python", found)
    else:
        yield Finding("problem", "python", f"{found}; bench runs on Python 3.11 to 3.13.")


def _torch() -> Iterator[Finding]:
    import torch

    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    yield Finding("ok", "torch", f"{torch.__version__}, {build}")


def _libraries() -> Iterator[Finding]:
    for package, needed in (("numba", True), ("sqlalchemy", True), ("mlflow", False)):
        try:
            yield Finding("ok", package, version(package))
        except PackageNotFoundError:
            later = "" if needed else " `bench db sync` copies results to MLflow later."
            todo = f"`pip install bench-harness` installs it.{later}"
            yield Finding("missing", package, todo, needed)


def _machine() -> Iterator[Finding]:
    import torch

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = f"{allowed} cores for this process, {torch.get_num_threads()} threads for torch"
    yield Finding("ok", "processor", cores)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding("ok", "memory", f"{memory / _GIB:.1f} GiB")


def _gpu() -> Iterator[Finding]:
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_available = torch.cuda.is_available()
    if is_available:
        for i in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(i)
            memory = f"{device.total_memory / _GIB:.0f} GiB"
            capability = f"compute capability {device.major}.{device.minor}"
            yield Finding("ok", "GPU", f"{device.name}, {memory}, {capability}", needed=False)
        return
    driver = Path("/proc/driver/nvidia/version").exists()
    if caught:
        why = str(caught[-1].message).split("\n")[0]
    elif torch.version.cuda is None:
        but = "there is an NVIDIA driver, but " if driver else ""
        why = f"{but}this torch is a CPU build; pytorch.org lists the CUDA builds."
    elif driver:
        why = "there is an NVIDIA driver, but this process sees no device."
    else:
        why = "no NVIDIA driver is loaded."
    yield Finding("missing", "GPU", f"{why} Comparisons run on the CPU.", needed=False)


def _numba_cuda() -> Iterator[Finding]:
    from bench.optim.momentum.update_cuda import obstacle

    if found := obstacle("cuda"):
        detail = f"{found.reason}, so nag@numba-cuda is not available. {found.remedy}."
        yield Finding("missing", "numba-cuda", detail, needed=False)
    else:
        yield Finding("ok", "numba-cuda", version("numba-cuda"), needed=False)


def _numba_cache() -> Iterator[Finding]:
    import numba

    from bench.optim.momentum.update_cpu import fused_update

    try:
        # Numba compiles at the first call, but it looks for a folder immediately.
        folder = numba.njit(cache=True)(fused_update).stats.cache_path
    except RuntimeError:
        todo = "numba finds no writable folder: set NUMBA_CACHE_DIR to a writable folder."
        yield Finding("problem", "numba cache", todo)
    else:
        yield Finding("ok", "numba cache", str(folder))


def _store(given: str) -> Iterator[Finding]:
    from bench.harness.core.store_url import parse_store_url, redacted_url
    from bench.harness.store.results import Store

    url = parse_store_url(given)
    file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    try:
        # This check does not create a store that does not exist yet.
        opened = None if file and not file.exists() else Store.open(given, create=False)
    except Infrastructure:
        if not _is_vacant(url):
            raise
        opened = None
    if opened is not None:
        with opened:
            # This changes no row, but it fails without the right to write.
            opened.heartbeat("doctor")
            detail = f"{opened.redacted_url}, revision {_revision(opened)}, writable"
            yield Finding("ok", "store", detail)
            yield _disk(opened.artifacts)
        return
    place = _existing(file) if file else Path.cwd()
    if not os.access(place, os.W_OK):
        todo = f"{place} is read-only: make it writable, or give another place with --store."
        yield Finding("problem", "store", todo)
    else:
        made = file or redacted_url(url)
        yield Finding("ok", "store", f"none yet; the first comparison creates it: {made}")
    yield _disk(place)


def _is_vacant(url: URL) -> bool:
    """Say whether the database answers and can take a store: it has no tables but MLflow's."""
    from sqlalchemy import create_engine, inspect

    from bench.harness.store.failures import database_errors
    from bench.harness.store.tables import VERSION_TABLE

    server = url.get_backend_name() != "sqlite"
    try:
        with database_errors(url):
            patience = {"connect_timeout": 10} if server else {}
            engine = create_engine(url, connect_args=patience, hide_parameters=True)
            tables = set(inspect(engine).get_table_names())
            engine.dispose()
    except (Infrastructure, ImportError):
        return False
    mine = server or not tables or {"experiments", "runs"} <= tables
    return VERSION_TABLE not in tables and mine


def _revision(store: Store) -> str:
    from sqlalchemy import create_engine, text

    from bench.harness.store.tables import VERSION_TABLE

    engine = create_engine(store.url, hide_parameters=True)
    with engine.connect() as connection:
        revision = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    engine.dispose()
    return str(revision)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _disk(wanted: Path) -> Finding:
    folder = _existing(wanted)
    free = shutil.disk_usage(folder).free
    if free < _MIN_FREE_BYTES:
        todo = (
            f"{free / 2**20:.0f} MiB free in {folder}: free some space, or give another place "
            "with --store."
        )
        return Finding("problem", "disk", todo)
    return Finding("ok", "disk", f"{free / _GIB:.1f} GiB free in {folder}")


def _data(data_dir: str | None) -> Iterator[Finding]:
    from bench.harness.cli.data import DATASETS
    from bench.harness.core.paths import data_source

    source = data_source(data_dir)
    for name in DATASETS:
        states = list(import_module(f"bench.models.data.{name}").states(source))
        damaged = [state for state in states if state.state == "damaged"]
        absent = [state for state in states if state.state == "absent"]
        found = [str(state.path.parent) for state in states if state.path]
        wanted = len(found) + len(absent)
        label, files = f"data: {name}", f"{wanted} file{'s' if wanted > 1 else ''}"
        # Not needed: a comparison may use other data.
        if damaged:
            yield Finding("problem", label, damaged[0].detail, needed=False)
        elif absent:
            todo = (
                f"{len(absent)} of {files} absent: run `bench data fetch {name}`, or give their "
                "folder with --data-dir."
            )
            yield Finding("missing", label, todo, needed=False)
        elif not found:
            yield Finding("ok", label, "generated when it is first used", needed=False)
        else:
            where = " and ".join(dict.fromkeys(found))
            yield Finding("ok", label, f"{files} verified in {where}", needed=False)


def _distributed() -> Iterator[Finding]:
    import torch.distributed as dist

    found = []
    if dist.is_available():
        found = [name for name in ("gloo", "nccl", "mpi") if dist.is_backend_available(name)]
    if found:
        yield Finding("ok", "torch.distributed", ", ".join(found), needed=False)
    else:
        todo = "this torch has no backend, so a comparison cannot use several ranks."
        yield Finding("missing", "torch.distributed", todo, needed=False)
