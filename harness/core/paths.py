"""Folders: of data files, of generated data, and the one that `bench` is imported from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.core.errors import Usage

if TYPE_CHECKING:
    from bench.models.problem import DataSource


def data_source(data_dir: str | None) -> DataSource:
    """Return the folders to search: `data_dir`, then BENCH_DATA_DIR, then the user's cache.

    Nothing is created. Raises Usage if a folder that the user named does not exist.
    """
    # Imported here, since the command line must start without torch.
    from bench.models.problem import DataSource

    variable = os.environ.get("BENCH_DATA_DIR")
    # The command line passes the variable as if it were the flag; messages name the variable.
    flag = None if data_dir == variable else data_dir
    named = (("--data-dir", flag), ("BENCH_DATA_DIR", variable))
    folders: list[Path] = []
    for origin, text in named:
        if not text:
            continue
        folder = Path(text).expanduser().absolute()
        if not os.path.isdir(folder):
            raise Usage(f"{origin}={text} is not a folder; name one that exists, or leave it out.")
        if folder not in folders:
            folders.append(folder)
    return DataSource(tuple(folders), cache_folder())


def cache_folder() -> Path:
    """Return the folder for generated and downloaded data: BENCH_CACHE_DIR, or the user's cache."""
    import platformdirs

    text = os.environ.get("BENCH_CACHE_DIR")
    if text:
        return Path(text).expanduser().absolute()
    return platformdirs.user_cache_path("bench", appauthor=False)


def python_path() -> str:
    """Return the PYTHONPATH with which a child process imports the same `bench` as this one."""
    import bench

    folder = str(Path(bench.__file__).parents[1])
    return os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
