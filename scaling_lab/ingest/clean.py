"""One curve for each run: pieces of a run joined, runs that share a log split, repeated steps merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from .log import Floats, Issue, Log

# What a run can't change while it trains: two values mean that two runs stand under one name.
FIXED = ("width", "depth", "heads", "vocab_size", "experts")


@dataclass(frozen=True)
class Curve:
    """One run, its steps rising: `values` (n,) as in a Log, and the place of each row's last measurement."""

    run_id: str
    log: Log
    values: Mapping[str, Floats]
    rows: NDArray[np.int64]

    def constant(self, name: str) -> float | None:
        """The last value that was logged of a quantity, None where there is none."""
        logged = self.values.get(name, np.empty(0))
        logged = logged[~np.isnan(logged)]
        return float(logged[-1]) if logged.size else None

    def changes(self, name: str) -> int | None:
        """The first row at which a logged quantity has another value than before, None where it keeps it."""
        logged = np.flatnonzero(~np.isnan(self.values.get(name, np.empty(0))))
        other = np.flatnonzero(np.diff(self.values[name][logged])) if logged.size else logged
        return int(logged[other[0] + 1]) if other.size else None

    def place(self, row: int) -> str:
        """Where a row stands, as file:line."""
        return self.log.place(int(self.rows[row]))


def join(logs: Iterable[Log]) -> list[Log]:
    """The same logs with the pieces of one run, which may lie in several files, one after the other."""
    pieces: dict[str, list[Log]] = {}
    for log in logs:
        pieces.setdefault(log.run_id, []).append(log)
    return [_joined(parts) if len(parts) > 1 else parts[0] for parts in pieces.values()]


def _joined(parts: list[Log]) -> Log:
    names = dict.fromkeys(name for part in parts for name in part.values)
    absent = [np.full(len(part), np.nan) for part in parts]
    return replace(
        parts[-1],
        sources=tuple(source for part in parts for source in part.sources),
        values={
            name: np.concatenate([p.values.get(name, a) for p, a in zip(parts, absent, strict=True)]) for name in names
        },
        files=np.concatenate([part.files + place for place, part in enumerate(parts)]),
        lines=np.concatenate([part.lines for part in parts]),
        texts={name: text for part in parts for name, text in part.texts.items()},
    )


def curves_of(log: Log) -> tuple[list[Curve], list[Issue]]:
    """The runs of a log: one, or several where the steps begin again at 0 or 1; raises BadInput, see `_check_fixed`."""
    if not len(log):
        return [], []
    clock = next(name for name in ("step", "tokens", "samples") if name in log.values)
    begins, back, issues = _begins(log, log.values[clock], clock)
    curves = []
    for number, (start, stop) in enumerate(zip(begins, [*begins[1:], len(log)], strict=True), 1):
        run_id = log.run_id if number == 1 else f"{log.run_id}#{number}"
        curve, replaced = _merge(log, run_id, clock, start, stop)
        _check_fixed(curve)
        issues += _repeats(log, run_id, clock, [row for row in back if start < row < stop], replaced)
        curves.append(curve)
    return curves, issues


def _begins(log: Log, time: Floats, clock: str) -> tuple[list[int], list[int], list[Issue]]:
    """The rows at which runs begin, the other rows at which the clock goes back, and an issue for each extra run."""
    begins, back, issues = [0], [], []
    furthest, seen = -np.inf, 0
    for row in 1 + np.flatnonzero(np.diff(time) < 0):
        furthest, seen = max(furthest, float(time[seen:row].max())), int(row)
        again = clock == "step" and time[row] <= 1 < furthest
        # A piece in another file that starts no later than the run did is another run, not its continuation.
        elsewhere = log.files[row] != log.files[row - 1] and time[row] <= time[begins[-1]]
        if not (again or elsewhere):
            back.append(int(row))
            continue
        begins.append(int(row))
        run_id = f"{log.run_id}#{len(begins)}"
        message = f"{clock} begins again at {time[row]:g} after {furthest:g}: read as another run, {run_id}"
        issues.append(Issue(run_id, "new-run", "warning", message, log.place(int(row))))
        furthest = -np.inf
    return begins, back, issues


def _merge(log: Log, run_id: str, clock: str, start: int, stop: int) -> tuple[Curve, int]:
    """The rows from start to stop with one for each step, and how many losses a later one of the same step replaced.

    Each column keeps the last value that was logged at the step: loggers write a row for training and a row for
    validation, and a resumed run writes its steps again.
    """
    import pandas as pd

    part = {name: values[start:stop] for name, values in log.values.items()}
    frame = pd.DataFrame({**part, "row": np.arange(start, stop)})
    merged = frame.groupby(clock, sort=True).last().reset_index()
    values = {name: merged[name].to_numpy(dtype=float) for name in part}
    losses = [name for name in ("loss", "train_loss") if name in part]
    replaced = max(int((~np.isnan(part[n])).sum() - (~np.isnan(values[n])).sum()) for n in losses)
    return Curve(run_id, log, values, merged["row"].to_numpy(dtype=np.int64)), replaced


def _repeats(log: Log, run_id: str, clock: str, back: list[int], replaced: int) -> list[Issue]:
    """What is to say of steps that go back or come twice."""
    kept = (
        f"; {replaced} loss{'es' if replaced > 1 else ''} of the same {clock} replaced by the later" if replaced else ""
    )
    if back:
        time = log.values[clock]
        where = f"{clock} goes back from {time[back[0] - 1]:g} to {time[back[0]]:g}"
        where += f" and {len(back) - 1} more time{'s' if len(back) > 2 else ''}" if len(back) > 1 else ""
        message = f"{where}: read as a resume{kept}"
        return [Issue(run_id, "resume", "warning" if replaced else "info", message, log.place(back[0]))]
    if replaced:
        return [Issue(run_id, "repeated-step", "warning", f"steps stand twice{kept}", log.sources[0])]
    return []


def _check_fixed(curve: Curve) -> None:
    """Raises BadInput where something that a run can't change has two values: two runs stand under one name."""
    for name in curve.values:
        row = curve.changes(name) if name in FIXED or name.startswith("params") else None
        if row is not None:
            values = curve.values[name]
            before = values[:row][~np.isnan(values[:row])][-1]
            at = int(curve.rows[row])
            raise BadInput(
                f"{name} changes within run {curve.run_id!r}, from {before:g} to {values[row]:g}",
                file=curve.log.sources[curve.log.files[at]],
                line=int(curve.log.lines[at]),
                fix="if these are several runs, say what names them: --map run_id=COLUMN",
            )
