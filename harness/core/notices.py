"""Sentences for the person who runs a command, beside its result."""

from __future__ import annotations

import click

from bench.harness.core.text import visible


def say(sentence: str) -> None:
    """Tell the person something that is not the result."""
    click.echo(visible(sentence, but="\n"), err=True)
