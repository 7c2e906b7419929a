"""The rest of a running loss curve: a forecast with its interval, and whether the run still follows it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..engine.continuation import ALONE, FIRST_SHARE, Continuation, Posterior, Seen, Shapes, shapes_alone, shapes_of
from ..engine.curves import CurveFit
from ..engine.result import Notice
from ..errors import BadInput, UsageError, nearest
from ..histories import History
from ..schedules import Schedule
from ..tables import Curve, NoRows, Table, column_numbers, read_curves, read_table, table_of
from ..tables.growing import Growing
from .watch import Left, Watch

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
FORECAST_SCHEMA = "scaling-lab/forecast/1"
AUTO = "auto-curve"
# Fewer points behind the warm-up tell no trend.
LEAST_POINTS = 5
# A logged learning rate agrees with the schedule where it is within this share of the peak, one step early or late.
RATE_TOLERANCE = 0.02
# A point this many standard deviations and this share of the loss off the median of its neighbours, with points behind
# it, is a spike.
SPIKE, LEAST_SPIKE, NEIGHBOURS = 8.0, 5e-3, 9
# Places of a forecast, besides those asked for.
PLACES = 60
# Shares of the points so far after which --look-back makes its forecasts.
LOOKS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# A future fall of this share of the peak, none of which has happened, is one whose worth the run can't tell.
UNSEEN, SEEN = 0.1, 0.02
_NOT_NUMBERS = frozenset({"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})


class TooEarly(BadInput):
    """A curve with too few points to say anything yet."""


@dataclass(frozen=True)
class Look:
    """What was forecast for the step `of` from the points up to `step`, beside what was measured there."""

    step: float
    of: float
    loss: float
    low: float
    high: float
    measured: float

    @property
    def held(self) -> bool:
        """Whether the measured loss lies in the interval."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True)
class RunForecast:
    """The rest of a running curve.

    `step`, `lr`, `loss`, `low`, `high` (n,) are the forecast with its interval at `level` for one logged point at each
    place, the last the schedule's end; `between` is the interval of the end without the point's own noise. `asked` says
    which of them were asked for. `laws` are the weights of the laws, `known` what they rest on. `curve` are the points
    so far, `used` those that were learned from. `left` says how the run has left its forecast, None where it follows
    it; `lost` the step from which the loss is no number. `seconds` is how long the rest will take, None where no column
    wall_time tells. `done`: no further point is due.
    """

    run: str
    target: str
    schedule: Schedule
    known: str
    laws: Mapping[str, float]
    step: Floats
    lr: Floats
    loss: Floats
    low: Floats
    high: Floats
    between: tuple[float, float]
    asked: NDArray[np.bool_]
    level: float
    curve: tuple[Floats, Floats]
    used: NDArray[np.bool_]
    left: Left | None
    lost: float | None
    looks: tuple[Look, ...]
    seconds: float | None
    done: bool
    warnings: tuple[Notice, ...]
    notes: tuple[str, ...]
    name: str
    sha256: str
    rows: Mapping[str, Any]
    watch: Watch = field(repr=False, compare=False)

    @property
    def last(self) -> tuple[float, float]:
        """The last step with a loss, and the loss."""
        return float(self.curve[0][-1]), float(self.curve[1][-1])

    @property
    def end(self) -> tuple[float, float, float, float]:
        """The last step of the schedule, and the loss forecast there with its interval."""
        return float(self.step[-1]), float(self.loss[-1]), float(self.low[-1]), float(self.high[-1])

    def to_dict(self) -> dict[str, Any]:
        """JSON of the whole but the points."""
        places = zip(self.step, self.lr, self.loss, self.low, self.high, self.asked, strict=True)
        return {
            "schema": FORECAST_SCHEMA,
            "run": self.run,
            "target": self.target,
            "schedule": str(self.schedule),
            "known": self.known,
            "laws": dict(self.laws),
            "last": {"step": self.last[0], "value": self.last[1]},
            "end": {
                "step": self.end[0],
                "value": self.end[1],
                "interval": list(self.end[2:]),
                "interval_of_mean": list(self.between),
            },
            "points": [
                {"step": s, "lr": r, "value": v, "interval": [low, high], "asked": bool(a)}
                for s, r, v, low, high, a in places
            ],
            "level": self.level,
            "left": None if self.left is None else asdict(self.left),
            "lost": self.lost,
            "looks": [{**asdict(look), "held": look.held} for look in self.looks],
            "seconds_left": self.seconds,
            "done": self.done,
            "rows": dict(self.rows),
            "warnings": [vars(notice) for notice in self.warnings],
            "notes": list(self.notes),
            "inputs": {self.name: self.sha256},
        }

    def frame(self) -> pd.DataFrame:
        """The forecast as a table: step, lr, the target, low, high."""
        import pandas as pd

        return pd.DataFrame({"step": self.step, "lr": self.lr, self.target: self.loss, "low": self.low,
                             "high": self.high})  # fmt: skip


# --------------------------------------------------------------------------------------------------------- the forecast


def forecast(
    table: str | os.PathLike[str] | pd.DataFrame | Table,
    schedule: Schedule | str,
    *,
    fit: CurveFit | None = None,
    law: str = AUTO,
    at: Sequence[float] = (),
    level: float = 0.9,
    look_back: bool = False,
    target: str = "loss",
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_bad: bool = False,
    watch: Watch | None = None,
) -> RunForecast:
    """The rest of the one running curve of a table of steps, under the schedule of the whole run.

    Without `fit` the laws' shapes are what is known of other runs (`law` auto-curve: annealing and multi-power, each
    as much as it tells the points); with one they are the fit's. `watch` is that of an earlier look at the same run,
    which goes on. Raises BadInput (line, column) for a curve that can't be one, TooEarly for one of too few points.
    """
    if not 0 < level < 1:
        raise UsageError(f"--level {level:g} must lie between 0 and 1")
    plan = Schedule.parse(schedule) if isinstance(schedule, str) else schedule
    members_of = _members(fit, law)
    running = _running(read_table(table, mapping=mapping, where=where), plan, fit, target, drop_bad)
    curve, step, loss = running.curve, running.curve.step, running.curve.loss
    clean = ~spikes(step, loss)
    if clean.sum() < LEAST_POINTS:
        raise TooEarly(
            f"{len(step)} point{'s' * (len(step) != 1)} behind the warm-up: no trend yet (it takes {LEAST_POINTS})",
            file=running.table.name,
            fix="wait for more points",
        )
    done = _done(step, plan.total)
    if watch is None:
        watch = Watch(lambda step, loss: Continuation(curve.history, members_of(curve, step, loss)))
    left = watch.advance(step[clean], loss[clean], plan.total, done=done or running.lost is not None)
    used = clean & watch.learned(step) if left is None else clean & _told_by(left, step)
    shift = left.since if left is not None and left.kind == "jump" else None
    model = Continuation(curve.history, members_of(curve, step[used], loss[used]), shift)
    places, asked = _places(step[-1], plan.total, at)
    found = _posterior(model, step[used], loss[used], places)
    ends = [found.quantiles(0.5 + side * level / 2) for side in (0, -1, 1)]
    low, high = (float(found.quantiles(0.5 + side * level / 2, np.inf)[-1]) for side in (-1, 1))
    looks = _look_back(members_of, curve, clean, level) if look_back else ()
    dropped = {**running.dropped, "spike": int((~clean).sum())} if (~clean).any() else running.dropped
    return RunForecast(
        run=curve.run,
        target=target,
        schedule=plan,
        known=f"the fit of {fit.law} to {len(fit.curves)} other runs" if fit else "published coefficients alone",
        laws=found.laws,
        step=places,
        lr=plan.at(places),
        loss=ends[0],
        low=ends[1],
        high=ends[2],
        between=(low, high),
        asked=asked,
        level=level,
        curve=(step, loss),
        used=used,
        left=left,
        lost=running.lost,
        looks=looks,
        seconds=None if done else _seconds_left(running, plan.total),
        done=done,
        warnings=_notices(running, curve.history, left, fit, float(step[-1]), plan),
        notes=running.notes,
        name=running.table.name,
        sha256=running.table.sha256,
        rows={"read": running.table.read, "used": int(used.sum()), "dropped": dict(dropped)},
        watch=watch,
    )


def _members(fit: CurveFit | None, law: str) -> Callable[[Curve, Floats, Floats], list[Shapes]]:
    """What makes the laws' guesses for a curve, its steps and losses so far."""
    if fit is not None:
        if law not in (AUTO, fit.law):
            raise UsageError(f"--law {law}: the fit is of {fit.law}; leave --law out")
        return lambda curve, step, loss: shapes_of(fit, _level(loss), curve.params)
    if law not in (AUTO, *ALONE):
        raise UsageError(f"--law {law!r}: {nearest(law, (AUTO, *ALONE))}; other laws of curves need --fit FIT.json")
    laws = ALONE if law == AUTO else (law,)
    return lambda curve, step, loss: [
        shapes_alone(name, curve.history, float(curve.history.areas[int(step[-1])]), _level(loss)) for name in laws
    ]


def _level(loss: Floats) -> float:
    return float(np.median(loss[-5:]))


def _posterior(model: Continuation, step: Floats, loss: Floats, targets: Floats) -> Posterior:
    late = step >= FIRST_SHARE * step[-1]
    return model.posterior(Seen.of(step[late], loss[late], model.history), targets)


def _told_by(left: Left, step: Floats) -> NDArray[np.bool_]:
    """The points that a forecast is still made from: what came after a divergence says nothing of the run as it was."""
    return step <= left.since if left.kind == "divergence" else np.ones(len(step), dtype=bool)


def _places(last: float, total: int, at: Sequence[float]) -> tuple[Floats, NDArray[np.bool_]]:
    """The steps of a forecast, from the last point to the end, and which of them were asked for."""
    for step in at:
        if not (last < step <= total):
            raise UsageError(f"--at-step {step:g} must lie behind the last point ({last:g}) and up to {total}")
    if last >= total:
        return np.array([float(total)]), np.array([False])
    every = np.unique(np.round(np.linspace(last, total, PLACES + 1)[1:]))
    places = np.unique(np.concatenate([every[every > last], np.asarray(at, dtype=float), [float(total)]]))
    return places, np.isin(places, np.asarray(at, dtype=float))


def _done(step: Floats, total: int) -> bool:
    """Whether the last point is the schedule's last step, or the next one would lie beyond it."""
    gap = float(np.median(np.diff(step))) if len(step) > 1 else 0.0
    return bool(step[-1] >= total or (gap > 0 and step[-1] + gap > total))


def _look_back(
    members_of: Callable[[Curve, Floats, Floats], list[Shapes]], curve: Curve, clean: NDArray[np.bool_], level: float
) -> tuple[Look, ...]:
    """What would have been forecast for the last point from ever longer parts of the curve."""
    step, loss = curve.step[clean], curve.loss[clean]
    looks = []
    for share in LOOKS:
        seen = step <= share * step[-1]
        if seen.sum() < LEAST_POINTS:
            continue
        model = Continuation(curve.history, members_of(curve, step[seen], loss[seen]))
        found = _posterior(model, step[seen], loss[seen], step[-1:])
        value, low, high = (float(found.quantiles(0.5 + side * level / 2)[0]) for side in (0, -1, 1))
        looks.append(Look(float(step[seen][-1]), float(step[-1]), value, low, high, float(loss[-1])))
    return tuple(looks)


# ------------------------------------------------------------------------------------------------------- what is warned


def _notices(
    running: _Running, history: History, left: Left | None, fit: CurveFit | None, last: float, plan: Schedule
) -> tuple[Notice, ...]:
    notices = []
    if running.lost is not None:
        message = (
            f"the loss is no number from step {running.lost:g} on: the run has diverged; the forecast is that of before"
        )
        notices.append(Notice("SL331", "error", message))
    if left is not None:
        notices.append(_departure(left))
    fell, falls = history.drops[: int(last)], history.drops[int(last) :]
    fell, falls = fell[fell > 0].sum() / history.peak, falls[falls > 0].sum() / history.peak
    if fit is None and falls > UNSEEN and fell < SEEN:
        message = (
            f"the learning rate falls by {100 * falls:.0f} % of its peak after step {last:g} and has not fallen yet: "
            "what that is worth is taken from other people's runs, hence the wide interval"
        )
        notices.append(Notice("SL334", "warning", message))
    if fit is not None and plan.lr_max > fit.peak * (1 + RATE_TOLERANCE):
        message = (
            f"the schedule's peak {plan.lr_max:g} is above the {fit.peak:g} of the fitted runs, of which their law "
            "says nothing"
        )
        notices.append(Notice("SL335", "warning", message))
    return tuple(notices)


def _departure(left: Left) -> Notice:
    far = (
        f"from step {left.since:g} on (certain at step {left.told:g}), {left.off:+.3g} now, "
        f"{abs(left.score):.1f} standard deviations"
    )
    if left.kind == "divergence":
        said = "the loss rises away from its forecast: the run diverges; the forecast is that of before"
        return Notice("SL331", "error", f"{said}: {far}")
    if left.kind == "jump":
        said = "the loss has jumped off its forecast, as after a change of data or settings; its new level is learned"
        return Notice("SL332", "warning", f"{said}: {far}")
    said = "the loss drifts away from its forecast, which follows the points since as far as it can"
    return Notice("SL333", "warning", f"{said}: {far}")


# ------------------------------------------------------------------------------------------------------------ the curve


@dataclass(frozen=True)
class _Running:
    """The points of a running curve that can be used, and what else its table tells."""

    curve: Curve
    table: Table
    lost: float | None
    notes: tuple[str, ...]
    dropped: Mapping[str, int]
    clock: tuple[Floats, Floats] | None


def _running(table: Table, plan: Schedule, fit: CurveFit | None, target: str, drop_bad: bool) -> _Running:
    """The curve of a table of one run; raises BadInput for several, and where its rates are not the schedule's."""
    _check_one(table)
    _check_rates(table, plan)
    table, lost, notes, dropped = _without_lost(table, target)
    curves = read_curves(table, target=target, schedule=plan, warmup=fit.warmup if fit else "area", drop_bad=drop_bad)
    return _Running(
        curves.curves[0], table, lost, (*notes, *curves.notes), {**curves.dropped, **dropped}, _clock(table)
    )


def _check_one(table: Table) -> None:
    if not table.has("run_id"):
        return
    names = list(dict.fromkeys(table.text("run_id").tolist()))
    if len(names) > 1:
        shown = ", ".join(map(str, names[:4])) + ", …" * (len(names) > 4)
        raise BadInput(
            f"holds {len(names)} runs ({shown}), and a forecast is of one",
            file=table.name,
            fix=f"select one with --where \"run_id == '{names[0]}'\"",
        )


def _check_rates(table: Table, plan: Schedule) -> None:
    """Raises BadInput at the first logged learning rate that is not the schedule's."""
    if not (table.has("lr") and table.has("step")):
        return
    step, lr = column_numbers(table, "step")[0], column_numbers(table, "lr")[0]
    there = np.isfinite(step) & np.isfinite(lr) & (step >= max(plan.warmup_steps, 1)) & (step <= plan.total)
    if not there.any():
        return
    if not lr[there].any():
        raise BadInput(
            "the learning rate is zero at every step: nothing is trained", file=table.name,
            line=int(table.lines[there][0]), column="lr",
        )  # fmt: skip
    near = [plan.at(np.clip(step[there] + off, 1, plan.total)) for off in (-1, 0, 1)]
    off = np.min([np.abs(lr[there] - rate) for rate in near], axis=0)
    wrong = np.flatnonzero(off > RATE_TOLERANCE * plan.lr_max)
    if not wrong.size:
        return
    at = int(wrong[0])
    ratio = lr[there][near[1] > 0] / near[1][near[1] > 0]
    scaled = np.ptp(ratio) <= 0.01 * np.median(ratio)
    fix = f"its peak is {np.median(ratio):.4g} times the schedule's: give lr_max={np.median(ratio) * plan.lr_max:.4g}"
    raise BadInput(
        f"the rate logged at step {step[there][at]:g} is {lr[there][at]:.4g}, the schedule's is {near[1][at]:.4g}",
        file=table.name,
        line=int(table.lines[there][at]),
        column="lr",
        fix=fix if scaled else "give the schedule of the whole run, as it was so far and as it will be",
    )


def _is_usual_gap(words: np.ndarray, at_end: int) -> bool:
    """Whether the `at_end` last of the losses `words` (n,) are NaN as a log has them between two evaluations.

    Rows of a log that evaluates now and then say NaN too. So three gaps as long must have closed before; infinity is
    in no such gap.
    """
    if not at_end or not (words[-at_end:] == "nan").all():
        return False
    bad = np.isin(words[: len(words) - at_end], list(_NOT_NUMBERS))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(int), [0]])))
    return int((edges[1::2] - edges[::2] >= at_end).sum()) >= 3


def _without_lost(table: Table, target: str) -> tuple[Table, float | None, tuple[str, ...], dict[str, int]]:
    """The table without rows whose loss is NaN or infinite; the first step of those at its end, where it is lost."""
    if target not in table.columns or not table.has("step"):
        return table, None, (), {}
    words = np.array([cell.strip().lower() for cell in table.text(target).astype(str)], dtype=object)
    bad = np.isin(words, list(_NOT_NUMBERS))
    if not bad.any():
        return table, None, (), {}
    written = np.flatnonzero(bad | (words != ""))
    at_end = 0
    while at_end < len(written) and bad[written[len(written) - 1 - at_end]]:
        at_end += 1
    if bad.all() or at_end == len(written):
        raise BadInput("no loss is a number", file=table.name, line=int(table.lines[0]), column=target)
    if _is_usual_gap(words[written], at_end):
        at_end = 0
    lost = float(column_numbers(table, "step")[0][written[len(written) - at_end]]) if at_end else None
    passing = int(bad.sum()) - at_end
    note = (f"{passing} losses that are no numbers are left out",) if passing else ()
    return table.take(~bad), lost, note, {"loss is not a number": int(bad.sum())}


def _clock(table: Table) -> tuple[Floats, Floats] | None:
    """The steps and seconds of a column wall_time (seconds, or dates), None without one."""
    import pandas as pd

    own = next((c for c in table.frame.columns if str(c).lower() in ("wall_time", "walltime", "_timestamp")), None)
    if own is None or not table.has("step"):
        return None
    cells = table.frame[own]
    seconds = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float)
    if not np.isfinite(seconds).any():
        dates = pd.to_datetime(cells, errors="coerce", utc=True, format="ISO8601")
        seconds = ((dates - dates.min()) / pd.Timedelta(seconds=1)).to_numpy(dtype=float)
    step = column_numbers(table, "step")[0]
    there = np.isfinite(step) & np.isfinite(seconds)
    return (step[there], seconds[there]) if there.sum() > 1 else None


def _seconds_left(running: _Running, total: int) -> float | None:
    """Seconds to the last step at the median pace of the last half of the points."""
    if running.clock is None:
        return None
    step, seconds = (values[len(values) // 2 :] for values in running.clock)
    forward = (np.diff(step) > 0) & (np.diff(seconds) >= 0)
    if not forward.any():
        return None
    return float(np.median(np.diff(seconds)[forward] / np.diff(step)[forward]) * (total - step[-1]))


def spikes(step: Floats, loss: Floats) -> NDArray[np.bool_]:
    """Which points (n,) are spikes: far off their neighbours' median, and back within a few points.

    The last few points are never one: whether they come back is not known yet.
    """
    half = NEIGHBOURS // 2
    off = np.zeros(len(loss))
    if len(loss) <= NEIGHBOURS:
        return off > 0
    windows = np.lib.stride_tricks.sliding_window_view(loss, NEIGHBOURS)
    off[half:-half] = loss[half:-half] - np.median(windows, axis=1)
    sd = 1.4826 * float(np.median(np.abs(off[half:-half])))
    return np.abs(off) > max(SPIKE * sd, LEAST_SPIKE * float(np.abs(loss[-1])))


# --------------------------------------------------------------------------------------------------------- following it


@dataclass(frozen=True)
class Waiting:
    """A look at a growing file that says nothing yet, and why."""

    why: str


def follow(
    path: str | os.PathLike[str],
    schedule: Schedule | str,
    *,
    every: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    **options: Any,
) -> Iterator[RunForecast | Waiting]:
    """A look at a growing file whenever it has new lines, until the schedule's last step is there.

    `options` are those of `forecast`. What can't be a curve raises as it does there.
    """
    if not every > 0:
        raise UsageError(f"--every {every:g} must lie above 0 seconds")
    file, watch, size, restarts = Growing(path), None, -1, 0
    said = ""
    while True:
        content = file.look()
        if file.restarts != restarts:
            watch, size, restarts = None, -1, file.restarts
            yield Waiting("the file was replaced or cut short: it is read again from its beginning")
        if content is None or len(content.data) != size:
            try:
                if content is None:
                    raise TooEarly("no points yet")
                size = len(content.data)
                found = forecast(table_of(content), schedule, watch=watch, **options)
                watch, said = found.watch, ""
                yield found
                if found.done:
                    return
            except (TooEarly, NoRows) as fault:
                if str(fault) != said:
                    said = str(fault)
                    yield Waiting(said)
        sleep(every)


__all__ = ["Look", "RunForecast", "TooEarly", "Waiting", "follow", "forecast", "spikes"]
