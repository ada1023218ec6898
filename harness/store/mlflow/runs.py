"""Writes runs through MLflow's public client, so that writing twice leaves what writing once does.

A run is found again by a tag that holds its identity, whether its number was lost, the run was
deleted on MLflow's page, or MLflow's tables were made anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.harness.core.errors import Infrastructure
from bench.harness.store.mlflow.entries import (
    DIGEST_LENGTH,
    TAG_LENGTH,
    Point,
    distinct_name,
    text,
)
from bench.harness.store.mlflow.view import VIEW_TAG

TRIAL, COMPARISON = "bench.trial", "bench.comparison"
"""The tags by which a trial's run and a comparison's are found; a trial's may have both."""
_BATCH = {"metrics": 800, "params": 100, "tags": 100}
"""A batch takes 1,000 entries, of which 100 parameters and 100 tags."""
_LOCATION_LENGTH = 157
"""MLflow adds 43 characters to an artifact location and keeps 200."""


@dataclass
class MlflowRun:
    """A run in MLflow."""

    id: str
    is_new: bool
    """Whether everything must be written again, because earlier records do not apply to it."""
    status: str


class Runs:
    """The experiments and runs of one MLflow, each looked up once.

    `entities` is MLflow's module of this name and `client` its client, handed in so that this file
    can be imported without it; `artifacts` the folder for new experiments' files, where None leaves
    that to a tracking server; `answered` is called before the first call to MLflow and after every
    one that succeeds.
    """

    def __init__(
        self, entities: Any, client: Any, artifacts: Path | None, answered: Callable[[], None]
    ) -> None:
        self._entities = entities
        self._client = _ObservedClient(client, answered)
        self._artifacts = artifacts
        self._experiments: dict[str, str] = {}
        self._views: dict[str, str | None] = {}
        self._names: dict[str, dict[str, Mapping[str, str]]] = {}
        self._known: dict[str, dict[str, list[Any]]] = {}

    def experiment(self, name: str, view: str) -> str:
        """Return the experiment's id; make it, or bring it back, with its prepared view."""
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                number = self._client.create_experiment(name, artifact_location=self._location())
            else:
                number = found.experiment_id
                if found.lifecycle_stage == "deleted":
                    self._client.restore_experiment(number)
            self._views[number] = None if found is None else found.tags.get(VIEW_TAG)
            self._known[number] = self._search(number)
            runs = chain.from_iterable(self._known[number].values())
            self._names[number] = {run.info.run_name: run.data.params for run in runs}
            self._experiments[name] = number
        number = self._experiments[name]
        if self._views[number] != view:
            self._client.set_experiment_tag(number, VIEW_TAG, view)
            self._views[number] = view
        return number

    def find_run(self, experiment: str, identity: str, recorded: str | None) -> MlflowRun | None:
        """Return the run with this identity, the recorded one first; bring it back if deleted.

        Where two processes have made a run each, the other one is deleted.
        """
        known = self._known[experiment].get(identity, [])
        if not known:
            return None
        known.sort(key=lambda run: (run.info.run_id != recorded, _deleted(run), run.info.run_id))
        first, *others = known
        for other in others:
            if not _deleted(other):
                self._client.delete_run(other.info.run_id)
        if _deleted(first):
            self._client.restore_run(first.info.run_id)
        self._known[experiment][identity] = [self._client.get_run(first.info.run_id)]
        return MlflowRun(first.info.run_id, first.info.run_id != recorded, first.info.status)

    def run(
        self,
        experiment: str,
        tag: tuple[str, str],
        recorded: str | None,
        name: str,
        start: int,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> MlflowRun:
        """Return the run with this identifying tag; create one if there is none.

        If another run there has its name, it is told from that one by the parameters that differ.
        """
        key, identity = tag
        found = self.find_run(experiment, identity, recorded)
        if found is None:
            taken = self._names[experiment]
            name = distinct_name(name, identity, parameters, taken)
            taken[name] = parameters
            made = self._client.create_run(
                experiment, start_time=start, run_name=name, tags={key: identity}
            )
            self._known[experiment][identity] = [made]
            found = MlflowRun(made.info.run_id, True, made.info.status)
        return found

    def write(
        self,
        run: str,
        points: Sequence[Point] = (),
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write values of metrics, parameters and tags, in batches."""
        of = self._entities
        metrics = [of.Metric(p.key, p.value, p.timestamp, p.step) for p in points]
        params = [of.Param(key, value) for key, value in (parameters or {}).items()]
        marks = [of.RunTag(key, value) for key, value in (tags or {}).items()]
        for batch in zip_longest(
            _split(metrics, _BATCH["metrics"]),
            _split(params, _BATCH["params"]),
            _split(marks, _BATCH["tags"]),
            fillvalue=(),
        ):
            self._client.log_batch(run, *batch)

    def data(self, run: str, name: str, digest: str) -> None:
        """Record the data set that a run was trained on."""
        of = self._entities
        dataset = of.Dataset(
            name=text(name, 500),
            digest=digest[:DIGEST_LENGTH],
            source_type="bench",
            source=json.dumps({"name": name, "sha256": digest}),
        )
        context = of.InputTag(key="mlflow.data.context", value="training")
        self._client.log_inputs(run, [of.DatasetInput(dataset, [context])])

    def files(self, run: str, folder: Path) -> None:
        """Copy the files of a folder that MLflow does not have, or has with another size."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        known = dict(self._artifacts_of(run)) if paths else {}
        for path in paths:
            inside = path.relative_to(folder)
            if known.get(inside.as_posix()) != path.stat().st_size:
                parent = inside.parent.as_posix()
                self._client.log_artifact(run, str(path), None if parent == "." else parent)

    def add_to_tag(self, run: str, key: str, value: str) -> None:
        """Add a word to the list in a tag."""
        words = [
            word for word in self._client.get_run(run).data.tags.get(key, "").split(", ") if word
        ]
        if value not in words:
            self._client.set_tag(run, key, text(", ".join([*words, value]), TAG_LENGTH))

    def text(self, run: str, content: str, file: str) -> None:
        """Save a text as a file of the run."""
        self._client.log_text(run, content, file)

    def status(self, run: MlflowRun, status: str, end: int | None) -> None:
        """Record that a run continues, or how and when it ended."""
        if status != "RUNNING":
            self._client.set_terminated(run.id, status, end)
        elif run.status != "RUNNING":
            self._client.update_run(run.id, status)

    def _location(self) -> str | None:
        if self._artifacts is None:
            return None
        location = (self._artifacts / "mlflow").absolute().as_uri()
        if len(location) > _LOCATION_LENGTH:
            raise Infrastructure(
                f"The folder for MLflow's files, {location}, is longer than "
                f"{_LOCATION_LENGTH} characters; choose a shorter one with --store."
            )
        return location

    def _search(self, experiment: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        token = None
        while True:
            page = self._client.search_runs(
                [experiment],
                run_view_type=self._entities.ViewType.ALL,
                max_results=1000,
                page_token=token,
            )
            for run in page:
                if identity := run.data.tags.get(TRIAL) or run.data.tags.get(COMPARISON):
                    found.setdefault(identity, []).append(run)
            token = page.token
            if not token:
                return found

    def _artifacts_of(self, run: str, path: str | None = None) -> Iterator[tuple[str, int | None]]:
        for entry in self._client.list_artifacts(run, path):
            if entry.is_dir:
                yield from self._artifacts_of(run, entry.path)
            else:
                yield entry.path, entry.file_size


class _ObservedClient:
    """MLflow's client, which calls `answered` after every answer."""

    def __init__(self, client: Any, answered: Callable[[], None]) -> None:
        self._client, self._answered = client, answered
        answered()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            result = method(*arguments, **named)
            self._answered()
            return result

        return call


def _deleted(run: Any) -> bool:
    return bool(run.info.lifecycle_stage == "deleted")


def _split(items: list[Any], size: int) -> list[list[Any]]:
    return [items[at : at + size] for at in range(0, len(items), size)]
