"""What cannot be done is said in a sentence, with the exit code that scripts rely on."""

import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from bench.harness.store.results import Store
from tests.harness.small import BUDGET, PROBLEM

USUAL = {
    "--optimizers": "nag[batch=20]",
    "--problem": PROBLEM,
    "--budget": BUDGET,
    "--seeds": "1",
    "--threads": "1",
}
STORE = Path("mlruns/bench.db")

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def compare(bench):
    """Run `bench compare` with flags that work, but for those given."""

    def run(**given):
        flags = USUAL | {f"--{name.replace('_', '-')}": value for name, value in given.items()}
        said = bench("compare", "--no-mlflow", *[word for pair in flags.items() for word in pair])
        assert "Traceback" not in said.err
        return said

    return run


OPTIMIZERS = [
    ("nga", "There is no optimizer 'nga'; did you mean 'nag'?"),
    ("zzzz", "There are: sgd, cm, nag, hf"),
    ("torch.optim.AdmW", "did you mean 'AdamW'?"),
    ("torch.optim.Muon", "Muon only supports 2D parameters"),
    ("torch.optim.SGD[on=norms]+torch.optim.AdamW[on=rest]", "on=norms] takes no parameter of"),
    ("torch.optim.SGD[on=matrices]+nag[on=rest]", "nag cannot be a part of torch.optim.SGD+nag"),
    ("pytorch_optimizer:Lookahead", "Lookahead(torch.optim.AdamW)[inner.lr=0.001]"),
    ("pytorch_optimizer:SAM(torch.optim.SGD,nag)", "the parentheses do not match. An optimizer is"),
    ("nag(torch.optim.SGD)", "none of its arguments takes an optimizer. Leave out"),
    (
        "pytorch_optimizer:SAM(torch.optim.SGD[lr=1])",
        "stand behind it: pytorch_optimizer:Lookahead",
    ),
    ("nag@cuda", "no backend 'cuda'; did you mean 'numba-cuda'? Allowed: torch, numba, numba-cuda"),
    ("nag@nmba", "did you mean 'numba'?"),
    ("not_there:Mine", "importing 'not_there' failed"),
    ("./not_there.py:Mine", "there is no file"),
    ("bench.optim.momentum.methods:NAGG", "did you mean 'NAG'?"),
    ("nag[lr=0.1", "the brackets do not match"),
    ("nag]", "the brackets do not match"),
    ("nag[[lr=0.1]]", "the brackets do not match"),
    ("nag[lr=0.1]x", "nothing may follow the closing bracket"),
    ("nag[lr]", "'lr' is not of the form key=value"),
    ("nag[lr=]", "not of the form key=value"),
    ("nag[lr=0.1|]", "not of the form key=value"),
    ("nag[lr=1,lr=2]", "'lr' is given twice"),
    ("", "empty entry between commas"),
    ("nag,,hf", "empty entry between commas"),
    ("nag[lrr=0.1]", "nag has no hyperparameter 'lrr'; did you mean 'lr'?"),
    ("sgd[mu_max=0.9]", "sgd has no hyperparameter 'mu_max'"),
    ("nag[lr=fast]", "nag: lr=fast is not a number"),
    ("nag[lr=0]", "nag: lr=0 is out of range: above 0"),
    ("nag[lr=nan]", "lr=nan is out of range"),
    ("nag[mu_max=1.5]", "at least 0 and at most 1"),
    ("nag[batch=2.5]", "batch=2.5 is not a whole number"),
    ("hf[precondition=maybe]", "allowed are true and false"),
    ("nag[schedule=steep]", "allowed are sutskever, constant, nesterov"),
    ("torch.optim.AdamW[lr=-1]", "refuses its hyperparameters"),
    ("nag[batch=20,lr_warmup=151]", "Let the warm-up be shorter than the budget"),
    ("nag[batch=20,lr_schedule=wsd,lr_warmup=0.5,lr_cooldown=0.9]", "Shorten one"),
    ("hf[lr_warmup=0.1]", "Write a number of updates"),
    ("nag[batch=20,warmup=3]", "did you mean 'lr_warmup'? Every method has a recipe: lr_schedule"),
    ("nag[batch=20,weight_decay.biases=0]", "no hyperparameter 'weight_decay.biases'. It has: lr"),
    (
        "torch.optim.SGD[on=matrices,ema=0.9]+torch.optim.AdamW[on=rest,ema=0.5]",
        "the parts have different values of ema, which is one for the whole route",
    ),
    ("torch.optim.Rprop[batch=20,lr_schedule=cosine]", "does not read lr from its groups"),
    ("nag[batch=20],nag@numba[batch=2e1]", "nag is listed twice"),
    ("nag[lr=0.01|0.05,batch=20],hf", "but they differ: nag 2, hf 1"),
]


@pytest.mark.parametrize(("optimizers", "told"), OPTIMIZERS)
def test_optimizers(compare, workdir, optimizers, told):
    refused(compare(optimizers=optimizers), told, workdir)


OTHERS = [
    ("problem", "curvse", "did you mean 'curves'?"),
    ("problem", "curves[", "the brackets do not match"),
    ("problem", "curves[side=3]", "curves has no parameter side; it has init, scale, fan_in"),
    ("problem", "add[T=5]", "T=5: a whole number from 20 to 1,000 is allowed"),
    ("problem", "xor[T=19]", "T=19: a whole number from 20 to 1,000 is allowed"),
    ("problem", "order3[T=9]", "T=9: a whole number from 10 to 1,000 is allowed"),
    ("problem", "mem5[T=0]", "T=0: a whole number from 1 to 1,000 is allowed"),
    ("problem", "add[T=1001]", "T=1001: a whole number from 20 to 1,000 is allowed"),
    ("problem", "add[T=30.5]", "T=30.5: a whole number from 20 to 1,000 is allowed"),
    ("problem", "add[T=long]", "T=long: a whole number from 20 to 1,000 is allowed"),
    ("problem", "add[T=nan]", "T=nan: a whole number from 20 to 1,000 is allowed"),
    ("problem", "add[T=]", "'T=' is not of the form key=value"),
    ("problem", "add[T=20|30]", "a comparison is on one problem; write one value each"),
    ("problem", "mem5[alphabet=1]", "alphabet=1: a whole number from 2 to 1,000 is allowed"),
    ("problem", "permutation[alphabet=1]", "alphabet=1: a whole number from 4 to 1,000 is allowed"),
    ("problem", "add[radius=0]", "radius=0: a number greater than 0 is allowed"),
    ("problem", "add[radius=-1]", "radius=-1: a number greater than 0 is allowed"),
    ("problem", "add[radius=nan]", "radius=nan: a number greater than 0 is allowed"),
    ("problem", "add[input_scale=0]", "input_scale=0: a number greater than 0 is allowed"),
    ("problem", "mul[centred_inputs=1]", "centred_inputs=1: true or false is allowed"),
    ("problem", "add[length=30]", "add has no parameter length; it has T, radius, input_scale"),
    ("problem", "add[alphabet=3]", "add has no parameter alphabet; it has T, radius"),
    ("preset", "quik", "--preset quik: there is no such preset; did you mean 'quick'?"),
    ("seeds", "0", "--seeds 0: allowed are 1 to 999999"),
    ("seeds", "-3", "--seeds -3: allowed are 1"),
    ("seeds", "1000000", "allowed are 1 to 999999"),
    ("seeds", "99999999999999999999", "allowed are 1 to 999999"),
    ("seeds", "two", "'--seeds': 'two' is not a valid integer"),
    ("budget", "1000", "give CURRENCY=AMOUNT"),
    ("budget", "gradients", "give CURRENCY=AMOUNT"),
    ("budget", "gradient=5", "did you mean 'gradients'? Allowed: gradients, updates, examples"),
    ("budget", "=5", "give CURRENCY=AMOUNT"),
    ("budget", "gradients=", "must be a positive number"),
    ("budget", "gradients=-5", "must be a positive number"),
    ("budget", "gradients=0", "must be a positive number"),
    ("budget", "gradients=nan", "must be a positive number"),
    ("budget", "gradients=inf", "must be a positive number"),
    ("budget", "gradients=1e300", "must be a positive number below 2^53"),
    ("budget", "updates=1.5", "must be a positive whole number"),
    ("budget", "updates=0.5", "must be a positive whole number"),
    ("budget", "gradients=19", "is less than one update of nag costs (20)"),
    ("tune", "0", "--tune 0: allowed are none, grid, and a number from 2"),
    ("tune", "1", "allowed are none, grid"),
    ("tune", "-3", "allowed are none, grid"),
    ("tune", "2.5", "allowed are none, grid"),
    ("tune", "²", "allowed are none, grid"),
    ("tune", "many", "allowed are none, grid"),
    ("tune", "99999999999", "to 1024"),
    ("tune_seeds", "0", "--tune-seeds 0: allowed are 1 to"),
    ("tune_seeds", "999999999999", "allowed are 1 to 1000"),
    ("precision", "tf32", "--precision tf32 needs a CUDA device"),
    ("precision", "fp16", "'--precision': 'fp16' is not one of"),
    ("device", "gpu", "'--device': 'gpu' is not one of"),
    ("threads", "0", "--threads 0: allowed are 1 to"),
    ("threads", "-1", "--threads -1: allowed are 1 to"),
    ("threads", "100000", "--threads 100000: allowed are 1 to"),
    ("data_dir", "not_there", "--data-dir=not_there is not a folder"),
    ("store", "bench.db", "--store bench.db: this is not the URL of a store"),
    ("store", "sqlite://", "this is not the URL of a store"),
    ("store", "oracle://me:secret@h/db", "--store oracle://me:***@h/db: this is not the URL"),
    ("optimisers", "nag", "No such option"),
]


@pytest.mark.parametrize(("flag", "value", "told"), OTHERS)
def test_other_flags(compare, workdir, monkeypatch, flag, value, told):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(compare(**{flag: value}), told, workdir)


def refused(said, told, workdir):
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert said.err.startswith("bench: ")
    assert len(said.err.splitlines()) == 1
    assert "secret" not in said.err
    assert list(workdir.iterdir()) == []


def test_no_optimizers(bench):
    said = bench("compare")
    assert (said.code, said.out) == (2, "")
    assert "Give --optimizers to run a comparison, for example --optimizers nag,hf" in said.err


def test_no_such_device(compare, workdir, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = compare(device="cuda")
    assert (said.code, said.out) == (4, "")
    assert "--device cuda: torch finds no CUDA device here. Use --device cpu" in said.err
    assert list(workdir.iterdir()) == []


def test_no_data(compare, workdir, monkeypatch):
    monkeypatch.delenv("BENCH_DATA_DIR", raising=False)
    said = compare(problem="mnist", budget="gradients=6000")
    assert (said.code, said.out) == (4, "")
    assert len(said.err.splitlines()) == 1
    assert "train-images-idx3-ubyte" in said.err
    assert "MD5" in said.err
    assert "bench data fetch mnist" in said.err
    assert list(workdir.iterdir()) == []


def newer(file):
    Store.open(f"sqlite:///{file}").close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE bench_alembic_version SET version_num = '9999'")
    connection.close()


def foreign(file):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Path.mkdir, "is a folder, not a file"),
        (lambda file: file.write_text("Dear diary, " * 99), "is not a SQLite database"),
        (foreign, "belongs to another program: it has the tables invoices. Nothing was changed"),
        (newer, "at revision 9999, newer than 0007"),
    ],
)
def test_a_store_that_is_none(compare, tmp_path, make, told):
    file = tmp_path / "thing"
    make(file)
    before = file.read_bytes() if file.is_file() else None
    said = compare(store=f"sqlite:///{file}")
    assert (said.code, said.out) == (4, "")
    assert told in said.err.splitlines()[-1]
    assert "--store" in said.err
    if before is not None and make is not newer:
        assert file.read_bytes() == before


def test_a_server_that_is_not_there(compare):
    said = compare(store="postgresql://me:secret@127.0.0.1:1/db")
    assert (said.code, said.out) == (4, "")
    assert "postgresql+psycopg://me:***@127.0.0.1:1/db failed" in said.err
    assert "secret" not in said.err


def test_mlruns_is_a_file(compare, workdir):
    (workdir / "mlruns").write_text("mine")
    said = compare()
    assert (said.code, said.out) == (4, "")
    assert "mlruns" in said.err.splitlines()[-1]
    assert (workdir / "mlruns").read_text() == "mine"


@pytest.fixture
def disk(monkeypatch):
    """A disk with room for so many pages of a SQLite database; None: as many as it wants."""

    class Disk:
        pages = None

    def limit(connection, record):
        if Disk.pages is not None:
            connection.execute(f"PRAGMA max_page_count = {Disk.pages}")

    event.listen(Engine, "connect", limit)
    yield Disk
    event.remove(Engine, "connect", limit)


def test_no_room_for_a_store(compare, disk):
    disk.pages = 5
    said = compare()
    assert (said.code, said.out) == (4, "")
    assert "cannot grow: the disk is full. Free some space or" in said.err.splitlines()[-1]
    disk.pages = None
    assert compare().code == 0


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_the_disk_fills_up(compare, disk, more):
    """While trials are begun, while they are measured, or when the summary is entered."""
    Store.open(f"sqlite:///{STORE}").close()
    with sqlite3.connect(STORE, isolation_level=None) as connection:
        connection.execute("VACUUM")
        (used,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    disk.pages = used + more
    said = compare(seeds="16")
    assert (said.code, said.out) == (4, "")
    assert "cannot grow: the disk is full. Free some space" in said.err.splitlines()[-1]
    disk.pages = None
    with Store.open(f"sqlite:///{STORE}") as store:
        assert {(c.status, c.summary) for c in store.comparisons()} <= {
            ("failed", None), ("running", None),
        }  # fmt: skip
    # The same command goes on from what was recorded.
    said = compare(seeds="16")
    assert said.code == 0, said.err
    with Store.open(f"sqlite:///{STORE}") as store:
        assert store.comparisons()[0].status == "done"
        ended = Counter(t.status for t in store.trials())
    assert ended.pop("budget") == 16
    # What the store had no room for was spooled, and is entered now.
    assert ended.keys() <= {"interrupted"}


@pytest.mark.parametrize("option", ["json", "html"])
def test_a_file_in_no_folder_is_refused_before_anything_is_run(compare, option):
    said = compare(**{option: "not_there/result"})
    told = f"bench: --{option} not_there/result cannot be written: its folder does not exist.\n"
    assert (said.code, said.out, said.err) == (4, "", told)
    assert not Path(STORE).exists()


@pytest.mark.parametrize("option", ["json", "html"])
def test_a_folder_in_a_file_s_place_is_refused_before_anything_is_run(compare, option):
    Path("here").mkdir()
    said = compare(**{option: "here"})
    told = f"bench: --{option} here cannot be written: it is a folder. Name a file in it.\n"
    assert (said.code, said.out, said.err) == (4, "", told)
    assert not Path(STORE).exists()


def test_json_that_cannot_be_written(compare):
    place = "/dev/full"
    said = compare(json=place)
    assert said.code == 4
    assert said.out.startswith("small / quick")
    last = said.err.splitlines()[-1]
    assert last.startswith(f"bench: --json {place} cannot be written: No s")
    with Store.open(f"sqlite:///{STORE}") as store:
        (record,) = store.comparisons()
    assert f"bench show {record.id}" in last
    assert (record.status, record.summary["comparison"]) == ("done", record.id)
