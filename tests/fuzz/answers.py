"""What a command line answers, and whether a person should get that."""

from __future__ import annotations

import contextlib
import io

from bench.harness.cli.main import main

Answer = tuple[int, str]
"""Exit code, and all that was printed."""

WRONG = 99
"""No exit code: a fault that is none of a sentence."""
ALLOWED = {0, 1, 2, 3, 4, 130}


def run(words: list[str]) -> Answer:
    """Run a command line in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(words)
        except SystemExit as ended:
            return int(ended.code or 0), out.getvalue()
    return 0, out.getvalue()


def is_wrong(code: int, said: str) -> bool:
    """Return whether an answer is none that a person should get."""
    return code not in ALLOWED or "Traceback" in said or "unexpected error" in said
