"""Critical batch sizes: from steps to a loss at several batch sizes, from curves, and from branches of one run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..engine.result import Notice
from ..errors import BadInput, UsageError
from ..quantities import format_quantity
from ..tables import Rows, Table, column_numbers, read_table, rows_for
from .allocate import Quantile
from .isoflop import PowerLaw, power_law

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SCHEMA, BRANCH_SCHEMA = "scaling-lab/cbs/1", "scaling-lab/cbs-branched/1"
Method = Literal["hyperbola", "optimum"]
METHODS: tuple[Method, ...] = ("hyperbola", "optimum")
# Zhang et al. 2024, arXiv:2410.21676: the critical batch needs so many more steps than linear scaling would.
OVERHEAD = 0.2
# Where a critical batch is looked for, as factors of the least and the most batch tried, and at how many places.
REACH, PLACES = 1e3, 1201
# Merrill et al. 2025, arXiv:2505.23971 (by a summary): losses that count as equal, in nats per token.
TOLERANCE = 0.01
# Batch sizes below which a curve through them has nothing left to be judged by.
LEAST = 3
USED, EDGE = "used", "minimum at the edge of the batches tried"
_SIZES = ("params", "params_nonembed")


@dataclass(frozen=True)
class Hyperbola:
    """steps = min_steps * (1 + critical / batch), which is (S / S_min - 1) * (E / E_min - 1) = 1 with E = batch * S.

    `critical` is E_min / S_min in the unit of the batches, `sd` the spread of log steps about the curve (None where two
    batch sizes leave none). An end of an interval that the batches leave open is 0 or infinite. `status` is "used", or
    says why the batches show no critical one; then `critical` has the place where the search ended.
    """

    critical: Quantile
    min_steps: Quantile
    min_tokens: Quantile
    sd: float | None
    n: int
    status: str

    def at_overhead(self, overhead: float, linear_from: float) -> Quantile:
        """The batch at which steps exceed linear scaling from `linear_from` by a share of `overhead`."""
        start = (1 + overhead) * linear_from
        found = self.critical
        return Quantile(start + overhead * found.value, tuple(start + overhead * end for end in found.ci))


@dataclass(frozen=True)
class Level:
    """One loss (of one size of model, where the table tells sizes) with the batches (n,) and steps (n,) that reach it.

    `batch` is what the method looks for, in tokens: the critical batch, or the one of fewest tokens.
    """

    loss: float
    params: float | None
    batches: Floats
    steps: Floats
    batch: Quantile | None
    hyperbola: Hyperbola | None
    overhead: Quantile | None
    status: str

    def to_dict(self) -> dict[str, Any]:
        """An entry of the JSON."""
        curve = self.hyperbola
        return {
            "loss": self.loss,
            "params": self.params,
            "status": self.status,
            "batch_tokens": self.batches,
            "steps": self.steps,
            "batch": None if self.batch is None else self.batch.to_dict(),
            "overhead": None if self.overhead is None else self.overhead.to_dict(),
            "min_steps": None if curve is None else curve.min_steps.to_dict(),
            "min_tokens": None if curve is None else curve.min_tokens.to_dict(),
            "sd": None if curve is None else curve.sd,
        }


@dataclass(frozen=True)
class CriticalBatch:
    """The batch size of every level, and the power law through them: of `along`, loss or params, where there are three.

    The law is of the overhead's batches where those were asked for.
    """

    method: Method
    levels: tuple[Level, ...]
    along: str
    law: PowerLaw | None
    overhead: float | None
    linear_from: float | None
    level: float
    rows: Mapping[str, Any]
    notes: tuple[str, ...]
    warnings: tuple[Notice, ...]
    sha256: Mapping[str, str]

    @property
    def used(self) -> tuple[Level, ...]:
        """The levels that have a batch size."""
        return tuple(level for level in self.levels if level.status == USED)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `cbs --json`."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "levels": [level.to_dict() for level in self.levels],
            "along": self.along,
            "law": None if self.law is None else vars(self.law),
            "overhead": self.overhead,
            "linear_from": self.linear_from,
            "level": self.level,
            "rows": dict(self.rows),
            "notes": list(self.notes),
            "warnings": [vars(notice) for notice in self.warnings],
        }

    def table(self) -> pd.DataFrame:
        """The levels used as a table that fit takes: loss, params, and critical_batch_tokens or batch_tokens."""
        import pandas as pd

        target = "critical_batch_tokens" if self.method == "hyperbola" else "batch_tokens"
        found = [(level, value) for level in self.used if (value := _asked(level)) is not None]
        columns: dict[str, list[float | None]] = {"loss": [each.loss for each, _ in found]}
        if all(each.params is not None for each, _ in found):
            columns["params"] = [each.params for each, _ in found]
        columns[target] = [value.value for _, value in found]
        return pd.DataFrame(columns)


def _asked(level: Level) -> Quantile | None:
    return level.overhead if level.overhead is not None else level.batch


# ---------------------------------------------------------------------------------------------------- the hyperbola


def fit_hyperbola(batch: Floats, steps: Floats, *, level: float = 0.9, delta: float | None = None) -> Hyperbola:
    """McCandlish's trade-off through batches (n,) and the steps (n,) they take to one loss.

    Least squares of log steps given the batch, or Huber's loss beyond `delta`; at a given batch the residual of log
    tokens is the same. One parameter is solved at each value of the critical batch, so the whole range is searched. The
    intervals end where the profiled objective has risen by F(1, n - 2). Raises BadInput for fewer than two batches.
    """
    b, y = np.asarray(batch, dtype=float), np.log(np.asarray(steps, dtype=float))
    if len(np.unique(b)) < 2:
        raise BadInput(
            f"{len(np.unique(b))} batch size tells no critical one", fix="give runs of three batch sizes or more"
        )
    grid = np.geomspace(b.min() / REACH, b.max() * REACH, PLACES)
    cost = _profile(grid, b, y, delta)[0]
    at = int(np.argmin(cost))
    best = _refined(grid, at, b, y, delta)
    low_cost, place = (float(v[0]) for v in _profile(np.array([best]), b, y, delta))
    status = USED
    if at in (0, PLACES - 1):
        status = (
            "more batch hardly saves steps: all batches are beyond the critical one"
            if at == 0
            else "steps fall as the batch grows: all batches are below the critical one"
        )
    free = len(b) - 2
    values = np.array([best, np.exp(place), best * np.exp(place)])
    if free < 1 or status != USED:
        found = [Quantile(float(v), ()) for v in values]
        return Hyperbola(found[0], found[1], found[2], None, len(b), status)
    sd, rise = _rise(y - np.log1p(best / b) - place, level, delta)
    ends = _ends(b, y, best, low_cost + rise, delta)
    found = [
        Quantile(float(v), (min(lo, float(v)), max(hi, float(v)))) for v, (lo, hi) in zip(values, ends, strict=True)
    ]
    return Hyperbola(found[0], found[1], found[2], sd, len(b), status)


def _profile(critical: Floats, b: Floats, y: Floats, delta: float | None) -> tuple[Floats, Floats]:
    """The least objective (m,) and the log of the least steps (m,) there, for critical batches (m,)."""
    u = y - np.log1p(critical[:, None] / b)
    place = u.mean(axis=1, keepdims=True)
    if delta is None:
        return 0.5 * np.sum((u - place) ** 2, axis=1), place[:, 0]
    place = np.median(u, axis=1, keepdims=True)
    for _ in range(200):
        weight = np.minimum(1.0, delta / np.maximum(np.abs(u - place), 1e-300))
        moved = np.sum(weight * u, axis=1, keepdims=True) / np.sum(weight, axis=1, keepdims=True)
        done = np.max(np.abs(moved - place)) < 1e-13
        place = moved
        if done:
            break
    r = np.abs(u - place)
    return np.sum(np.where(r <= delta, 0.5 * r * r, delta * (r - 0.5 * delta)), axis=1), place[:, 0]


def _refined(grid: Floats, at: int, b: Floats, y: Floats, delta: float | None) -> float:
    """The critical batch of least objective between the neighbours of the best place of the grid."""
    from scipy.optimize import minimize_scalar

    ends = np.log(grid[[max(at - 1, 0), min(at + 1, len(grid) - 1)]])
    found = minimize_scalar(
        lambda z: float(_profile(np.exp([z]), b, y, delta)[0][0]),
        bounds=tuple(ends),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(np.exp(found.x))


def _rise(residual: Floats, level: float, delta: float | None) -> tuple[float, float]:
    """The spread of residuals (n,), and how far the objective may rise within an interval.

    With Huber's loss the rise is that of a robust likelihood-ratio test, sum psi^2 / sum psi' (Ronchetti and others,
    Robust Statistics, section 6.4), which with least squares is the F test.
    """
    from scipy.stats import f

    free = len(residual) - 2
    inner = np.abs(residual) <= (np.inf if delta is None else delta)
    psi = residual if delta is None else np.clip(residual, -delta, delta)
    share = float(np.mean(inner))
    squared = float(np.sum(psi**2)) / free
    if share == 0:
        return float(np.sqrt(squared)), float(np.inf)
    return float(np.sqrt(squared)) / share, 0.5 * squared / share * float(f.ppf(level, 1, free))


def _ends(b: Floats, y: Floats, best: float, limit: float, delta: float | None) -> list[tuple[float, float]]:
    """Ends of the critical batch, the least steps and the least tokens: where no values of the others stay below."""
    grid = np.unique(np.append(np.geomspace(b.min() / REACH, b.max() * REACH, 4 * PLACES), best))
    cost, place = _profile(grid, b, y, delta)
    inside = np.flatnonzero(cost <= limit)
    first, last = int(inside[0]), int(inside[-1])
    # What is left of the rise moves the least steps at one critical batch by its root.
    half = np.sqrt(2 * np.maximum(limit - cost[inside], 0.0) / len(b))
    steps, tokens = place[inside], place[inside] + np.log(grid[inside])
    at_end = first == 0, last == len(grid) - 1
    critical = (0.0 if at_end[0] else float(grid[first - 1]), np.inf if at_end[1] else float(grid[last + 1]))
    # Below every batch the least tokens go to nothing, beyond every batch the least steps do.
    low_steps = 0.0 if at_end[1] else float(np.exp(np.min(steps - half)))
    low_tokens = 0.0 if at_end[0] else float(np.exp(np.min(tokens - half)))
    return [
        critical,
        (low_steps, float(np.exp(np.max(steps + half)))),
        (low_tokens, float(np.exp(np.max(tokens + half)))),
    ]


# -------------------------------------------------------------------------------------------------- the best batch


def fit_optimum(batch: Floats, tokens: Floats, level: float = 0.9) -> tuple[Quantile | None, str]:
    """The batch where a parabola of log tokens (n,) against log batch (n,) is lowest, and "used" or why there is none.

    The interval is Fieller's, with Student's t; none from three batches, which a parabola meets exactly.
    """
    from scipy.stats import t

    x, y = np.log(np.asarray(batch, dtype=float)), np.log(np.asarray(tokens, dtype=float))
    if len(np.unique(x)) < LEAST:
        return None, f"only {len(np.unique(x))} batch sizes"
    middle = x.mean()
    design = np.vander(x - middle, 3, increasing=True)
    (_, b, c), *_ = np.linalg.lstsq(design, y, rcond=None)
    if c <= 0:
        return None, "the parabola has no minimum"
    place = float(-b / (2 * c))
    if not x.min() - middle < place < x.max() - middle:
        return Quantile(float(np.exp(place + middle)), ()), EDGE
    free = len(x) - 3
    if free < 1:
        return Quantile(float(np.exp(place + middle)), ()), USED
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    cov = float(rest @ rest) / free * np.linalg.inv(design.T @ design)
    q = float(t.ppf((1 + level) / 2, free)) ** 2
    # (b + 2 c v)^2 <= q Var(b + 2 c v), a quadratic in v.
    two, one, zero = 4 * (c * c - q * cov[2, 2]), 4 * (b * c - q * cov[1, 2]), b * b - q * cov[1, 1]
    ends = (-np.inf, np.inf)
    if two > 0:
        root = np.sqrt(max(one * one - 4 * two * zero, 0.0))
        ends = ((-one - root) / (2 * two), (-one + root) / (2 * two))
    return Quantile(float(np.exp(place + middle)), tuple(float(np.exp(end + middle)) for end in ends)), USED


# ----------------------------------------------------------------------------------------------- tables of batches


@dataclass(frozen=True)
class _Runs:
    """What reached which loss: arrays (n,) of a row for each run and loss."""

    loss: Floats
    params: Floats | None
    batch: Floats
    steps: Floats
    run: NDArray[Any]


@dataclass(frozen=True)
class _How:
    """What is looked for, checked: raises UsageError."""

    method: Method
    overhead: float
    linear_from: float | None
    delta: float | None
    level: float

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"no method {self.method!r}; known: {', '.join(METHODS)}, branched")
        if not 0 < self.level < 1:
            raise UsageError(f"--level {self.level:g} is not between 0 and 1")
        for name, value in (("overhead", self.overhead), ("linear-from", self.linear_from), ("huber", self.delta)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise UsageError(f"--{name} {value:g} is not a number above zero")
        if self.method == "optimum" and (self.linear_from is not None or self.delta is not None):
            raise UsageError("--linear-from and --huber are of the hyperbola; leave them out for --method optimum")


def cbs(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    method: Method = "hyperbola",
    levels: Sequence[float] | None = None,
    overhead: float = OVERHEAD,
    linear_from: float | None = None,
    delta: float | None = None,
    warmup_steps: float | None = None,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
    level: float = 0.9,
) -> CriticalBatch:
    """Critical batch sizes of each loss of a table of steps to it, or of `levels` read off a table of curves.

    Columns batch_tokens (or batch_sequences with seq_len), step and loss; a column params (or params_nonembed) sets
    sizes apart. `method` optimum looks for the batch of fewest tokens instead (MiniCPM). `linear_from`, a batch in
    tokens, adds the batch that needs `overhead` more steps than linear scaling from it (Zhang et al.).
    """
    how = _How(method, overhead, linear_from, delta, level)
    read = with_batch_tokens(read_table(table, mapping=mapping, where=where))
    size = next((name for name in _SIZES if read.has(name)), None)
    rows = usable(rows_for(read, ("batch_tokens", "step", *([size] if size else [])), drop_bad=drop_bad))
    notes = list(rows.notes)
    runs, dropped = _of_curves(read, rows, size, levels, warmup_steps) if levels else _of_targets(rows, size)
    found = _levels(runs, how, notes)
    along = "params" if runs.params is not None and len(np.unique(runs.params)) >= LEAST else "loss"
    law = _law_by_run(runs, found, along, how) if levels else _law(found, along, level)
    account = {"read": rows.read, "used": rows.used - sum(dropped.values()), "dropped": {**rows.dropped, **dropped}}
    return CriticalBatch(
        method=method,
        levels=found,
        along=along,
        law=law,
        overhead=overhead if linear_from is not None else None,
        linear_from=linear_from,
        level=level,
        rows=account,
        notes=tuple(notes),
        warnings=(*_not_best(method), *_unannealed(levels), *_left_out(found)),
        sha256={rows.name: rows.sha256},
    )


def usable(rows: Rows) -> Rows:
    """The rows; raises BadInput where there are none."""
    if not rows.used:
        why = ", ".join(f"{count} {reason}" for reason, count in rows.dropped.items())
        raise BadInput(f"no row can be used ({why})", file=rows.name, fix="mend them or give another table")
    return rows


def with_batch_tokens(read: Table) -> Table:
    """The table with batch sizes in tokens; raises BadInput where its units can't be told or contradict each other."""
    if read.has("batch_sequences") and read.has("seq_len"):
        if not read.has("batch_tokens"):
            made = read_table(read, mapping={"batch_tokens": "batch_sequences*seq_len"})
            note = "batch_tokens is not in the table: taken as batch_sequences * seq_len"
            return replace(made, notes={**made.notes, "batch_tokens": note})
        sequences, length = (column_numbers(read, name)[0] for name in ("batch_sequences", "seq_len"))
        with np.errstate(all="ignore"):  # what is no number is refused by name later
            ratio = column_numbers(read, "batch_tokens")[0] / (sequences * length)
        wrong = np.flatnonzero(np.abs(ratio - 1) > 0.01)
        if wrong.size:
            raise BadInput(
                "batch_tokens is not batch_sequences * seq_len: batches are in mixed units",
                file=read.name,
                line=int(read.lines[wrong[0]]),
                column="batch_tokens",
                fix="give them all in tokens, as in --map batch_tokens='batch_sequences*seq_len'",
            )
    if not read.has("batch_tokens") and read.has("batch_sequences"):
        raise BadInput(
            "batches are in sequences, and nothing says of how many tokens",
            file=read.name,
            column="batch_sequences",
            fix="give --map batch_tokens='batch_sequences*512' with the length of your sequences",
        )
    return read


def _of_targets(rows: Rows, size: str | None) -> tuple[_Runs, dict[str, int]]:
    """A table whose rows are steps to a loss, as it is."""
    steps = rows.x["step"]
    if not np.all(steps > 0):
        raise BadInput(
            "no loss is reached in 0 steps", file=rows.name, line=int(rows.lines[np.argmin(steps)]), column="step"
        )
    params = rows.x[size] if size else None
    return _Runs(rows.y, params, rows.x["batch_tokens"], steps, rows.group), {}


def _of_curves(
    read: Table, rows: Rows, size: str | None, levels: Sequence[float], warmup_steps: float | None
) -> tuple[_Runs, dict[str, int]]:
    """The steps at which each curve first falls to each level, and the rows that are of the warm-up."""
    for value in levels:
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"--levels {value:g} is no loss above zero")
    if not rows.grouped:
        raise BadInput("no column run_id says which rows are one curve", file=rows.name, fix="give --map run_id=COLUMN")
    kept, cut = after_warmup(read, rows, warmup_steps)
    found = []
    for run in dict.fromkeys(kept.group.tolist()):
        own = kept.take(kept.group == run)
        batch, params = one_value(own, "batch_tokens"), one_value(own, size) if size else np.nan
        steps = steps_to(own.x["step"], own.y, np.asarray(levels, dtype=float))
        found += [(loss, params, batch, s, run) for loss, s in zip(levels, steps, strict=True) if np.isfinite(s)]
    if not found:
        raise BadInput(
            f"no curve falls to any of the levels (losses go from {kept.y.max():.4g} to {kept.y.min():.4g})",
            file=rows.name,
            fix="name --levels between them",
        )
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return _Runs(columns[0], columns[1] if size else None, *columns[2:]), cut


def one_value(rows: Rows, name: str) -> float:
    """The value that an input has in all rows of a run; raises BadInput where it changes."""
    values = rows.x[name]
    if np.ptp(values) > 1e-9 * abs(values[0]):
        at = int(np.argmax(values != values[0]))
        raise BadInput(
            f"{name} changes within run {rows.group[0]!r} ({values[0]:g}, then {values[at]:g})",
            file=rows.name,
            line=int(rows.lines[at]),
            column=name,
            fix="give every run one value, or split it into runs of their own",
        )
    return float(values[0])


def after_warmup(read: Table, rows: Rows, warmup_steps: float | None) -> tuple[Rows, dict[str, int]]:
    """The rows past the warm-up: beyond `warmup_steps`, or the table's own column of that name; and how many went."""
    if warmup_steps is None and not read.has("warmup_steps"):
        return rows, {}
    if warmup_steps is not None:
        if not (np.isfinite(warmup_steps) and warmup_steps >= 0):
            raise UsageError(f"--warmup-steps {warmup_steps:g} is not zero or above")
        ends = np.full(rows.used, float(warmup_steps))
    else:
        by_line = dict(zip(read.lines.tolist(), column_numbers(read, "warmup_steps")[0].tolist(), strict=True))
        ends = np.array([by_line[line] for line in rows.lines.tolist()])
        ends = np.where(np.isfinite(ends), ends, 0.0)
    keep = rows.x["step"] > ends
    if not keep.any():
        raise BadInput("every row is of the warm-up", file=rows.name, column="step", fix="give a lower --warmup-steps")
    return rows.take(keep), {"in the warm-up": int(np.sum(~keep))} if not keep.all() else {}


def steps_to(step: Floats, loss: Floats, levels: Floats) -> Floats:
    """The steps (m,) at which a curve of losses (n,) falls to levels (m,); nan where it doesn't, or began below.

    The curve is made to fall by isotonic regression, which has nothing to choose and no lag, and is drawn through its
    points as a monotone cubic in log step: a straight line between distant points would lie above it.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import brentq, isotonic_regression

    order = np.argsort(step, kind="stable")
    at, height = np.asarray(step, dtype=float)[order], np.asarray(loss, dtype=float)[order]
    at, height = at[at > 0], height[at > 0]
    if len(at) < 2:
        return np.full(len(levels), np.nan)
    falling = isotonic_regression(height, increasing=False).x
    curve = PchipInterpolator(np.log(at), falling)
    found = np.full(len(levels), np.nan)
    for i, wanted in enumerate(levels):
        below = np.flatnonzero(falling <= wanted)
        if below.size and below[0] > 0:
            ends = np.log(at[below[0] - 1]), np.log(at[below[0]])
            found[i] = np.exp(ends[1] if curve(ends[1]) == wanted else brentq(lambda z, w=wanted: curve(z) - w, *ends))
    return found


def _levels(runs: _Runs, how: _How, notes: list[str]) -> tuple[Level, ...]:
    """Every loss of every size with its batch; of runs with one batch the one of fewest steps stands for it."""
    sizes = np.full(len(runs.loss), np.nan) if runs.params is None else runs.params
    pairs = {(None if np.isnan(p) else p, loss) for p, loss in zip(sizes.tolist(), runs.loss.tolist(), strict=True)}
    found, twice = [], 0
    for size, loss in sorted(pairs, key=lambda pair: (pair[0] or 0.0, -pair[1])):
        here = (runs.loss == loss) & (np.isnan(sizes) if size is None else sizes == size)
        batches = np.unique(runs.batch[here])
        steps = np.array([runs.steps[here & (runs.batch == b)].min() for b in batches])
        twice += int(np.sum(here)) - len(batches)
        found.append(_level(loss, size, batches, steps, how))
    if twice:
        notes.append(f"of runs with one loss and one batch the one of fewest steps is taken ({twice} others are not)")
    return tuple(found)


def _level(loss: float, size: float | None, batches: Floats, steps: Floats, how: _How) -> Level:
    if len(batches) < LEAST:
        status = "only 1 batch size reaches it" if len(batches) == 1 else f"only {len(batches)} batch sizes reach it"
        return Level(loss, size, batches, steps, None, None, None, status)
    if how.method == "optimum":
        best, status = fit_optimum(batches, batches * steps, how.level)
        return Level(loss, size, batches, steps, best, None, None, status)
    curve = fit_hyperbola(batches, steps, level=how.level, delta=how.delta)
    asked = how.linear_from is not None and curve.status == USED
    beyond = curve.at_overhead(how.overhead, how.linear_from) if asked and how.linear_from else None
    return Level(loss, size, batches, steps, curve.critical, curve, beyond, curve.status)


def _law(levels: Sequence[Level], along: str, interval: float) -> PowerLaw | None:
    """The power law through the levels' batches, each from runs of its own; None for fewer than three values."""
    used = [
        (getattr(each, along), value.value)
        for each in levels
        if each.status == USED and (value := _asked(each)) is not None
    ]
    if len({x for x, _ in used}) < LEAST:
        return None
    at, batch = np.array(used, dtype=float).T
    return power_law(at, batch, interval)


def _law_by_run(runs: _Runs, levels: tuple[Level, ...], along: str, how: _How) -> PowerLaw | None:
    """The same through levels of one set of curves, which share their errors: its interval leaves out a run in turn."""
    from scipy.stats import t

    law = _law(levels, along, how.level)
    names = list(dict.fromkeys(runs.run.tolist()))
    if law is None or len(names) <= LEAST:
        return None if law is None else replace(law, ci=None)
    without = []
    for name in names:
        keep = runs.run != name
        params = None if runs.params is None else runs.params[keep]
        rest = _Runs(runs.loss[keep], params, runs.batch[keep], runs.steps[keep], runs.run[keep])
        again = _law(_levels(rest, how, []), along, how.level)
        if again is None:
            return replace(law, ci=None)
        without.append(again.exponent)
    spread = np.asarray(without)
    se = float(np.sqrt((len(names) - 1) / len(names) * np.sum((spread - spread.mean()) ** 2)))
    half = float(t.ppf((1 + how.level) / 2, len(names) - 1)) * se
    return replace(law, ci=(law.exponent - half, law.exponent + half))


def _not_best(method: Method) -> tuple[Notice, ...]:
    if method == "optimum":
        return ()
    message = (
        "a critical batch size bounds how far training can be spread at little cost; it is not the batch of the lowest "
        "loss at a given number of tokens"
    )
    return (Notice("SL475", "info", message),)


def _unannealed(levels: Sequence[float] | None) -> tuple[Notice, ...]:
    if not levels:
        return ()
    message = (
        "the levels are read off curves before their learning rate has decayed, where curves of different batches "
        "cross: batch sizes from them are biased. Runs annealed to each loss, or averaged weights, have no such bias"
    )
    return (Notice("SL476", "warning", message),)


def _left_out(levels: Sequence[Level]) -> tuple[Notice, ...]:
    why = Counter(level.status for level in levels if level.status != USED)
    if not why:
        return ()
    reasons = ", ".join(f"{count}: {reason}" for reason, count in why.items())
    message = f"{sum(why.values())} of {len(levels)} levels give no batch size ({reasons})"
    return (Notice("SL477", "warning", message),)


# ---------------------------------------------------------------------------------------------- branches of one run


@dataclass(frozen=True)
class Branched:
    """At one checkpoint, the largest batch whose branch is no worse than all smaller ones by more than the tolerance.

    `open` where that is the largest batch tried: the critical one is at least that.
    """

    tokens: float
    critical: float
    open: bool
    batches: int


@dataclass(frozen=True)
class Doubling:
    """From `tokens` on the batch is `batch_tokens` and the peak learning rate `lr_factor` times that of the start."""

    tokens: float
    batch_tokens: float
    lr_factor: float


@dataclass(frozen=True)
class BranchedBatch:
    """The local critical batch of each checkpoint, and the batch warm-up that follows from them."""

    checkpoints: tuple[Branched, ...]
    plan: tuple[Doubling, ...]
    tolerance: float
    rows: Mapping[str, Any]
    warnings: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `cbs --method branched --json`."""
        return {
            "schema": BRANCH_SCHEMA,
            "checkpoints": [vars(each) for each in self.checkpoints],
            "plan": [vars(each) for each in self.plan],
            "tolerance": self.tolerance,
            "rows": dict(self.rows),
            "warnings": [vars(notice) for notice in self.warnings],
        }


def branched_cbs(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    *,
    start: float | None = None,
    tolerance: float = TOLERANCE,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
) -> BranchedBatch:
    """The largest batch of branches off each checkpoint that loses at most `tolerance` nats by its size.

    Columns tokens, batch_tokens and loss (smoothed, after equal tokens in every branch; learning rate by the root of
    the batch). The batch doubles from `start` (default: the smallest) wherever the critical one is over twice as large.
    The rule is Merrill et al. 2025 (arXiv:2505.23971), read in a summary and not in the paper.
    """
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"--tolerance {tolerance:g} is not zero or above")
    read = with_batch_tokens(read_table(table, mapping=mapping, where=where))
    rows = usable(rows_for(read, ("tokens", "batch_tokens"), drop_bad=drop_bad))
    found = tuple(
        _branch(float(at), rows.take(rows.x["tokens"] == at), tolerance) for at in np.unique(rows.x["tokens"])
    )
    first = float(rows.x["batch_tokens"].min()) if start is None else start
    if not (np.isfinite(first) and first > 0):
        raise UsageError(f"--start-batch {first:g} is not a number above zero")
    plan = [Doubling(0.0, first, 1.0)]
    for each in found:
        while each.critical > 2 * plan[-1].batch_tokens:
            last = plan[-1]
            plan.append(Doubling(each.tokens, 2 * last.batch_tokens, float(np.sqrt(2)) * last.lr_factor))
    message = (
        "the rule of branched training and its batch warm-up were read in a summary of Merrill et al. 2025 "
        "(arXiv:2505.23971), not in the paper: take the plan as a hint"
    )
    account = {"read": rows.read, "used": rows.used, "dropped": dict(rows.dropped)}
    return BranchedBatch(found, tuple(plan), tolerance, account, (Notice("SL479", "warning", message),))


def _branch(tokens: float, rows: Rows, tolerance: float) -> Branched:
    order = np.argsort(rows.x["batch_tokens"], kind="stable")
    batch, loss = rows.x["batch_tokens"][order], rows.y[order]
    if len(np.unique(batch)) < len(batch) or len(batch) < 2:
        why = "one batch size alone" if len(batch) < 2 else "a batch size twice"
        raise BadInput(
            f"the checkpoint at {format_quantity(tokens)} tokens has {why}",
            file=rows.name,
            line=int(rows.lines[0]),
            column="batch_tokens",
            fix="give one row for each branch, and two branches or more",
        )
    allowed = [i for i in range(len(loss)) if np.all(loss[i] <= loss[:i] + tolerance)]
    return Branched(tokens, float(batch[allowed[-1]]), allowed[-1] == len(batch) - 1, len(batch))
