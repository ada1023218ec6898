#!/usr/bin/env bash
# SQLAlchemy 2.1.9 on SQLite (pysqlite of Python 3.11): a Float column does not give back every float.
#
# A learning curve or a checkpointed scalar is written through `Float` and read back:
#   -0.0 comes back as 0.0    (SQLite keeps a whole number in a REAL column as an integer, and
#                              integers have no negative zero)
#   nan  comes back as None   (SQLite has no NaN: the driver binds it, and NULL is stored); in a column
#                              that is NOT NULL the insert raises IntegrityError, and names the NULL
#                              that nobody wrote
# The same -0.0 survives in a column without a type, and infinities and subnormals survive in both.
# A test that compares with == sees no difference for -0.0; one that compares bits does.
#
# Seen: "Float: -0.0 -> 0.0", "untyped: -0.0 -> -0.0", "Float: nan -> None",
#       "NOT NULL: nan -> IntegrityError: NOT NULL constraint failed: strict.value"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check sqlalchemy==2.1.9 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
import math
import sqlite3

import sqlalchemy as sa

engine = sa.create_engine("sqlite://")
meta = sa.MetaData()
typed = sa.Table("typed", meta, sa.Column("value", sa.Float))
strict = sa.Table("strict", meta, sa.Column("value", sa.Float, nullable=False))
meta.create_all(engine)
print("SQLAlchemy", sa.__version__, "SQLite", sqlite3.sqlite_version)

with engine.begin() as connection:
    connection.exec_driver_sql("CREATE TABLE untyped (value)")

    def back(table: str, value: float) -> float | None:
        connection.exec_driver_sql(f"DELETE FROM {table}")
        if table == "untyped":
            connection.exec_driver_sql("INSERT INTO untyped VALUES (?)", (value,))
        else:
            connection.execute(typed.insert(), {"value": value})
        found = connection.exec_driver_sql(f"SELECT value FROM {table}").scalar()
        print(f"{'Float' if table == 'typed' else table}: {value} -> {found}")
        return found

    assert math.copysign(1, back("typed", -0.0)) == 1
    assert math.copysign(1, back("untyped", -0.0)) == -1
    assert back("typed", math.nan) is None
    assert back("typed", -math.inf) == -math.inf
    assert back("typed", 5e-324) == 5e-324

try:
    with engine.begin() as connection:
        connection.execute(strict.insert(), {"value": math.nan})
    raise SystemExit("no error: the behaviour has changed")
except sa.exc.IntegrityError as error:
    print(f"NOT NULL: nan -> IntegrityError: {error.orig}")
    assert "NOT NULL constraint failed: strict.value" in str(error.orig)
PY
