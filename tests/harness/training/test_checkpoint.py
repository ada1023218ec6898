"""States on disk: exact, whole or absent whatever stops a write, and cheap."""

import hashlib
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.harness.core.errors import Usage
from bench.harness.training import checkpoint
from bench.harness.training.checkpoint import (
    FILES_KEPT,
    FIRST_COST,
    MIN_INTERVAL,
    RETRY_INTERVAL,
    TIME_SHARE,
    Checkpoints,
)

ROOT = Path(__file__).parents[3]
IDENTITY = {"trials": ["a", "b"], "threads": 2}


@pytest.fixture
def said():
    return []


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def fleet(folder, said):
    return Checkpoints(folder, "3f2a9b1c-0004", IDENTITY, said.append)


def another(fleet_folder, said, identity=IDENTITY, name="3f2a9b1c-0004"):
    """What a new process would make."""
    return Checkpoints(fleet_folder, name, identity, said.append)


def names(folder):
    return sorted(os.listdir(folder))


def signed(identity, state):
    """A file as somebody writes it who knows the format."""
    fields = checkpoint.HEADER_FIELDS.pack(
        checkpoint.MAGIC, checkpoint.VERSION, len(identity), len(state)
    )
    digest = hashlib.sha256(fields + identity + state).digest()
    return fields + digest + identity + state


@pytest.mark.parametrize(
    "identity",
    [
        *(b"", b"[]", b"3", b"null", b"\xff", b"{", b"[" * 5000),
        *(b'{"trials": NaN}', b'{"trials": "\\u0000"}', b'{"\\ud800": 1}', b'{"trials": 1e999}'),
    ],
)
def test_an_identity_that_is_none(fleet, folder, said, identity):
    fleet.write({"updates": 1})
    whole = (folder / names(folder)[0]).read_bytes()
    length = checkpoint.HEADER_FIELDS.unpack(whole[: checkpoint.HEADER_FIELDS.size])[2]
    state = whole[checkpoint.HEADER_SIZE + length :]
    (folder / names(folder)[0]).write_bytes(signed(identity, state))
    assert fleet.read() is None
    assert "does not say to which trials it belongs" in said[0]


@pytest.mark.parametrize("state", [b"", b"3", b"PK\x03\x04" + b"0" * 99, b"\x80\x02}q\x00."])
def test_a_state_that_is_none(fleet, folder, said, state):
    folder.mkdir()
    identity = checkpoint.canonical_json(IDENTITY).encode()
    (folder / "3f2a9b1c-0004.000001.ckpt").write_bytes(signed(identity, state))
    assert fleet.read() in (None, {})
    assert said or not state


def numbered(*numbers):
    return [f"3f2a9b1c-0004.{number:06d}.ckpt" for number in numbers]


def bits(value):
    """All that tells two values apart: types, keys in order, shapes, every bit."""
    if isinstance(value, Tensor):
        return (value.dtype, value.shape, value.device.type, value.contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return [(key, bits(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [bits(each) for each in value]
    if isinstance(value, float):
        return struct.pack("d", value)
    return (type(value), value)


def test_a_state_is_read_back_bit_for_bit(fleet, folder, said):
    odd = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1 / 3]
    matrix = torch.randn(6, 8, dtype=torch.float64)
    state = {
        "theta": torch.tensor(odd, dtype=torch.float32),
        "velocity": torch.tensor(odd, dtype=torch.float64),
        "a NaN of other bits": torch.tensor([0x7FF8000000000123]).view(torch.float64),
        "counts": torch.tensor([[-(2**63), 2**63 - 1]]),
        "flags": torch.tensor([True, False]),
        "transposed": matrix.T,
        "every other": matrix[::2, 1::3],
        "scalar": torch.tensor(3.0),
        "empty": torch.empty(0, 4),
        "rows": [{"status": None, "ended": [True, False, []], "seed": 2**200}, {}, -(2**70)],
        "numbers": {"zero": -0.0, "one": 1.0, "int": 1, "inf": float("inf"), "nan": odd[0]},
        "text": "θ → μ",
    }
    assert fleet.write(state)
    read = another(folder, said).read()
    assert bits(read) == bits(state)
    assert said == []


def test_the_newest_two_are_kept_and_numbers_rise_over_processes(fleet, folder, said):
    for updates in range(4):
        assert fleet.write({"updates": updates})
    assert names(folder) == numbered(3, 4)
    again = another(folder, said)
    assert again.read() == {"updates": 3}
    assert again.write({"updates": 4})
    assert names(folder) == numbered(4, 5)
    assert again.read() == {"updates": 4}
    assert said == []


def test_files_are_ordered_by_number_not_by_name(fleet, folder):
    fleet.write({"updates": 0})
    os.rename(folder / numbered(1)[0], folder / "3f2a9b1c-0004.999999.ckpt")
    for updates in (1, 2):
        fleet.write({"updates": updates})
    assert names(folder) == ["3f2a9b1c-0004.1000000.ckpt", "3f2a9b1c-0004.1000001.ckpt"]
    assert fleet.read() == {"updates": 2}


def test_fleets_in_one_folder_leave_each_other_alone(fleet, folder, said):
    called = ["3f2a9b1c-0005", "3f2a9b1c-000", "3f2a9b1c-0004.000009", "3f2a9b1c.0004"]
    others = [another(folder, said, name=name) for name in called]
    for _ in range(3):
        assert fleet.write({"name": "its own"})
        for name, each in zip(called, others, strict=True):
            assert each.write({"name": name})
    assert fleet.read() == {"name": "its own"}
    assert [each.read() for each in others] == [{"name": name} for name in called]
    fleet.clear()
    assert fleet.read() is None
    assert [each.read() for each in others] == [{"name": name} for name in called]
    assert said == []


def test_a_file_cut_short_anywhere_is_refused_and_the_one_before_it_is_used(fleet, folder, said):
    fleet.write({"updates": 1})
    fleet.write({"updates": 2, "theta": torch.ones(3)})
    older, newer = (folder / name for name in numbered(1, 2))
    whole = newer.read_bytes()
    for length in reversed(range(len(whole))):
        os.truncate(newer, length)
        assert fleet.read() == {"updates": 1}
        (told,) = said
        assert told.startswith(f"Checkpoint {newer} is cut short ({length:,} ")
        assert told.endswith(f"bytes); the earlier {older.name} is used.")
        said.clear()


def flipped(whole, bit):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_a_flipped_bit_is_refused_wherever_it_is(fleet, folder, said):
    fleet.write({"updates": 1})
    fleet.write({"updates": 2, "theta": torch.randn(500)})
    newer = folder / numbered(2)[0]
    whole = newer.read_bytes()

    def refused(bit):
        said.clear()
        newer.write_bytes(flipped(whole, bit))
        assert fleet.read() == {"updates": 1}
        assert len(said) == 1
        assert str(newer) in said[0]

    for bit in range(8 * (checkpoint.HEADER_SIZE + 40)):
        refused(bit)
    settings(deadline=None)(given(st.integers(0, 8 * len(whole) - 1))(refused))()
    newer.write_bytes(whole)
    assert fleet.read()["updates"] == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda whole: whole + b"\0", "is damaged"),
        (lambda whole: flipped(whole, 8 * len(whole) - 1), "is damaged"),
        (lambda whole: b"PK" + whole[2:], "was not written by bench"),
        (lambda whole: b"PK", "was not written by bench"),
        (
            lambda whole: whole[:16] + struct.pack(">I", 2) + whole[20:],
            "was written by a newer bench (format 2; this version reads 1)",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(fleet, folder, said, change, why):
    fleet.write({"updates": 1})
    file = folder / numbered(1)[0]
    file.write_bytes(change(file.read_bytes()))
    assert fleet.read() is None
    assert len(said) == 1
    assert said[0].startswith(f"Checkpoint {file} {why}")
    assert said[0].endswith("; the fleet starts from the beginning.")


def test_each_file_that_is_passed_over_is_said(fleet, folder, said):
    for updates in (1, 2):
        fleet.write({"updates": updates})
    for name in numbered(1, 2):
        os.truncate(folder / name, 5)
    assert fleet.read() is None
    assert said == [
        f"Checkpoint {folder / name} is cut short (5 bytes); the fleet starts from the beginning."
        for name in numbered(2, 1)
    ]


def test_a_file_that_cannot_be_opened_is_passed_over(fleet, folder, said):
    fleet.write({"updates": 1})
    (folder / numbered(2)[0]).mkdir()
    assert fleet.read() == {"updates": 1}
    assert len(said) == 1
    assert "cannot be read (Is a directory)" in said[0]


def test_a_state_with_an_object_of_a_class_is_passed_over(fleet, folder, said):
    fleet.write({"updates": 1})
    fleet.write({"updates": slice(1, 2)})
    assert fleet.read() == {"updates": 1}
    assert len(said) == 1
    assert "has an object that is neither tensor nor plain value" in said[0]


def test_a_refused_file_is_not_one_of_the_two_kept(fleet, folder, said):
    for updates in (1, 2):
        fleet.write({"updates": updates})
    os.truncate(folder / numbered(2)[0], 100)
    again = another(folder, said)
    assert again.read() == {"updates": 1}
    again.write({"updates": 3})
    assert names(folder) == numbered(1, 3)


def test_a_state_of_another_identity_is_passed_over_and_both_are_said(fleet, folder, said):
    fleet.write({"updates": 1})
    other = another(folder, said, {"trials": ["a", "b"], "threads": 4, "device": None})
    assert other.read() is None
    assert said == [
        f"Checkpoint {folder / numbered(1)[0]} belongs to other trials: device is absent there "
        "and null here, threads is 2 there and 4 here; the fleet starts from the beginning."
    ]
    said.clear()
    other.write({"updates": 2})
    assert fleet.read() is None
    assert "device is null there and absent here, threads is 4 there and 2 here" in said[0]


def test_equal_identities_may_be_written_differently(folder, said):
    another(folder, said, {"rate": 1e-2, "count": 1.0, "list": (1, 2)}).write({"updates": 1})
    written_so = {"list": [1, 2], "count": 1, "rate": 0.01}
    assert another(folder, said, written_so).read() == {"updates": 1}
    assert said == []


def test_an_identity_that_json_cannot_carry_is_refused_at_once(folder, said):
    with pytest.raises(Usage, match="must be finite"):
        another(folder, said, {"rate": float("nan")})


def test_where_there_is_nothing_nothing_is_said(fleet, folder, said):
    assert fleet.read() is None
    fleet.clear()
    folder.mkdir()
    assert fleet.read() is None
    assert said == []


def test_clear_removes_all_files_and_the_empty_folder(fleet, folder, said):
    for updates in range(3):
        fleet.write({"updates": updates})
    (folder / "3f2a9b1c-0004.new").write_bytes(b"left behind")
    fleet.clear()
    assert not folder.exists()
    assert fleet.write({"updates": 3})
    assert said == []


WRITER = """
import os, resource, signal, sys
from pathlib import Path
import torch
from bench.harness.training.checkpoint import Checkpoints

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def prepare(point):
    if point == "in the middle of the file":
        # The kernel ends the process at this byte of the file.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, 800_000))
    elif point == "before its name":
        os.replace = lambda *given: die()
    elif point == "after its name":
        os.replace = lambda *given: (replace(*given), die())

replace = os.replace
folder, point = sys.argv[1:]
checkpoints = Checkpoints(Path(folder), "fleet", {"seed": 0}, print)
counter = 0
while True:
    counter += 1
    if counter == 6:
        prepare(point)
    assert checkpoints.write({"counter": counter, "tensor": torch.full((200_000,), counter)})
    print(counter, flush=True)
"""
AT_RANDOM = "at any time"


@pytest.mark.parametrize(
    ("point", "delay"),
    [
        ("in the middle of the file", None),
        ("before its name", None),
        ("after its name", None),
        (AT_RANDOM, 0.0),
        (AT_RANDOM, 0.0137),
        (AT_RANDOM, 0.0291),
    ],
)
def test_a_process_killed_while_it_writes_leaves_a_whole_state(folder, said, point, delay):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, point], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        written = [writer.stdout.readline() for _ in range(5)]
        if delay is not None:
            signal.sigtimedwait([], delay)
            writer.kill()
        written += writer.stdout.readlines()
    assert -writer.returncode in (signal.SIGKILL, signal.SIGXFSZ)
    last = int(written[-1])
    survivor = another(folder, said, {"seed": 0}, "fleet")
    state = survivor.read()
    assert state["tensor"].equal(torch.full((200_000,), state["counter"]))
    if point == AT_RANDOM:
        assert state["counter"] in (last, last + 1)
    else:
        assert (last, state["counter"]) == (5, 6 if point == "after its name" else 5)
        left = folder / "fleet.new"
        size = left.stat().st_size if left.exists() else 0
        whole = os.path.getsize(folder / "fleet.000005.ckpt")
        expected = {"in the middle of the file": 800_000, "before its name": whole}
        assert size == expected.get(point, 0)
    assert survivor.write({"counter": last + 2})
    assert survivor.read() == {"counter": last + 2}
    assert len(names(folder)) == FILES_KEPT
    assert not (folder / "fleet.new").exists()
    assert said == []


def test_a_full_disk_is_said_once_and_costs_nothing_but_the_checkpoint(fleet, folder, said):
    for updates in (1, 2):
        fleet.write({"updates": updates})
    os.utime(folder / numbered(2)[0], (0, os.stat(folder).st_mtime - 90))
    link = folder / "3f2a9b1c-0004.new"
    for size in (10, 100_000):
        link.symlink_to("/dev/full")
        assert fleet.write({"updates": 3, "theta": torch.zeros(size)}) is False
        assert not link.is_symlink()
        assert names(folder) == numbered(1, 2)
    assert os.path.exists("/dev/full")
    (told,) = said
    assert told.startswith(
        f"The state of fleet 3f2a9b1c-0004 could not be written to {folder} "
        f"(No space left on device). Training continues; a run that is resumed now would continue "
        f"from {numbered(2)[0]}, which is 9"
    )
    assert fleet.read() == {"updates": 2}
    assert fleet.write({"updates": 4})
    assert fleet.read() == {"updates": 4}
    assert len(said) == 1


def test_what_is_said_of_a_full_disk_before_any_checkpoint(fleet, folder, said):
    folder.mkdir()
    (folder / "3f2a9b1c-0004.new").symlink_to("/dev/full")
    assert fleet.write({"updates": 1}) is False
    assert said[0].endswith(
        "Training continues; a run that is resumed now would start from the beginning."
    )


def test_a_refused_file_is_not_what_a_resumed_run_would_go_on_from(fleet, folder, said):
    fleet.write({"updates": 1})
    os.truncate(folder / numbered(1)[0], 100)
    fleet.read()
    (folder / "3f2a9b1c-0004.new").symlink_to("/dev/full")
    fleet.write({"updates": 2})
    assert said[-1].endswith("a run that is resumed now would start from the beginning.")


@contextmanager
def files_of_at_most(size):
    """A write beyond so many bytes of any file fails: the kernel's own limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_wherever_in_the_file_the_system_refuses_the_older_one_stays(fleet, folder, said):
    state = {f"row {row}": torch.randn(1000) for row in range(8)}
    fleet.write(state)
    size = (folder / numbered(1)[0]).stat().st_size
    for limit in (*range(0, size, 331), size - 1):
        with files_of_at_most(limit):
            assert fleet.write(state) is False
        assert names(folder) == numbered(1)
    with files_of_at_most(size):
        assert fleet.write(state)
    assert len(said) == 1
    assert "(File too large)" in said[0]
    assert bits(fleet.read()) == bits(state)


@contextmanager
def without_root():
    """Permissions hold for everybody but root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_is_read_only_can_be_read(tmp_path, monkeypatch, said):
    # A relative path: others may not enter the folders above.
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    folder = Path("checkpoints")
    another(folder, said).write({"updates": 1})
    folder.chmod(0o555)
    try:
        with without_root():
            fleet = another(folder, said)
            assert fleet.write({"updates": 2}) is False
            assert fleet.read() == {"updates": 1}
            fleet.clear()
    finally:
        folder.chmod(0o755)
    assert len(said) == 2
    assert "(Permission denied). Training continues" in said[0]
    assert "could not be removed (Permission denied)" in said[1]
    assert names(folder) == numbered(1)


def test_a_folder_that_cannot_be_made_is_said(tmp_path, said):
    (tmp_path / "checkpoints").write_text("not a folder")
    fleet = another(tmp_path / "checkpoints", said)
    assert fleet.write({"updates": 1}) is False
    assert fleet.read() is None
    assert len(said) == 2
    assert "could not be written to" in said[0]
    assert "cannot be read (Not a directory); the fleet starts from the beginning" in said[1]


def test_a_folder_that_cannot_be_synchronised_is_as_good(fleet, folder, said, monkeypatch):
    real = os.fsync

    def fsync(handle):
        if Path(f"/proc/self/fd/{handle}").resolve() == folder:
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    assert all(fleet.write({"updates": updates}) for updates in range(3))
    assert names(folder) == numbered(2, 3)
    assert said == []


def test_file_then_name_then_folder_reach_the_disk_in_this_order(fleet, folder, monkeypatch):
    happened = []

    def fsync(handle):
        path = Path(f"/proc/self/fd/{handle}").resolve()
        happened.append(("fsync", path.name, path.is_dir() or path.stat().st_size))

    def replace(old, new):
        happened.append(("replace", Path(new).name, None))
        os.rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    fleet.write({"updates": 1})
    name = numbered(1)[0]
    assert happened == [
        ("fsync", "3f2a9b1c-0004.new", (folder / name).stat().st_size),
        ("replace", name, None),
        ("fsync", "checkpoints", True),
    ]


class Stranger:
    """What nobody but its author knows."""


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ((each for each in ()), r"has an object that cannot be written \(.*generator.*\)"),
        (lambda: None, r"has an object that cannot be written \(.*lambda.*\)"),
        (Stranger(), "has an object that is neither tensor nor plain value"),
        (np.float64(0.5), "has an object that is neither tensor nor plain value"),
    ],
    ids=["generator", "function", "object", "numpy"],
)
def test_a_state_that_cannot_be_kept_is_told_once_and_not_tried_again(
    fleet, folder, said, odd, why
):
    """Also what could be written, but not be read: that is seen now, not when it is needed."""
    for _ in range(2):
        assert not fleet.write({"updates": 2, "odd": odd})
        assert not fleet.due(1e9)
        assert not folder.exists() or names(folder) == []
    assert re.fullmatch(
        rf"The state of fleet 3f2a9b1c-0004 cannot be saved: it {why}\. Training continues, but "
        r"after an interruption this fleet starts from the beginning\.",
        said[0],
    )
    assert len(said) == 1


def test_a_state_that_can_be_kept_no_more_leaves_the_one_before(fleet, folder, said):
    assert fleet.write({"updates": 1})
    assert not fleet.write({"updates": 2, "generator": (each for each in ())})
    assert names(folder) == numbered(1)
    assert another(folder, said).read() == {"updates": 1}


def test_memory_that_does_not_do_for_a_state_ends_no_training(fleet, folder, said, monkeypatch):
    def full(*given):
        raise MemoryError

    monkeypatch.setattr(torch, "save", full)
    assert not fleet.write({"updates": 1})
    assert said[0].startswith(
        "The state of fleet 3f2a9b1c-0004 cannot be saved: it needs more memory. Training continues"
    )


def test_ctrl_c_before_the_file_has_its_name_leaves_nothing_of_it(fleet, folder, said, monkeypatch):
    fleet.write({"updates": 1})

    def interrupt(handle):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "fsync", interrupt)
        fleet.write({"updates": 2})
    assert names(folder) == numbered(1)
    assert fleet.write({"updates": 2})
    assert fleet.read() == {"updates": 2}
    assert said == []


# An interrupt between a file's opening and its `with` leaves closing it to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_anywhere_in_a_write_leaves_the_state_before_or_after(fleet, folder, said):
    states = [{"updates": updates, "theta": torch.full((999,), updates)} for updates in (1, 2)]

    def write(state, interrupted_at=0):
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")
            if calls == interrupted_at:
                raise KeyboardInterrupt

        sys.setprofile(count)
        try:
            fleet.write(state)
        finally:
            sys.setprofile(None)
        return calls

    fleet.write(states[0])
    found = set()
    # The last call is the one that ends the counting.
    for call in range(1, write(states[0])):
        with pytest.raises(KeyboardInterrupt):
            write(states[1], interrupted_at=call)
        state = fleet.read()
        assert bits(state) in [bits(each) for each in states]
        found.add(state["updates"])
        fleet.clear()
        fleet.write(states[0])
    assert found == {1, 2}
    assert said == []


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Stands still but for what a test adds; a write takes the next of `costs`."""
    clock = Clock()
    clock.costs = iter(())
    real = os.replace

    def replace(*given):
        clock.now += next(clock.costs)
        real(*given)

    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(checkpoint, "perf_counter", clock)
    return clock


def writes(fleet, clock, costs, step, until):
    """When each write began; `due` is asked between steps of training."""
    clock.costs = iter(costs)
    began = []
    while clock.now < until:
        if fleet.due(clock.now):
            began.append(clock.now)
            assert fleet.write({})
        else:
            clock.now += step()
    return began


def test_a_checkpoint_is_due_as_soon_as_it_can_be_paid(fleet, clock):
    # 0.1 / 0.02 = 5; 0.375 / 0.02 = 18.75; 0.5625 / 0.02 = 28.125, each at the next half second.
    began = writes(fleet, clock, [0.1875] * 9, lambda: 0.5, 29)
    assert began == [5.0, 19.1875, 28.375]


def test_checkpoints_that_cost_nothing_are_due_every_period(fleet, clock):
    began = writes(fleet, clock, [0.0] * 99, lambda: 0.25, 20)
    assert began == [FIRST_COST / TIME_SHARE + MIN_INTERVAL * number for number in range(15)]


def test_costs_that_do_not_rise_stay_within_the_share_at_all_times(fleet, clock):
    draw = random.Random(0)
    costs = sorted((draw.uniform(0, FIRST_COST) for _ in range(300)), reverse=True)
    began = writes(fleet, clock, costs, lambda: draw.uniform(0.01, 0.5), 300)
    spent = 0.0
    assert len(began) > 40
    for start, cost in zip(began, costs, strict=False):
        spent += cost
        assert spent <= TIME_SHARE * (start + cost)


def test_random_costs_exceed_the_share_only_by_what_the_last_took_longer(fleet, clock):
    draw = random.Random(1)
    costs = [draw.expovariate(10) * draw.choice((0.01, 1, 20)) for _ in range(500)]
    began = writes(fleet, clock, costs, lambda: draw.uniform(0.01, 0.5), 3000)
    spent, expected = 0.0, FIRST_COST
    assert len(began) > 40
    for start, cost in zip(began, costs, strict=False):
        assert spent + expected <= TIME_SHARE * start
        spent, expected = spent + cost, cost


def test_after_a_refused_write_the_next_is_due_later_and_its_time_counts(fleet, clock, monkeypatch):
    def refuse(*given):
        clock.now += 4.0
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", refuse)
    assert fleet.due(5.0)
    assert fleet.write({}) is False
    assert not fleet.due(1e9)
    clock.now += RETRY_INTERVAL - 0.5
    assert not fleet.due(1e9)
    clock.now += 0.5
    # (4.0 + FIRST) / 0.02
    assert not fleet.due(204.9)
    assert fleet.due(205.1)
