"""Places in the form that MLflow understands."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import URL, make_url


def mlflow_uri(uri: str) -> str:
    """Return a database's URI for MLflow, which also takes the text of the URI for a path.

    MLflow makes the folder that stands in the URI, with %20 and the like as they are. So a path
    stands there as it is; one that would be read as another path is reached through a link.
    """
    if not uri.startswith("sqlite:"):
        return uri
    path = Path(make_url(uri).database or "").absolute()
    plain = f"sqlite:///{path}"
    return plain if _reads_as(plain, path) else f"sqlite:///{_link_to(path)}"


def _reads_as(uri: str, path: Path) -> bool:
    return make_url(uri) == URL.create("sqlite", database=str(path))


@cache
def _link_to(file: Path) -> Path:
    """Return a link to a file, with a plain name; it goes with this process."""
    place = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (link := place / "bench.db").symlink_to(file)
    return link
