"""A rank of torchrun, which trains fleets of a comparison.

In `torchrun … -m bench.harness.execution.worker PLAN`, PLAN is the file that `bench compare
--plan` writes. The ranks first check that they have the same plan, versions and data. Then each
rank leases fleets from the store (mode trials), or all ranks train one fleet after the other
together (mode data).
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
from bench.harness.core.secrets import redacted, secrets_in
from bench.harness.core.spec import key_of
from bench.harness.core.streams import secure_streams
from bench.harness.distributed.process_group import ProcessGroup
from bench.harness.distributed.ranks import Ranks
from bench.harness.execution.leased_fleet import LeasedFleet, train_without_recording
from bench.harness.execution.messages import (
    LISTENER_VARIABLE,
    FleetProgress,
    Notice,
    RankError,
    StoreIncomplete,
    send_message,
)
from bench.harness.execution.run import Run, make_run
from bench.harness.planning.plan import (
    PlanFile,
    changed_error,
    check_unchanged,
    task_digests,
    versions,
)
from bench.harness.planning.preparation import PreparedRequest, prepare, select_machine
from bench.harness.store.owner import this_process
from bench.harness.store.recorder import Recorder
from bench.harness.store.results import Store
from bench.harness.training.cases import DeviceData
from bench.harness.training.fleet import Progress
from bench.harness.training.interrupt import InterruptFlag, catch_signals
from bench.models.errors import ProblemError
from bench.optim.hyperparameters import Unavailable, UsageError

GRACE_SECONDS = 30.0
"""Seconds between the death of torchrun and the end of this process."""


class RankWorker:
    """A rank that trains fleets of a plan."""

    def __init__(self, plan: PlanFile, interrupted: InterruptFlag) -> None:
        self._plan, self._interrupted = plan, interrupted
        self._recorder: Recorder | None = None

    def work(self) -> None:
        """Train all fleets that wait; raises Infrastructure if the ranks have different inputs."""
        kind: Any = select_machine(self._plan.request).device.type
        with ProcessGroup(kind, self._give_up) as ranks:
            prepared = prepare(self._plan.request)
            require_same_inputs(ranks, self._plan, prepared)
            if self._plan.mode == "data":
                self._train_together(prepared, ranks)
        if self._plan.mode == "trials":
            # Outside the process group, because a rank may end long before the others.
            with self._recording(prepared) as run, run.recorder() as recorder:
                while not self._interrupted and (fleet := run.lease()) is not None:
                    LeasedFleet(run, fleet, recorder, progress_sender(fleet.number)).train()
                self._close(recorder)
                self._print_next_step(run)

    def _train_together(self, prepared: PreparedRequest, ranks: Ranks) -> None:
        if ranks.rank > 0:
            self._train_as_other(prepared, ranks)
            return
        with self._recording(prepared) as run, run.recorder() as recorder:
            self._recorder = recorder
            self._train_as_first(run, recorder, ranks)
            self._close(recorder)
            self._print_next_step(run)

    @contextmanager
    def _recording(self, prepared: PreparedRequest) -> Iterator[Run]:
        with Store.open(self._plan.request.store, create=False) as store:
            store.comparison(self._plan.comparison_id)
            yield make_run(prepared, store, self._plan.comparison_id, self._interrupted, say)

    def _close(self, recorder: Recorder) -> None:
        if not recorder.close():
            send_message(StoreIncomplete())

    def _print_next_step(self, run: Run) -> None:
        """Print the state of the comparison, if a person has started torchrun."""
        if os.environ.get(LISTENER_VARIABLE):
            return
        id = run.comparison_id
        left = sum(fleet.status != "ended" for fleet in run.store.fleets(id))
        state = f"has {left} fleets that are not trained" if left else "is trained"
        say(f"Comparison {id} {state}; `bench resume {id}` goes on with it and shows the result.")

    def _train_as_first(self, run: Run, recorder: Recorder, ranks: Ranks) -> None:
        while not ranks.any(bool(self._interrupted))[0]:
            fleet = run.lease()
            ranks.broadcast(None if fleet is None else fleet.number)
            if fleet is None:
                return
            LeasedFleet(run, fleet, recorder, progress_sender(fleet.number), ranks).train()

    def _train_as_other(self, prepared: PreparedRequest, ranks: Ranks) -> None:
        machine = prepared.machine
        tensors = DeviceData.from_data(prepared.data, machine.device, machine.dtype)
        while not ranks.any(bool(self._interrupted))[0]:
            number: int | None = ranks.broadcast(None)
            if number is None:
                return
            train_without_recording(
                self._plan.tasks[number], prepared, tensors, ranks, self._interrupted
            )

    def _give_up(self, sentence: str) -> None:
        """Record all measurements, then end this process although it waits for other ranks."""
        send_message(RankError(sentence, Infrastructure.exit_code))
        if self._recorder is not None:
            # In a thread, because the recorder itself may hang.
            closing = threading.Thread(target=self._recorder.close, daemon=True)
            closing.start()
            closing.join(GRACE_SECONDS)
        os._exit(Infrastructure.exit_code)


def require_same_inputs(ranks: Ranks, plan: PlanFile, prepared: PreparedRequest) -> None:
    """Check that plan, versions, data and sources are equal on all ranks, and as in the plan."""
    name = this_process()
    mine: dict[str, Any] = {
        "plan": plan.digest,
        **versions(),
        "data": prepared.protocol.data_digest,
        "sources": key_of(task_digests(plan.tasks, prepared)),
    }
    first, theirs = ranks.broadcast((name, mine))
    other = next((key for key in mine if mine[key] != theirs[key]), None)
    if other is not None:
        say(
            f"Rank {ranks.rank} ({name}) has {_digest_name(other)} {mine[other]}, and rank 0 "
            f"({first}) has {theirs[other]}: all ranks of a run must have the same. Nothing was "
            "run."
        )
    if ranks.any(other is not None)[0]:
        raise Infrastructure(
            f"Rank {ranks.rank} ({name}) ends, because the ranks differ; nothing was run."
        )
    check_unchanged(plan.plan, prepared)
    if task_digests(plan.tasks, prepared) != [task.digest for task in plan.tasks]:
        raise changed_error()


def _digest_name(what: str) -> str:
    names = {
        "plan": "a plan with digest",
        "data": "data with digest",
        "sources": "files of methods and problem with digest",
    }
    return names.get(what, f"{what} version")


def say(sentence: str) -> None:
    """Send a sentence for the user."""
    send_message(Notice(sentence))


def progress_sender(fleet: int) -> Callable[[Progress], None]:
    """Return a function that sends the progress of a fleet."""
    return lambda p: send_message(FleetProgress(fleet, p.fraction, p.updates, p.loss, p.seconds))


def _follow_parent(interrupted: InterruptFlag) -> None:
    """Stop in order when torchrun has ended; it may have been killed."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    interrupted.name = interrupted.name or "the end of torchrun"
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise Usage(
            "Write torchrun … -m bench.harness.execution.worker PLAN. PLAN is the file that "
            "bench compare --plan wrote."
        )
    plan = PlanFile.read(Path(arguments[0]), os.environ.get("BENCH_STORE"))
    sys.argv[:] = plan.plan.argv
    with catch_signals() as interrupted:
        threading.Thread(target=_follow_parent, args=(interrupted,), daemon=True).start()
        RankWorker(plan, interrupted).work()
        return 130 if interrupted else 0


if __name__ == "__main__":
    code = 4
    secure_streams()
    try:
        code = _main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except ProblemError as error:
        send_message(RankError(f"{error}.", Usage.exit_code))
    except (BenchError, UsageError, Unavailable) as error:
        if not isinstance(error, Unavailable):
            code = error.exit_code if isinstance(error, BenchError) else Usage.exit_code
        send_message(RankError(str(error), code))
    except Exception as error:
        secrets = secrets_in(os.environ.get("BENCH_STORE", ""))
        sys.stderr.write(redacted(traceback.format_exc(), secrets))
        send_message(RankError(redacted(f"{type(error).__name__}: {error}", secrets), code))
    with suppress(OSError):
        sys.stderr.flush()
    # Not sys.exit: threads of libraries may wait for ranks that have ended.
    os._exit(code)
