"""Settings of the commands: bench.toml in the working directory, and environment variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import click

from bench.harness.core.errors import Usage
from bench.optim.hyperparameters import nearest

SETTINGS = Path("bench.toml")
PREFIX = "BENCH_"
OTHER_VARIABLES = ("BENCH_CACHE_DIR", "BENCH_DEADLINE", "BENCH_TELL")
"""Variables that are no option of a command."""
TEST_VARIABLES = "BENCH_TEST_"


def tables() -> dict[str, Any]:
    """Return the contents of bench.toml; Usage if it cannot be read."""
    return _read(SETTINGS.absolute())


def forget() -> None:
    """Read bench.toml anew when it is needed next."""
    _read.cache_clear()


@cache
def _read(path: Path) -> dict[str, Any]:
    if os.path.exists(path) and not os.path.isfile(path):
        # Reading a pipe would wait for somebody to write to it.
        raise Usage(
            f"{SETTINGS} in this folder is not a file; rename it, or put a file in its place."
        )
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise Usage(f"{SETTINGS} in this folder cannot be read: {what}.") from error


def defaults(root: click.Group, ctx: click.Context) -> dict[str, Any]:
    """Return the settings of bench.toml for every command, as click takes its defaults.

    Raises Usage for a table that is no command, a key that is no option, and a value of another
    type than the option's.
    """
    given = tables()
    shared = {key: value for key, value in given.items() if not isinstance(value, dict)}
    commands = root.list_commands(ctx)
    for name, table in given.items():
        if isinstance(table, dict):
            if name not in commands:
                raise Usage(f"{SETTINGS}: there is no command {name!r}{nearest(name, commands)}")
            command = root.get_command(ctx, name)
            assert command is not None
            _check_table(command, name, table, ctx)
    if shared:
        _check_shared(root, shared, ctx)
    return {name: _for(root, name, shared, given.get(name, {}), ctx) for name in commands}


def _for(
    root: click.Group, name: str, shared: dict[str, Any], table: dict[str, Any], ctx: click.Context
) -> dict[str, Any]:
    """Return the settings of one command: the shared keys, overridden by its own table."""
    own = {key: value for key, value in table.items() if not isinstance(value, dict)}
    plain = _underscored({**shared, **own})
    if name not in root.list_commands(ctx) or not (shared or table):
        return plain
    command = root.get_command(ctx, name)
    if isinstance(command, click.Group):
        for inner in command.list_commands(ctx):
            plain[inner] = _for(command, inner, {**shared, **own}, table.get(inner, {}), ctx)
    return plain


def _underscored(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with underscores in its keys, as click names the options."""
    return {key.replace("-", "_"): value for key, value in table.items()}


def _check_table(
    command: click.Command, path: str, table: Mapping[str, Any], ctx: click.Context
) -> None:
    """Raise Usage for a fault in a command's table, or in the tables within it."""
    inner = command.list_commands(ctx) if isinstance(command, click.Group) else []
    own = {}
    for key, value in table.items():
        if not isinstance(value, dict):
            own[key] = value
            continue
        found = command.get_command(ctx, key) if isinstance(command, click.Group) else None
        if found is None:
            raise Usage(f"{SETTINGS}: bench {path} has no command {key!r}{nearest(key, inner)}")
        _check_table(found, f"{path} {key}", value, ctx)
    commands = list(_with_inner(command, ctx))
    known = sorted({name for each in commands for name in _keys(each)})
    for key, value in own.items():
        if key.replace("-", "_") not in known:
            raise Usage(f"{SETTINGS}: bench {path} has no option {key!r}{nearest(key, known)}")
        _check_value(commands, key, value, f"[{path.replace(' ', '.')}] ")


def _check_shared(root: click.Group, shared: Mapping[str, Any], ctx: click.Context) -> None:
    """Raise Usage for a fault in the keys at the top of the file."""
    commands = list(_with_inner(root, ctx))
    known = sorted({name for command in commands for name in _keys(command)})
    for key, value in shared.items():
        if key.replace("-", "_") in known:
            _check_value(commands, key, value)
            continue
        if key in root.list_commands(ctx):
            raise Usage(
                f"{SETTINGS}: {key!r} is a command. Write its settings as a table, [{key}]."
            )
        raise Usage(f"{SETTINGS}: no command has the option {key!r}{nearest(key, known)}")


def _check_value(commands: Iterable[click.Command], key: str, value: Any, table: str = "") -> None:
    from bench.harness.core.schema import Mismatch, validated

    for command in commands:
        option = _keys(command).get(key.replace("-", "_"))
        # --tune and --limit take a word or a number.
        either = option is not None and "N" in (option.metavar or option.type.name).split("|")
        if option is None or (either and type(value) is int):
            continue
        try:
            validated(_schema(option), value)
        except Mismatch as fault:
            raise Usage(f"{SETTINGS}: {table}{key} = {fault}.") from None


def _schema(option: click.Option) -> Any:
    """Return the type of an option's value in bench.toml."""
    from typing import Annotated, Literal

    from pydantic import Field

    kind = option.type
    schema: Any = str
    if option.is_flag:
        schema = bool
    elif isinstance(kind, click.Choice):
        schema = Literal[tuple(kind.choices)]
    elif isinstance(kind, click.IntRange):
        schema = Annotated[int, Field(ge=kind.min, le=kind.max)]
    elif kind == click.INT:
        schema = int
    elif kind == click.FLOAT:
        schema = float
    return list[schema] if option.multiple else schema


def _with_inner(command: click.Command, ctx: click.Context) -> Iterator[click.Command]:
    """Return a command and all commands in it."""
    yield command
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from _with_inner(found, ctx)


def _keys(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command that bench.toml may set, by key."""
    return {
        option.name: option
        for option in command.params
        if isinstance(option, click.Option) and option.name and option.expose_value
    }


def name_variables(command: click.Command, path: str, ctx: click.Context) -> None:
    """Give every option its variables: BENCH_COMPARE_SEEDS, and BENCH_SEEDS for all commands."""
    for name, option in _keys(command).items():
        given = option.envvar or ()
        names = [_variable(path, name), *([given] if isinstance(given, str) else given)]
        option.envvar = list(dict.fromkeys([*names, _variable(name)]))
    if isinstance(command, click.Group):
        for inner in command.list_commands(ctx):
            found = command.get_command(ctx, inner)
            assert found is not None
            name_variables(found, f"{path} {inner}", ctx)


def _variable(*parts: str) -> str:
    return PREFIX + "_".join(parts).upper().replace(" ", "_").replace("-", "_")


def unknown_variables(root: click.Group, ctx: click.Context, command: str) -> list[str]:
    """Return a sentence for every variable BENCH_… that no command reads.

    The variables of `command` are looked up first: to know those of all commands takes longer.
    """
    given = {name for name in os.environ if name.startswith(PREFIX)}
    given = {name for name in given if not name.startswith(TEST_VARIABLES)} - {*OTHER_VARIABLES}
    found = root.get_command(ctx, command)
    assert found is not None
    if not given - _variables(found, ctx):
        return []
    known = _variables(root, ctx) | {*OTHER_VARIABLES}
    return [
        f"The variable {name} is not used, because bench has no such setting{nearest(name, known)}"
        for name in sorted(given - known)
    ]


def _variables(command: click.Command, ctx: click.Context) -> set[str]:
    options = (option for each in _with_inner(command, ctx) for option in _keys(each).values())
    return {name for option in options for name in option.envvar or ()}
