"""Which rank is said to be behind, and when."""

import threading
import time

import pytest

from bench.harness.core.errors import Usage
from bench.harness.distributed import watchdog
from bench.harness.distributed.watchdog import Heartbeat, Watchdog, deadline, diagnosis


def pulse(rank, beat=5, exchanges=10, updates=7, at=970.0):
    return Heartbeat(f"host:{100 + rank}", beat, exchanges, updates, at)


def moved(pulses, still=()):
    return [
        Heartbeat(**{**vars(each), "beat": each.beat + (rank not in still)})
        for rank, each in enumerate(pulses)
    ]


def test_a_rank_whose_pulse_has_stopped_is_behind_whatever_it_had_entered():
    pulses = [pulse(0), pulse(1, exchanges=10, updates=6, at=969.0), pulse(2)]
    assert diagnosis(pulses, moved(pulses, still={1}), 1000.0, "has died") == (
        "Rank 1 (host:101) has died: its last sign of life came 31 s ago, after 6 updates; "
        "ranks 0, 2 wait at update 8."
    )


def test_of_living_ranks_the_one_that_has_entered_the_fewest_exchanges_is_behind():
    pulses = [pulse(0), pulse(1, exchanges=9)]
    assert diagnosis(pulses, moved(pulses), 1000.0, "has died") == (
        "Rank 1 (host:101) is behind: its last sign of life came 30 s ago, after 7 updates; "
        "rank 0 waits at update 8."
    )


def test_several_may_be_behind():
    pulses = [pulse(0), pulse(1), pulse(2), pulse(3)]
    found = diagnosis(pulses, moved(pulses, still={0, 3}), 1000.0, "is behind")
    assert found.startswith("Rank 0 (host:100) is behind: ")
    assert "; rank 3 (host:103) is behind: " in found
    assert found.endswith("; ranks 1, 2 wait at update 8.")


def test_where_all_wait_for_the_same_none_is_named():
    pulses = [pulse(0), pulse(1)]
    found = diagnosis(pulses, moved(pulses), 1000.0, "is behind")
    assert found.startswith("All ranks wait in the same exchange, at update 8,")


def test_a_clock_that_is_ahead_does_not_make_the_future():
    pulses = [pulse(0), pulse(1, at=1003.0)]
    assert "came 0 s ago, " in diagnosis(pulses, moved(pulses, still={1}), 1000.0, "has died")


class Stored:
    """A store in memory, which may stop to answer."""

    def __init__(self):
        self.values, self.stopped = {}, threading.Event()
        self.stopped.set()

    def clone(self):
        return self

    def set(self, key, value):
        self.values[key] = value.encode()

    def check(self, keys):
        self.stopped.wait()
        return all(key in self.values for key in keys)

    def multi_get(self, keys):
        self.stopped.wait()
        return [self.values[key] for key in keys]

    def compare_set(self, key, expected, desired):
        return self.values.setdefault(key, desired.encode())


LIMIT = 0.4


@pytest.fixture
def two():
    """The watches of two ranks, and what each has said."""
    store, said = Stored(), ([], [])
    store.values["1"] = store.values["0"] = b'{"process": "host:1"}'
    watches = [Watchdog(rank, 2, store, LIMIT, said[rank].append) for rank in range(2)]
    yield store, watches, said
    store.stopped.set()
    for each in watches:
        each.close()


def until(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


def test_as_long_as_both_are_alive_nothing_is_said(two):
    _, watches, said = two
    end = time.monotonic() + 3 * LIMIT
    while time.monotonic() < end:
        for each in watches:
            each.record_activity(3)
        time.sleep(0.01)
    assert said == ([], [])


def test_both_name_the_one_that_has_not_come(two):
    _, (first, second), said = two
    for each in (first, second):
        each.record_activity(41)
        each.record_exchange()
    first.record_activity(42)
    first.record_exchange()
    until(lambda: all(said))
    assert said[0] == said[1]
    (sentence,) = said[0]
    assert sentence.startswith("Rank 1 (")
    assert "is behind: its last sign of life came " in sentence
    assert " s ago, after 41 updates; " in sentence
    assert "; rank 0 waits at update 43. No sign of life for 0.4 s ends the run;" in sentence


def test_a_store_that_does_not_answer_is_not_waited_for(two):
    store, (_, second), said = two
    second.record_activity(5)
    store.stopped.clear()
    until(lambda: said[1])
    assert said[1][0].startswith("Rank 0 (")
    assert "does not answer; rank 1 waits at update 6." in said[1][0]


def test_the_first_diagnosis_counts_where_the_store_has_gone_with_its_rank(two):
    """A rank may notice only when another has found the dead one, and has ended."""
    store, (_, second), said = two
    second.record_activity(5)
    store.values["diagnosis"] = b"Rank 7 has died."
    until(lambda: second._diagnosis)
    store.stopped.clear()
    assert second.diagnose("has died") == "Rank 7 has died."
    until(lambda: said[1])
    assert said[1][0].startswith("Rank 7 has died. No sign of life for 0.4 s")


def test_a_process_that_was_stopped_itself_has_not_waited(monkeypatch):
    """As after Ctrl-Z and fg, an hour later."""
    store, said, ahead = Stored(), [], 0.0
    clock = time.monotonic
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: clock() + ahead)
    watched = Watchdog(0, 1, store, 2.0, said.append)
    time.sleep(0.3)
    ahead = 3600.0
    time.sleep(0.6)
    watched.record_activity(1)
    watched.close()
    assert said == []


def test_the_deadline_is_what_the_environment_says(monkeypatch):
    assert deadline() == watchdog.DEADLINE
    monkeypatch.setenv("BENCH_DEADLINE", "1.5")
    assert deadline() == 1.5


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(given, monkeypatch):
    monkeypatch.setenv("BENCH_DEADLINE", given)
    with pytest.raises(Usage, match=f"BENCH_DEADLINE={given}: .* a number above 0"):
        deadline()
