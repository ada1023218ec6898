"""Standard streams that last: a reader that goes away, a full disk or an encoding stop no command.

What a command does, the files that it writes and its exit code do not depend on whether somebody
reads what it prints.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

ERRORS = "bench.plain"
"""The name of the rule for characters that an encoding does not have."""
_PLAIN = {
    **dict.fromkeys("–—−‐─━╸╺╌", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("•█▇▆", "#"),
    **dict.fromkeys("▅▄", "+"),
    **dict.fromkeys("▃▂▁░·", "."),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **{"→": "->", "…": "...", "×": "x", "≤": "<=", "≥": ">=", "±": "+-", "∞": "inf"},
    **{"²": "^2", "³": "^3", "½": "1/2", "√": "sqrt", "¹": "1", "†": "+"},
    **{"μ": "mu", "µ": "mu", "ε": "eps", "θ": "theta", "λ": "lambda", "ρ": "rho", "σ": "sigma"},
    **{"β": "beta", "α": "alpha", "Φ": "Phi", "Σ": "sum", "τ": "tau", "₀": "0", "ᵀ": "^T"},
}


class _Raw(io.FileIO):
    """A file descriptor that keeps its first write error, and drops what comes after it."""

    lost: OSError | None = None

    def write(self, data: bytes | memoryview, /) -> int | None:  # type: ignore[override]
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


class Output:
    """What became of the output on stdout."""

    def __init__(self, raw: _Raw | None) -> None:
        self._raw = raw

    @property
    def failure(self) -> str | None:
        """Why it could not be written; None if it was, or if its reader has gone away."""
        lost = self._raw and self._raw.lost
        return None if not lost or lost.errno == errno.EPIPE else lost.strerror


@contextmanager
def lasting_streams() -> Iterator[Output]:
    """Make stdout and stderr last while the block runs; the block is given stdout's state."""
    before = sys.stdout, sys.stderr
    sys.stdout, raw = _lasting(sys.stdout, sys.__stdout__, 1)
    sys.stderr, _ = _lasting(sys.stderr, sys.__stderr__, 2)
    try:
        yield Output(raw)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


def secure_streams() -> None:
    """Make stdout and stderr last to the end of this process."""
    sys.stdout, _ = _lasting(sys.stdout, sys.__stdout__, 1)
    sys.stderr, _ = _lasting(sys.stderr, sys.__stderr__, 2)


def _lasting(
    stream: TextIO | None, original: TextIO | None, descriptor: int
) -> tuple[TextIO, _Raw | None]:
    """Return a stream that lasts on a descriptor; one that a program has replaced is kept."""
    if stream is not None and stream is not original:
        return stream, None
    if stream is not None and _fileno(stream) != descriptor:
        return stream, None
    _open_descriptors()
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()
    raw = _Raw(descriptor, "w", closefd=False)
    lasting = io.TextIOWrapper(
        io.BufferedWriter(raw),  # type: ignore[type-var]
        encoding="utf-8" if stream is None else stream.encoding,
        errors=ERRORS,
        line_buffering=descriptor == 2 or raw.isatty(),
    )
    return lasting, raw


def _fileno(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _open_descriptors() -> None:
    """Open what is closed of 0, 1 and 2: otherwise a database could get one of these numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    escaped = (
        _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode()
        for character in missing
    )
    return "".join(escaped), error.end


codecs.register_error(ERRORS, _plain)
