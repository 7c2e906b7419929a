"""What a reader of one log format takes and gives: the rows of each run as they stand in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput

Floats = NDArray[np.float64]
Severity = Literal["info", "warning", "error"]


class NotALog(BadInput):
    """A file that is sound, but holds no training log: in a folder it is passed over, counted."""


@dataclass(frozen=True)
class Issue:
    """Something odd in a log: which run, a stable code, how bad, what it is, and where (file:line)."""

    run_id: str
    code: str
    severity: Severity
    message: str
    location: str = ""


@dataclass(frozen=True)
class Options:
    """What the user says of every log: columns under other names, which rows, and whether bad rows are left out."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    drop_bad: bool = False


@dataclass(frozen=True)
class Log:
    """The rows of one run in the order of the log.

    `values` holds (n,) arrays under canonical names, NaN where nothing was logged; a loss that was logged and is not
    finite is inf. `texts` holds what is said of the whole run. Row i stands at line `lines[i]` of
    `sources[files[i]]`. `named` says that the log itself gives the run's id (else it is the file's name). `cut` says
    that the log ended in the middle of a line, `unended` that its last line lacks its line break.
    """

    run_id: str
    sources: tuple[str, ...]
    values: Mapping[str, Floats]
    files: NDArray[np.int64]
    lines: NDArray[np.int64]
    texts: Mapping[str, str] = field(default_factory=dict)
    named: bool = True
    cut: bool = False
    unended: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Where a row stands, as file:line."""
        return f"{self.sources[self.files[row]]}:{self.lines[row]}"


@dataclass(frozen=True)
class Reading:
    """What one path holds: logs, issues, the sha256 of each file read, notes, rows left out by reason, rows read."""

    logs: tuple[Log, ...]
    issues: tuple[Issue, ...]
    inputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    read: int = 0


@dataclass(frozen=True)
class Reader:
    """A log format: `claims` says from a path's name or first bytes whether it is this format, `read` reads it.

    A path may be a folder, where the format is one. `version` grows when the same file gives other rows than before.
    """

    name: str
    version: int
    claims: Callable[[Path], bool]
    read: Callable[[str, Options], Reading]
