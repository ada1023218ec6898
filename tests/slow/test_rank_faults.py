"""Signals, sudden deaths, full disks and other machines' files where ranks train under torchrun."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness.store.results import Store
from tests.slow.watching import (
    NAG,
    ROOT,
    Case,
    Watched,
    bench,
    gone,
    processes_of,
    ranks_of,
    wait,
)  # fmt: skip

__all__ = ["bench"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores"),
]

PAIR = Case("nag[batch=20]", seeds=2, ranks=2)
TOGETHER = NAG.on(2, "data")
SLOWLY = "0:0.1"
FIRST = (1, 3)
"""Checkpoint and measurement to wait for where it goes on slowly: there is much left to do."""


def ended(bench: Watched, process: subprocess.Popen[str], code: int) -> str:
    """See that a command ends so, with a sentence that says how to go on; return what it said."""
    out, err = process.communicate(timeout=90)
    assert (process.returncode, out) == (code, ""), err
    assert "Traceback" not in err
    assert f"`bench resume {bench.comparison()}` goes on" in err.splitlines()[-1]
    bench.see_consistent({})
    return err


def goes_on(bench: Watched) -> None:
    """See that what is left is trained, and that nothing of before is lost or left running."""
    before = bench.measured()
    bench.resume()
    bench.see_consistent(before)
    assert {row["status"] for row, _ in bench.rows().values()} == {"budget"}


@pytest.mark.parametrize(("case", "rank"), [(PAIR, 1), (TOGETHER, 0)], ids=["trials", "data"])
def test_a_rank_that_is_killed_ends_all_and_is_named(bench: Watched, case: Case, rank: int) -> None:
    process = bench.begin(*case.command, naps=SLOWLY)
    bench.until_kept(process, *FIRST)
    ranks = ranks_of(process)
    os.kill(ranks[rank], signal.SIGKILL)
    err = ended(bench, process, 4)
    said = f"bench: Rank {rank} (process {ranks[rank]}) was killed by SIGKILL"
    assert err.splitlines()[-1].startswith(said)
    assert wait(lambda: gone(set(ranks.values())))
    goes_on(bench)


def test_all_end_when_the_command_is_killed(bench: Watched) -> None:
    # Progress is told after every update, and nobody hears it any more.
    process = bench.begin(*TOGETHER.command, naps="0:0.3")
    bench.until_kept(process, *FIRST)
    theirs = set(processes_of(process))
    assert len(theirs) >= 3
    process.kill()
    deadline = time.monotonic() + 30
    while not gone(theirs):
        assert time.monotonic() < deadline, "its processes are still there"
        time.sleep(0.1)
    assert "Traceback" not in process.communicate()[1]
    assert [(t.status, t.reason) for t in bench.trials()] == [
        ("interrupted", "interrupted by a signal")
    ]


@pytest.mark.parametrize("case", [PAIR, TOGETHER], ids=["trials", "data"])
def test_a_signal_ends_all_in_order(bench: Watched, case: Case) -> None:
    process = bench.begin(*case.command, naps=SLOWLY)
    bench.until_kept(process, *FIRST)
    process.send_signal(signal.SIGTERM)
    err = ended(bench, process, 130)
    assert "bench: interrupted by SIGTERM." in err
    assert {(t.status, t.reason) for t in bench.trials()} == {
        ("interrupted", "interrupted by a signal")
    }


def test_a_signal_to_one_rank_ends_all_in_order(bench: Watched) -> None:
    process = bench.begin(*TOGETHER.command, naps=SLOWLY)
    bench.until_kept(process, *FIRST)
    os.kill(ranks_of(process)[1], signal.SIGTERM)
    err = ended(bench, process, 130)
    assert "bench: interrupted by a signal to rank 1." in err
    (trial,) = bench.trials()
    assert (trial.status, trial.reason) == ("interrupted", "interrupted by a signal")
    goes_on(bench)


def test_a_second_ctrl_c_waits_for_no_update(bench: Watched) -> None:
    process = bench.begin(*TOGETHER.command, naps="20:3600")
    bench.until_kept(process, 2, 3)
    theirs = set(processes_of(process))
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None, "it waits for the end of the update"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "bench: interrupted."
    assert "Traceback" not in err
    for pid in theirs:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait(lambda: gone(theirs))
    goes_on(bench)


def test_a_rank_that_hangs_is_named(bench: Watched) -> None:
    process = bench.begin(*TOGETHER.command, naps=SLOWLY, BENCH_DEADLINE="5")
    bench.until_kept(process, *FIRST)
    ranks = ranks_of(process)
    os.kill(ranks[1], signal.SIGSTOP)
    wait(lambda: gone({ranks[0]}))
    # Without this torchrun waits for half a minute before it kills it.
    os.kill(ranks[1], signal.SIGCONT)
    err = ended(bench, process, 4)
    assert f":{ranks[1]}) is behind: its last sign of life came" in err
    assert err.splitlines()[-1].startswith("bench: Rank 1 (")
    assert "; rank 0 waits at update" in err
    assert wait(lambda: gone(set(ranks.values())))


def test_one_that_dies_while_it_records_leaves_no_half_of_it(bench: Watched) -> None:
    process = bench.begin(*PAIR.command, naps=SLOWLY, BENCH_TEST_DYING="4")
    err = ended(bench, process, 4)
    assert "was killed by SIGKILL" in err
    # Measurement 4, which was inserted, is not there.
    assert max(len(taken) for taken in bench.measured().values()) <= 4
    goes_on(bench)


def test_a_disk_that_is_full_ends_nothing(bench: Watched) -> None:
    process = bench.begin(*NAG.command, naps="0:0.05")
    bench.until_kept(process, *FIRST)
    new = bench.checkpoints / f"{bench.comparison()}-0000.new"
    for _ in range(2):
        # The file is written over in the meantime.
        while not new.is_symlink():
            with suppress(FileExistsError):
                new.symlink_to("/dev/full")
        wait(lambda: None if new.is_symlink() else True)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert err.count("could not be written to") == 1
    assert "No space left on device" in err
    assert "Training continues; a run that is resumed now would continue from" in err
    bench.see_consistent({})
    assert {row["status"] for row, _ in bench.rows().values()} == {"budget"}


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_checkpoint_that_was_cut_short_is_passed_over(bench: Watched, damaged: int) -> None:
    before = bench.kill_in_the_middle(NAG)
    files = sorted(bench.checkpoints.glob("*.ckpt"))
    for file in files[-damaged:]:
        os.truncate(file, file.stat().st_size - 100)
    err = bench.resume()
    for file in files[-damaged:]:
        assert f"Checkpoint {file} is cut short" in err
    other = f"the earlier {files[0].name} is used"
    assert (other if damaged == 1 else "the fleet starts from the beginning") in err
    bench.see_consistent(before)
    cut = bench.rows()

    straight = Watched(bench.folder / "straight")
    straight.folder.mkdir()
    assert straight.finish(*NAG.command)[0] == 0
    assert cut == straight.rows()


def test_of_two_that_resume_at_once_one_does(bench: Watched) -> None:
    before = bench.kill_in_the_middle(NAG)
    id = bench.comparison()
    both = [bench.begin("resume", id, "--no-mlflow", naps="0:0.15") for _ in range(2)]
    ends = [(each.communicate(timeout=90), each.returncode) for each in both]
    assert sorted(code for _, code in ends) == [0, 4], ends
    ((_, err),) = [said for said, code in ends if code == 4]
    (winner,) = [process for process in both if process.returncode == 0]
    assert f"Comparison {id} is being run by " in err.splitlines()[-1]
    assert f":{winner.pid} (heartbeat" in err
    bench.see_consistent(before)


def move_store(bench: Watched, there: Path) -> None:
    there.mkdir(exist_ok=True)
    for path in list((bench.folder / "mlruns").glob("bench.db*")):
        path.rename(there / path.name)


def test_ranks_go_on_while_the_store_is_away(bench: Watched) -> None:
    process = bench.begin(*PAIR.command, naps="0:0.06")
    bench.until_kept(process, *FIRST)
    away = bench.folder / "away"
    move_store(bench, away)
    wait(lambda: True if list((bench.folder / "mlruns" / "spool").glob("*")) else None)
    for path in away.iterdir():
        path.rename(bench.folder / "mlruns" / path.name)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert "Training goes on; what it measures is kept" in err
    assert "is back and has everything" in err
    bench.see_consistent({})
    assert [len(taken) for taken in bench.measured().values()] == [6, 6]


def test_what_a_store_missed_is_entered_when_it_is_back(bench: Watched) -> None:
    process = bench.begin(*PAIR.command, naps="0:0.03")
    bench.until_kept(process, *FIRST)
    before, id = bench.measured(), bench.comparison()
    away = bench.folder / "away"
    move_store(bench, away)
    out, err = process.communicate(timeout=90)
    assert (process.returncode, out) == (4, ""), err
    assert "Traceback" not in err
    assert f"`bench resume {id}`" in err.splitlines()[-1]
    for path in away.iterdir():
        path.rename(bench.folder / "mlruns" / path.name)
    bench.resume()
    bench.see_consistent(before)
    assert [len(taken) for taken in bench.measured().values()] == [6, 6]
    assert [trial.attempt for trial in bench.trials()] == [1, 1]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_workers_share_a_plan(bench: Watched, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "postgres":
        bench.url = request.getfixturevalue("postgres_url")
    store = ["--store", bench.url]
    case = Case("hf[lam=1,chunks=2,cg_max=20]", seeds=4)
    code, _, err = bench.finish(*case.command, "--plan", "plan.json", *store)
    assert code == 0, err
    worker = ["worker", "--exit-when-empty", *store]
    workers = [bench.begin(*worker, naps="0:0.5") for _ in range(2)]
    said = [each.communicate(timeout=90)[1] for each in workers]
    assert [each.returncode for each in workers] == [0, 0], said
    with Store.open(bench.url) as opened:
        fleets = opened.fleets(bench.comparison())
        owners = [str(fleet.owner).rpartition(":")[2] for fleet in fleets]
    assert {int(owner) for owner in owners} == {each.pid for each in workers}
    for each, words in zip(workers, said, strict=True):
        assert f"; {owners.count(str(each.pid))} fleet" in words
    assert [row["attempt"] for row, _ in bench.rows().values()] == [1] * 4
    before = bench.measured()
    code, out, err = bench.finish("resume", "--no-mlflow", "--json", "-", *store)
    assert code == 0, err
    assert json.loads(out)["methods"][0]["status"] == {"budget": 4}
    bench.see_consistent(before)
    assert bench.measured() == before


def test_a_worker_takes_over_from_one_that_died(bench: Watched) -> None:
    code, _, err = bench.finish(*NAG.command, "--plan", "plan.json")
    assert code == 0, err
    dead = bench.begin("worker", naps=NAG.naps)
    bench.until_kept(dead, NAG.kept, NAG.index)
    script = bench.folder / "script.py"
    script.write_text(
        "from bench.harness.comparison import resume as resuming\n"
        "from bench.harness.cli.main import main\n"
        "resuming.POLL_SECONDS = 0.2\n"
        "main()\n"
    )
    other = bench.begin("worker", naps="0:0", script=script)
    # It has nothing to do as long as the first lives.
    time.sleep(1)
    dead.kill()
    dead.communicate()
    before = bench.measured()
    wait(lambda: True if bench.trials()[0].status == "budget" else None)
    other.terminate()
    _, err = other.communicate(timeout=90)
    assert other.returncode == 130
    assert "after 1 fleet." in err
    bench.resume()
    bench.see_consistent(before)
    with Store.open(bench.url) as store:
        (trial,) = store.trials()
        last = store.measurements([trial.id])[trial.id][-1]
    assert (trial.attempt, len(bench.measured()[trial.id])) == (1, 6)
    assert last.ledger.updates == 150


def test_torchrun_by_hand(bench: Watched) -> None:
    code, _, err = bench.finish(*replace(PAIR, ranks=None).command, "--plan", "plan.json")
    assert code == 0, err
    torchrun = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node=2", "-m", "bench.harness.execution.worker", "plan.json"),
        ],
        cwd=bench.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert torchrun.returncode == 0, torchrun.stderr
    before = bench.measured()
    assert {t.status for t in bench.trials()} == {"budget"}
    bench.resume()
    assert bench.measured() == before
    bench.see_consistent(before)


ODD = """
import os
import sys
from dataclasses import replace
from dataclasses import replace
from pathlib import Path

from tests.harness import small

IS_ODD = os.environ.get("RANK") == "1"


def make(preset):
    problem = small.make(preset)
    if IS_ODD and {version!r}:
        sys.path.insert(0, str(Path(__file__).parent / "other"))
    if IS_ODD and not {version!r}:
        data = problem.data
        problem.data = lambda source: replace(data(source), digest="0" * 64)
    return problem
"""


@pytest.mark.parametrize("version", [True, False], ids=["version", "data"])
def test_ranks_that_are_not_alike_run_nothing(bench: Watched, version: bool) -> None:
    (bench.folder / "odd.py").write_text(ODD.format(version=version))
    other = bench.folder / "other" / "bench_harness-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-harness\nVersion: 9.9\n")
    process = bench.begin(*replace(PAIR, problem="./odd.py:make").command, naps="0:0")
    err = ended(bench, process, 4)
    here = f"has {importlib.metadata.version('bench-harness')}"
    odd, usual = ("bench version 9.9", here) if version else ("data with digest 000", "has")
    (said,) = [line for line in err.splitlines() if line.startswith("Rank 1 (")]
    assert f") has {odd}" in said
    assert f", and rank 0 ({os.uname().nodename}:" in said
    assert usual in said
    assert bench.trials() == []
