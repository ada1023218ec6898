"""What ranks tell: every sentence arrives as it was, and nothing else is taken for one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.execution.messages import (
    LISTENER_VARIABLE,
    MARK,
    FleetProgress,
    Message,
    Notice,
    RankError,
    RankFailure,
    StoreIncomplete,
    parse_message,
    send_message,
)
from bench.harness.training.fleet import Progress

ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
COUNT, NUMBER = st.integers(0, 2**53), st.floats(allow_nan=False)
EVERY = st.one_of(
    st.builds(Notice, ANY_TEXT),
    st.builds(FleetProgress, COUNT, NUMBER, COUNT, NUMBER, NUMBER),
    st.builds(RankError, ANY_TEXT, st.integers(0, 255)),
    st.builds(RankFailure, COUNT, COUNT, st.integers(-64, 255)),
    st.builds(StoreIncomplete),
)


class Stderr:
    """Notes what is written, as the file behind a number."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, number: int, piece: bytes) -> int:
        self.pieces.append(piece)
        return len(piece)


class Numbered:
    def fileno(self) -> int:
        return 2


def told(*what: Message, listening: bool = True) -> Stderr:
    stderr = Stderr()
    with pytest.MonkeyPatch.context() as patch:
        if listening:
            patch.setenv(LISTENER_VARIABLE, "1")
        patch.setattr("bench.harness.execution.messages.os.write", stderr.write)
        patch.setattr("bench.harness.execution.messages.sys.stderr", Numbered())
        for each in what:
            send_message(each)
    return stderr


@given(st.lists(EVERY, max_size=5))
def test_what_is_told_is_heard(what: list[Message]) -> None:
    stderr = told(*what)
    # Each in one piece, which other ranks cannot write into, and on one line, whatever it says.
    assert len(stderr.pieces) == len(what)
    assert all(piece.count(b"\n") == 1 and piece.endswith(b"\n") for piece in stderr.pieces)
    assert [parse_message(piece.decode()) for piece in stderr.pieces] == what


@given(EVERY, st.text(st.characters(codec="utf-8", exclude_characters="\x1e\n"), max_size=20))
def test_a_line_is_heard_behind_one_that_was_not_ended(what: Message, before: str) -> None:
    (piece,) = told(what).pieces
    assert parse_message(before + piece.decode()) == what


@given(st.text(max_size=80).filter(lambda text: MARK not in text))
def test_a_foreign_line_is_none_of_ours(line: str) -> None:
    assert parse_message(line) is None


@pytest.mark.parametrize(
    "line", ["", "\n", '{"Notice": {"sentence": "no mark"}}\n', "W0101 bench \n"]
)
def test_what_libraries_write_is_none_of_ours(line: str) -> None:
    assert parse_message(line) is None


@pytest.mark.parametrize(
    "torn",
    [
        '{"Notice": {"sente',
        "",
        '{"Notice": {"sentence": "a"}}{"StoreIncomplete": {}}',
        '{"Sang": {}}',
        "[]",
    ],
)
def test_a_torn_line_is_no_error(torn: str) -> None:
    """More than a pipe takes in one piece, with what another rank wrote in between."""
    assert parse_message(f"{MARK}{torn}\n") is None


def test_a_loss_that_is_not_finite_arrives() -> None:
    moved = FleetProgress(3, 0.5, 70, math.nan, 1.5)
    again = parse_message(told(moved).pieces[0].decode())
    assert isinstance(again, FleetProgress) and math.isnan(again.loss)
    assert replace(again, loss=0.0) == replace(moved, loss=0.0)


def test_a_bar_shows_what_moved() -> None:
    assert FleetProgress(3, 0.5, 70, 0.25, 1.5).progress == Progress(0.5, 70, 0.25, 1.5)


def test_without_a_listener_a_person_reads_the_sentences() -> None:
    what = (
        Notice("One."),
        FleetProgress(0, 0.5, 1, 0.1, 1.0),
        RankError("Two.", 4),
        RankFailure(0, 1, 1),
        StoreIncomplete(),
    )
    assert told(*what, listening=False).pieces == [b"One.\n", b"Two.\n"]
