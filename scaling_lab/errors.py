"""Every fault that a user can mend, as one line that says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class LabError(Exception):
    """A fault of the input, the fit or the command line; the command line prints it as one line and exits."""

    exit_code = 1


class UsageError(LabError):
    """The command line itself is at fault (exit 2)."""

    exit_code = 2


class Interrupted(LabError):
    """The user stopped the work after part of it was done and kept (exit 130)."""

    exit_code = 130


class BadInput(LabError):
    """A file, a row or a value that can't be used; says the file, line and column where they are known."""

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
        fix: str = "",
    ) -> None:
        self.file, self.line, self.column, self.fix = file, line, column, fix
        place = ", ".join(
            part
            for part in (file, f"line {line}" if line is not None else None, f"column {column}" if column else None)
            if part
        )
        super().__init__(f"{place + ': ' if place else ''}{problem}{'; ' + fix if fix else ''}")


class NotEnoughData(LabError):
    """Fewer usable rows than something needs: a law more than its free `parameters`, which --fix makes fewer."""

    def __init__(
        self, have: int, need: int, what: str, detail: str = "", *, parameters: int | None = None, more: str = "runs"
    ) -> None:
        self.have, self.need = have, need
        rows = f"{have} usable row{'s' if have != 1 else ''}, but {what}"
        least = f"needs at least {need} rows{detail}; add {more}"
        if parameters is None:
            super().__init__(f"{rows} {least}")
        else:
            free = f"{parameters} free parameter{'s' if parameters != 1 else ''}"
            super().__init__(f"{rows} has {free} and {least}, or hold parameters with --fix name=value")


class NotIdentified(LabError):
    """The data can't tell these parameters, whatever their values."""

    def __init__(self, names: Sequence[str], why: str, fix: str) -> None:
        self.names = tuple(names)
        super().__init__(f"{why}: {', '.join(names)} can't be told from this table; {fix}")


class DidNotConverge(LabError):
    """No start reached an optimum."""


class MissingExtra(LabError):
    """An optional dependency that this command needs is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed; run: pip install 'scaling-lab[{extra}]'")


class ConditionMet(LabError):
    """A warning that --fail-on names has come up; the results were written (exit 4)."""

    exit_code = 4


class FinishedWithFailures(LabError):
    """A batch or a sweep ran to its end and some of it failed (exit 5)."""

    exit_code = 5


class Stopped(LabError):
    """Stopped by a signal with everything saved; the same command resumes (exit 75)."""

    exit_code = 75


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to `name`, or the known words where none is close."""
    words = sorted(set(known))
    close = get_close_matches(name, words, n=1, cutoff=0.6) or get_close_matches(
        name.lower(), [w.lower() for w in words], n=1, cutoff=0.6
    )
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(words)}"
