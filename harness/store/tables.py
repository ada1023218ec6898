"""The tables of the results database, every column explained.

They share one database with MLflow's tables and refer to none of them. Every
time is UTC. Databases disagree about NaN and infinities, so a value that is
not finite is NULL, and a column beside it says which it was.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
)

from bench.harness.core.text import storable

VERSION_TABLE = "bench_alembic_version"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Utc(TypeDecorator[datetime]):
    """A time with its zone in Python, the same time in UTC without a zone in the database."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Text(TypeDecorator[str]):
    """A text as every database can store it, whichever this is, so that stores can be moved."""

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def _key(name: str, comment: str, of: Column[str] | None = None, **options: Any) -> Column[str]:
    """Return a column for a SHA-256, a foreign key where it is the key of another table."""
    target = () if of is None else (ForeignKey(of),)
    return Column(name, String(64), *target, nullable=False, comment=comment, **options)


def _digest(name: str, comment: str) -> Column[str]:
    """Return a column for a SHA-256 that trials of earlier versions of bench do not have."""
    return Column(name, String(64), comment=comment)


def _uuid(comment: str, **options: Any) -> Column[str]:
    """Return a column for 32 random hexadecimal digits."""
    return Column("uuid", String(32), nullable=False, comment=comment, **options)


def _ledger() -> list[Column[Any]]:
    """Return the columns of what a trial has spent."""
    count: dict[str, Any] = {"nullable": False, "server_default": "0"}
    return [
        Column("updates", BigInteger, comment="Updates made", **count),
        Column(
            "examples",
            BigInteger,
            comment="Cases run through the network, once for every pass",
            **count,
        ),
        Column("gradients", Float(53), comment="Gradient-equivalents, all computations", **count),
        Column(
            "products",
            BigInteger,
            comment="Products with the Gauss-Newton matrix or the Hessian",
            **count,
        ),
        Column("cg_steps", BigInteger, comment="Steps of conjugate gradients", **count),
        Column(
            "seconds", Float(53), comment="A trial's share: fleet_seconds / fleet_rows", **count
        ),
        Column("peak_memory", BigInteger, comment="Bytes at most, of device or process", **count),
        Column(
            "fleet_seconds",
            Float(53),
            comment="Training time of the whole fleet; evaluation is off the clock",
            **count,
        ),
    ]


def _values() -> list[Column[Any]]:
    """Return the columns of what was measured."""
    return [
        Column("train_metric", Float(53), comment="The metric on the whole training set"),
        Column("test_metric", Float(53), comment="The metric on the whole test set"),
        Column("train_loss", Float(53), comment="Mean training loss, without regulariser"),
        Column("test_loss", Float(53), comment="Mean test loss, without regulariser"),
        Column(
            "nonfinite",
            Text,
            comment="JSON: which value is nan, +inf or -inf (and NULL in its own column)",
        ),
    ]


store = Table(
    "bench_store",
    metadata,
    Column("id", String(32), primary_key=True, comment="Random name of this database"),
    Column("created", Utc, nullable=False, comment="When the tables were made"),
    Column(
        "needs",
        Text,
        nullable=False,
        server_default="0.1.0",
        comment="The oldest version of bench that can use these tables",
    ),
    comment="One row: names the database, so that rows spooled to disk find theirs",
)

protocol = Table(
    "bench_protocol",
    metadata,
    _key("key", "SHA-256 of the canonical JSON of body", primary_key=True),
    Column("problem", Text, nullable=False, comment="Name of the problem"),
    Column("preset", String(64), nullable=False, comment="quick, standard or paper"),
    Column("body", Text, nullable=False, comment="JSON: every field of the protocol"),
    Column("created", Utc, nullable=False, comment="When it was first used"),
    comment="What must be equal for two trials to be compared",
)

method = Table(
    "bench_method",
    metadata,
    _key("key", "SHA-256 of name, backend and hyperparameters", primary_key=True),
    Column("name", Text, nullable=False, comment="Name of the optimizer"),
    Column("backend", String(64), nullable=False, comment="What computes the update"),
    Column("hyperparameters", Text, nullable=False, comment="JSON: every hyperparameter"),
    comment="An optimizer with its backend and hyperparameters",
)

context = Table(
    "bench_context",
    metadata,
    _key("digest", "SHA-256 of the canonical JSON of body", primary_key=True),
    Column("body", Text, nullable=False, comment="JSON: device, versions, threads, rows, …"),
    comment="What may change a measured time",
)

comparison = Table(
    "bench_comparison",
    metadata,
    Column("id", String(8), primary_key=True, comment="8 random hexadecimal digits"),
    _key("protocol_key", "Its protocol", protocol.c.key, index=True),
    Column("kind", String(16), nullable=False, comment="comparison, run or tuning"),
    Column("command", Text, nullable=False, comment="The command that repeats it"),
    Column(
        "status",
        String(16),
        nullable=False,
        comment="planned (nobody runs it as a whole), running, done, failed or interrupted",
    ),
    Column("created", Utc, nullable=False, index=True, comment="When it began"),
    Column("ended", Utc, comment="When it ended"),
    Column("heartbeat", Utc, nullable=False, comment="When its process was last known alive"),
    Column("summary", Text, comment="JSON: the result as it was reported"),
    Column("mlflow_run_id", String(64), comment="Its run in MLflow"),
    Column(
        "mlflow_ended",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Whether its run in MLflow has ended",
    ),
    Column("lease_owner", Text, comment="The process that runs it, or ran it last"),
    comment="A set of trials under one protocol",
)

plan = Table(
    "bench_plan",
    metadata,
    Column(
        "comparison_id",
        String(8),
        ForeignKey(comparison.c.id),
        primary_key=True,
        comment="The comparison",
    ),
    _key("digest", "SHA-256 of the canonical JSON of body"),
    Column("body", Text, nullable=False, comment="JSON: what is needed to run it again"),
    Column("shared", Boolean, nullable=False, comment="Whether any worker may lease its fleets"),
    Column("created", Utc, nullable=False, comment="When it was entered"),
    comment="What a comparison was planned to run",
)

trial = Table(
    "bench_trial",
    metadata,
    Column("id", Integer, primary_key=True, comment="Number of the trial, never used again"),
    Column(
        "uuid",
        String(32),
        nullable=False,
        server_default="",
        index=True,
        unique=True,
        comment="32 hexadecimal digits that name it in every store that it is copied to",
    ),
    _key("key", "SHA-256 of protocol, method and seed"),
    Column("attempt", Integer, nullable=False, comment="1 for the first trial with this key"),
    _key("protocol_key", "Its protocol", protocol.c.key, index=True),
    _key("method_key", "Its method", method.c.key),
    Column("label", Text, nullable=False, comment="What the method is called in tables"),
    Column("seed", BigInteger, nullable=False, comment="Root of its random streams"),
    Column("purpose", String(16), nullable=False, comment="reported or tuning"),
    Column(
        "status",
        String(16),
        nullable=False,
        index=True,
        comment="planned, running, budget (ran to its end), diverged, failed or interrupted",
    ),
    Column("reason", Text, comment="Why it ended before its budget was spent"),
    _key("source_digest", "SHA-256 of the source of method and problem"),
    _digest("theta_digest", "SHA-256 of the initial parameters, in the trial's precision"),
    _digest("method_source", "SHA-256 of the source of the method alone"),
    _digest("problem_source", "SHA-256 of the source of the problem alone"),
    Column("seed_plan", Text, comment="JSON: which random streams follow from the seed, and how"),
    Column("command", Text, comment="The command that makes this trial again"),
    _key("context_digest", "Its context", context.c.digest),
    Column("info", Text, nullable=False, comment="JSON: user, host, folder, command line, commit"),
    Column("fleet_rows", Integer, nullable=False, comment="Trials trained as one tensor program"),
    Column("seconds_are", String(8), nullable=False, comment="alone or shared on its machine"),
    Column(
        "anytime_updates",
        BigInteger,
        comment="Its first updates that do not depend on where its budget ends; NULL: all, or not "
        "recorded",
    ),
    Column("created", Utc, nullable=False, comment="When it was entered"),
    Column("started", Utc, comment="When training began"),
    Column("ended", Utc, comment="When it ended"),
    Column("lease_owner", Text, comment="The process that runs it"),
    Column("heartbeat", Utc, comment="When that process was last known alive"),
    *_ledger(),
    *_values(),
    Column("mlflow_run_id", String(64), comment="Its run in MLflow"),
    Column(
        "mlflow_synced",
        Integer,
        nullable=False,
        server_default="-1",
        comment="Index of the last measurement that MLflow has; -1: none",
    ),
    Column(
        "mlflow_ended",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Whether its run in MLflow has ended",
    ),
    UniqueConstraint("key", "attempt"),
    comment="protocol x method x seed, with ledger and values at its last measurement",
    sqlite_autoincrement=True,
)

comparison_trial = Table(
    "bench_comparison_trial",
    metadata,
    Column(
        "comparison_id",
        String(8),
        ForeignKey(comparison.c.id),
        primary_key=True,
        comment="The comparison",
    ),
    Column(
        "trial_id",
        Integer,
        ForeignKey(trial.c.id),
        primary_key=True,
        index=True,
        comment="One of its trials",
    ),
    Column("reused", Boolean, nullable=False, comment="Whether it was recorded earlier"),
    comment="Which trials a comparison consists of",
)

fleet = Table(
    "bench_fleet",
    metadata,
    Column("id", Integer, primary_key=True, comment="Number of the fleet, never used again"),
    Column(
        "comparison_id",
        String(8),
        ForeignKey(comparison.c.id),
        nullable=False,
        comment="The comparison it is part of",
    ),
    Column("number", Integer, nullable=False, comment="0 is the first fleet of the plan"),
    Column(
        "cost",
        Float(53),
        nullable=False,
        comment="Seconds of work on one thread by the planner's count",
    ),
    Column("task", Text, nullable=False, comment="JSON: its trials, as the plan names them"),
    Column(
        "status",
        String(16),
        nullable=False,
        index=True,
        comment="planned, running, ended or failed",
    ),
    Column("lease_owner", Text, comment="The process that trains it, or trained it last"),
    Column("heartbeat", Utc, comment="When that process was last known alive"),
    UniqueConstraint("comparison_id", "number"),
    comment="Trials of a comparison that are trained together, by the process that leases them",
    sqlite_autoincrement=True,
)

fleet_trial = Table(
    "bench_fleet_trial",
    metadata,
    Column("fleet_id", Integer, ForeignKey(fleet.c.id), primary_key=True, comment="The fleet"),
    Column("position", Integer, primary_key=True, comment="Row of the fleet; 0 is the first"),
    Column(
        "trial_id",
        Integer,
        ForeignKey(trial.c.id),
        nullable=False,
        comment="Its newest attempt at the trial of that row",
    ),
    comment="Which trials the rows of a fleet are",
)

measurement = Table(
    "bench_measurement",
    metadata,
    Column(
        "trial_id",
        Integer,
        ForeignKey(trial.c.id),
        primary_key=True,
        comment="The trial that was evaluated",
    ),
    Column("idx", Integer, primary_key=True, comment="0 is the initial point; rising by one"),
    *_ledger(),
    *_values(),
    Column("diagnostics", Text, nullable=False, comment="JSON: what the method reports of itself"),
    comment="One evaluation of a trial: what it had spent and what it had reached",
)

verdict = Table(
    "bench_verdict",
    metadata,
    Column(
        "comparison_id",
        String(8),
        ForeignKey(comparison.c.id),
        primary_key=True,
        comment="The comparison",
    ),
    Column("a", Text, primary_key=True, comment="Label of one method"),
    Column("b", Text, primary_key=True, comment="Label of the other"),
    Column("position", Integer, nullable=False, comment="0 is the first pair of the report"),
    Column("body", Text, nullable=False, comment="JSON: difference, interval, p and verdict"),
    comment="What a comparison says of two methods",
)

claim = Table(
    "bench_claim",
    metadata,
    Column("id", String(8), primary_key=True, comment="8 random hexadecimal digits"),
    Column("claim", Integer, nullable=False, comment="Number of the claim"),
    Column("version", Integer, nullable=False, comment="Version of its rule"),
    Column("preset", String(64), nullable=False, comment="quick, standard or paper"),
    _key("rule_digest", "SHA-256 of the file that the rule stands in"),
    Column("decision", String(16), nullable=False, comment="holds, does not hold or cannot tell"),
    Column("body", Text, nullable=False, comment="JSON: statements, intervals and comparisons"),
    Column("created", Utc, nullable=False, index=True, comment="When it was decided"),
    comment="What the trials of a pre-registered rule say of a claim",
)

baseline = Table(
    "bench_baseline",
    metadata,
    Column("name", Text, primary_key=True, comment="Name of the baseline"),
    Column("accepted", Utc, primary_key=True, comment="When it was accepted; the newest holds"),
    Column(
        "comparison_id",
        String(8),
        ForeignKey(comparison.c.id),
        nullable=False,
        comment="The accepted comparison",
    ),
    Column("note", Text, comment="Why it was accepted"),
    comment="An accepted comparison that later ones are held against",
)

night = Table(
    "bench_night",
    metadata,
    _uuid("Name of the night in every store that it is copied to", primary_key=True),
    Column("suite", Text, nullable=False, comment="Name of the suite that was run"),
    _key("suite_digest", "SHA-256 of what the suite asks for"),
    Column("baseline", Text, nullable=False, comment="Name of the baseline it was held against"),
    Column("status", String(16), nullable=False, comment="running, clean, changed or failed"),
    Column("reason", Text, comment="Why it failed"),
    Column("commit", Text, comment="Git commit of the folder that it ran in"),
    Column("info", Text, nullable=False, comment="JSON: user, host, path and command line"),
    Column("created", Utc, nullable=False, index=True, comment="When it began"),
    Column("ended", Utc, comment="When it ended"),
    comment="A run of a suite that was held against a baseline",
)

night_metric = Table(
    "bench_night_metric",
    metadata,
    Column(
        "night",
        String(32),
        ForeignKey(night.c.uuid),
        primary_key=True,
        comment="The night that found it",
    ),
    Column("position", Integer, primary_key=True, comment="0 is the first line of the report"),
    Column("kind", String(16), nullable=False, comment="digest, quality or time"),
    _key("protocol_key", "The protocol of the comparison that it is part of"),
    Column("problem", Text, nullable=False, comment="Problem and preset, for people"),
    Column("method", Text, nullable=False, comment="Label of the method"),
    Column("metric", Text, nullable=False, comment="What was measured"),
    Column("direction", String(16), nullable=False, comment="lower, higher or equal"),
    Column("scale", String(16), nullable=False, comment="log: values are natural logarithms"),
    _key("context_digest", "The context that it was measured in"),
    Column("state", String(16), nullable=False, comment="What was found, against the reference"),
    Column("value", Float(53), comment="What was measured, on its scale"),
    Column("reference", Float(53), comment="What it was held against, on its scale"),
    Column("threshold", Float(53), comment="The largest difference that is no finding"),
    Column("sd", Float(53), comment="Standard deviation of a night's value where nothing changes"),
    Column("digest", String(64), comment="SHA-256, where that is what was measured"),
    Column("n", Integer, comment="Seeds or repetitions"),
    Column(
        "comparison_id",
        String(8),
        ForeignKey(comparison.c.id),
        comment="The comparison that the night ran",
    ),
    Column("reason", Text, nullable=False, comment="What there is to say of it"),
    comment="One thing that a night has held against its baseline",
)

noise = Table(
    "bench_noise",
    metadata,
    _uuid("Name of the row in every store that it is copied to", primary_key=True),
    Column("suite", Text, nullable=False, comment="Name of the suite that was run"),
    Column("body", Text, nullable=False, comment="JSON: standard deviations by metric"),
    Column("created", Utc, nullable=False, index=True, comment="When it was measured"),
    comment="How much a suite's metrics scatter on a machine where nothing changes",
)
