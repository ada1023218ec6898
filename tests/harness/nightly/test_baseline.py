"""What may be accepted, and what is accepted under a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bench.harness.core.errors import Usage
from bench.harness.core.spec import Protocol
from bench.harness.nightly.baseline import accept, accepted
from bench.harness.store.results import Store
from tests.harness.cli.conftest import PROTOCOL

OTHER = replace(PROTOCOL, problem="add")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


def comparison(store: Store, protocol: Protocol = PROTOCOL, kind: Any = "comparison") -> str:
    id = store.new_comparison(protocol, kind, "bench compare")
    store.finish_comparison(id, "done", {"methods": []})
    return id


def names(store: Store, name: str = "main") -> dict[str, str]:
    return {key: record.comparison_id for key, record in accepted(store, name).items()}


def test_the_newest_of_each_protocol_is_accepted(store: Store) -> None:
    first, second, other = comparison(store), comparison(store), comparison(store, OTHER)
    assert names(store) == {}
    assert accept(store, [first, other], "main", None)[0][1] is None
    assert names(store) == {PROTOCOL.key: first, OTHER.key: other}
    ((record, before),) = accept(store, [second], "main", "a change of the update")
    assert before is not None and (record.id, before.comparison_id) == (second, first)
    assert names(store) == {PROTOCOL.key: second, OTHER.key: other}
    assert accepted(store, "main")[PROTOCOL.key].note == "a change of the update"
    # What is accepted again is the newest again.
    accept(store, [first], "main", None)
    assert names(store)[PROTOCOL.key] == first


def test_names_have_baselines_of_their_own(store: Store) -> None:
    first, second = comparison(store), comparison(store)
    accept(store, [first], "main", None)
    assert accept(store, [second], "release", None)[0][1] is None
    assert (names(store), names(store, "release")) == (
        {PROTOCOL.key: first},
        {PROTOCOL.key: second},
    )


def test_the_beginning_of_an_id_is_enough_and_twice_the_same_is_once(store: Store) -> None:
    id = comparison(store)
    assert [record.id for record, _ in accept(store, [id[:6], id], "main", None)] == [id]
    assert len(store.baselines("main")) == 1


@pytest.mark.parametrize("status", ["planned", "running", "failed", "interrupted"])
def test_only_what_is_done_is_accepted(store: Store, status: Any) -> None:
    good = comparison(store)
    started = store.new_comparison(PROTOCOL, "comparison", "bench")
    store.finish_comparison(started, status, None)
    with pytest.raises(Usage, match=f"{started} is {status}, but only a finished comparison"):
        accept(store, [good, started], "main", None)
    assert store.baselines() == []


@pytest.mark.parametrize("kind", ["run", "tuning"])
def test_only_comparisons_are_accepted(store: Store, kind: str) -> None:
    with pytest.raises(Usage, match=f"is a {kind}, but only comparisons can be accepted"):
        accept(store, [comparison(store, kind=kind)], "main", None)


def test_two_under_one_protocol_are_refused_together(store: Store) -> None:
    first, second = comparison(store), comparison(store)
    with pytest.raises(Usage, match=f"{first} and {second} have the same protocol"):
        accept(store, [first, second], "main", None)
    assert store.baselines() == []


def test_an_unknown_id_and_a_name_that_is_none(store: Store) -> None:
    id = comparison(store)
    with pytest.raises(Usage, match="There is no comparison 'zzzz'"):
        accept(store, [id, "zzzz"], "main", None)
    for wrong in ("", "  ", "a\nb", "a\x1b[31m", "a\ud800"):
        with pytest.raises(Usage, match="give a name such as main"):
            accept(store, [id], wrong, None)
    assert store.baselines() == []
