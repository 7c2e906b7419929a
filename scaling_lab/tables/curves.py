"""Loss curves from a table of steps: one for each run, with the learning rate of every update behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, nearest
from ..histories import History, Points, Warmup
from ..schedules import FREE_FORM, Schedule
from ..smoothing import smoothed
from .rows import Rows, rows_for
from .table import Floats, Skipped, Table, column_numbers

# How the learning rates of a run are known whose log begins without a warm-up that anybody named.
FROM_FIRST = "logged, from its first point"


@dataclass(frozen=True)
class Curve:
    """The losses (n,) of one run after steps (n,), and its learning rates; `lines` are the table's.

    `known_by` says how the learning rates are known: "logged", "schedule", or "logged, from its first point" where the
    log begins without a warm-up that anybody named.
    """

    run: str
    step: Floats
    loss: Floats
    lines: NDArray[np.int64]
    schedule: Schedule
    history: History
    known_by: str
    params: float | None = None

    def points(self, together: int) -> Points:
        """The places that a law of curves is fitted to."""
        return self.history.at(self.step, together)

    def until(self, step: float) -> Curve:
        """The curve as it was after so many steps; the learning rates are those of the whole run."""
        keep = self.step <= step
        return replace(self, step=self.step[keep], loss=self.loss[keep], lines=self.lines[keep])


@dataclass(frozen=True)
class Curves:
    """The curves of a table, with an account of the rows that are not in them, and how they were made.

    `warmup` is the convention in which histories count it, `smoothing` what was done to the losses.
    """

    curves: tuple[Curve, ...]
    target: str
    warmup: Warmup
    smoothing: str
    read: int
    dropped: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    name: str
    sha256: str

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs."""
        return tuple(curve.run for curve in self.curves)

    @cached_property
    def used(self) -> int:
        """How many points there are."""
        return sum(len(curve.step) for curve in self.curves)

    def only(self, runs: set[str]) -> Curves:
        """The curves of some of the runs."""
        return replace(self, curves=tuple(curve for curve in self.curves if curve.run in runs))

    def rows(self, together: int, blocks: int = 1) -> Rows:
        """The points as rows of a law of curves; those of one run in `blocks` groups of neighbours."""
        parts = [curve.points(together) for curve in self.curves]
        points = Points.join(parts)
        x = dict(points.x)
        if all(curve.params is not None for curve in self.curves):
            x["params"] = np.concatenate([np.full(len(c.step), c.params) for c in self.curves])
        group = [
            f"{curve.run} {i * blocks // max(len(curve.step), 1)}"
            for curve in self.curves
            for i in range(len(curve.step))
        ]
        y = np.concatenate([curve.loss for curve in self.curves])
        inputs = {
            "step": {
                "column": "step",
                "unit": "steps",
                "min": float(points.step.min()),
                "max": float(points.step.max()),
            },
            "lr": {"column": "lr", "unit": "", "min": float(points.lr.min()), "max": float(points.peak.max())},
        }
        return Rows(
            x=x,
            y=y,
            group=np.array(group, dtype=object),
            grouped=True,
            lines=np.concatenate([curve.lines for curve in self.curves]),
            flops=None,
            weights=np.ones(len(y)),
            inputs=inputs,
            read=self.read,
            dropped=self.dropped,
            skipped=self.skipped,
            notes=self.notes,
            name=self.name,
            sha256=self.sha256,
        )


def read_curves(
    table: Table,
    *,
    target: str = "loss",
    schedule: Mapping[str, Schedule] | Schedule | None = None,
    warmup: Warmup = "area",
    warmup_steps: int | None = None,
    smooth: str = "none",
    drop_bad: bool = False,
) -> Curves:
    """The curves of a table of steps (columns step, loss, lr; run_id where there is more than one run).

    `schedule` gives the learning rates of every run, or by run; without it they are the logged ones, joined by straight
    lines. `warmup_steps` says how long the warm-up was, where neither a column nor the log tells it. Points in the
    warm-up are left out, counted, unless its rises are `included`. Raises BadInput with line or column for a step that
    goes back, for learning rates that nobody knows, and for a schedule shorter than its curve.
    """
    logged = schedule is None or isinstance(schedule, Mapping)
    has_lr = table.has("lr")
    if schedule is None and not has_lr:
        raise BadInput(
            "no column 'lr' (the learning rate at each step), which a law of curves is a law of",
            file=table.name,
            fix="name the column with --map lr=COLUMN, or the schedule with --schedule cosine:total=24K,lr_max=3e-4,…",
        )
    inputs = ("step", "lr") if has_lr and logged else ("step",)
    rows = rows_for(table, inputs, target, drop_bad=drop_bad)
    given = {name: column_numbers(table, name)[0] for name in ("warmup_steps", "params") if table.has(name)}
    place = {int(line): at for at, line in enumerate(table.lines)}
    dropped, skipped, notes, curves = Counter(rows.dropped), list(rows.skipped), list(rows.notes), []
    names = rows.group.astype(str) if rows.grouped else np.full(rows.used, "the curve", dtype=object)
    if isinstance(schedule, Mapping):
        there = dict.fromkeys(names.tolist())
        strange = [name for name in schedule if name not in there]
        if strange:
            raise BadInput(
                f"no run {strange[0]!r}, which --schedule names", file=table.name, fix=nearest(strange[0], there)
            )
        unknown = [name for name in there if name not in schedule]
        if unknown and not has_lr:
            raise BadInput(
                f"no column 'lr', and no --schedule for run {unknown[0]!r}",
                file=table.name,
                fix=f"give --schedule {unknown[0]}=SPEC, or name the column with --map lr=COLUMN",
            )
    for name in dict.fromkeys(names.tolist()):
        part = rows.take(names == name)
        of = f" of run {name!r}" if part.grouped else ""
        check_rising(part.x["step"], part.lines, "step", file=part.name, of=of)
        at = [place[int(line)] for line in part.lines]
        told = [float(v) for v in np.unique(given["warmup_steps"][at])] if "warmup_steps" in given else []
        length = int(told[0]) if len(told) == 1 and np.isfinite(told[0]) else warmup_steps
        named = schedule.get(name) if isinstance(schedule, Mapping) else schedule
        plan, known_by = (named, "schedule") if named is not None else _logged(part, name, length)
        if plan.total < part.x["step"].max():
            raise BadInput(
                f"run {name!r} has a loss at step {part.x['step'].max():g}, beyond the {plan.total} of its schedule",
                file=table.name,
                line=int(part.lines[-1]),
                fix="give the schedule of the whole run",
            )
        first = plan.warmup_steps if warmup != "included" else 0
        keep = part.x["step"] >= max(first, 1)
        if not keep.all():
            dropped["in the warm-up"] += int((~keep).sum())
            skipped += [Skipped(int(line), "in the warm-up") for line in part.lines[~keep]]
        if not keep.any():
            continue
        sizes = np.unique(given["params"][at]) if "params" in given else np.zeros(0)
        loss = smoothed(part.y, smooth)[keep]
        curves.append(
            Curve(
                run=str(name),
                step=part.x["step"][keep],
                loss=loss,
                lines=part.lines[keep],
                schedule=plan,
                history=History(plan.updates(), plan.warmup_steps, warmup),
                known_by=known_by,
                params=float(sizes[0]) if len(sizes) == 1 and np.isfinite(sizes[0]) else None,
            )
        )
    if not curves:
        raise BadInput("no point lies behind a warm-up", file=table.name, fix="give the steps after it too")
    return Curves(
        tuple(curves),
        target,
        warmup,
        smooth,
        rows.read,
        dict(dropped),
        tuple(skipped),
        tuple(notes),
        table.name,
        table.sha256,
    )


def check_rising(
    places: Floats, lines: NDArray[np.int64], name: str, *, file: str, column: str | None = None, of: str = ""
) -> None:
    """Raises BadInput with the line at the first of `places` (n,) along one curve that goes back or stands still.

    `name` is the quantity, `column` what the table calls it, `of` whose curve it is.
    """
    back = np.flatnonzero(np.diff(places) <= 0)
    if not back.size:
        return
    at = int(back[0]) + 1
    says = "stands twice" if places[at] == places[at - 1] else f"comes after {name} {places[at - 1]:.10g}"
    raise BadInput(
        f"{name} {places[at]:.10g}{of} {says}",
        file=file,
        line=int(lines[at]),
        column=column or name,
        fix="along one curve it only rises: `scaling-lab ingest LOG --out runs.csv --curves curve.csv` merges a "
        "resumed run; name several runs with --map run_id=COLUMN, or select one with --where",
    )


def _logged(part: Rows, name: str, warmup_steps: int | None) -> tuple[Schedule, str]:
    """The schedule that a log's own learning rates tell."""
    step, lr = part.x["step"], part.x["lr"]
    if not (lr > 0).any():
        raise BadInput(
            f"the learning rate of run {name!r} is zero at every step", file=part.name, line=int(part.lines[0]),
            column="lr", fix="give the schedule with --schedule",
        )  # fmt: skip
    if warmup_steps is None:
        # A log that shows the rise tells where it ends; one that begins at its peak does not.
        top = int(np.argmax(lr >= lr.max() * (1 - 1e-9)))
        rises = top > 0 and bool((np.diff(lr[: top + 1]) > 0).all())
        warmup_steps = int(step[top]) if rises else None
    step, lr = _with_jumps(step, lr)
    if warmup_steps and warmup_steps > step[0]:
        # The log itself shows some of the warm-up.
        knots = np.concatenate([[0.0], step]) if step[0] > 0 else step
        rates = np.concatenate([[0.0], lr]) if step[0] > 0 else lr
        plan = Schedule(
            FREE_FORM, int(step[-1]), warmup_steps=int(warmup_steps), knots=tuple(int(s) for s in knots),
            rates=tuple(rates.tolist()),
        )  # fmt: skip
        return plan, "logged"
    if warmup_steps:
        return Schedule.logged(step, lr, warmup_steps=int(warmup_steps), file=part.name), "logged"
    if step[0] > 1:
        step, lr = np.concatenate([[0.0], step]), np.concatenate([[lr[0]], lr])
        return Schedule.logged(step, lr, file=part.name), FROM_FIRST if warmup_steps is None else "logged"
    return Schedule.logged(step, lr, file=part.name), "logged"


# A fall between two logged steps is a jump where it is of this share of the peak and the rate is flat on both sides.
JUMP = 0.05


def _with_jumps(step: Floats, lr: Floats) -> tuple[Floats, Floats]:
    """Logged steps and rates (n,) with every jump made one: half way between the steps that it was logged between.

    Joined by a straight line, a sudden drop would be a slow one, which a law answers otherwise.
    """
    change = np.diff(lr)
    flat = np.abs(change) <= 1e-9 * lr.max()
    before, after = np.concatenate([[True], flat[:-1]]), np.concatenate([flat[1:], [True]])
    wide = np.diff(step) >= 2
    at = np.flatnonzero((np.abs(change) >= JUMP * lr.max()) & before & after & wide)
    at = at[(at > 0) & (at < len(change) - 1)]
    middle = np.floor(0.5 * (step[at] + step[at + 1]))
    # At adjacent steps the first of the two is already logged.
    place = np.repeat(at + 1, 2)
    steps = np.column_stack([np.maximum(middle - 1, step[at]), middle]).ravel()
    rates = np.column_stack([lr[at], lr[at + 1]]).ravel()
    joined = np.insert(step, place, steps), np.insert(lr, place, rates)
    keep = np.concatenate([np.diff(joined[0]) > 0, [True]])
    return joined[0][keep], joined[1][keep]
