"""Shell commands on as many lines as they take, which still run when they are copied."""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text


class Command:
    """A shell command on several lines that still runs when it is copied.

    Text that does not begin with "bench " is a sentence: it says that no command exists.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    @property
    def exists(self) -> bool:
        """Whether there is a command."""
        return self.command.startswith("bench ")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.exists:
            yield Text(self.command)
            return
        for line in _shell_lines(self.command, options.max_width):
            yield Text(line, style="cyan", no_wrap=True, overflow="ignore")


def _shell_lines(command: str, width: int) -> list[str]:
    """Break a command between its words, and long quoted words at their commas."""
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
        # The shell reads quoted pieces without a space between them as one word.
        pieces = [""]
        for part in re.findall(r"[^,]*,|[^,]+", word[1:-1]):
            if pieces[-1] and len(pieces[-1]) + len(part) > room - len("''"):
                pieces.append("")
            pieces[-1] += part
        lines.append("    ")
        lines[-1] += "'\\\n'".join(pieces).join("''")
        lines[-1:] = lines[-1].split("\n")
    return lines
