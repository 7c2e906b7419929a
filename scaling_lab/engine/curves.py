"""A law of loss curves fitted to curves: the optimum, the doubt of its parameters, and losses under other schedules."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, NotIdentified, UsageError
from ..files import to_json, write_text
from ..histories import TOGETHER, History, Points, Warmup
from ..laws import Law
from ..laws.curves import AUTO_CURVE, NEED_A_JUMP, get_curve_law
from ..schedules import Schedule
from ..tables import FROM_FIRST, Curve, Curves, Rows, Table, read_curves, read_table
from .coordinates import Coordinates, inward
from .curve_misfit import FAR_ALONE, Z90, Likeness, Misfit, calibrated, inner_splits, points_in
from .fit import KEPT_POINTS, Optimum, Settings, estimates, optimum
from .metrics import Metrics, metrics
from .prior import FIRST_NOISE, objective_unit
from .result import SCHEMA, Estimate, Notice, stamp
from .sandwich import NoCovariance, sandwich
from .solve import Objective, Pull, graduated, keep_freed_memory, thinned, widths
from .uncertainty import residual_spread

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

# What marks a FIT.json as one of curves, and the name of the choice of laws.
KIND, AUTO = "curves", AUTO_CURVE
# Neighbouring points share their error: as many groups of them in a curve count as independent of each other.
BLOCKS = 20
# Drops are gathered more coarsely for a fit than for an answer: the difference is below 1e-5 nats (tests/engine).
FIT_TOGETHER = 128
STARTS, FOLLOWED, AUDITED = 40, (5, 0), 5
# Rounds in which the residuals' size settles, which the strength of a prior hangs on.
ROUNDS = 2
# A law's misfit is smooth: beside a prior a curve counts as BLOCKS / STIFF measurements.
STIFF = 4.0
# Before this share of the largest area residuals are of a beginning, where the laws hold least.
EARLY = 0.2
DRAWS = 400


@dataclass(frozen=True)
class Forecast:
    """Losses (n,) after steps (n,) under one schedule, with the ends of an interval at `level`.

    `notices` say what of the schedule lies outside what the law can tell.
    """

    step: Floats
    loss: Floats
    low: Floats
    high: Floats
    level: float
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class CurveMember:
    """A law of the automatic choice: its share, its mean error of log loss in inner backtests, parameters and draws.

    `variant` says which points it was fitted to: all, or the late ones.
    """

    law: Law
    variant: str
    weight: float
    error: float | None
    params: Mapping[str, Estimate]
    draws: Floats

    @property
    def values(self) -> dict[str, float]:
        """The optimum by parameter name."""
        return {name: estimate.value for name, estimate in self.params.items()}

    def to_dict(self) -> dict[str, Any]:
        """As FIT.json lists it."""
        return {
            "law": self.law.name,
            "variant": self.variant,
            "weight": self.weight,
            "inner_error": self.error,
            "params": {name: asdict(estimate) for name, estimate in self.params.items()},
            "draws": self.draws,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> CurveMember:
        """Of FIT.json's entry."""
        law = get_curve_law(found["law"])
        return cls(
            law,
            found["variant"],
            float(found["weight"]),
            found["inner_error"],
            {name: _estimate(found["params"][name]) for name in law.names},
            np.array(found["draws"], dtype=float).reshape(-1, len(law.names)),
        )


@dataclass(frozen=True)
class CurveFit:
    """A law fitted to loss curves; its JSON is a FIT.json of kind "curves".

    `draws` (m, p) are parameters as uncertain as the curves leave them. `sd` is the spread of the residuals of log
    loss. `curves` says of each run how many points and steps it has, its peak and how its learning rates were known;
    `points` are the points used (`run_id`, `step`, `lr`, the target, `predicted`), KEPT_POINTS at most. `warmup` is the
    convention that histories must be made in, `smoothing` what was done to the losses. `misfit` is how far off the law
    may be where no curve was.

    The automatic choice has `members`, whose weighted mean of log loss `at` is; `params` and `draws` are those of the
    first of them, which weighs most, and `entry` is its law.
    """

    law: str
    target: str
    params: Mapping[str, Estimate]
    objective: Objective
    value: float
    starts: Mapping[str, Any]
    converged: bool | None
    draws: Floats
    sd: float
    metrics: Metrics
    inputs: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Any]
    curves: tuple[Mapping[str, Any], ...]
    points: Mapping[str, NDArray[Any]]
    warmup: Warmup
    smoothing: str
    warnings: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0
    level: float = 0.95
    misfit: Misfit = field(kw_only=True)
    members: tuple[CurveMember, ...] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def entry(self) -> Law:
        """The law; of the automatic choice that of the member of most weight."""
        return self.members[0].law if self.members else get_curve_law(self.law)

    @property
    def values(self) -> dict[str, float]:
        """The optimum by parameter name."""
        return {name: estimate.value for name, estimate in self.params.items()}

    @property
    def peak(self) -> float:
        """The highest learning rate of all curves: the law says nothing of a higher one."""
        return max(float(curve["peak"]) for curve in self.curves)

    @property
    def steps(self) -> int:
        """The last step of the longest curve."""
        return int(max(curve["last"] for curve in self.curves))

    @property
    def area(self) -> float:
        """The largest sum of learning rates of all curves."""
        return max(float(curve["area"]) for curve in self.curves)

    def history(self, schedule: Schedule) -> History:
        """The learning rates of a schedule, its warm-up counted as the fit counted it."""
        return History(schedule.updates(), schedule.warmup_steps, self.warmup)

    def at(self, history: History, steps: Sequence[float] | Floats, params: float | None = None) -> Floats:
        """The loss (n,) after each of the steps (n,) of a run; within 1e-6 of the sum over all its updates.

        `params` is the size of the model, for a law of several.
        """
        return self._at(self._points(history, steps), params)

    def at_draws(self, history: History, steps: Sequence[float] | Floats, params: float | None = None) -> Floats:
        """The loss (m, n) by each draw; of the automatic choice as many of each member as it weighs."""
        return self._at_draws(self._points(history, steps), params)

    def _at(self, points: Points, params: float | None) -> Floats:
        x = self._x(points, params)
        if not self.members:
            return np.asarray(self.entry.predict(x, **self.values), dtype=float)
        logs = [m.weight * np.log(np.asarray(m.law.predict(x, **m.values), dtype=float)) for m in self.members]
        return np.asarray(np.exp(np.sum(logs, axis=0)))

    def _at_draws(self, points: Points, params: float | None) -> Floats:
        x = self._x(points, params)
        drawn = [(self.entry, self.draws)]
        if self.members:
            ends = np.round(DRAWS * np.cumsum([m.weight for m in self.members])).astype(int)
            counts = np.diff(np.concatenate([[0], ends]))
            drawn = [(m.law, m.draws[np.arange(k) % len(m.draws)]) for m, k in zip(self.members, counts, strict=True)]
        rows = []
        # A draw at a time: a law works on every drop that each point has seen.
        for law, draws in drawn:
            for draw in draws:
                named = {name: np.array([[value]]) for name, value in zip(law.names, draw, strict=True)}
                with np.errstate(over="ignore", invalid="ignore"):
                    rows.append(np.broadcast_to(law.predict(x, **named), (1, len(points)))[0])
        return np.array(rows, dtype=float)

    def _points(self, history: History, steps: Sequence[float] | Floats) -> Points:
        if history.warmup != self.warmup:
            raise UsageError(f"the fit counts warm-up as {self.warmup!r}, not as {history.warmup!r}")
        keep_freed_memory()  # arrays of every update of a long run: to take and zero them anew is half of the time
        return history.at(steps, TOGETHER)

    def _x(self, points: Points, params: float | None) -> dict[str, Any]:
        x = points.x
        if "params" in self.entry.inputs:
            if params is None:
                raise UsageError(f"{self.law} is of models of several sizes: say which, as params=1B")
            x["params"] = np.full(len(points), float(params))
        return x

    def forecast(
        self, history: History, steps: Sequence[float] | Floats, level: float = 0.9, params: float | None = None
    ) -> Forecast:
        """The losses under a schedule with their interval.

        Its variance in log loss is that of the draws (the parameters' doubt, and how members differ), the scatter
        about the law, and the misfit, which grows with how unlike the place is to those that were fitted.
        """
        points = self._points(history, steps)
        loss = self._at(points, params)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = np.log(self._at_draws(points, params))
        # Of nine draws in ten: a few wild ones, of a parameter that hardly shows, would stand for all.
        ends = np.quantile(np.where(np.isfinite(drawn), drawn, np.inf), [0.05, 0.95], axis=0)
        doubt = (ends[1] - ends[0]) / (2 * Z90)
        spread = np.sqrt(doubt**2 + self.sd**2 + self.misfit.sd(points) ** 2)
        from scipy.stats import norm

        wide = float(norm.ppf(0.5 + level / 2)) * spread
        return Forecast(
            points.step, loss, loss * np.exp(-wide), loss * np.exp(wide), level, _beyond(self, history, points)
        )

    # ----------------------------------------------------------------------------------------------------- to a file

    def to_dict(self) -> dict[str, Any]:
        """The contents of FIT.json."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "law": self.law,
            "target": self.target,
            "params": {name: asdict(estimate) for name, estimate in self.params.items()},
            "objective": {**asdict(self.objective), "value": self.value},
            "starts": dict(self.starts),
            "converged": self.converged,
            "bootstrap": {"n": 0, "resample": "runs", "failed": 0, "level": self.level},
            "intervals": {"method": "covariance", "blocks": BLOCKS},
            "draws": {"names": list(self.entry.names), "values": self.draws, "n": len(self.draws)},
            "sd": self.sd,
            "metrics": asdict(self.metrics),
            "inputs": self.inputs,
            "rows": self.rows,
            "curves": [dict(curve) for curve in self.curves],
            "points": self.points,
            "warmup": self.warmup,
            "smoothing": self.smoothing,
            "misfit": self.misfit.to_dict(),
            **({"members": [member.to_dict() for member in self.members]} if self.members else {}),
            "warnings": [asdict(notice) for notice in self.warnings],
            "notes": list(self.notes),
            "seed": self.seed,
            "made_by": self.made_by,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes FIT.json whole or not at all."""
        return write_text(path, to_json(self.to_dict()) + "\n")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], file: str | None = None) -> CurveFit:
        """The fit of FIT.json's contents; raises BadInput where they are of another kind, incomplete or damaged."""
        if not isinstance(found, Mapping) or found.get("schema") != SCHEMA or found.get("kind") != KIND:
            what = found.get("law") if isinstance(found, Mapping) else None
            raise BadInput(
                f"is not a fit of loss curves (law {what!r})",
                file=file,
                fix="make one with scaling-lab fit multi-power CURVES --out FIT.json",
            )
        try:
            objective = dict(found["objective"])
            value = float(objective.pop("value"))
            members = tuple(CurveMember.from_dict(member) for member in found.get("members", ()))
            law = members[0].law if members else get_curve_law(found["law"])
            return cls(
                law=AUTO if members else law.name,
                target=found["target"],
                params={name: _estimate(found["params"][name]) for name in law.names},
                objective=Objective(**objective),
                value=value,
                starts=found["starts"],
                converged=found["converged"],
                draws=np.array(found["draws"]["values"], dtype=float).reshape(-1, len(law.names)),
                sd=float(found["sd"]),
                metrics=Metrics(**found["metrics"]),
                inputs=found["inputs"],
                rows=found["rows"],
                curves=tuple(found["curves"]),
                points={n: np.array(v, dtype=object if n == "run_id" else float) for n, v in found["points"].items()},
                warmup=found["warmup"],
                smoothing=found["smoothing"],
                warnings=tuple(Notice(**notice) for notice in found["warnings"]),
                notes=tuple(found["notes"]),
                seed=found["seed"],
                level=found["bootstrap"]["level"],
                misfit=Misfit.from_dict(found["misfit"]),
                members=members,
                made_by=found["made_by"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as fault:
            what = f"no {fault}" if isinstance(fault, KeyError) else fault
            raise BadInput(f"the fit is incomplete or damaged ({what})", file=file, fix="fit again") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CurveFit:
        """The fit of a file; raises BadInput where it is missing, cut short or of another kind."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInput("no such file", file=str(path), fix="make one with scaling-lab fit ... --out") from None
        except (OSError, ValueError, RecursionError) as fault:
            raise BadInput(f"is not a FIT.json, or was cut short ({fault})", file=str(path), fix="fit again") from None
        return cls.from_dict(found, str(path))


# A peak that much above the highest fitted one is another peak, and no rounding; and how many times the largest fitted
# area is far: there an interval rests on ladders of runs (docs/curves-accuracy.md).
SAME_PEAK, FAR_AREA = 1.001, 3.0


def _beyond(fit: CurveFit, history: History, points: Points) -> tuple[Notice, ...]:
    """Warnings where the schedule goes higher than any fitted curve, or the points lie far beyond all."""
    found = []
    if history.peak > SAME_PEAK * fit.peak:
        message = (
            f"the schedule's peak of {history.peak:.4g} lies above the highest fitted one, {fit.peak:.4g}: laws of "
            "loss curves take any higher rate for a better one, and say nothing of whether it is"
        )
        found.append(Notice("SL324", "warning", message))
    times = float(points.area.max()) / fit.area if len(points) else 0.0
    if times > FAR_AREA:
        message = (
            f"the last point lies {times:.3g} times as far as the curves that were fitted, in summed learning rate: "
            "the interval there rests on how far off ladders of runs were"
        )
        found.append(Notice("SL325", "warning", message))
    return tuple(found)


def _estimate(found: Mapping[str, Any]) -> Estimate:
    ci = found["ci"]
    ends = None if ci is None else (-math.inf if ci[0] is None else ci[0], math.inf if ci[1] is None else ci[1])
    return Estimate(**{**found, "value": float(found["value"]), "ci": ends})


# ---------------------------------------------------------------------------------------------------------------- fit


def fit_curves(
    law: str | Law,
    table: str | os.PathLike[str] | pd.DataFrame | Table | Curves,
    *,
    schedule: Mapping[str, Schedule] | Schedule | None = None,
    warmup: Warmup = "area",
    warmup_steps: int | None = None,
    smooth: str = "none",
    objective: Literal["huber", "l2", "l1"] = "huber",
    delta: float = 1e-3,
    starts: int = STARTS,
    fix: Mapping[str, float] | None = None,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    where: str | None = None,
    target: str = "loss",
    drop_bad: bool = False,
) -> CurveFit:
    """A law of loss curves fitted to a table of steps (or to curves already read).

    Raises BadInput, NotEnoughData, NotIdentified or DidNotConverge, each with what to do. See `read_curves` for the
    schedule, the warm-up and the smoothing.
    """
    curves = (
        table
        if isinstance(table, Curves)
        else read_curves(
            read_table(table, mapping=mapping, where=where),
            target=target,
            schedule=schedule,
            warmup=warmup,
            warmup_steps=warmup_steps,
            smooth=smooth,
            drop_bad=drop_bad,
        )
    )
    settings = Settings(
        objective=Objective(objective, delta),
        starts=starts,
        bootstrap=0,
        fix=fix or {},
        seed=seed,
        polish=FOLLOWED,
        audit=AUDITED,
        workers=1,
    )
    if law in (AUTO, "auto"):
        # The choice of laws is made of fits: it stands above this module.
        from .curve_auto import auto_curves

        return auto_curves(curves, settings)
    return curves_fit(get_curve_law(law), curves, settings)


def curves_fit(law: Law, curves: Curves, settings: Settings) -> CurveFit:
    """The law fitted to curves."""
    rows = rows_of(law, curves)
    coordinates = Coordinates.of(law, settings.fix, rows.x)
    alone = len({curve.schedule for curve in curves.curves}) < 2
    blind = law.name in NEED_A_JUMP and not any(jumped(curve) for curve in curves.curves)
    prior = known_of(coordinates, curves) if law.needs_priors or alone or blind else None
    try:
        best, pull = drawn_optimum(coordinates, rows, settings, prior)
    except NotIdentified as fault:
        raise NotIdentified(fault.names, _lacking(curves), _remedy(law)) from None
    named = coordinates.to_params(best.theta[None, :])
    params = {name: float(v[0, 0]) for name, v in named.items()}
    predicted = np.asarray(law.predict(dict(rows.x), **params), dtype=float)
    residuals = settings.objective.residual(predicted, settings.objective.scale(rows.y))
    draws, doubts = draws_of(coordinates, rows, settings, best.theta, pull, prior)
    sd = spread_of(residuals, rows, len(coordinates.free))
    return CurveFit(
        law=law.name,
        target=curves.target,
        params=estimates(law, params, draws, settings.level, coordinates.fixed),
        objective=settings.objective,
        value=float(np.sum(settings.objective.terms(residuals))),
        starts=best.account,
        converged=best.certain,
        draws=draws,
        sd=sd,
        metrics=metrics(predicted, rows.y),
        inputs=rows.inputs,
        rows={"read": curves.read, "used": rows.used, "dropped": dict(curves.dropped), "runs": len(curves.curves)},
        curves=tuple(told(curve) for curve in curves.curves),
        points=points_of(curves, rows, predicted),
        warmup=curves.warmup,
        smoothing=curves.smoothing,
        warnings=(*doubts, *curve_notices(law, curves)),
        notes=(*curves.notes, *_drawn_to(prior, law, "there is one schedule" if alone else "curves do not tell them")),
        seed=settings.seed,
        level=settings.level,
        misfit=_misfit(coordinates, curves, rows, settings, best.theta, sd),
        made_by=stamp(curves.name, curves.sha256, law),
    )


def rows_of(law: Law, curves: Curves) -> Rows:
    """The points of curves as rows of a law; raises BadInput where it is of several sizes and not every run has one."""
    rows = curves.rows(FIT_TOGETHER, BLOCKS)
    if "params" in law.inputs and "params" not in rows.x:
        raise BadInput(
            f"{law.name} is a law of models of several sizes, and not every run has one size",
            file=curves.name,
            fix="name the column with --map params=COLUMN",
        )
    return rows


@dataclass(frozen=True)
class Known:
    """What is known of parameters before curves are read, in coordinates (p,): an infinite sd where nothing is."""

    center: Floats
    sd: Floats

    def pull(self, unit: float) -> Pull:
        """The pull of it where an objective of `unit` costs an e-fold of likelihood."""
        return Pull(self.center, unit * self.sd**-2.0)


def known_of(coordinates: Coordinates, curves: Curves) -> Known | None:
    """The law's priors at the highest peak of the curves; None where it has none of its free parameters."""
    peak = max(curve.history.peak for curve in curves.curves)
    center, sd = np.zeros(len(coordinates.free)), np.full(len(coordinates.free), np.inf)
    for i, p in enumerate(coordinates.free):
        if p.name in coordinates.law.priors:
            prior = coordinates.law.priors[p.name]
            center[i] = float(inward(p, np.array(prior.center / (peak if prior.per_peak else 1.0))))
            sd[i] = prior.sd
    return Known(center, sd) if np.isfinite(sd).any() else None


def drawn_optimum(
    coordinates: Coordinates, rows: Rows, settings: Settings, prior: Known | None
) -> tuple[Optimum, Pull | None]:
    """The optimum under a prior, and its pull: how strong that is hangs on the residuals' size, settled in rounds.

    Neighbouring points share their error: a curve counts as BLOCKS / STIFF measurements.
    """
    if prior is None:
        return optimum(coordinates, rows, settings), None
    objective, scale = settings.objective, rows.used / rows.runs * STIFF
    unit = objective_unit(objective, np.full(rows.used, FIRST_NOISE), rows.weights, 0.0)
    best = optimum(coordinates, rows, settings, prior.pull(unit * scale))
    for _ in range(ROUNDS):
        unit = _unit(coordinates, rows, objective, best.theta)
        best = replace(best, theta=settled_at(coordinates, rows, objective, best.theta, prior.pull(unit * scale)))
    return best, prior.pull(unit * scale)


def _unit(coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats) -> float:
    predicted = np.asarray(coordinates.law.predict(dict(rows.x), **coordinates.to_params(theta[None, :])))[0]
    residuals = objective.residual(predicted, objective.scale(rows.y))
    return objective_unit(objective, residuals, rows.weights, 0.0)


def settled_at(coordinates: Coordinates, rows: Rows, objective: Objective, theta: Floats, pull: Pull | None) -> Floats:
    """The minimum (p,) that a start (p,) leads to."""
    if not coordinates.free:
        return theta
    kernel = coordinates.kernel(rows.x, float(np.median(rows.y)))
    target = objective.scale(rows.y)
    found = graduated(kernel, theta[None, :], target, rows.weights, objective, widths(objective), pull)
    return found.theta[0] if np.isfinite(found.value[0]) else theta


def _drawn_to(prior: Known | None, law: Law, why: str) -> tuple[str, ...]:
    if prior is None:
        return ()
    told = ", ".join(f"{name} to {p.center:g}{' / peak' * p.per_peak}" for name, p in law.priors.items())
    return (f"{why}: {told} is drawn by what is known of other runs",)


def draws_of(
    coordinates: Coordinates, rows: Rows, settings: Settings, theta: Floats, pull: Pull | None, prior: Known | None
) -> tuple[Floats, tuple[Notice, ...]]:
    """Parameters (m, p) as uncertain as blocks of neighbouring points leave them; the optimum alone where none can.

    What a whole fall is worth is as uncertain as its prior where no rate fell.
    """
    if not coordinates.free:
        return coordinates.to_array(theta[None, :]), ()
    known = None if pull is None or prior is None else (pull.precision, np.where(np.isfinite(prior.sd), prior.sd, 0.0))
    rng = np.random.default_rng([settings.seed, 7])
    try:
        told = sandwich(
            coordinates,
            rows.x,
            rows.y,
            rows.weights,
            rows.group,
            settings.objective,
            theta,
            scaled_by={"step": rows.x["step"]},
            known=known,
        )
    except NoCovariance as fault:
        message = f"the parameters' doubt can't be told ({fault}): intervals hold the scatter about the law alone"
        return coordinates.to_array(theta[None, :]), (Notice("SL319", "warning", message),)
    steps = told.steps(DRAWS, rng)
    if prior is not None:
        steps += _unseen(coordinates, theta, prior, told.alive, rng)
    with np.errstate(over="ignore"):
        drawn = coordinates.to_array(theta + steps)
    return drawn[np.isfinite(drawn).all(axis=1)], ()


def _unseen(
    coordinates: Coordinates, theta: Floats, prior: Known, alive: NDArray[np.bool_], rng: np.random.Generator
) -> Floats:
    """Steps (DRAWS, p) of what no curve moves, as uncertain as its prior.

    Of annealing runs agree on C / (1 - momentum), what a fall is worth in the end, whatever the momentum is.
    """
    steps = np.zeros((DRAWS, len(theta)))
    names = [p.name for p in coordinates.free]
    for i in np.flatnonzero(~alive & np.isfinite(prior.sd)):
        steps[:, i] = prior.sd[i] * rng.standard_normal(DRAWS)
    if {"C", "momentum"} <= set(names) and not alive[names.index("C")]:
        left = 1.0 - coordinates.to_params(theta + steps)["momentum"][:, 0]
        steps[:, names.index("C")] += np.log(left / (1.0 - coordinates.to_params(theta[None, :])["momentum"][0, 0]))
    return steps


def _misfit(
    coordinates: Coordinates, curves: Curves, rows: Rows, settings: Settings, theta: Floats, sd: float
) -> Misfit:
    """What inner backtests ask for, each fit drawn to what is known and begun at the optimum."""
    like = likeness(coordinates, theta, rows)
    errors = []
    for split in inner_splits(curves) if coordinates.free else ():
        test = split.test.rows(FIT_TOGETHER)
        found = inner_fit(coordinates, split.train, settings, theta)
        apart = like.distances(points_in(test), points_in(split.train.rows(FIT_TOGETHER)))
        errors.append((held_out(coordinates, found, test), apart, np.zeros(test.used)))
    return calibrated(errors, sd, like, points_in(rows), FAR_ALONE)


def likeness(coordinates: Coordinates, theta: Floats, rows: Rows) -> Likeness:
    """How alike places are by a law at its optimum (p,)."""
    values = {name: float(v[0, 0]) for name, v in coordinates.to_params(theta[None, :]).items()}
    return Likeness(values["A"], values["alpha"], float(np.median(rows.y)))


def spread_of(residuals: Floats, rows: Rows, free: int) -> float:
    """The residuals' spread where they tell of what is to come: at points with EARLY of the largest area behind."""
    area = np.asarray(rows.x["area"])
    return residual_spread(residuals[area >= EARLY * area.max()], rows.runs, free)


def inner_fit(coordinates: Coordinates, train: Curves, settings: Settings, theta: Floats) -> Floats:
    """The parameters (p,) that some of the curves lead to from those (p,) of all, drawn to what is known."""
    rows = train.rows(FIT_TOGETHER, BLOCKS)
    prior = known_of(coordinates, train)
    if prior is None:
        return settled_at(coordinates, rows, settings.objective, theta, None)
    scale = rows.used / rows.runs * STIFF
    for _ in range(ROUNDS):
        unit = _unit(coordinates, rows, settings.objective, theta)
        theta = settled_at(coordinates, rows, settings.objective, theta, prior.pull(unit * scale))
    return theta


def held_out(coordinates: Coordinates, theta: Floats, test: Rows) -> Floats:
    """Errors (m,) of log loss at rows (m,) that were not fitted."""
    predicted = np.asarray(coordinates.law.predict(dict(test.x), **coordinates.to_params(theta[None, :])))[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.log(predicted) - np.log(test.y))


def curve_notices(law: Law, curves: Curves) -> tuple[Notice, ...]:
    """What the curves can't tell of the law."""
    if law.name == "lr-sum":
        return _headless(curves)
    found = []
    if not any(fallen(curve) for curve in curves.curves):
        message = (
            "the learning rate never falls in these curves: what a fall is worth is that of published fits (.08 to .18 "
            "nats from the peak to zero), and a forecast through one is as uncertain as they differ"
        )
        found.append(Notice("SL320", "warning", message))
    elif len({curve.schedule for curve in curves.curves}) < 2:
        message = (
            "there is one schedule: the loss left, the trend and what a fall is worth trade off, and other schedules "
            "were foretold within .17 to .45 % on average from one cosine, up to 1 % at a point"
        )
        found.append(Notice("SL321", "info", message))
    if not found and law.name in NEED_A_JUMP and not any(jumped(curve) for curve in curves.curves):
        message = (
            "no curve has a sudden drop of the learning rate: how fast a drop pays and what it is worth in the end "
            "trade off, and are drawn to what is known of other runs"
        )
        found.append(Notice("SL322", "info", message))
    return (*found, *_headless(curves))


def _headless(curves: Curves) -> tuple[Notice, ...]:
    """A warning of curves that were logged from some step on, with nobody saying what came before."""
    late = [c for c in curves.curves if c.known_by == FROM_FIRST and c.step[0] > LATE_LOG * c.step[-1]]
    if not late:
        return ()
    message = (
        f"the log of {late[0].run!r}{f' and {len(late) - 1} others' if len(late) > 1 else ''} begins at step "
        f"{late[0].step[0]:g}, and no warm-up is known: the rates before it are taken for its first one, which moves "
        "L0 and alpha; say how long the warm-up was with --warmup-steps (0 if there was none)"
    )
    return (Notice("SL326", "warning", message),)


# A log that begins after this share of its steps hides as much of the area as a warm-up has.
LATE_LOG = 0.005
# A sudden drop is one update's, of this share of the peak, with so many points after it.
SUDDEN, AFTER = 0.05, 5


def jumped(curve: Curve) -> bool:
    """Whether the curve shows a sudden drop of the learning rate and enough of what follows."""
    at = np.flatnonzero(curve.history.drops > SUDDEN * curve.history.peak) + 1
    return bool(at.size) and int(np.sum(curve.step > at[0])) >= AFTER


def fallen(curve: Curve) -> bool:
    """Whether the learning rate has fallen by the curve's last point."""
    last = int(curve.step[-1])
    return bool((curve.history.drops[:last] > 0).any())


def _lacking(curves: Curves) -> str:
    kinds = {curve.schedule for curve in curves.curves}
    flat = all(np.ptp(curve.history.lr[curve.schedule.warmup_steps :]) == 0 for curve in curves.curves)
    if flat:
        return "the learning rate never falls in any of the curves"
    return (
        f"{len(curves.curves)} curve{'s' * (len(curves.curves) > 1)} of {len(kinds)} schedule{'s' * (len(kinds) > 1)}"
    )


def _remedy(law: Law) -> str:
    return "add a run whose learning rate falls (cosine, or a sudden drop), or hold parameters with --fix name=value"


def told(curve: Curve) -> dict[str, Any]:
    """What FIT.json says of a curve."""
    return {
        "run": curve.run,
        "points": len(curve.step),
        "first": float(curve.step[0]),
        "last": float(curve.step[-1]),
        "peak": curve.history.peak,
        "area": float(curve.history.areas[int(curve.step[-1])]),
        "final_lr": float(curve.history.lr[int(curve.step[-1]) - 1]),
        "warmup_steps": curve.schedule.warmup_steps,
        "schedule": str(curve.schedule),
        "known_by": curve.known_by,
        "params": curve.params,
        "rates": curve.schedule.to_dict(),
    }


def points_of(curves: Curves, rows: Rows, predicted: Floats) -> dict[str, NDArray[Any]]:
    """The points used, or KEPT_POINTS of them taken evenly, beside what the fit says of them."""
    kept = thinned(rows.used, KEPT_POINTS)
    names = np.concatenate([np.full(len(curve.step), curve.run, dtype=object) for curve in curves.curves])
    return {
        "run_id": names[kept],
        "step": np.asarray(rows.x["step"])[kept],
        "lr": np.asarray(rows.x["lr"])[kept],
        curves.target: rows.y[kept],
        "predicted": predicted[kept],
    }


__all__ = ["AUTO", "CurveFit", "CurveMember", "Forecast", "curves_fit", "fit_curves"]
