"""One table in a file: JSON lines, which anything reads, or Parquet, which is small and typed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, get_args

from bench.harness.core.errors import Infrastructure
from bench.harness.store.transfer.columns import Row, TransferTable, time_text

Format = Literal["parquet", "jsonl"]
FORMATS: tuple[str, ...] = get_args(Format)
CHUNK_ROWS = 5000
"""Rows in memory at a time."""


class TableFile(Protocol):
    """A file that rows of one table are written to."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""


@contextmanager
def table_file(path: Path, part: TransferTable, format: Format) -> Iterator[TableFile]:
    """Make a file for rows of a part; Infrastructure where pyarrow is wanted and absent."""
    if format == "jsonl":
        with path.open("wb") as file:
            yield _Lines(file)
        return
    arrow = _pyarrow()
    schema = _schema(part)
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        yield _Parquet(writer, schema)


class _Lines:
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            plain = {k: time_text(v) if isinstance(v, datetime) else v for k, v in row.items()}
            text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            self._file.write(text.encode() + b"\n")


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.write_table(_pyarrow().Table.from_pylist(list(rows), self._schema))


def read_rows(path: Path, part: TransferTable, format: Format, older: bool) -> Iterator[list[Row]]:
    """Return the rows of a file in stretches; of an `older` one, columns may be absent.

    Infrastructure where the file is not of this part.
    """
    read = _lines if format == "jsonl" else _parquet
    names = {field.name for field in part.fields}
    needed = {f.name for f in part.fields if not (older and f.column.nullable)}
    for rows in read(path, part):
        if any(not needed <= row.keys() <= names for row in rows):
            raise _unreadable(path, f"it has other columns than bench_{part.name}")
        yield [{field.name: row.get(field.name) for field in part.fields} for row in rows]


def _lines(path: Path, part: TransferTable) -> Iterator[list[Row]]:
    times = [field.name for field in part.fields if field.kind == "time"]
    rows: list[Row] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                rows.append(_line(path, number, line, times))
                if len(rows) == CHUNK_ROWS:
                    yield rows
                    rows = []
    except OSError as error:
        raise _unreadable(path, f"{error.strerror}") from error
    if rows:
        yield rows


def _line(path: Path, number: int, line: bytes, times: Sequence[str]) -> Row:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise TypeError
        for name in times:
            if row.get(name) is not None:
                row[name] = datetime.fromisoformat(row[name])
    except (ValueError, TypeError, RecursionError):
        raise _unreadable(path, f"line {number} is no row of it") from None
    return row


def _parquet(path: Path, part: TransferTable) -> Iterator[list[Row]]:
    arrow = _pyarrow()
    expected = {field.name: field for field in _schema(part)}
    try:
        with arrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if len(set(schema.names)) < len(schema.names) or any(
                field.name not in expected or not field.type.equals(expected[field.name].type)
                for field in schema
            ):
                raise _unreadable(path, f"it has other columns than bench_{part.name}")
            for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                if batch.num_rows:
                    yield batch.to_pylist()
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _unreadable(path, reason) from error


def _unreadable(path: Path, why: str) -> Infrastructure:
    return Infrastructure(
        f"{path.parent} cannot be imported: {path.name} cannot be read, since {why.rstrip('.')}. "
        "Nothing was changed; copy the folder again, or repeat the export."
    )


def _schema(part: TransferTable) -> Any:
    arrow = _pyarrow()
    types: Mapping[str, Any] = {
        "text": arrow.string(),
        "float": arrow.float64(),
        "boolean": arrow.bool_(),
        "time": arrow.timestamp("us", "UTC"),
    }
    return arrow.schema(
        [
            (f.name, types.get(f.kind) or (arrow.int64() if f.bits == 64 else arrow.int32()))
            for f in part.fields
        ]
    )


def _pyarrow() -> ModuleType:
    """Return pyarrow, which comes with MLflow, but not with mlflow-skinny or without MLflow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise Infrastructure(
            "Parquet needs pyarrow, which is not installed: export with --format jsonl, or "
            "`pip install pyarrow`."
        ) from error
    return pyarrow
