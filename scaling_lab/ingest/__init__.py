"""Training logs of any known format to one table of runs and one of curves."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import BadInput
from .clean import curves_of, join
from .generic import GENERIC
from .log import Issue, Log, NotALog, Options, Reader, Reading
from .output import Ingested
from .paths import Source, distinct_names, expand
from .runs import Run, curves_table, parse_endpoint, run_of, runs_table

# A new format is one file with a Reader, named here. The first that claims a path reads it; plain tables come last.
READERS: tuple[Reader, ...] = (GENERIC,)


def reader_of(path: Path) -> Reader | None:
    """The reader that claims a path, None where none does."""
    return next((reader for reader in READERS if reader.claims(path)), None)


def ingest(
    paths: Iterable[str | os.PathLike[str]],
    *,
    endpoint: str = "last",
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    params: float | None = None,
    batch_tokens: float | None = None,
    drop_bad: bool = False,
    exclude: Iterable[str | os.PathLike[str]] = (),
) -> Ingested:
    """The runs and curves of logs: files, folders (searched to the bottom) and globs, but for those in `exclude`.

    Raises BadInput or UsageError with file, line and column; with `drop_bad` bad rows and unreadable files are left out
    and counted.
    """
    wanted = parse_endpoint(endpoint)
    options = Options(dict(mapping or {}), where, drop_bad)
    sources = expand(map(str, paths), lambda path: reader_of(path) is not None, map(str, exclude))
    readings = [_read(source, options) for source in sources]
    logs = [log for reading in readings for log in reading.logs if len(log)]
    issues = [issue for reading in readings for issue in reading.issues]
    runs: list[Run] = []
    for log in join(_with_names(logs)):
        curves, odd = curves_of(log)
        issues += odd
        runs += [run_of(curve, wanted, params, batch_tokens) for curve in curves]
    if not runs:
        why = f" ({issues[0].message})" if len(issues) == 1 else ""
        raise BadInput(f"no run in {len(sources)} file{'s' if len(sources) != 1 else ''}{why}", file=sources[0].path)
    issues += [issue for run in runs for issue in run.issues]
    return Ingested(
        runs=runs_table(runs),
        curves=curves_table(runs),
        issues=(*issues, *_without_params(runs)),
        notes=_noted(readings),
        dropped=dict(sum((Counter(reading.dropped) for reading in readings), Counter())),
        read=sum(reading.read for reading in readings),
        inputs={name: digest for reading in readings for name, digest in reading.inputs.items()},
        endpoint=str(wanted),
    )


def _read(source: Source, options: Options) -> Reading:
    """What one path holds; a file of a folder that is no log is passed over, an unreadable one too with drop_bad."""
    reader = GENERIC if source.path == "-" else reader_of(Path(source.path)) or GENERIC
    try:
        return reader.read(source.path, options)
    except NotALog as fault:
        if source.asked:
            raise
        return Reading((), (Issue("", "not-a-log", "info", str(fault), source.path),), {})
    except BadInput as fault:
        if not options.drop_bad:
            raise
        return Reading(
            (), (Issue("", "unreadable", "error", str(fault), source.path),), {}, dropped={"file unreadable": 1}
        )


def _with_names(logs: Iterable[Log]) -> list[Log]:
    """The logs with an id for each: the log's own, else the file's name with as many folders as tell it apart."""
    logs = list(logs)
    names = distinct_names(log.sources[0] for log in logs if not log.named)
    return [log if log.named else replace(log, run_id=names[log.sources[0]]) for log in logs]


def _without_params(runs: Iterable[Run]) -> list[Issue]:
    absent = [run.row["run_id"] for run in runs if not any(n.startswith("params") and v for n, v in run.row.items())]
    if not absent:
        return []
    message = f"{len(absent)} run{'s' * (len(absent) > 1)} without params: give --params N, or --map params=COLUMN"
    return [Issue("", "no-params", "warning", message, ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else ""))]


def _noted(readings: Iterable[Reading]) -> tuple[str, ...]:
    """Each note once, with the number of files that it holds for."""
    readings = [reading for reading in readings if reading.logs]
    counts = Counter(note for reading in readings for note in dict.fromkeys(reading.notes))
    every = len(readings)
    return tuple(f"{note}{f' (in {n} of {every} files)' if n < every else ''}" for note, n in counts.items())


__all__ = ["READERS", "Ingested", "Issue", "Reader", "ingest", "reader_of"]
