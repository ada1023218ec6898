"""The quick laws of `bench check`, tried once on every optimizer that is not built in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness.check.method_laws import QUICK, quick_laws
from bench.harness.check.small_problems import network_for
from bench.harness.core.notices import quiet, say
from bench.harness.core.paths import cache_folder
from bench.harness.core.sources import source_digest
from bench.harness.core.spec import key_of
from bench.harness.planning.plan import versions
from bench.optim.hyperparameters import UsageError
from bench.optim.objective import Method
from bench.optim.registry import draws_nothing


def law_notes(methods: Iterable[Method]) -> list[str]:
    """Return a sentence for every method of somebody's own that breaks a quick law.

    What was found is kept in the user's cache, under the method's source, hyperparameters and
    versions, so that later comparisons do not try it again.
    """
    notes = []
    for method in methods:
        # bench's own methods and torch's are held to the laws by its tests.
        if draws_nothing(method):
            continue
        try:
            network_for(method)
        except UsageError as error:
            notes.append(f"No law was tried on {method.name}. {error}")
            continue
        broken = _broken(method)
        if broken:
            laws = "; ".join(broken)
            notes.append(
                f"{method.name} breaks {len(broken)} of the {len(QUICK)} laws that every "
                f"comparison tries: {laws}. Do not trust its result before `bench check` on it "
                "finds nothing."
            )
    return list(dict.fromkeys(notes))


def _broken(method: Method) -> list[str]:
    """Return the quick laws that a method breaks, from the cache if it was tried before."""
    key = key_of(
        {
            "source": source_digest(type(method)),
            "backend": method.backend,
            "hyperparameters": dict(method.hyperparameters),
            "versions": versions(),
            "laws": list(QUICK),
        }
    )
    file = cache_folder() / "laws" / f"{key}.json"
    if (known := _read(file)) is not None:
        return known
    say(f"Trying {len(QUICK)} laws of `bench check` on {method.name}, once for this source.")
    with quiet():
        findings = quick_laws(partial(_made, method))
    broken = [finding.law for finding in findings if finding.state == "fails"]
    # A cache that cannot be written costs another trial of the laws, no more.
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(broken), "utf-8")
    return broken


def _read(file: Path) -> list[str] | None:
    try:
        found: Any = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, list) or not all(name in QUICK for name in found):
        return None
    return found


def _made(method: Method, **given: object) -> Method:
    """Return the method anew, with other values if given."""
    values: Mapping[str, object] = {**method.hyperparameters, **given}
    return type(method)(method.backend, **values)
