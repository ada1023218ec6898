"""Exported folders in which a row or the manifest was changed, with checksums made anew."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from bench.harness.core.spec import key_of
from bench.harness.store.transfer.bundle import MANIFEST, sha256
from bench.harness.store.transfer.columns import JSON_COLUMNS
from tests.fuzz.answers import WRONG, Answer, is_wrong, run
from tests.fuzz.changes import changed

COMPARE = (
    "compare --optimizers nag,sgd --problem curves --preset quick --budget updates=3 --seeds 1 "
    "--tune none --no-mlflow"
)
DIGESTS = {
    "protocol": lambda row: key_of(row["body"]),
    "context": lambda row: key_of(row["body"]),
    "method": lambda row: key_of(row),
}


@cache
def exported() -> Path:
    """Return the export of one small comparison."""
    folder = Path("whole").absolute()
    for words in (
        f"{COMPARE} --store sqlite:///made/bench.db",
        f"db export {folder} --format jsonl --store sqlite:///made/bench.db",
    ):
        code, said = run(shlex.split(words))
        assert code == 0, said
    return folder


def changed_manifest(dice: random.Random) -> tuple[str, Answer]:
    """Import the export with a changed manifest."""
    folder = _copy()
    text = json.dumps(changed(dice, json.loads((folder / MANIFEST).read_text())))
    _write(folder / MANIFEST, text)
    return text[:2000], imported(folder)


def changed_row(dice: random.Random) -> tuple[str, Answer]:
    """Import the export with a changed row and the checksum that belongs to it."""
    folder = _copy()
    manifest = json.loads((folder / MANIFEST).read_text())
    name = dice.choice([name for name, table in manifest["tables"].items() if table["rows"]])
    path = folder / f"{name}.jsonl"
    rows = [_opened(json.loads(line)) for line in path.read_text().splitlines()]
    i = dice.randrange(len(rows))
    before, former = json.dumps(rows[i]), next(iter(rows[i].values()))
    # Most of what bench reads is in the JSON.
    bodies = [column for column in rows[i] if column in JSON_COLUMNS]
    column = dice.choice(bodies if bodies and dice.random() < 0.6 else list(rows[i]))
    rows[i] = {**rows[i], column: changed(dice, rows[i][column])}
    if dice.random() < 0.1:
        rows[i] = changed(dice, rows[i])
    lines = [json.dumps(_closed(row)) for row in rows]
    if dice.random() < 0.1:
        lines[i : i + 1] = dice.choice(([], lines[i : i + 1] * 2))
    _write(path, "".join(f"{line}\n" for line in lines))
    if name in DIGESTS and isinstance(rows[i], dict) and dice.random() < 0.9:
        _name_anew(folder, former, name, rows[i])
    for table in manifest["tables"].values():
        table["sha256"] = sha256(folder / table["file"])
        table["rows"] = len((folder / table["file"]).read_text().splitlines())
    _write(folder / MANIFEST, json.dumps(manifest))
    return f"{name}.{column}: {before[:200]} → {json.dumps(rows[i])[:2000]}", imported(folder)


def imported(folder: Path) -> Answer:
    """Import a folder into a new store, and read that; return the first wrong answer."""
    store = Path("fresh")
    shutil.rmtree(store, ignore_errors=True)
    url = "sqlite:///fresh/bench.db"
    code, said = run(["db", "import", str(folder), "--store", url])
    if is_wrong(code, said) or code:
        return code, said
    again = Path("again").absolute()
    shutil.rmtree(again, ignore_errors=True)
    shown, listed = run(["list", "comparisons", "--json", "--store", url])
    ids = [each["id"] for each in json.loads(listed)["comparisons"]] if shown == 0 else []
    for words in (
        "list comparisons",
        "list trials",
        *(f"show {id}" for id in ids),
        "show 1",
        f"db export {again}",
    ):
        code, said = run([*words.split(), "--store", url])
        # What was let in can be read.
        if is_wrong(code, said) or (code and words != "show 1"):
            return WRONG, f"{words}: {code}: {said}"
    return 0, ""


def _copy() -> Path:
    folder = Path("bundle").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(exported(), folder, copy_function=os.link)
    return folder


def _write(path: Path, text: str) -> None:
    # The file is linked to that of the export.
    path.unlink()
    path.write_text(text, errors="surrogatepass")


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    return {k: json.loads(v) if k in JSON_COLUMNS and v else v for k, v in row.items()}


def _closed(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {k: json.dumps(v) if k in JSON_COLUMNS and v is not None else v for k, v in row.items()}


def _name_anew(folder: Path, former: str, table: str, row: dict[str, Any]) -> None:
    """Give a row the name that follows from its content, wherever it is named."""
    try:
        plain = {k: v for k, v in row.items() if k != "key"}
        digest = DIGESTS[table](plain)
    except Exception:
        return
    for path in folder.glob("*.jsonl"):
        text = path.read_text()
        if former in text:
            _write(path, text.replace(former, digest))
