"""Options that several commands have, each defined once."""

from __future__ import annotations

from pathlib import Path

import click

from bench.harness.core.errors import Usage

store_option = click.option(
    "--store",
    envvar="BENCH_STORE",
    metavar="URL",
    help="The database that holds the results; default: sqlite:///mlruns/bench.db",
)

data_dir_option = click.option(
    "--data-dir",
    envvar="BENCH_DATA_DIR",
    metavar="DIR",
    help="Look for data in this folder first, then in the user's cache.",
)


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    envvar="BENCH_PLUGIN",
    metavar="NAME",
    help="Load this method or problem of your own, if a plan needs it. Write its name as in "
    "--optimizers or --problem, without brackets. Repeat the option for each name.",
)

allow_option = click.option(
    "--allow",
    multiple=True,
    metavar="FIELD",
    help="Allow this field of the protocol, or the source, to differ; the report notes it. Repeat "
    "the option for each field.",
)


def _tracking_uri(ctx: click.Context, option: click.Parameter, given: str | None) -> str | None:
    """Refuse a value without a scheme: MLflow would take it for a folder."""
    if given and "://" not in given:
        raise Usage(
            f"--tracking-uri {given}: give the address of a tracking server, for example "
            "https://mlflow.example.org, or the URL of a database."
        )
    return given or None


tracking_option = click.option(
    "--tracking-uri",
    envvar="BENCH_TRACKING_URI",
    metavar="URI",
    callback=_tracking_uri,
    help="Copy to this MLflow instead of the one in the store's database.",
)


metric_option = click.option(
    "--metric",
    metavar="train_NAME|test_NAME|train_loss|test_loss",
    help="Judge by this metric, NAME being the problem's; default: its metric on training data.",
)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device of the training; auto takes a GPU if there is one.",
)

threads_option = click.option(
    "--threads",
    type=int,
    metavar="N",
    help="CPU threads, divided among fleets that train at the same time; default: torch's choice.",
)

fresh_option = click.option(
    "--fresh", is_flag=True, help="Run trials again, even if their results are recorded."
)

json_option = click.option(
    "--json", "json_path", metavar="FILE", help="Write the result to FILE as JSON; - means stdout."
)

no_mlflow_option = click.option(
    "--no-mlflow", is_flag=True, help="Do not copy to MLflow now; `bench db sync` does it later."
)


def store_url(given: str | None) -> str:
    """Return the given store URL, or by default the SQLite file in the working directory."""
    # Imported here, since the command line must start without SQLAlchemy.
    from bench.harness.core.store_url import check_escapes, sqlite_url

    if given:
        check_escapes(given)
        return given
    return sqlite_url(Path("mlruns/bench.db"))
