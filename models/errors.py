"""The error of a problem that cannot be what a comparison rests on."""


class ProblemError(ValueError):
    """A problem's own code or data are not as they must be; the message says what to do."""
