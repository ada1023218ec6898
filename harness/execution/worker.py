"""A rank under torchrun, which trains fleets of a comparison.

In `torchrun … -m bench.harness.execution.worker PLAN`, PLAN is the file that `bench compare
--plan` writes. All ranks first see that they have the same plan, versions and data. Then each
leases fleets from the store (mode trials), or all train one fleet after the other together (mode
data).
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.harness.core.errors import BenchError, Infrastructure, Usage
from bench.harness.core.secrets import secrets_of, without
from bench.harness.core.spec import key_of
from bench.harness.distributed.process_group import Group
from bench.harness.distributed.ranks import Ranks
from bench.harness.execution.messages import TOLD, Kept, Moved, Said, Wrong, tell
from bench.harness.execution.run import Run, follow, run_of
from bench.harness.planning.plan import PlanFile, changed, see_unchanged, sources_of, versions
from bench.harness.planning.preparation import Prepared, machine_of, prepare
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import Interrupted, signals
from bench.optim.hyperparameters import Unavailable, UsageError

PATIENCE = 30.0
"""Seconds that torchrun's death leaves to end in order."""


class Rank:
    """One of the processes that carry a plan out."""

    def __init__(self, plan: PlanFile, interrupted: Interrupted) -> None:
        self._plan, self._interrupted = plan, interrupted
        self._recorder: Recorder | None = None

    def work(self) -> None:
        """Train what there is; Infrastructure where the ranks are not alike."""
        kind: Any = machine_of(self._plan.request).device.type
        with Group(kind, self._give_up) as ranks:
            prepared = prepare(self._plan.request)
            see_alike(ranks, self._plan, prepared)
            if self._plan.mode == "data":
                self._together(prepared, ranks)
        if self._plan.mode == "trials":
            # Ranks have nothing to say to each other any more, and one may end long before others.
            with self._recording(prepared) as run, run.recorder() as recorder:
                while not self._interrupted and (fleet := run.lease()) is not None:
                    run.train(fleet, recorder, moved(fleet.number))
                self._close(recorder)
                self._way_on(run)

    def _together(self, prepared: Prepared, ranks: Ranks) -> None:
        if ranks.rank > 0:
            self._follow(prepared, ranks)
            return
        with self._recording(prepared) as run, run.recorder() as recorder:
            self._recorder = recorder
            self._lead(run, recorder, ranks)
            self._close(recorder)
            self._way_on(run)

    @contextmanager
    def _recording(self, prepared: Prepared) -> Iterator[Run]:
        with Store.open(self._plan.request.store, create=False) as store:
            store.comparison(self._plan.comparison_id)
            yield run_of(prepared, store, self._plan.comparison_id, self._interrupted, say)

    def _close(self, recorder: Recorder) -> None:
        if not recorder.close():
            tell(Kept())

    def _way_on(self, run: Run) -> None:
        """Tell who started torchrun by hand how the comparison stands."""
        if os.environ.get(TOLD):
            return
        id = run.comparison_id
        left = sum(fleet.status != "ended" for fleet in run.store.fleets(id))
        stands = f"has {left} fleets that are not trained" if left else "is trained"
        say(f"Comparison {id} {stands}; `bench resume {id}` goes on with it, and judges it.")

    def _lead(self, run: Run, recorder: Recorder, ranks: Ranks) -> None:
        while not ranks.any(bool(self._interrupted))[0]:
            fleet = run.lease()
            ranks.first(None if fleet is None else fleet.number)
            if fleet is None:
                return
            run.train(fleet, recorder, moved(fleet.number), ranks)

    def _follow(self, prepared: Prepared, ranks: Ranks) -> None:
        machine = prepared.machine
        tensors = DeviceData.put(prepared.data, machine.device, machine.dtype)
        while not ranks.any(bool(self._interrupted))[0]:
            number: int | None = ranks.first(None)
            if number is None:
                return
            follow(self._plan.tasks[number], prepared, tensors, ranks, self._interrupted)

    def _give_up(self, sentence: str) -> None:
        """End this process although it waits for others: what was measured is recorded first."""
        tell(Wrong(sentence, Infrastructure.exit_code))
        if self._recorder is not None:
            # Whoever holds it may be what hangs.
            closing = threading.Thread(target=self._recorder.close, daemon=True)
            closing.start()
            closing.join(PATIENCE)
        os._exit(Infrastructure.exit_code)


def see_alike(ranks: Ranks, plan: PlanFile, prepared: Prepared) -> None:
    """See that all ranks have the plan, the versions and the data of the first, and of the plan."""
    name = this_process()
    mine: dict[str, Any] = {
        "plan": plan.digest,
        **versions(),
        "data": prepared.protocol.data_digest,
        "sources": key_of(sources_of(plan.tasks, prepared)),
    }
    first, theirs = ranks.first((name, mine))
    other = next((key for key in mine if mine[key] != theirs[key]), None)
    if other is not None:
        say(
            f"Rank {ranks.rank} ({name}) has {_called(other)} {mine[other]}, and rank 0 ({first}) "
            f"has {theirs[other]}: all ranks of a run must have the same. Nothing was run."
        )
    if ranks.any(other is not None)[0]:
        raise Infrastructure(
            f"Rank {ranks.rank} ({name}) ends, since the ranks are not alike; nothing was run."
        )
    see_unchanged(plan.plan, prepared)
    if sources_of(plan.tasks, prepared) != [task.digest for task in plan.tasks]:
        raise changed()


def _called(what: str) -> str:
    names = {
        "plan": "a plan with digest",
        "data": "data with digest",
        "sources": "files of methods and problem with digest",
    }
    return names.get(what, f"{what} version")


def say(sentence: str) -> None:
    """Tell the person something."""
    tell(Said(sentence))


def moved(fleet: int) -> Callable[[Progress], None]:
    """Return what tells the progress of a fleet."""
    return lambda p: tell(Moved(fleet, p.fraction, p.updates, p.loss, p.seconds))


def _follow_parent(interrupted: Interrupted) -> None:
    """Stop in order once torchrun is gone; it may have been killed."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    interrupted.name = interrupted.name or "the end of torchrun"
    time.sleep(PATIENCE)
    os._exit(1)


def _main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise Usage(
            "Write torchrun … -m bench.harness.execution.worker PLAN, the file that --plan wrote."
        )
    plan = PlanFile.read(Path(arguments[0]), os.environ.get("BENCH_STORE"))
    sys.argv[:] = plan.plan.argv
    with signals() as interrupted:
        threading.Thread(target=_follow_parent, args=(interrupted,), daemon=True).start()
        Rank(plan, interrupted).work()
        return 130 if interrupted else 0


if __name__ == "__main__":
    code = 4
    try:
        code = _main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except (BenchError, UsageError, Unavailable) as error:
        if not isinstance(error, Unavailable):
            code = error.exit_code if isinstance(error, BenchError) else Usage.exit_code
        tell(Wrong(str(error), code))
    except Exception as error:
        secrets = secrets_of(os.environ.get("BENCH_STORE", ""))
        sys.stderr.write(without(traceback.format_exc(), secrets))
        tell(Wrong(without(f"{type(error).__name__}: {error}", secrets), code))
    with suppress(OSError):
        sys.stderr.flush()
    # Threads of the libraries may wait for ranks that are gone.
    os._exit(code)
