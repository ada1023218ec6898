"""Shell commands on as many lines as they take, which still run when they are copied."""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text


class Command:
    """A shell command on as many lines as it takes, which still runs when it is copied."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in _shell_lines(self.command, options.max_width):
            yield Text(line, style="cyan", no_wrap=True, overflow="ignore")


def _shell_lines(command: str, width: int) -> list[str]:
    """Break a command between its words, and long words in single quotes at their commas."""
    room = width - len("    ") - len(" \\")
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|[^\s'])+", command):
        if not lines[-1] or len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}" if lines[-1] else word
            continue
        lines[-1] += " \\"
        if len(word) <= room or not re.fullmatch(r"'[^']*'", word):
            lines.append(f"    {word}")
            continue
        # Quoted pieces that touch, with no space between, are one word to the shell.
        pieces = [""]
        for part in re.findall(r"[^,]*,|[^,]+", word[1:-1]):
            if pieces[-1] and len(pieces[-1]) + len(part) > room - len("''"):
                pieces.append("")
            pieces[-1] += part
        lines.append("    ")
        lines[-1] += "'\\\n'".join(pieces).join("''")
        lines[-1:] = lines[-1].split("\n")
    return lines
